"""Bugs with a free parameter, estimated from a candidate: factors, the step of differences, bits of precision."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from ...core.engine import at, stacked
from ...core.problem import Problem
from ...core.types import Array, Arrays
from ..answers import Answers, both_ways, gradient_norms, keyed, mapped, quantity_of
from ..comparison import LEAST, Comparison
from ..tolerance import MARGIN, ROWS, norms

PRECISIONS = {"bfloat16": 8, "half": 11, "float32": 24}  # bits
UNFITTED = 1e-3  # of an error may be left by a fit that has not converged
WHOLE = 53  # bits of float64
FINE = 12  # bits: larger errors are seldom those of rounding, and may be anything
Estimate = tuple[float, str] | None  # the digits that match, and the estimate in words


def estimated_factors(comparison: Comparison) -> Estimate:
    """Whether each quantity that disagrees is a multiple of the exact one, with a factor of its own."""
    exact = comparison.exact
    factors = {}
    for quantity in comparison.disagreeing:
        keys = comparison.keys(quantity)
        a, b = _vector(comparison.candidate, keys), _vector(comparison.vector.outputs, keys)
        factors[quantity] = float(a @ b / (b @ b)) if b.any() else 1.0
    found = np.array(list(factors.values()))
    if not np.isfinite(found).all() or not found.all():  # squares underflow, or an answer is zero
        return None
    if np.allclose(found, 1, rtol=0, atol=1e-6):
        return None
    digits = comparison.explained_by(
        exact.known({q: mapped(partial(np.multiply, c), exact[q]) for q, c in factors.items()})
    )
    words = ", ".join(f"{quantity} × {_named(c, exact.problem)}" for quantity, c in factors.items())
    return None if digits is None else (digits, words)


def estimated_decay(comparison: Comparison) -> Estimate:
    """Whether the loss has λ/2 ‖θ‖² added, the same in every example, and the λ."""
    first, problem, exact = comparison.disagreeing[0], comparison.vector, comparison.exact
    if first in ("hvp", "bracket"):
        return _decay_of_products(comparison)
    if first != "loss":
        return None
    added = float((comparison.candidate["loss"] - exact.loss).mean())
    decay = 2 * added / sum(float(np.vdot(p, p)) for p in problem.params.values())
    loss = replace(problem.loss_function, weight_decay=decay)
    digits = comparison.explained_by(Answers(replace(problem, loss=loss)).known({"logits": exact.logits}))
    return None if digits is None else (digits, f"λ = {decay:.6g}")


def _decay_of_products(comparison: Comparison) -> Estimate:
    """The same where gradients and losses are missing, or right: (H_j + λ) (g_i + λ θ), or only its second factor."""
    exact, first = comparison.exact, comparison.disagreeing[0]
    theta = {name: np.stack([p] * len(exact.problem.x)) for name, p in exact.problem.params.items()}
    along_theta = exact.engine.products(exact.problem, theta)
    directions = exact.problem.pairs[:, : exact.sides]

    def decayed(whole: bool, decay: float) -> Answers:
        def product(name: str) -> Array:
            d = exact.grad[name][directions] + decay * theta[name][0]
            return exact.hvp[name] + decay * (along_theta[name] + whole * d)

        return exact.replaced(hvp=lambda _: {name: product(name) for name in exact.hvp})

    for whole, words in ((True, ""), (False, ", in directions alone")):
        found = _fitted_step(comparison, first, 1e-3, partial(decayed, whole))
        digits = comparison.explained_by(found[1], fraction=UNFITTED) if found else None
        if found and digits is not None:
            return digits, f"λ = {found[0]:.6g}{words}"
    return None


def estimated_step(comparison: Comparison) -> Estimate:
    """Whether the products are differences of gradients, and with which step."""
    first = comparison.disagreeing[0]
    if first not in ("hvp", "bracket"):
        return None
    size = np.sqrt(sum(float((p**2).sum()) for p in comparison.exact.problem.params.values()))
    longest = float(gradient_norms(comparison.exact.grad).max())
    for central, relative in product((False, True), (False, True)):
        for start in (1e-4 * size / (1.0 if relative else longest), 1e-3, 1e-2, 1e-1):
            make = partial(differenced, comparison.exact, central=central, relative=relative)
            found = _fitted_step(comparison, first, start, make, 2 if central else 1)
            if found is None:
                continue
            digits = comparison.explained_by(found[1], fraction=0.02)
            if digits is not None:
                kind = "central" if central else "forward" if found[0] > 0 else "backward"
                return digits, f"{kind}, step {abs(found[0]):.2g}{' / ‖direction‖' if relative else ''}"
    return None


def estimated_swap(comparison: Comparison) -> Estimate:
    """Whether the bracket is that of two finite steps in both orders, over ε², and the ε."""
    if comparison.disagreeing[0] != "bracket":
        return None
    for start in (1e-2, 1e-1, 1e-3):
        found = _fitted_step(comparison, "bracket", start, partial(swapped_order, comparison.exact))
        digits = comparison.explained_by(found[1], fraction=0.02) if found else None
        if found and digits is not None:
            return digits, f"ε = {found[0]:.2g}"
    return None


def swapped_order(exact: Answers, epsilon: float) -> Answers:
    """The bracket as (θ(i then j) − θ(j then i)) / ε², by steps of size ε."""
    problem = exact.problem

    def after(first: int, second: int) -> Arrays:
        moved = {name: p - epsilon * exact.grad[name][first] for name, p in problem.params.items()}
        one = slice(second, second + 1)
        return at(exact.engine.gradients(replace(problem, params=moved, x=problem.x[one], y=problem.y[one])), 0)

    def bracket(_: Answers) -> Arrays:
        # θ(i then j) − θ(j then i) = ε (g_j − g_j(θ − ε g_i)) − ε (g_i − g_i(θ − ε g_j))
        g, found = exact.grad, []
        for i, j in problem.pairs:
            ij, ji = after(i, j), after(j, i)
            found.append({n: ((g[n][j] - ij[n]) - (g[n][i] - ji[n])) / epsilon for n in g})
        return stacked(found)

    return exact.replaced(bracket=bracket)


def estimated_move(comparison: Comparison) -> Estimate:
    """Whether the second product of each pair is taken after the first step, and the size of this step."""
    first = comparison.disagreeing[0]
    if first not in ("hvp", "bracket") or comparison.exact.sides == 1:
        return None
    for start, whole in product((1e-2, 1e-1, 1e-3), (True, False)):
        found = _fitted_step(comparison, first, start, partial(moved_between, comparison.exact, whole))
        digits = comparison.explained_by(found[1], fraction=UNFITTED) if found else None
        if found and digits is not None:
            return digits, f"ε = {found[0]:.6g}{'' if whole else ', for the Hessian alone'}"
    return None


def moved_between(exact: Answers, whole: bool, epsilon: float) -> Answers:
    """H_i g_j of each pair (i, j) at θ − ε g_i: the Hessian, and if `whole` the direction as well."""
    problem = exact.problem

    def second(i: int, j: int) -> Arrays:
        params = {name: p - epsilon * exact.grad[name][i] for name, p in problem.params.items()}
        there = replace(problem, params=params, pairs=np.array([[j, i]]))
        found = exact.engine.products(there, exact.engine.gradients(there) if whole else exact.grad)
        return {name: h[0, 0] for name, h in found.items()}

    def products(_: Answers) -> Arrays:
        later = stacked([second(i, j) for i, j in problem.pairs])
        return {name: np.stack([h[:, 0], later[name]], axis=1) for name, h in exact.hvp.items()}

    return exact.replaced(hvp=products)


def _fitted_step(
    comparison: Comparison, quantity: str, step: float, make: Callable[[float], Answers], power: int = 1
) -> tuple[float, Answers] | None:
    """The step for which the error of `make(step)` is the candidate's error, by fixed-point iteration from a guess.

    To leading order, the error grows like this power of the step: 1 for forward differences, 2 for central ones.
    """
    keys = comparison.keys(quantity)
    b = _vector(comparison.vector.outputs, keys)
    target = _vector(comparison.candidate, keys) - b
    for _ in range(8):
        solution = make(step)
        error = _vector(keyed(quantity, solution[quantity]), keys) - b
        cosine = target @ error / np.sqrt((target @ target) * (error @ error))
        ratio = target @ error / (error @ error)
        if not abs(cosine) > 0.3 or (power == 2 and ratio < 0):
            return None
        if abs(ratio - 1) < 1e-6:
            break
        step *= float(ratio ** (1 / power))
    return (step, solution) if cosine > 0.99 else None


def differenced(exact: Answers, step: float, *, central: bool, relative: bool) -> Answers:
    """Products as (g(θ + h d) − g(θ)) / h, or central (g(θ + h d) − g(θ − h d)) / 2h, with h = step or step / ‖d‖."""
    problem, norms = exact.problem, gradient_norms(exact.grad)

    def gradient(field: int, direction: int, h: float) -> Arrays:
        params = {name: p + h * exact.grad[name][direction] for name, p in problem.params.items()}
        one = slice(field, field + 1)
        return exact.engine.gradients(replace(problem, params=params, x=problem.x[one], y=problem.y[one]))

    def quotient(field: int, direction: int) -> Arrays:
        h = step / norms[direction] if relative and norms[direction] else step
        ahead = gradient(field, direction, h)
        behind = gradient(field, direction, -h if central else 0.0)
        return {name: (ahead[name] - behind[name])[0] / (2 * h if central else h) for name in ahead}

    return exact.replaced(hvp=lambda _: mapped(lambda h: h[:, : exact.sides], both_ways(problem.pairs, quotient)))


def estimated_precision(comparison: Comparison) -> Estimate:
    """Whether answers, inputs or terms were rounded to a narrow format, or else whether errors look like rounding."""
    first = comparison.disagreeing[0]
    agreement = comparison.digits(first)[0]
    if agreement < LEAST:
        return None
    for name, bits in PRECISIONS.items():
        narrow = {q: arrays for q in comparison.disagreeing if (arrays := _narrow(comparison, q, bits)) is not None}
        given = {q: partial(lambda arrays, _: arrays, arrays) for q, arrays in narrow.items()}
        if first in given and comparison.explained_by(comparison.exact.replaced(**given)) is not None:
            return agreement, f"the answers are {name} numbers"
    for note, solution in _rounded_inputs(comparison):
        digits = comparison.explained_by(solution)
        if digits is not None:
            return digits, note
    noise = _noise(comparison)
    return (agreement, noise) if noise else None


def _narrow(comparison: Comparison, quantity: str, bits: int) -> Any:
    """The candidate's arrays of a quantity, if their numbers have no more than this many bits though they could."""
    arrays = {key.partition("/")[2]: comparison.candidate[key] for key in comparison.keys(quantity)}
    if all(bits <= np.finfo(a.dtype).nmant and np.array_equal(a, rounded(a, bits)) for a in arrays.values()):
        return arrays.get("", arrays)
    return None


