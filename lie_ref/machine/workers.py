"""A pool of child processes as a `concurrent.futures.Executor`."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from queue import SimpleQueue
from typing import Any

from .child import Child
from .threads import threads


@contextmanager
def workers(count: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """An executor with this many processes (default: one per processor), each computing in one thread.

    At the end of the block, work that is not finished is stopped.  Work given to a process that dies raises InputError.
    """
    with ExitStack() as started:
        children = [started.enter_context(Child()) for _ in range(count or threads())]
        pool = _Workers(children)
        try:
            yield pool
        finally:
            for child in children:
                child.process.kill()
            pool.shutdown(cancel_futures=True)


class _Workers(ThreadPoolExecutor):
    """Each thread of this pool hands its work to an idle child and waits for the result."""

    def __init__(self, children: Sequence[Child]) -> None:
        super().__init__(len(children))
        self.idle: SimpleQueue[Child] = SimpleQueue()
        for child in children:
            self.idle.put(child)

    def submit(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(self._pass_on, partial(f, *args, **kwargs))

    def _pass_on(self, work: Callable[[], Any]) -> Any:
        child = self.idle.get()
        try:
            return child.do(work)
        finally:
            self.idle.put(child)
