"""Plans the jobs of a diet: the runs that score, then the trainings on the examples that the scores select."""

from collections.abc import Iterator
from itertools import product

import numpy as np

from ..core.types import Array, Arrays
from ..machine.errors import InputError
from ..measure.rank_statistics import rising
from .jobs import Connection, Job, Retraining, ScoreRun, Velocities
from .settings import DietSettings, label, score_keys
from .tasks import Task

ORDER = "el2n/early"  # the score that orders the examples for windows and bands
ABOVE_ALL = 1e6  # more forgetting events than one example can have
BANDS = ("lowest", "middle", "highest")
Subset = tuple[str | None, str, float]  # score, end, fraction kept; the score is None for "all" and "random"


def check_sizes(settings: DietSettings, task: Task) -> None:
    """InputError if a subset is smaller than a mini-batch, a band is empty, or there are too few examples."""
    n, batch = len(task.rows), f"a mini-batch of {settings.batch}"
    shares = [("fractions", share) for share in settings.fractions] + [("window", settings.window)]
    checks = [(option, share, round(share * n), settings.batch, batch) for option, share in shares]
    checks += [("band", settings.band, int(settings.band * n), 1, "one")]  # rounded down: bands must not overlap
    checks += [("noise", settings.noise, round(settings.noise * n), 2, "two")]  # they exchange labels
    for option, share, count, least, expected in checks:
        if share and count < least:
            raise InputError(
                f"--{option}: {share:g} of the {n:,} training examples of task {task.name} is {count}, "
                f"expected at least {expected}"
            )
    if settings.partners > n:
        raise InputError(f"--partners: expected at most the {n:,} training examples of task {task.name}")


def score_runs(settings: DietSettings) -> list[ScoreRun]:
    """The scoring runs of every task: with the true labels and, if there is noise, with false ones."""
    kinds = (False, True) if settings.noise else (False,)
    return [
        ScoreRun(task, number, noisy) for task, noisy, number in product(settings.tasks, kinds, range(settings.runs))
    ]


def subsets(settings: DietSettings) -> list[Subset]:
    """The subsets to train on: all examples, then for each fraction a random one, and those with the highest scores.

    The scores are the early ones, and GraNd at initialisation.
    """
    at_start = ["grand/start"] if "grand" in settings.scores else []
    ends = [(None, "random"), *((key, "highest") for key in at_start + score_keys(settings.scores, ["early"]))]
    return [(None, "all", 1.0), *((key, end, fraction) for fraction in settings.fractions for key, end in ends)]


def scores_of_run(arrays: Arrays) -> Arrays:
    """SCORE/TIME → (n,) from the file of a `ScoreRun`.

    An output that was never learnt outweighs any number of forgetting events, as in Toneva et al. 2019.
    """
    forgotten = arrays["events"] + arrays["never_learnt"] * ABOVE_ALL
    return {key: arrays[key] for key in score_keys() if key in arrays} | {"forgetting/end": forgotten}


def trials(settings: DietSettings, task: Task, scores: dict[bool, Arrays]) -> list[Job]:
    """The jobs of a task after scoring: retrainings on subsets and windows, velocities and connections.

    `scores[noisy]` holds SCORE/TIME → (n,), the means over the runs with true or with false labels.
    """
    jobs = [job for number in range(settings.retrainings) for job in _retrainings(settings, task, scores, number)]
    of_band = bands(settings, task, scores[False][ORDER])
    for number in range(settings.runs):
        jobs.append(Velocities(task.name, number, of_band))
        jobs += [Connection(task.name, number, step, of_band) for step in settings.spawns]
    return jobs


def subset_name(key: str | None, end: str, fraction: float) -> str:
    """The name of a subset, part of its jobs' names."""
    score = f"{key.replace('/', '-')}-" if key else ""
    return "all" if end == "all" else f"{score}{end}-{label(fraction)}"


def window_name(noisy: bool, offset: float) -> str:
    """The name of a window, part of its jobs' names."""
    return f"window-{'noisy' if noisy else 'clean'}-{label(offset)}"


def _retrainings(settings: DietSettings, task: Task, scores: dict[bool, Arrays], number: int) -> Iterator[Job]:
    """The trainings with one seed, on every subset and every window."""
    n, wanted = len(task.rows), []  # (name, noisy, score, where the examples start, their fraction)
    for key, end, fraction in subsets(settings):
        wanted.append((subset_name(key, end, fraction), False, key, 1.0, fraction))
    for noisy, offset in product(scores, settings.offsets):
        wanted.append((window_name(noisy, offset), noisy, ORDER, offset, settings.window))
    shuffled = settings.rng("choices", number).permutation(n)
    for name, noisy, score, offset, fraction in wanted:
        order = rising(scores[noisy][score], shuffled) if score else shuffled
        count = round(fraction * n)
        start = min(round(offset * n), n - count)
        yield Retraining(task.name, number, noisy, name, np.sort(task.rows[order[start : start + count]]))


def bands(settings: DietSettings, task: Task, score: Array) -> dict[str, Array]:
    """The rows with the lowest, middle and highest scores (n,); each band holds `settings.band` of the examples."""
    n = len(task.rows)
    count = int(settings.band * n)
    order = rising(score, settings.rng("ties").permutation(n))
    starts = dict(zip(BANDS, (0, (n - count) // 2, n - count), strict=True))
    return {name: np.sort(task.rows[order[start : start + count]]) for name, start in starts.items()}
