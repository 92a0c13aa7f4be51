"""Whatever is in the files and on the command line, a command answers in one line, soon, and in little memory.

Every case is drawn from its own number.  `FUZZ=20000 pytest tests/test_fuzz.py` draws more than the few of each test.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import os
import resource
import shutil
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_run import make_run

import lie_ref
from lie_ref import oracle
from lie_ref.cli import commands, main
from lie_ref.cli.parser import command_parser
from lie_ref.experiment.page import render
from lie_ref.experiment.printout import headlines
from lie_ref.experiment.reading import read_orders, read_passes
from lie_ref.machine.errors import InputError
from lie_ref.oracle.candidates import read_candidate
from lie_ref.oracle.request import read_question
from lie_ref.study.checkpoint import Checkpoint
from lie_ref.study.folder import check_config

CASES = int(os.environ.get("FUZZ", "300"))
VECTOR, SMALLEST = oracle.load("mlp-tanh-bce"), lie_ref.mlp([2, 3, 1])
MODEL = '{"kind": "mlp", "sizes": [2, 3, 1], "activation": "tanh"}'
# fmt: off
NASTY: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**62, 10**18, 0.5, -0.0, 1e308, -1e308, 1e-320, "", "a", "\ud800",
    "\x1b[31m\n", "x" * 10_000, [], {}, [[]], [None], [1e308, 1e308], {"a": {}},
    [[[[[]]]]], ["a", 1, None], "bce", "mlp", "mxresnet",
]
TEXTS = ["[" * 100_000, "1" * 400, "1" * 5000, "[1" + "0" * 4000 + "]", "NaN", "1e999", "{", "", "\x00", '"\\ud800"']
DTYPES = ["<f8", "<f4", ">f8", "<f2", "<c16", "<i8", "|u1", "?", "<U3", "|S5", "<U0", "|V0", "<M8[s]", "O", "|V8"]
SHAPES = [(), (0,), (1,), (3,), (2, 2), (3, 2), (1, 3), (10**9,), (10**9, 0), (2**62, 2), (-1,), (1,) * 40]
WORDS = [
    "", "-", "--", "-1", "0", "1", "1e308", "-1e308", "nan", "inf", "1" * 5000, "x" * 5000, "\x07\x1b", "é", "\udcff",
    "2147483647", "99999999999999999999", ".", "/", "/dev/null", "/dev/zero", "nowhere", "mlp-tanh-bce", MODEL,
    "mxresnet-tiny", "quick", "bce", "0.5", "1e-300", "[]", "{}", '{"kind": "mlp", "sizes": [1e308]}', "hair",
    "grand", "candidate.npz", "vector.npz", "weights.npz", "inputs.npz", "run", "run/summary.json", *TEXTS[:5],
]
# fmt: on


def picked(rng: np.random.Generator, items: list[Any]) -> Any:
    return items[rng.integers(len(items))]


def an_array(rng: np.random.Generator) -> bytes:
    """An `.npy` file of some shape and dtype, whose header may promise more than there is."""
    shape, dtype = picked(rng, SHAPES), picked(rng, DTYPES)
    file = io.BytesIO()
    write = picked(rng, [np.lib.format.write_array_header_1_0, np.lib.format.write_array_header_2_0])
    write(file, {"descr": dtype, "fortran_order": bool(rng.integers(2)), "shape": shape})
    count = picked(rng, [0, 8, 48, int(min(10_000, max(0, np.prod(shape, dtype=float) * np.dtype(dtype).itemsize)))])
    return file.getvalue() + rng.bytes(count)


def changed_json(rng: np.random.Generator, value: Any) -> Any:
    """The value with one of its parts replaced by something nasty, or missing."""
    if isinstance(value, (dict, list)) and value and rng.random() < 0.9:
        key = picked(rng, list(value) if isinstance(value, dict) else list(range(len(value))))
        changed = value.copy()
        if rng.random() < 0.1:
            del changed[key]
        else:
            changed[key] = changed_json(rng, value[key])
        return changed
    return picked(rng, NASTY)


def changed_text(rng: np.random.Generator, text: str) -> str:
    if rng.random() < 0.8:
        with contextlib.suppress(ValueError):  # changed before
            return json.dumps(changed_json(rng, json.loads(text)))
    place = rng.integers(len(text))
    return picked(rng, [picked(rng, TEXTS), text[:place], text[:place] + picked(rng, TEXTS) + text[place:]])


def changed_bytes(rng: np.random.Generator, whole: bytes) -> bytes:
    content = bytearray(whole)
    for _ in range(rng.integers(1, 5)):
        place = rng.integers(len(content))
        content[place] = rng.integers(256)
    return bytes(content[: rng.integers(len(content))] if rng.random() < 0.2 else content)


def changed_archive(rng: np.random.Generator, whole: bytes) -> bytes:
    """An archive in which bytes, members, their names, their JSON or their compression are changed."""
    if rng.random() < 0.3:
        return changed_bytes(rng, whole)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for name in [picked(rng, list(members)) for _ in range(rng.integers(1, 3))]:
        data = members.pop(name, b"")
        kind = rng.integers(6)
        if kind == 0:
            members[picked(rng, ["a.npy", "../a.npy", "x.npy", "meta.npy", "\n.npy", "é" * 500, "a/data.pkl"])] = data
        elif kind == 1 and data[-4:-1] and name in ("meta.npy", "statistics.npy"):
            text = str(np.lib.format.read_array(io.BytesIO(data)))
            file = io.BytesIO()
            np.lib.format.write_array(file, np.array(changed_text(rng, text).rstrip("\0") or "{"))
            members[name] = file.getvalue()
        elif kind == 2:
            members[name] = changed_bytes(rng, data) if data else an_array(rng)
        elif kind < 5:
            members[name] = an_array(rng)
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", compression=picked(rng, [0, 8, 8, 12])) as archive:
        warnings.simplefilter("ignore")  # names that are there twice
        for name, data in members.items():
            archive.writestr(name, data)
            if rng.random() < 0.02:
                archive.writestr(name, data)
        if rng.random() < 0.01:
            archive.writestr("x.npy", bytes(2**26))
    return file.getvalue()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of each kind, sound ones."""
    folder = tmp_path_factory.mktemp("fuzz")
    np.savez(folder / "candidate.npz", **VECTOR.outputs)
    params, buffers = SMALLEST.init(0)
    x, y = np.eye(2), np.array([[0.0], [1.0]])
    np.savez(folder / "weights.npz", **params)
    np.savez(folder / "inputs.npz", x=x, y=y, pairs=np.array([(0, 1)]), x_eval=x)
    oracle.vectors.write_vector(folder / "vector.npz", oracle.reference(SMALLEST, params, buffers, x, y, [(0, 1)]))
    weights, _ = SMALLEST.init(0, np.float32)
    Checkpoint(weights, {}, weights, weights, 12, 12, 1, 0).write(folder / "checkpoint.npz")
    make_run(folder / "run")
    return folder


