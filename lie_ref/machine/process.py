"""What concerns the whole process: one BLAS thread, memory that is kept, its end, and Ctrl-C at the wrong moment.

The first two are for speed; the command line asks for them, the library does not.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

THREAD_SETTERS = ("scipy_openblas_set_num_threads64_", "openblas_set_num_threads64_", "openblas_set_num_threads")
MALLOPT = {-1: 2**31 - 1, -2: 2**26, -3: 2**31 - 1}  # glibc's M_TRIM_THRESHOLD, M_TOP_PAD and M_MMAP_THRESHOLD


def use_one_blas_thread() -> None:
    """Let OpenBLAS compute in the calling thread alone, if it is what NumPy uses.

    The products of small networks are too small to share: the second thread mostly waits, and where another process
    wants its core, everything waits for it.
    """
    try:
        mapped = Path("/proc/self/maps").read_text().splitlines()
    except OSError:  # not Linux
        return
    for path in {line.split()[-1] for line in mapped if "openblas" in line}:
        library = ctypes.CDLL(path)
        for name in THREAD_SETTERS:
            if hasattr(library, name):
                getattr(library, name)(1)


def keep_freed_memory() -> None:
    """Let glibc keep large freed arrays for the next ones instead of handing them back to the system.

    Each step frees and allocates the same arrays; asking the system for every page anew takes a third of its time.
    (A thread's memory goes back, whatever the threshold, when nothing in it is used, but for the padding.)
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library
        return
    for option, value in MALLOPT.items():
        mallopt(option, value)


def end_with_parent() -> None:
    """Let this process, a child, end when its parent has: without it, workers of one that was killed wait for ever."""

    def wait() -> None:
        parent: Any = multiprocessing.parent_process()
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def interrupt_held() -> Iterator[None]:
    """Hold Ctrl-C back until the end of the block; processes that start in the block never see it.

    A terminal sends Ctrl-C to the whole group; only the parent is to answer, or each worker prints a traceback.
    Children inherit the mask. The parent needs the handler too, for one of its other threads may take the signal.
    """
    if threading.current_thread() is not threading.main_thread():  # where Python neither allows nor needs a handler
        yield
        return
    caught: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: caught.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
        if caught:
            signal.raise_signal(signal.SIGINT)
