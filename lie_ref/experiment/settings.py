"""The settings of the experiment: the published protocol, and what can be chosen differently."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.losses import LOSSES, LossFunction
from ..core.networks import PRESETS
from ..images.labels import HAIR
from ..machine.errors import InputError, shortened
from ..study.settings import StudySettings
from .exclusive import exclusive

CHECKPOINTS = (0, 10, 30, 100, 200, 400, 600, 1000, 1500, 2000, 3000, 4000, 5000)


@dataclass(frozen=True)
class Settings(StudySettings):
    """Everything that decides the result of a run.  The defaults are the published protocol on synthetic faces."""

    preset: str = "mxresnet-tiny"
    exclusive_hair: bool = False  # the loss encodes that hair has at most one colour
    independent_hair: bool = False  # synthetic hair may have several colours
    ambiguity: float = 1.0  # how far the colour of synthetic hair strays from its label

    def checked(self) -> Settings:
        """These settings.  Raises InputError for the first that cannot be used."""
        if self.preset not in PRESETS:
            raise InputError(f"--preset: expected one of {', '.join(PRESETS)}, got {shortened(self.preset)}")
        self.check_least(steps=0)
        if not 0 <= self.ambiguity < float("inf"):
            raise InputError(f"--ambiguity: expected a number >= 0, got {self.ambiguity}")
        return self

    @property
    def checkpoints(self) -> list[int]:
        """The steps at which weights are kept: those of the protocol, and the last step."""
        return sorted({step for step in CHECKPOINTS if step < self.steps} | {self.steps})

    def exclusive(self, attributes: Sequence[str]) -> list[int]:
        """The columns of the attributes that exclude each other in the loss."""
        return [list(attributes).index(name) for name in HAIR] if self.exclusive_hair else []

    def loss(self, attributes: Sequence[str]) -> LossFunction:
        """The loss of a network with one logit for each of these attributes."""
        columns = self.exclusive(attributes)
        return exclusive(columns) if columns else LOSSES["bce"]
