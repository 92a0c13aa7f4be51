"""Reads the files of a run.  An error in any of them becomes one line that names the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from ..core.types import Arrays
from ..machine.errors import InputError
from ..machine.files import first_line, read_json, read_npz, read_text

# The formats of the files
SUMMARY, EVALUATION, SAMPLE = "lie-ref-run/2", "lie-ref-evaluation/5", "lie-ref-sample/1"
VIEWS = ("plain", "preconditioned", "momentum")  # the steps that are swapped; every evaluation has the first view
# The optimizers under which swaps are carried out: name → words
SWAPS = {"preconditioned": "Adam’s preconditioner", "sgd-momentum": "SGD with momentum", "adam": "Adam"}


@dataclass(frozen=True)
class RunFiles:
    """The contents of a run's folder.

    The rows of `log` are (step, loss); a loss may be nan or inf.  `evaluations` has the arrays of each step.
    """

    folder: Path
    config: dict[str, Any]
    summary: dict[str, Any]
    log: np.ndarray
    evaluations: dict[int, Arrays]


@contextmanager
def readable(place: Path | str) -> Iterator[None]:
    """Turn every error into an InputError that names the file `place` and says what is missing or wrong in it."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # a file that someone has edited can be wrong in any way
        reason = f"{error} is missing" if isinstance(error, KeyError) else first_line(error)
        raise InputError(f"{place}: cannot be read ({getattr(error, 'strerror', None) or reason})") from error


def read_run(run: Path) -> RunFiles:
    """Read the folder of a finished run.  Raises InputError if a file is missing or damaged, or not of this run."""
    with readable(run / "config.json"):
        config = dict(read_json(run / "config.json"))
    with readable(run / "summary.json"):
        summary = dict(read_json(run / "summary.json"))
        if summary["format"] != SUMMARY:
            raise ValueError(f"expected format {SUMMARY}, found {str(summary['format'])[:40]!a}")
        pairs = {p["step"]: [bracket["pair"] for bracket in p["brackets"]] for p in summary["checkpoints"]}
        log = _read_log(run / "log.csv", max(pairs))
        evaluations = {step: read_evaluation(evaluation_path(run, step), step) for step in pairs}
    for step, found in evaluations.items():
        with readable(evaluation_path(run, step)):
            common = {name: evaluations[min(pairs)][name] for name in ("x", "y")} | {"pairs": np.array(pairs[step])}
            for name, array in found.items():
                if name in common and not np.array_equal(array, common[name]):
                    raise ValueError(f"{name} differs from the other files of the run")
                leaves_bounds = name.startswith("square_")  # steps of a large ε may lead anywhere
                if array.dtype.kind == "f" and not leaves_bounds and not np.isfinite(array).all():
                    raise ValueError(f"{name} has a value that is not finite")
    return RunFiles(run, config, summary, log, evaluations)


def evaluation_path(run: Path, step: int) -> Path:
    """The file with the arrays of a checkpoint."""
    return run / "evaluation" / f"step_{step:06d}.npz"


def views(evaluation: Arrays) -> dict[str, Arrays]:
    """The views of an evaluation: name → its `norm`, `logit_delta`, `rms_gradient` and `rms_bracket`."""
    suffixes = {VIEWS[0]: ""} | {name: f"/{name}" for name in evaluation["views"].tolist()}
    names = ("norm", "logit_delta", "rms_gradient", "rms_bracket")
    return {view: {name: evaluation[name + suffix] for name in names} for view, suffix in suffixes.items()}


def read_evaluation(path: Path, step: int) -> Arrays:
    """The arrays of an evaluation file.  Raises InputError, which names it, for another version or another step."""
    arrays = read_npz(path)
    for name, expected in (("format", EVALUATION), ("step", str(step))):
        found = str(arrays.get(name, "none"))
        if found != expected:
            raise InputError(f"{path}: expected {name} {expected}, found {found[:40]!a}; delete it and resume the run")
    return arrays


def read_sample(path: Path) -> Arrays:
    """The arrays of a sample file.  Raises InputError, which names it, if it is damaged or of another version."""
    arrays = read_npz(path)
    found = str(arrays.get("format", "none"))
    if found != SAMPLE:
        raise InputError(f"{path}: expected format {SAMPLE}, found {found[:40]!a}; delete it and resume the study")
    return arrays


def read_orders(path: Path) -> list[dict[str, Any]]:
    """The trials of a file in `orders/`.  Raises InputError, which names it, if it is damaged."""
    keys = ("step", "kind", "optimizer", "epsilon", "predicted", "real")
    with readable(path):
        found = [dict(entry) for entry in read_json(path)]
        for entry in found:
            itemgetter(*keys)(entry), (itemgetter("best", "reverse")(entry) if entry["kind"] == "passes" else None)
        return found


def read_passes(path: Path) -> list[dict[str, Any]]:
    """The passes in other orders from `passes.json`.  Raises InputError, which names it, if it is damaged."""
    keys = ("network", "mini_batches", "epsilon", "cosine", "ratio")
    with readable(path):
        return [{key: entry[key] for key in keys} for entry in read_json(path)]


def _read_log(path: Path, steps: int) -> np.ndarray:
    """The rows of `log.csv`: every step from 1 to at least `steps`."""
    with readable(path):
        header, *rows = read_text(path).splitlines() or [""]
        log = np.array([row.split(",") for row in rows], float).reshape(len(rows), 2)
        if header != "step,loss" or len(log) < steps or (log[:, 0] != np.arange(1, len(log) + 1)).any():
            raise ValueError(f"expected the header step,loss and every step from 1 to {steps}, one a line")
        return log
