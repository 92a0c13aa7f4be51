"""Sums over two processes that work on the same computation."""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext

import numpy as np

PATIENCE = 2e-3  # seconds of polling before going to sleep: most waits are shorter than it takes to wake up
GLANCE = 0.1  # seconds of sleep between two checks that the other process is still running


class Side:
    """The shared memory through which one of two partners sends arrays of at most `nbytes`.

    It has two buffers: while one array is written, the other partner may still be reading the previous one.
    """

    def __init__(self, context: SpawnContext, nbytes: int) -> None:
        self.buffers = [context.RawArray("B", nbytes) for _ in range(2)]
        self.written = context.Semaphore(0)

    def view(self, turn: int, like: np.ndarray) -> np.ndarray:
        """The buffer of this turn, as an array of the shape and dtype of `like`."""
        return np.ndarray(like.shape, like.dtype, self.buffers[turn % 2])


class Partner:
    """One of two processes that add up their arrays; exactly one of the two has `first` set.

    Arrays go through shared memory and semaphores, because a pipe takes longer than most waits.  The pipe `line`
    between the two only shows that the other process has ended.

    >>> first, second = Partner.pair(nbytes=8)
    >>> second.send(np.array([1.0]))
    >>> first.total(np.array([2.0]))
    array([3.])
    """

    def __init__(self, own: Side, other: Side, line: Connection, first: bool) -> None:
        self.own, self.other, self.line, self.first, self.turn = own, other, line, first, 0

    @classmethod
    def pair(cls, nbytes: int) -> tuple[Partner, Partner]:
        """Both partners, for arrays of at most `nbytes`; pass one of them to a spawned process as an argument."""
        context = multiprocessing.get_context("spawn")
        a, b = Side(context, nbytes), Side(context, nbytes)
        ours, theirs = context.Pipe()
        return cls(a, b, ours, first=True), cls(b, a, theirs, first=False)

    def total(self, array: np.ndarray) -> np.ndarray:
        """This array plus the one that the other partner passes to its own call; EOFError if the other has ended."""
        self.send(array)
        patient_until, patient = time.perf_counter() + PATIENCE, True
        while not self.other.written.acquire(block=not patient, timeout=GLANCE):
            if not patient and self.line.poll():  # nothing is ever sent through the pipe: this is its end
                raise EOFError
            patient = time.perf_counter() < patient_until
        return array + self.other.view(self.turn, array)

    def send(self, array: np.ndarray) -> None:
        """Pass the array to the other partner: the first half of `total`."""
        self.turn += 1
        self.own.view(self.turn, array)[...] = array
        self.own.written.release()
