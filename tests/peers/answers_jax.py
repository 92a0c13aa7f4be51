"""Answers a test vector in JAX: compiled derivatives of networks that are pure functions of a flat state dict."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from . import Arrays, brackets, keyed

jax.config.update("jax_enable_x64", True)  # by default JAX silently converts float64 to float32

State = dict[str, Array]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "mish": jax.nn.mish,
    "relu": jax.nn.relu,  # jnp.maximum(x, 0) has the slope ½ at 0
    "softplus": jax.nn.softplus,
}

LOSSES: dict[str, Callable[[Array, Array], Array]] = {
    "bce": lambda z, y: (y * jax.nn.softplus(-z) + (1 - y) * jax.nn.softplus(z)).mean(),
    "softmax": lambda z, y: -jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], axis=1).mean(),
    "mse": lambda z, y: jnp.square(z - y).mean(),
}


def linear(state: State, name: str, x: Array) -> Array:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def conv(weight: Array, x: Array, stride: int) -> Array:
    """Cross-correlation, (n, c, h, w) → (n, o, h', w').  An odd kernel keeps the size at stride 1."""
    pad = weight.shape[-1] // 2
    options = {"dimension_numbers": ("NCHW", "OIHW", "NCHW"), "precision": lax.Precision.HIGHEST}
    return lax.conv_general_dilated(x, weight, (stride, stride), [(pad, pad), (pad, pad)], **options)


def batch_norm(state: State, name: str, x: Array, training: bool) -> Array:
    """Batch-norm with the running statistics or, in training, with the mean and biased variance of the batch."""
    if training:
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
    else:
        mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    scale = state[f"{name}.weight"] / jnp.sqrt(variance + 1e-5)
    return (x - mean[:, None, None]) * scale[:, None, None] + state[f"{name}.bias"][:, None, None]


def conv_bn(state: State, name: str, x: Array, training: bool, stride: int = 1) -> Array:
    return batch_norm(state, f"{name}.1", conv(state[f"{name}.0.weight"], x, stride), training)


def max_pool(x: Array) -> Array:
    """3 × 3, stride 2, padding 1.  JAX's derivatives follow the first of equal values in scan order, in both modes."""
    padding = ((0, 0), (0, 0), (1, 1), (1, 1))
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 3, 3), (1, 1, 2, 2), padding)


def avg_pool(x: Array) -> Array:
    """2 × 2, stride 2.  The last window of an odd side is smaller, and so is its divisor."""
    h, w = x.shape[-2:]
    padding = ((0, 0), (0, 0), (0, h % 2), (0, w % 2))
    window_sums = lambda a: lax.reduce_window(a, 0.0, lax.add, (1, 1, 2, 2), (1, 1, 2, 2), padding)  # noqa: E731
    return window_sums(x) / window_sums(jnp.ones((1, 1, h, w), x.dtype))


def res_block(state: State, name: str, x: Array, training: bool, expansion: int, stride: int) -> Array:
    """Basic block or bottleneck; the first 3 × 3 convolution has the stride."""
    strides = (stride, 1) if expansion == 1 else (1, stride, 1)
    out, shortcut = x, x if stride == 1 else avg_pool(x)
    for i, s in enumerate(strides):
        out = conv_bn(state, f"{name}.convs.{i}", jax.nn.mish(out) if i > 0 else x, training, s)
    if f"{name}.idconv.0.weight" in state:
        shortcut = conv_bn(state, f"{name}.idconv", shortcut, training)
    return jax.nn.mish(out + shortcut)


def mxresnet(spec: dict[str, Any], state: State, x: Array, training: bool) -> Array:
    """(n, c, h, w) → (n, k)."""
    first_stage = len(spec["stem"]) + 1  # after the max-pool
    for i in range(len(spec["stem"])):
        x = jax.nn.mish(conv_bn(state, f"{i}", x, training, stride=2 if i == 0 else 1))
    x = max_pool(x)
    for stage, depth in enumerate(spec["layers"]):
        for block in range(depth):
            stride = 2 if stage > 0 and block == 0 else 1
            x = res_block(state, f"{first_stage + stage}.{block}", x, training, spec["expansion"], stride)
    return linear(state, f"{first_stage + len(spec['layers']) + 2}", x.mean((2, 3)))


def mlp(spec: dict[str, Any], state: State, x: Array) -> Array:
    """(n, in) → (n, k)."""
    depth = len(spec["sizes"]) - 1
    for i in range(depth - 1):
        x = ACTIVATIONS[spec["activation"]](linear(state, f"{2 * i}", x))
    return linear(state, f"{2 * (depth - 1)}", x)


def answers(vector: Any, dtype: Any) -> Arrays:
    """All answers to a test vector, by `vmap` of `grad`, of `jvp` of `grad`, and of `jvp`.

    An example is treated as a mini-batch of one.
    """
    spec, loss = vector.model.spec, LOSSES[vector.loss]
    cast = partial(np.asarray, dtype=dtype)
    params, buffers = ({name: cast(a) for name, a in state.items()} for state in (vector.params, vector.buffers))
    x, y = cast(vector.x), vector.y if vector.loss == "softmax" else cast(vector.y)
    if not vector.batches:
        x, y = x[:, None], y[:, None]

    def logits(params: State, x: Array, training: bool = False) -> Array:
        if spec["kind"] == "mlp":
            return mlp(spec, params, x)
        return mxresnet(spec, {**params, **buffers}, x, training)

    def field(params: State, x: Array, y: Array) -> tuple[tuple[Array, Array], State]:
        """((mean loss of the batch, logits), gradient)."""

        def loss_and_logits(params: State) -> tuple[Array, Array]:
            z = logits(params, x, vector.training)
            return loss(z, y), z

        return jax.value_and_grad(loss_and_logits, has_aux=True)(params)

    def hvp(params: State, x: Array, y: Array, direction: State) -> State:
        """H d, by forward over reverse."""
        return jax.jvp(lambda params: field(params, x, y)[1], (params,), (direction,))[1]

    def push_forward(params: State, x: Array, tangent: State) -> Array:
        """D_θ z(x) · tangent, (n, k)."""
        return jax.jvp(lambda params: logits(params, x), (params,), (tangent,))[1]

    # Compilation takes most of the time, and a sixth of it without optimization.
    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def answer(params: State, x: Array, y: Array, pairs: Array, x_eval: Array) -> dict[str, Array]:
        (losses, z), gradients = jax.vmap(field, (None, 0, 0))(params, x, y)
        along, of = pairs, pairs[:, ::-1]  # for a pair (i, j): H_j along g_i, then H_i along g_j
        over_orders = jax.vmap(jax.vmap(hvp, (None, 0, 0, 0)), (None, 0, 0, 0))
        hvps = over_orders(params, x[of], y[of], {name: g[along] for name, g in gradients.items()})
        logit_delta = jax.vmap(push_forward, (None, None, 0))(params, x_eval, brackets(hvps))
        return keyed(losses, z, gradients, hvps, logit_delta, vector.batches)

    found = answer(params, x, y, vector.pairs, cast(vector.x_eval))
    return {key: np.asarray(value) for key, value in found.items()}
