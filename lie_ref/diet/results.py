"""What a diet's jobs came to: how scores agree, what choices are worth, which score finds false labels, and the rest.

Everything is a plain value, ready for `results.json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from ..core.types import Array, Arrays
from ..images.dataset import Images
from ..measure.connectivity import error_barrier
from ..measure.derivatives import squared_norms
from ..measure.rank_statistics import auroc, rising, spearman
from ..measure.scores import ROWS
from ..study.verdicts import interval
from .plan import BANDS, choice_name, choosing_ends, scores_of_run, window_name
from .settings import DietSettings, score_keys
from .tasks import Task

BRACKETS = ("bracket/early", "relative/early")  # asked for what they know beyond
RIVALS = ("grand/early", "el2n/early")
EXTREMES = 8  # examples of the highest and of the lowest scores whose pictures are shown
Files = Mapping[str, Arrays]  # job → what its file holds


def runs_of(files: Files, settings: DietSettings, task: str, noisy: bool) -> list[Arrays]:
    """SCORE/TIME → (n,) of each run that scored the task."""
    kind = "noisy" if noisy else "clean"
    return [scores_of_run(files[f"{task}-scores-{kind}-{number}"]) for number in range(settings.runs)]


def mean_scores(runs: Sequence[Arrays]) -> Arrays:
    """SCORE/TIME → (n,): the mean over the runs, by which examples are chosen."""
    return {key: np.mean([run[key] for run in runs], axis=0) for key in runs[0]}


def task_results(settings: DietSettings, task: Task, false: Array | None, files: Files) -> dict[str, Any]:
    """The results of one task; `false` (n,) bool says which of its training labels were false, if any were."""
    clean = runs_of(files, settings, task.name, noisy=False)
    noisy = runs_of(files, settings, task.name, noisy=True) if false is not None else []
    size = _input_sizes(task)
    return {
        "task": task.name,
        "examples": len(task.rows),
        "false_labels": 0 if false is None else int(false.sum()),
        "held_out": sum(len(task.dataset.indices(split)) for split in ("validation", "test")),
        "outputs": list(task.outputs),
        "correlations": [
            {"scores": [a, b], **_over_runs(spearman(run[a], run[b]) for run in clean)}
            for a, b in combinations(score_keys(), 2)
        ],
        "input_size": _over_runs(spearman(run["grand/start"], size) for run in clean),
        "beyond": [
            {"score": key, **_over_runs(beyond(run, key, run["forgetting/end"]) for run in clean)} for key in BRACKETS
        ],
        "noise": [
            {
                "score": key,
                **_over_runs(auroc(run[key], false) for run in noisy),
                "beyond": _over_runs(beyond(run, key, false) for run in noisy) if key in BRACKETS else None,
            }
            for key in score_keys(times=["early"])
            if noisy and false is not None
        ],
        "forgetting": _forgetting(settings, task, files),
        "pruning": (tried := _pruning(settings, task, files)),
        "gains": _gains(tried),
        "windows": [
            {"noisy": is_noisy, "offset": offset, **_tested(settings, task, files, window_name(is_noisy, offset))}
            for is_noisy in ((False, True) if noisy else (False,))
            for offset in settings.offsets
        ],
        "velocities": _velocities(settings, task, files),
        "barriers": _barriers(settings, task, files),
        "extremes": {key: _extremes(settings, task, score) for key, score in mean_scores(clean).items()},
    }


def beyond(run: Arrays, key: str, other: Array) -> float:
    """Spearman's partial correlation of a score and `other` given GraNd and EL2N of the same time."""
    time = key.partition("/")[2]
    return spearman(run[key], other, [run[f"grand/{time}"], run[f"el2n/{time}"]])


def _input_sizes(task: Task) -> Array:
    """‖x‖ of each training example (n,): what GraNd at initialisation mostly is, as Kirsch 2023 found."""
    images = Images(task.dataset, task.rows)
    parts = (images[start : start + ROWS] for start in range(0, len(images), ROWS))
    return np.concatenate([np.sqrt(squared_norms(part)) for part in parts])


def _over_runs(values: Any) -> dict[str, Any]:
    """One value of each run: their mean, its 95 % interval, and the values."""
    each = [float(value) for value in values]
    value, low, high = interval([[v] for v in each if np.isfinite(v)])
    return {"value": value, "low": low, "high": high, "values": each}


def _tested(settings: DietSettings, task: Task, files: Files, choice: str) -> dict[str, Any]:
    """Accuracy and loss on the held-out images after training on this choice of examples, over the retrainings."""
    of = [files[f"{task.name}-{choice}-{number}"] for number in range(settings.retrainings)]
    return {
        "examples": int(of[0]["examples"]),
        **{key: _over_runs(float(arrays[key]) for arrays in of) for key in ("accuracy", "loss")},
    }


