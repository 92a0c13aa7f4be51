"""The tasks of a diet: all attributes at once, or the hair colour; on all examples or some, with or without noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..core.types import Array
from ..images.dataset import SPLITS, Dataset
from ..images.labels import HAIR
from ..machine.errors import InputError

UNUSED = len(SPLITS)  # the split number of rows that a task does not use


@dataclass(frozen=True, eq=False)
class Task:
    """A data set and the loss for its labels, a name in `LOSSES`; the network has one logit for each of `outputs`."""

    name: str
    dataset: Dataset
    loss: str
    outputs: tuple[str, ...]

    @property
    def rows(self) -> Array:
        """The row numbers of the training examples, ascending."""
        return self.dataset.indices("train")

    def targets(self, rows: Array) -> Array:
        """The labels of these rows in the form that the loss takes."""
        y = self.dataset.labels[rows]
        return y if y.ndim == 1 else y.astype(np.float32)

    def keeping(self, rows: Array) -> Task:
        """The task with only these training examples; the other splits stay."""
        split = self.dataset.split.copy()
        split[np.setdiff1d(self.rows, rows)] = UNUSED
        return replace(self, dataset=replace(self.dataset, split=split))

    def with_noise(self, share: float, rng: np.random.Generator) -> Task:
        """The task in which a share of the training examples, chosen by `rng`, have passed their labels round."""
        chosen = rng.permutation(self.rows)[: round(share * len(self.rows))]
        labels = self.dataset.labels.copy()
        labels[chosen] = np.roll(labels[chosen], 1, axis=0)
        return replace(self, dataset=replace(self.dataset, labels=labels))

    def false_labels(self, true: Task) -> Array:
        """Which training examples (n,) bool have another label than in `true`: some may have received an equal one."""
        changed = self.dataset.labels[self.rows] != true.dataset.labels[self.rows]
        return changed.reshape(len(changed), -1).any(axis=1)


def attributes(dataset: Dataset) -> Task:
    """All attributes at once, with the mean binary cross-entropy."""
    return Task("attributes", dataset, "bce", dataset.attributes)


def hair(dataset: Dataset) -> Task:
    """The hair colour, with one softmax, on the images with exactly one; InputError if a split has no such image."""
    columns = [dataset.attributes.index(name) for name in HAIR]
    colours = dataset.labels[:, columns]
    split = np.where(colours.sum(axis=1) == 1, dataset.split, UNUSED).astype(np.uint8)
    for number, name in enumerate(SPLITS):
        if not (split == number).any():
            raise InputError(f"{dataset.name}: no image of the {name} split has exactly one hair colour")
    return Task("hair", replace(dataset, labels=colours.argmax(axis=1), split=split), "softmax", HAIR)


TASKS: dict[str, Callable[[Dataset], Task]] = {"attributes": attributes, "hair": hair}
