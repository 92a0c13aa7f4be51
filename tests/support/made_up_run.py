"""Makes up a run from a fixed seed, for the tests of what reads and draws runs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lie_ref.experiment.reading import EVALUATION, SUMMARY, SWAPS, VIEWS
from lie_ref.images.labels import HAIR

ALL_STEPS = (0, 10, 30, 100, 200, 400, 600, 1000, 1500, 2000, 3000, 4000, 5000)
HOSTILE = '<script>alert("&")</script>'
ATTRIBUTES = [*HAIR, HOSTILE, *(f"Attribute_{k}" for k in range(35))]
PAIRS = list(itertools.combinations(range(6), 2))
TENSORS = 20
EPSILONS = np.array([1e-4, 1e-3, 1e-2, 1e-1, 0.5, 1.0])
PASSES = [
    {"network": network, "mini_batches": k, "epsilon": epsilon, "cosine": cosines, "ratio": ratios}
    for network in ("as trained", HOSTILE)
    for k, cosines, ratios in ((2, [0.5], [2.0]), (4, [0.5, 0.75, None], [2.0, 2.0, None]))
    for epsilon in (0.1, 1e-5)
]


def make_view(rng: np.random.Generator, inputs: int) -> dict[str, np.ndarray]:
    """Made-up arrays of one view: brackets that follow the gradients and change some logits more than others."""
    rms_gradient = 10 ** rng.uniform(-5, -1, (1, TENSORS)) * rng.uniform(0.5, 2, (6, TENSORS))
    squares = rms_gradient[np.array(PAIRS)] ** 2
    return {
        "norm": rng.uniform(0.1, 9, len(PAIRS)),
        "logit_delta": rng.normal(size=(len(PAIRS), inputs, 40)) * 10 ** rng.normal(-2, 0.5, (len(PAIRS), 1, 40)),
        "rms_gradient": rms_gradient,
        "rms_bracket": 3 * np.sqrt(squares.mean(axis=1)) * 10 ** rng.normal(0, 0.2, (len(PAIRS), TENSORS)),
    }


def make_checkpoint(step: int, rng: np.random.Generator, images: np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
    """A made-up entry of summary.json and the arrays of its evaluation file."""
    plain = make_view(rng, len(images))
    further = [view for view in VIEWS[1:] if step or view == "momentum"]  # no preconditioner before the first step
    order = np.argsort(-np.abs(plain["logit_delta"]).mean(axis=(0, 1)))
    rank = {ATTRIBUTES[k]: position for position, k in enumerate(order, start=1)}
    loss = 0.2 + 0.5 * float(np.exp(-step / 500))
    corners = np.array([(1.0, 0.0), (1.4, 1.0), (0.5, 1.2), (1.5, 1.1)]) * rng.uniform(1, 2, (len(PAIRS), 1, 1, 1))
    corners = corners + EPSILONS[:, None, None] * rng.normal(0, 0.2, (4, 2))
    corners[:, -1] = np.nan  # where steps of a large ε lead to no number
    point = {
        "step": step,
        "train": {"loss": loss, "accuracy": 0.8125, "images": 512},
        "validation": {"loss": loss + 0.02, "accuracy": 0.8025, "images": 256},
        "brackets": [
            {"pair": list(pair), "norm": float(norm), "correlation": 0.95, "constant": float(c), "tensors": TENSORS}
            for pair, norm, c in zip(PAIRS, plain["norm"], rng.uniform(2, 4, 15), strict=True)
        ],
        "mean_correlation": 0.953,
        "attributes": [{"name": name, "rank": k, "mean_abs_logit_change": 0.5} for name, k in rank.items()],
        "hair_ranks": {name: rank[name] for name in HAIR},
        "expansion": {
            "epsilon": [1e-4, 1e-3, 1e-2, 1e-1, 0.5],
            "errors": [[0.01, 0.08, 0.3, None, None], [0.02, 0.09, 0.4, 2.0, 4.0], [0.001, 0.01, 0.02, 0.2, 3.0]],
            "reach": [1e-4, 3e-5, 1e-3],
            "error": [0.2, 0.4, 0.3],
        },
        "checks": {
            "hvp_modes": 2.1e-15,
            "richardson": 3.4e-10,
            "order_swap": {"observed_order": 1.002},
            "swaps": {name: {"observed_order": 0.997} for name in SWAPS if step or name != "preconditioned"},
        },
    }
    evaluation = {
        "format": np.array(EVALUATION),
        "step": np.array(step),
        "pairs": np.array(PAIRS),
        "x": images,
        "y": (np.arange(len(images) * 40).reshape(len(images), 40) % 3 == 0).astype(float),
        "logits": rng.normal(size=(len(images), 40)),
        "loss": rng.uniform(size=len(images)),
        **plain,
        "views": np.array(further),
        **{f"{name}/{view}": array for view in further for name, array in make_view(rng, len(images)).items()},
        "tensor_sizes": np.arange(1, TENSORS + 1),
        "rms_shuffled": 10 ** rng.uniform(-6, 0, (len(PAIRS), TENSORS)),
        "square_epsilon": EPSILONS,
        "square_corners": corners,
        "square_gap": np.linalg.norm(corners[:, :, 1] - corners[:, :, 3], axis=-1),
        "tensor_names": np.array(["</script><b>", "<!--<script>", *(f"{k}.weight" for k in range(2, TENSORS))]),
    }
    return point, evaluation


def make_run(run: Path, steps: tuple[int, ...] = (0, 100), images: np.ndarray | None = None) -> Path:
    """A made-up run with checkpoints at `steps`, complete except for the parameters of its checkpoints."""
    rng = np.random.default_rng(7)
    images = rng.uniform(-1, 1, (32, 3, 16, 16)) if images is None else images
    (run / "evaluation").mkdir(parents=True)
    points = []
    for step in steps:
        point, evaluation = make_checkpoint(step, rng, images)
        points.append(point)
        np.savez(run / "evaluation" / f"step_{step:06d}.npz", **evaluation)
    summary = {
        "format": SUMMARY,
        "dataset": "made-up faces",
        "preset": "mxresnet-tiny",
        "steps": steps[-1],
        "seed": 3,
        "parameters": 83280,
        "attributes": ATTRIBUTES,
        "rms_gradient": "the root mean square of both examples’ RMS gradients, for each tensor",
        "checkpoints": points,
        "passes": PASSES,
    }
    (run / "summary.json").write_text(json.dumps(summary))
    (run / "config.json").write_text(json.dumps({"preset": "mxresnet-tiny", "out": HOSTILE, "lr": 0.5, "celeba": None}))
    losses = (0.25 + 0.5 * np.exp(-np.arange(steps[-1]) / 500)) * rng.lognormal(0, 0.1, steps[-1])
    rows = [f"{step},{loss}" for step, loss in enumerate(losses, 1)]
    (run / "log.csv").write_text("\n".join(["step,loss", *rows, ""]))
    return run


def edit_summary(run: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    """The run, after `edit` has changed the contents of its summary.json."""
    summary = json.loads((run / "summary.json").read_text())
    edit(summary)
    (run / "summary.json").write_text(json.dumps(summary))
    return run


def edit_evaluation(path: Path, **changes: np.ndarray | None) -> None:
    """Replace arrays of an evaluation file, or leave those out that are None."""
    with np.load(path) as file:
        arrays = {**dict(file), **changes}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
