"""Problems drawn from seeds for the shipped test vectors: generic ones, and those made to catch one kind of bug."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..core.losses import LOSSES
from ..core.networks import Model, mlp, mxresnet
from ..core.problem import Problem
from ..core.types import Array, Arrays
from ..fast.arguments import checked_problem


def drawn(
    model: Model,
    seed: int,
    shape: tuple[int, ...],
    loss: str = "bce",
    pairs: Sequence[tuple[int, int]] = ((0, 1), (2, 0)),
    x_eval: int = 3,
    training: bool = False,
) -> Problem:
    """Generic weights, inputs of this shape with all leading axes, and targets that fit the loss, drawn from a seed."""
    rng = np.random.default_rng(seed)
    params = {}
    for name, p_shape in model.parameter_shapes.items():
        p = rng.standard_normal(p_shape)
        if len(p_shape) > 1:
            params[name] = p * np.sqrt(2 / np.prod(p_shape[1:]))
        elif model.pictures and name.endswith("weight"):  # of batch-norm
            params[name] = np.where(p > 0.9, -1, 1) * (0.6 + 0.4 * np.abs(p))
        else:
            params[name] = 0.3 * p
    buffers = {
        name: 0.3 * rng.standard_normal(b_shape) if name.endswith("mean") else rng.uniform(0.5, 2, b_shape)
        for name, b_shape in model.buffer_shapes.items()
    }
    x = rng.standard_normal(shape)
    lead = shape[: -3 if model.pictures else -1]
    if LOSSES[loss].labels:
        y: Array = rng.integers(0, model.n_out, lead)
    elif loss == "bce":
        y = rng.integers(0, 2, (*lead, model.n_out)).astype(float)
    else:
        y = rng.standard_normal((*lead, model.n_out))
    evaluated = rng.standard_normal((x_eval, *shape[len(lead) :]))
    return checked_problem(model, params, buffers, x, y, pairs, evaluated, loss, training)


def drawn_mlp(
    sizes: Sequence[int],
    activation: str = "tanh",
    loss: str = "bce",
    seed: int = 0,
    examples: int = 3,
    pairs: Sequence[tuple[int, int]] = ((0, 1), (2, 0)),
) -> Problem:
    """Three examples and two pairs, unless told otherwise, and as many evaluation inputs."""
    return drawn(mlp(sizes, activation), seed, (examples, sizes[0]), loss, pairs, x_eval=examples)


def drawn_mxresnet(
    stem: Sequence[int],
    widths: Sequence[int],
    layers: Sequence[int],
    shape: tuple[int, ...],
    n_out: int = 3,
    expansion: int = 1,
    seed: int = 0,
    loss: str = "bce",
    training: bool = False,
) -> Problem:
    """`shape` is that of all inputs: (n, channels, height, width), or (b, m, …) of mini-batches."""
    model = mxresnet(stem, widths, layers, expansion, n_out, n_in=shape[-3])
    return drawn(model, seed, shape, loss, [(1, 0)], x_eval=2, training=training)


def _with_params(problem: Problem, changes: Arrays) -> Problem:
    """The problem with some of its parameters replaced."""
    return replace(problem, params=problem.params | changes)


def saturated(loss: str, largest: float) -> Problem:
    """Logits up to ±`largest`, on either side of the targets; the last layer's weights are scaled to that."""
    problem = drawn_mlp([3, 4, 4], "tanh", loss, seed=21)
    hidden = np.tanh(problem.x @ problem.params["0.weight"].T + problem.params["0.bias"])
    # in nine digits, for tanh and matrix products differ between processors in the last
    scale = float(f"{largest / np.abs(hidden @ problem.params['2.weight'].T).max():.9g}")
    weight = scale * problem.params["2.weight"]
    problem = _with_params(problem, {"2.weight": weight, "2.bias": np.zeros(4)})
    z = hidden @ weight.T
    if loss == "softmax":  # unlikely labels, for a right one leaves nothing; and not the same, or the terms are equal
        return replace(problem, y=z.argsort(axis=1)[np.arange(len(z)), np.arange(len(z)) % 2])
    wrong = np.eye(*z.shape) > 0  # another output of each example, for the same reason
    return replace(problem, y=((z > 0) != wrong).astype(float))


def equal_examples() -> Problem:
    problem = drawn_mlp([3, 4, 2], "mish", seed=22, pairs=[(0, 1), (2, 1)])
    x = problem.x.copy()
    x[1] = x[0]
    return replace(problem, x=x, y=np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))


def nearly_commuting() -> Problem:
    """The second example is the first, a little moved: the two terms of the bracket agree to about three digits."""
    problem = drawn_mlp([3, 4, 3], "tanh", "mse", seed=23, examples=2, pairs=[(0, 1)])
    x, y = problem.x.copy(), problem.y.copy()
    x[1] = x[0] + x[1] / 2**11
    y[1] = y[0]
    return replace(problem, x=x, y=y)