def _noise(comparison: Comparison) -> str | None:
    """The bits at which rounding makes errors like the candidate's, in most rows, of the size that it makes in each.

    Rounding errors also have no direction in common with the right answers, and are not those of single numbers.
    """
    keys = [key for quantity in comparison.disagreeing for key in comparison.keys(quantity)]

    def rows(arrays: Arrays) -> Array:
        return np.concatenate([arrays[key].ravel() for key in keys])

    errors = rows(comparison.errors)
    sizes = rows({key: norms(comparison.vector.outputs[key], key) for key in keys})
    some = errors > 0
    if np.mean(errors > rows(comparison.allowed)) < 0.5:  # noise is everywhere, a wrong entry is not
        return None

    def excess(allowed: Arrays) -> Array:
        """log2 of each error relative to the usual error of a precision; the quotient itself may overflow."""
        return np.log2(errors[some]) - np.log2(rows(allowed)[some] / MARGIN)

    own = min(np.finfo(comparison.candidate[key].dtype).nmant + 1 for key in keys)
    if own < WHOLE and not comparison.vector.has_network:  # differences of narrow gradients are noise themselves
        return None
    bits = round(own - float(np.median(excess(comparison.allowed))))
    if not FINE <= bits <= own - 3 or _patterned(comparison, keys):
        return None
    allowed = comparison.vector.allowed(comparison.quantities, np.float64, bits)
    if not all((comparison.errors[key] <= allowed[key]).all() for key in comparison.candidate):
        return None
    low, high = np.percentile(excess(allowed), (10, 90))
    if high - low > 8 or np.median(errors / sizes) > 0.3:  # noise is as large everywhere, and smaller than the answer
        return None
    return f"about {bits} bits"


