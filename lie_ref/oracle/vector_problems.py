"""Problems drawn from seeds for the shipped test vectors: generic ones, and some that are made to catch one bug."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..core.layers import EPS
from ..core.losses import LOSSES
from ..core.networks import Model, mlp, mxresnet
from ..core.problem import Problem
from ..core.types import Array
from ..fast.arguments import checked_problem


def drawn(
    model: Model,
    shape: tuple[int, ...],
    loss: str = "bce",
    pairs: Sequence[tuple[int, int]] = ((0, 1), (2, 0)),
    x_eval: int = 3,
    training: bool = False,
    seed: int = 0,
) -> Problem:
    """Generic weights, inputs of this shape, targets that fit the loss, and `x_eval` evaluation inputs.

    The shape is that of all inputs: (n, …), or (b, m, …) for mini-batches.
    """
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


def drawn_mxresnet(
    stem: Sequence[int],
    widths: Sequence[int],
    layers: Sequence[int],
    shape: tuple[int, ...],
    loss: str = "bce",
    expansion: int = 1,
    **options: Any,
) -> Problem:
    """An MXResNet with three outputs, one pair and two evaluation inputs; `options` are those of `drawn`."""
    model = mxresnet(stem, widths, layers, expansion, n_out=3, n_in=shape[-3])
    return drawn(model, shape, loss, [(1, 0)], x_eval=2, **options)


def _changed(problem: Problem, params: dict[str, Any], **fields: Any) -> Problem:
    """The problem with these parameters, inputs and targets in place of its own."""
    return replace(problem, params=problem.params | params, **fields)


def _rounded(a: Array) -> Array:
    """Multiples of 1/64, of which sums are exact."""
    return np.round(64 * a) / 64


def saturated(loss: str, largest: float, seed: int) -> Problem:
    """Logits up to ±`largest`, right and wrong ones; the weights of the last layer are scaled to that."""
    problem = drawn(mlp([3, 4, 4]), (3, 3), loss, seed=seed)
    hidden = np.tanh(problem.x @ problem.params["0.weight"].T + problem.params["0.bias"])
    # rounded to nine digits, because processors differ in the last digits of tanh and of matrix products
    scale = float(f"{largest / np.abs(hidden @ problem.params['2.weight'].T).max():.9g}")
    weight = scale * problem.params["2.weight"]
    z = hidden @ weight.T
    if loss == "softmax":  # unlikely labels, because a likely one leaves no gradient; equal ones would give equal terms
        y = z.argsort(axis=1)[np.arange(len(z)), np.arange(len(z)) % 2]
    else:  # one wrong output of each example, not the same in all, for the same reasons
        y = ((z > 0) != (np.eye(*z.shape) > 0)).astype(float)
    return _changed(problem, {"2.weight": weight, "2.bias": np.zeros(4)}, y=y)


def equal_examples(seed: int) -> Problem:
    problem = drawn(mlp([3, 4, 2], "mish"), (3, 3), pairs=[(0, 1), (2, 1)], seed=seed)
    return replace(problem, x=problem.x[[0, 0, 2]], y=np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))


def nearly_commuting(seed: int) -> Problem:
    """The second example is the first, slightly moved: the two terms of the bracket agree to about three digits."""
    problem = drawn(mlp([3, 4, 3]), (2, 3), "mse", [(0, 1)], x_eval=2, seed=seed)
    x, moved = problem.x
    return replace(problem, x=np.stack([x, x + moved / 2**11]), y=problem.y[[0, 0]])


def offset_inputs(offset: float, spread: float, seed: int) -> Problem:
    """Inputs of `offset` ± `spread`, both powers of 2.  The biases of the first layer remove the offset.

    The inputs, weights and biases have so few bits that the first layer is exact in float64.
    """
    problem = drawn(mlp([3, 4, 2], "softplus"), (3, 3), seed=seed)
    weight, bias = (_rounded(problem.params[f"0.{key}"]) for key in ("weight", "bias"))
    x, x_eval = (offset + spread * _rounded(a) for a in (problem.x, problem.x_eval))
    changes = {"0.weight": weight / spread, "0.bias": bias - weight.sum(axis=1) / spread * offset}
    return _changed(problem, changes, x=x, x_eval=x_eval)


def beyond_threshold(seed: int) -> Problem:
    """Two of four softplus units, and two of four logits, are beyond ±20; the others are ordinary."""
    problem = drawn(mlp([3, 4, 4], "softplus"), (3, 3), seed=seed)
    params = {name: _rounded(p) for name, p in problem.params.items()}
    params["0.bias"] += [21, 21, 0, 0]
    params["2.weight"][:, 1] = [1, -1, 0, 0] - params["2.weight"][:, 0]
    params["2.bias"] += [3, -3, 0, 0]
    return _changed(problem, params, x=_rounded(problem.x), x_eval=_rounded(problem.x_eval))


def relu_at_zero(seed: int) -> Problem:
    """The first example and the biases of the hidden layers are zero, so that every unit is exactly at its kink."""
    problem = drawn(mlp([3, 5, 4, 2], "relu"), (3, 3), seed=seed)
    x = np.stack([np.zeros(3), *problem.x[1:]])
    return _changed(problem, {"0.bias": np.zeros(5), "2.bias": np.zeros(4)}, x=x)


def at_zero(activation: str, loss: str, size: float, seed: int) -> Problem:
    """Two examples and all biases are zero, so that hidden units and, but for softplus, logits are exactly 0.

    The third example is multiplied by `size`.  With mse, the residuals of the first example are exactly 0 as well.
    """
    problem = drawn(mlp([3, 5, 4], activation), (3, 3), loss, [(0, 2), (2, 1)], x_eval=5, seed=seed)
    biases = {name: 0 * p for name, p in problem.params.items() if name.endswith("bias")}
    y = problem.y * [[0.0], [1.0], [1.0]] if loss == "mse" else problem.y
    return _changed(problem, biases, x=problem.x * [[0.0], [0.0], [size]], y=y)


def large_units(activation: str, loss: str, inputs: Sequence[float], seed: int) -> Problem:
    """A hidden unit about each of these inputs, and four about 0.  With bce, three of the four logits are large, too.

    The weights that follow the largest inputs are divided by them, so that the other logits are ordinary.
    """
    at = np.array([*inputs, 0, 0, 0, 0], float)
    problem = drawn(mlp([3, len(at), 4], activation), (3, 3), loss, x_eval=2, seed=seed)
    params = {name: _rounded(p / 4 if name == "0.weight" else p) for name, p in problem.params.items()}
    changes = {"0.bias": params["0.bias"] + at, "2.weight": params["2.weight"] / np.where(at > 30, at, 1)}
    y = problem.y
    if loss == "bce":  # the largest are on the wrong side, because the right one leaves no gradient
        changes["2.bias"] = params["2.bias"] + [800, -800, 26, 0]
        y = np.column_stack([np.zeros(3), np.ones(3), [0, 1, 0], y[:, 3]])
    return _changed(problem, params | changes, x=_rounded(problem.x), y=y)


def large_statistics(seed: int) -> Problem:
    problem = drawn_mxresnet((3, 4, 4), (4, 6), (1, 1), (2, 2, 9, 8), seed=seed)
    rng = np.random.default_rng(seed)
    buffers = {
        name: 10 * rng.standard_normal(b.shape) if name.endswith("mean") else 2.0 ** rng.integers(-13, 7, b.shape)
        for name, b in problem.buffers.items()
    }
    # the weights and biases keep the outputs of size 1, in spite of small variances and large means
    params = dict(problem.params)
    for layer in (name.removesuffix(".running_var") for name in buffers if name.endswith("var")):
        root = np.sqrt(buffers[f"{layer}.running_var"] + EPS)
        params[f"{layer}.weight"] = params[f"{layer}.weight"] * root
        shift = params[f"{layer}.weight"] * buffers[f"{layer}.running_mean"] / root
        params[f"{layer}.bias"] = params[f"{layer}.bias"] + shift
    return replace(problem, params=params, buffers=buffers)


def constant_channel(seed: int) -> Problem:
    """One channel of the second convolution is zero everywhere, and its variances, of a batch and running, are 0."""
    problem = drawn_mxresnet((2, 3, 2), (2,), (1,), (2, 4, 1, 5, 5), training=True, seed=seed)
    weight = problem.params["1.0.weight"] * np.reshape([0, 1, 1], (3, 1, 1, 1))
    buffers = {name: b * [0, 1, 1] if name.startswith("1.") else b for name, b in problem.buffers.items()}
    return _changed(problem, {"1.0.weight": weight}, buffers=buffers)


def batch_norm_scale(seed: int) -> Problem:
    """Every third weight of a batch-norm is zero and every third negative; those of one whole branch are zero."""
    problem = drawn_mxresnet((3, 4, 4), (4, 6), (2, 1), (2, 3, 10, 10), seed=seed)
    names = [name for name in problem.params if name.endswith(".1.weight") and name != "2.1.weight"]
    changes = {name: problem.params[name] * np.resize([1.0, 0.0, -1.0], problem.params[name].shape) for name in names}
    return _changed(problem, changes | {"4.1.convs.1.1.weight": np.zeros(4)})  # its initial value


def max_pool_ties(seed: int) -> Problem:
    """Half of the channels before the max-pool are zero by the weight and bias of batch-norm: every window is a tie.

    They are zero because Mish of another constant may be rounded differently in different places.  The first logit is
    beyond 20.
    """
    problem = drawn_mxresnet((3, 4, 6), (4, 5), (1, 1), (2, 2, 10, 12), seed=seed)
    changes = {name: np.resize([0.0, 1.0], 6) * problem.params[name] for name in ("2.1.weight", "2.1.bias")}
    return _changed(problem, changes | {"8.bias": problem.params["8.bias"] + [24.0, 0.0, 0.0]})


def max_pool_some_ties(seed: int) -> Problem:
    """Before the max-pool, entries are negative or, where the picture is 0, exactly 0: some windows hold several zeros.

    The kernels of the stem are zero but for their centres, and the means and biases of batch-norm are zero.
    """
    problem = drawn_mxresnet((1, 2, 2), (2,), (1,), (2, 1, 12, 9), loss="softmax", seed=seed)
    stem = [name for name in problem.params if name[0] in "012"]
    changes = {name: np.abs(problem.params[name]) for name in stem}
    for name in stem:
        changes[name] = changes[name] * (np.outer([0, 1, 0], [0, 1, 0]) if name.endswith("0.weight") else 1)
    changes |= {name: 0 * changes[name] for name in stem if name.endswith("bias")}
    buffers = {name: 0 * b if name[0] in "012" and name.endswith("mean") else b for name, b in problem.buffers.items()}
    x = np.minimum(problem.x, 0)
    return _changed(problem, changes, x=x, y=np.array([0, 2]), buffers=buffers)


def max_pool_border(seed: int) -> Problem:
    """Everything before the max-pool is negative, so that a zero at the border would be the maximum."""
    problem = drawn_mxresnet((3, 4, 6), (4, 5), (1, 1), (2, 2, 10, 12), loss="mse", seed=seed)
    changes = {"2.1.weight": 0.1 * problem.params["2.1.weight"], "2.1.bias": np.linspace(-2.0, -0.6, 6)}
    return _changed(problem, changes)
