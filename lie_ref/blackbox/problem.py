"""The fields of a gradient function as a problem of the oracle, with answers by differences and their errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..core.engine import at, stacked
from ..core.layers import Sequential
from ..core.networks import Model
from ..core.types import Array, Arrays
from ..oracle.answers import Answers, gradient_norms, keyed, quantity_of
from ..oracle.comparison import OF_PAIRS
from ..oracle.tolerance import MARGIN, norms
from ..oracle.vectors import Vector
from .engine import LOGITS, Differences
from .extrapolation import KEPT, Derivative, size, unit

UNKNOWN = Model(Sequential("", ()), n_in=0, n_out=1, pictures=False, spec={})
ALLOWED = 32.0  # times the estimated errors of differences; at kinks, true errors were up to 8 times as large
COARSE = 1e-3  # the relative error that a single difference may have
NOISY = 8.0  # times the measured noise that it may have
UNSTEADY = 1e4  # rounding errors; random numbers make larger differences between two calls at θ
PRECISIONS = {2.0**-53: "float64", 2.0**-24: "float32", 2.0**-11: "float16", 2.0**-8: "bfloat16"}  # by rounding error
GROWTH = 1000.0  # the largest growth of rounding errors that is allowed to candidates of a lower precision


@dataclass(frozen=True)
class Fields(Vector):
    """Some vector fields of a gradient function, with answers; x holds their numbers.

    `claimed` maps each key to the errors of its rows, and `rounding` and `kinks` to what rounding and kinks at θ cause.
    """

    engine: Differences = field(kw_only=True)
    claimed: Arrays = field(default_factory=dict)
    rounding: Arrays = field(default_factory=dict)
    kinks: Arrays = field(default_factory=dict)

    @cached_property
    def exact(self) -> Answers:
        return Answers(self, self.engine).known(self.answers)

    def quick(self) -> tuple[Fields, Arrays]:
        """The same by single differences, whose errors are a part of the answer and the noise of gradients over h."""
        errors = {key: COARSE * norms(a, key) for key, a in self.outputs.items()}
        lengths = gradient_norms(self.exact.grad)
        for row, pair in enumerate(self.pairs):
            for side, (i, j) in enumerate((pair, pair[::-1])[: self.engine.sides]):  # of H_j g_i
                start = self.engine.start(int(self.x[j]))
                noise = NOISY * start.noise / start.step(self.params, float(lengths[i]))
                for name, level in zip(start.sample.names, noise, strict=True):
                    if f"hvp/{name}" in errors:
                        errors[f"hvp/{name}"][row, side] += level
                    if f"bracket/{name}" in errors:
                        errors[f"bracket/{name}"][row] += level
        return replace(self, engine=replace(self.engine, quick=True)), errors

    def place(self, quantity: str, row: int, members: int = 1) -> str:
        if self.engine.sides == 1:
            return "the product"
        if quantity == "grad":
            return f"field {self.x[row]}"
        named = replace(self, pairs=self.x[self.pairs])
        return super(Fields, named).place(quantity, row)

    def allowed(self, quantities: Iterable[str], dtype: Any, bits: int | None = None) -> Arrays:
        """A multiple of the errors of the differences, and of the rounding errors of an answer of this precision."""
        rounding = 2.0 ** -(bits or np.finfo(dtype).nmant + 1)
        found = {}
        for quantity in quantities:
            for key, a in keyed(quantity, self.exact[quantity]).items():
                sizes, claimed = norms(a, key), self.claimed.get(key, 0.0)
                smallest = float(np.finfo(dtype).tiny) * max(1.0, np.sqrt(a.size))
                growth = self._growth(key.partition("/")[2] or LOGITS)
                found[key] = ALLOWED * claimed + MARGIN * (rounding * growth * sizes + smallest)
                if self.unsteady or (self.constant and quantity != "grad"):
                    found[key] = np.full(sizes.shape, np.inf)
        return found

    @property
    def unsteady(self) -> dict[int | None, float]:
        """The relative differences of two calls at θ, of functions that draw random numbers."""
        return {n: apart for n, apart in self.engine.repeated.items() if apart > UNSTEADY * self.engine.starts[n].unit}

    @property
    def coarsest(self) -> float:
        """The largest rounding error of the functions, which may be computed in a lower precision than θ has."""
        return max(start.unit for start in self.engine.starts.values())

    @property
    def constant(self) -> bool:
        """Whether no gradient of which there are products depends on θ, as far as its values tell."""
        differentiated = {int(self.x[j]) for pair in self.pairs for j in pair[::-1][: self.engine.sides]}
        return differentiated <= self.engine.steady and not any(h.any() for h in self.exact.hvp.values())

    def because(self, quantity: str, row: tuple[int, ...], dtype: Any) -> str:
        """What leaves few digits of a row."""
        if self.constant and quantity != "grad":
            return "the gradient is the same at every theta that was tried"
        if self.unsteady:
            number, apart = max(self.unsteady.items(), key=lambda item: item[1])
            called = "logits(theta)" if number is None else f"gradient(theta, {number})"
            return f"two calls of {called} differ by {apart:.1g} of its norm"
        keys = [key for key in self.claimed if quantity_of(key) == quantity]
        if quantity in OF_PAIRS and not any(self.outputs[key].any() for key in keys):
            return "it is 0, which shows neither signs nor factors"
        parts = (self.claimed, self.kinks, self.rounding)
        whole, kinks, rounding = (float(np.linalg.norm([part[k][row] for k in keys if k in part])) for part in parts)
        if kinks > whole / 2:
            return "both sides of a kink at theta differ"
        if rounding < whole / 10:
            return "there are kinks close to theta"
        return f"of rounding in {PRECISIONS.get(self.coarsest, 'theta')}"

    def advice(self, narrow: bool) -> str:
        """What decides more."""
        if self.constant:
            return "a gradient that depends on theta; in PyTorch, functional_call runs a network with other parameters"
        if self.unsteady:
            return "the same numbers in each call, by .eval(), a fixed seed or gradients that are zeroed"
        for quantity in OF_PAIRS:
            answers = [a for key, a in self.outputs.items() if quantity_of(key) == quantity]
            if answers and not any(a.any() for a in answers):
                return f"examples or directions whose {quantity} is not 0"
        wider = ""
        if self.coarsest > np.finfo(np.float64).eps:
            wider = f"{'theta' if self.coarsest == unit(self.params) else 'gradients computed'} in float64, or "
        return f"{wider}a theta that is farther from kinks, or smooth functions in their place"

    def unused(self) -> list[str]:
        """The tensors that have a gradient, though moving one of them alone does not change the gradient."""
        number, rng = int(self.x[self.pairs[0, -1]]), np.random.default_rng(0)
        value, f = self.engine.value(number), self.engine.function(number)

        def moves(name: str) -> bool:
            t = self.params[name]
            found = f(self.params | {name: (t + COARSE * rng.standard_normal(t.shape)).astype(t.dtype)})
            return any(not np.array_equal(found[n], a) for n, a in value.items())

        return [name for name in value if value[name].any() and not moves(name)]

    def _growth(self, name: str) -> float:
        """How much larger than one rounding error those of the gradients are in this tensor, or those of the logits."""
        growth = 1.0
        for start in self.engine.starts.values():
            if name in start.sample.names:
                k = start.sample.names.index(name)
                length = float(start.sample.norms(start.value)[k])
                growth = max(growth, float(start.noise[k]) / (start.unit * length) if length else 1.0)
        return min(growth, GROWTH)


def solved(engine: Differences, pairs: Array, quantities: set[str], step: Callable[[], None]) -> Fields:
    """The fields in these pairs (p, 2) of their numbers, with answers; `step` is called after each derivative.

    Of large networks, only the quantities that are asked for are computed, and the bracket in the memory of a product.
    """
    numbers = np.unique(pairs)
    answers: dict[str, Any] = {}
    small = sum(t.size for t in engine.theta.values()) <= KEPT
    terms = [_terms(engine, i, j, small or "hvp" in quantities, step) for i, j in pairs.tolist()]
    if small or "grad" in quantities:
        answers["grad"] = stacked([engine.direction(int(n)) for n in numbers])
    if small or "hvp" in quantities:
        answers["hvp"] = stacked([stacked([d.values for d in pair]) for pair in terms])
        if engine.sides == 2:
            answers["bracket"] = {name: h[:, 0] - h[:, 1] for name, h in answers["hvp"].items()}
    else:
        found = [pair[0].values for pair in terms]  # a single one is not copied
        answers["bracket"] = stacked(found) if len(found) > 1 else {name: a[None] for name, a in found[0].items()}
    causes = {cause: _rows(terms, cause) for cause in ("errors", "rounding", "kinks")}
    if "grad" in answers:
        starts = [engine.start(int(n)) for n in numbers]
        noise = {f"grad/{n}": np.array([s.noise[k] for s in starts]) for k, n in enumerate(starts[0].sample.names)}
        noise = {key: MARGIN / ALLOWED * a for key, a in noise.items()}
        for cause in ("errors", "rounding"):
            causes[cause] |= noise
    if "logit_delta" in quantities:
        answers["logit_delta"], errors = _pushed(engine, answers["bracket"], causes["errors"])
        for cause, a in errors.items():
            causes[cause]["logit_delta"] = a
        step()
    outputs = {key: a for q, answer in answers.items() for key, a in keyed(q, answer).items()}
    buffers: Arrays = {}
    given = UNKNOWN, engine.theta, buffers, numbers, numbers, np.searchsorted(numbers, pairs), numbers
    parts: dict[str, Any] = {"claimed": causes["errors"], "rounding": causes["rounding"], "kinks": causes["kinks"]}
    return Fields(*given, outputs=outputs, name="check", engine=engine, **parts)


def _terms(engine: Differences, i: int, j: int, both: bool, step: Callable[[], None]) -> list[Derivative]:
    """H_j g_i, and H_i g_j if the engine computes both sides; unless `both`, the first holds their difference."""
    for number in (i, j):
        engine.start(number)  # before there is a direction in memory
    terms = [engine.along(j, engine.direction(i), engine.theta)]
    step()
    if engine.sides == 2:
        against = engine.direction(j)
        for a in () if both else against.values():
            np.negative(a, out=a)
        terms.append(engine.along(i, against, engine.theta, None if both else terms[0].values))
        step()
    return terms


def _rows(terms: list[list[Derivative]], cause: str) -> Arrays:
    """What a cause adds to the errors of the products (p, sides) and of the brackets (p,), under their keys."""
    found: Arrays = {}
    for name in terms[0][0].errors:
        each = np.array([[getattr(d, cause)[name] for d in pair] for pair in terms])
        found |= {f"hvp/{name}": each, f"bracket/{name}": each.sum(axis=1)}
    return found


def _pushed(engine: Differences, bracket: Arrays, claimed: Arrays) -> tuple[Array, Arrays]:
    """The logit changes along each bracket, and what causes their errors: differences, and those of the brackets.

    The direction of the brackets' errors is not known: they change the logits as much as two random directions do, and
    in proportion to the brackets.
    """
    rng, changes = np.random.default_rng(0), []
    causes: dict[str, list[float]] = {"errors": [], "rounding": [], "kinks": []}
    for p in range(len(next(iter(bracket.values())))):
        one = engine.along(None, at(bracket, p), engine.theta)
        changes.append(one.values[LOGITS])
        sizes = np.array([(size(a[p]), claimed[f"bracket/{name}"][p]) for name, a in bracket.items()])
        whole, wrong = np.linalg.norm(sizes, axis=0)
        spread = size(changes[-1]) * wrong / whole if whole else 0.0
        for _ in range(2):
            noise = {name: rng.standard_normal(a[p].shape) for name, a in bracket.items()}
            error = {n: e * (s / (size(e) or 1.0)) for (n, e), s in zip(noise.items(), sizes[:, 1], strict=True)}
            spread = max(spread, size(engine.along(None, error, engine.theta).values[LOGITS]))
        causes["errors"].append(one.errors[LOGITS] + spread)
        causes["rounding"].append(one.rounding[LOGITS] + spread)
        causes["kinks"].append(one.kinks[LOGITS])
    return np.stack(changes), {cause: np.array(found) for cause, found in causes.items()}
