"""Reads the files of a run and checks that they are whole and belong together."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.types import Arrays
from ..images.labels import HAIR
from ..machine.errors import InputError
from ..machine.files import read_npz

EVALUATION = "lie-ref-evaluation/2"
VIEWS = ("plain", "preconditioned", "momentum")  # the fields or steps that are swapped; the first is always there
_VIEW = ("norm", "logit_delta", "rms_gradient", "rms_bracket")  # the arrays of each view
SWAPS = ("preconditioned", "sgd-momentum", "adam")  # the optimizers with which swaps are really carried out

# What is needed of summary.json: a leaf names one of _LEAVES, a list holds the shape of each of its items, and
# a key that ends in ? may be missing.
_SCORE = {"loss": "number", "accuracy": "number", "images": "integer"}
_BRACKET = {"pair": ["integer"], "norm": "number", "correlation": "number or null", "constant": "number or null"}
_SWAP = {"observed_order": "number or null"}
_CHECKPOINT = {
    "step": "integer",
    "train": _SCORE,
    "validation": _SCORE,
    "brackets": [_BRACKET],
    "mean_correlation": "number or null",
    "attributes": [{"name": "text"}],
    "hair_ranks": dict.fromkeys(HAIR, "integer"),
    "checks": {
        "hvp_modes": "number or null",
        "richardson": "number or null",
        "order_swap": _SWAP,
        "swaps": {f"{name}?": _SWAP for name in SWAPS},
    },
}
_SHARES = {"checkpoints": [{"step": "integer", "hair_shares": {"probabilities": dict.fromkeys(HAIR, "number")}}]}
_FINDING = {
    **dict.fromkeys(("id", "claim", "statistic", "note"), "text"),
    **dict.fromkeys(("value", "low", "high"), "number or null"),
    "verdict": "holds, fails or undecided",
    "runs": "integer",
}
_PASS = {
    "network": "text",
    "mini_batches": "integer",
    "epsilon": "number",
    "cosine": ["number or null"],
    "ratio": ["number or null"],
}
_SUMMARY = {
    "format": "text",
    "dataset": "text",
    "preset": "text",
    "steps": "integer",
    "seed": "integer",
    "parameters": "integer",
    "attributes": ["text"],
    "rms_gradient": "text",
    "checkpoints": [_CHECKPOINT],
    "findings": [_FINDING],
    "passes": [_PASS],
}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


_LEAVES = {
    "text": lambda value: isinstance(value, str),
    "holds, fails or undecided": lambda value: value in ("holds", "fails", "undecided"),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": _is_number,
    "number or null": lambda value: value is None or _is_number(value),
}


@dataclass(frozen=True)
class RunFiles:
    """What a run's folder holds.

    `config` and `summary` are the JSON objects; `log` is float64 (steps, 2), its rows (step, loss), where a loss may be
    nan or inf; `evaluations` holds, for each checkpoint of the summary, the arrays of its file in `evaluation/`, with
    their shapes agreeing with each other and with the summary, and x and y the same in all.
    """

    config: dict[str, Any]
    summary: dict[str, Any]
    log: np.ndarray
    evaluations: list[Arrays]


def views(evaluation: Arrays) -> dict[str, Arrays]:
    """The views that an evaluation has: name → its `norm`, `logit_delta`, `rms_gradient` and `rms_bracket`."""
    suffixes = {VIEWS[0]: ""} | {name: f"/{name}" for name in evaluation["views"].tolist()}
    return {view: {name: evaluation[name + suffix] for name in _VIEW} for view, suffix in suffixes.items()}


def read_run(run: Path) -> RunFiles:
    """Read the folder `run` of one finished run. Raises InputError when a file is missing or damaged."""
    config = _read_json(run / "config.json", {})
    summary = _read_json(run / "summary.json", _SUMMARY)
    if summary["format"] != "lie-ref-run/1":
        raise InputError(f"{run / 'summary.json'}: format is {summary['format']!r}, expected 'lie-ref-run/1'")
    points = summary["checkpoints"]
    if not points or not all(point["brackets"] for point in points):
        raise InputError(f"{run / 'summary.json'}: a checkpoint with at least one bracket was expected, found none")
    log = _read_log(run / "log.csv")
    if len(log) < points[-1]["step"]:
        raise InputError(f"{run / 'log.csv'}: holds {len(log)} steps, expected at least {points[-1]['step']}")
    evaluations = [_read_evaluation(_evaluation(run, point), point, summary["attributes"]) for point in points]
    for point, evaluation in zip(points, evaluations, strict=True):
        for name in ("x", "y"):
            if not np.array_equal(evaluation[name], evaluations[0][name]):
                raise InputError(f"{_evaluation(run, point)}: {name} is not that of {_evaluation(run, points[0])}")
    return RunFiles(config, summary, log, evaluations)


def read_shares(path: Path) -> dict[str, Any]:
    """The `summary.json` of a run of which hair's shares are wanted; InputError, naming it, if it has none."""
    shares: dict[str, Any] = _read_json(path, _SHARES)
    return shares


def read_passes(path: Path) -> list[dict[str, Any]]:
    """The passes in other orders of `passes.json`; InputError, naming it, if it is damaged or holds anything else."""
    passes: list[dict[str, Any]] = _read_json(path, [_PASS])
    return passes