def fuzzed(share: int, case: Callable[[np.random.Generator], object]) -> None:
    """Run a share of the cases, in which nothing but InputError is raised, soon and without much memory."""
    before, slowest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0.0
    for number in range(max(1, CASES // share)):
        begun, said = time.monotonic(), ""
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                case(np.random.default_rng(number))
        except InputError as error:
            said = str(error)
        except Exception as error:
            raise AssertionError(f"case {number}") from error
        assert said.isprintable(), number
        assert len(said) < 2000, number
        slowest = max(slowest, time.monotonic() - begun)
        assert slowest < 5, number
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # in KiB
    print(f"{number + 1} cases, at most {slowest:.2f} s and {taken / 2**10:.0f} MiB more than before")
    assert taken < 2**20


ARCHIVES: dict[str, tuple[int, Callable[[Path], object]]] = {  # the share of the cases, and who reads the file
    "candidate": (6, lambda path: read_candidate(VECTOR, path)),
    "vector": (6, oracle.load),
    "weights": (6, lambda path: read_question(MODEL, path, path.parent / "inputs.npz", "bce", False)),
    "inputs": (6, lambda path: read_question(MODEL, path.parent / "weights.npz", path, "bce", False)),
    "checkpoint": (12, lambda path: Checkpoint.read(path, SMALLEST, 0, 12)),
}


def test_arguments_of_functions() -> None:
    """Large things in the place of each argument of each public function, whose other arguments are right."""
    params, buffers = SMALLEST.init(0)
    x, y, along = np.ones((3, 2)), np.ones((3, 1)), {name: p[None] for name, p in params.items()}
    right = {"model": SMALLEST, "params": params, "buffers": buffers, "x": x, "y": y, "x_eval": x, "x_val": x}
    right |= {"y_val": y, "pairs": [(0, 1)], "tangents": along, "directions": along, "name": "mxresnet-tiny"}
    large = np.random.default_rng(0).random((50, 40))
    tried = 0
    for function in (getattr(lie_ref, name) for name in lie_ref.__all__):
        for argument in inspect.signature(function).parameters if inspect.isfunction(function) else ():
            for value in (large, [large] * 3, {"a": large}, "x" * 5000, 10**5000):
                given = {k: right[k] for k in inspect.signature(function).parameters if k in right}
                try:
                    function(**given | {argument: value})
                except Exception as error:
                    tried += 1
                    said = str(error)
                    assert len(said) < 600, (function, argument, said[:200])
                    assert said.isprintable(), (function, argument, said[:200])
    assert tried > 100


@pytest.mark.parametrize("kind", ARCHIVES)
def test_archives(kind: str, files: Path) -> None:
    whole, fuzzy = (files / f"{kind}.npz").read_bytes(), files / "fuzzy.npz"
    share, read = ARCHIVES[kind]

    def case(rng: np.random.Generator) -> None:
        fuzzy.write_bytes(changed_archive(rng, whole))
        read(fuzzy)

    fuzzed(share, case)


def test_specifications_of_models(files: Path) -> None:
    texts = [
        MODEL,
        json.dumps({"kind": "mxresnet", "stem": [2, 2, 2], "widths": [2], "layers": [1], "expansion": 1, "n_out": 1}),
    ]

    def case(rng: np.random.Generator) -> None:
        text = changed_text(rng, picked(rng, texts))
        read_question(text, files / "weights.npz", files / "inputs.npz", "bce", False)

    fuzzed(6, case)


RUN = ["config.json", "summary.json", "passes.json", "orders.json", "evaluation/step_000100.npz"]


@pytest.mark.parametrize("name", RUN)
def test_files_of_a_run(name: str, files: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(files / "run", tmp_path / "run"))
    summary = json.loads((run / "summary.json").read_text())
    if name == "passes.json":
        (run / name).write_text(json.dumps(summary["passes"]))
    if name == "orders.json":
        trial = {"step": 400, "kind": "passes", "optimizer": "sgd", "epsilon": 5e-3, "best": -1.0, "reverse": 1.0}
        (run / name).write_text(json.dumps([trial | {"predicted": [0.5, -0.25], "real": [0.25, 1e-9]}]))
    whole = (run / name).read_bytes()

    def case(rng: np.random.Generator) -> None:
        content = changed_archive(rng, whole) if name.endswith("npz") else changed_text(rng, whole.decode()).encode()
        (run / name).write_bytes(content)
        if name == "passes.json":
            read_passes(run / name)
        elif name == "orders.json":
            read_orders(run / name)
        elif name == "config.json" and rng.random() < 0.9:
            check_config(run, {"celeba": None, "steps": 3}, "so")
        elif name == "summary.json" and rng.random() < 0.8:
            headlines(run)
        else:
            render(run)

    fuzzed(40 if name.endswith("npz") else 12, case)


def test_command_lines(files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(files)
    monkeypatch.setattr(commands, "run_experiment", lambda settings, *_: settings.checked() and Path("page"))
    monkeypatch.setattr(commands, "headlines", lambda out: [])
    study = {"images": "faces", "seeds": [], "findings": []}
    monkeypatch.setattr(commands, "run_study", lambda settings, *_: settings.checked() and study)
    monkeypatch.setattr(commands, "show", lambda *_: None)
    monkeypatch.setattr(commands, "run_diet", lambda settings, *_: settings.checked() and {"tasks": []})
    monkeypatch.setattr(commands, "executor_of", contextlib.nullcontext)
    parsers = command_parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    options = {name: list(parser._option_string_actions) for name, parser in parsers.items()}
    del options["vectors"]  # it would write them

    def case(rng: np.random.Generator) -> None:
        command = picked(rng, list(options))
        words = [command]
        for _ in range(rng.integers(6)):
            option, word = picked(rng, options[command]), picked(rng, WORDS)
            words += picked(rng, [[word], [option], [option, word], [f"{option}={word}"]])
        with contextlib.suppress(SystemExit):
            assert main(words) in (0, 1, 2, 3)
        error = capsys.readouterr().err
        assert error.count("\n") <= 1, error
        assert len(error) < 2000

    fuzzed(3, case)
