"""A lock file, by which one process at a time works in a folder."""

import errno
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from .errors import one_line
from .files import written

try:
    import fcntl
except ImportError:  # on Windows, where the file itself is the lock: one that a kill left must be deleted by hand
    fcntl = None  # type: ignore[assignment]

NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)  # of some network file systems


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path`, in a folder that exists, during the block, and remove it at the end.

    While another process holds it, wait, after a line on standard error that says that `what` is in use, and by whom:
    process, host and start.  A process that was killed holds nothing.  On a file system without locks, a line says that
    nothing is guarded.  Raises InputError, which names the file, if it
    cannot be made or locked.
    """
    waits = False
    while (file := _taken(path)) is None:
        if not waits:
            with suppress(OSError):  # released in this moment
                holder = one_line(path.read_text(encoding="utf-8", errors="replace")[:200])
                print(f"lie-ref: waiting for {what}, in use by {holder} ({path})", file=sys.stderr, flush=True)
            waits = True
        time.sleep(0.1)
    try:
        yield
    finally:
        if fcntl is None:  # Windows removes no open file
            file.close()
        path.unlink(missing_ok=True)  # elsewhere before it is released, so that nobody locks a file that then goes
        file.close()


def _taken(path: Path) -> IO[str] | None:
    """The open lock file, if this process holds it now."""
    with written(path), suppress(BlockingIOError, FileExistsError), ExitStack() as opened:
        file = opened.enter_context(path.open("a" if fcntl else "x", encoding="utf-8"))
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            said = "this file system has no locks; nothing else should write here now"
            print(f"lie-ref: {path}: {said}", file=sys.stderr, flush=True)
        if os.fstat(file.fileno()).st_nlink:  # otherwise its holder has just removed it
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
            file.flush()
            opened.pop_all()
            return file
    return None
