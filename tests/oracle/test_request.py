"""The commands `reference`, `verify` and `vectors`: what they compute, and which line they print for bad input."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
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
from lie_ref.oracle.answers import QUANTITIES
from lie_ref.oracle.vectors import part

MLP = lie_ref.mlp([4, 5, 3], "mish")
CONV = lie_ref.mxresnet((2, 2, 2), (2,), (1,), n_out=2, n_in=1)
PRESET = lie_ref.preset("mxresnet-tiny", n_out=2)
GOOD = oracle.load("mlp-tanh-bce").outputs
X, Y = examples(MLP, (3, 4), 0)
QUESTIONS = {  # model, shape of x, loss, training
    "an MLP": (MLP, (3, 4), "bce", False),
    "a softmax": (MLP, (3, 4), "softmax", False),
    "pictures": (CONV, (2, 1, 6, 5), "mse", False),
    "a preset": (PRESET, (2, 3, 8, 8), "bce", False),
    "mini-batches": (CONV, (2, 3, 1, 6, 5), "softmax", False),
    "mini-batches in training mode": (CONV, (2, 3, 1, 6, 5), "bce", True),
}


def run(*arguments: str | Path) -> int:
    """The exit status of the command, which returns it or, like argparse, raises SystemExit."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as leaving:
        return int(leaving.code or 0)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs in the folder of its files."""
    monkeypatch.chdir(tmp_path)


def asked(model: Model = MLP, shape: tuple[int, ...] = (3, 4), loss: str = "bce") -> tuple[Arrays, Arrays, Arrays]:
    """Write a question to w.npz, xy.npz and model.json; return its parameters, its buffers, and x and y."""
    params, buffers = generic_state(model, 0)
    inputs = dict(zip(("x", "y"), examples(model, shape, 0, loss), strict=True))
    np.savez("w.npz", **params, **buffers)
    np.savez("xy.npz", **inputs)
    Path("model.json").write_text(json.dumps(model.spec))
    return params, buffers, inputs


def answer(model: str = "model.json", out: str = "r.npz", *options: str) -> int:
    return run("reference", "--model", model, "--weights", "w.npz", "--inputs", "xy.npz", "--out", out, *options)


def assert_near(found: Arrays, expected: Arrays) -> None:
    assert found.keys() == expected.keys()
    for name, a in expected.items():
        np.testing.assert_allclose(found[name], a, rtol=1e-9, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("case", QUESTIONS)
def test_a_reference_holds_the_question_and_the_answers_and_verify_takes_it(
    case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model, shape, loss, training = QUESTIONS[case]
    params, buffers, inputs = asked(model, shape, loss)
    x, y = inputs["x"], inputs["y"]
    assert answer("model.json", "r.npz", "--loss", loss, *["--training"] * training) == 0
    assert capsys.readouterr().out == "reference: r.npz\n"
    found = read_npz(Path("r.npz"))
    batches = len(shape) == 5
    assert_near(part(found, "param") | part(found, "buffer"), params | buffers)
    pairs = list(combinations(range(len(x)), 2))
    x_eval = x.reshape(-1, *shape[2:]) if batches else x
    assert_near({name: found[name] for name in ("x", "y", "x_eval")}, {**inputs, "x_eval": x_eval})
    np.testing.assert_array_equal(found["pairs"], pairs)
    about = {"format": "lie-ref-vector/1", "name": "reference", "flags": [], "notes": ""}
    about |= {"model": model.spec, "loss": loss, "fields": "batches" if batches else "examples", "training": training}
    assert json.loads(str(found["meta"])) == about
    if batches:
        bracket = lie_ref.batch_brackets(model, params, buffers, x, y, pairs, loss, training)
    else:
        bracket = lie_ref.brackets(model, params, buffers, x, y, pairs, loss)
        assert_near(part(found, "grad"), lie_ref.gradients(model, params, buffers, x, y, loss))
        assert_near({"logits": found["logits"]}, {"logits": model.apply(params, buffers, x)})
    assert_near(part(found, "bracket"), bracket)
    change = lie_ref.push_forward(model, params, buffers, x_eval, bracket)
    assert_near({"logit_delta": found["logit_delta"]}, {"logit_delta": change})
    brackets = {f"bracket/{name}": b for name, b in part(found, "bracket").items()}
    np.savez("right.npz", **brackets)
    np.savez("wrong.npz", **{key: -b for key, b in brackets.items()})
    assert run("verify", "r.npz", "right.npz") == 0
    shown = capsys.readouterr().out
    assert re.match(
        r"reference: agrees \(decided: at least \d+\.\d digits\)\n  bracket      agrees to 17.0 digits, ", shown
    )
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
def test_a_preset_gets_the_number_of_outputs_of_the_weights(n_out: int) -> None:
    params, buffers, _ = asked(lie_ref.preset("mxresnet-tiny", n_out), (2, 3, 6, 6))
    assert answer("mxresnet-tiny") == 0
    inferred = Path("r.npz").read_bytes()
    np.savez("w.npz", **dict(sorted((params | buffers).items(), reverse=True)))
    for model in ("mxresnet-tiny", "model.json"):
        assert answer(model) == 0
        assert Path("r.npz").read_bytes() == inferred


@pytest.mark.parametrize("bias", [None, np.zeros(0), np.zeros((2, 2))], ids=np.shape)
def test_a_preset_needs_weights_that_give_the_number_of_outputs(bias: Any, capsys: pytest.CaptureFixture[str]) -> None:
    asked(lie_ref.preset("mxresnet-tiny", 2), (2, 3, 6, 6))
    replaced(W, **{"9__bias": bias})
    assert answer("mxresnet-tiny") == 2
    assert re.fullmatch(r"lie-ref: w\.npz: params.*\n", capsys.readouterr().err)


def test_a_model_may_be_given_as_json_or_as_a_file() -> None:
    asked()
    spaced = json.dumps(MLP.spec, indent=1)
    Path("pretty.json").write_text(spaced)
    contents = []
    for model in ("model.json", "pretty.json", json.dumps(MLP.spec), f"\n {spaced}"):
        assert answer(model) == 0
        contents.append(Path("r.npz").read_bytes())
    assert len(set(contents)) == 1


def test_weights_may_be_a_whole_state_dict_in_any_order() -> None:
    params, buffers, _ = asked(CONV, (2, 1, 6, 5))
    assert answer() == 0
    expected = Path("r.npz").read_bytes()
    counters = {name.replace("running_mean", "num_batches_tracked"): np.array(7) for name in buffers if "mean" in name}
    np.savez("w.npz", **dict(sorted((params | buffers | counters).items())))
    assert len(counters) == 5
    assert answer() == 0
    assert Path("r.npz").read_bytes() == expected


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module."])
def test_weights_may_be_those_of_a_wrapped_network(prefix: str) -> None:
    params, buffers, _ = asked(PRESET, (2, 3, 8, 8))
    assert answer("mxresnet-tiny") == 0
    expected = Path("r.npz").read_bytes()
    np.savez("w.npz", **{f"{prefix}{name}": a for name, a in (params | buffers).items()})
    assert answer("mxresnet-tiny") == 0
    assert Path("r.npz").read_bytes() == expected


def test_a_state_dict_is_split_into_copies_of_its_parameters_and_buffers() -> None:
    params, buffers = generic_state(CONV, 0)
    state = {f"module.{name}": a for name, a in (params | buffers).items()} | {"module.0.1.num_batches_tracked": 7}
    found = oracle.split(state)
    for arrays, expected in zip(found, (params, buffers), strict=True):
        assert list(arrays) == list(expected)
        for name, a in arrays.items():
            np.testing.assert_array_equal(a, expected[name], strict=True)
            assert not np.shares_memory(a, expected[name])


NO_STATES = {
    "a network": (CONV, TypeError, r"state_dict: expected a mapping, as net.state_dict\(\) is, got Model"),
    "a checkpoint": ({"net": {"0.bias": X}}, TypeError, r"state_dict\['net'\]: expected an array of numbers, got dict"),
    "text": ({"arch": "mlp"}, TypeError, r"state_dict\['arch'\]: expected an array of numbers, got str"),
    "two of a name": ({"module.b": X, "b": X}, ValueError, r"state_dict\['b'\]: expected one tensor 'b', got two"),
}


@pytest.mark.parametrize("case", NO_STATES)
def test_what_is_not_a_state_dict_is_refused_by_name(case: str) -> None:
    given, error, message = NO_STATES[case]
    with pytest.raises(error, match=f"^{message}$"):
        oracle.split(given)


def test_the_checkpoint_of_a_run_serves_as_weights(small_run: Path) -> None:
    checkpoint = small_run / "checkpoints" / "step_000012.npz"
    x, y = examples(lie_ref.preset("mxresnet-tiny"), (2, 3, 8, 8), 0)
    np.savez("xy.npz", x=x, y=y)
    arguments = ("--model", "mxresnet-tiny", "--weights", checkpoint, "--inputs", "xy.npz", "--out", "r.npz")
    assert run("reference", *arguments) == 0
    vector, arrays = oracle.load("r.npz"), read_npz(checkpoint)
    assert_near(vector.params | vector.buffers, part(arrays, "param") | part(arrays, "buffer"))
    assert {a.dtype for a in vector.outputs.values()} == {np.dtype(np.float64)}
    np.testing.assert_array_equal(vector.x, x)  # not rounded to the float32 of the weights


W, XY, R = Path("w.npz"), Path("xy.npz"), Path("r.npz")
# fmt: off
BAD_MODELS = {
    "nowhere.json": "expected one of .*, JSON or a file of it, got 'nowhere.json' \\(nowhere.json: no such file",
    ".": "expected one of mxresnet-tiny, .*, got '.' \\(.: not a regular file\\)",
    "w.npz": "expected one of .*, got 'w.npz' \\(w.npz: cannot be read \\('utf-8' codec can't decode",
    "deep.json": "expected one of .*, got 'deep.json' \\(deep.json: cannot be read as JSON \\(more than 100 deep",
    "list.json": 'expected an object with "kind" one of mlp, mxresnet, got \\[',
    '{"kind":\n"mlp",\n}': r"""'{"kind":\\n"mlp",\\n}': cannot be read as JSON \(""",
    '{"kind": ["mlp"]}': 'expected an object with "kind" one of mlp, mxresnet, got {',
    '{"kind": "mlp"}': "mlp.. missing 1 required positional argument: 'sizes'",
    '{"kind": "mlp", "sizes": [4, 5, 3], "act": 1}': "mlp.. got an unexpected keyword argument 'act'",
    '{"kind": "mlp", "sizes": "4, 5,\\n3"}': "sizes: expected at least 2 positive integer",
    '{"kind": "mlp", "sizes": [4, 3], "activation": null}': "activation: expected one of tanh, .*, got None",
    '{"kind": "mxresnet", "stem": [2, 2, 2], "widths": [2], "layers": [1, 1]}': "layers: expected ",
    '{"kind": "mxresnet", "stem": [2, 2, 2], "widths": [2], "layers": [4611686018427387904]}': ".* 1000 layers",
    '{"kind": "mlp", "sizes": %s}' % ([1] * 1001): "expected at most 1000 layers or blocks, got 1001",
}
# fmt: on


@pytest.mark.parametrize("model", BAD_MODELS)
def test_a_bad_model_gives_status_2_and_one_line(model: str, capsys: pytest.CaptureFixture[str]) -> None:
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
    """Write the file with these arrays replaced, or left out if they are None."""
    arrays = read_npz(file) | {name.replace("__", "."): a for name, a in changes.items()}
    np.savez(file, **{name: a for name, a in arrays.items() if a is not None})


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-30])


def pickled(file: Path) -> None:
    """Write what `torch.save` writes, without the arrays."""
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"")


# fmt: off
BAD_FILES = {  # what is done to the files, and the line
    "no weights": (W.unlink, "w.npz: no such file"),
    "weights cut short": (lambda: cut(W), r"w\.npz: damaged or not an \.npz archive"),
    "pickled weights": (lambda: replaced(W, **{"0__bias": np.array(None)}), r"w\.npz: .*Object arrays cannot be"),
    "a weight is missing": (lambda: replaced(W, **{"2__bias": None}), r"w\.npz: params: .* '2\.bias' is missing"),
    "a weight is unknown": (lambda: replaced(W, fc=X), r"w\.npz: params: .* names, but 'fc' is unknown"),
    "weights of torch.save": (lambda: pickled(W), r"w\.npz: a file of torch.save is a pickle"),
    "a weight is there twice": (lambda: replaced(W, module__2__bias=X), r"w\.npz: state_dict\['.*got two"),
    "a weight is transposed": (lambda: replaced(W, **{"0__weight": X.T}), r"w\.npz: params\['0\.weight'\]: expected"),
    "too many inputs": (lambda: np.savez(XY, x=np.zeros((10**9, 0)), y=X), r"xy\.npz: expected pairs, or 2 to 1000 x"),
    "inputs are a folder": (lambda: (XY.unlink(), XY.mkdir()), r"xy\.npz: not a regular file"),
    "there are no inputs": (lambda: np.savez(XY), r"xy\.npz: expected an array 'x', got none"),
    "y is missing": (lambda: replaced(XY, y=None), r"xy\.npz: expected an array 'y', got x"),
    "an array is unknown": (lambda: replaced(XY, z=X), r"xy\.npz: expected x, y, pairs and x_eval, got 'z'"),
    "x is one number": (lambda: replaced(XY, x=1.0), r"xy\.npz: x: expected shape \(n, 4\), none of them 0, got \(\)"),
    "x is text": (lambda: replaced(XY, x=X.astype(str)), r"xy\.npz: x: expected a floating-point array, got dtype <U"),
    "a target is 2": (lambda: replaced(XY, y=Y + 1), r"xy\.npz: y: expected targets in \[0, 1\] .* 1 to 2"),
    "pairs are too far": (lambda: replaced(XY, pairs=[[0, 3]]), r"xy\.npz: pairs: expected indices 0 to 2, got 0 to 3"),
    "there are no pairs": (lambda: replaced(XY, x=X[:1], y=Y[:1]), r"xy\.npz: expected pairs, or 2 to 1000 x, got 1 x"),
    "answers overflow": (lambda: replaced(XY, x=1e300 * X, x_eval=X),
                         r"xy\.npz: answers: expected finite numbers, got nan or inf in '[^']+' and \d+ others"),
    "x_eval does not fit": (lambda: replaced(XY, x_eval=X.T), r"xy\.npz: x_eval: expected shape \(n, 4\)"),
}
# fmt: on


@pytest.mark.parametrize("case", BAD_FILES)
def test_files_that_do_not_fit_give_status_2_and_one_line(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    change, message = BAD_FILES[case]
    asked()
    change()
    assert answer() == 2
    assert re.fullmatch(f"lie-ref: {message}.*\n", capsys.readouterr().err)
    assert not Path("r.npz").exists()


R_NPZ = "--model model.json --weights w.npz --inputs xy.npz --out"
# fmt: off
BAD_COMMANDS = {
    f"reference {R_NPZ} r.npz --training":
        r"lie-ref: xy\.npz: training: expected mini-batches x \(b, m, …\) for it, got x of shape \(3, 4\)",
    f"reference {R_NPZ} r.npz --loss hinge": r"lie-ref reference: argument --loss: invalid choice: 'hinge'",
    f"reference {R_NPZ} r.npz --loss softmax": r"lie-ref: xy\.npz: y: expected shape \(3,\) for loss 'softmax'",
    f"reference {R_NPZ} nowhere/r.npz": r"lie-ref reference: argument --out: nowhere/r\.npz: no such folder",
    f"reference {R_NPZ} .": r"lie-ref reference: argument --out: \.: is a folder, expected a file",
    "brackets w.npz --model model.json --inputs xy.npz --out nowhere/n.npz":
        r"lie-ref brackets: argument --out: nowhere/n\.npz: no such folder",
    "check mine.py --json nowhere/v.json": r"lie-ref check: argument --json: nowhere/v\.json: no such folder",
    f"reference {R_NPZ}": r"lie-ref reference: argument --out: expected one argument",
    "verify mlp-tanh-bce candidate.npz --json nowhere/v.json": 
        r"lie-ref verify: argument --json: nowhere/v\.json: no such folder",
    "verify ../data/vectors/mlp-tanh-bce candidate.npz":
        f"lie-ref: ../data/vectors/mlp-tanh-bce: .* the vectors are {', '.join(oracle.names())}",
    "vectors --out w.npz": r"lie-ref: .*'w\.npz'",
    "vectors --out w.npz/folder": r"lie-ref: .*'w\.npz/folder'",
}
# fmt: on


@pytest.mark.parametrize("command", BAD_COMMANDS)
def test_a_bad_command_gives_status_2_and_one_line(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked()
    np.savez("candidate.npz", loss=GOOD["loss"])
    assert run(*command.split()) == 2
    shown = capsys.readouterr()
    assert re.fullmatch(f"{BAD_COMMANDS[command]}.*\n", shown.err)
    assert shown.out == ""
    assert sorted(path.name for path in Path().iterdir()) == ["candidate.npz", "model.json", "w.npz", "xy.npz"]


def meta(**changes: Any) -> None:
    """Write r.npz with entries of `meta` replaced, or left out if they are None."""
    given = json.loads(str(read_npz(Path("r.npz"))["meta"])) | changes
    replaced(Path("r.npz"), meta=json.dumps({key: value for key, value in given.items() if value is not None}))


NO_VECTOR = r"r\.npz: not a test vector or reference"
NAN = {"bracket/0__bias": np.full((3, 5), np.nan)}
# fmt: off
BAD_VECTORS = {
    "a missing file": (R.unlink, r"r\.npz: no such file"),
    "a file cut short": (lambda: cut(R), r"r\.npz: damaged or not an \.npz archive"),
    "other arrays": (lambda: np.savez(R, **read_npz(XY)), rf"{NO_VECTOR}, it lacks 'meta'"),
    "no loss": (lambda: replaced(R, loss=None), rf"{NO_VECTOR} \('loss' is missing\)"),
    "no x_eval": (lambda: replaced(R, x_eval=None), rf"{NO_VECTOR}, it lacks 'x_eval'"),
    "no weight": (lambda: replaced(R, **{"param/0__bias": None}), rf"{NO_VECTOR} \(params: .*'0.bias' is missing"),
    "an unknown bracket": (lambda: replaced(R, **{"bracket/9": X}), rf"{NO_VECTOR} \('bracket/9' is unknown\)"),
    "a float32 loss": (lambda: replaced(R, loss=np.ones(3, "f4")),
                       rf"{NO_VECTOR} \('loss': expected float64 \(3,\), got f"),
    "a bracket that is nan": (lambda: replaced(R, **NAN), rf"{NO_VECTOR} \(answers: .*nan or inf in 'bracket/0\.bias'"),
    "another format": (lambda: meta(format="lie-ref-vector/9"), rf"{NO_VECTOR} \(expected format 'lie-ref-vector/1'"),
    "another model": (lambda: meta(model={"kind": []}), rf"{NO_VECTOR} \(model: expected an object"),
    "an unknown loss": (lambda: meta(loss="hinge"), rf"{NO_VECTOR} \(loss: expected one of bce, softmax, mse, got"),
    "examples in training mode": (lambda: meta(training=True), rf"{NO_VECTOR} \(training: expected mini-batches"),
    "a meta that is not JSON": (lambda: replaced(R, meta="{"), rf"{NO_VECTOR} \(meta: cannot be read as JSON"),
    "a meta that is a list": (lambda: replaced(R, meta="[]"), rf"{NO_VECTOR} \(list indices must be integers"),
    "a meta that is deep": (lambda: replaced(R, meta=100_000 * "["), rf"{NO_VECTOR} \(meta: cannot be read as JSON"),
}
# fmt: on


@pytest.mark.parametrize("case", BAD_VECTORS)
def test_a_bad_vector_gives_status_2_and_one_line(case: str, capsys: pytest.CaptureFixture[str]) -> None:
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


VERDICTS = {  # candidate, quantities that disagree, bugs
    "everything right": (GOOD, [], []),
    "everything in float32": ({key: a.astype(np.float32) for key, a in GOOD.items()}, [], []),
    "zeros": ({key: 0 * a for key, a in GOOD.items()}, list(QUANTITIES), None),
    "nan": ({"loss": GOOD["loss"], "logits": GOOD["logits"] * np.nan}, ["logits"], []),
    "the sum over the outputs": ({"loss": GOOD["logits"].shape[1] * GOOD["loss"]}, ["loss"], ["sum-over-outputs"]),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_the_verdict_in_json_has_the_form_of_the_contract(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    candidate, disagreeing, bugs = VERDICTS[case]
    np.savez("candidate.npz", **candidate)
    status = run("verify", "mlp-tanh-bce", "candidate.npz", "--json", "verdict.json")
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out == f"{oracle.verify('mlp-tanh-bce', candidate)}\n"
    verdict = json.loads(Path("verdict.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert verdict.keys() == {"agrees", "decided", "quantities", "diagnosis", "layer", "located"}
    assert bool(verdict["located"]) is bool(disagreeing)
    assert verdict["decided"] == min(quantity["decided"] for quantity in verdict["quantities"].values()) >= 2
    assert verdict["agrees"] is (status == 0) is (not disagreeing)
    assert status in (0, 1)
    assert verdict["quantities"].keys() == {key.partition("/")[0] for key in candidate}
    for name, quantity in verdict["quantities"].items():
        assert quantity.keys() == {"agrees", "digits", "required_digits", "worst_tensor", "decided"}
        assert quantity["agrees"] is (name not in disagreeing)
        assert quantity["agrees"] is (quantity["digits"] >= quantity["required_digits"])
        assert name == quantity["worst_tensor"] or f"{name}/{quantity['worst_tensor']}" in candidate
    assert all(explanation.keys() == {"name", "explains", "digits"} for explanation in verdict["diagnosis"])
    if bugs is not None:
        assert [explanation["name"] for explanation in verdict["diagnosis"]] == bugs


def test_a_candidate_of_which_nothing_is_decided_gives_status_3_and_null(capsys: pytest.CaptureFixture[str]) -> None:
    zeros = {key: 0 * a.astype(np.float32) for key, a in oracle.load("mlp-offset-inputs").outputs.items()}
    np.savez("candidate.npz", **zeros)
    assert run("verify", "mlp-offset-inputs", "candidate.npz", "--json", "verdict.json") == 3
    assert capsys.readouterr().out.startswith("mlp-offset-inputs: CANNOT TELL (decided: at least 0.0 digits)\n")
    verdict = json.loads(Path("verdict.json").read_text(encoding="utf-8"))
    assert (verdict["agrees"], verdict["decided"], verdict["diagnosis"]) == (None, 0.0, [])
    assert [quantity["agrees"] for quantity in verdict["quantities"].values()] == 6 * [None]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
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
    assert {path.name for path in out.iterdir()} == {"index.json", *(f"{name}.npz" for name in names)}
    for name in names:
        oracle.assert_agrees(out / f"{name}.npz", oracle.load(name).outputs)
