"""A candidate's answers beside the exact ones: how far apart, how far they may be, and what would explain it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..core.types import Array, Arrays
from .answers import QUANTITIES, Answers, keyed
from .tolerance import MARGIN, ROWS, allowed_errors, row_norms
from .vectors import Vector

SLACK = 10.0  # times the error allowed to the reference, for an answer that is to match a bug
HUGE = 1e150  # numbers as large as this are compared, but not explained
BEST = 17.0  # digits that are reported where nothing differs
LEAST = 1.0  # digits that an explanation must have
OF_PAIRS = ("hvp", "bracket", "logit_delta")  # quantities with a row, or two, for each pair


def compared(vector: Vector, candidate: Mapping[str, Array]) -> Comparison:
    """A candidate compared with a vector's answers."""
    errors = {key: _distance(a, vector.outputs[key], key) for key, a in candidate.items()}
    allowed: Arrays = {}
    for dtype in {_precision(a) for a in candidate.values()}:
        keys = [key for key, a in candidate.items() if _precision(a) == dtype]
        found = allowed_errors(_exact(vector), {key.partition("/")[0] for key in keys}, dtype)
        allowed |= {key: found[key] for key in keys}
    return Comparison(vector, dict(candidate), errors, allowed)


@dataclass(frozen=True)
class Comparison:
    """Candidate arrays under a vector's keys, row by row: see `conditioning.ROWS`.

    `errors` and `allowed` are key → ‖a − b‖ and the error that each row may have in the candidate's dtype.
    """

    vector: Vector
    candidate: Arrays
    errors: Arrays
    allowed: Arrays

    @cached_property
    def exact(self) -> Answers:
        """The vector's answers, ready to have stages replaced."""
        return _exact(self.vector)

    @cached_property
    def quantities(self) -> list[str]:
        """What the candidate has, in the order in which it is made."""
        return [q for q in QUANTITIES if any(key.partition("/")[0] == q for key in self.candidate)]

    def keys(self, quantity: str) -> list[str]:
        """The candidate's keys of one quantity."""
        return [key for key in self.candidate if key.partition("/")[0] == quantity]

    def agrees(self, quantity: str) -> bool:
        """Whether every row of every tensor is finite and within its allowed error."""
        rows = [(self.errors[key], self.allowed[key]) for key in self.keys(quantity)]
        return all((np.isfinite(error) & (error <= allowed)).all() for error, allowed in rows)

    @cached_property
    def finite(self) -> bool:
        """Whether the candidate has neither nan nor inf, nor numbers whose squares would be."""
        return all((np.abs(a) < HUGE).all() for a in self.candidate.values())

    @cached_property
    def disagreeing(self) -> list[str]:
        """The quantities that disagree, in the order in which they are made."""
        return [quantity for quantity in self.quantities if not self.agrees(quantity)]

    @cached_property
    def beginning(self) -> Comparison:
        """The same comparison up to the first quantity that disagrees."""
        last = self.quantities.index(self.disagreeing[0])
        keys = [key for quantity in self.quantities[: last + 1] for key in self.keys(quantity)]
        return replace(self, candidate={key: self.candidate[key] for key in keys})

    @cached_property
    def worst_pair(self) -> Comparison:
        """The same comparison of one pair alone, that of the worst row where a row has one, with all fields."""
        quantity = self.disagreeing[0]
        k = self.worst(quantity)[1][0] if quantity in OF_PAIRS else 0
        pair = slice(k, k + 1)

        def cut(arrays: Arrays) -> Arrays:
            return {key: a[pair] if key.partition("/")[0] in OF_PAIRS else a for key, a in arrays.items()}

        vector = replace(self.vector, pairs=self.vector.pairs[pair], outputs=cut(self.vector.outputs))
        return Comparison(vector, cut(self.candidate), cut(self.errors), cut(self.allowed))

    def worst(self, quantity: str) -> tuple[str, tuple[int, ...]]:
        """The key and row that exceed what is allowed by the largest factor."""
        worst: tuple[float, str, tuple[int, ...]] = (-1.0, "", ())
        for key in self.keys(quantity):
            with np.errstate(over="ignore"):
                excess = np.where(np.isfinite(self.errors[key]), self.errors[key] / self.allowed[key], np.inf)
            row = np.unravel_index(np.argmax(excess), excess.shape)
            worst = max(worst, (float(excess[row]), key, tuple(int(r) for r in row)))
        return worst[1:]

    def digits(self, quantity: str) -> tuple[float, float]:
        """The digits of agreement in the worst row of a quantity, and those required: −log10(‖a − b‖ / ‖b‖)."""
        key, row = self.worst(quantity)
        error, allowed = float(self.errors[key][row]), float(self.allowed[key][row])
        size = float(row_norms(self.vector.outputs[key], ROWS[quantity])[row])
        if size == 0:  # digits are relative to the terms that cancel, of which MARGIN units are allowed
            size = allowed / (MARGIN * float(np.finfo(_precision(self.candidate[key])).eps))
        return _digits(error, size), _digits(allowed, size)

    def explained_by(self, solution: Answers, fraction: float = 0.0) -> float | None:
        """The digits to which a faulty solution matches everything the candidate has, or None if it does not.

        Stages are computed only as far as they match.  In the worst row of what disagrees the faulty solution must be
        ten times nearer than the exact one, and a tenth of its own size away at most.
        """
        digits = BEST
        for quantity in self.quantities:
            predicted = keyed(quantity, solution[quantity])
            for key in self.keys(quantity):
                matched = self.matched(key, predicted[key], fraction)
                if matched is None:
                    return None
                digits = min(digits, matched)
            if quantity in self.disagreeing:
                key, row = self.worst(quantity)
                near = min(self.errors[key][row], row_norms(predicted[key], ROWS[quantity])[row])
                if not _distance(self.candidate[key], predicted[key], key)[row] <= 0.1 * near:
                    return None
        return digits

    def matched(self, key: str, predicted: Array, fraction: float = 0.0) -> float | None:
        """The digits to which one of the candidate's arrays is what a fault predicts, or None if a row of it is not.

        A row is where it is within `SLACK` times the error allowed to the exact one, in proportion to its size, or
        within a `fraction` of what the fault is to explain.  Rows smaller than what is allowed have no digits.
        """
        error = _distance(self.candidate[key], predicted, key)
        size, own = (row_norms(b, ROWS[key.partition("/")[0]]) for b in (predicted, self.vector.outputs[key]))
        growth = np.maximum(1, np.divide(size, own, out=np.ones_like(size), where=own > 0))
        unit = float(np.finfo(_precision(self.candidate[key])).eps)
        allowed = SLACK * (self.allowed[key] * growth + MARGIN * unit * size)
        if not (error <= np.maximum(allowed, fraction * self.errors[key])).all():
            return None
        relative = np.divide(error, size, out=np.zeros_like(error), where=size > self.allowed[key]).max()
        digits = float(-np.log10(max(relative, 10.0**-BEST)))
        return digits if digits >= LEAST else None


def _exact(vector: Vector) -> Answers:
    """The exact solution, with what the vector holds of it already there."""
    found: dict[str, Any] = {quantity: vector.outputs[quantity] for quantity in ("logits", "loss", "logit_delta")}
    for quantity in ("grad", "hvp", "bracket"):
        found[quantity] = {name: vector.outputs[f"{quantity}/{name}"] for name in vector.params}
    return Answers(vector).known(found)


def _distance(a: Array, b: Array, key: str) -> Array:
    """‖a − b‖ of each row."""
    with np.errstate(invalid="ignore"):
        return row_norms(a.astype(np.promote_types(a.dtype, np.float64)) - b, ROWS[key.partition("/")[0]])


def _digits(error: float, size: float) -> float:
    """−log10 of a relative error, from 0 to `BEST`.

    >>> _digits(1e-5, 1.0)
    5.0
    """
    if error == 0:
        return BEST
    return float(np.clip(-np.log10(error / size), 0, BEST)) if error < size else 0.0


def _precision(a: Array) -> Any:
    """The candidate's dtype, or float64 if it is wider: the answers have no more."""
    return min(a.dtype, np.dtype(np.float64), key=lambda dtype: np.finfo(dtype).nmant)
