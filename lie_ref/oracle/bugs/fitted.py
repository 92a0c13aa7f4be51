"""What a bug leaves open, estimated from a candidate: factors, the step of differences, the bits of the precision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from ...core.problem import Problem
from ...core.types import Array, Arrays
from ..answers import Answers, both_ways, gradient_norms, keyed
from ..comparison import LEAST, Comparison
from ..tolerance import MARGIN, ROWS, allowed_errors, row_norms

PRECISIONS = {"bfloat16": 8, "half or TF32": 11, "float32": 24}  # bits
Estimate = tuple[float, str] | None  # digits explained, and the estimate in words


def estimated_factors(comparison: Comparison) -> Estimate:
    """Whether every quantity that disagrees is c times what it should be, each with its own c."""
    exact = comparison.exact
    factors = {}
    for quantity in comparison.disagreeing:
        keys = comparison.keys(quantity)
        a, b = _vector(comparison.candidate, keys), _vector(comparison.vector.outputs, keys)
        factors[quantity] = float(a @ b / (b @ b)) if b.any() else 1.0
    found = np.array(list(factors.values()))
    if not np.isfinite(found).all() or not found.all():  # squares that vanish; what is zero is no multiple
        return None
    if np.allclose(found, 1, rtol=0, atol=1e-6):
        return None
    digits = comparison.explained_by(exact.known({q: _times(c, exact[q]) for q, c in factors.items()}))
    names = _numbers(exact.problem)
    words = ", ".join(f"{quantity} × {_named(c, names)}" for quantity, c in factors.items())
    return None if digits is None else (digits, words)


def estimated_step(comparison: Comparison) -> Estimate:
    """Whether the products are differences of gradients, and over which step."""
    first = comparison.disagreeing[0]
    if first not in ("hvp", "bracket"):
        return None
    size = np.sqrt(sum(float((p**2).sum()) for p in comparison.exact.problem.params.values()))
    longest = float(gradient_norms(comparison.exact.grad).max())
    for central, relative in product((False, True), (False, True)):
        for start in (1e-4 * size / (1.0 if relative else longest), 1e-3, 1e-2, 1e-1):
            found = _fitted_step(comparison, first, start, central, relative)
            if found is None:
                continue
            digits = comparison.explained_by(found[1], fraction=0.02)
            if digits is not None:
                kind = "central" if central else "forward" if found[0] > 0 else "backward"
                return digits, f"{kind}, step {abs(found[0]):.2g}{' / ‖direction‖' if relative else ''}"
    return None


def _fitted_step(
    comparison: Comparison, quantity: str, step: float, central: bool, relative: bool
) -> tuple[float, Answers] | None:
    """The step whose error of differences is the candidate's error, by fixed-point iteration from a first guess.

    To leading order the error of forward differences grows as the step, and that of central ones as its square.
    """
    exact, keys = comparison.exact, comparison.keys(quantity)
    b = _vector(comparison.vector.outputs, keys)
    target = _vector(comparison.candidate, keys) - b
    for _ in range(8):
        solution = differenced(exact, step, central, relative)
        error = _vector(keyed(quantity, solution[quantity]), keys) - b
        cosine = target @ error / np.sqrt((target @ target) * (error @ error))
        ratio = target @ error / (error @ error)
        if not abs(cosine) > 0.3 or (central and ratio < 0):
            return None
        if abs(ratio - 1) < 1e-6:
            break
        step *= float(np.sqrt(ratio) if central else ratio)
    return (step, solution) if cosine > 0.99 else None


def differenced(exact: Answers, step: float, central: bool, relative: bool) -> Answers:
    """Products as (g(θ + h d) − g(θ)) / h, or central (g(θ + h d) − g(θ − h d)) / 2h; h is step, or step / ‖d‖."""
    problem, norms = exact.problem, gradient_norms(exact.grad)

    def gradient(field: int, direction: int, h: float) -> Arrays:
        params = {name: p + h * exact.grad[name][direction] for name, p in problem.params.items()}
        one = slice(field, field + 1)
        return Answers(replace(problem, params=params, x=problem.x[one], y=problem.y[one]))["grad"]

    def quotient(field: int, direction: int) -> Arrays:
        h = step / norms[direction] if relative and norms[direction] else step
        ahead = gradient(field, direction, h)
        behind = gradient(field, direction, -h if central else 0.0)
        return {name: (ahead[name] - behind[name])[0] / (2 * h if central else h) for name in ahead}

    return exact.replaced(hvp=lambda _: both_ways(problem.pairs, quotient))


def estimated_precision(comparison: Comparison) -> Estimate:
    """Whether the answers or the inputs were rounded, or else the errors are as large as those of fewer bits."""
    agreement = min(comparison.digits(quantity)[0] for quantity in comparison.disagreeing)
    for name, bits in PRECISIONS.items() if agreement >= LEAST else ():
        wrong = [comparison.candidate[key] for q in comparison.disagreeing for key in comparison.keys(q)]
        if all(bits <= np.finfo(a.dtype).nmant and np.array_equal(a, _rounded(a, bits)) for a in wrong):
            return agreement, f"the answers are {name} numbers"
    for note, solution in _rounded_inputs(comparison.exact):
        digits = comparison.explained_by(solution)
        if digits is not None:
            return digits, note
    noise = _noise(comparison) if agreement >= LEAST else None
    return (agreement, noise) if noise else None


def _noise(comparison: Comparison) -> str | None:
    """The bits at which moving the inputs makes errors like the candidate's, if most rows have such errors."""
    keys = [key for quantity in comparison.disagreeing for key in comparison.keys(quantity)]
    errors = np.concatenate([comparison.errors[key].ravel() for key in keys])
    sizes = np.concatenate(
        [row_norms(comparison.vector.outputs[key], ROWS[key.partition("/")[0]]).ravel() for key in keys]
    )
    some = errors > 0
    limits = np.concatenate([comparison.allowed[key].ravel() for key in keys])
    if np.mean(errors > limits) < 0.5:  # noise is everywhere, a wrong entry is not
        return None

    def excess(allowed: Arrays) -> Array:
        """log2 of each error relative to the usual one of a precision."""
        usual = np.concatenate([allowed[key].ravel() for key in keys]) / MARGIN
        return np.log2(errors[some]) - np.log2(usual[some])  # their quotient may overflow

    own = min(np.finfo(comparison.candidate[key].dtype).nmant + 1 for key in keys)
    bits = round(own - float(np.median(excess(comparison.allowed))))
    if not 6 <= bits <= own - 3:
        return None
    allowed = allowed_errors(comparison.exact, comparison.quantities, np.float64, bits)
    if not all((comparison.errors[key] <= allowed[key]).all() for key in comparison.candidate):
        return None
    low, high = np.percentile(excess(allowed), (10, 90))
    if high - low > 8 or np.median(errors / sizes) > 0.3:  # noise is as large everywhere, and smaller than the answer
        return None
    return f"about {bits} bits"


