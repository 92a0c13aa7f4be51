"""JAX: compiled, in float64, with its own threads."""

from __future__ import annotations

import jax

from ..peers.answers_jax import LOSSES, Array, State, mxresnet
from .work import Part, Peer, parts_of_evaluation, problem

jax.config.update("jax_platforms", "cpu")


def evaluation(preset: str, inputs: int, examples: int) -> dict[str, Part]:
    """Gradients, brackets and push-forwards."""
    p = problem(preset, inputs)

    def logits(params: State, x: Array) -> Array:
        return mxresnet(p.model.spec, {**params, **p.buffers}, x, training=False)

    def loss(params: State, x: Array, y: Array) -> Array:
        return LOSSES["bce"](logits(params, x[None]), y[None])

    peer = Peer(jax, loss, logits, *jax.device_put((p.params, p.x, p.y)), compiled=jax.jit)
    return parts_of_evaluation(peer, examples)
