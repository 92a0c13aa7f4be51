"""Judges the published claims about data diets, and our own about brackets, from the results of one task."""

from collections.abc import Callable, Sequence
from functools import partial
from statistics import fmean
from typing import Any

import numpy as np

from ..study.verdicts import CORRELATION, DIFFERENCE, SHARE, Claim, finding
from .results import BRACKETS, RIVALS
from .settings import spoken

Task = dict[str, Any]  # what `task_results` returns
Values = Sequence[float]  # of a statistic, one for each run or retraining


def _correlation(a: str, b: str, task: Task) -> Values:
    return next(list(entry["values"]) for entry in task["correlations"] if set(entry["scores"]) == {a, b})


def _of_score(part: str, key: str, task: Task) -> Values:
    """The values of a score in a part of the results; none if the part is empty."""
    return [value for entry in task[part] if entry["score"] == key for value in entry["values"]]


def _noise_beyond(key: str, task: Task) -> Values:
    return [value for entry in task["noise"] if entry["score"] == key for value in entry["beyond"]["values"]]


def _auroc_gain(key: str, task: Task) -> Values:
    return _minus_best(_of_score("noise", key, task), [_of_score("noise", rival, task) for rival in RIVALS])


def _gain(over: str, fraction: float | None, key: str, task: Task) -> Values:
    """Accuracy with the highest scores minus that with other examples; None averages over the fractions."""
    highest = [e for e in task["gains"] if (e["score"], e["over"]) == (key, over)]
    gains = [entry["accuracy"]["values"] for entry in highest if fraction in (entry["fraction"], None)]
    return np.mean(gains, axis=0).tolist() if gains else []


def _minus_best(ours: Values, others: Sequence[Values]) -> Values:
    """In each run, our value minus that of the rival which is best in the other runs.

    The rival that is best over all runs would partly owe this to luck in the same run.
    """

    def elsewhere(of: Values, run: int) -> float:
        return fmean([*of[:run], *of[run + 1 :]] or of)

    return [a - max(others, key=lambda of: elsewhere(of, run))[run] for run, a in enumerate(ours)]


def _top_window(noisy: bool, task: Task) -> Values:
    """Accuracy of the window with the highest scores minus that of the best other window."""
    windows = sorted((w for w in task["windows"] if w["noisy"] == noisy), key=lambda w: float(w["offset"]))
    *others, top = [w["accuracy"]["values"] for w in windows] or [[]]
    return _minus_best(top, others) if others else []


def _top_window_fall(task: Task) -> Values:
    noisy, clean = _top_window(True, task), _top_window(False, task)
    return _mean_difference([noisy], [clean]) if noisy and clean else []


def _velocity_gap(task: Task) -> Values:
    bands = task["velocities"]["bands"]
    return _mean_difference(*([at["values"] for at in bands[band][1:]] for band in ("highest", "lowest")))


def _barriers(group: str, task: Task) -> list[Values]:
    return [at["groups"][group]["barrier"]["values"] for at in task["barriers"]]


def _barrier_fall(task: Task) -> Values:
    of = _barriers("all", task)
    return _mean_difference(of[:1], of[-1:]) if len(of) > 1 else []


def _barrier_gap(task: Task) -> Values:
    return _mean_difference(_barriers("highest", task), _barriers("lowest", task))


def _mean_difference(a: Sequence[Values], b: Sequence[Values]) -> Values:
    """a − b in each run, averaged over the statistics a and b."""
    return np.mean(np.subtract(a, b), axis=0).tolist() if a else []


GRAND, EL2N = RIVALS
AUROC = partial(_of_score, "noise")
ACCURACY = "difference in held-out accuracy"
MEAN_ACCURACY = f"{ACCURACY}, mean over the kept fractions"
PARTIAL = "Spearman’s partial correlation given both scores, their squares and their product, early in training"
BETTER = "AUROC minus that of the better of the two, chosen by the other runs"
FORGETTING = partial(_of_score, "beyond")

