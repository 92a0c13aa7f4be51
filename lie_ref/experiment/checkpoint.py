"""Examines a checkpoint: its brackets, what they move, what Adam would make of them, and whether all of it is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ..core.layers import Shapes
from ..core.losses import LossFunction, attribute_probabilities
from ..core.networks import Arrays, Model, with_average_pool
from ..core.optimizers import AdamState, FixedPreconditioner, Optimizer
from ..fast.engine import logits
from ..images.dataset import Dataset
from ..machine.files import to_json
from ..measure.crosschecks import check_bracket, check_swaps, mini_batch_error
from ..measure.evaluation import evaluate, evaluate_swaps, shuffled_brackets
from ..measure.pass_order import compare_passes
from .reading import EVALUATION
from .settings import Settings
from .statistics import beats_majority, checkpoint_findings, evaluation_shares, swap_findings

INPUTS, EXAMPLES = 32, 6  # test examples whose logits are watched, and those among which brackets are taken
SCORED = 1000  # images of each split, the first ones, on which loss and accuracy are measured
MINI_BATCHES = 8  # of a pass whose order is changed
EPSILONS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-7)  # SGD's learning rates there


def examine(settings: Settings, model: Model, dataset: Dataset, state: Arrays) -> Arrays:
    """The arrays of an evaluation file, among them its findings as JSON, from those of the checkpoint."""
    step = int(state["counters"][0])
    params, buffers, adam = _in_double(settings, model, state)
    network, loss = (model, params, buffers), settings.loss(dataset.attributes)
    x, y = dataset.batch(dataset.indices("test")[:INPUTS], np.float64)
    evaluation = evaluate(*network, x, y, EXAMPLES, loss)
    shuffled = shuffled_brackets(*network, x, y, evaluation, step, loss)
    first = {name: b[0] for name, b in evaluation.brackets.items()}
    pair = evaluation.pairs[0].tolist()
    x_two, y_two = (a[:8].reshape(2, 4, *a.shape[1:]) for a in (x, y))  # two mini-batches
    exclusive = settings.exclusive(dataset.attributes)
    optimizers: dict[str, tuple[Optimizer, int]] = {"momentum": (adam, 1)}
    if step:  # before, Adam has no preconditioner
        optimizers = {"preconditioned": (FixedPreconditioner(adam.preconditioner()), 2), **optimizers}
    views = {
        view: evaluate_swaps(*network, x, y, optimizer, order, EXAMPLES, loss)
        for view, (optimizer, order) in optimizers.items()
    }
    findings = {
        "train": _scores(*network, dataset, "train", loss, exclusive),
        "validation": _scores(*network, dataset, "validation", loss, exclusive),
        **checkpoint_findings(evaluation, dataset.attributes, shuffled, exclusive),
        "views": {view: swap_findings(found, evaluation.pairs, dataset.attributes) for view, found in views.items()},
        "checks": {
            "pair": pair,
            **asdict(check_bracket(*network, x[pair], y[pair], first, loss)),
            "swaps": {k: asdict(v) for k, v in check_swaps(*network, x[pair], y[pair], adam, loss).items()},
            "mini_batches": mini_batch_error(*network, x_two, y_two, loss),
        },
    }
    arrays = ("pairs", "logits", "loss", "logit_delta", "rms_gradient", "rms_bracket", "tensor_names")
    return {
        **{name: getattr(evaluation, name) for name in arrays},
        "norm": np.array([bracket["norm"] for bracket in findings["brackets"]]),
        "views": np.array(list(views)),
        **{f"{name}/{view}": array for view, found in views.items() for name, array in vars(found).items()},
        "x": np.ascontiguousarray(x),
        "y": y,
        "format": np.array(EVALUATION),
        "step": np.array(step),
        "findings": np.array(to_json(findings)),
    }


def examine_hair(settings: Settings, model: Model, dataset: Dataset, state: Arrays) -> dict[str, dict[str, float]]:
    """Of all that `examine` finds of a checkpoint, the hair colours' shares of what its brackets change, alone."""
    params, buffers, _ = _in_double(settings, model, state)
    x, y = dataset.batch(dataset.indices("test")[:INPUTS], np.float64)
    evaluation = evaluate(model, params, buffers, x, y, EXAMPLES, settings.loss(dataset.attributes))
    return evaluation_shares(evaluation, dataset.attributes, settings.exclusive(dataset.attributes))


def _in_double(settings: Settings, model: Model, state: Arrays) -> tuple[Arrays, Arrays, AdamState]:
    """Parameters, buffers and the optimizer of a checkpoint, in float64."""

    def group(name: str, shapes: Shapes) -> Arrays:
        return {key: state[f"{name}/{key}"].astype(np.float64) for key in shapes}

    shapes = model.parameter_shapes
    means = group("adam.mean", shapes), group("adam.square", shapes)
    adam = AdamState(*means, count=int(state["counters"][1]), betas=settings.betas)
    return group("param", shapes), group("buffer", model.buffer_shapes), adam


def change_passes(settings: Settings, model: Model, dataset: Dataset, state: Arrays) -> list[dict[str, Any]]:
    """What the order of a pass over training mini-batches changes at a checkpoint, and what brackets predict.

    For the network as it was trained, and with an average in place of its max-pool, whose gradient jumps.
    """
    params, buffers, _ = _in_double(settings, model, state)
    rows = dataset.indices("train")[: MINI_BATCHES * settings.batch]
    count = len(rows) // settings.batch
    x, y = dataset.batch(rows[: count * settings.batch], np.float64)
    x, y = (a.reshape(count, settings.batch, *a.shape[1:]) for a in (x, y))
    loss = settings.loss(dataset.attributes)
    networks = {"as trained": model, "average pool": with_average_pool(model)}
    with np.errstate(all="ignore"):  # ε may be too long a step
        return [
            {"network": name, **entry}
            for name, network in networks.items()
            for entry in compare_passes(network, params, buffers, x, y, EPSILONS, settings.seed, loss)
        ]


def _scores(
    model: Model,
    params: Arrays,
    buffers: Arrays,
    dataset: Dataset,
    split: str,
    loss: LossFunction,
    exclusive: Sequence[int],
) -> dict[str, Any]:
    """Mean loss and accuracy over all attributes, in evaluation mode, on the split's first images."""
    rows = dataset.indices(split)[:SCORED]
    logit_parts, target_parts = [], []
    for part in np.array_split(rows, -(-len(rows) // 100)):
        x, targets = dataset.batch(part, np.float64)
        logit_parts.append(logits(model, params, buffers, x))
        target_parts.append(targets)
    z, y = np.concatenate(logit_parts), np.concatenate(target_parts)
    p = attribute_probabilities(z, exclusive)
    return {
        "loss": float(loss.definition(z, y).mean()),
        "accuracy": float(np.mean((p > 0.5) == (y > 0.5))),
        "beats_majority": int(beats_majority(p, y).sum()),
        "images": len(rows),
    }
