"""Computing in worker processes, one to each processor, which end at once when they are interrupted."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from .process import end_with_parent, interrupt_held, keep_freed_memory, use_one_blas_thread
from .threads import threads, use_one_thread

Result = TypeVar("Result")
AGAIN = 0.1  # seconds between two interruptions of a worker that is to stop
_at_work = False  # whether this process, a worker, is computing what was submitted
_stopped = False  # whether it is to stop


@contextmanager
def workers() -> Iterator[ProcessPoolExecutor]:
    """An executor of as many processes as there are processors, each computing in one thread.

    When the block ends with an exception, such as Ctrl-C, they end at once: whatever they are at is interrupted.
    """
    context = multiprocessing.get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    pool, whole = _Workers(threads(), context, _become_worker, (theirs,)), False
    try:
        yield pool
        whole = True
    finally:
        with interrupt_held():
            if not whole:
                ours.close()
            pool.shutdown(cancel_futures=True)
        ours.close()
        theirs.close()


class _Workers(ProcessPoolExecutor):
    """Workers that are interrupted and not killed: an executor whose workers die can hang with what was cancelled."""

    def submit(self, f: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        return super().submit(_interruptible, f, *args, **kwargs)


def _interruptible(f: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
    global _at_work
    _at_work = True
    try:
        if _stopped:
            raise KeyboardInterrupt
        return f(*args, **kwargs)
    finally:
        _at_work = False


def _become_worker(stop: Connection) -> None:
    """Ctrl-C is for the parent, who closes the other end of `stop` when his workers are to stop."""
    use_one_thread()
    main = threading.get_ident()
    signal.signal(signal.SIGINT, _interrupted)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    use_one_blas_thread()
    keep_freed_memory()
    end_with_parent()

    def watch() -> None:
        global _stopped
        stop.poll(None)  # nothing is sent along it
        _stopped = True
        while True:  # one exception may be lost, as in a __del__
            signal.pthread_kill(main, signal.SIGINT)
            time.sleep(AGAIN)

    threading.Thread(target=watch, daemon=True).start()


def _interrupted(*_: object) -> None:
    if _stopped and _at_work:
        raise KeyboardInterrupt
