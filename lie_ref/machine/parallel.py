"""Computing side by side: in threads, in worker processes, and in two processes whose sums are always the same."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from typing import Any, TypeVar

import numpy as np

from .process import end_with_parent, interrupt_held, keep_freed_memory, use_one_blas_thread

Item = TypeVar("Item")
Result = TypeVar("Result")
Reduce = Callable[[np.ndarray], np.ndarray]
PATIENCE = 2e-3  # seconds to watch for the other before going to sleep: most waits are shorter than waking up takes
GLANCE = 0.1  # seconds of sleep before looking whether the other is still there


def in_threads(f: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """f of each item, in their order, computed in as many threads as there are processors, and few of them ahead.

    NumPy's settings for floating-point errors are those of the caller.

    >>> list(in_threads(lambda n: n * n, range(4)))
    [0, 1, 4, 9]
    """
    errors, count = np.geterr(), threads()

    def run(item: Item) -> Result:
        with np.errstate(**errors):
            return f(item)

    with ThreadPoolExecutor(count) as pool:
        ahead: deque[Future[Result]] = deque()
        for item in items:
            ahead.append(pool.submit(run, item))
            if len(ahead) > count:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def threads() -> int:
    """How many processors this process may use; a worker of `workers` has one to itself."""
    if _is_worker:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_is_worker = False
_at_work = False  # whether this process, a worker, is computing what was submitted
_stopped = False  # whether it is to stop


@contextmanager
def workers() -> Iterator[ProcessPoolExecutor]:
    """An executor of as many processes as there are processors, each computing in one thread.

    When the block ends with an exception, such as Ctrl-C, they end at once: whatever they are at is interrupted.
    """
    context = multiprocessing.get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    pool, whole = _Workers(threads(), context, _become_worker, (theirs,)), False
    try:
        yield pool
        whole = True
    finally:
        with interrupt_held():
            if not whole:
                ours.close()
            pool.shutdown(cancel_futures=True)
        ours.close()
        theirs.close()


class _Workers(ProcessPoolExecutor):
    """Workers that are interrupted and not killed: an executor whose workers die can hang with what was cancelled."""

    def submit(self, f: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        return super().submit(_interruptible, f, *args, **kwargs)


def _interruptible(f: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
    global _at_work
    _at_work = True
    try:
        if _stopped:
            raise KeyboardInterrupt
        return f(*args, **kwargs)
    finally:
        _at_work = False


def _become_worker(stop: Connection) -> None:
    """Ctrl-C is for the parent, who closes the other end of `stop` when his workers are to stop."""
    global _is_worker
    _is_worker = True
    main = threading.get_ident()
    signal.signal(signal.SIGINT, _interrupted)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    use_one_blas_thread()
    keep_freed_memory()
    end_with_parent()

    def watch() -> None:
        global _stopped
        stop.poll(None)  # nothing is sent along it
        _stopped = True
        while True:  # one exception may be lost, as in a __del__
            signal.pthread_kill(main, signal.SIGINT)
            time.sleep(GLANCE)

    threading.Thread(target=watch, daemon=True).start()


def _interrupted(*_: object) -> None:
    if _stopped and _at_work:
        raise KeyboardInterrupt


class Side:
    """What one of two partners tells the other: arrays of at most `nbytes`, in memory that both see.

    There are two places, for while one array is written the other partner may still read the one before.
    """

    def __init__(self, context: SpawnContext, nbytes: int) -> None:
        self.places = [context.RawArray("B", nbytes) for _ in range(2)]
        self.written = context.Semaphore(0)

    def view(self, turn: int, like: np.ndarray) -> np.ndarray:
        """The place whose turn it is, as an array of the shape and dtype of this one."""
        return np.ndarray(like.shape, like.dtype, self.places[turn % 2])


class Partner:
    """One of two processes at the same computation: what both have is added up.

    Through shared memory and semaphores, for most waits are shorter than a pipe takes; `line`, a pipe between the two,
    is for noticing that the other has ended.  One of the two is `first`, so that each knows which half is its own.

    >>> first, second = Partner.pair(nbytes=8)
    >>> second.send(np.array([1.0]))
    >>> first.total(np.array([2.0]))
    array([3.])
    """

    def __init__(self, own: Side, other: Side, line: Connection, first: bool) -> None:
        self.own, self.other, self.line, self.first, self.turn = own, other, line, first, 0

    @classmethod
    def pair(cls, nbytes: int) -> tuple[Partner, Partner]:
        """Both of them, for arrays of at most so many bytes; one is for a process that is spawned, as an argument."""
        context = multiprocessing.get_context("spawn")
        a, b = Side(context, nbytes), Side(context, nbytes)
        ours, theirs = context.Pipe()
        return cls(a, b, ours, first=True), cls(b, a, theirs, first=False)

    def total(self, array: np.ndarray) -> np.ndarray:
        """This process's array plus the other's, who must call it equally often; EOFError if he has ended."""
        self.send(array)
        deadline = time.perf_counter() + PATIENCE
        while not self.other.written.acquire(block=False):
            if time.perf_counter() > deadline:
                self._wait()
                break
        return array + self.other.view(self.turn, array)

    def send(self, array: np.ndarray) -> None:
        """Half of `total`."""
        self.turn += 1
        self.own.view(self.turn, array)[...] = array
        self.own.written.release()

    def _wait(self) -> None:
        """Until the other has written."""
        while not self.other.written.acquire(timeout=GLANCE):
            if self.line.poll():  # nothing is sent along it: it has an end to read
                raise EOFError
