"""The norms of the brackets among many examples, in blocks that any executor computes, on one machine or on many."""

from concurrent.futures import Executor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from .core.networks import Model
from .core.types import Array, Arrays
from .fast.arguments import checked_problem, checked_result
from .machine.progress import Progress
from .machine.workers import completed
from .measure.derivatives import bracket_norms
from .oracle.request import naming_file, read_inputs, read_network

ROWS, COLUMNS = 64, 8  # examples in a block, and those with which they have brackets


@dataclass(frozen=True)
class Source:
    """The network, its weights and the examples, by the names of their files, which all workers see.

    `model`, `weights` and `inputs` (x and y) are those of `lie-ref reference`.
    """

    model: str
    weights: Path
    inputs: Path
    loss: str


def norms_among(source: Source, executor: Executor | None = None) -> Array:
    """‖[v_i, v_j]‖ over all parameters among the n examples of a source: (n, n), symmetric, in the dtype of x.

    Every executor gives the same bits, because the blocks are the same.  Each worker reads the files once; a task has
    only the place of its block.  Raises InputError, which names the file, for what does not fit.
    """
    network, arrays = _read(source)
    with naming_file(source.weights, source.inputs):
        x = checked_problem(*network, arrays["x"], arrays["y"], loss=source.loss, batches=False).x
    n = len(x)
    norms = np.zeros((n, n), x.dtype)
    places = [(row, column) for column in range(0, n, COLUMNS) for row in range(column, n, ROWS)]
    with Progress(len(places), "blocks of brackets") as bar:
        for k, found in completed(executor, [partial(block, source, *place) for place in places]):
            row, column = places[k]
            norms[column : column + COLUMNS, row : row + ROWS] = found.T
            bar.advance()
    with naming_file(source.weights, source.inputs):
        return checked_result(np.triu(norms, 1) + np.triu(norms, 1).T, "raise")


def block(source: Source, row: int, column: int) -> Array:
    """One block of the norms, (rows, columns): those from `row` on, at most `ROWS`, and from `column` on, `COLUMNS`."""
    network, arrays = _read(source)
    x, y = (np.concatenate([a[row : row + ROWS], a[column : column + COLUMNS]]) for a in (arrays["x"], arrays["y"]))
    rows = min(ROWS, len(arrays["x"]) - row)
    return bracket_norms(*network, x, y, np.arange(rows, len(x)), source.loss, "ignore")[:rows]


@lru_cache(maxsize=1)
def _read(source: Source) -> tuple[tuple[Model, Arrays, Arrays], Arrays]:
    return read_network(source.model, source.weights), read_inputs(source.inputs)
