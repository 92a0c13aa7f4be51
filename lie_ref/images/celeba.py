"""CelebA as it is distributed: images in a folder or zip, attributes and partition as text or csv, or a zip of all."""

import functools
import hashlib
import io
import os
import warnings
import zipfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from ..machine.errors import InputError
from ..machine.files import first_line
from .dataset import Dataset, build_cache, check_splits, load_cache, split_in_order
from .labels import ATTRIBUTES

ROOTS = ("", "celeba", "CelebA")  # torchvision is given the folder above
PLACES = ("", "Anno", "Eval", "Img")  # the sub-folders of the official distribution
IMAGES = ("img_align_celeba", "img_align_celeba_png")
ARCHIVES = ("archive.zip", "celeba-dataset.zip")  # all of Kaggle's CelebA, as a browser and its own program name it
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP")  # Pillow knows some that run other programs
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")
PIXELS = 2**25  # of a picture: a worker needs up to 16 bytes for each
IMAGE_BYTES = 2**27  # of an image file, which holds so many pixels even if it is not compressed
LIST_BYTES = 2**27  # of a list; CelebA's have 26 million
SEPARATORS = str.maketrans({",": " ", ";": " ", '"': " ", "\ufeff": None})  # the last is a byte order mark
ATTRIBUTE_CODES = {"-1": 0, "0": 0, "1": 1}
SPLIT_CODES = {"0": 0, "1": 1, "2": 2}
NO_PARTITION = "without this file the split follows the list's order"
DECODER = "2"  # goes up when the same files are decoded to other pixels


def celeba_dataset(folder: Path, cache: Path, size: int = 64, subset: bool = False, skip_bad: bool = False) -> Dataset:
    """CelebA from `folder`, its images cropped square and resized to size x size, decoded once into `cache`.

    `folder` may also be a file in it, or the folder above, or Kaggle's zip of all.  The name of the cache holds a
    fingerprint of the source, so that a changed source is decoded again and a moved one is not: the bytes of both
    lists, and the names, sizes and (in a zip) check sums of the images.  Without a partition file the split follows the
    list's order (80 / 10 / 10 %).  `subset` takes the listed images that are there; `skip_bad` drops images that cannot
    be read.  `InputError` names the file and the place that cannot be used.
    """
    folders, zips = _places(folder)
    archives, damaged = _open_zips(zips)
    attributes, partition = (_find(folders, archives, stem) for stem in ("list_attr_celeba", "list_eval_partition"))
    source = max(_sources(folders, archives), key=lambda source: len(source.files), default=None)
    if damaged and (attributes is None or source is None):
        raise InputError(damaged[0])
    if attributes is None:
        raise InputError(f"{folder}: no list_attr_celeba.txt or .csv in it or its sub-folders Anno, Eval, Img")
    if source is None:
        raise InputError(f"{folder}: no images, expected a folder {IMAGES[0]} or {IMAGES[0]}.zip in it or in Img")
    options = "-subset" * subset + "-skip-bad" * skip_bad
    home = cache / f"celeba-{size}{options}-{_fingerprint(attributes, partition, source)}"
    if home.exists():
        return load_cache(home, ATTRIBUTES)

    rows, listed = _read_attributes(attributes, subset)
    names = _counterparts(rows, [name for name, *_ in source.files])
    taken = [name for name in rows if name in names]
    missing = [name for name in rows if name not in names]
    if missing and not (subset and taken):
        found = f"found {_show(source.files[0][0])}"
        raise InputError(
            f"{source.path}: {len(missing):,} of the {len(rows):,} images named in {attributes.path.name} are "
            f"missing, the first: {_show(missing[0])} ({'--subset takes those that are there' if taken else found})"
            + "".join(f"; {problem}" for problem in damaged)
        )
    if partition is None:
        split = split_in_order(len(taken))
        origin = "no partition file, so the first 80 % train, the next 10 % validate and the rest test, in list order"
    else:
        split = _read_partition(partition, taken)
        origin = f"split read from {partition.path.name}"
    check_splits((partition or attributes).path, split, f"; {NO_PARTITION}" if partition and subset else "")
    unused = tuple(f"not used: {problem}" for problem in damaged)
    planned = Dataset(
        name="CelebA",
        attributes=ATTRIBUTES,
        files=np.array([_show(name) for name in taken]),
        labels=np.frombuffer(b"".join(rows[name] for name in taken), np.uint8).reshape(-1, len(ATTRIBUTES)),
        split=split,
        images=home / "images.npy",
        size=size,
        listed=listed,
        notes=(f"{len(taken):,} of the {listed:,} listed images taken", origin, *unused),
    )
    decode = functools.partial(_decode, source.path, source.prefix, size)
    return build_cache(planned, decode, [names[name] for name in taken], skip_bad)


