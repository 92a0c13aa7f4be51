"""CelebA as it is distributed: images in a folder or a zip, attributes and partition as `.txt` or Kaggle's `.csv`."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..machine.errors import InputError
from .dataset import Dataset, build_cache, check_splits, load_cache, split_in_order
from .labels import ATTRIBUTES

PLACES = ("", "Anno", "Eval", "Img")  # the sub-folders of the official distribution
IMAGES = "img_align_celeba"
PREFIXES = (f"{IMAGES}/", f"{IMAGES}/{IMAGES}/", "")  # inside a zip; the doubled one is Kaggle's
ATTRIBUTE_CODES = {b"-1": 0, b"1": 1}
SPLIT_CODES = {b"0": 0, b"1": 1, b"2": 2}
NO_PARTITION = "without this file the split follows the list's order"
MAX_NAME = 64  # bytes in the name of an image; the official ones have 10
UNREADABLE = (  # what Pillow and zipfile are known to raise for a damaged file
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    KeyError,
    RuntimeError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    Image.DecompressionBombError,
)


def celeba_dataset(folder: Path, cache: Path, size: int = 64, subset: bool = False, skip_bad: bool = False) -> Dataset:
    """CelebA from `folder`, its images cropped square and resized to size x size, decoded once into `cache`.

    The cache is found again by a fingerprint of what the source holds, wherever it lies, so a changed source is decoded
    anew: of the two lists every byte counts, of the images in a zip names, sizes and check sums, of those in a folder
    names and sizes. Without a partition file the split follows the list's order (80 / 10 / 10 %). `subset` takes what
    is there of the listed images; `skip_bad` drops images that cannot be read. `InputError` names the file and place of
    what cannot be used.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    attributes, partition = _find(folder, "list_attr_celeba"), _find(folder, "list_eval_partition")
    if attributes is None:
        raise InputError(f"{folder}: no list_attr_celeba.txt or .csv in it or its sub-folders Anno, Eval, Img")
    source = _find_images(folder)
    options = "-subset" * subset + "-skip-bad" * skip_bad
    home = cache / f"celeba-{size}{options}-{_fingerprint(attributes, partition, source)}"
    if home.exists():
        return load_cache(home)

    names, labels, listed = _read_attributes(attributes, subset)
    present = np.isin(names, source.names)
    if not present.all() and not (subset and present.any()):
        raise InputError(
            f"{source.path}: {np.sum(~present):,} of the {len(names):,} images named in {attributes.name} are missing, "
            f"the first: {_show(names[~present][0])} (--subset takes those that are there)"
        )
    taken = names[present]
    if partition is None:
        split = split_in_order(len(taken))
        origin = "no partition file, so the first 80 % train, the next 10 % validate and the rest test, in list order"
    else:
        split = _read_partition(partition, names, taken, subset)
        origin = f"split read from {partition.name}"
    check_splits(partition or attributes, split, f"; {NO_PARTITION}" if partition and subset else "")
    planned = Dataset(
        name="CelebA",
        attributes=ATTRIBUTES,
        files=np.array([_show(name) for name in taken]),
        labels=labels[present],
        split=split,
        images=home / "images.npy",
        size=size,
        listed=listed,
        notes=(f"{len(taken):,} of the {listed:,} listed images taken", origin),
    )
    return build_cache(planned, functools.partial(_decode, source.path, source.prefix, taken, size), skip_bad)


def centre_square(image: Image.Image, size: int) -> np.ndarray:
    """The central square of a picture of any size and mode, resized: (size, size, 3) uint8.

    >>> centre_square(Image.new("L", (89, 109), 128), 2).tolist()
    [[[128, 128, 128], [128, 128, 128]], [[128, 128, 128], [128, 128, 128]]]
    """
    image.draft(None, (size, size))  # a JPEG decodes faster at a half or a quarter, where that is still large enough
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.convert("RGB").crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0))


@dataclass(frozen=True, eq=False)
class _Source:
    """Where the images are: a folder or a zip, the prefix of members in it, their names (n,) bytes, a stamp of them."""

    path: Path
    prefix: str
    names: np.ndarray
    stamp: str


