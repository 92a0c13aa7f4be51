"""The settings of a data diet, and its three presets: a quick one, the default one, and the paper's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..core.networks import PRESETS as NETWORKS
from ..machine.errors import InputError, shortened
from ..study.settings import StudySettings
from .tasks import TASKS

SPOKEN = {"grand": "GraNd", "el2n": "EL2N", "bracket": "bracket score", "relative": "relative bracket score"}
SCORES = (*SPOKEN, "forgetting")
TIMES = {"start": "{} at the start", "early": "early {}", "end": "{} at the end"}  # when they are taken, but for these:
ONLY = {"bracket": "early", "relative": "early", "forgetting": "end"}  # the last is counted over the whole run
RETRAINED, CHILDREN = 100, 1000  # first seeds of the retrainings and of the children's data orders; runs start at 0


@dataclass(frozen=True)
class DietSettings(StudySettings):
    """Everything that decides the result of a diet.  Shares and fractions are of the training examples."""

    faces: int = 8_000
    size: int = 32
    steps: int = 500
    seed: int = 0  # for faces, false labels, partners and random subsets; the runs use the seeds 0, 1, 2, …
    network: str = "mxresnet-tiny"
    tasks: tuple[str, ...] = tuple(TASKS)
    scores: tuple[str, ...] = SCORES  # the scores that select examples
    runs: int = 3  # scoring runs; the mean of their scores selects the examples
    retrainings: int = 3  # trainings on each subset
    early: int = 150  # the step at which the early scores are taken
    partners: int = 2  # an example's bracket scores use its brackets with these; each run draws its own
    fractions: tuple[float, ...] = (0.6, 0.2)  # the fractions of the examples to keep
    noise: float = 0.15  # the share of labels that are replaced by other examples' labels
    window: float = 0.4  # the width of the sliding window
    offsets: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6)  # where the window starts among the examples sorted by score
    band: float = 0.1  # the share of examples in each of the lowest, middle and highest bands
    spawns: tuple[int, ...] = (0, 50, 150, 400)  # the steps at which a run spawns two children
    points: int = 7  # the points on the line between two children, both ends included
    kernel_examples: int = 32  # the examples per band for the kernel

    def checked(self) -> DietSettings:
        """These settings; InputError that names the first setting that cannot be used."""
        self.check_least(runs=1, retrainings=1, steps=2, partners=2, points=2, kernel_examples=1)
        rules: tuple[tuple[str, Any, str], ...] = (
            ("tasks", lambda name: name in TASKS, f"one of {', '.join(TASKS)}"),
            ("scores", lambda name: name in SCORES, f"one of {', '.join(SCORES)}"),
            ("network", lambda name: name in NETWORKS, f"one of {', '.join(NETWORKS)}"),
            ("runs", lambda runs: runs <= RETRAINED, f"at most {RETRAINED}"),
            ("retrainings", lambda runs: runs <= CHILDREN - RETRAINED, f"at most {CHILDREN - RETRAINED}"),
            ("points", lambda points: points <= 1000, "at most 1000"),
            ("early", lambda step: 0 < step < self.steps, f"a step between 0 and {self.steps}, the last"),
            ("spawns", lambda step: 0 <= step < self.steps, f"steps from 0 to {self.steps - 1}"),
            ("fractions", lambda share: 0 < share <= 1, "a share above 0 and at most 1"),
            ("noise", lambda share: 0 <= share < 1, "a share of at least 0 and below 1"),
            ("window", lambda share: 0 < share <= 1, "a share above 0 and at most 1"),
            ("offsets", lambda start: 0 <= start <= 1 - self.window + 1e-9, f"a start from 0 to {1 - self.window:g}"),
            ("band", lambda share: 0 < share <= 1 / 3, "a share above 0 and at most a third"),  # three must not overlap
        )
        for name, holds, expected in rules:
            given = getattr(self, name)
            for item in given if isinstance(given, (tuple, list)) else (given,):
                if not holds(item):
                    raise InputError(f"--{name}: expected {expected}, got {shortened(item)}")
        if not self.tasks:
            raise InputError("--tasks: expected at least one, got none")
        for name in ("tasks", "scores", "fractions", "offsets", "spawns"):
            given = getattr(self, name)
            labels = [label(item) for item in given]
            if len(set(labels)) < len(labels):
                raise InputError(f"--{name}: expected each once, got {' '.join(labels)}")
            if name in ("offsets", "spawns") and list(given) != sorted(given):
                raise InputError(f"--{name}: expected rising numbers, got {' '.join(labels)}")
        return self

    @property
    def scored(self) -> dict[str, int]:
        """When scores are taken: time → step.  With false labels, only the early ones are."""
        return dict(zip(TIMES, (0, self.early, self.steps), strict=True))

    @property
    def watched(self) -> list[int]:
        """The steps at which a run saves its state, for its children and for the kernels."""
        return sorted({*self.spawns, *self.scored.values()})


# fmt: off
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "faces": 640, "size": 16, "runs": 2, "retrainings": 2, "steps": 30, "early": 10, "partners": 2,
        "fractions": (0.6, 0.3), "offsets": (0.0, 0.3, 0.6), "spawns": (0, 10), "points": 3, "kernel_examples": 4,
    },
    "default": {},
    # the loss on held-out images no longer falls at 1,600 steps; two sets of eight partners rank the examples of a run
    # almost alike (Spearman's correlation 0.92 for the attributes, 0.97 for hair); no claim needs what is left out
    "paper": {
        "scores": SCORES[:-1], "runs": 10, "retrainings": 10, "steps": 1600, "early": 200, "partners": 8,
        "offsets": (0.0, 0.3, 0.6), "spawns": (0, 200, 800), "points": 11,
    },
}
# fmt: on


def score_keys(scores: Iterable[str] = SCORES, times: Iterable[str] = TIMES) -> list[str]:
    """SCORE/TIME for each of these scores at each of these times, or at the time at which `ONLY` takes it.

    >>> score_keys(["el2n", "forgetting"], ["start", "early"])
    ['el2n/start', 'el2n/early', 'forgetting/end']
    """
    return [f"{score}/{time}" for score in scores for time in ([ONLY[score]] if score in ONLY else times)]


def spoken(key: str) -> str:
    """SCORE/TIME in words; other names of subsets as they are.

    >>> [spoken(key) for key in ("grand/early", "el2n/start", "bracket/early", "forgetting/end", "random")]
    ['early GraNd', 'EL2N at the start', 'bracket score', 'forgetting', 'random']
    """
    score, _, time = key.partition("/")
    return ("{}" if score in ONLY else TIMES.get(time, "{}")).format(SPOKEN.get(score, score))


def label(value: str | float) -> str:
    """A setting's value as text, for the names of jobs."""
    return value if isinstance(value, str) else f"{value:g}"
