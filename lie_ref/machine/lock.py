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
    """Hold the lock file `path` during the block.  While another process holds it, say so in a line, and wait.

    The file has the process, host and start of its holder.  A process that was killed holds nothing.  On a file system
    without locks, a line says that nothing is guarded.  Raises InputError if the file cannot be written.
    """
    if (file := _taken(path)) is None:
        with suppress(OSError):  # released in this moment
            holder = one_line(path.read_text(encoding="utf-8", errors="replace")[:200])
            print(f"lie-ref: waiting for {what}, in use by {holder}", file=sys.stderr, flush=True)
        while (file := _taken(path)) is None:
            time.sleep(0.1)
    with file:  # removed before it is unlocked, so that nobody locks a file about to be removed
        try:
            yield
        finally:
            if not fcntl:
                file.close()  # Windows removes no open file
            path.unlink(missing_ok=True)


def _taken(path: Path) -> IO[str] | None:
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
            file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.ctime()}")
            file.flush()
            opened.pop_all()
            return file
    return None
