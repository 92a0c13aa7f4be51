"""The norms of brackets among many examples are those of `brackets`."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import lie_ref
from lie_ref import all_pairs
from lie_ref.all_pairs import Source, block, norms_among
from lie_ref.cli import main
from lie_ref.machine.errors import InputError


def test_norms_are_those_of_all_brackets(source: Source) -> None:
    arrays, params = np.load(source.inputs), dict(np.load(source.weights))
    model, pairs = lie_ref.mlp([5, 6, 2], "tanh"), list(combinations(range(len(arrays["x"])), 2))
    found = norms_among(source)
    b = lie_ref.brackets(model, params, {}, arrays["x"], arrays["y"], pairs)
    squares = sum(np.square(a).reshape(len(pairs), -1).sum(axis=1) for a in b.values())
    assert np.allclose(found[tuple(np.array(pairs).T)], np.sqrt(squares), rtol=1e-12, atol=0)
    assert (found == found.T).all()
    assert not found.diagonal().any()


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
            norms_among(Source(source.model, weights, inputs, "bce"))
        assert said in str(caught.value)


def test_the_command_takes_an_executor_of_the_current_folder(
    source: Source, tmp_path: Path, monkeypatch, capsys
) -> None:
    (tmp_path / "mine.py").write_text(
        "from concurrent.futures import ThreadPoolExecutor\ndef pool():\n    return ThreadPoolExecutor(2)\n"
    )
    monkeypatch.chdir(tmp_path)
    given = [
        "--model",
        source.model,
        "--weights",
        str(source.weights),
        "--inputs",
        str(source.inputs),
        "--out",
        "N.npz",
    ]
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
