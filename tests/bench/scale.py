"""`python -m tests.bench.scale`: brackets among n examples on m workers, measured here and calculated beyond.

The measured table has time, memory and traffic; the calculation takes its constants, and finds where more machines no
longer help.  Weights are those of `init(seed=0)` and pictures are noise, in float32: their values change no time.
"""

from __future__ import annotations

import pickle
import sys
from functools import partial
from math import ceil
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import NamedTuple

import numpy as np

from lie_ref import preset
from lie_ref.all_pairs import COLUMNS, ROWS, Source, block, norms_among
from lie_ref.machine.workers import workers

SIZE = 64  # height and width of the pictures
RUNS = (("mxresnet-tiny", 64), ("mxresnet-small", 32), ("mxresnet18", 16))  # networks, and examples of each
MANY, CORES = 10_000, 2  # examples, and processors of a machine, of the calculation
SERVER = 1e9  # bytes a second from a file server to all machines together: an assumption, not measured
MIB = 2**20
UNIT = 1 if sys.platform == "darwin" else 1024  # bytes in which a system tells its processes' memory


class Cost(NamedTuple):
    """What brackets among examples of one network take, with `bracket` in seconds, and the rest in bytes."""

    bracket: float
    worker: int  # of memory, without the examples
    weights: int
    example: int


def main() -> None:
    print(
        row("network", "parameters", "n", "brackets", "workers", "seconds", "a bracket", "speed-up", "memory of each")
    )
    print("|" + " --- |" * 9)
    for network, n in RUNS:
        cost = measured(network, n)
    rate, piece, result = handed_over(), piece_bytes(), ROWS * COLUMNS * np.float32().itemsize
    print(f"\n{rate:,.0f} pieces of work a second are handed over and back, {piece} bytes there and {result:,} back.")
    print(f"All pairs among {MANY:,} examples of {network}, on machines with {CORES} cores like these:\n")
    print(row("machines", "hours", "speed-up", "reading the files", "handing over", "pieces a worker"))
    print("|" + " --- |" * 6)
    one = planned(cost, rate, 1)[0]
    for machines in (1, 10, 100, 1000, 10_000):
        seconds, reading, handing, each = planned(cost, rate, machines)
        shares = f"{reading / seconds:.1%}", f"{handing / seconds:.1%}"
        print(row(f"{machines:,}", f"{seconds / 3600:,.2f}", f"{one / seconds:,.0f}", *shares, f"{each:,}"))
    examples, passed = MANY * cost.example, blocks(MANY) * (piece + result)
    print(f"\nEach worker reads {(cost.weights + examples) / MIB:,.0f} MiB once, and takes", end=" ")
    print(f"{(cost.worker + examples) / MIB:,.0f} MiB; {passed / MIB:,.0f} MiB pass through the parent,", end=" ")
    print(f"which keeps norms of {4 * MANY**2 / MIB:,.0f} MiB.")


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def measured(network: str, n: int) -> Cost:
    """Print the lines of one network, and return what it takes in one worker."""
    model = preset(network)
    params, buffers = model.init(0, np.float32)
    x = np.random.default_rng(0).standard_normal((n, 3, SIZE, SIZE)).astype(np.float32)
    with TemporaryDirectory() as folder:
        source = Source(network, Path(folder) / "W.npz", Path(folder) / "XY.npz", "bce")
        np.savez(source.weights, **params, **buffers)
        np.savez(source.inputs, x=x, y=np.zeros((n, model.n_out), np.float32))
        first, norms = 0.0, b""
        for count in (1, 2):
            with workers(count) as pool:
                list(pool.map(sleep, [0.5] * count))  # until all have started
                began = perf_counter()
                found = norms_among(source, pool).tobytes()
                seconds = perf_counter() - began
                memory = max(usage.ru_maxrss for usage in pool.map(getrusage, [RUSAGE_SELF] * count)) * UNIT
            assert found == (norms or found), "one worker and two gave different bits"
            first, norms = first or seconds, found
            cells = f"{model.parameter_count:,}", n, computed(n), count, f"{seconds:.1f}"
            each, gain = f"{seconds * count / computed(n):.4f} s", f"{first / seconds:.2f}"
            print(row(network, *cells, each, gain, f"{memory / MIB:,.0f} MiB"), flush=True)
            if count == 1:
                bracket, worker = seconds / computed(n), memory
        weights = source.weights.stat().st_size
    return Cost(bracket, worker, weights, x[0].nbytes + 4 * model.n_out)


def handed_over(count: int = 2000) -> float:
    """Empty pieces of work a second, to two workers and back: the median of five rounds."""
    with workers(2) as pool:
        list(pool.map(sleep, [0.5] * 2))
        rates = []
        for _ in range(5):
            began = perf_counter()
            list(pool.map(abs, range(count)))
            rates.append(count / (perf_counter() - began))
    return median(rates)


def piece_bytes() -> int:
    source = Source("mxresnet18", Path("/a/folder/that/all/see/W.npz"), Path("/a/folder/that/all/see/XY.npz"), "bce")
    return len(pickle.dumps(partial(block, source, MANY, MANY)))


def blocks(n: int) -> int:
    return sum(ceil((n - column) / ROWS) for column in range(0, n, COLUMNS))


def computed(n: int) -> int:
    """The brackets in all blocks: those on the diagonal hold some pairs twice, and an example with itself."""
    return sum((n - column) * min(COLUMNS, n - column) for column in range(0, n, COLUMNS))


def planned(cost: Cost, rate: float, machines: int) -> tuple[float, float, float, int]:
    """Seconds for all pairs, of which the file server and the parent are busy for these; and pieces for each worker."""
    count = machines * CORES
    each = ceil(blocks(MANY) / count)
    reading = count * (cost.weights + MANY * cost.example) / SERVER
    handing = blocks(MANY) / rate
    return reading + max(each * cost.bracket * ROWS * COLUMNS, handing), reading, handing, each


if __name__ == "__main__":
    main()
