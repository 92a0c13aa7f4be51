"""Parts of one computation side by side in threads, with sums over them that do not depend on which is faster."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")
Result = TypeVar("Result")
Reduce = Callable[[np.ndarray], np.ndarray]


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


class _GaveUp(Exception):
    """Another part failed, so that its arrays will not come."""


def side_by_side(part: Callable[[int, Reduce], Result], count: int) -> list[Result]:
    """[part(0, total), …, part(count − 1, total)], each in a thread of its own.

    `total(array)` gives each part the sum of the arrays that all parts hand in, always added in the same order; every
    part must call it equally often, and leave what it handed in as it is.  NumPy's settings for floating-point errors
    are those of the caller, and the first error of any part is raised again.

    >>> side_by_side(lambda k, total: float(total(np.array(k + 1.0))), count=3)
    [6.0, 6.0, 6.0]
    """
    posts: list[list[SimpleQueue[np.ndarray | None]]]  # posts[i][k]: from part i to part k
    posts = [[SimpleQueue() for _ in range(count)] for _ in range(count)]
    errors = np.geterr()

    def run(k: int) -> Result:
        def send(array: np.ndarray | None) -> None:
            for other in range(count):
                posts[k][other].put(array)

        def total(array: np.ndarray) -> np.ndarray:
            send(array)
            result = None
            for other in range(count):
                received = posts[other][k].get()
                if received is None:
                    raise _GaveUp
                result = received if result is None else result + received
            assert result is not None
            return result

        try:
            with np.errstate(**errors):
                return part(k, total)
        except BaseException:
            send(None)  # or the others would wait for this part for ever
            raise

    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(run, k) for k in range(count)]
    # first a part's own error, rather than that the others gave up waiting for it
    futures.sort(key=lambda future: isinstance(future.exception(), (_GaveUp, type(None))))
    return [future.result() for future in futures]
