"""The progress line: its figures, how often it is drawn, and what happens without a terminal."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from lie_ref.machine import progress
from lie_ref.machine.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    time = SimpleNamespace(now=0.0)
    monkeypatch.setattr(progress, "monotonic", lambda: time.now)
    return time


def show(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, columns: int = 120) -> io.StringIO:
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("COLUMNS", str(columns))
    return stream


def test_a_line_shows_done_rate_time_left_and_extra_text(monkeypatch, time):
    stream = show(monkeypatch, Terminal())
    with Progress(4000, "training") as bar:
        time.now = 10.0
        bar.advance(1000, "loss 0.312")
        line = stream.getvalue().split("\r")[-1]
        assert line == "[######..................] training  1,000/4,000  100/s  0:30 left  loss 0.312\x1b[K"
        time.now = 40.0
        bar.advance(3000)
    assert stream.getvalue().endswith("training  4,000/4,000  100/s  in 0:40\x1b[K\n")


@pytest.mark.parametrize(("rate", "text"), [(0.25, "4.0 s each"), (2.5, "2.5/s"), (25.0, "25/s"), (2500.0, "2,500/s")])
def test_slow_rates_are_given_as_seconds_each(time, rate, text):
    bar = Progress(100_000, "work")
    time.now = 100.0
    bar.advance(int(100 * rate))
    assert f"  {text}  " in bar.text()


def test_earlier_work_counts_as_done_but_not_towards_the_rate_and_no_work_is_no_error(time):
    bar = Progress(5000, "training", start=4000)
    time.now = 10.0
    bar.advance(100)
    assert bar.text() == "training  4,100/5,000  10/s  1:30 left"
    assert Progress(0, "work").text() == "work  0/0"


def test_work_of_unknown_length_shows_what_is_done_and_no_bar(monkeypatch, time):
    stream = show(monkeypatch, Terminal())
    with Progress(None, "gradients") as bar:
        time.now = 10.0
        bar.advance(1000)
    assert stream.getvalue().endswith("\rgradients  1,000  100/s  in 0:10\x1b[K\n")


def test_a_terminal_is_redrawn_at_most_five_times_a_second(monkeypatch, time):
    stream = show(monkeypatch, Terminal())
    with Progress(1000, "work") as bar:
        for step in range(1, 1001):
            time.now = step / 500  # two seconds in all
            bar.advance()
    assert 8 <= stream.getvalue().count("\r") <= 12


def test_a_line_is_shorter_than_the_terminal_is_wide(monkeypatch, time):
    stream = show(monkeypatch, Terminal(), columns=40)
    with Progress(10, "a long label that would wrap") as bar:
        bar.advance(10, "and a long extra text")
    assert all(len(line) <= 39 for line in stream.getvalue().replace("\x1b[K", "").strip().split("\r"))


def test_a_log_file_gets_a_line_every_30_seconds_and_one_at_the_end(monkeypatch, time):
    stream = show(monkeypatch, io.StringIO())
    with Progress(700, "work") as bar:
        for step in range(1, 701):
            time.now = step / 10
            bar.advance()
    assert [line.split()[1] for line in stream.getvalue().splitlines()] == ["300/700", "600/700", "700/700"]


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_a_failure_leaves_a_terminal_on_a_new_line_and_a_log_file_empty(monkeypatch, stream):
    def fail() -> None:
        with Progress(10, "work") as bar:
            bar.advance()
            raise RuntimeError

    show(monkeypatch, stream)
    with pytest.raises(RuntimeError):
        fail()
    assert stream.getvalue().endswith("\x1b[K\n") if stream.isatty() else stream.getvalue() == ""


def test_a_log_has_the_last_line_only_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "LINE", 0.0)
    with Progress(2, "drawing") as bar:
        bar.advance()
        bar.advance()
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[1] for line in lines] == ["1/2", "2/2"]