def offset_inputs() -> Problem:
    """Inputs of 16,384 ± 0.004, whose offset the first layer's biases take away: float32 sees little of them.

    Inputs, weights and biases have so few bits that the first layer is exact in float64.
    """
    offset, spread = 2.0**14, 2.0**-8
    problem = drawn_mlp([3, 4, 2], "softplus", seed=24)
    x, x_eval, w, b = (
        np.round(64 * a) / 64
        for a in (problem.x, problem.x_eval, *(problem.params[f"0.{k}"] for k in ("weight", "bias")))
    )
    changes = {"0.weight": w / spread, "0.bias": b - w.sum(axis=1) / spread * offset}
    return replace(_with_params(problem, changes), x=offset + spread * x, x_eval=offset + spread * x_eval)


def beyond_threshold() -> Problem:
    """Two of four softplus units, and two of four logits, are beyond ±20; the others are ordinary.

    All numbers are multiples of 1/64, so that the sums are exact.
    """
    problem = drawn_mlp([3, 4, 4], "softplus", seed=32)
    p = {name: np.round(64 * a) / 64 for name, a in problem.params.items()}
    x, x_eval = np.round(64 * problem.x) / 64, np.round(64 * problem.x_eval) / 64
    p["0.bias"] = p["0.bias"] + [21, 21, 0, 0]
    p["2.weight"][:, 1] = [1, -1, 0, 0] - p["2.weight"][:, 0]
    p["2.bias"] = p["2.bias"] + [3, -3, 0, 0]
    return replace(_with_params(problem, p), x=x, x_eval=x_eval)


def relu_at_zero() -> Problem:
    """The first example and all biases of the hidden layers are zero, so that every unit is exactly at its kink."""
    problem = drawn_mlp([3, 5, 4, 2], "relu", seed=25)
    x = problem.x.copy()
    x[0] = 0
    return replace(_with_params(problem, {"0.bias": np.zeros(5), "2.bias": np.zeros(4)}), x=x)


def large_statistics() -> Problem:
    problem = drawn_mxresnet((3, 4, 4), (4, 6), (1, 1), (2, 2, 9, 8), seed=26)
    rng = np.random.default_rng(26)
    buffers = {
        name: 10 * rng.standard_normal(b.shape) if name.endswith("mean") else 2.0 ** rng.integers(-13, 7, b.shape)
        for name, b in problem.buffers.items()
    }
    # the biases keep what follows the large means near zero, and the weights what follows the small variances
    params = dict(problem.params)
    for name in (n for n in params if f"{n.removesuffix('.weight')}.running_var" in buffers):
        layer = name.removesuffix(".weight")
        root = np.sqrt(buffers[f"{layer}.running_var"] + 1e-5)
        params[name] = params[name] * root
        params[f"{layer}.bias"] = params[f"{layer}.bias"] + params[name] * buffers[f"{layer}.running_mean"] / root
    return replace(problem, params=params, buffers=buffers)


def batch_norm_scale() -> Problem:
    """Batch-norm weights of which every third is zero and every third negative; a whole branch has weight zero."""
    problem = drawn_mxresnet((3, 4, 4), (4, 6), (2, 1), (2, 3, 10, 10), seed=27)
    params = {
        name: p * np.resize([1.0, 0.0, -1.0], p.shape) if name.endswith(".1.weight") and name != "2.1.weight" else p
        for name, p in problem.params.items()
    }
    params["4.1.convs.1.1.weight"] = np.zeros_like(params["4.1.convs.1.1.weight"])  # as it is initialised
    return replace(problem, params=params)


def max_pool_ties() -> Problem:
    """Half of the channels before the max-pool are zero, by batch-norm's weight and bias: every window is a tie.

    Not another constant, for its Mish need not round alike everywhere.  The first logit is beyond 20.
    """
    problem = drawn_mxresnet((3, 4, 6), (4, 5), (1, 1), (2, 2, 10, 12), seed=28)
    half = np.resize([0.0, 1.0], 6)
    changes = {name: half * problem.params[name] for name in ("2.1.weight", "2.1.bias")}
    return _with_params(problem, changes | {"8.bias": problem.params["8.bias"] + np.array([24.0, 0.0, 0.0])})


def max_pool_border() -> Problem:
    """Everything before the max-pool is negative, so that a zero at the border would be the largest."""
    problem = drawn_mxresnet((3, 4, 6), (4, 5), (1, 1), (2, 2, 10, 12), loss="mse", seed=29)
    changes = {"2.1.weight": 0.1 * problem.params["2.1.weight"], "2.1.bias": np.linspace(-2.0, -0.6, 6)}
    return _with_params(problem, changes)
