"""Programs that tests run in a process group of their own, as a shell does, and interrupt."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lie_ref.machine.progress import Progress

SEARCH = [path for path in sys.path if path]
MARK = "STARTED_BY"  # names the program in the environment of its children, which have sessions of their own


def in_own_group(code: str, *arguments: str | Path) -> subprocess.Popen:
    """Python, running this code with Ctrl-C switched on, which a shell ignores for programs in its background."""
    begin = f"import os, sys, signal; sys.path[:] = {SEARCH}; os.environ['{MARK}'] = str(os.getpid())"
    begin += "; signal.signal(signal.SIGINT, signal.default_int_handler)"
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", f"{begin}\n{code}", *map(str, arguments)]
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def members(field: int, value: int) -> list[int]:
    """The processes that still run and of which a field of /proc/PID/stat has this value."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            stat = file.read_text().rpartition(")")[2].split()
            if int(stat[field]) == value and stat[0] != "Z":
                found.append(int(file.parent.name))
    return found


def children(process: int) -> list[int]:
    """The children of a process that still run, but for the resource tracker of `multiprocessing`."""
    return [child for child in members(1, process) if b"resource_tracker" not in _command(child)]


def _command(process: int) -> bytes:
    with contextlib.suppress(OSError):  # it has just ended
        return Path(f"/proc/{process}/cmdline").read_bytes()
    return b""


def living(program: int) -> int:
    """The number of processes that still run of those in the group of a program and of its children."""
    running, marked = members(2, program), f"{MARK}={program}".encode()
    for file in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if marked in file.read_bytes().split(b"\0"):  # nothing is left of a process that has ended
                running.append(int(file.parent.name))
    return len({*running})


def wait_until(true: Callable[[], object], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not (now := true()) and time.monotonic() < end:
        time.sleep(0.02)
    return bool(now)


def count_to_three() -> None:
    """Work that has a progress bar."""
    with Progress(3, "counting") as bar:
        for _ in range(3):
            bar.advance()


class Unpicklable(Exception):
    def __init__(self) -> None:
        super().__init__("of a kind that cannot be handed over")
        self.made_by = lambda: self


def raise_unpicklable() -> None:
    raise Unpicklable
