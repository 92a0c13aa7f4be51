"""Runs each contestant in its own process, compares their results, and then times one contestant after the other.

In one process, PyTorch, JAX and NumPy would share thread pools and the allocator's settings.
"""

from __future__ import annotations

import multiprocessing
import resource
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from .work import Arrays, Part

TOLERANCE = 1e-9  # of each tensor's norm
PAUSE = 0.3  # seconds until the threads of the contestant before have stopped spinning
HOPELESS = 2.0  # a variant that takes more than this multiple of the best time in the first round is not run again


class Entrant(NamedTuple):
    """A contestant: a function in a module of this folder that returns the parts of its work, and its arguments."""

    module: str
    work: str
    arguments: dict[str, Any]


@dataclass
class Result:
    """The results of a contestant: seconds by part and variant, and the disagreement with the first contestant.

    `first` has the seconds of the first runs, including compilation; `memory` is the resident MiB at the start and at
    the peak.
    """

    missing: str | None = None
    first: dict[str, dict[str, float]] = field(default_factory=dict)
    seconds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    disagreement: float = 0.0
    memory: tuple[float, float] = (0.0, 0.0)

    @property
    def best(self) -> dict[str, str]:
        """The variant of each part with the smallest median, among those that ran in every round."""
        found = {}
        for part, variants in self.seconds.items():
            rounds = max(map(len, variants.values()))
            found[part] = min((median(s), variant) for variant, s in variants.items() if len(s) == rounds)[1]
        return found

    @property
    def totals(self) -> list[float]:
        """Seconds of each round, for the fastest variant of every part."""
        return [sum(s) for s in zip(*(self.seconds[part][variant] for part, variant in self.best.items()), strict=True)]


class Worker:
    """A contestant's process; `missing` says why it cannot start, `parts` is part → variants, `timed` some parts."""

    def __init__(self, entrant: Entrant) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, entrant))  # no daemon, so it may start processes
        self.process.start()
        theirs.close()
        self.missing, self.parts, self.timed, self.memory = self._receive()

    def run(self, part: str, variant: str, wanted: bool = False) -> tuple[float, Arrays]:
        """Seconds, and the results if they are wanted; updates the peak of resident memory."""
        self.connection.send((part, variant, wanted))
        seconds, self.peak, forms = self._receive()
        arrays = {key: np.frombuffer(self.connection.recv_bytes(), dtype) for key, (_, dtype) in forms.items()}
        return seconds, {key: a.reshape(forms[key][0]) for key, a in arrays.items()}

    def close(self) -> None:
        self.connection.close()  # ends `serve`
        self.process.join()

    def _receive(self) -> Any:
        try:
            return self.connection.recv()
        except EOFError:
            raise SystemExit("a contestant died: its traceback is above, or it had too little memory") from None


def serve(connection: Connection, entrant: Entrant) -> None:
    """Run what the parent asks for, until it closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    try:
        module = import_module(f".{entrant.module}", __package__)
    except ImportError as error:
        connection.send((str(error), {}, [], 0.0))
        return
    parts: dict[str, Part] = getattr(module, entrant.work)(**entrant.arguments)
    variants = {name: list(part.variants) for name, part in parts.items()}
    connection.send((None, variants, [name for name, part in parts.items() if part.timed], peak_memory()))
    with suppress(EOFError):
        while True:
            name, variant, wanted = connection.recv()
            answer(connection, parts[name], variant, wanted)


def answer(connection: Connection, part: Part, variant: str, wanted: bool) -> None:
    """Run a variant for `Worker.run`; arrays are sent as bytes, because a pickle would count as peak memory."""
    start = time.perf_counter()
    found = part.variants[variant]()
    seconds = found if isinstance(found, float) else time.perf_counter() - start
    arrays = found if wanted and isinstance(found, dict) else {}
    connection.send((seconds / part.times, peak_memory(), {key: (a.shape, a.dtype.str) for key, a in arrays.items()}))
    for a in arrays.values():
        connection.send_bytes(np.ascontiguousarray(a))


def race(entrants: dict[str, Entrant], rounds: int, say: Callable[[str], None]) -> dict[str, Result]:
    """Run all variants once, compare their results with those of the first contestant, then time them in rounds."""
    results = {label: Result() for label in entrants}
    workers: dict[str, Worker] = {}
    expected: Arrays = {}
    with ExitStack() as stack:
        for label, entrant in entrants.items():
            say(f"{label} warms up")
            worker = Worker(entrant)
            stack.callback(worker.close)
            if worker.missing is None:
                workers[label] = worker
                warm_up(worker, results[label], expected)
            elif not expected:
                raise SystemExit(f"{label} cannot start: {worker.missing}")
            results[label].missing = worker.missing
        for k in range(rounds):
            say(f"round {k + 1} of {rounds}")
            for label, worker in workers.items():
                run_all(worker, results[label])
    return results


def warm_up(worker: Worker, result: Result, expected: Arrays) -> None:
    """First runs.  The first contestant sets the `expected` results; the others are compared with them."""
    found: list[Arrays] = []
    for part, variants in worker.parts.items():
        result.first[part] = {}
        for variant in variants:
            result.first[part][variant], arrays = worker.run(part, variant, wanted=True)
            found.append(arrays)
    if not expected:
        expected.update({key: a for arrays in found for key, a in arrays.items()})
    assert {key for arrays in found for key in arrays} == set(expected), "contestants answer different questions"
    errors = [disagreement(expected[key], a) for arrays in found for key, a in arrays.items()]
    result.disagreement = float(np.max(errors))  # nan if any is nan


def run_all(worker: Worker, result: Result) -> None:
    """Time each variant that may still be the fastest of its part once more."""
    time.sleep(PAUSE)
    for part in worker.timed:
        seconds = result.seconds.setdefault(part, {})
        for variant in worker.parts[part]:
            seconds.setdefault(variant, []).append(worker.run(part, variant)[0])
        best = min(first for first, *_ in seconds.values())
        worker.parts[part] = [variant for variant in worker.parts[part] if seconds[variant][0] <= HOPELESS * best]
    result.memory = worker.memory, worker.peak


def disagreement(expected: np.ndarray, found: np.ndarray) -> float:
    """‖a − b‖ / ‖b‖; infinity if the shapes differ or only b is zero, nan if both are zero and so tell nothing."""
    if expected.shape != found.shape:
        return np.inf
    error, size = np.linalg.norm(expected - found), np.linalg.norm(expected)
    return float(error / size) if size else float(np.inf if error else np.nan)


def peak_memory() -> float:
    """The peak of this process's resident memory, in MiB.

    `ru_maxrss` is only the fallback: on Linux, a process inherits it from its parent.
    """
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