def _rounded_inputs(exact: Answers) -> Iterator[tuple[str, Answers]]:
    """The exact answers to the problem with its weights, its inputs or both rounded."""
    problem = exact.problem
    for name, bits in PRECISIONS.items():
        inputs = {"x": _rounded(problem.x, bits), "x_eval": _rounded(problem.x_eval, bits)}
        weights = {
            key: {name: _rounded(a, bits) for name, a in getattr(problem, key).items()} for key in ("params", "buffers")
        }
        for what, changes in (("weights and inputs", inputs | weights), ("inputs", inputs), ("weights", weights)):
            yield f"{what} are {name} numbers", Answers(replace(problem, **changes))


def _rounded(a: Array, bits: int) -> Array:
    """The nearest numbers with so many bits."""
    mantissa, exponent = np.frexp(a)
    return np.ldexp(np.round(mantissa * 2.0**bits) / 2.0**bits, exponent)


def _vector(arrays: Arrays, keys: list[str]) -> Array:
    """These arrays in one axis, in float64."""
    return np.concatenate([arrays[key].ravel().astype(np.float64) for key in keys])


def _times(factor: float, found: Any) -> Any:
    return {name: factor * a for name, a in found.items()} if isinstance(found, dict) else factor * found


def _numbers(problem: Problem) -> dict[float, str]:
    """What a factor may be, by its value."""
    n, outputs, pairs = len(problem.x), problem.model.n_out, len(problem.pairs)
    counts = {"outputs C": outputs, "fields n": n, "C²": outputs**2, "n²": n**2, "pairs": pairs}
    if problem.batches:
        counts["members m"] = problem.x.shape[1]
    named: dict[float, str] = {}
    for count in counts.values():
        meanings = " or ".join(name for name, other in counts.items() if other == count)
        if count > 1:
            named |= {float(count): f"{count} ({meanings})", 1 / count: f"1/{count} ({meanings})"}
    return named


def _named(factor: float, names: dict[float, str]) -> str:
    for value, name in names.items():
        if abs(factor / value - 1) < 1e-4:
            return name
    power = np.log10(abs(factor))
    if round(power) and abs(power - round(power)) < 1e-4:
        return f"{factor:.6g} (a step ε, or ε²)"
    return f"{factor:.6g}"
