"""Turns the files of a diet's jobs into `results.json`: how scores agree, what subsets are worth, what finds noise."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import combinations, product
from typing import Any

import numpy as np

from ..core.types import Array, Arrays
from ..fast.norms import row_norms
from ..images.dataset import Images
from ..measure.connectivity import error_barrier
from ..measure.rank_statistics import auroc, rising, spearman
from ..measure.scores import ROWS
from ..study.pages.markup import percent
from ..study.verdicts import CORRELATION, DIFFERENCE, SHARE, averaged
from .plan import BANDS, Subset, scores_of_run, subset_name, subsets, window_name
from .settings import DietSettings, score_keys
from .tasks import Task

BRACKETS = ("bracket/early", "relative/early")  # compared with these rivals
RIVALS = ("grand/early", "el2n/early")
EXTREMES = 8  # examples shown from each end of a score
Files = Mapping[str, Arrays]  # job name → the arrays in its file


def runs_of(files: Files, settings: DietSettings, task: str, noisy: bool) -> list[Arrays]:
    """SCORE/TIME → (n,) for each scoring run of the task."""
    kind = "noisy" if noisy else "clean"
    return [scores_of_run(files[f"{task}-scores-{kind}-{number}"]) for number in range(settings.runs)]


def mean_scores(runs: Sequence[Arrays]) -> Arrays:
    """SCORE/TIME → (n,): the mean over the runs, which selects the examples."""
    return {key: np.mean([run[key] for run in runs], axis=0) for key in runs[0]}


def task_results(settings: DietSettings, task: Task, false: Array | None, files: Files) -> dict[str, Any]:
    """The results of one task; `false` (n,) bool marks the false training labels, None without noise."""
    clean = runs_of(files, settings, task.name, noisy=False)
    noisy = runs_of(files, settings, task.name, noisy=True) if false is not None else []
    size = _input_sizes(task)
    tested = partial(_tested, settings, task, files)
    pruning = [
        {"score": key, "end": end, "fraction": fraction} | tested(subset_name(key, end, fraction))
        for key, end, fraction in subsets(settings)
    ]
    return {
        "task": task.name,
        "examples": len(task.rows),
        "false_labels": 0 if false is None else int(false.sum()),
        "held_out": sum(len(task.dataset.indices(split)) for split in ("validation", "test")),
        "outputs": list(task.outputs),
        "correlations": [
            {"scores": [a, b]} | _over_runs((spearman(run[a], run[b]) for run in clean), CORRELATION)
            for a, b in combinations(score_keys(), 2)
        ],
        "input_size": _over_runs((spearman(run["grand/start"], size) for run in clean), CORRELATION),
        "beyond": [
            {"score": key} | _over_runs((beyond(run, key, run["forgetting/end"]) for run in clean), CORRELATION)
            for key in BRACKETS
        ],
        "noise": [] if false is None else [_noise(noisy, key, false) for key in score_keys(times=["early"])],
        "forgetting": _forgetting(settings, task, files),
        "pruning": pruning,
        "gains": _gains(pruning),
        "windows": [
            {"noisy": is_noisy, "offset": offset} | tested(window_name(is_noisy, offset))
            for is_noisy, offset in product((False, True) if noisy else (False,), settings.offsets)
        ],
        "velocities": _velocities(settings, task, files),
        "barriers": _barriers(settings, task, files),
        "extremes": {key: _extremes(settings, task, score) for key, score in mean_scores(clean).items()},
    }


def beyond(run: Arrays, key: str, other: Array) -> float:
    """Spearman's partial correlation of an early score with `other`, given GraNd and EL2N."""
    return spearman(run[key], other, [run[rival] for rival in RIVALS])


def _input_sizes(task: Task) -> Array:
    """‖x‖ of each training example (n,): Kirsch 2023 found that GraNd at initialisation mostly measures it."""
    images = Images(task.dataset, task.rows)
    starts = range(0, len(images), ROWS)
    return np.concatenate([row_norms(images[start : start + ROWS]) for start in starts])


def _noise(noisy: Sequence[Arrays], key: str, false: Array) -> dict[str, Any]:
    """How well a score finds the false labels (n,) bool."""
    found = {"score": key} | _over_runs((auroc(run[key], false) for run in noisy), SHARE)
    partial_correlation = _over_runs((beyond(run, key, false) for run in noisy), CORRELATION)
    return found | {"beyond": partial_correlation if key in BRACKETS else None}


def _over_runs(values: Iterable[Any], within: tuple[float, float] | None = None) -> dict[str, Any]:
    """The mean of one value per run, its 95 % interval, and the values."""
    each = [float(value) for value in values]
    return averaged(each, within) | {"values": each}


