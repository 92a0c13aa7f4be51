"""Independent pieces of work on any `concurrent.futures.Executor`, and a pool of child processes as one."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from importlib import import_module
from queue import SimpleQueue
from typing import Any, TypeVar

from .child import ENDED, Child
from .errors import InputError
from .files import first_line
from .threads import threads

Result = TypeVar("Result")
UNGUARDED = ' A script with an executor of its own needs `if __name__ == "__main__":`, and cannot be run by `python -`.'


def completed(executor: Executor | None, work: Iterable[Callable[[], Result]]) -> Iterator[tuple[int, Result]]:
    """The place and the result of each piece of work as it is finished; without an executor, in this process.

    An executor begins with the first pieces while `work` still makes others.  When an error, Ctrl-C or the end of the
    loop stops it, no further work is started.  A piece that the executor loses, as Dask may when a worker is killed, is
    given to it again, at most twice.  Raises InputError if the executor loses its workers.

    >>> list(completed(None, [lambda: 3, lambda: 4]))
    [(0, 3), (1, 4)]
    """
    if executor is None:
        yield from ((k, do()) for k, do in enumerate(work))
        return
    given: dict[Future[Result], tuple[int, Callable[[], Result], int]] = {}
    done: SimpleQueue[Future[Result]] = SimpleQueue()

    def give(k: int, do: Callable[[], Result], tries: int = 3) -> None:
        future = executor.submit(_own_errors, do)
        given[future] = k, do, tries
        future.add_done_callback(done.put)

    def take() -> list[tuple[int, Result]]:
        """What the next piece found that is finished, or nothing if it was lost and is done again."""
        k, do, tries = given.pop(future := done.get())
        try:
            return [(k, future.result())]
        except Exception as error:
            if tries == 1 or isinstance(error, (BrokenExecutor, InputError)) or hasattr(error, "of_the_work"):
                raise
        give(k, do, tries - 1)
        return []

    try:
        for k, do in enumerate(work):
            give(k, do)
            while not done.empty():
                yield from take()
        while given:
            yield from take()
    except BrokenExecutor as error:  # all its futures have failed
        raise InputError(f"{ENDED}{UNGUARDED}") from error
    finally:
        for future in given:
            future.cancel()


def _own_errors(do: Callable[[], Result]) -> Result:
    """Do it, and mark its errors, which doing it again would repeat; other errors come from the executor."""
    try:
        return do()
    except Exception as error:
        error.of_the_work = True  # type: ignore[attr-defined]
        raise


@contextmanager
def executor_of(factory: str) -> Iterator[Executor]:
    """The executor that the function FACTORY of MODULE returns, for "MODULE:FACTORY"; it is shut down at the end.

    The function may also be like `workers`, whose `with` block has the executor.  The current folder is searched for
    the module first.  Raises InputError for anything else.
    """
    module, _, name = factory.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        made = getattr(import_module(module), name)()
    except Exception as error:  # the module may raise anything
        raise InputError(f"--executor: expected MODULE:FACTORY, got {factory} ({first_line(error)})") from error
    finally:
        sys.path.remove(os.getcwd())
    with made if isinstance(made, AbstractContextManager) else nullcontext(made) as executor:
        if not isinstance(executor, Executor):
            raise InputError(f"--executor: expected {factory} to return an Executor, got {type(executor).__name__}")
        yield executor


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
