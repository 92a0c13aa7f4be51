"""Compares a candidate with the exact answers: the errors, the allowed errors, and how well a bug explains them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import numpy as np

from ..core.problem import Problem
from ..core.types import Array, Arrays
from .answers import QUANTITIES, Answers, keyed, quantity_of
from .tolerance import MARGIN, norms, scales
from .vectors import Vector

SLACK = 10.0  # an answer matches a bug within this multiple of the allowed error
HUGE = 1e150  # answers with numbers of this size are compared, but not diagnosed
BEST = 17.0  # the digits that are reported if nothing differs
LEAST = 1.0  # the digits that an explanation needs
LARGE = 10_000  # networks with more parameters than this are compared in float32 first, which is faster
ENOUGH = 2.0  # with fewer digits decided, a quantity that agrees says nothing
OF_PAIRS = ("hvp", "bracket", "logit_delta")  # quantities with a row, or two, for each pair
GROUPS: dict[str, Callable[[str, Problem], bool]] = {
    "all tensors": lambda name, problem: True,
    "the biases": lambda name, problem: name.endswith("bias"),
    "the vectors": lambda name, problem: problem.params[name].ndim == 1,
    "batch-norm": lambda name, problem: f"{name.rpartition('.')[0]}.running_mean" in problem.buffers,
    "the last layer": lambda name, problem: name in list(problem.params)[-2:],
    "all but the last layer": lambda name, problem: name not in list(problem.params)[-2:],
    "the convolutions": lambda name, problem: problem.params[name].ndim == 4,
    "the weights": lambda name, problem: name.endswith("weight"),
    "the matrices and kernels": lambda name, problem: problem.params[name].ndim > 1,
}


def compared(vector: Vector, candidate: Mapping[str, Array]) -> Comparison:
    """A candidate compared with the answers of a vector."""
    errors = {key: _distance(a, vector.outputs[key], key) for key, a in candidate.items()}
    allowed: Arrays = {}
    for dtype in {_precision(a) for a in candidate.values()}:
        keys = [key for key, a in candidate.items() if _precision(a) == dtype]
        found = vector.allowed({quantity_of(key) for key in keys}, dtype)
        allowed |= {key: found[key] for key in keys}
    return Comparison(vector, dict(candidate), errors, allowed)


@dataclass(frozen=True)
class Comparison:
    """The arrays of a candidate under the keys of a vector, compared row by row; `tolerance.ROWS` defines rows.

    `errors` and `allowed` map each key to ‖a − b‖ of the rows, and to the errors allowed in the candidate's dtype.
    """

    vector: Vector
    candidate: Arrays
    errors: Arrays
    allowed: Arrays

    @property
    def exact(self) -> Answers:
        return self.vector.exact

    @cached_property
    def quantities(self) -> list[str]:
        """The quantities that the candidate has, in the order in which they are computed."""
        return [q for q in QUANTITIES if self.keys(q)]

    def keys(self, quantity: str) -> list[str]:
        """The candidate's keys of one quantity."""
        return [key for key in self.candidate if quantity_of(key) == quantity]

    def agrees(self, quantity: str) -> bool:
        """Whether every row of every tensor is finite and within its allowed error."""
        rows = [(self.errors[key], self.allowed[key]) for key in self.keys(quantity)]
        return all((np.isfinite(error) & (error <= allowed)).all() for error, allowed in rows)

    @cached_property
    def finite(self) -> bool:
        """Whether the candidate has neither nan nor inf, nor numbers whose squares would overflow."""
        return all((np.abs(a) < HUGE).all() for a in self.candidate.values())

    @cached_property
    def disagreeing(self) -> list[str]:
        """The quantities that disagree, in the order in which they are computed."""
        return [quantity for quantity in self.quantities if not self.agrees(quantity)]

    @cached_property
    def stages(self) -> tuple[str, ...]:
        """The quantities in which a bug may be: the first that disagrees, and those just before it that are missing."""
        before = self.quantities[: self.quantities.index(self.disagreeing[0])]
        start = QUANTITIES.index(before[-1]) + 1 if before else 0
        return QUANTITIES[start : QUANTITIES.index(self.disagreeing[0]) + 1]

    @cached_property
    def beginning(self) -> Comparison:
        """The same comparison up to the first quantity that disagrees."""
        last = self.quantities.index(self.disagreeing[0])
        keys = [key for quantity in self.quantities[: last + 1] for key in self.keys(quantity)]
        return replace(self, candidate={key: self.candidate[key] for key in keys})

    @cached_property
    def worst_pair(self) -> Comparison:
        """The same comparison with all fields but a single pair: that of the worst row, if rows belong to pairs."""
        quantity = self.disagreeing[0]
        k = self.worst(quantity)[1][0] if quantity in OF_PAIRS else 0
        pair = slice(k, k + 1)

        def cut(arrays: Arrays) -> Arrays:
            return {key: a[pair] if quantity_of(key) in OF_PAIRS else a for key, a in arrays.items()}

        vector = replace(self.vector, pairs=self.vector.pairs[pair], outputs=cut(self.vector.outputs))
        return Comparison(vector, cut(self.candidate), cut(self.errors), cut(self.allowed))

    @cached_property
    def screen(self) -> Comparison:
        """A comparison that costs less and rejects most bugs: of the worst pair, for large networks in float32.

        The allowed errors grow with the unit of rounding.  Where they would hide the candidate's error, it is float64.
        Products of a network that is not known are single differences of gradients.
        """
        screen, quantity, single = self.worst_pair, self.disagreeing[0], np.dtype(np.float32)
        key, row = screen.worst(quantity)
        if (quick := screen.vector.quick()) is not None:
            vector, errors = quick
            rough = {k: a + errors[k] for k, a in screen.allowed.items()}
            clear = screen.errors[key][row] > SLACK * rough[key][row]
            return replace(screen, vector=vector, allowed=rough) if clear else screen
        coarser = {k: screen.allowed[k] * (float(np.finfo(single).eps) / _unit(a)) for k, a in screen.candidate.items()}
        numbers = sum(p.size for p in self.vector.params.values())
        if numbers < LARGE or not screen.errors[key][row] > SLACK * SLACK * coarser[key][row]:
            return screen
        outputs = {k: a.astype(single) for k, a in screen.vector.outputs.items()}
        vector = cast(Vector, screen.vector.astype(single))
        return replace(screen, vector=replace(vector, outputs=outputs), allowed=coarser)

    def worst(self, quantity: str) -> tuple[str, tuple[int, ...]]:
        """The key and row whose error exceeds the allowed one by the largest factor."""
        worst: tuple[float, str, tuple[int, ...]] = (-1.0, "", ())
        for key in self.keys(quantity):
            with np.errstate(over="ignore"):
                excess = np.where(np.isfinite(self.errors[key]), self.errors[key] / self.allowed[key], np.inf)
            row = np.unravel_index(np.argmax(excess), excess.shape)
            worst = max(worst, (float(excess[row]), key, tuple(int(r) for r in row)))
        return worst[1:]

    def wrong(self, quantity: str) -> tuple[list[str], list[int]]:
        """The names of the tensors that disagree somewhere, and the numbers of the rows that do, over all tensors."""
        keys = self.keys(quantity)
        right = np.stack([np.isfinite(self.errors[k]) & (self.errors[k] <= self.allowed[k]) for k in keys])
        right = right.reshape(len(keys), -1)
        names = [key.partition("/")[2] for key, rows in zip(keys, right, strict=True) if not rows.all()]
        return names, np.flatnonzero(~right.all(axis=0)).tolist()

    def group(self, names: list[str]) -> str:
        """Some tensors in words: the group or the part of the network that they are, or their names."""
        for group, belongs in GROUPS.items():
            if {name for name in self.vector.params if belongs(name, self.vector)} == set(names):
                return group
        order = list(self.vector.params)
        if len(names) > 1 and names == order[: len(names)]:
            return f"all tensors up to {names[-1]}"
        if len(names) > 1 and names == order[-len(names) :]:
            return f"{tensor(names[0])} and all after it"
        return ", ".join(map(tensor, names[:4])) + f" and {len(names) - 4} others" * (len(names) > 4)

    def digits(self, quantity: str) -> tuple[float, float]:
        """The digits of agreement in the worst row of a quantity, and those required: −log10(‖a − b‖ / ‖b‖)."""
        key, row = self.worst(quantity)
        error, allowed = float(self.errors[key][row]), float(self.allowed[key][row])
        size = float(norms(self.vector.outputs[key], key)[row])
        if size == 0:  # digits are then relative to the terms that cancel; MARGIN rounding errors of them are allowed
            size = allowed / (MARGIN * _unit(self.candidate[key]))
        return log_digits(error, size), log_digits(allowed, size)

    def decided(self, quantity: str) -> tuple[float, str, tuple[int, ...]]:
        """The digits that the allowed errors decide, in the worst row that matters, and this row as in `worst`.

        The tensors of one gradient, product or bracket count together, with "" for the key, and one by one.  A tensor
        does not matter if its row is smaller than the error allowed to all of them together.  Where all of them are
        zero, the allowed error is compared with the terms that cancel, or else with the largest of other rows; if
        there are none either, the row is decided by being zero.  Of a network that is not known, products or brackets
        that are all zero decide nothing: the fields may be the same by mistake.
        """
        keys = self.keys(quantity)
        allowed = np.stack([self.allowed[key] for key in keys])
        sizes = np.stack([norms(self.vector.outputs[key], key) for key in keys])
        error, size = np.hypot.reduce(allowed), np.hypot.reduce(sizes)
        moot = quantity in OF_PAIRS and not (size.any() or self.vector.has_network)
        if not (size.all() or moot):
            terms = np.hypot.reduce(np.stack(list(scales(self.exact, quantity).values())))
            size = np.where(size > 0, size, np.where(terms > 0, terms, terms.max() or np.inf))
        with np.errstate(divide="ignore"):
            each = np.where(sizes > error, sizes / allowed, np.inf)
        whole = np.where(np.isfinite(error), size / error, 0.0)
        found = np.concatenate([whole[None], each])
        part, *row = (int(r) for r in np.unravel_index(np.argmin(found), found.shape))
        return log_digits(1, float(found[(part, *row)])), ["", *keys][part], tuple(row)

    def explained_by(self, solution: Answers, fraction: float = 0.0, zeros: bool = False) -> float | None:
        """The digits to which a faulty solution matches everything that the candidate has, or None if it does not.

        Quantities are computed only as long as they match.  In the worst row of each quantity that disagrees, the
        candidate's distance from the faulty solution must be at most a tenth of its distance from the exact one, and
        a tenth of the norm of the row.  A quantity that is zero, or as small as the allowed errors, explains nothing,
        unless `zeros`, because many bugs make zeros.
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
                size = norms(predicted[key], key)[row]
                allowed = self.allowed[key][row]
                near = 0.1 * min(self.errors[key][row], size) if size > allowed else allowed
                somewhere = zeros or any((norms(predicted[k], k) > self.allowed[k]).any() for k in self.keys(quantity))
                if not (somewhere and _distance(self.candidate[key], predicted[key], key)[row] <= near):
                    return None
        return digits

    def matched(self, key: str, predicted: Array, fraction: float = 0.0) -> float | None:
        """The digits to which one of the candidate's arrays is what a fault predicts, or None if a row is not.

        A row matches within `SLACK` times the error allowed to the exact row, in proportion to its size, or within
        this `fraction` of the error that the fault should explain.  Rows smaller than the allowed error have no digits.
        """
        error = _distance(self.candidate[key], predicted, key)
        size, own = norms(predicted, key), norms(self.vector.outputs[key], key)
        growth = np.maximum(1, np.divide(size, own, out=np.ones_like(size), where=own > 0))
        allowed = SLACK * (self.allowed[key] * growth + MARGIN * _unit(self.candidate[key]) * size)
        if not (error <= np.maximum(allowed, fraction * self.errors[key])).all():
            return None
        relative = np.divide(error, size, out=np.zeros_like(error), where=size > self.allowed[key]).max()
        digits = float(-np.log10(max(relative, 10.0**-BEST)))
        return digits if digits >= LEAST else None


def _distance(a: Array, b: Array, key: str) -> Array:
    """‖a − b‖ of each row."""
    with np.errstate(invalid="ignore"):
        return norms(np.subtract(a, b, dtype=np.promote_types(a.dtype, np.float64)), key)


def tensor(name: str) -> str:
    """The name of a tensor in a sentence, in which that of a list's is not taken for a count."""
    return f"tensor {name}" if name.isdigit() else name


def log_digits(error: float, size: float) -> float:
    """−log10 of a relative error, from 0 to `BEST`; 0 if it is not finite."""
    if error == 0:
        return BEST
    return float(np.clip(-np.log10(error / size), 0, BEST)) if error < size else 0.0


def _precision(a: Array) -> Any:
    """The candidate's dtype, or float64 if it is wider, because the exact answers are float64."""
    return min(a.dtype, np.dtype(np.float64), key=lambda dtype: np.finfo(dtype).nmant)


def _unit(a: Array) -> float:
    return float(np.finfo(_precision(a)).eps)