def centre_square(image: Image.Image, size: int) -> np.ndarray:
    """The central square of a picture, upright as its EXIF says, resized: (size, size, 3) uint8.

    Colours are what Pillow's `convert("RGB")` makes of them, which drops transparency; of 16 bits of grey the higher 8
    are taken, as Pillow does for colours.  ValueError for numbers of which no one knows how bright they are.

    >>> centre_square(Image.new("L", (89, 109), 128), 2).tolist()
    [[[128, 128, 128], [128, 128, 128]], [[128, 128, 128], [128, 128, 128]]]
    """
    image.draft(None, (size, size))  # a JPEG decodes faster at a half or a quarter, if that is still large enough
    image.load()
    with suppress(Exception):  # a damaged EXIF block, which does not matter to viewers either
        ImageOps.exif_transpose(image, in_place=True)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    if _is_16_bit_grey(image):
        square = Image.fromarray((np.asarray(square) >> 8).astype(np.uint8))
    elif image.mode[0] in "IF":
        raise ValueError(f"its numbers (mode {image.mode}) have no known white, expected 8 or 16 bits a channel")
    return np.asarray(square.convert("RGB").resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0))


def _is_16_bit_grey(image: Image.Image) -> bool:
    if isinstance(image, TiffImageFile):  # 12 bits have the same mode, and so has grey whose 0 is white
        return image.mode.startswith("I;16") and (image.tag_v2.get(258), image.tag_v2.get(262)) == ((16,), 1)
    return image.mode.startswith("I;16") or (image.mode, image.format) == ("I", "PNG")


class _Source(NamedTuple):
    """A folder, or a zip and the prefix of the images in it, and name, size (and check sum) of each image."""

    path: Path
    prefix: str | None
    files: Sequence[tuple[str, int] | tuple[str, int, int]]


class _List(NamedTuple):
    """A list as it was read, in a folder or in a zip."""

    path: Path
    data: bytes


def _places(given: Path) -> tuple[list[Path], list[Path]]:
    """The folders that may hold the lists and the images, and the zips."""
    if given.is_file() and given.suffix == ".zip" and given.stem not in IMAGES:
        return [], [given]
    if given.is_file() and not given.name.startswith(("list_", *IMAGES)):
        raise InputError(f"{given}: expected a folder, CelebA's list_attr_celeba.txt or .csv, or Kaggle's archive.zip")
    home = given.parent if given.is_file() else given
    if not home.is_dir():
        raise InputError(f"{home}: no such folder")
    roots = [home / name for name in ROOTS] + [home.parent] * (home.name in (*PLACES[1:], *IMAGES))
    folders = [folder for root in roots for place in PLACES if (folder := root / place).is_dir()]
    names = (*(f"{name}.zip" for name in IMAGES), *ARCHIVES)
    return folders, [path for folder in folders for name in names if (path := folder / name).is_file()]


def _open_zips(paths: Iterable[Path]) -> tuple[list[zipfile.ZipFile], list[str]]:
    """The archives, and what is wrong with those that cannot be opened, such as half a download beside a folder."""
    opened, damaged = [], []
    for path in paths:
        try:
            opened.append(zipfile.ZipFile(path))
        except Exception as error:  # zipfile raises almost anything for a damaged archive
            damaged.append(f"{path}: damaged or not a zip ({first_line(error)})")
    return opened, damaged


def _find(folders: Iterable[Path], archives: Iterable[zipfile.ZipFile], stem: str) -> _List | None:
    for name in (f"{stem}.txt", f"{stem}.csv"):
        for folder in folders:
            if (folder / name).is_file():
                return _read_list(folder, name)
        for archive in archives:
            for member in archive.namelist():
                if member.rpartition("/")[2] == name:
                    return _read_list(archive, member)
    return None


