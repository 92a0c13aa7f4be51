"""A command that is stopped, or lacks room, memory or a folder of its own, says so in one line and its status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import SEARCH, in_own_group, wait_until
from small import SMALL_OPTIONS

from lie_ref import oracle
from lie_ref.cli import main
from lie_ref.machine.child import NEEDS_UNIX

MAIN = "from lie_ref.cli import main; sys.exit(main())"
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(SEARCH)}
SECONDS = 60
linux = pytest.mark.skipif(sys.platform != "linux", reason="has /dev/full, /proc")


@pytest.fixture
def answers(tmp_path: Path) -> str:
    np.savez(tmp_path / "answers.npz", **oracle.load("mlp-tanh-bce").outputs)
    return str(tmp_path / "answers.npz")


def shell(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A shell command, in which $0 is Python and $1, $2, … are the arguments."""
    given = ["sh", "-c", command, sys.executable, *arguments]
    return subprocess.run(given, capture_output=True, text=True, timeout=SECONDS, env=ENVIRONMENT, check=False)


@pytest.mark.parametrize("module", ["autograd", "lie_ref.core.types", "lie_ref.diet.plan"])
def test_ctrl_c_while_modules_are_imported_is_one_line(module: str) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "lie_ref", "--help"]
    pipe: Any = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=ENVIRONMENT) as process:
        assert process.stderr
        for line in process.stderr:  # one when a module has been imported
            if line.endswith(f" {module}\n"):
                process.send_signal(signal.SIGINT)
                break
        said = [line for line in process.stderr if not line.startswith("import time:")]
    assert (said, process.returncode) == (["lie-ref: stopped\n"], 130)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_an_experiment_with_one_line(
    number: signal.Signals, status: int, cache: Path, faces: object, tmp_path: Path
) -> None:
    options = (*SMALL_OPTIONS, "--cache", str(cache), "--out", str(tmp_path / "run"), "--steps", "100000")
    process = in_own_group(MAIN, "experiment", *options)
    assert wait_until(lambda: (tmp_path / "run" / "log.csv").exists()), process.communicate()
    process.send_signal(number)
    error = process.communicate(timeout=SECONDS)[1].splitlines()
    assert error[-1].startswith("lie-ref: stopped (")
    assert process.returncode == status
    assert not list(tmp_path.rglob("*.part"))
    assert not list(tmp_path.rglob(".lock"))


@linux
@pytest.mark.parametrize("redirected", [">/dev/full", ">&-"])
@pytest.mark.parametrize("unbuffered", ["", "-u "])
@pytest.mark.parametrize("command", ['verify mlp-tanh-bce "$1"', "verify --help"])
def test_output_that_cannot_be_written_is_one_line(
    redirected: str, unbuffered: str, command: str, answers: str
) -> None:
    done = shell(f'"$0" {unbuffered}-m lie_ref {command} {redirected}', answers)
    reason = "is closed" if redirected == ">&-" else "cannot be written (No space left on device)"
    assert (done.returncode, done.stderr) == (2, f"lie-ref: standard output: {reason}\n")


@linux
@pytest.mark.parametrize("name", ["/dev/stdout", "/proc/self/fd/1", "out.txt", "/dev/full"])
@pytest.mark.parametrize("command", ["verify nowhere.npz nothing.npz --json", "brackets W --model M --inputs XY --out"])
def test_a_device_or_the_file_that_is_printed_to_is_refused_before_any_work(
    command: str, name: str, tmp_path: Path
) -> None:
    done = shell(f'cd "$1"; "$0" -m lie_ref {command} "$2" >out.txt', str(tmp_path), name)
    reason = "not a regular file" if name == "/dev/full" else "standard output goes there"
    start, option = f"lie-ref {command.split()[0]}", command.split()[-1]
    assert (done.returncode, done.stderr) == (2, f"{start}: argument {option}: {name}: cannot be written ({reason})\n")
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]


