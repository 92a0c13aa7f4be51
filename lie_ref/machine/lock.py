"""A lock file, which keeps two processes from writing the same thing at the same time."""

import errno
import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TextIO

from .errors import InputError

NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)  # of some network file systems


@contextmanager
def locked(path: Path, wait: bool = False) -> Iterator[None]:
    """Hold the lock file `path` until the end of the block, as one process or thread at a time can; then remove it.

    Choose a path in the folder that is guarded, or beside it, which every writer sees: two containers may share that
    folder alone.  The file says which process holds it, on which host and since when.  If it is held, InputError says
    so too; with `wait`, a line on standard error does, and the block begins when it is free.  The lock is the system's
    (flock): it ends with its process, however that ends, and a file that a kill left behind is no lock.  On a file
    system without locks, a line on standard error says that nothing is guarded.  OSError if `path` cannot be made.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder, locked(Path(folder) / ".lock"):
    ...     os.listdir(folder)
    ['.lock']
    """
    with _take(path, wait) as file:
        file.truncate(0)
        since = datetime.now().astimezone().isoformat(" ", "seconds")
        print(f"process {os.getpid()} on {socket.gethostname()} since {since}", file=file, flush=True)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _take(path: Path, wait: bool) -> TextIO:
    """The lock file, open and locked."""
    while True:
        file = path.open("a+", encoding="utf-8", errors="replace")
        try:
            _lock(file, path, wait)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.stat(file.fileno()), path.stat()):
                    return file
        except BaseException:
            file.close()
            raise
        file.close()  # whoever held it has removed it: another file may be there by now, or will be


def _lock(file: TextIO, path: Path, wait: bool) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = "".join(char for char in file.readline(200) if char.isprintable())
        held = f"{path}: held by {holder or 'another process'}"
        if not wait:
            raise InputError(held) from None
        print(f"{held}; waiting for it", file=sys.stderr, flush=True)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        print(f"{path}: this file system has no locks; nothing else should write here now", file=sys.stderr, flush=True)
