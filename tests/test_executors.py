"""Independent pieces of work give the same bits on every executor: processes, threads, Dask, MPI.

A piece of work that is lost with its worker is done again where the executor does so, and no piece carries the data.
"""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import SMALL, SMALL_OPTIONS

from lie_ref import all_pairs
from lie_ref.all_pairs import Source, norms_among
from lie_ref.cli import main
from lie_ref.diet import run as diet
from lie_ref.diet.settings import DietSettings
from lie_ref.experiment import run as experiment
from lie_ref.experiment import seeds
from lie_ref.experiment.run import run_experiment
from lie_ref.machine.errors import InputError
from lie_ref.machine.workers import completed, workers

Made = Callable[[], AbstractContextManager[Executor]]
KINDS: dict[str, Made] = {
    "workers": lambda: workers(2),
    "processes": lambda: ProcessPoolExecutor(2, get_context("spawn")),
    "threads": lambda: ThreadPoolExecutor(2),
}


@pytest.fixture
def unevaluated(run_copy: Path) -> Path:
    """A run whose checkpoints have yet to be evaluated."""
    shutil.rmtree(run_copy / "evaluation")
    (run_copy / "summary.json").unlink()
    return run_copy


def content(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*.*") if path.name != ".lock"}


@pytest.mark.parametrize("kind", KINDS)
def test_brackets_have_the_same_bits(kind: str, source: Source) -> None:
    with KINDS[kind]() as executor:
        assert norms_among(source, executor).tobytes() == norms_among(source).tobytes()


def test_evaluations_in_worker_processes_have_the_same_bits(unevaluated: Path, small_run: Path, cache: Path) -> None:
    given = ["experiment", *SMALL_OPTIONS, "--resume", "--out", str(unevaluated), "--cache", str(cache)]
    assert main([*given, "--executor", "lie_ref.machine.workers:workers"]) == 0
    assert content(unevaluated) == content(small_run)


@contextmanager
def dask(monkeypatch: pytest.MonkeyPatch, module: Any, kill_after: int) -> Iterator[Executor]:
    """An executor of a Dask cluster, one of whose two workers is killed when `module` has that many results."""
    distributed = pytest.importorskip("distributed")
    done = 0

    def killing(*given: Any) -> Iterator[Any]:
        nonlocal done
        for found in completed(*given):
            done += 1
            if done == kill_after:
                os.kill(next(iter(processes.values())), signal.SIGKILL)
            yield found

    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
        client.get_executor(retries=3) as executor,
        monkeypatch.context() as patch,
    ):
        processes = client.run(os.getpid)
        patch.setattr(module, "completed", killing)
        yield executor
    assert done > kill_after


