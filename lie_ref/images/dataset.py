"""Labelled images on disk: decoded once, in parallel, into a memory-mapped cache, and read from it in batches.

A cache is a folder of two files: `images.npy`, uint8 (n, size, size, 3), and `table.npz` with everything else.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..machine.errors import InputError
from ..machine.files import first_line, read_npz
from ..machine.process import end_with_parent, interrupt_held
from ..machine.progress import Progress

FORMAT = "lie-ref-cache/1"
SPLITS = ("train", "validation", "test")
MIN_TEST = 32  # what an evaluation takes
CHUNK = 32  # images that a worker decodes in one go: some 400 kB at 64 x 64
MAX_WORKERS = 4  # each may hold the directory of a big archive in memory; two already keep up with training


@dataclass(frozen=True, eq=False)
class Dataset:
    """n square RGB images with binary attributes, each in one of three splits.

    `files` (n,) str are the images' names; `labels` (n, k) uint8 are 0/1, or (n,) integers the one class of each;
    `split` (n,) uint8 indexes `SPLITS`, or is beyond them for an image that is not used; `images` is the `.npy` file
    with the pixels. `listed` images were named by the source, of which `skipped` could not be read and others may be
    absent. `notes` are sentences worth printing: where the split comes from, what is missing.
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

    def indices(self, split: str) -> np.ndarray:
        """Row numbers, ascending int64, of the images in "train", "validation" or "test"."""
        if split not in SPLITS:
            raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
        return np.flatnonzero(self.split == SPLITS.index(split))

    def batch(self, indices: np.ndarray, dtype: type[np.floating] = np.float32) -> tuple[np.ndarray, np.ndarray]:
        """The images and labels of m rows: x (m, 3, size, size) in [-1, 1] (a view with channels last), y (m, k).

        Both are in this dtype, but y (m,) is the classes' own integers where the labels are classes.

        The file is mapped anew for each call: pages of a mapping that stays open count as the process's memory, and
        in the course of an epoch they would add up to the whole file.
        """
        x = _map_images(self.images)[indices].astype(dtype)
        x /= 127.5
        x -= 1
        y = self.labels[indices]
        return x.transpose(0, 3, 1, 2), y if y.ndim == 1 else y.astype(dtype)


@dataclass(frozen=True, eq=False)
class Images:
    """The images of some rows of a data set, read when they are sliced: (m, 3, size, size), as `batch` gives them."""

    dataset: Dataset
    rows: np.ndarray
    dtype: type[np.floating] = np.float32

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, some: slice) -> np.ndarray:
        return self.dataset.batch(self.rows[some], self.dtype)[0]


