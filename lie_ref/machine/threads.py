"""Computing in threads: as many as there are processors, with results in the order of the items."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")
Result = TypeVar("Result")
_alone = False  # whether this process has one processor to itself


def in_threads(f: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Apply f to each item in a thread pool and yield the results in order, at most a few items ahead of the consumer.

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
    """The number of processors that this process may use; 1 after `use_one_thread`."""
    if _alone:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_one_thread() -> None:
    """Compute in one thread from now on: this process is one of as many workers as there are processors."""
    global _alone
    _alone = True
