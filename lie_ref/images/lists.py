"""CelebA's lists of attributes and of the partition, in the forms in which text and csv files of them come."""

import io
import os
import zipfile
from collections import Counter
from collections.abc import Collection, Iterable
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..machine.errors import InputError
from ..machine.files import first_line
from .labels import ATTRIBUTES
from .sources import read_bytes, shown

LIST_BYTES = 2**27  # of a list; CelebA's have 26 million
SEPARATORS = str.maketrans({",": " ", ";": " ", '"': " ", "\ufeff": None})  # the last is a byte order mark
ATTRIBUTE_CODES = {"-1": 0, "0": 0, "1": 1}
SPLIT_CODES = {"0": 0, "1": 1, "2": 2}
NO_PARTITION = "without this file the split follows the list's order"


class TextFile(NamedTuple):
    """A list as it was read, in a folder or in a zip."""

    path: Path
    data: bytes


def find_list(folders: Iterable[Path], archives: Iterable[zipfile.ZipFile], stem: str) -> TextFile | None:
    """The first `stem`.txt or .csv in a folder or anywhere in an archive."""
    for name in (f"{stem}.txt", f"{stem}.csv"):
        for folder in folders:
            if (folder / name).is_file():
                return read_list(folder, name)
        for archive in archives:
            for member in archive.namelist():
                if member.rpartition("/")[2] == name:
                    return read_list(archive, member)
    return None


def read_list(home: Path | zipfile.ZipFile, name: str) -> TextFile:
    """A list in a folder or a zip; InputError, which names it, if it cannot be read or has more than `LIST_BYTES`."""
    path = Path(home if isinstance(home, Path) else str(home.filename), shown(name))
    try:
        return TextFile(path, read_bytes(home, name, LIST_BYTES))
    except Exception as error:  # zipfile raises almost anything for a damaged archive
        raise InputError(f"{path}: cannot be read: {first_line(error)}") from error


def read_attributes(found: TextFile, subset: bool) -> tuple[dict[str, bytes], int]:
    """Name → labels (40,) in the order of `ATTRIBUTES`, and how many images should be listed.

    `subset` accepts a list with more or fewer rows than its first line says.
    """
    table = _read_table(found, len(ATTRIBUTES), ATTRIBUTE_CODES)
    columns = [name for place, name in enumerate(table.header) if place or name in ATTRIBUTES]  # less the names' own
    for name in (*columns, *ATTRIBUTES):
        if (times := columns.count(name)) != (expected := ATTRIBUTES.count(name)):
            place = f"{found.path}:{table.line}"
            raise InputError(f"{place}: attribute {shown(name)} appears {times} times, expected {expected}")
    rows = table.rows
    count = len(rows) if table.announced is None else table.announced
    if len(rows) != count and not subset:
        announced = f"{count:,} images announced, {len(rows):,} listed"
        raise InputError(f"{found.path}:1: {announced} (--subset takes what is there)")
    ordered = itemgetter(*map(columns.index, ATTRIBUTES))
    return {name: bytes(ordered(row)) for name, row in rows.items()}, max(count, len(rows))


def read_partition(found: TextFile, taken: list[str]) -> np.ndarray:
    """The split (len(taken),) uint8 of the images taken."""
    rows = _read_table(found, 1, SPLIT_CODES).rows
    names = counterparts(taken, rows)
    missing = [name for name in taken if name not in names]
    if missing:
        first = shown(missing[0])
        raise InputError(f"{found.path}: no row for {len(missing):,} images, the first: {first} ({NO_PARTITION})")
    return np.frombuffer(b"".join(rows[names[name]] for name in taken), np.uint8)


def counterparts(listed: Iterable[str], there: Iterable[str]) -> dict[str, str]:
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


class _Table(NamedTuple):
    """The count in the first line, the names of the columns with the line that has them, and name → coded values."""

    announced: int | None
    header: list[str]
    line: int
    rows: dict[str, bytes]


def _read_table(found: TextFile, width: int, codes: dict[str, int]) -> _Table:
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
        seen.update(values)
        problem = ""
        if len(values) != width:
            problem = f"expected {width} values, found {len(values)}"
        elif not seen <= codes.keys():
            wrong = next(value for value in values if value not in codes)
            problem = f"expected {' or '.join(codes)}, found {shown(wrong)}"
        elif name in rows:
            problem = "listed twice"
        elif {"-1", "0"} <= seen:
            problem = "both -1 and 0 are there by now, expected -1 and 1, or 0 and 1"
        if problem:
            raise InputError(f"{found.path}:{number}: {shown(name)}: {problem}")
        rows[name] = bytes([codes[value] for value in values])
    if not rows:
        raise InputError(f"{found.path}: no rows")
    return _Table(count, header, at, rows)