def _find(folder: Path, stem: str) -> Path | None:
    candidates = (folder / place / f"{stem}{suffix}" for place in PLACES for suffix in (".txt", ".csv"))
    return next((path for path in candidates if path.is_file()), None)


def _find_images(folder: Path) -> _Source:
    """The folder or zip with the most images: an unpacking cut short does not hide the whole zip beside it."""
    sources = []
    for place in PLACES:
        for path in (folder / place / IMAGES, folder / place / IMAGES / IMAGES):
            if path.is_dir():
                sources.append(_folder_source(path))
        archive = folder / place / f"{IMAGES}.zip"
        if archive.is_file():
            sources.extend(_zip_sources(archive))
    best = max(sources, key=lambda source: len(source.names), default=None)
    if best is None or not len(best.names):
        raise InputError(f"{folder}: no images, expected a folder {IMAGES} or {IMAGES}.zip in it or in Img")
    return best


def _folder_source(path: Path) -> _Source:
    with os.scandir(path) as entries:
        files = sorted((entry.name, entry.stat().st_size) for entry in entries if entry.is_file())
    return _Source(path, "", np.array([os.fsencode(name) for name, _ in files], bytes), _stamp(files))


def _zip_sources(path: Path) -> list[_Source]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [(member.filename, member.file_size, member.CRC) for member in archive.infolist()]
    except UNREADABLE as error:
        raise InputError(f"{path}: damaged or not a zip ({error})") from error
    names: dict[str, list[bytes]] = {prefix: [] for prefix in PREFIXES}
    for member, *_ in members:
        prefix, slash, name = member.rpartition("/")
        if name and prefix + slash in names:
            names[prefix + slash].append(os.fsencode(name))
    stamp = _stamp(members)
    return [_Source(path, prefix, np.array(found, bytes), stamp) for prefix, found in names.items()]


def _stamp(files: Iterable[tuple[str | int, ...]]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file!a}\n".encode())
    return digest.hexdigest()


def _fingerprint(attributes: Path, partition: Path | None, source: _Source) -> str:
    digest = hashlib.sha256(f"{source.prefix} {source.stamp}".encode())
    for path in (attributes, partition):
        digest.update(hashlib.sha256(path.read_bytes()).digest() if path else b"none")
    return digest.hexdigest()[:16]


@functools.lru_cache(maxsize=1)
def _open_zip(path: Path, process: int) -> zipfile.ZipFile:
    """The archive, opened once by each process: one that was open before a fork would share its place in the file."""
    return zipfile.ZipFile(path)


def _decode(path: Path, prefix: str, names: np.ndarray, size: int, row: int) -> np.ndarray:
    name = os.fsdecode(names[row])
    zipped = path.suffix == ".zip"
    try:
        file = io.BytesIO(_open_zip(path, os.getpid()).read(prefix + name)) if zipped else path / name
        with Image.open(file) as image:
            return centre_square(image, size)
    except UNREADABLE as error:
        place = f"{path}: {prefix}{name}" if zipped else path / name
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else f"cannot be read: {error}"
        raise InputError(f"{place}: {reason}") from error


# The two lists


def _read_attributes(path: Path, subset: bool) -> tuple[np.ndarray, np.ndarray, int]:
    """Names (n,) bytes, labels (n, 40) uint8 in the order of `ATTRIBUTES`, and how many rows there should be.

    A list that is cut short is accepted with `subset`, less the row in which it breaks off.
    """
    with path.open("rb") as file:
        first, second = file.readline(), file.readline()
    count = None
    if path.suffix == ".csv":
        line, header = 1, _values(first)[1:]
    else:
        line, header = 2, _values(second)
        if not first.strip().isdigit():
            raise InputError(f"{path}:1: expected the number of images, found {_show(first.strip())}")
        count = int(first)
    columns = [_show(name) for name in header]
    unknown = [name for name in columns if name not in ATTRIBUTES]
    if unknown:
        raise InputError(f"{path}:{line}: unknown attribute {unknown[0]}")
    if sorted(columns) != sorted(ATTRIBUTES):
        raise InputError(f"{path}:{line}: expected 40 attributes, found {len(columns)} ({len(set(columns))} different)")

    names, labels, cut = _read_rows(path, line, len(columns), ATTRIBUTE_CODES)
    if count is not None and len(names) > count:
        raise InputError(f"{path}:{line + count + 1}: {len(names):,} rows, where line 1 says {count:,}")
    if not subset and (cut or len(names) < (count or 0)):
        said = f" of {count:,}" if count else ""
        end = f"{path}:{line + len(names) + cut}"
        raise InputError(f"{end}: the list is cut short after {len(names):,} rows{said} (--subset takes what is there)")
    return names, labels[:, [columns.index(name) for name in ATTRIBUTES]], count or len(names)


