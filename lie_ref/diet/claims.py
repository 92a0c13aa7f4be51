"""Judges what was claimed of data diets, and what brackets add, from the results of one task.

A claim's number is the mean over runs or retrainings, its interval Student's, its verdict as in `study.verdicts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from statistics import fmean
from typing import Any

import numpy as np

from ..study.verdicts import Claim, finding

Task = dict[str, Any]  # of a task: what `task_results` gives
Values = Sequence[float]  # one for each run or retraining


def _correlation(a: str, b: str, task: Task) -> Values:
    (found,) = (entry for entry in task["correlations"] if set(entry["scores"]) == {a, b})
    return list(found["values"])


def _input_size(task: Task) -> Values:
    return list(task["input_size"]["values"])


def _less_best(ours: Values, others: Sequence[Values]) -> Values:
    """Ours less those of the others that are best in the rest of the runs, run by run.

    The best by all runs, that one among them, would be best by luck, too.
    """

    def elsewhere(of: Values, run: int) -> float:
        return fmean([*of[:run], *of[run + 1 :]] or of)

    return [a - max(others, key=lambda of: elsewhere(of, run))[run] for run, a in enumerate(ours)]


def _gain(key: str, over: str, fraction: float | None, task: Task) -> Values:
    """Accuracy with the highest of a score less that with others, by retraining; of no fraction, the mean over all."""
    gains = [
        entry["accuracy"]["values"]
        for entry in task["gains"]
        if (entry["score"], entry["end"], entry["over"]) == (key, "highest", over)
        and fraction in (entry["fraction"], None)
    ]
    return np.mean(gains, axis=0).tolist() if gains else []


def _noise(key: str, task: Task) -> Values:
    return [value for entry in task["noise"] if entry["score"] == key for value in entry["values"]]


def _noise_gain(key: str, task: Task) -> Values:
    """AUROC of a score less the better of GraNd's and EL2N's, run by run."""
    return _less_best(_noise(key, task), [_noise(rival, task) for rival in ("grand/early", "el2n/early")])


def _beyond(key: str, task: Task) -> Values:
    return [value for entry in task["beyond"] if entry["score"] == key for value in entry["values"]]


def _noise_beyond(key: str, task: Task) -> Values:
    return [v for entry in task["noise"] if entry["score"] == key for v in entry["beyond"]["values"]]


def _top_window(noisy: bool, task: Task) -> Values:
    """Accuracy of the window of the highest scores less that of the best other one, retraining by retraining."""
    windows = sorted((w for w in task["windows"] if w["noisy"] == noisy), key=lambda w: float(w["offset"]))
    *others, top = [w["accuracy"]["values"] for w in windows] or [[]]
    return _less_best(top, others) if others else []


def _top_windows_fall(task: Task) -> Values:
    """The same with false labels, less the same with true ones."""
    noisy, clean = (_top_window(is_noisy, task) for is_noisy in (True, False))
    return [a - b for a, b in zip(noisy, clean, strict=True)] if noisy and clean else []


def _velocity_gap(task: Task) -> Values:
    """The kernel's velocity in the highest band less that in the lowest, run by run, mean over all but the first."""
    high, low = (task["velocities"]["bands"][band][1:] for band in ("highest", "lowest"))
    gaps = [np.subtract(a["values"], b["values"]) for a, b in zip(high, low, strict=True)]
    return [float(gap) for gap in np.mean(gaps, axis=0)] if gaps else []


def _barrier_fall(task: Task) -> Values:
    """The barrier of the children that left at the first of the steps less that at the last, run by run."""
    if len(task["barriers"]) < 2:
        return []
    first, last = (task["barriers"][place]["groups"]["all"]["barrier"]["values"] for place in (0, -1))
    return [float(a - b) for a, b in zip(first, last, strict=True)]


def _barrier_gap(task: Task) -> Values:
    """The barrier of the highest band less that of the lowest, run by run, mean over the steps."""
    pairs = [[at["groups"][band]["barrier"]["values"] for band in ("highest", "lowest")] for at in task["barriers"]]
    return np.mean([np.subtract(*pair) for pair in pairs], axis=0).tolist() if pairs else []


ABOVE = 1e-9  # zero, but no difference at all is not a gain
_SCORES = {"bracket/early": "bracket score", "relative/early": "relative bracket score"}
_HELD_OUT, _GIVEN = (
    "held-out accuracy, difference",
    "Spearman’s partial correlation given both, their squares and product, early",
)

