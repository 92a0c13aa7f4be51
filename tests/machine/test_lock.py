"""A lock is held by one process at a time, says by which, and ends with its process however that ends."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from processes import in_own_group, wait_until

from lie_ref.machine import lock
from lie_ref.machine.errors import InputError
from lie_ref.machine.lock import locked

HOLD = """
import time
from pathlib import Path
from lie_ref.machine.lock import locked
with locked(Path(sys.argv[1]), "it"):
    print("held", flush=True)
    time.sleep(300)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".lock"


@pytest.fixture
def holder(path: Path):
    """Another process that holds the lock, killed at the end."""
    process = in_own_group(HOLD, path)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_lock_ends_with_its_process(path: Path, holder: subprocess.Popen, number: int):
    os.kill(holder.pid, number)
    holder.wait()
    with locked(path, "it"):
        assert f"process {os.getpid()} on" in path.read_text()
        assert len(path.read_text().splitlines()) == 1
    assert not path.exists()


def test_who_waits_says_so_and_goes_on_when_the_lock_is_free(path: Path, holder: subprocess.Popen, capsys):
    threading.Timer(0.3, holder.kill).start()
    with locked(path, "it"):
        assert holder.wait() == -signal.SIGKILL
    who = rf"process {holder.pid} on {re.escape(socket.gethostname())} since .*\d"
    said = rf"lie-ref: waiting for it, in use by {who}\n"
    assert re.fullmatch(said, capsys.readouterr().err)


@pytest.mark.parametrize("system", [True, False], ids=["of the system", "a file"])
def test_many_threads_hold_it_one_at_a_time_though_each_removes_the_file(path: Path, system: bool, monkeypatch):
    if not system:
        monkeypatch.setattr(lock, "fcntl", None)
    inside, most = [], []

    def hold():
        for _ in range(20):
            with locked(path, "it"):
                inside.append(0)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=hold) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 160
    assert not path.exists()


def test_an_error_in_the_block_frees_the_lock(path: Path):
    with pytest.raises(KeyError), locked(path, "it"):
        raise KeyError
    with locked(path, "it"):
        pass


def test_a_waiting_process_stops_on_ctrl_c(path: Path):
    with locked(path, "it"):
        waiting = in_own_group(HOLD, path)
        assert "waiting for it" in waiting.stderr.readline()
        os.kill(waiting.pid, signal.SIGINT)
        assert wait_until(lambda: waiting.poll() is not None)
        waiting.communicate()


@pytest.mark.parametrize("content", [b"", b"\x1b[2J\xff\0\n" * 3])
def test_what_a_lock_file_says_is_fit_for_one_line(path: Path, content: bytes, capsys):
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        threading.Timer(0.3, fcntl.flock, (file, fcntl.LOCK_UN)).start()
        with locked(path, "it"):
            pass
    assert capsys.readouterr().err[:-1].isprintable()


def test_a_file_system_without_locks_is_said_and_goes_on(path: Path, monkeypatch, capsys):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(path, "it"):
        pass
    assert "this file system has no locks" in capsys.readouterr().err


def test_a_lock_in_a_folder_that_is_not_there_names_the_file(path: Path):
    with pytest.raises(InputError, match=r"\.lock/lock: cannot be written"), locked(path / "lock", "it"):
        pass
