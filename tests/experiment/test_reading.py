"""Reading the files of a run: what is right comes back, what is wrong is named."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_run import FINDINGS, PAIRS, TENSORS, edit_evaluation, edited, make_run

from lie_ref.experiment.reading import read_run, views
from lie_ref.machine.errors import InputError


def test_a_whole_run_comes_back_as_it_was_written(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    files = read_run(run)
    assert files.config == json.loads((run / "config.json").read_text())
    assert files.summary == json.loads((run / "summary.json").read_text())
    np.testing.assert_array_equal(files.log[:, 0], np.arange(1, 101))
    assert files.log[6, 1] == float((run / "log.csv").read_text().splitlines()[7].split(",")[1])
    for evaluation, step in zip(files.evaluations, (0, 100), strict=True):
        with np.load(run / "evaluation" / f"step_{step:06d}.npz") as written:
            for name in ("pairs", "x", "y", "logits", "norm", "logit_delta", "rms_gradient", "rms_bracket"):
                np.testing.assert_array_equal(evaluation[name], written[name])


def test_a_checkpoint_has_the_plain_view_and_those_it_names(tmp_path: Path) -> None:
    first, final = map(views, read_run(make_run(tmp_path / "run")).evaluations)
    assert list(first) == ["plain", "momentum"]
    assert list(final) == ["plain", "preconditioned", "momentum"]
    with np.load(tmp_path / "run" / "evaluation" / "step_000100.npz") as written:
        for name, array in final["preconditioned"].items():
            np.testing.assert_array_equal(array, written[f"{name}/preconditioned"])
        np.testing.assert_array_equal(final["plain"]["norm"], written["norm"])


@pytest.mark.parametrize("name", ["config.json", "log.csv", "summary.json", "evaluation/step_000100.npz"])
@pytest.mark.parametrize("damage", ["missing", "cut short", "binary"])
def test_a_missing_or_damaged_file_is_named(tmp_path: Path, name: str, damage: str) -> None:
    run = make_run(tmp_path / "run")
    path = run / name
    content = path.read_bytes()
    path.unlink()
    if damage == "cut short":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "binary":
        path.write_bytes(b"\xff\xfe\x00" + content[3:])
    with pytest.raises(InputError, match=re.escape(str(path))) as caught:
        read_run(run)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean_correlation": float("nan")}, r"checkpoints\[0\]: mean_correlation: found NaN, expected number or null"),
        ({"step": "0"}, r'checkpoints\[0\]: step: found "0", expected integer'),
        ({"train": {"loss": 1}}, r"checkpoints\[0\]: train: accuracy is missing"),
        ({"brackets": {}}, r"checkpoints\[0\]: brackets: found \{\}, expected a list"),
        ({"checks": 3}, r"checkpoints\[0\]: checks: found 3, expected an object"),
        ({"brackets": []}, r"at least one bracket was expected"),
        ({"step": 5}, r"step_000005.npz: no such file"),
        ({"checks": {"hvp_modes": 0, "richardson": 0, "order_swap": {}}}, r"order_swap: observed_order is missing"),
    ],
)
def test_a_wrong_value_in_the_summary_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_run(edited(make_run(tmp_path / "run"), **changes))


@pytest.mark.parametrize(
    ("swaps", "message"),
    [
        ({"adam": {"observed_order": "1"}}, r'checks: swaps: adam: observed_order: found "1", expected number or null'),
        ({"preconditioned": 1}, r"checks: swaps: preconditioned: found 1, expected an object"),
        ([], r"checks: swaps: found \[\], expected an object"),
    ],
)
def test_a_wrong_swap_is_named_and_a_missing_one_is_not(tmp_path: Path, swaps: Any, message: str) -> None:
    checks = {"hvp_modes": 0.0, "richardson": 0.0, "order_swap": {"observed_order": None}}
    run = edited(make_run(tmp_path / "run"), checks={**checks, "swaps": {}})
    read_run(run)
    with pytest.raises(InputError, match=message):
        read_run(edited(run, checks={**checks, "swaps": swaps}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"verdict": "maybe"}, 'verdict: found "maybe", expected holds, fails or undecided'),
        ({"verdict": ["holds"]}, 'verdict: found ["holds"], expected holds, fails or undecided'),
        ({"low": "0.9"}, 'low: found "0.9", expected number or null'),
        ({"claim": None}, "claim: found null, expected text"),
        ({"runs": 1.5}, "runs: found 1.5, expected integer"),
    ],
)
def test_a_wrong_finding_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    run = make_run(tmp_path / "run")
    summary = json.loads((run / "summary.json").read_text())
    summary["findings"] = [FINDINGS[0], FINDINGS[1] | changes]
    (run / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(InputError, match=re.escape(f"summary.json: findings[1]: {message}")):
        read_run(run)


def test_another_format_of_the_summary_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    text = (run / "summary.json").read_text()
    (run / "summary.json").write_text(text.replace("lie-ref-run/1", "lie-ref-run/9"))
    with pytest.raises(InputError, match="format is 'lie-ref-run/9', expected 'lie-ref-run/1'"):
        read_run(run)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["loss,step"], "log.csv:1: expected the header step,loss"),
        (["step,loss", "1,0.5", "2"], "log.csv:3: found '2', expected step,loss"),
        (["step,loss", "1,0.5", "2,half"], "log.csv:3: found '2,half', expected step,loss"),
        (["step,loss", "1,0.5", "3,0.5"], "log.csv:3: found step 3, expected steps one after the other"),
        (["step,loss", "1,0.5", "2,0.5"], "log.csv: holds 2 steps, expected at least 100"),
    ],
)
def test_a_wrong_line_of_the_log_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    run = make_run(tmp_path / "run")
    (run / "log.csv").write_text("\n".join(lines))
    with pytest.raises(InputError, match=re.escape(message)):
        read_run(run)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": np.array(PAIRS)[::-1]}, "pairs are not those of summary.json"),
        ({"x": np.zeros((32, 1, 8, 8))}, "x has shape (32, 1, 8, 8), expected (32, 3, 8, 8)"),
        ({"pairs": np.array(PAIRS) + 1}, "pairs are not those of summary.json"),
        ({"x": np.zeros(4)}, "expected four and two axes"),
        ({"logit_delta": np.zeros((15, 32, 39))}, "logit_delta has shape (15, 32, 39), expected (15, 32, 40)"),
        ({"rms_bracket": np.full((15, TENSORS), np.nan)}, "rms_bracket (float64) holds values that are not finite"),
        ({"rms_gradient": None}, "array rms_gradient is missing"),
        ({"rms_gradient": np.ones((5, TENSORS)), "views": np.array([], str)}, "pairs name examples that rms_gradient"),
        ({"norm": np.zeros(14)}, "norm has shape (14,), expected (15,)"),
        ({"logits": np.zeros((32, 39))}, "logits has shape (32, 39), expected (32, 40)"),
        ({"y": None}, "array y is missing"),
        ({"tensor_names": np.array(["0.weight"])}, f"tensor_names are not {TENSORS} texts"),
        ({"tensor_names": np.arange(TENSORS)}, f"tensor_names are not {TENSORS} texts"),
        ({"views": None}, "array views is missing"),
        (
            {"views": np.array(["momentum", "preconditioned"])},
            "expected some of preconditioned, momentum, in",
        ),
        ({"views": np.array(["adam"])}, "views are ['adam'], expected some of"),
        ({"norm/momentum": None}, "array norm/momentum is missing"),
        ({"rms_bracket/momentum": np.zeros((15, 2))}, "rms_bracket/momentum has shape (15, 2), expected (15, 20)"),
        ({"logit_delta/preconditioned": np.full((15, 32, 40), np.inf)}, "logit_delta/preconditioned (float64) holds"),
        ({"x": np.zeros((32, 3, 16, 16))}, "x is not that of"),
        ({"y": np.ones((32, 40))}, "y is not that of"),
    ],
)
def test_a_wrong_array_of_an_evaluation_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    run = make_run(tmp_path / "run")
    path = run / "evaluation" / "step_000100.npz"
    edit_evaluation(path, **changes)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        read_run(run)
    assert str(path) in str(caught.value)
