"""CelebA as it is distributed: images in a folder or a zip, attributes and partition as `.txt` or Kaggle's `.csv`."""

import functools
import hashlib
import io
import os
import zipfile
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..machine.errors import InputError
from ..machine.files import first_line
from .dataset import Dataset, build_cache, check_splits, load_cache, split_in_order
from .labels import ATTRIBUTES

PLACES = ("", "Anno", "Eval", "Img")  # the sub-folders of the official distribution
IMAGES = "img_align_celeba"
PREFIXES = (f"{IMAGES}/", f"{IMAGES}/{IMAGES}/", "")  # inside a zip; the doubled one is Kaggle's
ATTRIBUTE_CODES = {"-1": 0, "1": 1}
SPLIT_CODES = {"0": 0, "1": 1, "2": 2}
NO_PARTITION = "without this file the split follows the list's order"


def celeba_dataset(folder: Path, cache: Path, size: int = 64, subset: bool = False, skip_bad: bool = False) -> Dataset:
    """CelebA from `folder`, its images cropped square and resized to size x size, decoded once into `cache`.

    The name of the cache holds a fingerprint of the source, so that a changed source is decoded again and a moved one
    is not: the bytes of both lists, and the names, sizes and (in a zip) check sums of the images.  Without a partition
    file the split follows the list's order (80 / 10 / 10 %).  `subset` takes the listed images that are there;
    `skip_bad` drops images that cannot be read.  `InputError` names the file and the place that cannot be used.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    attributes, partition = _find(folder, "list_attr_celeba"), _find(folder, "list_eval_partition")
    if attributes is None:
        raise InputError(f"{folder}: no list_attr_celeba.txt or .csv in it or its sub-folders Anno, Eval, Img")
    source = max(_sources(folder), key=lambda source: len(source.names), default=None)
    if source is None or not source.names:
        raise InputError(f"{folder}: no images, expected a folder {IMAGES} or {IMAGES}.zip in it or in Img")
    options = "-subset" * subset + "-skip-bad" * skip_bad
    home = cache / f"celeba-{size}{options}-{_fingerprint(attributes, partition, source)}"
    if home.exists():
        return load_cache(home)

    rows, listed = _read_attributes(attributes, subset)
    present = set(source.names)
    taken = [name for name in rows if name in present]
    missing = [name for name in rows if name not in present]
    if missing and not (subset and taken):
        raise InputError(
            f"{source.path}: {len(missing):,} of the {len(rows):,} images named in {attributes.name} are missing, "
            f"the first: {_show(missing[0])} (--subset takes those that are there)"
        )
    if partition is None:
        split = split_in_order(len(taken))
        origin = "no partition file, so the first 80 % train, the next 10 % validate and the rest test, in list order"
    else:
        split = _read_partition(partition, taken)
        origin = f"split read from {partition.name}"
    check_splits(partition or attributes, split, f"; {NO_PARTITION}" if partition and subset else "")
    planned = Dataset(
        name="CelebA",
        attributes=ATTRIBUTES,
        files=np.array([_show(name) for name in taken]),
        labels=np.frombuffer(b"".join(rows[name] for name in taken), np.uint8).reshape(-1, len(ATTRIBUTES)),
        split=split,
        images=home / "images.npy",
        size=size,
        listed=listed,
        notes=(f"{len(taken):,} of the {listed:,} listed images taken", origin),
    )
    return build_cache(planned, functools.partial(_decode, source.path, source.prefix, size), taken, skip_bad)


def centre_square(image: Image.Image, size: int) -> np.ndarray:
    """The central square of a picture of any size and mode, resized: (size, size, 3) uint8.

    >>> centre_square(Image.new("L", (89, 109), 128), 2).tolist()
    [[[128, 128, 128], [128, 128, 128]], [[128, 128, 128], [128, 128, 128]]]
    """
    image.draft(None, (size, size))  # a JPEG decodes faster at a half or a quarter, if that is still large enough
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.convert("RGB").crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0))


class _Source(NamedTuple):
    """A folder or zip, the prefix of the images in it, their names, and name, size (and check sum) of all its files."""

    path: Path
    prefix: str
    names: list[str]
    files: Sequence[tuple[str | int, ...]]


def _find(folder: Path, stem: str) -> Path | None:
    candidates = (folder / place / f"{stem}{suffix}" for place in PLACES for suffix in (".txt", ".csv"))
    return next((path for path in candidates if path.is_file()), None)


def _sources(folder: Path) -> Iterator[_Source]:
    """Everything that may hold the images.  The largest is taken, as a folder may be half unpacked beside its zip."""
    for place in PLACES:
        for path in (folder / place / IMAGES, folder / place / IMAGES / IMAGES):
            if path.is_dir():
                with os.scandir(path) as entries:
                    files = sorted((entry.name, entry.stat().st_size) for entry in entries if entry.is_file())
                yield _Source(path, "", [name for name, _ in files], files)
        path = folder / place / f"{IMAGES}.zip"
        if path.is_file():
            try:
                with zipfile.ZipFile(path) as archive:
                    members = [(member.filename, member.file_size, member.CRC) for member in archive.infolist()]
            except Exception as error:  # zipfile raises almost anything for a damaged archive
                raise InputError(f"{path}: damaged or not a zip ({first_line(error)})") from error
            for prefix in PREFIXES:
                inside = [name.removeprefix(prefix) for name, *_ in members if name.startswith(prefix)]
                yield _Source(path, prefix, [name for name in inside if name and "/" not in name], members)


def _fingerprint(attributes: Path, partition: Path | None, source: _Source) -> str:
    stamp = hashlib.sha256("".join(f"{file!a}\n" for file in source.files).encode()).hexdigest()
    digest = hashlib.sha256(f"{source.prefix} {stamp}".encode())
    for path in (attributes, partition):
        digest.update(hashlib.sha256(path.read_bytes()).digest() if path else b"none")
    return digest.hexdigest()[:16]


@functools.lru_cache(maxsize=1)
def _open_zip(path: Path) -> zipfile.ZipFile:
    """The archive, opened once in each process."""
    return zipfile.ZipFile(path)


def _decode(path: Path, prefix: str, size: int, name: str) -> np.ndarray:
    zipped = path.suffix == ".zip"
    try:
        file = io.BytesIO(_open_zip(path).read(prefix + name)) if zipped else path / name
        with Image.open(file) as image:
            return centre_square(image, size)
    except UnidentifiedImageError:  # its own message shows the object that was opened
        reason = "not an image"
    except Exception as error:  # Pillow and zipfile raise almost anything for a damaged file
        reason = f"cannot be read: {first_line(error)}"
    raise InputError(f"{path}: {prefix}{name}: {reason}" if zipped else f"{path / name}: {reason}")


def _read_attributes(path: Path, subset: bool) -> tuple[dict[str, bytes], int]:
    """Name → labels (40,) in the order of `ATTRIBUTES`, and how many images should be listed.

    `subset` accepts a list with more or fewer rows than its first line says.
    """
    lines = _read_lines(path)
    if path.suffix == ".csv":
        header, columns = 1, lines[0].split()[1:]
    else:
        header, columns = 2, lines[1].split()
        if not lines[0].strip().isdecimal():
            raise InputError(f"{path}:1: expected the number of images, found {_show(lines[0].strip())}")
    for name in (*columns, *ATTRIBUTES):
        if (times := columns.count(name)) != (expected := ATTRIBUTES.count(name)):
            raise InputError(f"{path}:{header}: attribute {_show(name)} appears {times} times, expected {expected}")
    rows = _read_rows(path, lines, header, len(ATTRIBUTES), ATTRIBUTE_CODES)
    count = len(rows) if path.suffix == ".csv" else int(lines[0])
    if len(rows) != count and not subset:
        raise InputError(f"{path}:1: {count:,} images announced, {len(rows):,} listed (--subset takes what is there)")
    ordered = itemgetter(*map(columns.index, ATTRIBUTES))
    return {name: bytes(ordered(row)) for name, row in rows.items()}, max(count, len(rows))


def _read_partition(path: Path, taken: list[str]) -> np.ndarray:
    """The split (len(taken),) uint8 of the images taken."""
    rows = _read_rows(path, _read_lines(path), int(path.suffix == ".csv"), 1, SPLIT_CODES)
    missing = [name for name in taken if name not in rows]
    if missing:
        raise InputError(f"{path}: no row for {len(missing):,} images, the first: {_show(missing[0])} ({NO_PARTITION})")
    return np.frombuffer(b"".join(rows[name] for name in taken), np.uint8)


def _read_lines(path: Path) -> list[str]:
    """The lines of a list, at least two, with spaces for commas and without a byte order mark."""
    return [*path.read_text(encoding="utf-8-sig", errors="surrogateescape").replace(",", " ").split("\n"), ""]


def _read_rows(path: Path, lines: list[str], header: int, width: int, codes: dict[str, int]) -> dict[str, bytes]:
    """Name → coded values (width,) of every line after the header that is not blank."""
    rows: dict[str, bytes] = {}
    for number, line in enumerate(lines[header:], header + 1):
        name, *values = line.split() or [""]
        wrong = [value for value in values if value not in codes]
        if len(values) == width and not wrong and name not in rows:
            rows[name] = bytes([codes[value] for value in values])
        elif name:
            problem = "listed twice"
            if len(values) != width:
                problem = f"expected {width} values, found {len(values)}"
            elif wrong:
                problem = f"expected {' or '.join(codes)}, found {_show(wrong[0])}"
            raise InputError(f"{path}:{number}: {_show(name)}: {problem}")
    if not rows:
        raise InputError(f"{path}: no rows")
    return rows


def _show(text: str) -> str:
    """Text from a file, fit for one line on a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text[:64])
