"""Checks exact brackets in three ways: by reverse over reverse, by finite differences, and by swapping two steps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..core.differences import PLAIN, STEPS, bracket_by_differences, order_swap, relative_error
from ..core.engine import Autograd, at
from ..core.fields import Field, Point, difference, hvp_reverse_over_reverse, norm, tree_map
from ..core.optimizers import AdamState, FixedPreconditioner, Momentum, Optimizer
from ..core.problem import Problem
from ..core.types import Arrays
from ..fast import engine
from .derivatives import swap_effect

# Order swaps at four steps give two extrapolations to ε = 0.  For an effect of first or second order in ε, they may
# differ by this part of the change between the steps.  A jump of the gradient between the steps adds 1/ε to a swap
# of second order.  It only shifts a swap of first order, so that needs one more swap, at a step `NEARER` times smaller.
STRAIGHTNESS = {1: 0.01, 2: 0.1}
NEARER = 256


@dataclass(frozen=True)
class OrderSwap:
    """How the order swap approaches its limit: `error[k]` = |swap(ε_k) / ε_kⁿ − limit| / |limit| at `epsilon[k]`.

    `observed_order` is the slope of log error against log ε.  It is 1 if the limit is right (the error is then C ε), 0
    if it is wrong, and None if an error is zero or infinite.
    """

    epsilon: list[float]
    error: list[float]
    observed_order: float | None


@dataclass(frozen=True)
class BracketCheck:
    """How far a bracket is from three other derivations.

    `hvp_modes` is the largest relative error of any tensor against reverse over reverse, by autograd through the
    definitions of the layers; `richardson` is the same against differences of the gradient; `order_swap` compares the
    bracket with swapped steps.
    """

    hvp_modes: float
    richardson: float
    order_swap: OrderSwap


def check_bracket(problem: Problem, bracket: Arrays) -> BracketCheck:
    """Check the bracket, name → (*shape), of a problem with one pair in three ways, in float64 or better.

    >>> from lie_ref import brackets, mlp
    >>> from lie_ref.fast.arguments import checked_problem
    >>> model = mlp([2, 3, 1])
    >>> given = model, *model.init(seed=0), np.eye(2), np.array([[0.0], [1.0]]), [(0, 1)]
    >>> bracket = {name: b[0] for name, b in brackets(*given).items()}
    >>> check_bracket(checked_problem(*given), bracket).hvp_modes < 1e-12
    True
    """
    dtype = np.promote_types(problem.x.dtype, np.float64)
    problem, bracket = problem.astype(dtype), {name: np.asarray(b, dtype) for name, b in bracket.items()}
    reverse = Autograd(hvp_reverse_over_reverse)
    again = at(reverse.brackets(problem, reverse.gradients(problem)), 0)
    g_i, g_j = (_gradient_of(problem, int(i)) for i in problem.pairs[0])
    return BracketCheck(
        hvp_modes=largest_relative_error(again, bracket),
        richardson=largest_relative_error(bracket_by_differences(g_i, g_j, problem.params), bracket),
        order_swap=order_swap_convergence(g_i, g_j, problem.params, bracket),
    )


def check_swaps(problem: Problem, adam: AdamState) -> dict[str, OrderSwap]:
    """Compare the formulas for swaps under an optimizer with swaps that are carried out, for a problem with one pair.

    "adam" has the given state and "sgd-momentum" the same mean gradient; both are compared to first order in ε.
    "preconditioned" holds Adam's preconditioner fixed and is compared to second order.  It is left out before Adam's
    first step, when there is no preconditioner.
    """
    beta = adam.betas[0]
    momentum = Momentum(tree_map(lambda m: m / (1 - beta), adam.mean), beta)
    optimizers: dict[str, tuple[Optimizer, int]] = {"sgd-momentum": (momentum, 1), "adam": (adam, 1)}
    if adam.count:
        optimizers["preconditioned"] = FixedPreconditioner(adam.preconditioner()), 2

    g_i, g_j = (_gradient_of(problem, int(i)) for i in problem.pairs[0])
    g, found = engine.gradients(problem), {}
    for name, (optimizer, order) in optimizers.items():
        limit = at(swap_effect(problem, g, optimizer, order), 0)
        found[name] = order_swap_convergence(g_i, g_j, problem.params, limit, optimizer, order)
    return found


def mini_batch_error(problem: Problem) -> float:
    """How far the bracket of two mini-batches x (2, m, …) is from the mean bracket of all pairs of their examples.

    It is the largest relative error of any tensor, with batch-norm in evaluation mode.  Only rounding should be left.
    """
    whole = replace(problem, pairs=np.array([[0, 1]]))
    bracket = at(engine.brackets(whole, engine.gradients(whole)), 0)
    x, y = (a.reshape(-1, *a.shape[2:]) for a in (problem.x, problem.y))
    m = problem.x.shape[1]
    single, total = replace(problem, x=x, y=y), {name: np.zeros_like(b) for name, b in bracket.items()}
    g = engine.gradients(single)
    for i in range(m):  # the brackets of all pairs of a large network would not fit into memory
        pairs = np.array([(i, m + j) for j in range(m)])
        for name, b in engine.brackets(replace(single, pairs=pairs), g).items():
            total[name] += b.sum(axis=0)
    return largest_relative_error({name: b / m**2 for name, b in total.items()}, bracket)


def order_swap_convergence(
    gradient_x: Field,
    gradient_y: Field,
    theta: Point,
    limit: Point,
    optimizer: Optimizer = PLAIN,
    order: int = 2,
    steps: Sequence[float] = STEPS,
) -> OrderSwap:
    """Compare `limit`, an effect of this order in ε such as a bracket, with the order swap at ε, ε/2, ε/4 and ε/8.

    `steps` are candidates for ε · max(|u_x|, |u_y|) / |θ|, largest first, where u are the updates of the optimizer.
    The first step is used at which the four swaps lie on a straight line in ε, to within `STRAIGHTNESS`; for the first
    order that line must also lead to the swap at ε / `NEARER`.  If there is none, the last step is used.  The choice
    does not depend on `limit`.
    """

    def swap(epsilon: float) -> Point:
        return order_swap(gradient_x, gradient_y, theta, epsilon, optimizer, order)

    longest = max(norm(optimizer.step(gradient(theta), theta)[0]) for gradient in (gradient_x, gradient_y)) or 1.0
    for step in steps:
        epsilons = [step * (norm(theta) or 1.0) / longest / 2**k for k in range(4)]
        swaps = [swap(epsilon) for epsilon in epsilons]
        limits = [tree_map(lambda s, t: 2 * t - s, *swaps[k : k + 2]) for k in (0, 2)]
        if order == 1:  # a jump that all four cross shifts their line but leaves it straight
            limits.append(swap(epsilons[0] / NEARER))
        apart = max(norm(difference(other, limits[1])) for other in limits)
        if apart <= STRAIGHTNESS[order] * norm(difference(swaps[0], swaps[-1])):
            break
    errors = [relative_error(swap, limit) for swap in swaps]
    return OrderSwap(epsilons, errors, observed_order(epsilons, errors))


def largest_relative_error(a: Arrays, b: Arrays) -> float:
    """The largest `relative_error` of any tensor; nan if one of them is, or if all are zero and so tell nothing."""
    largest = float(np.max([relative_error(a[name], b[name]) for name in b]))
    return largest if largest or any(of.any() for of in b.values()) else float("nan")


def _gradient_of(problem: Problem, i: int) -> Field:
    """The gradient of the loss of example i, as a function of the parameters."""
    alone = replace(problem, x=problem.x[i : i + 1], y=problem.y[i : i + 1])
    return lambda params: at(engine.gradients(replace(alone, params=params)), 0)


def observed_order(epsilons: Sequence[float], errors: Sequence[float]) -> float | None:
    """The slope of log error against log ε: 1 if the error is C ε, 0 if it is constant; None for 0 or infinity.

    >>> round(observed_order([1e-3, 5e-4], [0.02, 0.01]), 2)
    1.0
    """
    if not all(0 < error < np.inf for error in errors):
        return None
    return float(np.polyfit(np.log(epsilons), np.log(errors), 1)[0])
