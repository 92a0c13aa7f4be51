"""Brackets among many examples of one network, in blocks that any executor computes, on one machine or on many."""

import hashlib
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import lru_cache, partial
from glob import escape
from pathlib import Path
from typing import IO

import numpy as np

from .core.networks import Model
from .core.types import Array, Arrays
from .fast.arguments import checked_problem, checked_result
from .machine.errors import InputError
from .machine.files import first_line, write_file, write_npz
from .machine.lock import locked
from .machine.progress import Progress
from .machine.workers import completed
from .measure.derivatives import bracket_norms
from .measure.scores import el2n, grand
from .oracle.request import naming_file, read_inputs, read_network

ROWS, COLUMNS = 64, 8  # examples in a block, and those with which they have brackets
SCORED = 256  # examples whose scores are one piece of work


@dataclass(frozen=True)
class Source:
    """The network, its weights and the examples, by the names of their files, which all workers see.

    `model`, `weights` and `inputs` (x and y) are those of `lie-ref reference`.
    """

    model: str
    weights: Path
    inputs: Path
    loss: str


def write_brackets(source: Source, out: Path, executor: Executor | None = None) -> int:
    """Write the norms and scores among the n examples of a source to the `.npz` file `out`; returns n.

    The file holds `norms` (n, n), of `norms_among`, and `grand` and `el2n` (n,), of `scores_of`.  Finished norms are
    kept in a hidden file beside `out` until `out` is written, so that the same call continues after a stop.  Waits
    while another process writes `out`.  Raises InputError, which names the file, for what does not fit.
    """
    with locked(out.with_name(f".{out.name}.lock"), str(out)):
        begun = _begun(source, out)  # made first, because it keeps the finished work
        norms = norms_among(source, executor, begun)
        write_npz(out, {"norms": norms, **scores_of(source, executor)})
        for path in out.parent.glob(f".{escape(out.name)}.*.npy*"):
            path.unlink()  # also what calls with other sources, or killed ones, have left
    return len(norms)


def norms_among(source: Source, executor: Executor | None = None, begun: Array | None = None) -> Array:
    """‖[v_i, v_j]‖ over all parameters among the n examples of a source: (n, n), symmetric, in the dtype of x.

    Every executor gives the same bits, because the blocks are the same.  Each worker reads the files once; a task has
    only the place of its block.  Where the upper triangle of `begun` (n, n) is nan, it is filled in; the rest is taken
    from it.  Raises InputError, which names the file, for what does not fit.
    """
    x = _checked(source)
    n = len(x)
    norms = np.full((n, n), np.nan, x.dtype) if begun is None else begun
    places = [(slice(c, c + COLUMNS), slice(r, r + ROWS)) for c in range(0, n, COLUMNS) for r in range(c, n, ROWS)]
    left = [place for place in places if np.isnan(norms[place]).any()]
    work = [partial(block, source, rows.start, columns.start) for columns, rows in left]
    with Progress(len(places), "blocks of brackets", start=len(places) - len(left)) as bar:
        for k, found in completed(executor, work):
            if not np.isfinite(found).all():
                raise InputError(f"{source.weights}: brackets are beyond the range of {found.dtype} or nan")
            norms[left[k]] = found.T
            bar.advance()
    upper = np.triu(norms, 1)
    return upper + upper.T


def scores_of(source: Source, executor: Executor | None = None) -> Arrays:
    """GraNd and EL2N of the examples of a source, (n,) float64 each.  Otherwise as `norms_among`."""
    work = [partial(_scores, source, start) for start in range(0, len(_checked(source)), SCORED)]
    found = dict(completed(executor, work))
    with naming_file(source.weights, source.inputs):
        grands, el2ns = np.concatenate([found[k] for k in range(len(work))], axis=1)
        return checked_result({"grand": grands, "el2n": el2ns}, "raise")


def _begun(source: Source, out: Path) -> Array:
    """The norms (n, n) that an earlier call has left, with nan for those that are missing; a writable map of a file."""
    x = _checked(source)
    digest = hashlib.sha256(repr((_read(source)[0][0].spec, source.loss, ROWS, COLUMNS)).encode())
    for path in (source.weights, source.inputs):
        digest.update(path.read_bytes())
    path = out.with_name(f".{out.name}.{digest.hexdigest()[:16]}.npy")

    def write_nothing_yet(file: IO[bytes]) -> None:
        """Take all the space now, because a map that grows on a full disk ends the process."""
        header = {"descr": x.dtype.str, "fortran_order": False, "shape": (len(x), len(x))}
        np.lib.format.write_array_header_1_0(file, header)
        for _ in x:
            file.write(np.full(len(x), np.nan, x.dtype).tobytes())

    if not path.exists():
        write_file(path, write_nothing_yet)
    try:
        norms = np.lib.format.open_memmap(path, "r+")
        if (norms.shape, norms.dtype) != ((len(x), len(x)), x.dtype):
            raise ValueError(f"{norms.dtype} {norms.shape}")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: not the norms of a call that was stopped ({first_line(error)}); delete it"
        ) from error
    return norms


def block(source: Source, row: int, column: int) -> Array:
    """One block of the norms, (rows, columns): those from `row` on, at most `ROWS`, and from `column` on, `COLUMNS`."""
    network, arrays = _read(source)
    x, y = (np.concatenate([a[row : row + ROWS], a[column : column + COLUMNS]]) for a in (arrays["x"], arrays["y"]))
    rows = min(ROWS, len(arrays["x"]) - row)
    with np.errstate(all="ignore"):  # what overflows is refused
        return bracket_norms(*network, x, y, np.arange(rows, len(x)), source.loss, "ignore")[:rows]


def _scores(source: Source, start: int) -> Array:
    """GraNd and EL2N, (2, rows), of the examples from `start` on, at most `SCORED`."""
    (model, params, buffers), arrays = _read(source)
    x, y = (arrays[name][start : start + SCORED] for name in ("x", "y"))
    with naming_file(source.weights, source.inputs), np.errstate(all="ignore"):
        return np.stack([score(model, [(params, buffers)], x, y, source.loss) for score in (grand, el2n)])


def _checked(source: Source) -> Array:
    """The examples x, after a check that all files fit together."""
    network, arrays = _read(source)
    with naming_file(source.weights, source.inputs):
        return checked_problem(*network, arrays["x"], arrays["y"], loss=source.loss, batches=False).x


def _read(source: Source) -> tuple[tuple[Model, Arrays, Arrays], Arrays]:
    """The network and the inputs of a source; each worker reads them once, and again if a file was written since."""
    return _read_at(source, *(path.stat().st_mtime_ns for path in (source.weights, source.inputs) if path.exists()))


@lru_cache(maxsize=1)
def _read_at(source: Source, *written: int) -> tuple[tuple[Model, Arrays, Arrays], Arrays]:
    return read_network(source.model, source.weights), read_inputs(source.inputs)
