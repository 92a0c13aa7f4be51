"""Examines a checkpoint: its brackets, what they move, what swaps do under Adam, and checks that all of it is right."""

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from ..core.engine import at
from ..core.networks import Model
from ..core.problem import NO_PAIRS, Problem, Solution
from ..core.types import Arrays
from ..fast import engine
from ..images.dataset import Dataset
from ..machine.files import to_json
from ..measure.crosschecks import check_bracket, check_swaps, mini_batch_error
from ..measure.evaluation import among_first, optimizer_swaps, plain_swaps, shuffled_rms
from ..measure.pass_order import compare_passes
from ..measure.square import squares
from ..study.checkpoint import Checkpoint
from .exclusive import attribute_probabilities
from .expansion import NETWORKS, expansion, variant
from .reading import EVALUATION
from .sample import optimizers_at
from .settings import Settings
from .statistics import beats_majority, checkpoint_statistics

INPUTS, EXAMPLES = 32, 6  # test examples with logits that are watched; the first of them have brackets
SCORED = 1000  # first images of each split, on which loss and accuracy are measured
MINI_BATCHES = 8  # in a pass with a changed order
EPSILONS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-7)  # learning rates of SGD in such a pass
SQUARES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # learning rates at which squares are drawn, beside that of the run


def examine(settings: Settings, model: Model, dataset: Dataset, checkpoint: Checkpoint) -> Arrays:
    """The arrays of the evaluation file of a checkpoint, with its statistics as JSON."""
    x, y = dataset.batch(dataset.indices("test")[:INPUTS], np.float64)
    weights, loss = checkpoint.weights(model), settings.loss(dataset.attributes)
    whole = Problem(model, weights.params, weights.buffers, x, y, NO_PAIRS, x, loss)
    solution = Solution(among_first(whole, EXAMPLES), engine)
    problem, adam = solution.problem, checkpoint.adam(settings.betas)
    plain, shuffled = plain_swaps(solution), shuffled_rms(solution, settings.rng("shuffled", checkpoint.step))
    optimizers = optimizers_at(checkpoint, settings, np.float64)
    views = {view: optimizer_swaps(solution, *given) for view, given in optimizers.items()}
    z, attributes = engine.logits(problem, x), dataset.attributes
    epsilons = sorted({*SQUARES, settings.lr})
    with np.errstate(all="ignore"):  # ε may be too long a step
        corners, gaps = squares(problem, epsilons)
    first = replace(problem, x=x[:2], y=y[:2], pairs=problem.pairs[:1])  # the examples 0 and 1
    x_two, y_two = (a[:8].reshape(2, 4, *a.shape[1:]) for a in (x, y))  # two mini-batches
    statistics = {
        **{split: _scores(settings, problem, dataset, split) for split in ("train", "validation")},
        **checkpoint_statistics(plain, problem.pairs, attributes, shuffled),
        "checks": {
            "pair": problem.pairs[0].tolist(),
            **asdict(check_bracket(first, at(engine.brackets(first, solution.grad), 0))),
            "swaps": {name: asdict(found) for name, found in check_swaps(first, adam).items()},
            "mini_batches": mini_batch_error(replace(problem, x=x_two, y=y_two)),
        },
        "expansion": expansion(problem, settings.lr),
    }
    return {
        "pairs": problem.pairs,
        "logits": z,
        "loss": problem.loss_function.definition(z, y),
        "tensor_names": np.array(list(problem.params)),
        "tensor_sizes": np.array([p.size for p in problem.params.values()]),
        **vars(plain),
        "rms_shuffled": shuffled,
        "square_epsilon": np.array(epsilons),
        "square_corners": corners,
        "square_gap": gaps,
        "views": np.array(list(views)),
        **{f"{name}/{view}": array for view, found in views.items() for name, array in vars(found).items()},
        "x": np.ascontiguousarray(x),
        "y": y,
        "format": np.array(EVALUATION),
        "step": np.array(checkpoint.step),
        "statistics": np.array(to_json(statistics)),
    }


def change_passes(settings: Settings, model: Model, dataset: Dataset, checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """What the order of a pass over training mini-batches changes at a checkpoint, and what brackets predict.

    It is done for the network as it was trained, and with an average in place of its max-pool, which makes the gradient
    jump.
    """
    rng = settings.rng("passes")
    rows = rng.permutation(dataset.indices("train"))[: MINI_BATCHES * settings.batch]
    count = len(rows) // settings.batch
    inputs, targets = dataset.batch(rows[: count * settings.batch], np.float64)
    x, y = (a.reshape(count, settings.batch, *a.shape[1:]) for a in (inputs, targets))
    weights, loss = checkpoint.weights(model), settings.loss(dataset.attributes)
    problem = Problem(model, weights.params, weights.buffers, x, y, NO_PAIRS, inputs, loss, training=True)
    with np.errstate(all="ignore"):  # ε may be too long a step
        return [
            {"network": name, **entry}
            for name in NETWORKS[:2]
            for entry in compare_passes(variant(problem, name), EPSILONS, rng)
        ]


def _scores(settings: Settings, problem: Problem, dataset: Dataset, split: str) -> dict[str, Any]:
    """Mean loss and accuracy over all attributes on the first images of a split, in evaluation mode."""
    rows = dataset.indices(split)[:SCORED]
    parts = [dataset.batch(some, np.float64) for some in np.array_split(rows, -(-len(rows) // 100))]
    z = np.concatenate([engine.logits(problem, x) for x, _ in parts])
    y = np.concatenate([targets for _, targets in parts])
    p = attribute_probabilities(z, settings.exclusive(dataset.attributes))
    return {
        "loss": float(problem.loss_function.definition(z, y).mean()),
        "accuracy": float(np.mean((p > 0.5) == (y > 0.5))),
        "beats_majority": int(beats_majority(p, y).sum()),
        "images": len(rows),
    }
