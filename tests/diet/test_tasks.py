"""The tasks of a diet: which images they have, which labels, and what is false about some of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lie_ref.diet.tasks import attributes, hair
from lie_ref.images.dataset import Dataset, Images
from lie_ref.images.labels import HAIR
from lie_ref.machine.errors import InputError


def test_hair_has_the_images_with_one_colour_and_says_which(faces: Dataset) -> None:
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


def test_images_are_read_when_they_are_sliced(faces: Dataset) -> None:
    rows = faces.indices("test")
    images = Images(faces, rows)
    assert len(images) == len(rows)
    np.testing.assert_array_equal(images[2:5], faces.batch(rows[2:5])[0])


def test_attributes_are_all_of_them(faces: Dataset) -> None:
    task = attributes(faces)
    assert (task.loss, task.outputs) == ("bce", faces.attributes)
    np.testing.assert_array_equal(task.rows, faces.indices("train"))


def test_keeping_rows_leaves_what_is_tested_on(faces: Dataset) -> None:
    task = hair(faces)
    kept = task.keeping(task.rows[3:50])
    np.testing.assert_array_equal(kept.rows, task.rows[3:50])
    for split in ("validation", "test"):
        np.testing.assert_array_equal(kept.dataset.indices(split), task.dataset.indices(split))


@pytest.mark.parametrize("make", [attributes, hair])
def test_false_labels_are_other_examples_labels_of_the_share_that_was_asked_for(make, faces: Dataset) -> None:
    task = make(faces)
    noisy, false = task.with_noise(0.2, np.random.default_rng(1))
    before, after = task.dataset.labels, noisy.dataset.labels
    changed = (before != after).reshape(len(before), -1).any(axis=1)
    np.testing.assert_array_equal(false, changed)
    assert set(np.flatnonzero(false)) <= set(task.rows)  # held-out labels are true
    assert 0.1 * len(task.rows) < false.sum() <= round(0.2 * len(task.rows))
    np.testing.assert_array_equal(np.sort(before, axis=0), np.sort(after, axis=0))  # none is made up
    again, _ = task.with_noise(0.2, np.random.default_rng(1))
    np.testing.assert_array_equal(again.dataset.labels, after)
    assert not np.array_equal(task.with_noise(0.2, np.random.default_rng(2))[0].dataset.labels, after)
    assert not task.with_noise(0.0, np.random.default_rng(1))[1].any()


def test_a_data_set_without_one_hair_colour_is_refused(faces: Dataset) -> None:
    bald = replace(faces, labels=np.zeros_like(faces.labels))
    with pytest.raises(InputError, match="no image of the train split has exactly one hair colour"):
        hair(bald)
