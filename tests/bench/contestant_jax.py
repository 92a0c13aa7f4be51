"""JAX at the same work: compiled, in float64, with as many threads as it takes."""

from __future__ import annotations

import jax

from ..peers.answers_jax import LOSSES, State, mxresnet
from .work import Part, Peer, parts_of_evaluation, problem

jax.config.update("jax_platforms", "cpu")


def evaluation(preset: str, inputs: int, examples: int) -> dict[str, Part]:
    """Gradients, brackets and push-forward."""
    p = problem(preset, inputs)
    theta, x, y = jax.device_put((p.params, p.x, p.y))

    def logits(params: State, x: jax.Array) -> jax.Array:
        return mxresnet(p.model.spec, {**params, **p.buffers}, x, training=False)

    def gradient(params: State, x: jax.Array, y: jax.Array) -> State:
        return jax.grad(lambda params: LOSSES["bce"](logits(params, x[None]), y[None]))(params)

    def hvp(params: State, x: jax.Array, y: jax.Array, direction: State) -> State:
        return jax.jvp(lambda params: gradient(params, x, y), (params,), (direction,))[1]

    def change(params: State, x: jax.Array, tangent: State) -> tuple[jax.Array, jax.Array]:
        return jax.jvp(lambda params: logits(params, x), (params,), (tangent,))

    gradients = jax.jit(jax.vmap(gradient, (None, 0, 0)))
    one_hvp, one_change = jax.jit(hvp), jax.jit(change)
    hvps_of_one = jax.jit(jax.vmap(hvp, (None, None, None, 0)))
    hvps = jax.jit(jax.vmap(hvp, (None, 0, 0, 0)))
    changes = jax.jit(jax.vmap(change, (None, None, 0), (None, 0)))
    peer = Peer(
        gradients=lambda: gradients(theta, x[:examples], y[:examples]),
        hvp=lambda j, d: one_hvp(theta, x[j], y[j], d),
        hvps_of_one=lambda j, ds: hvps_of_one(theta, x[j], y[j], ds),
        hvps=lambda js, ds: hvps(theta, x[js], y[js], ds),
        change=lambda t: one_change(theta, x, t),
        changes=lambda ts: changes(theta, x, ts),
    )
    return parts_of_evaluation(peer, examples)
