"""The synthetic faces as a data set: the same form as CelebA's, drawn once, the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lie_ref.images import synthetic
from lie_ref.images.labels import ATTRIBUTES, HAIR, sample_attributes
from lie_ref.images.painter import draw_face
from lie_ref.images.synthetic import faces_dataset
from lie_ref.machine.errors import InputError


def test_faces_are_those_that_the_seed_draws(tmp_path: Path) -> None:
    dataset = faces_dataset(tmp_path, n=330, seed=3, size=32)
    labels = sample_attributes(330, seed=3)
    assert (dataset.attributes, dataset.size, dataset.listed) == (ATTRIBUTES, 32, 330)
    np.testing.assert_array_equal(dataset.labels, labels)
    assert [dataset.indices(split).size for split in ("train", "validation", "test")] == [264, 33, 33]
    pixels = np.load(dataset.images)
    for index in (0, 100, 329):
        np.testing.assert_array_equal(pixels[index], draw_face(labels[index], 3, index, 32))


def test_second_call_draws_no_set_and_another_seed_or_drawing_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = faces_dataset(tmp_path, n=320, size=16)
    assert faces_dataset(tmp_path, n=320, seed=1, size=16).images != first.images
    with monkeypatch.context() as patch:
        patch.setattr(synthetic, "build_cache", None)
        assert faces_dataset(tmp_path, n=320, size=16).images == first.images
    assert faces_dataset(tmp_path, n=320, size=16, ambiguity=2.0).images != first.images
    monkeypatch.setattr(synthetic, "draw_face", lambda *_: np.zeros((16, 16, 3), np.uint8))
    assert faces_dataset(tmp_path, n=320, size=16).images != first.images


def test_too_few_faces_for_an_evaluation_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="310 synthetic faces: the test split has 31 images"):
        faces_dataset(tmp_path, n=310)


def test_the_knobs_of_hair_reach_labels_and_pictures_and_are_named(tmp_path: Path) -> None:
    several = faces_dataset(tmp_path, n=2000, size=8, exclusive=False)
    np.testing.assert_array_equal(several.labels, sample_attributes(2000, seed=0, exclusive=False))
    hair = [ATTRIBUTES.index(name) for name in HAIR]
    assert several.labels[:, hair].sum(axis=1).max() > 1
    clear = faces_dataset(tmp_path, n=320, size=16, ambiguity=0.0)
    np.testing.assert_array_equal(np.load(clear.images)[7], draw_face(clear.labels[7], 0, 7, 16, ambiguity=0.0))
    assert several.name == "synthetic faces, seed 0, hair colours independent"
    assert clear.name == "synthetic faces, seed 0, ambiguity 0"
