"""What decides the result of a data diet, and its three sizes: a quick one, the default one, and the paper's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.networks import PRESETS as NETWORKS
from ..machine.errors import InputError
from ..study.settings import StudySettings
from .tasks import TASKS

SCORES = ("grand", "el2n", "bracket", "relative", "forgetting")
TIMES = ("start", "early", "end")  # when a score is taken; forgetting is of the whole training
RETRAINED, CHILDREN = 100, 1000  # seeds of retrainings and of children's orders begin here, after those of the runs


@dataclass(frozen=True)
class DietSettings(StudySettings):
    """What decides the result of a diet; shares are of the training examples."""

    faces: int = 8_000
    size: int = 32
    steps: int = 500
    seed: int = 0  # of faces, false labels, partners and random choices; runs have the seeds 0, 1, 2, …
    network: str = "mxresnet-tiny"
    tasks: tuple[str, ...] = tuple(TASKS)
    scores: tuple[str, ...] = SCORES  # by which examples are chosen
    runs: int = 3  # for the scores, whose mean chooses the examples
    retrainings: int = 3  # for each choice of examples
    early: int = 150  # the step at which scores are early
    partners: int = 2  # for the bracket scores, others in each run
    fractions: tuple[float, ...] = (0.6, 0.2)  # that are kept
    noise: float = 0.15  # of the labels are false
    window: float = 0.4  # its width
    offsets: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6)  # where it begins, in the order of rising scores
    band: float = 0.1  # of the lowest, middle and highest scores
    spawns: tuple[int, ...] = (0, 50, 150, 400)  # the steps at which two children leave their parent
    points: int = 7  # of the line between them
    kernel_examples: int = 32  # of each band

    def checked(self) -> DietSettings:
        """These settings, or InputError naming the first that cannot be used."""
        for name, known in (("tasks", tuple(TASKS)), ("scores", SCORES), ("network", tuple(NETWORKS))):
            given = getattr(self, name)
            for item in (given,) if isinstance(given, str) else given:
                if item not in known:
                    raise InputError(f"--{name}: expected one of {', '.join(known)}, got {item!r}")
        if not self.tasks:
            raise InputError("--tasks: expected one at least, got none")
        for name in ("tasks", "scores", "fractions", "offsets", "spawns"):
            given = getattr(self, name)
            if len(set(map(label, given))) < len(given):
                raise InputError(f"--{name}: expected each once, got {' '.join(map(label, given))}")
        self.check_least(runs=1, retrainings=1, steps=2, partners=2, points=2, kernel_examples=1)
        if self.runs > RETRAINED:
            raise InputError(f"--runs: expected at most {RETRAINED}, got {self.runs}")
        for name in ("offsets", "spawns"):
            given = getattr(self, name)
            if list(given) != sorted(given):
                raise InputError(f"--{name}: expected rising numbers, got {' '.join(map(str, given))}")
        if not 0 < self.early < self.steps:
            raise InputError(f"--early: expected a step between 0 and {self.steps}, the last, got {self.early}")
        _check_share("window", self.window)
        if not 0 < self.band <= 1 / 3:  # or the lowest, the middle and the highest would overlap
            raise InputError(f"--band: expected a share above 0 and at most a third, got {self.band}")
        for fraction in self.fractions:
            _check_share("fractions", fraction)
        if not 0 <= self.noise < 1:
            raise InputError(f"--noise: expected a share of at least 0 and below 1, got {self.noise}")
        for offset in self.offsets:
            if not 0 <= offset <= 1 or offset + self.window > 1 + 1e-9:
                raise InputError(
                    f"--offsets: expected a window within 0 to 100 %, got {offset:.0%} to {offset + self.window:.0%}"
                )
        for step in self.spawns:
            if not 0 <= step < self.steps:
                raise InputError(f"--spawns: expected steps from 0 to {self.steps - 1}, got {step}")
        return self

    def rng(self, purpose: str, number: int = 0) -> np.random.Generator:
        """Random numbers of their own for each purpose.

        From one stream partners would be the first of the false labels, which a run would then see first of all.
        """
        return np.random.default_rng([self.seed, number, *purpose.encode()])

    @property
    def scored(self) -> dict[str, int]:
        """When scores are taken: time → step; with false labels, early alone."""
        return dict(zip(TIMES, (0, self.early, self.steps), strict=True))

    @property
    def watched(self) -> list[int]:
        """The steps at which the state of a run is kept: for its children and for the kernels."""
        return sorted({*self.spawns, *self.scored.values()})


PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "faces": 640,
        "size": 16,
        "runs": 2,
        "retrainings": 2,
        "steps": 30,
        "early": 10,
        "partners": 2,
        "fractions": (0.6, 0.3),
        "offsets": (0.0, 0.3, 0.6),
        "spawns": (0, 10),
        "points": 3,
        "kernel_examples": 4,
    },
    "default": {},
    "paper": {
        "size": 64,
        "runs": 10,
        "retrainings": 4,
        "steps": 5000,
        "early": 1000,
        "partners": 16,
        "fractions": (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1),
        "offsets": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6),
        "spawns": (0, 50, 100, 200, 500, 1000, 2000),
        "points": 11,
        "kernel_examples": 100,
    },
}


def score_keys(scores: Sequence[str] = SCORES, times: Sequence[str] = TIMES) -> list[str]:
    """SCORE/TIME of each of these scores at these times; forgetting has but one.

    >>> score_keys(["el2n", "forgetting"], ["start", "early"])
    ['el2n/start', 'el2n/early', 'forgetting/end']
    """
    return [f"{score}/{time}" for score in scores for time in (("end",) if score == "forgetting" else times)]


def label(value: str | float) -> str:
    """How a setting's value is called in the names of jobs."""
    return value if isinstance(value, str) else f"{value:g}"


def _check_share(name: str, share: float) -> None:
    if not 0 < share <= 1:
        raise InputError(f"--{name}: expected a share above 0 and at most 1, got {share}")
