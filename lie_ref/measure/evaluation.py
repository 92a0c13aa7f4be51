"""Evaluates one checkpoint: the brackets among a few examples, and what each does to every logit of every example."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ..core.losses import LossFunction, loss_function
from ..core.networks import Arrays, Model
from ..core.optimizers import Optimizer
from ..fast.arguments import checked_inputs, checked_state, checked_targets
from ..fast.dual import Array
from ..fast.engine import gradients, push_forward, squared_norms, swap_effects
from ..fast.sweeps import channels_last, group_brackets, group_gradients, group_push_forward


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` finds, for n inputs, the p pairs among the first e of them, t parameter tensors and k logits.

    `pairs` (p, 2); `logits` (n, k) and `loss` (n,); `logit_delta` (p, n, k), each bracket's effect D_θ z · [v_i, v_j];
    `rms_gradient` (e, t) and `rms_bracket` (p, t), the root mean square of each tensor; `tensor_names` (t,);
    `brackets` and `gradients`, name → (p, *shape) and (e, *shape).  Floats are in the dtype of the parameters.
    """

    pairs: Array
    logits: Array
    loss: Array
    logit_delta: Array
    rms_gradient: Array
    rms_bracket: Array
    tensor_names: Array
    brackets: Arrays
    gradients: Arrays


def evaluate(
    model: Model,
    params: Arrays,
    buffers: Arrays,
    x: Array,
    y: Array,
    examples: int = 6,
    loss: str | LossFunction = "bce",
) -> Evaluation:
    """The p = e (e − 1) / 2 brackets among the first e = `examples` inputs, and their effect on the logits of all n.

    x is (n, channels, height, width) or (n, features); y (n, n_out), or (n,) integers for "softmax".  Raises ValueError
    or TypeError for arrays that do not fit the model or each other, or fewer than `examples` inputs.

    >>> from lie_ref import mlp
    >>> model = mlp([2, 3, 1])
    >>> ev = evaluate(model, *model.init(seed=0), np.eye(2), np.array([[0.0], [1.0]]), examples=2)
    >>> ev.pairs.tolist(), ev.logit_delta.shape, ev.rms_bracket.shape
    ([[0, 1]], (1, 2, 1), (1, 4))
    """
    params, buffers = checked_state(model, params, buffers)
    x = checked_inputs("x", model, params, x)
    y = checked_targets(model, x, y, loss)
    if not isinstance(examples, (int, np.integer)) or not 2 <= examples <= len(x):
        raise ValueError(f"examples: expected an integer from 2 to {len(x)}, the number of inputs, got {examples}")
    pairs = np.array(list(combinations(range(examples), 2)))
    groups = channels_last(x[:examples, None]), y[:examples, None]
    g = group_gradients(model, params, buffers, *groups, loss_function(loss))
    b = group_brackets(model, params, buffers, *groups, g, pairs, loss_function(loss))
    z, changes = group_push_forward(model, params, buffers, channels_last(x), b)
    return Evaluation(
        pairs=pairs,
        logits=z,
        loss=loss_function(loss).definition(z, y),
        logit_delta=changes,
        rms_gradient=_tensor_rms(g),
        rms_bracket=_tensor_rms(b),
        tensor_names=np.array(list(g)),
        brackets=b,
        gradients=g,
    )


@dataclass(frozen=True)
class SwapEffects:
    """What swapping each of p pairs among e examples does under an optimizer, named as in `Evaluation`.

    In place of a bracket stands the effect of the swap, `norm` (p,) and `rms_bracket` (p, t), and for a gradient the
    update that the optimizer would make of it, `rms_gradient` (e, t); `logit_delta` (p, n, k).
    """

    norm: Array
    rms_bracket: Array
    rms_gradient: Array
    logit_delta: Array


def evaluate_swaps(
    model: Model,
    params: Arrays,
    buffers: Arrays,
    x: Array,
    y: Array,
    optimizer: Optimizer,
    order: int,
    examples: int = 6,
    loss: str | LossFunction = "bce",
) -> SwapEffects:
    """What `evaluate` finds of plain gradient steps, for an optimizer in a given state: its effect of this order in ε.

    Order 1 is what its memory does, order 2 holds the Lie bracket.  Else as `evaluate`.
    """
    pairs = np.array(list(combinations(range(examples), 2)))
    few = x[:examples], y[:examples]
    effect = swap_effects(model, params, buffers, *few, pairs, optimizer, loss)[order - 1]
    return SwapEffects(
        norm=np.sqrt(sum(squared_norms(a) for a in effect.values())),
        rms_bracket=_tensor_rms(effect),
        rms_gradient=_tensor_rms(optimizer.step(gradients(model, params, buffers, *few, loss))[0]),
        logit_delta=push_forward(model, params, buffers, x, effect),
    )


def shuffled_brackets(
    model: Model,
    params: Arrays,
    buffers: Arrays,
    x: Array,
    y: Array,
    found: Evaluation,
    seed: int,
    loss: str | LossFunction = "bce",
) -> Array:
    """RMS (p, t) of H_j d_i − H_i d_j for the pairs of an evaluation, d_i its gradient, shuffled within each tensor.

    Directions of the same norm in every tensor, which know nothing of the examples: what is left of a law with them is
    due to the Hessian and the sizes of tensors alone.
    """
    rng, examples = np.random.default_rng(seed), len(found.rms_gradient)
    directions = {
        name: rng.permuted(g.reshape(examples, -1), axis=1).reshape(g.shape) for name, g in found.gradients.items()
    }
    groups = channels_last(x[:examples, None]), y[:examples, None]
    return _tensor_rms(group_brackets(model, params, buffers, *groups, directions, found.pairs, loss_function(loss)))


def _tensor_rms(arrays: Arrays) -> Array:
    """Root mean square of each tensor of each field: name → (n, *shape) gives (n, t)."""
    return np.stack([np.sqrt(squared_norms(a) / a[0].size).astype(a.dtype) for a in arrays.values()], axis=1)
