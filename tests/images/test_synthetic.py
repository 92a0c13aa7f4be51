"""The synthetic faces as a data set: it has the form of CelebA, is drawn once, and is determined by the arguments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lie_ref.images import synthetic
from lie_ref.images.labels import ATTRIBUTES, sample_attributes
from lie_ref.images.painter import draw_face
from lie_ref.images.synthetic import faces_dataset
from lie_ref.machine.errors import InputError


@pytest.mark.parametrize(
    ("exclusive", "ambiguity", "note"),
    [(True, 1.0, ""), (False, 1.0, ", hair colours independent"), (True, 0.0, ", ambiguity 0")],
)
def test_faces_follow_from_the_arguments(tmp_path: Path, exclusive: bool, ambiguity: float, note: str) -> None:
    dataset = faces_dataset(tmp_path, n=330, seed=3, size=16, exclusive=exclusive, ambiguity=ambiguity)
    labels = sample_attributes(330, seed=3, exclusive=exclusive)
    assert dataset.name == f"synthetic faces, seed 3{note}"
    assert (dataset.attributes, dataset.size, dataset.listed) == (ATTRIBUTES, 16, 330)
    np.testing.assert_array_equal(dataset.labels, labels)
    assert [dataset.indices(split).size for split in ("train", "validation", "test")] == [264, 33, 33]
    pixels = np.load(dataset.images)
    for index in (0, 100, 329):
        np.testing.assert_array_equal(pixels[index], draw_face(labels[index], 3, index, 16, ambiguity))


def test_a_second_call_uses_the_cache_unless_seed_or_drawing_changed(tmp_path: Path, monkeypatch) -> None:
    first = faces_dataset(tmp_path, n=320, size=16)
    for change in ({"seed": 1}, {"ambiguity": 2.0}, {"exclusive": False}):
        assert faces_dataset(tmp_path, n=320, size=16, **change).images != first.images
    with monkeypatch.context() as patch:
        patch.setattr(synthetic, "build_cache", None)
        assert faces_dataset(tmp_path, n=320, size=16).images == first.images
    monkeypatch.setattr(synthetic, "draw_face", lambda *_: np.zeros((16, 16, 3), np.uint8))
    assert faces_dataset(tmp_path, n=320, size=16).images != first.images


def test_too_few_faces_for_an_evaluation_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="310 synthetic faces: the test split has 31 images"):
        faces_dataset(tmp_path, n=310)