def split_in_order(n: int) -> np.ndarray:
    """The split (n,) uint8 of a set that brings none: the first 80 % train, the next 10 % validation, the rest test.

    >>> np.bincount(split_in_order(1000))
    array([800, 100, 100])
    """
    return np.repeat(np.arange(3, dtype=np.uint8), np.diff([0, n * 8 // 10, n * 9 // 10, n]))


def check_splits(where: str | Path, split: np.ndarray, hint: str = "") -> None:
    """Raise `InputError`, naming `where`, unless each split has an image and the test split has `MIN_TEST`.

    `hint` ends the message.
    """
    counts = np.bincount(split, minlength=len(SPLITS))
    for value, (name, count) in enumerate(zip(SPLITS, counts, strict=True)):
        if count == 0:
            raise InputError(f"{where}: no image of {split.size:,} is in the {name} split ({value}){hint}")
    if counts[-1] < MIN_TEST:
        raise InputError(f"{where}: the test split has {counts[-1]} images, expected at least {MIN_TEST}{hint}")


def build_cache(planned: Dataset, decode: Callable[[int], np.ndarray], skip_bad: bool = False) -> Dataset:
    """Decode the images of a planned data set into the folder of `planned.images`; returns the data set as cached.

    `decode(row)` gives (size, size, 3) uint8, or raises `InputError` for an image that cannot be read; it runs in
    worker processes, so it must pickle. `skip_bad` drops and counts such rows; otherwise the first one is raised.
    The folder appears only when all is in it: an interrupted build leaves nothing behind (a killed one, at most a
    hidden `.NAME.*` folder beside it).
    """
    folder = planned.images.parent
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = folder.parent / f".{folder.name}.{os.getpid()}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            bad = _write_images(partial / planned.images.name, planned, decode, skip_bad)
            _write_table(partial / "table.npz", _without(planned, bad))
            if not folder.exists():  # another process may have built the same cache meanwhile
                partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise InputError(f"{folder}: the cache cannot be written: {error.strerror or error}") from error
    return load_cache(folder)


def load_cache(folder: Path) -> Dataset:
    """The data set in a folder that `build_cache` made; `InputError` for one that is cut short, older or foreign."""
    table = folder / "table.npz"
    remedy = f"delete {folder} and it is built anew"
    try:
        arrays = read_npz(table)
        meta = json.loads(str(arrays["meta"]))
        if meta["format"] != FORMAT:
            raise InputError(f"{table}: format {meta['format']!r}, expected {FORMAT!r}")
        dataset = Dataset(
            name=meta["name"],
            attributes=tuple(meta["attributes"]),
            files=arrays["files"],
            labels=arrays["labels"],
            split=arrays["split"],
            images=folder / "images.npy",
            size=meta["size"],
            listed=meta["listed"],
            skipped=meta["skipped"],
            notes=tuple(meta["notes"]),
        )
        n = len(dataset)
        for where, array, shape in (
            (f"{table}: labels", dataset.labels, (n, len(dataset.attributes))),
            (f"{table}: split", dataset.split, (n,)),
            (f"{dataset.images}", _map_images(dataset.images), (n, dataset.size, dataset.size, 3)),
        ):
            if (array.shape, array.dtype) != (shape, np.uint8):
                raise InputError(f"{where}: {array.dtype} {array.shape}, expected uint8 {shape}")
    except InputError as error:
        raise InputError(f"{error}; {remedy}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{table}: not the table of an image cache ({error}); {remedy}") from error
    return dataset


def _map_images(path: Path) -> np.ndarray:
    """The pixels of a cache, (n, size, size, 3) uint8, mapped read-only."""
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except Exception as error:  # a damaged header makes NumPy raise almost anything
        raise InputError(f"{path}: cut short or not an image cache ({first_line(error)})") from error


def _without(planned: Dataset, bad: dict[int, str]) -> Dataset:
    """The data set without the rows of images that could not be read, and a note that says so; its splits checked."""
    if not bad:
        return planned
    keep = np.delete(np.arange(len(planned)), list(bad))
    note = (
        f"{len(bad):,} of {len(planned):,} images skipped because they cannot be read, the first: {min(bad.items())[1]}"
    )
    check_splits(f"{planned.name} ({note})", planned.split[keep])
    return replace(
        planned,
        files=planned.files[keep],
        labels=planned.labels[keep],
        split=planned.split[keep],
        skipped=len(bad),
        notes=(*planned.notes, note),
    )


def _write_table(path: Path, dataset: Dataset) -> None:
    fields = ("name", "attributes", "size", "listed", "skipped", "notes")
    meta = {"format": FORMAT, **{field: getattr(dataset, field) for field in fields}}
    np.savez(path, files=dataset.files, labels=dataset.labels, split=dataset.split, meta=np.array(json.dumps(meta)))


def _write_images(path: Path, planned: Dataset, decode: Callable[[int], np.ndarray], skip_bad: bool) -> dict[int, str]:
    """Stream the decoded images into an `.npy` file in order of the rows; returns the rows left out, with reasons."""
    n, size = len(planned), planned.size
    bad: dict[int, str] = {}

    def write_header(rows: int) -> None:
        shape = (rows, size, size, 3)
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})

    with path.open("wb") as file, Progress(n, "preparing images") as bar, closing(_decoded(decode, n, size)) as chunks:
        write_header(n)
        for rows, pixels, chunk_bad in chunks:
            if chunk_bad and not skip_bad:
                raise InputError(f"{min(chunk_bad.items())[1]} (--skip-bad leaves such images out)")
            bad |= chunk_bad
            pixels = np.delete(pixels, [row - rows.start for row in chunk_bad], axis=0)
            file.write(pixels.data)
            bar.advance(len(rows), f"{len(bad):,} skipped" if bad else "")
        if bad:
            file.seek(0)
            write_header(n - len(bad))  # NumPy pads headers so that one with another number of rows has the same length
    return bad


Chunk = tuple[range, np.ndarray, dict[int, str]]  # rows, their pixels (zeros for a bad one), the bad rows with reasons


def _decoded(decode: Callable[[int], np.ndarray], n: int, size: int) -> Generator[Chunk, None, None]:
    """The images 0 ... n-1 in order, decoded in worker processes, a bounded number of chunks ahead."""
    workers = min(os.cpu_count() or 1, MAX_WORKERS)
    pool = ProcessPoolExecutor(workers, initializer=_start_worker, initargs=(decode, size))
    waiting: deque[Future[Chunk]] = deque()
    try:
        for first in range(0, n, CHUNK):
            with interrupt_held():
                waiting.append(pool.submit(_decode_rows, range(first, min(first + CHUNK, n))))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


_job: tuple[Callable[[int], np.ndarray], int]  # of a worker process: what decodes, and the images' size


def _start_worker(decode: Callable[[int], np.ndarray], size: int) -> None:
    global _job
    _job = decode, size
    end_with_parent()


def _decode_rows(rows: range) -> Chunk:
    decode, size = _job
    pixels = np.zeros((len(rows), size, size, 3), np.uint8)
    bad = {}
    for slot, row in zip(pixels, rows, strict=True):
        try:
            slot[:] = decode(row)
        except InputError as error:
            bad[row] = str(error)
    return rows, pixels, bad
