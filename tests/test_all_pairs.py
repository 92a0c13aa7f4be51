"""The norms of brackets among many examples are those of `brackets`, also after a stop."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lie_ref
from lie_ref import all_pairs
from lie_ref.all_pairs import Source, block, norms_among, scores_of, write_brackets
from lie_ref.cli import main
from lie_ref.machine.errors import InputError
from lie_ref.measure.scores import el2n, grand


def test_norms_are_those_of_all_brackets(source: Source) -> None:
    arrays, params = np.load(source.inputs), dict(np.load(source.weights))
    model, pairs = lie_ref.mlp([5, 6, 2], "tanh"), list(combinations(range(len(arrays["x"])), 2))
    found = norms_among(source)
    b = lie_ref.brackets(model, params, {}, arrays["x"], arrays["y"], pairs)
    squares = sum(np.square(a).reshape(len(pairs), -1).sum(axis=1) for a in b.values())
    assert np.allclose(found[tuple(np.array(pairs).T)], np.sqrt(squares), rtol=1e-12, atol=0)
    assert (found == found.T).all()
    assert not found.diagonal().any()


def test_scores_are_those_of_all_examples_at_once(source: Source) -> None:
    found = scores_of(source)
    assert (found["grand"] == grand(*examples_of(source))).all()
    assert (found["el2n"] == el2n(*examples_of(source))).all()


def test_a_call_that_was_stopped_continues_where_it_was(source: Source, tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "N.npz"
    pieces = all_pairs.completed

    def ten(executor: Any, work: Any) -> Any:
        yield from islice(pieces(executor, work), 10)
        raise KeyboardInterrupt

    monkeypatch.setattr(all_pairs, "completed", ten)
    with pytest.raises(KeyboardInterrupt):
        write_brackets(source, out)
    assert not out.exists()
    done = []
    monkeypatch.setattr(all_pairs, "completed", lambda _, work: done.append(len(work)) or pieces(None, work))
    (tmp_path / ".N.npz.0123456789abcdef.npy").write_bytes(b"of another question")
    (tmp_path / ".N.npz.0123456789abcdef.npy.01ab.part").write_bytes(b"of a kill")
    assert write_brackets(source, out) == 150
    assert done == [33 - 10, 1]
    assert np.load(out)["norms"].tobytes() == norms_among(source).tobytes()
    assert [path.name for path in tmp_path.iterdir()] == ["N.npz"]


def test_norms_left_behind_that_cannot_be_used_are_named(source: Source, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(all_pairs, "norms_among", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_brackets(source, tmp_path / "N.npz")
    (left,) = tmp_path.glob(".N.npz.*.npy")
    for damage in (lambda: np.save(left, np.zeros((3, 3))), lambda: left.write_bytes(b"")):
        damage()
        with pytest.raises(InputError, match=r"npy: not the norms of a call that was stopped \(.*\); delete it"):
            write_brackets(source, tmp_path / "N.npz")


def test_a_worker_reads_the_files_once(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr(all_pairs, "read_inputs", lambda path: read.append(path) or dict(np.load(path)))
    all_pairs._read_at.cache_clear()
    block(source, 0, 0), block(source, 64, 8)
    assert read == [source.inputs]


def test_files_that_do_not_fit_are_named(source: Source, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "x.npz", x=np.ones((3, 5)))
    np.savez(tmp_path / "wide.npz", x=np.ones((3, 6)), y=np.ones((3, 2)))
    np.savez(tmp_path / "huge.npz", **dict(np.load(source.weights)) | {"2.weight": np.full((2, 6), 1e200)})
    for weights, inputs, said in (
        (source.weights, tmp_path / "x.npz", "x.npz: expected an array 'y', got x"),
        (source.weights, tmp_path / "wide.npz", "wide.npz: "),
        (source.inputs, source.inputs, "XY.npz: "),
        (tmp_path / "huge.npz", source.inputs, "huge.npz: brackets are beyond the range of float64 or nan"),
    ):
        with pytest.raises(InputError) as caught, np.errstate(all="ignore"):
            norms_among(Source(source.model, weights, inputs, "bce"))
        assert said in str(caught.value)
    given = [str(tmp_path / "huge.npz"), "--model", source.model, "--inputs", str(source.inputs)]
    assert main(["brackets", *given, "--out", str(tmp_path / "N.npz")]) == 2
    assert capfd.readouterr().err.count("\n") == 1


def test_the_command_takes_an_executor_of_the_current_folder(
    source: Source, tmp_path: Path, monkeypatch, capsys
) -> None:
    (tmp_path / "mine.py").write_text(
        "from concurrent.futures import ThreadPoolExecutor\ndef pool():\n    return ThreadPoolExecutor(2)\n"
    )
    monkeypatch.chdir(tmp_path)
    files = [str(source.weights), "--model", source.model, "--inputs", str(source.inputs)]
    given = ["brackets", *files, "--out", "N.npz"]
    assert main([*given, "--executor", "mine:pool"]) == 0
    assert "brackets: N.npz, of 150 x 150 pairs" in capsys.readouterr().out
    assert np.load("N.npz")["norms"].tobytes() == norms_among(source).tobytes()
    for executor, said in (
        ("mine", "expected MODULE:FACTORY, got mine"),
        ("mine:no", "expected MODULE:FACTORY, got mine:no (module 'mine' has no attribute 'no')"),
        ("nowhere:pool", "No module named 'nowhere'"),
        ("builtins:dict", "expected builtins:dict to return an Executor, got dict"),
        ("io:StringIO", "expected io:StringIO to return an Executor, got StringIO"),
    ):
        assert main([*given, "--executor", executor]) == 2
        assert said in capsys.readouterr().err


def test_files_that_were_written_anew_are_read_again(source: Source, tmp_path: Path) -> None:
    weights = tmp_path / "W.npz"
    moved = replace(source, weights=weights)
    for scale in (1.0, 2.0):
        np.savez(weights, **{name: scale * a for name, a in np.load(source.weights).items()})
        os.utime(weights, ns=(int(scale), int(scale)))  # clocks may be coarse
        write_brackets(moved, tmp_path / "N.npz")
        assert np.allclose(np.load(tmp_path / "N.npz")["grand"], grand(*examples_of(moved)), rtol=1e-12)


def examples_of(source: Source) -> tuple[Any, ...]:
    arrays, params = np.load(source.inputs), dict(np.load(source.weights))
    return lie_ref.mlp([5, 6, 2], "tanh"), [(params, {})], arrays["x"], arrays["y"]