def _sources(folders: Iterable[Path], archives: Iterable[zipfile.ZipFile]) -> Iterator[_Source]:
    """Everything that holds images.  The largest is taken, as a folder may be half unpacked beside its zip."""
    for path in (folder / inner for folder in folders for name in IMAGES for inner in (name, f"{name}/{name}")):
        if path.is_dir():
            with os.scandir(path) as entries:
                files = sorted((e.name, e.stat().st_size) for e in entries if _is_image(e.name) and e.is_file())
            if files:
                yield _Source(path, None, files)
    for archive in archives:
        inside: dict[str, list[tuple[str, int, int]]] = {}
        for member in archive.infolist():
            prefix, slash, name = member.filename.rpartition("/")
            if _is_image(name) and prefix.rpartition("/")[2] in ("", *IMAGES):
                inside.setdefault(prefix + slash, []).append((name, member.file_size, member.CRC))
        for prefix, members in inside.items():
            yield _Source(Path(str(archive.filename)), prefix, members)


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")  # `._NAME` holds what macOS adds to NAME


def _fingerprint(attributes: _List, partition: _List | None, source: _Source) -> str:
    stamp = hashlib.sha256("".join(f"{file!a}\n" for file in source.files).encode()).hexdigest()
    digest = hashlib.sha256(f"{DECODER} {source.prefix} {stamp}".encode(errors="surrogateescape"))
    for found in (attributes, partition):
        digest.update(hashlib.sha256(found.data).digest() if found else b"none")
    return digest.hexdigest()[:16]


def _counterparts(listed: Iterable[str], there: Iterable[str]) -> dict[str, str]:
    """Listed name → name that is there: the same, or else the only one that differs in suffix or case alone."""
    wanted, spare = dict.fromkeys(listed), dict.fromkeys(there)
    same = {name: name for name in wanted if name in spare}
    left = _by_stem(wanted.keys() - same.keys())
    alike = _by_stem(spare.keys() - same.keys()) if left else {}
    return same | {left[stem]: alike[stem] for stem in left.keys() & alike.keys()}


def _by_stem(names: Collection[str]) -> dict[str, str]:
    """Name without its suffix, in small letters → name, unless there are several."""
    stems = {name: os.path.splitext(name)[0].lower() for name in names}
    times = Counter(stems.values())
    return {stem: name for name, stem in stems.items() if times[stem] == 1}


@functools.lru_cache(maxsize=1)
def _open_zip(path: Path) -> zipfile.ZipFile:
    """The archive, opened once in each worker process."""
    return zipfile.ZipFile(path)


def _read(home: Path | zipfile.ZipFile, name: str, most: int) -> bytes:
    """The bytes of a file in a folder or a zip; ValueError if there are more than `most`."""
    if isinstance(home, Path):
        file: IO[bytes] = (home / name).open("rb")
        size = os.fstat(file.fileno()).st_size
    else:
        member = home.getinfo(name)
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # of others, zipfile reads too much
            raise ValueError("compressed in another way than by deflating")
        file, size = home.open(member), member.file_size
    with file:
        if size > most:
            raise ValueError(f"{size:,} bytes, expected at most {most:,}")
        return file.read(size)  # without a size, a zip whose directory tells less would be unpacked whole


def _decode(path: Path, prefix: str | None, size: int, name: str) -> np.ndarray:
    """The picture (size, size, 3) uint8 of an image file, in a worker; InputError, which names it, if that fails."""
    shown = f"{path / name}" if prefix is None else f"{path}: {prefix}{name}"
    Image.MAX_IMAGE_PIXELS = PIXELS  # Pillow warns of more when it has read the header, and before it makes room
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            file = io.BytesIO(_read(path if prefix is None else _open_zip(path), f"{prefix or ''}{name}", IMAGE_BYTES))
            with Image.open(file, formats=FORMATS) as image:
                return centre_square(image, size)
    except UnidentifiedImageError:  # its own message shows the object that was opened
        reason = f"not an image ({', '.join(FORMATS)})"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        reason = f"more than {PIXELS:,} pixels"
    except Exception as error:  # Pillow and zipfile raise almost anything for a damaged file
        reason = f"cannot be read: {first_line(error)}"
    raise InputError(_show(f"{shown}: {reason}", 1000))


