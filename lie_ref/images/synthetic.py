"""The synthetic faces as a data set on disk, in the same form as CelebA."""

import functools
import hashlib
from pathlib import Path

import numpy as np

from .dataset import Dataset, build_cache, check_splits, load_cache, split_in_order
from .labels import ATTRIBUTES, sample_attributes
from .painter import draw_face

SAMPLE = 32  # faces in the fingerprint


def faces_dataset(
    cache: Path, n: int = 10_000, seed: int = 0, size: int = 64, exclusive: bool = True, ambiguity: float = 1.0
) -> Dataset:
    """n synthetic faces, drawn once into a folder of `cache`, split 80 / 10 / 10 % in order.

    For `exclusive` see `sample_attributes`, for `ambiguity` see `draw_face`.  The folder's name holds a fingerprint of
    the labels and of some faces, so that a version that draws differently does not read this cache.
    """
    split = split_in_order(n)
    check_splits(f"{n:,} synthetic faces", split)
    labels = sample_attributes(n, seed, exclusive)
    draw, numbered = functools.partial(_draw, seed, size, ambiguity), list(enumerate(labels))
    digest = hashlib.sha256(labels.tobytes())
    for face in numbered[:SAMPLE]:
        digest.update(draw(face).tobytes())
    home = cache / f"faces-{n}-{size}-seed{seed}-{digest.hexdigest()[:16]}"
    if home.exists():
        return load_cache(home, ATTRIBUTES)
    knobs = ", hair colours independent" * (not exclusive) + f", ambiguity {ambiguity:g}" * (ambiguity != 1)
    planned = Dataset(
        name=f"synthetic faces, seed {seed}{knobs}",
        attributes=ATTRIBUTES,
        files=np.array([f"face {index:06}" for index in range(n)]),
        labels=labels,
        split=split,
        images=home / "images.npy",
        size=size,
        listed=n,
        notes=("the first 80 % train, the next 10 % validate and the rest test",),
    )
    return build_cache(planned, draw, numbered)


def _draw(seed: int, size: int, ambiguity: float, face: tuple[int, np.ndarray]) -> np.ndarray:
    index, labels = face
    return draw_face(labels, seed, index, size, ambiguity)