def _pruning(settings: DietSettings, task: Task, files: Files) -> list[dict[str, Any]]:
    """All examples first; then for each fraction a random choice, and the highest and lowest of each score."""
    found = [{"score": None, "end": "all", "fraction": 1.0, **_tested(settings, task, files, "all")}]
    for fraction in settings.fractions:
        found.append(
            {"score": None, "end": "random", "fraction": fraction}
            | _tested(settings, task, files, choice_name(None, "random", fraction))
        )
        for key, end in choosing_ends(settings):
            tested = _tested(settings, task, files, choice_name(key, end, fraction))
            found.append({"score": key, "end": end, "fraction": fraction} | tested)
    return found


def _gains(pruning: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Accuracy and loss of each score's choice less those of others, retraining by retraining.

    The others are all examples, random ones as many, and for the highest bracket scores the highest GraNd and EL2N.
    """
    of = {(entry["score"], entry["end"], entry["fraction"]): entry for entry in pruning}
    found = []
    for (score, end, fraction), entry in of.items():
        rivals: dict[str, tuple[str | None, str, float]]
        rivals = {"all": (None, "all", 1.0), "random": (None, "random", fraction)} if score else {}
        if score in BRACKETS and end == "highest":
            rivals |= {rival: (rival, end, fraction) for rival in RIVALS if (rival, end, fraction) in of}
        for over, rival in rivals.items():
            differences = {
                key: _over_runs(np.subtract(entry[key]["values"], of[rival][key]["values"]))
                for key in ("accuracy", "loss")
            }
            found.append({"score": score, "end": end, "over": over, "fraction": fraction, **differences})
    return found


def _forgetting(settings: DietSettings, task: Task, files: Files) -> dict[str, Any]:
    """How often an example is seen, its outputs are forgotten or never learnt; the share that has neither.

    Also what EL2N and brackets have to do with forgettings alone, for the score ranks by what was never learnt first.
    """
    of = [files[f"{task.name}-scores-clean-{number}"] for number in range(settings.runs)]
    return {
        "seen": settings.steps * settings.batch / len(task.rows),
        "events": _over_runs(a["events"].mean() for a in of),
        "never_learnt": _over_runs(a["never_learnt"].mean() for a in of),
        "events_and_el2n": _over_runs(spearman(a["events"], a["el2n/early"]) for a in of),
        "events_beyond": {key: _over_runs(beyond(a, key, a["events"]) for a in of) for key in BRACKETS},
        "unforgettable": _over_runs(np.mean((a["events"] == 0) & (a["never_learnt"] == 0)) for a in of),
    }


def how_forgotten(found: dict[str, Any]) -> str:
    """In a sentence, how much there was to forget, from the task's `forgetting`."""
    events, never, neither = (found[key]["value"] for key in ("events", "never_learnt", "unforgettable"))
    unseen = f", and {1 - found['seen']:.0%} never, which count as never learnt" if found["seen"] < 1 else ""
    alone = [found["events_and_el2n"], *found["events_beyond"].values()]
    el2n, *brackets = ("undefined" if of["value"] is None else f"{of['value']:.2f}" for of in alone)
    return (
        f"An example is seen {found['seen']:.1f} times by a run that scores{unseen}; on average {events:.2f} times one "
        f"of its outputs is forgotten, and {never:.2f} of its outputs are never learnt; {neither:.1%} of the examples "
        "have neither. Forgetting ranks examples by outputs never learnt, and only where those are as many by how "
        f"often others were forgotten; by the latter alone its correlation with EL2N, early, is {el2n}, and with the "
        f"bracket scores, GraNd and EL2N being equal, {' and '.join(brackets)}."
    )


def _velocities(settings: DietSettings, task: Task, files: Files) -> dict[str, Any]:
    """Of each band the velocity of the kernel between the steps that runs kept, over the runs."""
    of = [files[f"{task.name}-velocities-{number}"] for number in range(settings.runs)]
    return {
        "steps": of[0]["steps"].tolist(),
        "bands": {
            band: [_over_runs(a["velocity"][k, b] for a in of) for k in range(len(of[0]["velocity"]))]
            for b, band in enumerate(BANDS)
        },
    }


def _barriers(settings: DietSettings, task: Task, files: Files) -> list[dict[str, Any]]:
    """For each step at which the children left their parent: of all examples and each band, error and barrier."""
    found = []
    for step in settings.spawns:
        of = [files[f"{task.name}-connection-{number}-{step:06d}"]["error"] for number in range(settings.runs)]
        groups = {
            group: {
                "error": np.mean(of, axis=0)[:, g].tolist(),
                "barrier": _over_runs(error_barrier(error[:, g]) for error in of),
            }
            for g, group in enumerate(("all", *BANDS))
        }
        found.append({"step": step, "groups": groups})
    return found


def _extremes(settings: DietSettings, task: Task, score: Array) -> dict[str, list[int]]:
    """Row numbers of the examples of the highest scores, the highest first, and of the lowest."""
    order = rising(score, settings.rng("ties").permutation(len(score)))
    return {"highest": task.rows[order[::-1][:EXTREMES]].tolist(), "lowest": task.rows[order[:EXTREMES]].tolist()}
