"""The tasks of a diet: which images and labels they use, and which labels are made false."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lie_ref.diet.tasks import attributes, hair
from lie_ref.images.dataset import Dataset, Images
from lie_ref.images.labels import HAIR
from lie_ref.machine.errors import InputError


def test_hair_uses_the_images_with_exactly_one_hair_colour(faces: Dataset) -> None:
    task = hair(faces)
    columns = [faces.attributes.index(name) for name in HAIR]
    for row in task.rows:
        assert faces.labels[row, columns].sum() == 1
        assert faces.labels[row, columns[task.dataset.labels[row]]] == 1
    left_out = np.setdiff1d(faces.indices("train"), task.rows)
    assert len(left_out) > 0
    assert (faces.labels[np.ix_(left_out, columns)].sum(axis=1) != 1).all()
    assert set(task.dataset.indices("test")) < set(faces.indices("test"))
    assert (task.loss, task.outputs) == ("softmax", HAIR)


def test_a_batch_of_classes_keeps_their_integers(faces: Dataset) -> None:
    task = hair(faces)
    x, y = task.dataset.batch(task.rows[:5])
    assert (x.shape, x.dtype) == ((5, 3, 16, 16), np.float32)
    np.testing.assert_array_equal(y, task.dataset.labels[task.rows[:5]])
    assert np.issubdtype(y.dtype, np.integer)


def test_slices_of_images_are_those_of_the_data_set(faces: Dataset) -> None:
    rows = faces.indices("test")
    images = Images(faces, rows)
    assert len(images) == len(rows)
    np.testing.assert_array_equal(images[2:5], faces.batch(rows[2:5])[0])


def test_attributes_uses_all_images_and_attributes(faces: Dataset) -> None:
    task = attributes(faces)
    assert (task.loss, task.outputs) == ("bce", faces.attributes)
    np.testing.assert_array_equal(task.rows, faces.indices("train"))


def test_keeping_rows_leaves_the_other_splits(faces: Dataset) -> None:
    task = hair(faces)
    kept = task.keeping(task.rows[3:50])
    np.testing.assert_array_equal(kept.rows, task.rows[3:50])
    for split in ("validation", "test"):
        np.testing.assert_array_equal(kept.dataset.indices(split), task.dataset.indices(split))


@pytest.mark.parametrize("make", [attributes, hair])
def test_false_labels_are_labels_of_other_training_examples(make, faces: Dataset) -> None:
    task = make(faces)
    noisy = task.with_noise(0.2, np.random.default_rng(1))
    false = noisy.false_labels(task)
    before, after = task.dataset.labels, noisy.dataset.labels
    changed = (before != after).reshape(len(before), -1).any(axis=1)
    np.testing.assert_array_equal(false, changed[task.rows])
    assert changed.sum() == false.sum()  # held-out labels stay true
    assert 0.1 * len(task.rows) < false.sum() <= round(0.2 * len(task.rows))
    np.testing.assert_array_equal(np.sort(before, axis=0), np.sort(after, axis=0))  # they are exchanged
    np.testing.assert_array_equal(task.with_noise(0.2, np.random.default_rng(1)).dataset.labels, after)
    assert not np.array_equal(task.with_noise(0.2, np.random.default_rng(2)).dataset.labels, after)
    assert not task.with_noise(0.0, np.random.default_rng(1)).false_labels(task).any()


def test_a_data_set_without_images_of_exactly_one_hair_colour_is_refused(faces: Dataset) -> None:
    bald = replace(faces, labels=np.zeros_like(faces.labels))
    with pytest.raises(InputError, match="no image of the train split has exactly one hair colour"):
        hair(bald)