@linux
def test_a_closed_standard_error_changes_no_status(answers: str) -> None:
    assert shell('"$0" -m lie_ref verify mlp-tanh-bce "$1" 2>&-', answers).returncode == 0
    assert shell('"$0" -m lie_ref verify nowhere "$1" 2>&-', answers).returncode == 2


@linux
def test_a_full_disk_names_the_file(answers: str, tmp_path: Path) -> None:
    limited = 'ulimit -f 1; trap "" XFSZ; "$0" -m lie_ref vectors --out "$1"'  # files of at most 512 or 1,024 bytes
    done = shell(limited, str(tmp_path / "vectors"))
    assert done.returncode == 2
    assert done.stderr.startswith(f"lie-ref: {tmp_path / 'vectors'}/mlp-tanh-bce.npz: cannot be written (")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.rglob("*.npz.*"))


WINDOWS = """
import os, signal, socket, sys
sys.modules["fcntl"] = None
for module, names in (
    (os, "fork register_at_fork memfd_create sched_getaffinity posix_spawn getsid setsid killpg"),
    (signal, "pthread_sigmask pthread_kill SIGALRM SIGHUP SIGKILL setitimer sigwait"),
    (socket, "MSG_DONTWAIT AF_UNIX"),
):
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
from lie_ref.cli import main
sys.exit(main())
"""


def test_what_windows_lacks_is_asked_for_and_three_commands_refuse_to_run_without_it(
    answers: str, run_copy: Path, tmp_path: Path
) -> None:
    def windows(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", WINDOWS, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, cwd=tmp_path, check=False)

    assert windows("verify", "mlp-tanh-bce", answers, "--json", "verdict.json").returncode == 0
    assert windows("report", run_copy).returncode == 0
    for command in (["experiment", *SMALL_OPTIONS], ["findings", "--steps", "0"], ["diet", "--preset", "quick"]):
        done = windows(*command, "--cache", "cache", "--out", "a/b")
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1] == f"lie-ref: {NEEDS_UNIX}"
        assert not (tmp_path / "a").exists()


@linux
def test_a_command_that_takes_more_memory_than_there_is_says_so(tmp_path: Path) -> None:
    model = '{"kind": "mlp", "sizes": [3000, 3000]}'
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "w.npz", **{"0.weight": rng.random((3000, 3000)), "0.bias": np.zeros(3000)})
    np.savez(tmp_path / "xy.npz", x=rng.random((30, 3000)), y=rng.random((30, 3000)))
    files = "--weights w.npz --inputs xy.npz --out r.npz"
    limited = f'ulimit -v 4000000; cd "$2"; "$0" -m lie_ref reference --model "$1" {files}'
    done = shell(limited, model, str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("lie-ref: not enough memory (Unable to allocate ")


@linux
@pytest.mark.parametrize("celeba", [[], ["--celeba", "nowhere"]])
@pytest.mark.parametrize("command", ["experiment", "findings", "diet"])
def test_a_refused_run_leaves_no_folder(
    command: str, celeba: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([command, *(celeba or ["--steps", "-1"]), "--out", "a/b"]) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_second_run_waits_for_the_first_and_says_so(cache: Path, faces: object, tmp_path: Path) -> None:
    options = (*SMALL_OPTIONS, "--cache", str(cache), "--out", str(tmp_path / "run"), "--steps", "100000")
    first = in_own_group(MAIN, "experiment", *options)
    assert wait_until(lambda: (tmp_path / "run" / "log.csv").exists()), first.communicate()
    second = in_own_group(MAIN, "experiment", *options)
    assert second.stderr
    line = second.stderr.readline()
    assert line.startswith(f"lie-ref: waiting for {tmp_path / 'run'}, in use by process {first.pid} on ")
    assert second.poll() is None
    first.kill()  # it leaves its lock file, which holds nobody any more
    first.communicate()
    error = second.communicate(timeout=SECONDS)[1]
    assert error.startswith(f"lie-ref: {tmp_path / 'run'}: holds a run (config.json); ")
    assert second.returncode == 2
    assert not (tmp_path / "run" / ".lock").exists()
