"""Settings of the whole process: BLAS threads, freed memory, and Ctrl-C and SIGTERM."""

import ctypes
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

THREAD_SETTERS = ("scipy_openblas_set_num_threads64_", "openblas_set_num_threads64_", "openblas_set_num_threads")
MALLOPT = {-1: 2**31 - 1, -2: 2**26, -3: 2**31 - 1}  # glibc's M_TRIM_THRESHOLD, M_TOP_PAD and M_MMAP_THRESHOLD


def use_one_blas_thread() -> None:
    """Make OpenBLAS, if NumPy uses it, compute in the calling thread only.

    The products of small networks are too small to share: the second thread mostly waits, or makes the first one wait.
    """
    try:
        mapped = Path("/proc/self/maps").read_text().splitlines()
    except OSError:  # not Linux
        return
    for path in {line.split(maxsplit=5)[-1] for line in mapped if "openblas" in line}:  # it may contain spaces
        with suppress(OSError):  # the file has been replaced since it was loaded
            library = ctypes.CDLL(path)
            for name in THREAD_SETTERS:
                if hasattr(library, name):
                    getattr(library, name)(1)


def keep_freed_memory() -> None:
    """Make glibc keep large freed arrays for reuse: asking the system for them again takes a third of a step's time.

    (The memory of a thread other than the first is still returned when all of it is free, except for the padding.)
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library
        return
    for option, value in MALLOPT.items():
        mallopt(option, value)


@contextmanager
def interrupt_held() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until the end of the block, in which nothing may wait for another process."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread can set handlers and needs to
        yield
        return
    caught: list[int] = []
    held = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.signal(number, lambda number, _: caught.append(number)) for number in held]
    try:
        yield
    finally:
        for number, handler in zip(held, handlers, strict=True):
            signal.signal(number, handler)
        if caught:
            signal.raise_signal(caught[0])


def interrupt_on_sigterm() -> None:
    """Let SIGTERM raise KeyboardInterrupt, with its number, so that it cleans up as Ctrl-C does."""

    def interrupt(number: int, _: object) -> None:
        raise KeyboardInterrupt(number)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, interrupt)


def available_memory() -> int | None:
    """The bytes that are free on this machine, or that its container may have; None where the system does not say."""
    found = []
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")))
    with suppress(OSError, ValueError):  # the limit is "max" if there is none
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(found, default=None)