def _read_partition(path: Path, names: np.ndarray, taken: np.ndarray, subset: bool) -> np.ndarray:
    """The split (len(taken),) uint8 of the images taken; with `subset`, it may name images that are not listed."""
    header = 0
    if path.suffix == ".csv":
        header = 1
        with path.open("rb") as file:
            first = file.readline()
        if _values(first) != [b"image_id", b"partition"]:
            raise InputError(f"{path}:1: expected the header image_id,partition, found {_show(first.strip())}")
    listed, values, cut = _read_rows(path, header, 1, SPLIT_CODES)
    if cut:
        raise InputError(f"{path}:{header + len(listed) + 1}: cut short within a row")
    unknown = np.flatnonzero(~np.isin(listed, names))
    if unknown.size and not subset:
        place = f"{path}:{header + unknown[0] + 1}"
        raise InputError(f"{place}: {_show(listed[unknown[0]])} is not in the attribute list (--subset leaves it out)")
    order = np.argsort(listed)
    found = order[np.searchsorted(listed, taken, sorter=order).clip(max=len(listed) - 1)]
    missing = taken[listed[found] != taken]
    if missing.size:
        raise InputError(f"{path}: no row for {missing.size:,} images, the first: {_show(missing[0])} ({NO_PARTITION})")
    return values[found, 0]


def _read_rows(path: Path, header: int, width: int, codes: dict[bytes, int]) -> tuple[np.ndarray, np.ndarray, bool]:
    """Names (n,) bytes, coded values (n, width) uint8, and whether the file breaks off within a row after these."""
    names: list[bytes] = []
    table = bytearray()
    blank, cut = 0, False
    with path.open("rb") as file:
        for line, text in enumerate(file, 1):
            name, *values = _values(text) or [b""]
            if line <= header:
                continue
            if not name:
                blank = blank or line
                continue
            place = f"{path}:{line}"
            if blank:
                raise InputError(f"{path}:{blank}: blank line among the rows")
            if len(name) > MAX_NAME:
                raise InputError(f"{place}: expected the name of an image, found {len(name):,} bytes of text")
            wrong = [value for value in values if value not in codes]
            if not text.endswith(b"\n") and (len(values) < width or wrong == [b"-"]):
                cut = True
                break
            if len(values) != width:
                raise InputError(f"{place}: {_show(name)}: expected {width} values, found {len(values)}")
            if wrong:
                expected = " or ".join(_show(code) for code in codes)
                raise InputError(f"{place}: {_show(name)}: expected {expected}, found {_show(wrong[0])}")
            names.append(name)
            table.extend([codes[value] for value in values])
    if not names:
        raise InputError(f"{path}: no rows")
    column = np.array(names)
    order = np.argsort(column, kind="stable")
    again = order[1:][column[order[1:]] == column[order[:-1]]]
    if again.size:
        raise InputError(f"{path}:{header + again.min() + 1}: {_show(column[again.min()])} is listed twice")
    return column, np.frombuffer(table, np.uint8).reshape(-1, width), cut


def _values(line: bytes) -> list[bytes]:
    """The values of a row, apart by spaces or commas; a byte order mark at the start is no value."""
    return line.removeprefix(b"\xef\xbb\xbf").replace(b",", b" ").split()


def _show(text: bytes) -> str:
    """Text from a file, fit for one line on a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text[:MAX_NAME].decode(errors="replace"))
