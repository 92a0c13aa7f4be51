"""Up to which learning rate a bracket predicts a real swap: at a checkpoint, and for smoother networks."""

from dataclasses import replace
from typing import Any

import numpy as np

from ..core.activations import mish, relu
from ..core.layers import Activation, AvgPool, Layer, MaxPool
from ..core.problem import Problem
from ..fast.trees import with_layers
from ..measure.reach import expansion_errors, reach

EPSILONS = (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
PAIRS = np.array([(0, 1), (2, 3), (4, 5)])
WATCHED = 16  # examples whose logits are predicted
NETWORKS = ("as trained", "average pool", "relu", "average pool and relu")


def expansion(problem: Problem, lr: float) -> dict[str, Any]:
    """How well brackets predict what real swaps do to logits: for three pairs of the first six examples.

    `errors` has for each pair the error at each `epsilon`, and `reach` the largest ε up to which it is within 10 %;
    `error` is that at the learning rate `lr`.
    """
    asked = replace(problem, pairs=PAIRS, x_eval=problem.x_eval[:WATCHED])
    with np.errstate(all="ignore"):  # ε may be too long a step
        errors = expansion_errors(asked, [*EPSILONS, lr])
    return {
        "epsilon": [*EPSILONS, lr],
        "errors": errors.tolist(),
        "reach": reach(errors[:, :-1], EPSILONS).tolist(),
        "error": errors[:, -1].tolist(),
    }


def variant(problem: Problem, network: str) -> Problem:
    """The problem with the same weights in one of `NETWORKS`: a 2 × 2 average for the max-pool, ReLU for Mish."""

    def change(layer: Layer) -> Layer:
        if isinstance(layer, MaxPool) and "average pool" in network:
            return AvgPool(layer.name)
        if isinstance(layer, Activation) and layer.function is mish and "relu" in network:
            return replace(layer, function=relu)
        return layer

    return replace(problem, model=with_layers(problem.model, change))
