"""Sweeps over groups of examples: many groups, and many directions, in one forward and one backward pass.

A group is what one vector field is made of: one example, or a mini-batch whose mean loss it descends.  One forward and
one backward sweep give the gradients of many groups; the same sweep over `Dual` parameters gives their Hessian-vector
products along all directions (forward over reverse).  Inputs are (group, member, …) with channels last.  A sweep takes
as many groups and directions as memory should hold, and never splits a group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

import numpy as np

from ..core.losses import LossFunction
from ..core.networks import Model
from ..core.types import Array, Arrays
from ..machine.threads import in_threads
from . import convolution  # noqa: F401  (registers its rules)
from .dual import Dual, Number
from .rules import Sweep, backward, forward
from .scalar_rules import gradient

ENTRIES = 2**21  # numbers that the largest array of a sweep should hold
HELD = 2**26  # numbers that the directions of a sweep should hold, 512 MiB in float64
THREADED = 2**17  # numbers that the largest arrays of all sweeps must hold for threads to be worth starting


def sweep_over(model: Model, sweep: Sweep, x: Array, y: Array, loss: LossFunction) -> Number:
    """Forward and backward: returns the logits, and leaves the gradients of the groups' mean losses in the sweep."""
    sweep.inputs = x
    z = forward(model.network, sweep, x)
    members = sweep.members or x.shape[1]
    backward(model.network, sweep, gradient(loss)(z, y) * np.asarray(1 / members, x.dtype))
    return z


def spread(model: Model, x: Array, copies: int) -> tuple[Callable[..., Iterator[Any]], int]:
    """`in_threads`, or `map` where the sweeps over x end sooner than threads start; and the number of parts to make.

    The number is the same on every machine: at least two parts, or the second thread would have nothing to do.
    """
    return (in_threads, 2) if copies * largest_array(model, x) >= THREADED else (map, 1)


def chunks(model: Model, x: Array, copies: int, parts: int = 1) -> Iterator[slice]:
    """Slices of the first axis of x, so short that a sweep with `copies` of each activation keeps within `ENTRIES`.

    There are at least `parts` of them where x is long enough.
    """
    step = max(1, min(ENTRIES // (copies * largest_array(model, x[0])), -(-len(x) // parts)))
    return (slice(start, start + step) for start in range(0, len(x), step))


def lifted(model: Model, params: Arrays, directions: Arrays, one: Array) -> Iterator[tuple[slice, dict[str, Dual]]]:
    """Slices of the directions, few enough for a sweep over `one` input to keep within `ENTRIES` and `HELD`.

    With each slice come the parameters (1, *shape) as duals with tangents (k, 1, *shape).
    """
    count = len(next(iter(directions.values())))
    step = max(1, min(ENTRIES // largest_array(model, one) - 1, HELD // model.parameter_count))
    for start in range(0, count, step):
        some = slice(start, min(start + step, count))
        yield some, {name: Dual(p[None], directions[name][some, None]) for name, p in params.items()}


def batches(
    model: Model, x: Array, partners: dict[int, list[int]], parts: int
) -> Iterator[list[tuple[int, list[int]]]]:
    """Batches of (group, partners) in which every group has the same number of partners.

    A sweep over a batch stays below `ENTRIES` and `HELD` numbers.  There are at least `parts` batches of each kind
    where there are that many groups.
    """
    # room for the copies of an activation: that of the value, and one for each partner
    room = max(2, min(ENTRIES // largest_array(model, x[0]), HELD // model.parameter_count))
    tasks = [(g, some[k : k + room - 1]) for g, some in partners.items() for k in range(0, len(some), room - 1)]
    for count, alike in groupby(sorted(tasks, key=lambda task: len(task[1])), key=lambda task: len(task[1])):
        of_count = list(alike)
        step = max(1, min(room // (1 + count), -(-len(of_count) // parts)))
        yield from (of_count[start : start + step] for start in range(0, len(of_count), step))


def largest_array(model: Model, x: Array) -> int:
    """Roughly how many numbers the largest array of a pass over x holds: x channels last, any leading axes."""
    if not model.pictures:
        return x.size // model.n_in * max(model.spec["sizes"])
    pixels, expansion = x.size // model.n_in, model.spec["expansion"]
    stages = [expansion * width * pixels // (16 * 4**i) for i, width in enumerate(model.spec["widths"])]
    return max(x.size, max(model.spec["stem"]) * pixels // 4, *stages)


def with_group_axis(params: Arrays) -> dict[str, Number]:
    """Parameters (1, *shape), as a sweep takes them."""
    return {name: p[None] for name, p in params.items()}


def channels_last(x: Array) -> Array:
    """(…, channels, height, width) → (…, height, width, channels); rows of features stay as they are."""
    return np.ascontiguousarray(np.moveaxis(x, -3, -1)) if x.ndim > 3 else x