def _tested(settings: DietSettings, task: Task, files: Files, choice: str) -> dict[str, Any]:
    """Accuracy and loss on the held-out images after training on a subset, over the retrainings."""
    of = [files[f"{task.name}-{choice}-{number}"] for number in range(settings.retrainings)]
    accuracy, loss = ([arrays[key] for arrays in of] for key in ("accuracy", "loss"))
    return {"examples": int(of[0]["examples"]), "accuracy": _over_runs(accuracy, SHARE), "loss": _over_runs(loss)}


def _gains(pruning: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Accuracy and loss with each score's subset minus those with all examples, a random subset, and its rivals."""
    of = {(entry["score"], entry["end"], entry["fraction"]): entry for entry in pruning}
    found = []
    for (score, end, fraction), entry in of.items():
        others: dict[str, Subset] = {"all": (None, "all", 1.0), "random": (None, "random", fraction)} if score else {}
        if score in BRACKETS:
            others |= {rival: (rival, end, fraction) for rival in RIVALS if (rival, end, fraction) in of}
        for over, other in others.items():
            gain = {"score": score, "end": end, "over": over, "fraction": fraction}
            for key, within in (("accuracy", DIFFERENCE), ("loss", None)):
                gain[key] = _over_runs(np.subtract(entry[key]["values"], of[other][key]["values"]), within)
            found.append(gain)
    return found


def _forgetting(settings: DietSettings, task: Task, files: Files) -> dict[str, Any]:
    """How much was forgotten, and how forgetting events, without the outputs never learnt, agree with other scores."""
    of = [files[f"{task.name}-scores-clean-{number}"] for number in range(settings.runs)]
    return {
        "seen": settings.steps * settings.batch / len(task.rows),
        "events": _over_runs(a["events"].mean() for a in of),
        "never_learnt": _over_runs(a["never_learnt"].mean() for a in of),
        "events_and_el2n": _over_runs((spearman(a["events"], a["el2n/early"]) for a in of), CORRELATION),
        "events_beyond": {key: _over_runs((beyond(a, key, a["events"]) for a in of), CORRELATION) for key in BRACKETS},
        "unforgettable": _over_runs((np.mean((a["events"] == 0) & (a["never_learnt"] == 0)) for a in of), SHARE),
    }


def how_forgotten(found: dict[str, Any]) -> str:
    """The `forgetting` of a task in sentences."""
    events, never, neither = (found[key]["value"] for key in ("events", "never_learnt", "unforgettable"))
    unseen = f"; {percent(1 - found['seen'])} are never seen and count as never learnt" if found["seen"] < 1 else ""
    alone = [found["events_and_el2n"], *found["events_beyond"].values()]
    el2n, *brackets = ("undefined" if of["value"] is None else f"{of['value']:.2f}" for of in alone)
    return (
        f"A scoring run sees each example {found['seen']:.1f} times on average{unseen}. An example has on average "
        f"{events:.2f} forgetting events and {never:.2f} outputs that are never learnt; {percent(neither, 1)} of the "
        "examples have neither. The forgetting score ranks examples by how many outputs were never learnt and breaks "
        f"ties by the number of forgetting events. The correlation of this number alone with early EL2N is {el2n}; "
        f"given GraNd and EL2N, its correlations with the bracket scores are {' and '.join(brackets)}."
    )


def _velocities(settings: DietSettings, task: Task, files: Files) -> dict[str, Any]:
    """The velocity of each band's kernel between the saved steps, over the runs."""
    of = [files[f"{task.name}-velocities-{number}"] for number in range(settings.runs)]
    velocity = np.stack([arrays["velocity"] for arrays in of], axis=-1)  # (intervals, bands, runs)
    bands = {band: [_over_runs(values, SHARE) for values in velocity[:, b]] for b, band in enumerate(BANDS)}
    return {"steps": of[0]["steps"].tolist(), "bands": bands}


def _barriers(settings: DietSettings, task: Task, files: Files) -> list[dict[str, Any]]:
    """For each spawning step, the mean error along the line and its barrier: over all examples and in each band."""
    found = []
    for step in settings.spawns:
        of = [files[f"{task.name}-connection-{number}-{step:06d}"]["error"].T for number in range(settings.runs)]
        groups = {
            group: {"error": np.mean(errors, axis=0).tolist(), "barrier": _over_runs(map(error_barrier, errors), SHARE)}
            for group, errors in zip(("all", *BANDS), zip(*of, strict=True), strict=True)
        }
        found.append({"step": step, "groups": groups})
    return found


def _extremes(settings: DietSettings, task: Task, score: Array) -> dict[str, list[int]]:
    """The row numbers of the examples with the highest scores, the highest first, and with the lowest."""
    order = rising(score, settings.rng("ties").permutation(len(score)))
    return {"highest": task.rows[order[::-1][:EXTREMES]].tolist(), "lowest": task.rows[order[:EXTREMES]].tolist()}