def _read_list(home: Path | zipfile.ZipFile, name: str) -> _List:
    path = Path(home if isinstance(home, Path) else str(home.filename), _show(name))
    try:
        return _List(path, _read(home, name, LIST_BYTES))
    except Exception as error:  # zipfile raises almost anything for a damaged archive
        raise InputError(f"{path}: cannot be read: {first_line(error)}") from error


def _read_attributes(found: _List, subset: bool) -> tuple[dict[str, bytes], int]:
    """Name → labels (40,) in the order of `ATTRIBUTES`, and how many images should be listed.

    `subset` accepts a list with more or fewer rows than its first line says.
    """
    table = _read_table(found, len(ATTRIBUTES), ATTRIBUTE_CODES)
    columns = [name for place, name in enumerate(table.header) if place or name in ATTRIBUTES]  # less the names' own
    for name in (*columns, *ATTRIBUTES):
        if (times := columns.count(name)) != (expected := ATTRIBUTES.count(name)):
            place = f"{found.path}:{table.line}"
            raise InputError(f"{place}: attribute {_show(name)} appears {times} times, expected {expected}")
    rows = table.rows
    count = len(rows) if table.announced is None else table.announced
    if len(rows) != count and not subset:
        announced = f"{count:,} images announced, {len(rows):,} listed"
        raise InputError(f"{found.path}:1: {announced} (--subset takes what is there)")
    ordered = itemgetter(*map(columns.index, ATTRIBUTES))
    return {name: bytes(ordered(row)) for name, row in rows.items()}, max(count, len(rows))


def _read_partition(found: _List, taken: list[str]) -> np.ndarray:
    """The split (len(taken),) uint8 of the images taken."""
    rows = _read_table(found, 1, SPLIT_CODES).rows
    names = _counterparts(taken, rows)
    missing = [name for name in taken if name not in names]
    if missing:
        first = _show(missing[0])
        raise InputError(f"{found.path}: no row for {len(missing):,} images, the first: {first} ({NO_PARTITION})")
    return np.frombuffer(b"".join(rows[names[name]] for name in taken), np.uint8)


class _Table(NamedTuple):
    """The count in the first line, the names of the columns with the line that has them, and name → coded values."""

    announced: int | None
    header: list[str]
    line: int
    rows: dict[str, bytes]


def _read_table(found: _List, width: int, codes: dict[str, int]) -> _Table:
    """A list with `width` values in each row, between spaces, commas or semicolons, below a count and a header if any.

    The header is a first line that does not end with a number.
    """
    count, header, at = None, list[str](), 1
    rows, seen = dict[str, bytes](), set[str]()
    text = found.data.decode("utf-8", "surrogateescape").translate(SEPARATORS)
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        cells = line.split()
        if not cells:
            continue
        if not rows and not header:
            if count is None and len(cells) == 1 and cells[0].isdecimal() and len(cells[0]) < 10:
                count = int(cells[0])
                continue
            if not cells[-1].removeprefix("-").isdecimal():
                header, at = cells, number
                continue
        if len(cells) == width + 2 and cells[0].isdecimal():
            del cells[0]  # the row number that pandas writes
        name, *values = cells
        wrong = [value for value in values if value not in codes]
        seen.update(values)
        problem = ""
        if len(values) != width:
            problem = f"expected {width} values, found {len(values)}"
        elif wrong:
            problem = f"expected {' or '.join(codes)}, found {_show(wrong[0])}"
        elif name in rows:
            problem = "listed twice"
        elif {"-1", "0"} <= seen:
            problem = "both -1 and 0 are there by now, expected -1 and 1, or 0 and 1"
        if problem:
            raise InputError(f"{found.path}:{number}: {_show(name)}: {problem}")
        rows[name] = bytes([codes[value] for value in values])
    if not rows:
        raise InputError(f"{found.path}: no rows")
    return _Table(count, header, at, rows)


def _show(text: str, most: int = 64) -> str:
    """Text from a file, fit for one line on a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text[:most])
