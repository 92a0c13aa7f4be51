"""Sweeps over groups of examples: many groups, and many directions, in one forward and one backward pass.

A group is the set of examples behind one vector field: one example, or one mini-batch.  A forward and a backward sweep
give the gradients of many groups; the same sweep over `Dual` parameters gives their Hessian-vector products along all
directions (forward over reverse).  Inputs are (group, member, …) with channels last.  A sweep takes as many groups and
directions as fit into a set amount of memory, and never splits a group.
"""

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

import numpy as np

from ..core.losses import LossFunction
from ..core.networks import Model
from ..core.problem import Weights
from ..core.types import Array, Arrays
from ..machine.threads import in_threads
from . import convolution  # noqa: F401  (registers its rules)
from .dual import Dual, Number
from .rules import Sweep, backward, forward
from .scalar_rules import gradient

ENTRIES = 2**21  # most numbers in the largest array of a sweep
HELD = 2**25  # most numbers in the directions of a sweep: 256 MiB in float64
THREADED = 2**17  # least numbers in the largest arrays of all sweeps for which threads are worth starting


def sweep_over(model: Model, sweep: Sweep, x: Array, y: Array, loss: LossFunction) -> Number:
    """Run forward and backward: return the logits, and leave the gradient of each group's mean loss in the sweep."""
    sweep.inputs = x
    z = forward(model.network, sweep, x)
    backward(model.network, sweep, gradient(loss)(z, y) * np.asarray(1 / x.shape[1], x.dtype))
    if loss.weight_decay:
        decay = np.asarray(loss.weight_decay, x.dtype)
        sweep.grads = {name: g + decay * sweep.params[name] for name, g in sweep.grads.items()}
    return z


def spread(model: Model, x: Array, copies: int) -> tuple[Callable[..., Iterator[Any]], int]:
    """`in_threads`, or `map` if the sweeps over x are too short for threads; and the least number of parts to make.

    The number does not depend on the machine.  With fewer than two parts, the second thread would have nothing to do.
    """
    return (in_threads, 2) if copies * largest_array(model, x) >= THREADED else (map, 1)


def chunks(model: Model, x: Array, copies: int, parts: int = 1) -> Iterator[slice]:
    """Slices of the first axis of x, so short that a sweep with `copies` of each activation stays below `ENTRIES`.

    There are at least `parts` of them if x is long enough.
    """
    step = max(1, min(ENTRIES // (copies * largest_array(model, x[0])), -(-len(x) // parts)))
    return (slice(start, start + step) for start in range(0, len(x), step))


def lifted(weights: Weights, directions: Arrays, one: Array) -> Iterator[tuple[slice, dict[str, Dual]]]:
    """Slices of the directions, so short that a sweep over `one` input stays below `ENTRIES` and `HELD`.

    With each slice come the parameters (1, *shape) as duals with tangents (k, 1, *shape).
    """
    model, count = weights.model, len(next(iter(directions.values())))
    step = max(1, min(ENTRIES // largest_array(model, one) - 1, HELD // model.parameter_count))
    for start in range(0, count, step):
        some = slice(start, min(start + step, count))
        yield some, {name: Dual(p[None], directions[name][some, None]) for name, p in weights.params.items()}


def batches(
    model: Model, x: Array, partners: dict[int, list[int]], parts: int
) -> Iterator[list[tuple[int, list[int]]]]:
    """Batches of (group, partners) in which every group has the same number of partners.

    A sweep over a batch stays below `ENTRIES` and `HELD` numbers.  There are at least `parts` batches for each number
    of partners if enough groups have it.
    """
    # copies of an activation: its value, and a tangent for each partner
    room = max(2, min(ENTRIES // largest_array(model, x[0]), HELD // model.parameter_count))
    tasks = [(g, some[k : k + room - 1]) for g, some in partners.items() for k in range(0, len(some), room - 1)]
    for count, alike in groupby(sorted(tasks, key=lambda task: len(task[1])), key=lambda task: len(task[1])):
        of_count = list(alike)
        step = max(1, min(room // (1 + count), -(-len(of_count) // parts)))
        yield from (of_count[start : start + step] for start in range(0, len(of_count), step))


def largest_array(model: Model, x: Array) -> int:
    """Roughly the number of entries of the largest array in a pass over x, which has its channels last."""
    if not model.pictures:
        return x.size // model.n_in * max(model.spec["sizes"])
    pixels, expansion = x.size // model.n_in, model.spec["expansion"]
    stages = [expansion * width * pixels // (16 * 4**i) for i, width in enumerate(model.spec["widths"])]
    return max(x.size, max(model.spec["stem"]) * pixels // 4, *stages)


def with_group_axis(weights: Weights) -> dict[str, Number]:
    """The parameters with an axis for groups, (1, *shape), as a sweep takes them."""
    return {name: p[None] for name, p in weights.params.items()}


def channels_last(x: Array) -> Array:
    """(…, channels, height, width) → (…, height, width, channels); rows of features stay as they are."""
    return np.ascontiguousarray(np.moveaxis(x, -3, -1)) if x.ndim > 3 else x
