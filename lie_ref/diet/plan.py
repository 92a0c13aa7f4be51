"""Which jobs a diet is made of: the runs that score, and what is then tried with the examples that scores choose."""

from __future__ import annotations

import numpy as np

from ..core.types import Array, Arrays
from ..machine.errors import InputError
from ..measure.rank_statistics import rising
from .jobs import Connection, Job, Retraining, ScoreRun, Velocities
from .settings import DietSettings, label, score_keys
from .tasks import Task

ORDER = "el2n/early"  # the score of windows and bands
ABOVE_ALL = 1e6  # more often than all outputs of an example can be forgotten
BANDS = ("lowest", "middle", "highest")


def check_sizes(settings: DietSettings, task: Task) -> None:
    """InputError where a choice of the task's examples does not fill a mini-batch, or a band holds none of them."""
    n, name = len(task.rows), task.name
    for option, share in (*(("fractions", fraction) for fraction in settings.fractions), ("window", settings.window)):
        if round(share * n) < settings.batch:
            raise InputError(
                f"--{option}: {share:g} of the {n:,} training examples of task {name} is {round(share * n)}, "
                f"expected at least a mini-batch of {settings.batch}"
            )
    if int(settings.band * n) == 0:  # rounded down, or three of them could be more than all
        raise InputError(f"--band: {settings.band:g} of the {n:,} training examples of task {name} is none of them")
    if settings.noise and round(settings.noise * n) < 2:  # labels go round among as many
        raise InputError(f"--noise: {settings.noise:g} of the {n:,} training examples of task {name} is fewer than two")
    if settings.partners > n:
        raise InputError(f"--partners: expected at most the {n:,} training examples of task {name}")


def score_runs(settings: DietSettings) -> list[ScoreRun]:
    """Of each task those without and, if there is noise, those with false labels."""
    return [
        ScoreRun(task, noisy, number)
        for task in settings.tasks
        for noisy in (False, True)[: 2 if settings.noise else 1]
        for number in range(settings.runs)
    ]


def choosing_ends(settings: DietSettings) -> list[tuple[str, str]]:
    """Which scores choose which examples: SCORE/TIME, highest or lowest; at the start the highest GraNd and EL2N."""
    at_start = [(f"{score}/start", "highest") for score in settings.scores if score in ("grand", "el2n")]
    return at_start + [(key, end) for key in score_keys(settings.scores, ["early"]) for end in ("highest", "lowest")]


def scores_of_run(arrays: Arrays) -> Arrays:
    """SCORE/TIME → (n,) from the file of a `ScoreRun`, those that it took.

    Never learnt counts as forgotten more often than anything can be: Toneva et al. 2019 rank it so.
    """
    forgotten = arrays["events"] + arrays["never_learnt"] * ABOVE_ALL
    taken = [key for key in score_keys() if key in arrays]
    return {key: arrays[key] for key in taken} | {"forgetting/end": forgotten}


def trials(settings: DietSettings, task: Task, scores: dict[bool, Arrays]) -> list[Job]:
    """What is tried with a task: `scores` are SCORE/TIME → (n,), means over the runs without and with false labels."""
    found: list[Job] = []
    for number in range(settings.retrainings):
        for choice, noisy, places in _choices(settings, task, scores, number):
            found.append(Retraining(task.name, noisy, choice, number, np.sort(task.rows[places])))
    of_band = bands(settings, task, scores[False][ORDER])
    for number in range(settings.runs):
        found.append(Velocities(task.name, number, of_band))
        found += [Connection(task.name, number, step, of_band) for step in settings.spawns]
    return found


def choice_name(key: str | None, end: str, fraction: float) -> str:
    """How the fraction of the examples at this end of a score is called: part of a job's name."""
    return "-".join([*([key.replace("/", "-")] if key else []), end, label(fraction)])


def window_name(noisy: bool, offset: float) -> str:
    """How a window is called: part of a job's name."""
    return f"window-{'noisy' if noisy else 'clean'}-{label(offset)}"


def _choices(
    settings: DietSettings, task: Task, scores: dict[bool, Arrays], number: int
) -> list[tuple[str, bool, Array]]:
    """In words, with false labels or not, and the places of the chosen among the training examples."""
    n, found = len(task.rows), [("all", False, np.arange(len(task.rows)))]
    shuffled = settings.rng("choices", number).permutation(n)
    for fraction in settings.fractions:
        count = round(fraction * n)
        found.append((choice_name(None, "random", fraction), False, shuffled[:count]))
        for key, end in choosing_ends(settings):
            order = rising(scores[False][key], shuffled)
            found.append(
                (choice_name(key, end, fraction), False, order[-count:] if end == "highest" else order[:count])
            )
    count = round(settings.window * n)
    for noisy, of in scores.items():
        order = rising(of[ORDER], shuffled)
        for offset in settings.offsets:
            start = min(round(offset * n), n - count)
            found.append((window_name(noisy, offset), noisy, order[start : start + count]))
    return found


def bands(settings: DietSettings, task: Task, score: Array) -> dict[str, Array]:
    """The rows of the lowest, middle and highest scores (n,), a share of `settings.band` each."""
    n = len(task.rows)
    count = int(settings.band * n)
    order = rising(score, settings.rng("ties").permutation(n))
    starts = dict(zip(BANDS, (0, (n - count) // 2, n - count), strict=True))
    return {name: np.sort(task.rows[order[start : start + count]]) for name, start in starts.items()}
