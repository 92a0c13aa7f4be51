"""One line on standard error that says how far a long job is, how fast it goes and how long it still takes."""

from __future__ import annotations

import shutil
import sys
from time import monotonic
from types import TracebackType

BAR = 24  # characters of a full bar
REDRAW = 0.2  # seconds between two drawings on a terminal
LINE = 30.0  # seconds between two lines in a log file


class Progress:
    """A progress bar, used as a context manager; where standard error is no terminal, a plain line now and then.

    `start` is what was done before this run (a resumed job): it counts as done, but not towards the rate.
    A job that ends with an exception leaves the bar as it stood, and whatever is printed next on a line of its own.

    >>> with Progress(3, "decoding") as bar:
    ...     for image in range(3):
    ...         bar.advance(extra="loss 0.312")
    """

    def __init__(self, total: int, label: str, start: int = 0) -> None:
        self.total, self.label, self.start = total, label, start
        self.done, self.extra = start, ""
        self.stream = sys.stderr
        self.terminal = self.stream.isatty()
        self.began = monotonic()
        self.drawn = self.began if not self.terminal else self.began - REDRAW  # a terminal shows the bar at once

    def __enter__(self) -> Progress:
        return self

    def advance(self, count: int = 1, extra: str = "") -> None:
        """Count `count` more as done; `extra` is a short text behind the figures, such as the loss."""
        self.done += count
        self.extra = extra
        if monotonic() - self.drawn >= (REDRAW if self.terminal else LINE):
            self._draw()

    def text(self) -> str:
        """The line without its bar: label, done of total, rate, time left (time taken, once all is done), extra."""
        seconds = monotonic() - self.began
        rate = (self.done - self.start) / seconds if seconds > 0 else 0.0
        parts = [self.label, f"{self.done:,}/{self.total:,}"]
        if rate > 0:
            parts.append(f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s" if rate >= 1 else f"{1 / rate:.1f} s each")
            left = (self.total - self.done) / rate
            parts.append(f"{clock(left)} left" if self.done < self.total else f"in {clock(seconds)}")
        return "  ".join([*parts, self.extra] if self.extra else parts)

    def _draw(self) -> None:
        self.drawn = monotonic()
        if not self.terminal:
            print(self.text(), file=self.stream, flush=True)
            return
        full = BAR * self.done // max(self.total, 1)
        line = f"[{'#' * full}{'.' * (BAR - full)}] {self.text()}"
        width = shutil.get_terminal_size().columns - 1  # a full last column would wrap and leave the line standing
        self.stream.write(f"\r{line[:width]}\x1b[K")
        self.stream.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._draw()
        if self.terminal:
            self.stream.write("\n")
            self.stream.flush()


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds, with hours where there are some.

    >>> clock(75.4), clock(3725)
    ('1:15', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
