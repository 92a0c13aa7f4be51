"""Evaluates a checkpoint: the brackets of a few examples, and what each bracket does to the logits of all examples."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from ..core.networks import Model
from ..core.optimizers import Optimizer
from ..core.problem import Problem, Solution
from ..core.types import Array, Arrays
from ..fast import engine
from ..fast.arguments import Errors, LossLike, checked_problem, checked_result
from ..fast.norms import row_norms
from ..machine.errors import shortened
from .derivatives import swap_effect, tensor_norms

HELD = 2**24  # effects of swaps in memory at a time, in numbers: 128 MiB in float64


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The result of `evaluate` for n inputs, the p pairs of the first e inputs, t parameter tensors and k logits.

    `pairs` (p, 2); `logits` (n, k) and `loss` (n,) of the inputs; `logit_delta` (p, n, k), the effect D_θ z · [v_i,
    v_j] of each bracket on them; `rms_gradient` (e, t) and `rms_bracket` (p, t), the root mean square of each tensor;
    `tensor_names` (t,); `gradients` and `brackets`, name → (e, *shape) and (p, *shape).  Floats have the dtype of the
    parameters.
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
    loss: LossLike = "bce",
    errors: Errors = "raise",
) -> Evaluation:
    """The e (e − 1) / 2 brackets of the first e = `examples` inputs, and their effect on the logits of all n inputs.

    x is (n, channels, height, width) or (n, features); y is (n, n_out), or (n,) integers for "softmax".  Raises
    ValueError or TypeError for arrays that do not fit the model or each other, for fewer than `examples` inputs, and
    for brackets or changes of logits that are not finite, unless `errors` is "ignore".

    >>> from lie_ref import mlp
    >>> model = mlp([2, 3, 1])
    >>> ev = evaluate(model, *model.init(seed=0), np.eye(2), np.array([[0.0], [1.0]]), examples=2)
    >>> ev.pairs.tolist(), ev.logit_delta.shape, ev.rms_bracket.shape
    ([[0, 1]], (1, 2, 1), (1, 4))
    """
    whole = checked_problem(model, params, buffers, x, y, loss=loss, batches=False)
    solution = Solution(among_first(whole, examples), engine)
    of_all = Solution(whole, engine)
    of_all.logits, changes = engine.push_forward(whole, whole.x, solution.bracket)
    return Evaluation(
        pairs=solution.problem.pairs,
        logits=of_all.logits,
        loss=of_all.loss,
        logit_delta=checked_result(changes, errors),
        rms_gradient=tensor_rms(solution.grad),
        rms_bracket=tensor_rms(solution.bracket),
        tensor_names=np.array(list(solution.grad)),
        brackets=checked_result(solution.bracket, errors),
        gradients=solution.grad,
    )


def among_first(problem: Problem, examples: int) -> Problem:
    """All pairs of the first examples, as a problem that watches the logits of the same inputs as the given one."""
    if not isinstance(examples, (int, np.integer)) or not 2 <= examples <= len(problem.x):
        raise ValueError(
            f"examples: expected an integer from 2 to {len(problem.x)}, the number of inputs, got {shortened(examples)}"
        )
    pairs = np.array(list(combinations(range(examples), 2)))
    return replace(problem, x=problem.x[:examples], y=problem.y[:examples], pairs=pairs)


@dataclass(frozen=True)
class Swaps:
    """What a swap does for each of p pairs of e examples: the brackets, or their counterparts under an optimizer.

    `norm` (p,) and `rms_bracket` (p, t) are the sizes of the effects; `logit_delta` (p, n, k) is what they do to the
    logits; `rms_gradient` (e, t) are the sizes of the swapped steps: gradients, or the optimizer's updates.
    """

    norm: Array
    rms_bracket: Array
    rms_gradient: Array
    logit_delta: Array


def plain_swaps(solution: Solution) -> Swaps:
    """Swaps of plain gradient steps: their effects are the brackets."""
    return _swaps(solution, tensor_rms(solution.grad), engine.brackets)


def optimizer_swaps(solution: Solution, optimizer: Optimizer, order: int) -> Swaps:
    """Swaps of steps of an optimizer in a given state: their effect of first or second `order` in ε.

    The first order comes from the memory of the optimizer; the second contains the Lie bracket.
    """
    each = (chosen(solution.grad, [i]) for i in range(len(solution.problem.x)))
    updates = (optimizer.step(g, solution.problem.params)[0] for g in each)
    rms = np.concatenate([tensor_rms(update) for update in updates])
    return _swaps(solution, rms, lambda part, g: swap_effect(part, g, optimizer, order))


def shuffled_rms(solution: Solution, rng: np.random.Generator) -> Array:
    """RMS (p, t) of H_j d_i − H_i d_j, where the direction d_i is the gradient g_i shuffled within each tensor.

    The directions keep the norms of the gradients, tensor by tensor, and nothing else of the examples.  A law that also
    holds with them comes from the Hessian and the sizes of the tensors alone.
    """
    count = len(solution.problem.x)
    directions = {
        name: rng.permuted(g.reshape(count, -1), axis=1).reshape(g.shape) for name, g in solution.grad.items()
    }
    parts = _by_pairs(solution.problem, directions, engine.brackets)
    return np.concatenate([tensor_rms(effects) for effects in parts])


def _swaps(solution: Solution, rms_gradient: Array, effect: Callable[[Problem, Arrays], Arrays]) -> Swaps:
    """The swaps with the effects, name → (p, *shape), that `effect` computes for some of the pairs."""
    problem = solution.problem
    found = [
        (tensor_norms(effects), tensor_rms(effects), engine.push_forward(problem, problem.x_eval, effects)[1])
        for effects in _by_pairs(problem, solution.grad, effect)
    ]
    norm, rms, delta = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Swaps(norm=norm, rms_bracket=rms, rms_gradient=rms_gradient, logit_delta=delta)


def _by_pairs(problem: Problem, directions: Arrays, effect: Callable[[Problem, Arrays], Arrays]) -> Iterator[Arrays]:
    """The `effect` of a few pairs at a time, because those of all pairs of a large network do not fit into memory.

    `effect` is given a problem with these pairs and the examples in them, and the directions of these examples.
    """
    step = max(1, HELD // problem.model.parameter_count)
    for pairs in (problem.pairs[start : start + step] for start in range(0, len(problem.pairs), step)):
        used, local = np.unique(pairs, return_inverse=True)
        x, y = problem.x[used], problem.y[used]
        yield effect(replace(problem, x=x, y=y, pairs=local.reshape(pairs.shape)), chosen(directions, used))


def chosen(arrays: Arrays, rows: Array | list[int]) -> Arrays:
    """These rows of name → (n, *shape)."""
    return {name: a[rows] for name, a in arrays.items()}


def tensor_rms(arrays: Arrays) -> Array:
    """The root mean square of each tensor, for each of n gradients or brackets: name → (n, *shape) gives (n, t)."""
    return np.stack([(row_norms(a) / np.sqrt(a[0].size)).astype(a.dtype) for a in arrays.values()], axis=1)
