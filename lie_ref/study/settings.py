"""The settings of a run that both studies have: images, optimizer and number of steps."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..images.celeba import celeba_dataset
from ..images.dataset import Dataset
from ..images.synthetic import faces_dataset
from ..machine.errors import InputError, shortened

LARGEST = 2**31 - 1  # for all integers
MOST = 2**36  # bytes that the images may take on the disk, and a training step in memory
FACE, PIXEL = 1000, 100  # bytes for the attributes of a face; for a pixel in the sweep of the smallest network


def stream(seed: int, purpose: str, number: int = 0) -> np.random.Generator:
    """A random stream for one purpose, independent of those for others.

    >>> int(stream(0, "weights").integers(100)), int(stream(0, "order").integers(100))
    (96, 7)
    """
    return np.random.default_rng([seed, number, *purpose.encode()])


def command_line(kind: type, name: str, given: Mapping[str, Any]) -> str:
    """The command `lie-ref NAME` that has the given settings of a kind, with DIR for the folder of CelebA.

    Settings that have their default are left out.  Those in `given` that the kind does not know are options, too.
    """
    defaults = {field.name: field.default for field in fields(kind)}
    words = ["lie-ref", name]
    for key, value in given.items():
        values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
        if defaults.get(key) not in (values, value):
            shown = ("DIR",) if key == "celeba" else tuple(str(of) for of in values if of is not True)
            words += [f"--{key.replace('_', '-')}", *shown]
    return " ".join(words)


@dataclass(frozen=True)
class StudySettings:
    """The settings that the experiment and the diet share.  The optimizer is that of the published protocol."""

    celeba: str | None = None  # folder of CelebA; None for synthetic faces
    subset: bool = False
    skip_bad: bool = False
    faces: int = 10_000
    size: int = 64
    steps: int = 5000
    seed: int = 0
    batch: int = 32
    lr: float = 5e-3
    betas: tuple[float, float] = (0.8, 0.999)

    def check_least(self, **least: int) -> None:
        """Raise InputError for the first of these settings that is too small or too large, or a bad learning rate."""
        for name, value in {"seed": 0, "batch": 2, "size": 8, "faces": 320, **least}.items():
            option, given = name.replace("_", "-"), getattr(self, name)
            if given < value:
                raise InputError(f"--{option}: expected an integer >= {value}, got {shortened(given)}")
            if given > LARGEST:
                raise InputError(f"--{option}: expected an integer <= {LARGEST}, got {shortened(given)}")
        pixels = self.size**2
        for option, taken in {"size": self.batch * PIXEL * pixels, "faces": self.faces * (FACE + 3 * pixels)}.items():
            if taken > MOST:
                took = f"{getattr(self, option)}, which would take {taken >> 30:,} GiB with the other options"
                raise InputError(f"--{option}: expected what takes at most {MOST >> 30} GiB, got {took}")
        if not 0 < self.lr < float("inf"):
            raise InputError(f"--lr: expected a number > 0, got {self.lr}")

    def command(self, name: str, **more: Any) -> str:
        """The `command_line` that has these settings, and more options.

        >>> StudySettings(celeba="/data", batch=16).command("findings", seeds=10)
        'lie-ref findings --celeba DIR --batch 16 --seeds 10'
        """
        return command_line(type(self), name, vars(self) | more)

    def rng(self, purpose: str, number: int = 0) -> np.random.Generator:
        """The `stream` of these settings for one purpose."""
        return stream(self.seed, purpose, number)

    def open_images(self, cache: Path, exclusive: bool = True, ambiguity: float = 1.0) -> Dataset:
        """The images, which are decoded or drawn only once, into a folder of `cache`.  Prints their name and notes.

        `exclusive` and `ambiguity` are those of `faces_dataset`.
        """
        if self.celeba is None:
            dataset = faces_dataset(cache, self.faces, self.seed, self.size, exclusive, ambiguity)
        else:
            dataset = celeba_dataset(Path(self.celeba), cache, self.size, self.subset, self.skip_bad)
        for line in (f"data: {dataset.name}, {len(dataset):,} images", *dataset.notes):
            print(line, flush=True)
        return dataset