def _patterned(comparison: Comparison, keys: list[str]) -> bool:
    """Whether the errors follow the right answers, or are those of one number in each row, as rounding errors are not.

    The first shows in the cosines of long rows.
    """
    cosines: list[float] = []
    largest: list[float] = []  # part of the squares of a row's errors
    count = 0
    for key in keys:
        exact, lead = comparison.vector.outputs[key], ROWS[quantity_of(key)]
        error = (comparison.candidate[key].astype(np.float64) - exact).reshape(-1, int(np.prod(exact.shape[lead:])))
        right = exact.reshape(error.shape)
        scale = np.linalg.norm(error, axis=1) * np.linalg.norm(right, axis=1)
        if error.shape[1] >= 4:
            count += error.size
            cosines += ((error * right).sum(axis=1)[scale > 0] / scale[scale > 0]).tolist()
            largest += [float(np.max(e**2) / np.sum(e**2)) for e in error[scale > 0]]
    if count < 64 or np.median(largest) > 0.99:  # too few numbers to tell, or single ones
        return True
    return abs(float(np.mean(cosines))) > 0.35 or float(np.mean(np.abs(cosines))) > 0.6


def _rounded_inputs(comparison: Comparison) -> Iterator[tuple[str, Answers]]:
    """The exact answers to the problem with something rounded: weights, inputs or the products that are subtracted."""
    exact, alone = comparison.exact, not comparison.vector.has_network
    for name, bits in PRECISIONS.items():
        for what, keys in (
            ("weights and inputs are", ("params", "buffers", "x", "x_eval")),
            ("inputs are", ("x", "x_eval")),
            ("weights are", ("params", "buffers")),
            ("parameters are", ("params",)),
        ):
            if alone and keys != ("params",):
                continue
            changes = {key: mapped(partial(rounded, bits=bits), getattr(exact.problem, key)) for key in keys}
            yield f"{what} {name} numbers", Answers(replace(exact.problem, **changes), exact.engine)
        if exact.sides == 1:  # a single product is in no bracket
            continue
        terms = {name: rounded(h, bits) for name, h in exact.hvp.items()}
        bracket = {name: h[:, 0] - h[:, 1] for name, h in terms.items()}
        yield f"the bracket subtracts {name} numbers", exact.replaced(bracket=partial(lambda b, _: b, bracket))


