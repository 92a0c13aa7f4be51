"""Child processes: new interpreters that run functions of the package, and never the program's main script."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from traceback import format_exc
from typing import Any

from .errors import InputError
from .process import keep_freed_memory
from .progress import show_no_progress
from .threads import use_one_thread

ENDED = "a worker process ended: was it killed, or short of memory?"
NEEDS_UNIX = (
    "worker processes, and with them experiment, findings, diet, brackets and demo, need Unix (Linux, macOS, WSL)"
)
CODE = "import sys; sys.path[:] = {!r}; from lie_ref.machine.child import serve; serve({})"


class Child:
    """A process that does one piece of work after another, in one thread; killed at the end of its `with` block.

    This process holds only its own end of the pipe, so that a child that dies, at whatever moment, ends the pipe and
    raises InputError here.  The child has a session of its own, so that it never sees Ctrl-C; this process always does.
    (A process of `multiprocessing` runs the main script again, and if it dies while it starts, its parent can wait for
    ever.)  Raises InputError on Windows, where a process does not inherit its handles so simply.

    >>> with Child() as child:
    ...     child.do(os.getpid) != os.getpid()
    True
    """

    def __init__(self) -> None:
        if not hasattr(os, "fork"):
            raise InputError(NEEDS_UNIX)
        self.line, theirs = Pipe()
        code = CODE.format([*map(str, sys.path), str(Path(__file__).parents[2])], theirs.fileno())
        with theirs:
            options: dict[str, Any] = {"pass_fds": (theirs.fileno(),), "start_new_session": True}
            self.process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.DEVNULL, **options)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.line.close()

    def do(self, work: Callable[[], Any]) -> Any:
        """The result of a piece of work, which must pickle, or its exception."""
        try:
            self.line.send(work)
            result, error, trace = self.line.recv()
        except (EOFError, OSError) as ended:
            raise InputError(ENDED) from ended
        if error is not None:
            raise error from RuntimeError(f"in a child process:\n{trace}")
        return result


def serve(handle: int) -> None:
    """Do in a child what its parent sends.  When the parent closes the pipe or ends, the child ends at once."""
    line, waiting = Connection(handle), SimpleQueue[bytes]()

    def receive() -> None:
        with suppress(EOFError, OSError):
            while True:
                waiting.put(line.recv_bytes())
        os._exit(0)

    threading.Thread(target=receive, daemon=True).start()
    use_one_thread()
    show_no_progress()
    keep_freed_memory()
    while True:
        try:
            answer = pickle.dumps((pickle.loads(waiting.get())(), None, ""))
        except Exception as error:
            answer = _failed(error, format_exc())
        with suppress(OSError):  # the parent has ended, and so will this process
            line.send_bytes(answer)


def _failed(error: Exception, trace: str) -> bytes:
    """The answer for an error, with its text alone if the error cannot be pickled."""
    try:
        pickle.loads(answer := pickle.dumps((None, error, trace)))
    except Exception:
        return pickle.dumps((None, RuntimeError(f"{type(error).__name__}: {error}"), trace))
    return answer
