"""Labelled images on disk: decoded once, in parallel, into a memory-mapped cache, and read from it in batches.

A cache is a folder of two files: `images.npy`, uint8 (n, size, size, 3), and `table.npz` with everything else.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..machine.errors import InputError, shortened
from ..machine.files import first_line, from_json, new_folder, read_npz
from ..machine.lock import locked
from ..machine.progress import Progress
from ..machine.threads import in_order, threads
from ..machine.workers import workers

FORMAT = "lie-ref-cache/1"
Item = TypeVar("Item")  # what an image is decoded from
SPLITS = ("train", "validation", "test")
MIN_TEST = 32  # the images that an evaluation needs
CHUNK = 32  # images that a worker decodes at a time: some 400 kB at 64 x 64
ABANDONED = 86_400  # seconds after which a build that has written nothing is taken for dead
MAX_WORKERS = 4  # each may hold the directory of a big archive in memory, and two already keep up with training


class Cache(NamedTuple):
    """The folder of a cache and the attributes of its images: what travels to a worker in place of the images."""

    folder: Path
    attributes: tuple[str, ...]

    def open(self) -> Dataset:
        """The data set, which each process reads only once.  Raises InputError as `load_cache` does."""
        return _opened(self)


@dataclass(frozen=True, eq=False)
class Dataset:
    """n square RGB images with binary attributes, each in one of three splits.

    `files` (n,) str are the names of the images.  `labels` are (n, k) uint8, 0 or 1, or (n,) integers, the class of
    each image.  `split` (n,) uint8 indexes `SPLITS`; a larger value marks an image that is not used.  `images` is the
    `.npy` file with the pixels.  The source named `listed` images; `skipped` of them could not be read, others may be
    missing.  `notes` are sentences worth printing: where the split comes from, what is missing.
    """

    name: str
    attributes: tuple[str, ...]
    files: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    images: Path
    size: int
    listed: int
    skipped: int = 0
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    @property
    def cache(self) -> Cache:
        """Where it was read from, for workers that read it themselves."""
        return Cache(self.images.parent.resolve(), self.attributes)

    def indices(self, split: str) -> np.ndarray:
        """Row numbers, ascending int64, of the images in "train", "validation" or "test"."""
        if split not in SPLITS:
            raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
        return np.flatnonzero(self.split == SPLITS.index(split))

    def batch(self, indices: np.ndarray, dtype: type[np.floating] = np.float32) -> tuple[np.ndarray, np.ndarray]:
        """The images and labels of m rows: x (m, 3, size, size) in [-1, 1] (a view with channels last), y (m, k).

        Both have this dtype, except that classes y (m,) keep their own integer dtype.
        """
        # The file is mapped anew for each call: the pages of a mapping that stays open count as memory of the process,
        # and over an epoch they would add up to the whole file.
        x = _map_images(self.images)[indices].astype(dtype)
        x /= 127.5
        x -= 1
        y = self.labels[indices]
        return x.transpose(0, 3, 1, 2), y if y.ndim == 1 else y.astype(dtype)


@dataclass(frozen=True, eq=False)
class Images:
    """The images of some rows of a data set, (m, 3, size, size) as `batch` returns them, read when they are sliced."""

    dataset: Dataset
    rows: np.ndarray
    dtype: type[np.floating] = np.float32

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, some: slice) -> np.ndarray:
        return self.dataset.batch(self.rows[some], self.dtype)[0]


def split_in_order(n: int) -> np.ndarray:
    """The split (n,) uint8 of a set without its own: the first 80 % train, the next 10 % validation, the rest test.

    >>> np.bincount(split_in_order(1000))
    array([800, 100, 100])
    """
    return np.repeat(np.arange(3, dtype=np.uint8), np.diff([0, n * 8 // 10, n * 9 // 10, n]))


def check_splits(where: str | Path, split: np.ndarray, hint: str = "") -> None:
    """Raise `InputError` "`where`: ...`hint`" unless each split has an image and the test split has `MIN_TEST`."""
    counts = np.bincount(split, minlength=len(SPLITS))
    for value, (name, count) in enumerate(zip(SPLITS, counts, strict=True)):
        if count == 0:
            raise InputError(f"{where}: no image of {split.size:,} is in the {name} split ({value}){hint}")
    if counts[-1] < MIN_TEST:
        raise InputError(f"{where}: the test split has {counts[-1]} images, expected at least {MIN_TEST}{hint}")


def build_cache(
    planned: Dataset, decode: Callable[[Item], np.ndarray], items: Sequence[Item], skip_bad: bool = False
) -> Dataset:
    """Decode the images of a planned data set into the folder of `planned.images`; returns the data set as cached.

    There is an item for each row: `decode(item)` returns (size, size, 3) uint8 or raises `InputError` for an image that
    cannot be read.  It runs in worker processes, so it and the items must pickle.  `skip_bad` drops and counts such
    images; otherwise the first one is raised.  The folder appears when it is complete; a second build waits for the
    first.  An interrupted build leaves nothing behind.  A killed one leaves `.NAME.lock`, which locks nothing, and a
    hidden folder `.NAME.part-*`, which a build on a later day removes.
    """
    folder = planned.images.parent
    try:
        with new_folder(folder.parent), locked(folder.with_name(f".{folder.name}.lock"), str(folder)):
            _remove_abandoned(folder.parent)
            if not folder.exists():  # else another process has built it while this one waited
                _build(planned, decode, items, skip_bad)
    except OSError as error:
        raise InputError(f"{folder}: the cache cannot be written: {error.strerror or error}") from error
    return load_cache(folder, planned.attributes)


def _build(planned: Dataset, decode: Callable[[Item], np.ndarray], items: Sequence[Item], skip_bad: bool) -> None:
    folder = planned.images.parent
    with TemporaryDirectory(prefix=f".{folder.name}.part-", dir=folder.parent) as temporary:
        partial = Path(temporary) / folder.name
        partial.mkdir()
        bad = _write_images(partial / planned.images.name, planned, decode, items, skip_bad)
        _write_table(partial / "table.npz", _without(planned, bad))
        partial.rename(folder)


def _remove_abandoned(caches: Path) -> None:
    """Remove what killed builds have left behind; one that still runs has written within `ABANDONED`."""
    for images in caches.glob(".*.part-*/*/images.npy"):
        with suppress(OSError):  # it has just been finished or removed
            if time.time() - images.stat().st_mtime > ABANDONED:
                shutil.rmtree(images.parents[1])


def load_cache(folder: Path, attributes: tuple[str, ...]) -> Dataset:
    """The data set, with these attributes, in a folder made by `build_cache`; `InputError` if its content is not sound.

    That is: cut short, older, foreign, or with another shape, label, split or count than a build writes.
    """
    table = folder / "table.npz"
    remedy = f"delete {folder} and it is built anew"
    try:
        arrays = read_npz(table)
        meta = from_json(str(arrays.pop("meta")), f"{table}: meta")
        version = meta.pop("format")
        if version != FORMAT:
            raise InputError(f"{table}: format {version!r}, expected {FORMAT!r}")
        tuples = {name: tuple(meta[name]) for name in ("attributes", "notes")}
        fields: dict[str, Any] = {**meta, **tuples, **arrays}
        dataset = Dataset(images=folder / "images.npy", **fields)
        if fault := _fault(dataset, attributes):
            raise InputError(f"{table}: {fault}")
        check_splits(table, dataset.split)
        pixels, shape = _map_images(dataset.images), (len(dataset), dataset.size, dataset.size, 3)
        if (pixels.shape, pixels.dtype) != (shape, np.uint8):
            raise InputError(f"{dataset.images}: {pixels.dtype} {pixels.shape}, expected uint8 {shape}")
    except InputError as error:
        raise InputError(f"{error}; {remedy}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{table}: not the table of an image cache ({error}); {remedy}") from error
    return dataset


@lru_cache(maxsize=1)
def _opened(cache: Cache) -> Dataset:
    return load_cache(*cache)


def _fault(dataset: Dataset, attributes: tuple[str, ...]) -> str:
    """The first thing in the table of a cache that no build writes, or ""."""
    n = dataset.files.size
    for name, kind, shape in (("files", "U", (n,)), ("labels", "u", (n, len(attributes))), ("split", "u", (n,))):
        array = getattr(dataset, name)
        if array.dtype.kind != kind or array.shape != shape:
            return f"{name}: {array.dtype} {array.shape}, expected {'text' if kind == 'U' else 'uint8'} {shape}"
    for name, most in (("labels", 1), ("split", len(SPLITS) - 1)):
        if (found := getattr(dataset, name)).max(initial=0) > most:
            return f"{name}: expected 0 to {most}, found {found.max()}"
    if dataset.attributes != attributes:
        return f"attributes: expected the {len(attributes)} of {dataset.name}, found {shortened(dataset.attributes)}"
    counts = (dataset.size, dataset.listed, dataset.skipped)
    if any(type(count) is not int for count in counts) or not 0 <= dataset.skipped <= dataset.listed - n:
        return f"size, listed, skipped: expected counts that fit {n} images, found {shortened(counts)}"
    if not all(isinstance(text, str) and text.isprintable() for text in (dataset.name, *dataset.notes)):
        return "name, notes: expected printable text"
    return ""


def _map_images(path: Path) -> np.ndarray:
    """The pixels of a cache, (n, size, size, 3) uint8, mapped read-only."""
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # NumPy raises almost anything for a damaged header
        raise InputError(f"{path}: missing, cut short or not an image cache ({first_line(error)})") from error


def _without(planned: Dataset, bad: dict[int, str]) -> Dataset:
    """The data set without the images that could not be read and with a note about them; its splits are checked."""
    if not bad:
        return planned
    first = bad[min(bad)]
    note = f"{len(bad):,} of {len(planned):,} images skipped because they cannot be read, the first: {first}"
    kept = {name: np.delete(getattr(planned, name), list(bad), axis=0) for name in ("files", "labels", "split")}
    check_splits(f"{planned.name} ({note})", kept["split"])
    return replace(planned, **kept, skipped=len(bad), notes=(*planned.notes, note))


def _write_table(path: Path, dataset: Dataset) -> None:
    fields = ("name", "attributes", "size", "listed", "skipped", "notes")
    meta = {"format": FORMAT, **{field: getattr(dataset, field) for field in fields}}
    np.savez(path, files=dataset.files, labels=dataset.labels, split=dataset.split, meta=np.array(json.dumps(meta)))


def _write_images(
    path: Path, planned: Dataset, decode: Callable[[Item], np.ndarray], items: Sequence[Item], skip_bad: bool
) -> dict[int, str]:
    """Decode the images in worker processes into an `.npy` file in row order; returns the omitted rows with reasons."""
    n, size = len(planned), planned.size
    count = min(threads(), MAX_WORKERS)
    bad: dict[int, str] = {}

    def write_header(rows: int) -> None:
        shape = (rows, size, size, 3)
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})

    def submit(rows: range) -> Future[Chunk]:
        return pool.submit(_decode_rows, decode, size, rows, items[rows.start : rows.stop])

    with path.open("wb") as file, Progress(n, "preparing images") as bar, workers(count) as pool:
        write_header(n)
        chunks = [range(first, min(first + CHUNK, n)) for first in range(0, n, CHUNK)]
        done = in_order(submit, chunks, 2 * count)
        for rows in chunks:
            try:
                pixels, bad_rows = next(done)
            except InputError as error:  # a worker was killed
                first, last = planned.files[[rows.start, rows.stop - 1]]
                raise InputError(f"{first} to {last}: {error}") from error
            if bad_rows and not skip_bad:
                raise InputError(f"{bad_rows[min(bad_rows)]} (--skip-bad leaves such images out)")
            bad |= bad_rows
            file.write(np.delete(pixels, [row - rows.start for row in bad_rows], axis=0).data)
            bar.advance(len(rows), f"{len(bad):,} skipped" if bad else "")
        if bad:
            file.seek(0)
            write_header(n - len(bad))  # NumPy pads a header, so that another number of rows leaves its length as it is
    return bad


Chunk = tuple[np.ndarray, dict[int, str]]  # the pixels of some rows (zeros for a bad one), the bad rows with reasons


def _decode_rows(decode: Callable[[Item], np.ndarray], size: int, rows: range, items: Sequence[Item]) -> Chunk:
    pixels = np.zeros((len(rows), size, size, 3), np.uint8)
    bad = {}
    for slot, row, item in zip(pixels, rows, items, strict=True):
        try:
            slot[:] = decode(item)
        except InputError as error:
            bad[row] = str(error)
    return pixels, bad
