"""Starting a child: nothing hangs and Ctrl-C works, whatever the program is and whenever the child dies."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from processes import SEARCH, children, in_own_group, living, wait_until

from lie_ref.images.dataset import Dataset
from lie_ref.machine.child import Child

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
SECONDS = 30  # a start takes about one
BEGIN = "import sys\nprint('begun', flush=True)\n"
CHILD = """
from functools import partial
import numpy as np
from lie_ref.machine.child import Child
with Child() as child:
    for _ in range(int(sys.argv[2])):  # more than a pipe holds
        assert child.do(partial(np.sum, np.ones(10**6))) == 10**6
"""
POOL = """
import numpy as np
from lie_ref.machine.workers import workers
with workers(2) as pool:
    for _ in range(int(sys.argv[2])):  # more than a pipe holds
        assert pool.submit(np.sum, np.ones(10**6)).result() == 10**6
"""
PROGRAMS = {"child": CHILD, "pool": POOL}
both = pytest.mark.parametrize("program", PROGRAMS)


@pytest.fixture
def started(program: str, cache: Path, faces: Dataset) -> subprocess.Popen:
    """The program, which would go on for a long time, at the moment when its first child starts."""
    running = in_own_group(BEGIN + PROGRAMS[program], cache, "100000")
    assert wait_until(lambda: children(running.pid)), running.communicate()
    return running


@pytest.mark.parametrize("source", ["a file", "standard input"])
@both
def test_a_script_needs_no_guard_and_runs_once(
    program: str, source: str, cache: Path, faces: Dataset, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(BEGIN + PROGRAMS[program])
    command = [sys.executable, str(script) if source == "a file" else "-", str(cache), "2"]
    with script.open() as text:
        done = subprocess.run(
            command, stdin=text, capture_output=True, text=True, timeout=SECONDS, env=os.environ | SEARCHED
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, "begun\n", "")


SEARCHED = {"PYTHONPATH": os.pathsep.join(SEARCH)}


@pytest.mark.parametrize("delay", [0, 0.1, 0.3, 1])
@both
def test_a_child_killed_as_it_starts_is_an_error_at_once(started: subprocess.Popen, delay: float) -> None:
    time.sleep(delay)
    for child in children(started.pid):
        with contextlib.suppress(ProcessLookupError):  # once the first is dead, the program ends the others
            os.kill(child, signal.SIGKILL)
    error = started.communicate(timeout=SECONDS)[1]
    assert error.splitlines()[-1].startswith("lie_ref.machine.errors.InputError: a worker process ended: was it killed")
    assert not living(started.pid)


@pytest.mark.parametrize("stopped", [False, True], ids=["", "a child that hangs"])
@pytest.mark.parametrize("delay", [0, 0.3])
@both
def test_ctrl_c_ends_a_program_whose_child_starts(started: subprocess.Popen, delay: float, stopped: bool) -> None:
    for child in children(started.pid) if stopped else ():
        os.kill(child, signal.SIGSTOP)
    time.sleep(delay)
    os.killpg(started.pid, signal.SIGINT)
    error = started.communicate(timeout=SECONDS)[1]
    assert error.splitlines()[-1] == "KeyboardInterrupt"
    assert error.count("Traceback (most recent call last)") == 1  # none of a child
    assert not living(started.pid)


def test_no_signal_is_held_while_a_child_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    begin, held = subprocess.Popen, []

    def popen(*arguments: Any, **keywords: Any) -> subprocess.Popen:  # which waits until the child runs Python
        held.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))
        return begin(*arguments, **keywords)

    monkeypatch.setattr(subprocess, "Popen", popen)
    with Child() as child:
        assert child.do(os.getpid) == child.process.pid
        assert os.getsid(child.process.pid) != os.getsid(0)  # so that a terminal's Ctrl-C does not reach it
    assert held == [set()]


@both
def test_children_end_with_a_killed_program(started: subprocess.Popen, program: str) -> None:
    started.kill()
    started.wait()
    assert wait_until(lambda: not living(started.pid))
