"""Two processes at the same computation, which add up what each of them has."""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext

import numpy as np

PATIENCE = 2e-3  # seconds to watch for the other before going to sleep: most waits are shorter than waking up takes
GLANCE = 0.1  # seconds of sleep before looking whether the other is still there


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