@pytest.mark.dask
def test_dask_computes_the_same_brackets_though_a_worker_is_killed_half_way(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dask(monkeypatch, all_pairs, kill_after=3) as executor:
        found = norms_among(source, executor)
    assert found.tobytes() == norms_among(source).tobytes()


@pytest.mark.dask
def test_dask_evaluates_the_same_though_a_worker_is_killed_half_way(
    unevaluated: Path, small_run: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dask(monkeypatch, experiment, kill_after=1) as executor:
        run_experiment(SMALL, unevaluated, cache, resume=True, executor=executor)
    assert content(unevaluated) == content(small_run)


@pytest.mark.mpi
def test_two_ranks_of_mpi_compute_the_same(
    source: Source, unevaluated: Path, small_run: Path, cache: Path, tmp_path: Path
) -> None:
    pytest.importorskip("mpi4py")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    mpiexec, lie_ref = shutil.which("mpiexec", path=path), shutil.which("lie-ref", path=path)
    if mpiexec is None:
        pytest.skip("no mpiexec")

    def run(*arguments: str | Path) -> None:
        command = [mpiexec, "-n", "2", sys.executable, "-m", "mpi4py.futures", lie_ref, *map(str, arguments)]
        command += ["--executor", "mpi4py.futures:MPIPoolExecutor"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert ended.returncode == 0, ended.stderr

    files = (source.weights, "--model", source.model, "--inputs", source.inputs)
    run("brackets", *files, "--out", tmp_path / "N.npz")
    assert np.load(tmp_path / "N.npz")["norms"].tobytes() == norms_among(source).tobytes()
    run("experiment", *SMALL_OPTIONS, "--resume", "--out", unevaluated, "--cache", cache)
    assert content(unevaluated) == content(small_run)


class Weighing(ThreadPoolExecutor):
    """Notes how many bytes each piece of work has on its way to another machine."""

    def __init__(self) -> None:
        super().__init__(1)
        self.sizes: list[int] = []

    def submit(self, f: Any, /, *given: Any, **named: Any) -> Any:
        self.sizes.append(len(pickle.dumps((f, given, named))))
        return super().submit(f, *given, **named)


def test_no_piece_of_work_carries_images_weights_or_labels(
    source: Source, run_copy: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has the names of files instead."""
    for name in ("_run", "judge"):
        monkeypatch.setattr(seeds, name, print)
    monkeypatch.setattr(diet.Job, "perform", lambda *_: None)
    (run_copy / "evaluation/step_000000.npz").unlink()
    settings = DietSettings(size=16, faces=400, tasks=("attributes",), runs=1, retrainings=1)
    with Weighing() as executor:
        norms_among(source, executor)
        run_experiment(SMALL, run_copy, cache, resume=True, executor=executor)
        seeds.run_study(SMALL, 1, tmp_path / "study", cache, executor)
        with pytest.raises(InputError, match="no such file"):  # nothing was done
            diet.run_diet(settings, tmp_path / "diet", cache, executor)
    assert len(executor.sizes) == 33 + 1 + 5 + 2
    assert max(executor.sizes) < 3000


class Losing(ThreadPoolExecutor):
    """Fails the first tries of each piece of work, as Dask may when a worker dies."""

    def __init__(self, times: int) -> None:
        super().__init__(1)
        self.times, self.lost = times, Counter[Any]()

    def submit(self, f: Any, /, *given: Any, **named: Any) -> Any:
        self.lost[given] += 1
        return super().submit(_lose) if self.lost[given] <= self.times else super().submit(f, *given, **named)


def _lose() -> None:
    raise ValueError("too many values to unpack (expected 3)")  # as in distributed.cfexecutor, where results get lost


def test_a_piece_that_the_executor_loses_is_done_again_but_not_for_ever() -> None:
    work = [partial(pow, k, 2) for k in range(5)]
    with Losing(2) as executor:
        assert sorted(completed(executor, work)) == [(k, k * k) for k in range(5)]
    with Losing(3) as executor, pytest.raises(ValueError, match="too many values"):
        list(completed(executor, work))


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_of_the_work_is_not_tried_again(kind: str, tmp_path: Path) -> None:
    """Neither that of a piece that cannot be done nor the death of a worker, which may have been short of memory."""
    with KINDS[kind]() as executor, pytest.raises(FileExistsError):
        list(completed(executor, [partial(_once, tmp_path / "a", partial(os.mkdir, tmp_path))]))
    if kind != "threads":
        with KINDS[kind]() as executor, pytest.raises(InputError, match="a worker process ended"):
            list(completed(executor, [partial(_once, tmp_path / "b", partial(os._exit, 1))]))


def _once(path: Path, do: Callable[[], None]) -> None:
    path.touch(exist_ok=False)
    do()


def test_no_more_work_begins_after_an_error() -> None:
    begun = []

    def work(k: int) -> None:
        begun.append(k)
        if k == 3:
            raise KeyError(k)
        time.sleep(0.02)

    with ThreadPoolExecutor(1) as pool, pytest.raises(KeyError):
        list(completed(pool, [partial(work, k) for k in range(50)]))
    assert len(begun) < 50