def _read_json(path: Path, shape: Any) -> Any:
    try:
        value = json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: is not JSON ({error})") from error
    _check(value, shape, str(path))
    return value


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not text ({error})") from error


def _check(value: Any, shape: Any, place: str) -> None:
    """Raise InputError, saying which place, unless the JSON `value` has `shape` (a leaf, a list or required keys)."""
    if isinstance(shape, str):
        if not _LEAVES[shape](value):
            raise InputError(f"{place}: found {json.dumps(value)[:40]}, expected {shape}")
    elif not isinstance(value, type(shape)):
        kind = "a list" if isinstance(shape, list) else "an object"
        raise InputError(f"{place}: found {json.dumps(value)[:40]}, expected {kind}")
    elif isinstance(shape, list):
        for k, item in enumerate(value):
            _check(item, shape[0], f"{place}[{k}]")
    else:
        for key, inner in shape.items():
            name = key.removesuffix("?")
            if name in value:
                _check(value[name], inner, f"{place}: {name}")
            elif name == key:
                raise InputError(f"{place}: {name} is missing")


def _read_log(path: Path) -> np.ndarray:
    header, *rows = _read_text(path).splitlines() or [""]
    if header != "step,loss":
        raise InputError(f"{path}:1: expected the header step,loss")
    values = np.empty((len(rows), 2))
    for k, row in enumerate(rows):
        try:
            step, loss = row.split(",")
            values[k] = int(step), float(loss)
        except ValueError as error:
            raise InputError(f"{path}:{k + 2}: found {row[:40]!r}, expected step,loss") from error
        if values[k, 0] != k + 1:
            raise InputError(f"{path}:{k + 2}: found step {step}, expected steps one after the other")
    return values


def read_evaluation(path: Path, step: int) -> Arrays:
    """The arrays of an evaluation file; InputError, naming it, if it is of another version or another step."""
    arrays = read_npz(path)
    for name, expected in (("format", EVALUATION), ("step", str(step))):
        found = str(arrays.get(name, "none"))
        if found != expected:
            raise InputError(f"{path}: expected {name} {expected}, found {found[:40]!a}; delete it and resume the run")
    return arrays


def _evaluation(run: Path, point: dict[str, Any]) -> Path:
    return run / "evaluation" / f"step_{point['step']:06d}.npz"


def _read_evaluation(path: Path, point: dict[str, Any], attributes: list[str]) -> Arrays:
    arrays = read_evaluation(path, point["step"])
    further = _further_views(path, arrays)
    names = [f"{name}/{view}" for view in further for name in _VIEW]
    _check_present(path, arrays, {"pairs", "x", "y", "logits", "tensor_names", *_VIEW, *names})
    if arrays["x"].ndim != 4 or arrays["rms_gradient"].ndim != 2:
        found = f"{arrays['x'].shape} and {arrays['rms_gradient'].shape}"
        raise InputError(f"{path}: x and rms_gradient have shapes {found}, expected four and two axes")
    (inputs, _, *size), (examples, tensors) = arrays["x"].shape, arrays["rms_gradient"].shape
    pairs = len(point["brackets"])
    view = {
        "norm": (pairs,),
        "logit_delta": (pairs, inputs, len(attributes)),
        "rms_gradient": (examples, tensors),
        "rms_bracket": (pairs, tensors),
    }
    expected = {
        "x": (inputs, 3, *size),
        "y": (inputs, len(attributes)),
        "logits": (inputs, len(attributes)),
        "pairs": (pairs, 2),
        **view,
        **{f"{name}/{other}": shape for other in further for name, shape in view.items()},
    }
    for name, shape in expected.items():
        if arrays[name].shape != shape or 0 in shape:
            raise InputError(f"{path}: {name} has shape {arrays[name].shape}, expected {shape} without a 0")
        if arrays[name].dtype.kind not in "iuf" or not np.isfinite(arrays[name]).all():
            raise InputError(f"{path}: {name} ({arrays[name].dtype}) holds values that are not finite numbers")
    if arrays["tensor_names"].shape != (tensors,) or arrays["tensor_names"].dtype.kind != "U":
        raise InputError(f"{path}: tensor_names are not {tensors} texts, one for each tensor of rms_gradient")
    if arrays["pairs"].tolist() != [bracket["pair"] for bracket in point["brackets"]]:
        raise InputError(f"{path}: pairs are not those of summary.json")
    if not 0 <= arrays["pairs"].min() <= arrays["pairs"].max() < min(examples, inputs):
        raise InputError(f"{path}: pairs name examples that rms_gradient or x does not have")
    return arrays


def _further_views(path: Path, arrays: Arrays) -> list[str]:
    _check_present(path, arrays, {"views"})
    found = arrays["views"].tolist()
    if arrays["views"].ndim != 1 or found != [view for view in VIEWS[1:] if view in found]:
        raise InputError(f"{path}: views are {str(found)[:40]}, expected some of {', '.join(VIEWS[1:])}, in this order")
    return found


def _check_present(path: Path, arrays: Arrays, names: set[str]) -> None:
    missing = names - arrays.keys()
    if missing:
        raise InputError(f"{path}: array {min(missing)} is missing")
