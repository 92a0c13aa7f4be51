"""The norms of brackets among many examples are those of `brackets`, with the same bits from every executor."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from networks import examples, generic_state

import lie_ref
from lie_ref import all_pairs
from lie_ref.all_pairs import Source, block, norms_among
from lie_ref.cli import main
from lie_ref.machine.errors import InputError
from lie_ref.machine.workers import workers

MODEL = '{"kind": "mlp", "sizes": [5, 6, 2], "activation": "tanh"}'
N = 150  # three blocks of rows, and the last is short


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    folder, model = tmp_path_factory.mktemp("source"), lie_ref.mlp([5, 6, 2], "tanh")
    params, buffers = generic_state(model, seed=0)
    x, y = examples(model, (N, 5), seed=0)
    np.savez(folder / "W.npz", **params, **buffers)
    np.savez(folder / "XY.npz", x=x, y=y)
    return Source(MODEL, folder / "W.npz", folder / "XY.npz", "bce")


@contextmanager
def processes() -> Iterator[Executor]:
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        yield pool


def test_norms_are_those_of_all_brackets(source: Source) -> None:
    arrays, params = np.load(source.inputs), dict(np.load(source.weights))
    model, pairs = lie_ref.mlp([5, 6, 2], "tanh"), list(combinations(range(N), 2))
    found = norms_among(source)
    b = lie_ref.brackets(model, params, {}, arrays["x"], arrays["y"], pairs)
    squares = sum(np.square(a).reshape(len(pairs), -1).sum(axis=1) for a in b.values())
    assert np.allclose(found[tuple(np.array(pairs).T)], np.sqrt(squares), rtol=1e-12, atol=0)
    assert (found == found.T).all()
    assert not found.diagonal().any()


@pytest.mark.parametrize("made", [lambda: workers(2), processes, lambda: ThreadPoolExecutor(3)])
def test_every_executor_gives_the_same_bits(made, source: Source) -> None:
    with made() as executor:
        assert norms_among(source, executor).tobytes() == norms_among(source).tobytes()


@pytest.mark.dask
def test_dask_gives_the_same_bits_though_one_of_its_workers_is_killed_half_way(source: Source, monkeypatch) -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
        client.get_executor(retries=3) as executor,
    ):
        first = client.run(os.getpid)
        done: list[int] = []

        def completed(*given):
            for found in all_pairs_completed(*given):
                done.append(found[0])
                if len(done) == 3:
                    os.kill(next(iter(first.values())), signal.SIGKILL)
                yield found

        all_pairs_completed = all_pairs.completed
        monkeypatch.setattr(all_pairs, "completed", completed)
        found = norms_among(source, executor)
        assert found.tobytes() == norms_among(source).tobytes()


def test_a_worker_reads_the_files_once(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr(all_pairs, "read_inputs", lambda path: read.append(path) or dict(np.load(path)))
    all_pairs._read.cache_clear()
    block(source, 0, 0), block(source, 64, 8)
    assert read == [source.inputs]


def test_files_that_do_not_fit_are_named(source: Source, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.ones((3, 5)))
    np.savez(tmp_path / "wide.npz", x=np.ones((3, 6)), y=np.ones((3, 2)))
    np.savez(tmp_path / "huge.npz", **dict(np.load(source.weights)) | {"2.weight": np.full((2, 6), 1e200)})
    for weights, inputs, said in (
        (source.weights, tmp_path / "x.npz", "x.npz: expected an array 'y', got x"),
        (source.weights, tmp_path / "wide.npz", "wide.npz: "),
        (source.inputs, source.inputs, "XY.npz: "),
        (tmp_path / "huge.npz", source.inputs, "XY.npz: "),
    ):
        with pytest.raises(InputError) as caught, np.errstate(all="ignore"):
            norms_among(Source(MODEL, weights, inputs, "bce"))
        assert said in str(caught.value)


def test_the_command_takes_an_executor_of_the_current_folder(
    source: Source, tmp_path: Path, monkeypatch, capsys
) -> None:
    (tmp_path / "mine.py").write_text(
        "from concurrent.futures import ThreadPoolExecutor\ndef pool():\n    return ThreadPoolExecutor(2)\n"
    )
    monkeypatch.chdir(tmp_path)
    given = ["--model", MODEL, "--weights", str(source.weights), "--inputs", str(source.inputs), "--out", "N.npz"]
    assert main(["brackets", *given, "--executor", "mine:pool"]) == 0
    assert "norms: N.npz, of 150 x 150 brackets" in capsys.readouterr().out
    assert np.load("N.npz")["norms"].tobytes() == norms_among(source).tobytes()
    for executor, said in (
        ("mine", "expected MODULE:FACTORY, got mine"),
        ("mine:no", "expected MODULE:FACTORY, got mine:no (module 'mine' has no attribute 'no')"),
        ("nowhere:pool", "No module named 'nowhere'"),
        ("builtins:dict", "expected builtins:dict to return an Executor, got dict"),
    ):
        assert main(["brackets", *given, "--executor", executor]) == 2
        assert said in capsys.readouterr().err


def test_no_more_work_begins_after_an_error() -> None:
    begun = []

    def work(k: int) -> None:
        begun.append(k)
        if k == 3:
            raise KeyError(k)
        time.sleep(0.02)

    with ThreadPoolExecutor(1) as pool, pytest.raises(KeyError):
        list(all_pairs.completed(pool, [partial(work, k) for k in range(50)]))
    assert len(begun) < 50
