"""Sums over two processes that work on the same computation."""

from __future__ import annotations

import mmap
import os
import socket
import time
from contextlib import suppress
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np

from .child import ENDED
from .errors import InputError

PATIENCE = 2e-3  # seconds of polling before going to sleep: most waits are shorter than it takes to wake up


class Partner:
    """One of two processes that add up their arrays; exactly one of the two has `first` set.

    Arrays go through shared memory, and a byte through the socket `line` says that one is there.  Each partner has two
    places in the memory: while it writes one array, the other partner may still be reading the previous one.

    >>> first, second = Partner.pair(nbytes=8)
    >>> second.send(np.array([1.0]))
    >>> first.total(np.array([2.0]))
    array([3.])
    """

    def __init__(self, memory: IO[bytes], line: socket.socket, first: bool) -> None:
        self.memory, self.line, self.first, self.turn = memory, line, first, 0
        self.mapped = mmap.mmap(memory.fileno(), 0)

    @classmethod
    def pair(cls, nbytes: int) -> tuple[Partner, Partner]:
        """Both partners, for arrays of at most `nbytes`; one can be sent to a `Child` that inherits its `handles`."""
        in_memory = hasattr(os, "memfd_create")  # on Linux
        memory = os.fdopen(os.memfd_create("lie_ref"), "r+b") if in_memory else TemporaryFile()  # noqa: SIM115
        memory.truncate(4 * nbytes)
        ours, theirs = socket.socketpair()
        return cls(memory, ours, first=True), cls(memory, theirs, first=False)

    @property
    def handles(self) -> tuple[int, int]:
        """The file descriptors of memory and line."""
        return self.memory.fileno(), self.line.fileno()

    def __reduce__(self) -> tuple[Any, ...]:
        return _inherited, (*self.handles, self.first)

    def total(self, array: np.ndarray) -> np.ndarray:
        """This array plus the one that the other partner passes to its own call; InputError if the other has ended."""
        self.send(array)
        if not self._told():
            raise InputError(ENDED)
        return array + self.place(not self.first, array)

    def send(self, array: np.ndarray) -> None:
        """Pass the array to the other partner: the first half of `total`."""
        self.turn += 1
        self.place(self.first, array)[...] = array
        with suppress(OSError):  # the other has ended, which shows in `total`
            self.line.send(b"+")

    def place(self, first: bool, like: np.ndarray) -> np.ndarray:
        """The memory of the first or second partner for this turn, as an array of the shape and dtype of `like`."""
        slot = 2 * first + self.turn % 2
        return np.ndarray(like.shape, like.dtype, self.mapped, offset=slot * (len(self.mapped) // 4))

    def _told(self) -> bytes:
        """The byte that says that the other has written; nothing if it has ended."""
        patient_until = time.perf_counter() + PATIENCE
        with suppress(ConnectionError):
            while time.perf_counter() < patient_until:
                with suppress(BlockingIOError):
                    return self.line.recv(1, socket.MSG_DONTWAIT)
            return self.line.recv(1)
        return b""


def _inherited(memory: int, line: int, first: bool) -> Partner:
    return Partner(os.fdopen(memory, "r+b"), socket.socket(fileno=line), first)
