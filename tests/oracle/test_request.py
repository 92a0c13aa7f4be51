"""`reference`, `verify` and `vectors`: own weights and inputs are answered, checked against, and refused by name."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import examples, generic_state

import lie_ref
from lie_ref import oracle
from lie_ref.cli import main
from lie_ref.core.networks import Arrays, Model
from lie_ref.machine.files import read_npz
from lie_ref.oracle import vector_list as shipped

MLP = lie_ref.mlp([4, 5, 3], "mish")
CONV = lie_ref.mxresnet((2, 2, 2), (2,), (1,), n_out=2, n_in=1)
PRESET = lie_ref.preset("mxresnet-tiny", n_out=2)
QUESTIONS = {  # model, shape of x, loss, training
    "an MLP": (MLP, (3, 4), "bce", False),
    "a softmax": (MLP, (3, 4), "softmax", False),
    "pictures": (CONV, (2, 1, 6, 5), "mse", False),
    "a preset": (PRESET, (2, 3, 8, 8), "bce", False),
    "mini-batches": (CONV, (2, 3, 1, 6, 5), "softmax", False),
    "mini-batches in training mode": (CONV, (2, 3, 1, 6, 5), "bce", True),
}


def run(*arguments: str | Path) -> int:
    """Exit status of the command, whether it returns or leaves by itself as argparse does."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as leaving:
        return int(leaving.code or 0)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test is where its files are, and calls them by their names."""
    monkeypatch.chdir(tmp_path)


def asked(model: Model = MLP, shape: tuple[int, ...] = (3, 4), loss: str = "bce") -> tuple[Arrays, Arrays, Arrays]:
    """Writes the question to w.npz, xy.npz and model.json; its parameters, its buffers and its x and y."""
    params, buffers = generic_state(model, 0)
    inputs = dict(zip(("x", "y"), examples(model, shape, 0, loss), strict=True))
    np.savez("w.npz", **params, **buffers)
    np.savez("xy.npz", **inputs)
    Path("model.json").write_text(json.dumps(model.spec))
    return params, buffers, inputs


def answer(model: str = "model.json", out: str = "r.npz", *options: str) -> int:
    return run("reference", "--model", model, "--weights", "w.npz", "--inputs", "xy.npz", "--out", out, *options)


def part(arrays: Arrays, name: str) -> Arrays:
    return {key.removeprefix(f"{name}/"): a for key, a in arrays.items() if key.startswith(f"{name}/")}


def assert_near(found: Arrays, expected: Arrays) -> None:
    assert found.keys() == expected.keys()
    for name, a in expected.items():
        np.testing.assert_allclose(found[name], a, rtol=1e-9, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("case", QUESTIONS)
def test_a_reference_holds_the_question_and_what_the_library_answers(
    case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model, shape, loss, training = QUESTIONS[case]
    params, buffers, inputs = asked(model, shape, loss)
    x, y = inputs["x"], inputs["y"]
    assert answer("model.json", "r.npz", "--loss", loss, *["--training"] * training) == 0
    assert capsys.readouterr().out == "reference: r.npz\n"
    found = read_npz(Path("r.npz"))
    batches = len(shape) == 5
    for name, arrays in (("param", params), ("buffer", buffers)):
        assert_near(part(found, name), arrays)
    pairs = list(combinations(range(len(x)), 2))
    x_eval = x.reshape(-1, *shape[2:]) if batches else x
    assert_near({name: found[name] for name in ("x", "y", "x_eval")}, {**inputs, "x_eval": x_eval})
    np.testing.assert_array_equal(found["pairs"], pairs)
    assert json.loads(str(found["meta"])) == {
        "format": "lie-ref-vector/1",
        "name": "reference",
        "model": model.spec,
        "loss": loss,
        "fields": "batches" if batches else "examples",
        "training": training,
        "flags": [],
        "notes": "",
    }
    if batches:
        bracket = lie_ref.batch_brackets(model, params, buffers, x, y, pairs, loss, training)
    else:
        bracket = lie_ref.brackets(model, params, buffers, x, y, pairs, loss)
        assert_near(part(found, "grad"), lie_ref.gradients(model, params, buffers, x, y, loss))
        assert_near({"logits": found["logits"]}, {"logits": model.apply(params, buffers, x)})
    assert_near(part(found, "bracket"), bracket)
    change = lie_ref.push_forward(model, params, buffers, x_eval, bracket)
    assert_near({"logit_delta": found["logit_delta"]}, {"logit_delta": change})


@pytest.mark.parametrize("case", QUESTIONS)
def test_verify_takes_a_reference_by_its_path(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    model, shape, loss, training = QUESTIONS[case]
    asked(model, shape, loss)
    answer("model.json", "r.npz", "--loss", loss, *["--training"] * training)
    bracket = {f"bracket/{name}": b for name, b in part(read_npz(Path("r.npz")), "bracket").items()}
    np.savez("right.npz", **bracket)
    np.savez("wrong.npz", **{key: -b for key, b in bracket.items()})
    capsys.readouterr()
    assert run("verify", "r.npz", "right.npz") == 0
    assert capsys.readouterr().out.startswith("reference: agrees\n  bracket      agrees to 17.0 digits, ")
    assert run("verify", "r.npz", "wrong.npz") == 1
    assert "sign-swapped: " in capsys.readouterr().out


def test_pairs_and_evaluation_inputs_may_be_given() -> None:
    _, _, inputs = asked()
    given = {"pairs": np.array([[2, 0], [1, 1]], np.uint8), "x_eval": inputs["x"][:1] + 1}
    np.savez("xy.npz", **inputs, **given)
    assert answer() == 0
    vector = oracle.load("r.npz")
    np.testing.assert_array_equal(vector.pairs, given["pairs"])
    np.testing.assert_array_equal(vector.x_eval, given["x_eval"])
    assert vector.outputs["logit_delta"].shape == (2, 1, 3)


@pytest.mark.parametrize("n_out", [1, 2, 41])
def test_a_preset_has_as_many_outputs_as_the_weights(n_out: int) -> None:
    params, buffers, _ = asked(lie_ref.preset("mxresnet-tiny", n_out), (2, 3, 6, 6))
    assert answer("mxresnet-tiny") == 0
    inferred = Path("r.npz").read_bytes()
    np.savez("w.npz", **dict(sorted((params | buffers).items(), reverse=True)))
    for model in ("mxresnet-tiny", "model.json"):
        assert answer(model) == 0
        assert Path("r.npz").read_bytes() == inferred


def test_a_preset_finds_its_last_layer_whatever_the_order_of_the_weights(capsys: pytest.CaptureFixture[str]) -> None:
    params, buffers = lie_ref.preset("mxresnet18", n_out=3).init(0, np.float32)
    np.savez("w.npz", **dict(sorted((params | buffers).items())))  # 10.bias comes first of all biases
    np.savez("xy.npz", x=np.ones((2, 3, 6, 6)), y=np.ones((2, 4)))
    assert answer("mxresnet18") == 2
    assert capsys.readouterr().err == "lie-ref: xy.npz: y: expected shape (2, 3) for loss 'bce', got (2, 4)\n"


@pytest.mark.parametrize("bias", [None, np.zeros(0), np.zeros((2, 2))], ids=np.shape)
def test_a_preset_whose_weights_do_not_say_how_many_outputs_is_refused(
    bias: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    asked(lie_ref.preset("mxresnet-tiny", 2), (2, 3, 6, 6))
    replaced(W, **{"9__bias": bias})
    assert answer("mxresnet-tiny") == 2
    assert re.fullmatch(r"lie-ref: w\.npz: params.*\n", capsys.readouterr().err)


def test_a_model_is_the_same_however_it_is_said() -> None:
    asked()
    spaced = json.dumps(MLP.spec, indent=1)
    Path("pretty.json").write_text(spaced)
    contents = []
    for model in ("model.json", "pretty.json", json.dumps(MLP.spec), f"\n {spaced}"):
        assert answer(model) == 0
        contents.append(Path("r.npz").read_bytes())
    assert len(set(contents)) == 1


def test_weights_are_the_same_whatever_else_is_in_their_file() -> None:
    params, buffers, _ = asked(CONV, (2, 1, 6, 5))
    assert answer() == 0
    expected = Path("r.npz").read_bytes()
    counters = {name.replace("running_mean", "num_batches_tracked"): np.array(7) for name in buffers if "mean" in name}
    np.savez("w.npz", **dict(sorted((params | buffers | counters).items())))
    assert len(counters) == 5
    assert answer() == 0
    assert Path("r.npz").read_bytes() == expected
    checkpoint: dict[str, Any] = {f"param/{name}": p for name, p in params.items()}
    checkpoint |= {f"buffer/{name}": b for name, b in buffers.items()}
    checkpoint |= {f"adam.mean/{name}": p for name, p in params.items()} | {"format": np.array("lie-ref-checkpoint/1")}
    np.savez("w.npz", **checkpoint)
    assert answer() == 0
    assert Path("r.npz").read_bytes() == expected


def test_the_checkpoint_of_a_run_is_taken_as_it_is(small_run: Path) -> None:
    checkpoint = small_run / "checkpoints" / "step_000012.npz"
    x, y = examples(lie_ref.preset("mxresnet-tiny"), (2, 3, 8, 8), 0)
    np.savez("xy.npz", x=x, y=y)
    arguments = ("--model", "mxresnet-tiny", "--weights", checkpoint, "--inputs", "xy.npz", "--out", "r.npz")
    assert run("reference", *arguments) == 0
    vector, arrays = oracle.load("r.npz"), read_npz(checkpoint)
    for name, found in (("param", vector.params), ("buffer", vector.buffers)):
        assert_near(found, part(arrays, name))
    assert {a.dtype for a in vector.outputs.values()} == {np.dtype(np.float64)}


def test_float32_weights_leave_the_inputs_as_they_are() -> None:
    params, _, inputs = asked()
    np.savez("w.npz", **{name: p.astype(np.float32) for name, p in params.items()})
    assert answer() == 0
    np.testing.assert_array_equal(oracle.load("r.npz").x, inputs["x"])


W, XY = Path("w.npz"), Path("xy.npz")
BAD_MODELS = {
    "nowhere.json": "expected one of mxresnet-tiny, .*, JSON or a file of it, got 'nowhere.json' \\(No such file",
    "mxresnet-huge": "expected one of mxresnet-tiny, .*, JSON or a file of it, got 'mxresnet-huge' \\(No such file",
    ".": "expected one of mxresnet-tiny, .*, got '.' \\(Is a directory\\)",
    "": "expected one of mxresnet-tiny, .*, got '' \\(Is a directory\\)",
    "w.npz": "'w.npz' is not JSON \\('utf-8' codec can't decode",
    "deep.json": "'deep.json' is not JSON \\(maximum recursion depth exceeded",
    "list.json": 'expected an object with "kind" one of mlp, mxresnet, got \\[',
    "{": "'{' is not JSON \\(Expecting property name",
    '{"kind":\n"mlp",\n}': r"""'{"kind":\\n"mlp",\\n}' is not JSON \(""",
    "{}": 'expected an object with "kind" one of mlp, mxresnet, got {}',
    '{"kind": "resnet"}': 'expected an object with "kind" one of mlp, mxresnet, got {',
    '{"kind": ["mlp"]}': 'expected an object with "kind" one of mlp, mxresnet, got {',
    '{"kind": "mlp"}': "mlp.. missing 1 required positional argument: 'sizes'",
    '{"kind": "mlp", "sizes": [4, 5, 3], "act": 1}': "mlp.. got an unexpected keyword argument 'act'",
    '{"kind": "mlp", "sizes": [4, -5, 3]}': "sizes: expected at least 2 positive integer",
    '{"kind": "mlp", "sizes": "4, 5,\\n3"}': "sizes: expected at least 2 positive integer",
    '{"kind": "mlp", "sizes": [4, 3], "activation": null}': "activation: expected one of tanh, .*, got None",
    '{"kind": "mxresnet", "stem": [2, 2, 2], "widths": [2], "layers": [1, 1]}': "layers: expected one number a stage",
}


@pytest.mark.parametrize("model", BAD_MODELS)
def test_a_model_that_is_none_gives_status_2_and_one_line(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked()
    Path("deep.json").write_text('{"kind": ' + 100_000 * "[")
    Path("list.json").write_text(json.dumps(["mlp"] * 10_000))
    assert answer(model) == 2
    shown = capsys.readouterr()
    assert re.fullmatch(f"lie-ref: --model: {BAD_MODELS[model]}.*\n", shown.err)
    assert len(shown.err) < 500
    assert shown.out == ""
    assert not Path("r.npz").exists()


def replaced(file: Path, **changes: Any) -> None:
    """Writes the file with these arrays in place of its own; None leaves one out."""
    arrays = read_npz(file) | {name.replace("__", "."): a for name, a in changes.items()}
    np.savez(file, **{name: a for name, a in arrays.items() if a is not None})


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-30])


X, Y = examples(MLP, (3, 4), 0)
NONE = "none of them 0, got "
BAD_FILES = {  # what is done to the files, and the line
    "weights are missing": (W.unlink, "w.npz: no such file"),
    "weights are cut": (lambda: cut(W), r"w\.npz: damaged or not an \.npz archive"),
    "weights are text": (lambda: W.write_text("hello"), r"w\.npz: damaged or not an \.npz archive"),
    "weights are pickled": (lambda: replaced(W, **{"0__bias": np.array(None)}), r"w\.npz: .*Object arrays cannot be"),
    "there are no weights": (lambda: np.savez(W), r"w\.npz: params: .* names, but '0\.weight' is missing"),
    "a weight is missing": (lambda: replaced(W, **{"2__bias": None}), r"w\.npz: params: .* '2\.bias' is missing"),
    "a weight is unknown": (lambda: replaced(W, fc=X), r"w\.npz: buffers: .* names, but 'fc' is unknown"),
    "a weight is transposed": (lambda: replaced(W, **{"0__weight": X.T}), r"w\.npz: params\['0\.weight'\]: expected"),
    "a weight is nan": (lambda: replaced(W, **{"2__bias": X[:, 0] * np.nan}), r"w\.npz: params\['2\.bias'\]: .*finite"),
    "a weight is an integer": (lambda: replaced(W, **{"2__bias": np.ones(3, int)}), r"w\.npz: params: .*, int64"),
    "inputs are missing": (XY.unlink, "xy.npz: no such file"),
    "inputs are a folder": (lambda: (XY.unlink(), XY.mkdir()), r"xy\.npz: damaged or not an \.npz archive .*directory"),
    "there are no inputs": (lambda: np.savez(XY), r"xy\.npz: expected an array 'x', got none"),
    "x is missing": (lambda: replaced(XY, x=None), r"xy\.npz: expected an array 'x', got y"),
    "y is missing": (lambda: replaced(XY, y=None), r"xy\.npz: expected an array 'y', got x"),
    "an array is unknown": (lambda: replaced(XY, z=X), r"xy\.npz: expected x, y, pairs and x_eval, got 'z'"),
    "x is one number": (lambda: replaced(XY, x=1.0), rf"xy\.npz: x: expected shape \(n, 4\), {NONE}\(\)"),
    "x is empty": (lambda: replaced(XY, x=X[:0]), rf"xy\.npz: x: expected shape \(n, 4\), {NONE}\(0, 4\)"),
    "x is one example": (lambda: replaced(XY, x=X[0]), rf"xy\.npz: x: expected shape \(n, 4\), {NONE}\(4,\)"),
    "x has a feature too few": (lambda: replaced(XY, x=X[:, 1:]), rf"xy\.npz: x: expected shape .*{NONE}\(3, 3\)"),
    "x is text": (lambda: replaced(XY, x=X.astype(str)), r"xy\.npz: x: expected a floating-point array, got dtype <U"),
    "x is inf": (lambda: replaced(XY, x=X / 0), r"xy\.npz: x: expected finite numbers"),
    "y has an output too few": (
        lambda: replaced(XY, y=Y[:, 1:]),
        r"xy\.npz: y: expected shape \(3, 3\) for loss 'bce'",
    ),
    "a target is not in [0, 1]": (lambda: replaced(XY, y=Y + 1), r"xy\.npz: y: expected targets in \[0, 1\] .* 1 to 2"),
    "pairs are too far": (lambda: replaced(XY, pairs=[[0, 3]]), r"xy\.npz: pairs: expected indices 0 to 2, got 0 to 3"),
    "pairs are floats": (lambda: replaced(XY, pairs=[[0.0, 1.0]]), r"xy\.npz: pairs: expected integers"),
    "pairs are triples": (lambda: replaced(XY, pairs=[[0, 1, 2]]), r"xy\.npz: pairs: expected shape \(p, 2\)"),
    "there are no pairs": (lambda: replaced(XY, x=X[:1], y=Y[:1]), r"xy\.npz: pairs: expected shape \(p, 2\), none"),
    "answers overflow": (
        lambda: replaced(XY, x=1e300 * X, x_eval=X),
        r"xy\.npz: answers: expected finite numbers, got nan or inf in '[^']+' and \d+ others",
    ),
    "x_eval does not fit": (lambda: replaced(XY, x_eval=X.T), r"xy\.npz: x_eval: expected shape \(n, 4\)"),
}


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@pytest.mark.parametrize("case", BAD_FILES)
def test_files_that_do_not_fit_give_status_2_and_one_line(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    change, message = BAD_FILES[case]
    asked()
    change()
    assert answer() == 2
    assert re.fullmatch(f"lie-ref: {message}.*\n", capsys.readouterr().err)
    assert not Path("r.npz").exists()


BAD_OPTIONS = {
    "--training": r"lie-ref: xy\.npz: training: expected mini-batches x \(b, m, …\) for it, got x of shape \(3, 4\)",
    "--loss hinge": r"lie-ref reference: argument --loss: invalid choice: 'hinge'",
    "--loss softmax": r"lie-ref: xy\.npz: y: expected shape \(3,\) for loss 'softmax', got \(3, 3\)",
    "--out nowhere/r.npz": r"lie-ref: nowhere/r\.npz: cannot be written \(No such file or directory\)",
    "--out xy.npz/r.npz": r"lie-ref: xy\.npz/r\.npz: cannot be written \(Not a directory\)",
    "--out .": r"lie-ref: \.: cannot be written \(",
    "--out": r"lie-ref reference: argument --out: expected one argument",
}


@pytest.mark.parametrize("options", BAD_OPTIONS)
def test_a_bad_option_gives_status_2_and_one_line(options: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked()
    assert answer("model.json", "r.npz", *options.split()) == 2
    assert re.fullmatch(f"{BAD_OPTIONS[options]}.*\n", capsys.readouterr().err)
    assert sorted(path.name for path in Path().iterdir()) == ["model.json", "w.npz", "xy.npz"]


@pytest.mark.parametrize("labels", [[0, 1, 3], [-1, 0, 1], [0.0, 1.0, 2.0]])
def test_labels_that_do_not_fit_give_status_2_and_one_line(
    labels: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    asked()
    replaced(XY, y=labels)
    assert answer("model.json", "r.npz", "--loss", "softmax") == 2
    assert re.fullmatch(r"lie-ref: xy\.npz: y: expected (labels 0 to 2|integer labels).*\n", capsys.readouterr().err)


def meta(**changes: Any) -> None:
    """Writes r.npz with another description."""
    given = json.loads(str(read_npz(Path("r.npz"))["meta"])) | changes
    replaced(Path("r.npz"), meta=json.dumps({key: value for key, value in given.items() if value is not None}))


R = Path("r.npz")
NO_VECTOR = r"r\.npz: not a test vector or reference"
BAD_VECTORS = {
    "a missing file": (R.unlink, r"r\.npz: no such file"),
    "a cut file": (lambda: cut(R), r"r\.npz: damaged or not an \.npz archive"),
    "other arrays": (lambda: np.savez(R, **read_npz(XY)), rf"{NO_VECTOR}, it lacks 'meta'"),
    "no loss": (lambda: replaced(R, loss=None), rf"{NO_VECTOR} \('loss' is missing\)"),
    "no gradient of a bias": (
        lambda: replaced(R, **{"grad/2__bias": None}),
        rf"{NO_VECTOR} \('grad/2.bias' is missing",
    ),
    "no x_eval": (lambda: replaced(R, x_eval=None), rf"{NO_VECTOR}, it lacks 'x_eval'"),
    "no weight": (lambda: replaced(R, **{"param/0__bias": None}), rf"{NO_VECTOR} \(params: .*'0.bias' is missing"),
    "an unknown bracket": (lambda: replaced(R, **{"bracket/9": X}), rf"{NO_VECTOR} \('bracket/9' is unknown\)"),
    "a float32 loss": (
        lambda: replaced(R, loss=np.ones(3, "f4")),
        rf"{NO_VECTOR} \('loss': expected float64 \(3,\), got f",
    ),
    "a loss too few": (
        lambda: replaced(R, loss=np.ones(2)),
        rf"{NO_VECTOR} \('loss': expected float64 \(3,\), got .*2,",
    ),
    "a bracket that is nan": (
        lambda: replaced(R, **{"bracket/0__bias": np.full((3, 5), np.nan)}),
        rf"{NO_VECTOR} \(answers: expected finite numbers, got nan or inf in 'bracket/0\.bias'\)",
    ),
    "another format": (
        lambda: meta(format="lie-ref-vector/9"),
        rf"{NO_VECTOR} \(expected format 'lie-ref-vector/1', got",
    ),
    "another model": (lambda: meta(model={"kind": []}), rf"{NO_VECTOR} \(model: expected an object"),
    "an unknown loss": (lambda: meta(loss="hinge"), rf"{NO_VECTOR} \(loss: expected one of bce, softmax, mse, got"),
    "no flags": (lambda: meta(flags=None), rf"{NO_VECTOR}, it lacks 'flags'"),
    "examples in training mode": (lambda: meta(training=True), rf"{NO_VECTOR} \(training: expected mini-batches"),
    "meta that is no JSON": (lambda: replaced(R, meta="{"), rf"{NO_VECTOR} \(Expecting property name"),
    "meta that is a list": (lambda: replaced(R, meta="[]"), rf"{NO_VECTOR} \(list indices must be integers"),
    "meta that is deep": (lambda: replaced(R, meta=100_000 * "["), rf"{NO_VECTOR} \(maximum recursion depth"),
    "meta that is a number": (lambda: replaced(R, meta=7.0), rf"{NO_VECTOR} \("),
}


@pytest.mark.parametrize("case", BAD_VECTORS)
def test_a_vector_that_is_none_gives_status_2_and_one_line(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    change, message = BAD_VECTORS[case]
    asked()
    answer()
    np.savez("candidate.npz", loss=np.ones(3))
    assert run("verify", "r.npz", "candidate.npz") == 1
    change()
    capsys.readouterr()
    assert run("verify", "r.npz", "candidate.npz", "--json", "verdict.json") == 2
    shown = capsys.readouterr()
    assert re.fullmatch(f"lie-ref: {message}.*\n", shown.err)
    assert shown.out == ""
    assert not Path("verdict.json").exists()


@pytest.mark.parametrize("name", ["mlp-tanh", "", "../data/vectors/mlp-tanh-bce", "mlp-tanh-bce.json"])
def test_an_unknown_vector_gives_status_2_and_the_names_of_all(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("verify", name, "candidate.npz") == 2
    expected = f"lie-ref: {name}: no test vector and no file of one; the vectors are {', '.join(oracle.names())}\n"
    assert capsys.readouterr().err == expected


GOOD = oracle.load("mlp-tanh-bce").outputs
VERDICTS = {  # candidate, quantities that disagree, bugs
    "everything right": (GOOD, [], []),
    "the loss alone": ({"loss": GOOD["loss"]}, [], []),
    "everything in float32": ({key: a.astype(np.float32) for key, a in GOOD.items()}, [], []),
    "zeros": ({key: 0 * a for key, a in GOOD.items()}, list(dict.fromkeys(key.split("/")[0] for key in GOOD)), None),
    "nan": ({"loss": GOOD["loss"], "logits": GOOD["logits"] * np.nan}, ["logits"], []),
    "inf": ({"logits": GOOD["logits"], "loss": GOOD["loss"] * np.inf}, ["loss"], []),
    "the sum over the outputs": ({"loss": GOOD["logits"].shape[1] * GOOD["loss"]}, ["loss"], ["sum-over-outputs"]),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_the_verdict_in_json_is_what_the_contract_says(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    candidate, disagreeing, bugs = VERDICTS[case]
    np.savez("candidate.npz", **candidate)
    status = run("verify", "mlp-tanh-bce", "candidate.npz", "--json", "verdict.json")
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out == f"{oracle.verify('mlp-tanh-bce', candidate)}\n"
    verdict = json.loads(Path("verdict.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert verdict.keys() == {"agrees", "quantities", "diagnosis"}
    assert verdict["agrees"] is (status == 0) is (not disagreeing)
    assert status in (0, 1)
    assert verdict["quantities"].keys() == {key.partition("/")[0] for key in candidate}
    for name, quantity in verdict["quantities"].items():
        assert quantity.keys() == {"agrees", "digits", "required_digits", "worst_tensor"}
        assert quantity["agrees"] is (name not in disagreeing)
        assert quantity["agrees"] is (quantity["digits"] >= quantity["required_digits"])
        assert 0 <= quantity["digits"] <= 17
        assert 0 < quantity["required_digits"] <= 16
        tensor = quantity["worst_tensor"]
        assert tensor == name or f"{name}/{tensor}" in candidate
    for explanation in verdict["diagnosis"]:
        assert explanation.keys() == {"name", "explains", "digits"}
        assert explanation["digits"] > 0
    if bugs is not None:
        assert [explanation["name"] for explanation in verdict["diagnosis"]] == bugs


@pytest.mark.parametrize("place", ["nowhere/verdict.json", "."])
def test_a_verdict_that_cannot_be_written_gives_status_2(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("candidate.npz", loss=GOOD["loss"])
    assert run("verify", "mlp-tanh-bce", "candidate.npz", "--json", place) == 2
    shown = capsys.readouterr()
    assert re.fullmatch(rf"lie-ref: {re.escape(place)}: cannot be written \(.+\)\n", shown.err)
    assert shown.out == ""


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_verdict_is_printed_in_any_encoding(encoding: str) -> None:
    np.savez("candidate.npz", **{key: -a for key, a in GOOD.items() if key.startswith("bracket")})
    command = [sys.executable, "-m", "lie_ref", "verify", "mlp-tanh-bce", "candidate.npz"]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding})
    assert (done.returncode, done.stderr) == (1, b"")
    assert b"sign-swapped" in done.stdout


def test_vectors_are_written_with_their_index(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["mlp-one-layer-mse", "conv-batches-training"]
    monkeypatch.setattr(shipped, "RECIPES", [recipe for recipe in shipped.RECIPES if recipe.name in names])
    assert run("vectors", "--out", "new/vectors") == 0
    out = Path("new/vectors")
    assert capsys.readouterr().out == f"vectors: 2 in {out}\n"
    index = json.loads((out / "index.json").read_text(encoding="utf-8"))
    assert [entry["name"] for entry in index["vectors"]] == names
    for entry in index["vectors"]:
        path = out / entry["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
        oracle.assert_agrees(path, oracle.load(entry["name"]).outputs)
    assert len(list(out.iterdir())) == 3


@pytest.mark.parametrize("place", ["file", "file/folder"])
def test_a_folder_of_vectors_that_cannot_be_made_gives_status_2(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("mine")
    assert run("vectors", "--out", place) == 2
    assert re.fullmatch(rf"lie-ref: .*'{place}'\n", capsys.readouterr().err)
    assert Path("file").read_text() == "mine"
