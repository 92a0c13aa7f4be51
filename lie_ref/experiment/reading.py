"""Reads the files of a run.  Whatever is missing or wrong in them becomes one line that names the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from ..core.types import Arrays
from ..images.labels import HAIR
from ..machine.errors import InputError
from ..machine.files import first_line, read_npz

SUMMARY, EVALUATION = "lie-ref-run/1", "lie-ref-evaluation/3"  # the formats of the files
VIEWS = ("plain", "preconditioned", "momentum")  # the steps that are swapped; every evaluation has the first view
SWAPS = ("preconditioned", "sgd-momentum", "adam")  # the optimizers under which swaps are carried out
_ARRAYS = ("norm", "logit_delta", "rms_gradient", "rms_bracket")  # of each view


@dataclass(frozen=True)
class RunFiles:
    """The contents of a run's folder.

    The rows of `log` are (step, loss); a loss may be nan or inf.  `evaluations` has the arrays of each checkpoint.
    """

    config: dict[str, Any]
    summary: dict[str, Any]
    log: np.ndarray
    evaluations: list[Arrays]


@contextmanager
def readable(place: Path | str) -> Iterator[None]:
    """Turn every error into an InputError that names the file or folder `place`, and what is missing or wrong in it."""
    try:
        yield
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{place}: cannot be read ({error.strerror})") from error
    except Exception as error:  # a file that someone has edited can be wrong in any way
        reason = f"{error} is missing" if isinstance(error, KeyError) else first_line(error)
        raise InputError(f"{place}: cannot be read ({reason})") from error


def read_run(run: Path) -> RunFiles:
    """Read the folder of a finished run.  Raises InputError if a file is missing or damaged, or not of this run."""
    config, summary, path = _read_json(run / "config.json"), _read_json(run / "summary.json"), run / "summary.json"
    with readable(path):
        if summary["format"] != SUMMARY:
            raise InputError(f"{path}: expected format {SUMMARY}, found {str(summary['format'])[:40]!a}")
        points = {run / "evaluation" / f"step_{point['step']:06d}.npz": point for point in summary["checkpoints"]}
        log = _read_log(run / "log.csv", summary["checkpoints"][-1]["step"])
    evaluations: list[Arrays] = []
    for path, point in points.items():
        evaluations.append(read_evaluation(path, point["step"]))
        with readable(path):
            pairs = np.array([bracket["pair"] for bracket in point["brackets"]])
            expected: Arrays = evaluations[0] | {"pairs": pairs}
            for name in ("pairs", "x", "y"):
                if not np.array_equal(evaluations[-1][name], expected[name]):
                    raise InputError(f"{path}: {name} differs from the other files of the run")
    return RunFiles(config, summary, log, evaluations)


def views(evaluation: Arrays) -> dict[str, Arrays]:
    """The views of an evaluation: name → its `norm`, `logit_delta`, `rms_gradient` and `rms_bracket`."""
    suffixes = {VIEWS[0]: ""} | {name: f"/{name}" for name in evaluation["views"].tolist()}
    return {view: {name: evaluation[name + suffix] for name in _ARRAYS} for view, suffix in suffixes.items()}


def read_evaluation(path: Path, step: int) -> Arrays:
    """The arrays of an evaluation file.  Raises InputError, which names it, for another version or another step."""
    arrays = read_npz(path)
    for name, expected in (("format", EVALUATION), ("step", str(step))):
        found = str(arrays.get(name, "none"))
        if found != expected:
            raise InputError(f"{path}: expected {name} {expected}, found {found[:40]!a}; delete it and resume the run")
    return arrays


def read_shares(path: Path) -> dict[str, Any]:
    """The `summary.json` of a run.  Raises InputError, which names it, if it lacks the shares of hair."""
    summary: dict[str, Any] = _read_json(path)
    with readable(path):
        for k, point in enumerate(summary["checkpoints"]):
            with readable(f"{path}: checkpoints[{k}]"):
                itemgetter("step")(point), itemgetter(*HAIR)(point["hair_shares"]["probabilities"])
    return summary


def read_passes(path: Path) -> list[dict[str, Any]]:
    """The passes in other orders from `passes.json`.  Raises InputError, which names it, if it is damaged."""
    passes: list[dict[str, Any]] = _read_json(path)
    with readable(path):
        for entry in passes:
            itemgetter("network", "mini_batches", "epsilon", "cosine", "ratio")(entry)
    return passes


def _read_json(path: Path) -> Any:
    with readable(path):
        return json.loads(path.read_text(encoding="utf-8"))


def _read_log(path: Path, steps: int) -> np.ndarray:
    """The rows of `log.csv`: every step from 1 to at least `steps`."""
    with readable(path):
        header, *rows = path.read_text(encoding="utf-8").splitlines() or [""]
        log = np.array([row.split(",") for row in rows], float).reshape(len(rows), 2)
        if header != "step,loss" or len(log) < steps or (log[:, 0] != np.arange(1, len(log) + 1)).any():
            raise InputError(f"{path}: expected the header step,loss and every step from 1 to {steps}, one a line")
    return log
