"""Contestants in processes of their own, at work one at a time and in turn, their results compared first.

PyTorch, JAX and NumPy in one process would share thread pools and the allocator's settings.
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
PAUSE = 0.3  # seconds until the threads of the one before have stopped spinning
HOPELESS = 2.0  # a way that takes so many times the best one's seconds in the first round does not run again


class Entrant(NamedTuple):
    """A contestant: the function of a module beside this one that makes its parts, and the arguments for it."""

    module: str
    work: str
    arguments: dict[str, Any]


@dataclass
class Result:
    """What is known of a contestant: seconds by part and way, and how far its results are from the first one's.

    `first` are the seconds of the first runs, compilation included; `memory` the resident MiB (at the start, at most).
    """

    missing: str | None = None
    first: dict[str, dict[str, float]] = field(default_factory=dict)
    seconds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    disagreement: float = 0.0
    memory: tuple[float, float] = (0.0, 0.0)

    @property
    def best(self) -> dict[str, str]:
        """The fastest way of each part, by its median, among those that ran in every round."""
        found = {}
        for part, ways in self.seconds.items():
            rounds = max(map(len, ways.values()))
            found[part] = min((median(s), way) for way, s in ways.items() if len(s) == rounds)[1]
        return found

    @property
    def totals(self) -> list[float]:
        """Seconds of each round, every part done in its fastest way."""
        return [sum(s) for s in zip(*(self.seconds[part][way] for part, way in self.best.items()), strict=True)]


class Worker:
    """A contestant's process: `missing` says why it has nothing to do, `parts` are part → ways, `timed` some parts."""

    def __init__(self, entrant: Entrant) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, entrant))  # no daemon, for it may start processes
        self.process.start()
        theirs.close()
        self.missing, self.parts, self.timed, self.memory = self._receive()

    def run(self, part: str, way: str, wanted: bool = False) -> tuple[float, Arrays]:
        """Seconds, and the results if they are wanted; notes the peak of resident memory, in MiB."""
        self.connection.send((part, way, wanted))
        seconds, self.peak, forms = self._receive()
        arrays = {key: np.frombuffer(self.connection.recv_bytes(), dtype) for key, (_, dtype) in forms.items()}
        return seconds, {key: a.reshape(forms[key][0]) for key, a in arrays.items()}

    def close(self) -> None:
        self.connection.close()  # which ends `serve`
        self.process.join()

    def _receive(self) -> Any:
        try:
            return self.connection.recv()
        except EOFError:
            raise SystemExit("a contestant died: its traceback is above, or it had too little memory") from None


def serve(connection: Connection, entrant: Entrant) -> None:
    """What a worker does until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    try:
        module = import_module(f".{entrant.module}", __package__)
    except ImportError as error:
        connection.send((str(error), {}, [], 0.0))
        return
    parts: dict[str, Part] = getattr(module, entrant.work)(**entrant.arguments)
    ways = {name: list(part.ways) for name, part in parts.items()}
    connection.send((None, ways, [name for name, part in parts.items() if part.timed], peak_memory()))
    with suppress(EOFError):
        while True:
            name, way, wanted = connection.recv()
            answer(connection, parts[name], way, wanted)


def answer(connection: Connection, part: Part, way: str, wanted: bool) -> None:
    """Runs it and sends what `Worker.run` receives; arrays as they are, for a pickle would count as peak memory."""
    start = time.perf_counter()
    found = part.ways[way]()
    seconds = found if isinstance(found, float) else time.perf_counter() - start
    arrays = found if wanted and isinstance(found, dict) else {}
    connection.send((seconds / part.times, peak_memory(), {key: (a.shape, a.dtype.str) for key, a in arrays.items()}))
    for a in arrays.values():
        connection.send_bytes(np.ascontiguousarray(a))


def race(entrants: dict[str, Entrant], rounds: int, say: Callable[[str], None]) -> dict[str, Result]:
    """Runs all ways of all contestants once, compares their results with the first one's, then times them in turn."""
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
    """First runs. The first contestant's results become what is `expected`; of the others all of them are."""
    found: list[Arrays] = []
    for part, ways in worker.parts.items():
        result.first[part] = {}
        for way in ways:
            result.first[part][way], arrays = worker.run(part, way, wanted=True)
            found.append(arrays)
    if not expected:
        expected.update({key: a for arrays in found for key, a in arrays.items()})
    assert {key for arrays in found for key in arrays} == set(expected), "contestants answer different questions"
    errors = [disagreement(expected[key], a) for arrays in found for key, a in arrays.items()]
    result.disagreement = float(np.max(errors))  # nan, if there is one


def run_all(worker: Worker, result: Result) -> None:
    """One more timed run of each way that may still be the fastest of its part."""
    time.sleep(PAUSE)
    for part in worker.timed:
        seconds = result.seconds.setdefault(part, {})
        for way in worker.parts[part]:
            seconds.setdefault(way, []).append(worker.run(part, way)[0])
        best = min(first for first, *_ in seconds.values())
        worker.parts[part] = [way for way in worker.parts[part] if seconds[way][0] <= HOPELESS * best]
    result.memory = worker.memory, worker.peak


def disagreement(expected: np.ndarray, found: np.ndarray) -> float:
    """‖a − b‖ / ‖b‖, and infinity where shapes differ."""
    if expected.shape != found.shape:
        return np.inf
    error, size = np.linalg.norm(expected - found), np.linalg.norm(expected)
    return float(error / size) if size else float(np.inf if error else 0.0)


def peak_memory() -> float:
    """The largest resident size of this process so far, in MiB.

    Not `ru_maxrss` where Linux says better: a process inherits that of the one that started it.
    """
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