# fmt: off
CLAIMS = (
    Claim("1a", "GraNd and EL2N, early in training, order examples alike", "Spearman’s correlation",
          partial(_correlation, "grand/early", "el2n/early"), low=0.8),
    Claim("1b", "EL2N early in training orders them as forgetting over all of it does", "the same",
          partial(_correlation, "el2n/early", "forgetting/end"), low=0.5),
    Claim("1c", "GraNd at initialisation orders them as GraNd early in training does", "the same",
          partial(_correlation, "grand/start", "grand/early"), low=0.5),
    Claim("1d", "GraNd at initialisation goes with the size of the picture’s pixels", "the same", _input_size, low=0.5),
    Claim("2a", "The 60 % of highest EL2N, early, do as well as all examples", f"{_HELD_OUT}; at least −0.01",
          partial(_gain, "el2n/early", "all", 0.6), low=-0.01),
    Claim("2b", "The 60 % of highest EL2N, early, do better than a random 60 %", _HELD_OUT,
          partial(_gain, "el2n/early", "random", 0.6), low=ABOVE),
    Claim("2c", "The 60 % of highest GraNd, early, do better than a random 60 %", _HELD_OUT,
          partial(_gain, "grand/early", "random", 0.6), low=ABOVE),
    Claim("2d", "If few are kept, 20 %, those of highest EL2N do worse than random ones", _HELD_OUT,
          partial(_gain, "el2n/early", "random", 0.2), high=-ABOVE),
    Claim("3", "The 60 % of highest GraNd at initialisation do better than a random 60 %", _HELD_OUT,
          partial(_gain, "grand/start", "random", 0.6), low=ABOVE),
    Claim("4a", "Even with true labels the window of the highest EL2N is not the best",
          "its held-out accuracy less that of the best other window by the other retrainings",
          partial(_top_window, False), high=-ABOVE),
    Claim("4b", "With false labels it falls farther behind", "that with false labels less 4a",
          _top_windows_fall, high=-ABOVE),
    Claim("5a", "High EL2N, early, finds false labels", "AUROC", partial(_noise, "el2n/early"), low=0.5),
    Claim("5b", "High GraNd, early, finds false labels", "AUROC", partial(_noise, "grand/early"), low=0.5),
    Claim("5c", "High forgetting finds false labels", "AUROC", partial(_noise, "forgetting/end"), low=0.5),
    Claim("6a", "The kernel turns faster among examples of high EL2N",
          "1 − cosine between kept steps but the first two, highest less lowest band", _velocity_gap, low=ABOVE),
    Claim("6b", "Children that leave their parent later are better connected",
          "error barrier, first spawning step less last", _barrier_fall, low=ABOVE),
    Claim("6c", "The barrier is higher for examples of high EL2N",
          "error barrier, highest less lowest band, mean over the spawning steps", _barrier_gap, low=ABOVE),
    *(Claim(f"7{letter}", f"GraNd and EL2N being equal, a higher {name} means {what}", _GIVEN,
            partial(statistic, key), low=ABOVE)
      for letter, (what, statistic), (key, name) in zip(
          "abcd", [("more forgetting", _beyond)] * 2 + [("a false label", _noise_beyond)] * 2, [*_SCORES.items()] * 2,
          strict=True)),
    *(Claim(f"7{letter}", f"High {name}, early, finds false labels", "AUROC", partial(_noise, key), low=0.5)
      for letter, (key, name) in zip("ef", _SCORES.items(), strict=True)),
    *(Claim(f"7{letter}", f"The {name} finds false labels better than GraNd and EL2N",
            "AUROC less that of the better one by the other runs", partial(_noise_gain, key), low=ABOVE)
      for letter, (key, name) in zip("gh", _SCORES.items(), strict=True)),
    *(Claim(f"7{letter}", f"Those of highest {name} are better to train on than {whom}",
            f"{_HELD_OUT}, mean over the fractions kept", partial(_gain, key, over, None), low=ABOVE)
      for letter, (key, name), (whom, over) in zip(
          "ijklmn", [item for item in _SCORES.items() for _ in range(3)],
          [("random ones", "random"), ("GraNd’s", "grand/early"), ("EL2N’s", "el2n/early")] * 2, strict=True)),
)
# fmt: on


def judge(task: Task) -> list[dict[str, Any]]:
    """The findings of one task, in the order of the claims, ready for JSON."""
    return [finding(claim, [[value] for value in claim.values(task)]) for claim in CLAIMS]