# fmt: off
_ABOUT_BRACKETS: tuple[tuple[str, str, str, Callable[..., Values], float], ...] = (
    ("ab", "Controlling for GraNd and EL2N, a higher {} means more forgetting", PARTIAL, FORGETTING, 0.0),
    ("cd", "Controlling for GraNd and EL2N, a higher {} points to a false label", PARTIAL, _noise_beyond, 0.0),
    ("ef", "A high early {} reveals false labels", "AUROC", AUROC, 0.5),
    ("gh", "The {} reveals false labels better than GraNd and EL2N", BETTER, _auroc_gain, 0.0),
    ("il", "Training on the highest {}s beats a random subset", MEAN_ACCURACY, partial(_gain, "random", None), 0.0),
    ("jm", "Training on the highest {}s beats the highest GraNd", MEAN_ACCURACY, partial(_gain, GRAND, None), 0.0),
    ("kn", "Training on the highest {}s beats the highest EL2N", MEAN_ACCURACY, partial(_gain, EL2N, None), 0.0),
)
CLAIMS = (
    Claim("1a", "Early GraNd and EL2N rank examples alike", "Spearman’s correlation",
          partial(_correlation, GRAND, EL2N), low=0.8, within=CORRELATION),
    Claim("1b", "Early EL2N ranks examples as forgetting over the whole run does", "Spearman’s correlation",
          partial(_correlation, EL2N, "forgetting/end"), low=0.5, within=CORRELATION),
    Claim("1c", "GraNd at initialisation ranks examples as early GraNd does", "Spearman’s correlation",
          partial(_correlation, "grand/start", GRAND), low=0.5, within=CORRELATION),
    Claim("1d", "GraNd at initialisation correlates with the norm of the image", "Spearman’s correlation",
          lambda task: task["input_size"]["values"], low=0.5, within=CORRELATION),
    Claim("2a", "Training on the 60 % with the highest early EL2N is as good as training on all examples",
          ACCURACY, partial(_gain, "all", 0.6, EL2N), low=-0.01, within=DIFFERENCE),
    Claim("2b", "Training on the 60 % with the highest early EL2N beats a random 60 %", ACCURACY,
          partial(_gain, "random", 0.6, EL2N), low=0.0, within=DIFFERENCE),
    Claim("2c", "Training on the 60 % with the highest early GraNd beats a random 60 %", ACCURACY,
          partial(_gain, "random", 0.6, GRAND), low=0.0, within=DIFFERENCE),
    Claim("2d", "Training on the 20 % with the highest early EL2N is worse than on a random 20 %", ACCURACY,
          partial(_gain, "random", 0.2, EL2N), high=0.0, within=DIFFERENCE),
    Claim("3", "Training on the 60 % with the highest GraNd at initialisation beats a random 60 %", ACCURACY,
          partial(_gain, "random", 0.6, "grand/start"), low=0.0, within=DIFFERENCE),
    Claim("4a", "Even with true labels, the window with the highest EL2N is not the best",
          "its held-out accuracy minus that of the best other window, chosen by the other retrainings",
          partial(_top_window, False), high=0.0, within=DIFFERENCE),
    Claim("4b", "With false labels, that window falls further behind",
          "4a’s difference with false labels minus that with true labels", _top_window_fall, high=0.0,
          within=(-2.0, 2.0)),
    Claim("5a", "A high early EL2N reveals false labels", "AUROC", partial(AUROC, EL2N), low=0.5, within=SHARE),
    Claim("5b", "A high early GraNd reveals false labels", "AUROC", partial(AUROC, GRAND), low=0.5, within=SHARE),
    Claim("5c", "A high forgetting score reveals false labels", "AUROC", partial(AUROC, "forgetting/end"), low=0.5,
          within=SHARE),
    Claim("6a", "The kernel changes direction faster among examples with high EL2N",
          "1 − cosine between consecutive saved steps after the first two, highest minus lowest band",
          _velocity_gap, low=0.0, within=DIFFERENCE),
    Claim("6b", "Children spawned later are better connected", "error barrier, first spawning step minus last",
          _barrier_fall, low=0.0, within=DIFFERENCE),
    Claim("6c", "The barrier is higher for examples with high EL2N",
          "error barrier, highest minus lowest band, mean over the spawning steps",
          _barrier_gap, low=0.0, within=DIFFERENCE),
    *sorted((Claim(f"7{letter}", claim.format(spoken(key)), statistic, partial(values, key), low=low,
                   within={"AUROC": SHARE, PARTIAL: CORRELATION}.get(statistic, DIFFERENCE))
             for letters, claim, statistic, values, low in _ABOUT_BRACKETS
             for letter, key in zip(letters, BRACKETS, strict=True)),
            key=lambda claim: claim.id),
)
# fmt: on


def found_in(task: Task) -> list[dict[str, Any]]:
    """The findings of one task in the order of the claims, not judged yet."""
    return [finding(claim, [[value] for value in claim.values(task)]) for claim in CLAIMS]
