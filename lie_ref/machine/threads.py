"""Parallel work whose results come in the order of the items, and the number of threads to use for it."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")
Result = TypeVar("Result")
_alone = False  # whether this process is limited to one thread


def in_order(submit: Callable[[Item], Future[Result]], items: Iterable[Item], ahead: int) -> Iterator[Result]:
    """Submit the items and yield their results in order, at most `ahead` items ahead of the consumer."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(submit(item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def in_threads(f: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Apply f to each item in a thread pool and yield the results in order, at most a few items ahead of the consumer.

    The threads use the caller's NumPy settings for floating-point errors.

    >>> list(in_threads(lambda n: n * n, range(4)))
    [0, 1, 4, 9]
    """
    errors, count = np.geterr(), threads()
    with ThreadPoolExecutor(count, initializer=lambda: np.seterr(**errors)) as pool:
        yield from in_order(lambda item: pool.submit(f, item), items, count)


def threads() -> int:
    """The number of processors that this process may use; 1 after `use_one_thread`."""
    if _alone:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_one_thread() -> None:
    """Limit this process to one thread, because it is one of several workers that share the processors."""
    global _alone
    _alone = True
