"""One process or thread at a time holds a lock file, with a lock of the system or without."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from lie_ref.machine import lock
from lie_ref.machine.errors import InputError
from lie_ref.machine.lock import locked


@pytest.mark.parametrize("system", [True, False], ids=["of the system", "a file"])
def test_one_at_a_time_holds_a_lock_and_the_others_say_for_whom_they_wait(
    system: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if not system:
        monkeypatch.setattr(lock, "fcntl", None)
    path, inside, most = tmp_path / ".lock", [], []

    def work() -> None:
        with locked(path, "the cache"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.15)
            inside.pop()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=30)
    assert most == [1, 1, 1, 1]
    assert not list(tmp_path.iterdir())
    said = capfd.readouterr().err
    assert 1 <= said.count("lie-ref: waiting for the cache, in use by ") <= 3
    assert f"in use by process {os.getpid()} on {socket.gethostname()} since " in said


def test_what_a_killed_process_left_is_taken_over_and_an_error_releases(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    path.write_text("process 1 on another host since long ago, and more text than a lock has" * 10)
    with suppress(KeyError), locked(path, "the run"):
        assert path.read_text().startswith(f"process {os.getpid()} on ")
        raise KeyError
    assert not path.exists()


def test_a_lock_that_cannot_be_made_names_its_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere/\.lock: cannot be written"), locked(tmp_path / "nowhere/.lock", ""):
        pass
