"""Says what is seen in a folder of CelebA, what would be used, and what is missing, without reading all of it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..machine.errors import InputError
from .celeba import NO_ATTRIBUTES, NO_IMAGES, find
from .dataset import SPLITS, check_splits, split_in_order
from .lists import NO_PARTITION, TextFile, counterparts, read_attributes, read_partition
from .pictures import read_picture
from .sources import Source, shown

PROBLEM, MISSING = "problem", "missing"
Lines = Iterator[tuple[str, str]]


def diagnosis(folder: Path) -> Lines:
    """What was looked for, and what was found: a pair of texts for each; `PROBLEM` is what stands in the way.

    The lists are read; of the images, only the first, the middle and the last are.  Raises InputError for a folder that
    does not exist.
    """
    attributes, partition, source, damaged = find(folder)
    yield from (("damaged", text) for text in damaged)
    listed: list[str] = []
    try:
        if attributes is None:
            raise InputError(NO_ATTRIBUTES)
        listed = [*read_attributes(attributes, subset=True)[0]]
        yield "attributes", f"{attributes.path}: 40 attributes of {len(listed):,} images"
    except InputError as error:
        yield PROBLEM, str(error)
    if source is None:
        yield PROBLEM, NO_IMAGES
        return
    yield from _images(source)
    there = counterparts(listed, [name for name, *_ in source.files])
    taken = [name for name in listed if name in there]
    if listed and attributes is not None:
        try:
            read_attributes(attributes, subset=False)
        except InputError as error:
            yield MISSING, str(error)
    if missing := [name for name in listed if name not in there]:
        yield MISSING, f"{len(missing):,} listed images, the first: {shown(missing[0])}; --subset leaves them out"
    if attributes is not None and taken:
        yield from _split(partition or attributes, partition, taken)
    elif listed:
        yield PROBLEM, "no listed image is there"


def _images(source: Source) -> Lines:
    names, size = [name for name, *_ in source.files], sum(of[1] for of in source.files)
    yield "images", f"{source.path}: {len(names):,} files, {size / 1e6:,.0f} MB"
    for name in dict.fromkeys((names[0], names[len(names) // 2], names[-1])):
        try:
            read_picture(source.path, source.prefix, 8, name)
        except InputError as error:
            yield PROBLEM, str(error)


def _split(where: TextFile, partition: TextFile | None, taken: Sequence[str]) -> Lines:
    try:
        split = read_partition(partition, [*taken]) if partition else split_in_order(len(taken))
        counts = ", ".join(f"{np.sum(split == k):,} {name}" for k, name in enumerate(SPLITS))
        yield "partition", f"{partition.path if partition else NO_PARTITION}: {counts}"
        check_splits(where.path, split)
    except InputError as error:
        yield PROBLEM, str(error)
