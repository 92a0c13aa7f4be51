"""One line on standard error that shows how far a long job is, how fast it runs and how long it will still take."""

from __future__ import annotations

import shutil
import sys
from datetime import timedelta
from multiprocessing import parent_process
from time import monotonic

BAR = 24  # characters of a full bar
REDRAW = 0.2  # seconds between two drawings on a terminal
LINE = 30.0  # seconds between two lines in a log file
_silent = parent_process() is not None  # whether this process shows none, as a worker of a process pool does


class Progress:
    """A progress bar, used as a context manager; an occasional plain line if standard error is not a terminal.

    `start` counts work of an earlier run (a resumed job): as done, but not towards the rate.  After an exception the
    bar stays as it was, and later output starts on a new line.  A job shorter than `patience` seconds shows
    nothing; without a terminal, the first line comes half a minute after that.  `total` is None if nobody knows it.

    >>> with Progress(3, "decoding") as bar:
    ...     for image in range(3):
    ...         bar.advance(extra="loss 0.312")
    """

    def __init__(self, total: int | None, label: str, start: int = 0, patience: float = 0.0) -> None:
        self.total, self.label, self.start = total, label, start
        self.done, self.extra = start, ""
        self.stream = sys.stderr
        self.terminal = self.stream.isatty()
        self.began = monotonic()
        self.patience, self.shown = patience, -1  # what was done when it was last shown
        self.drawn = self.began + patience - REDRAW * self.terminal  # a terminal shows the bar at once

    def __enter__(self) -> Progress:
        return self

    def advance(self, count: int = 1, extra: str = "") -> None:
        """Count `count` more as done; `extra` is a short text after the figures, such as the loss."""
        self.done += count
        self.extra = extra
        if monotonic() - self.drawn >= (REDRAW if self.terminal else LINE):
            self._draw()

    def text(self) -> str:
        """The line without its bar: label, done of total, rate, time left (else time taken) and extra."""
        seconds = monotonic() - self.began
        rate = (self.done - self.start) / seconds if seconds > 0 else 0.0
        parts = [self.label, f"{self.done:,}" + ("" if self.total is None else f"/{self.total:,}")]
        if rate > 0:
            parts.append(f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s" if rate >= 1 else f"{1 / rate:.1f} s each")
            left = 0.0 if self.total is None else (self.total - self.done) / rate
            parts.append(f"{clock(left)} left" if left > 0 else f"in {clock(seconds)}")
        return "  ".join([*parts, self.extra] if self.extra else parts)

    def _draw(self) -> None:
        self.drawn, self.shown = monotonic(), self.done
        if _silent:
            return
        if not self.terminal:
            print(self.text(), file=self.stream, flush=True)
            return
        line = self.text()
        if self.total is not None:
            full = BAR * self.done // max(self.total, 1)
            line = f"[{'#' * full}{'.' * (BAR - full)}] {line}"
        width = shutil.get_terminal_size().columns - 1  # a full last column would wrap, and the line would stay
        print(f"\r{line[:width]}\x1b[K", end="", file=self.stream, flush=True)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.patience and self.shown < 0:
            return
        if kind is None and (self.terminal or self.shown < self.done):
            self._draw()
        if self.terminal and not _silent:
            print(file=self.stream, flush=True)


def show_no_progress() -> None:
    """Draw nothing in this process from now on: it is one of several workers, and the parent counts what they do."""
    global _silent
    _silent = True


def expectation(seconds: float, room: float, at_once: int = 1) -> str:
    """What a command says before a long work: about how long it takes, and how many bytes of disk.

    >>> expectation(7450, 2**31, at_once=2)
    'about 1:02:05 and 2.0 GiB of disk if nothing is done yet'
    """
    return f"about {clock(seconds / at_once)} and {max(0.1, room / 2**30):.1f} GiB of disk if nothing is done yet"


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds, with hours if there are any.

    >>> [clock(seconds) for seconds in (0, 59.6, 75.4, 3725, 36000)]
    ['0:00', '1:00', '1:15', '1:02:05', '10:00:00']
    """
    return str(timedelta(seconds=round(seconds))).removeprefix("0:").removeprefix("0")
