"""CelebA as it is distributed: images in a folder or zip, attributes and partition as text or csv, or a zip of all."""

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..machine.errors import InputError
from .dataset import Dataset, build_cache, check_splits, load_cache, split_in_order
from .labels import ATTRIBUTES
from .lists import NO_PARTITION, TextFile, counterparts, find_list, read_attributes, read_partition
from .pictures import read_picture
from .sources import IMAGES, Source, image_sources, open_zips, places, shown

NO_ATTRIBUTES = "no list_attr_celeba.txt or .csv in it or its sub-folders Anno, Eval, Img"
NO_IMAGES = f"no images, expected a folder {IMAGES[0]} or {IMAGES[0]}.zip in it or in Img"
DECODER = "2"  # goes up when the same files are decoded to other pixels


class Found(NamedTuple):
    """What was found of CelebA, None for what was not, and what is wrong with zips that cannot be opened."""

    attributes: TextFile | None
    partition: TextFile | None
    source: Source | None
    damaged: Sequence[str]


def find(folder: Path) -> Found:
    """Look for CelebA's lists and images; of several places with images, the one with most of them is taken."""
    folders, zips = places(folder)
    archives, damaged = open_zips(zips)
    attributes, partition = (find_list(folders, archives, stem) for stem in ("list_attr_celeba", "list_eval_partition"))
    source = max(image_sources(folders, archives), key=lambda source: len(source.files), default=None)
    return Found(attributes, partition, source, damaged)


def celeba_dataset(folder: Path, cache: Path, size: int = 64, subset: bool = False, skip_bad: bool = False) -> Dataset:
    """CelebA from `folder`, its images cropped square and resized to size x size, decoded once into `cache`.

    `folder` may also be a file in it, or the folder above, or Kaggle's zip of all.  The name of the cache holds a
    fingerprint of the source, so that a changed source is decoded again and a moved one is not: the bytes of both
    lists, and the names, sizes and (in a zip) check sums of the images.  Without a partition file the split follows the
    list's order (80 / 10 / 10 %).  `subset` takes the listed images that are there; `skip_bad` drops images that cannot
    be read.  `InputError` names the file and the place that cannot be used.
    """
    attributes, partition, source, damaged = find(folder)
    if damaged and (attributes is None or source is None):
        raise InputError(damaged[0])
    if attributes is None:
        raise InputError(f"{folder}: {NO_ATTRIBUTES}")
    if source is None:
        raise InputError(f"{folder}: {NO_IMAGES}")
    options = "-subset" * subset + "-skip-bad" * skip_bad
    home = cache / f"celeba-{size}{options}-{_fingerprint(attributes, partition, source)}"
    if home.exists():
        return load_cache(home, ATTRIBUTES)

    rows, listed = read_attributes(attributes, subset)
    names = counterparts(rows, [name for name, *_ in source.files])
    taken = [name for name in rows if name in names]
    missing = [name for name in rows if name not in names]
    if missing and not (subset and taken):
        found = f"found {shown(source.files[0][0])}"
        raise InputError(
            f"{source.path}: {len(missing):,} of the {len(rows):,} images named in {attributes.path.name} are "
            f"missing, the first: {shown(missing[0])} ({'--subset takes those that are there' if taken else found})"
            + "".join(f"; {problem}" for problem in damaged)
        )
    if partition is None:
        split = split_in_order(len(taken))
        origin = "no partition file, so the first 80 % train, the next 10 % validate and the rest test, in list order"
    else:
        split = read_partition(partition, taken)
        origin = f"split read from {partition.path.name}"
    check_splits((partition or attributes).path, split, f"; {NO_PARTITION}" if partition and subset else "")
    unused = tuple(f"not used: {problem}" for problem in damaged)
    planned = Dataset(
        name="CelebA",
        attributes=ATTRIBUTES,
        files=np.array([shown(name) for name in taken]),
        labels=np.frombuffer(b"".join(rows[name] for name in taken), np.uint8).reshape(-1, len(ATTRIBUTES)),
        split=split,
        images=home / "images.npy",
        size=size,
        listed=listed,
        notes=(f"{len(taken):,} of the {listed:,} listed images taken", origin, *unused),
    )
    decode = functools.partial(read_picture, source.path, source.prefix, size)
    return build_cache(planned, decode, [names[name] for name in taken], skip_bad)


def _fingerprint(attributes: TextFile, partition: TextFile | None, source: Source) -> str:
    stamp = hashlib.sha256("".join(f"{file!a}\n" for file in source.files).encode()).hexdigest()
    digest = hashlib.sha256(f"{DECODER} {source.prefix} {stamp}".encode(errors="surrogateescape"))
    for found in (attributes, partition):
        digest.update(hashlib.sha256(found.data).digest() if found else b"none")
    return digest.hexdigest()[:16]
