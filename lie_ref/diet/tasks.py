"""What the diet is tried on: the attributes of a data set or the colour of hair, of all examples or some, or noisy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..core.types import Array
from ..images.dataset import SPLITS, Dataset
from ..images.labels import HAIR
from ..machine.errors import InputError

UNUSED = len(SPLITS)  # the split of rows that a task leaves out


@dataclass(frozen=True, eq=False)
class Task:
    """A data set whose labels fit `loss`, a name of `LOSSES`, for a network with one logit for each of `outputs`."""

    name: str
    dataset: Dataset
    loss: str
    outputs: tuple[str, ...]

    @property
    def rows(self) -> Array:
        """The row numbers of the training examples, ascending."""
        return self.dataset.indices("train")

    def keeping(self, rows: Array) -> Task:
        """The same task with these training examples alone; what it is tested on stays."""
        split = self.dataset.split.copy()
        split[np.setdiff1d(self.rows, rows)] = UNUSED
        return replace(self, dataset=replace(self.dataset, split=split))

    def with_noise(self, share: float, rng: np.random.Generator) -> tuple[Task, Array]:
        """The task with a share of the training labels replaced by other examples' labels, and which rows are false.

        The labels of examples chosen by `rng` go round among them.  `false` (n,) bool, of the rows of the data set,
        leaves out those that got a label equal to their own.
        """
        chosen = rng.permutation(self.rows)[: round(share * len(self.rows))]
        labels = self.dataset.labels.copy()
        labels[chosen] = np.roll(labels[chosen], 1, axis=0)
        changed = labels != self.dataset.labels
        false = changed if changed.ndim == 1 else changed.any(axis=1)
        return replace(self, dataset=replace(self.dataset, labels=labels)), false


def attributes(dataset: Dataset) -> Task:
    """All attributes at once, by mean binary cross-entropy."""
    return Task("attributes", dataset, "bce", dataset.attributes)


def hair(dataset: Dataset) -> Task:
    """Which colour hair has, by one softmax, of the pictures that say just one.

    InputError if a split has none of them.
    """
    columns = [dataset.attributes.index(name) for name in HAIR]
    colours = dataset.labels[:, columns]
    split = np.where(colours.sum(axis=1) == 1, dataset.split, UNUSED).astype(np.uint8)
    for number, name in enumerate(SPLITS):
        if not (split == number).any():
            raise InputError(f"{dataset.name}: no picture of the {name} split has just one hair colour")
    return Task("hair", replace(dataset, labels=colours.argmax(axis=1), split=split), "softmax", HAIR)


TASKS: dict[str, Callable[[Dataset], Task]] = {"attributes": attributes, "hair": hair}
