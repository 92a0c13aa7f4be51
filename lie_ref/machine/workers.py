"""A pool of worker processes, one per processor, which stop at once when the program is interrupted."""

import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from .process import end_with_parent, interrupt_held, keep_freed_memory, use_one_blas_thread
from .threads import threads, use_one_thread

STOP = signal.SIGUSR1  # raises KeyboardInterrupt in a worker; blocked except while a submitted function runs
AGAIN = 0.1  # seconds between two such signals: an exception can be lost, for instance in a __del__


@contextmanager
def workers() -> Iterator[ProcessPoolExecutor]:
    """An executor with one process per processor, each computing in one thread.

    If the block ends with an exception, such as Ctrl-C, the functions that are running are interrupted.
    """
    context = multiprocessing.get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    pool = _Workers(threads(), context, _become_worker, (theirs,))
    with theirs, ours:
        try:
            yield pool
        except BaseException:
            ours.close()
            raise
        finally:
            with interrupt_held():
                pool.shutdown(cancel_futures=True)


class _Workers(ProcessPoolExecutor):
    """Its workers are interrupted, not killed: when a worker dies, an executor with cancelled futures can hang."""

    def submit(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(_interruptible, f, *args, **kwargs)


def _interruptible(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {STOP})
        return f(*args, **kwargs)
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, {STOP})


def _become_worker(stop: Connection) -> None:
    """Set up a worker: it ignores Ctrl-C and is interrupted when the parent closes the other end of `stop`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {STOP})
    signal.signal(STOP, signal.default_int_handler)
    use_one_thread()
    use_one_blas_thread()
    keep_freed_memory()
    end_with_parent()
    main = threading.get_ident()

    def watch() -> None:
        stop.poll(None)  # returns when the other end is closed: nothing is ever sent
        while True:
            signal.pthread_kill(main, STOP)
            time.sleep(AGAIN)

    threading.Thread(target=watch, daemon=True).start()