def rounded(a: Array, bits: int) -> Array:
    """The nearest numbers with this many bits; those of half precision also have few exponents."""
    if bits == PRECISIONS["half"]:
        with np.errstate(over="ignore"):
            return a.astype(np.float16).astype(a.dtype)
    mantissa, exponent = np.frexp(a)
    return np.ldexp(np.round(mantissa * 2.0**bits) / 2.0**bits, exponent)


def _vector(arrays: Arrays, keys: list[str]) -> Array:
    """These arrays as one vector, in float64."""
    return np.concatenate([arrays[key].ravel().astype(np.float64) for key in keys])


def _named(factor: float, problem: Problem) -> str:
    """A factor, with the counts that it or its reciprocal is equal to."""
    n, outputs, pairs = len(problem.x), problem.model.n_out, len(problem.pairs)
    if not problem.model.network.layers:  # then the sizes that count, such as that of a mini-batch, are not known
        return f"{factor:.6g}" if abs(factor) > 1 or factor == 0 else f"{factor:.6g} = 1 / {1 / factor:.6g}"
    counts = {"outputs C": outputs, "fields n": n, "C²": outputs**2, "n²": n**2, "pairs": pairs}
    if problem.batches:
        counts["members m"] = problem.x.shape[1]
    for count in counts.values():
        meanings = " or ".join(name for name, other in counts.items() if other == count)
        for value, text in ((count, f"{count}"), (1 / count, f"1/{count}")):
            if count > 1 and abs(factor / value - 1) < 1e-4:
                return f"{text} ({meanings})"
    power = np.log10(abs(factor))
    if round(power) and abs(power - round(power)) < 1e-4:
        return f"{factor:.6g} (a step ε, or ε²)"
    return f"{factor:.6g}"
