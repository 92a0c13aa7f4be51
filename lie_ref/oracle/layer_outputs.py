"""The outputs of the layers of a network: the first that differs from the right one is where a network goes wrong."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.layers import Layer
from ..core.problem import Problem
from ..core.types import Array, Arrays
from ..fast.norms import row_norms
from ..fast.trees import with_layers
from .tolerance import MARGIN, trials


@dataclass(frozen=True)
class Watched(Layer):
    """A layer that keeps its outputs."""

    layer: Layer
    outputs: Arrays

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        self.outputs[self.name] = self.layer.apply(params, buffers, x, training)
        return self.outputs[self.name]


def layers(problem: Problem) -> Arrays:
    """The output of each layer for the inputs x, by its name in PyTorch and in the order in which they are computed.

    Outputs are (n, …), or (b, m, …) for mini-batches.

    >>> from lie_ref import oracle
    >>> {name: a.shape for name, a in oracle.layers(oracle.load("mlp-tanh-bce")).items()}
    {'0': (3, 6), '1': (3, 6), '2': (3, 4)}
    """
    groups = problem.groups[0]
    each: list[Arrays] = []
    for x in groups if problem.training else [groups.reshape(-1, *groups.shape[2:])]:
        found: Arrays = {}
        each.append(found)
        model = with_layers(problem.model, lambda layer, found=found: Watched(layer.name, layer, found))  # type: ignore[misc]
        model.network.apply(problem.params, dict(problem.buffers), x, problem.training)
    lead = groups.shape[:2] if problem.batches else groups.shape[:1]
    ours = ("", "shortcut", "activation")  # parts of a block that PyTorch's network need not have under these names
    names = [name for name in each[0] if name.rpartition(".")[2] not in ours and ".shortcut." not in name]
    return {name: np.stack([one[name] for one in each]).reshape(*lead, *each[0][name].shape[1:]) for name in names}


def first_wrong(problem: Problem, candidate: Mapping[str, Array]) -> str:
    """What is wrong with the first layer whose output differs, in words; "" if none does."""
    dtype = min((a.dtype for a in candidate.values()), key=lambda d: np.finfo(d).nmant)
    exact = layers(problem)
    right: list[str] = []
    unit = float(np.finfo(dtype).eps) / 2
    others = [(layers(trial.problem), step) for trial, step in trials(problem, dtype, unit)]
    for name, output in exact.items():
        if name not in candidate:
            continue
        rows, found = output.reshape(len(output), -1), candidate[name]
        if found.size != output.size:
            return f"the first layer that differs is {name}: expected the shape {output.shape}, got {found.shape}"
        size = row_norms(rows, 1)
        error = row_norms(found.reshape(rows.shape).astype(np.float64) - rows, 1)
        usual = np.max([row_norms(a[name].reshape(rows.shape) - rows, 1) / step for a, step in others], axis=0)
        wrong = ~(error <= MARGIN * (usual + np.finfo(dtype).eps * size))
        if wrong.any():
            worst = float(np.max(error[wrong] / np.where(size > 0, size, 1)[wrong]))
            where = "" if wrong.all() else f", in {np.flatnonzero(wrong).tolist()} of {len(rows)} rows"
            before = f"; {', '.join(right[-3:])} before it {'is' if len(right) == 1 else 'are'} right" if right else ""
            return f"the first layer that differs is {name}, by {worst:.2g} of its size{where}{before}"
        right.append(name)
    return ""
