"""Computing side by side: in threads, and with a second process, whose sums do not depend on which is faster."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")
Result = TypeVar("Result")
Reduce = Callable[[np.ndarray], np.ndarray]
BUFFERED = 2**14  # bytes that a pipe takes although nobody reads them yet
PATIENCE = 2e-3  # seconds to watch a pipe before going to sleep: most waits are shorter than waking up takes


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
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Partner:
    """The other one of two processes at the same computation, at the other end of a pipe: what both have is added up.

    >>> from multiprocessing import Pipe
    >>> ours, theirs = Pipe()
    >>> Partner(theirs).send(np.array([1.0]))
    >>> Partner(ours).total(np.array([2.0]))
    array([3.])
    """

    def __init__(self, connection: Connection, first: bool = True) -> None:
        """One of the two is `first`, so that they do not both wait for the other to receive."""
        self.connection, self.first = connection, first

    def total(self, array: np.ndarray) -> np.ndarray:
        """This process's array plus the other's, who must call it equally often; EOFError if he has ended."""
        early = self.first or array.nbytes <= BUFFERED
        try:
            if early:
                self.send(array)
            deadline = time.perf_counter() + PATIENCE
            while not self.connection.poll() and time.perf_counter() < deadline:
                pass
            received = np.frombuffer(self.connection.recv_bytes(), array.dtype).reshape(array.shape)
            if not early:
                self.send(array)
        except OSError as error:  # an end is closed in the middle of a message
            raise EOFError from error
        return array + received

    def send(self, array: np.ndarray) -> None:
        """Half of `total`."""
        self.connection.send_bytes(np.ascontiguousarray(array).data.cast("B"))
