"""Checks what swapping two examples does under any update rule, from nothing but the rule: no gradient is asked for.

With the learning rate ε, θ(i then j) − θ(j then i) = a₁ ε + a₂ ε² + ….  The swap is carried out at falling ε, and both
factors are extrapolated.  For plain gradient steps a₁ is 0, and a₂ is the bracket.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..core.fields import difference
from ..core.types import Array, Arrays
from ..machine.errors import InputError, nearest, shortened
from ..oracle.comparison import ENOUGH, SLACK, log_digits
from ..oracle.tolerance import MARGIN
from ..oracle.verdict import Agreement, Explanation, Verdict
from .candidates import rows
from .extrapolation import FAR, FEWEST, JUMP, SHRINK, START, TINY, Sample, Start, Tableau, norm, own_size, size, unit
from .forms import read, read_like, rebuilt
from .problem import ALLOWED, UNSTEADY
from .question import STAY, Form, called, check_finite, checked_pairs

ORDERS = ("first_order", "second_order")
PROBE = 1e-3  # the ε at which the size of a step is measured
ADVICE = "theta in float64, or a theta that is farther from kinks"
CLOSE = 1e-4  # the relative error of a multiple that is called one


def check_order(
    step: Callable[..., Any],
    theta: Form,
    candidate: Mapping[str, Any],
    pairs: Sequence[tuple[int, int]] | Array = ((0, 1),),
    state: Any = None,
) -> Verdict:
    """The verdict on what swapping two examples does under an update rule, to first and second order in ε.

    `step(theta, i, epsilon)` returns theta after one step on example i with the learning rate ε.  With a `state` that
    is not None, such as that of an optimizer, it is `step(theta, i, epsilon, state)` and returns theta and the state
    after the step; it is given copies.  The candidate has `first_order`, `second_order` or both: the factors of ε and
    ε² in θ(i then j) − θ(j then i), in the form of theta, in a list of forms for several pairs, or functions of
    (theta, i, j).  The verdict's `located` says which order was observed.  Raises `InputError`, a ValueError, for what
    does not fit.

    >>> def step(theta, i, epsilon):  # on L_0 = Σ θ³ / 3 and L_1 = Σ θ² / 2
    ...     return theta - epsilon * (theta**2 if i == 0 else theta)
    >>> theta = np.array([1.0, 2.0])
    >>> verdict = check_order(step, theta, {"second_order": theta**2 - 2 * theta * theta})
    >>> verdict.agrees, verdict.located
    (True, 'swaps change theta by ε^2.00')
    """
    asked = checked_pairs(pairs)
    with np.errstate(all="ignore"):
        swaps = Swaps(step, theta, state)
        claims = swaps.claims(candidate, asked)
        effects = [swaps.effects(i, j) for i, j in asked.tolist()]
        compared = {q: Compared(q, claim, [e[q] for e in effects], asked) for q, claim in claims.items()}
    quantities = {quantity: one.agreement() for quantity, one in compared.items()}
    advice = ADVICE
    if not any(a.any() for both in effects for effect in both.values() for a in effect.values.values()):
        # A right answer of zero shows neither signs nor factors, and the examples may be the same by mistake.
        advice, nothing = "examples whose swap changes theta", "swaps change theta by nothing"
        for name, q in quantities.items():
            quantities[name] = replace(q, agrees=q.agrees and None, decided=0.0, because=nothing)
    each = [q.agrees for q in quantities.values()]
    agrees = False if False in each else None if None in each else True
    wrong = [compared[q] for q, found in quantities.items() if found.agrees is False and found.finite]
    diagnosis = tuple(e for one in wrong for e in one.explained())
    orders = ", ".join(dict.fromkeys(f"ε^{o:.2f}" if math.isfinite(o) else "nothing" for o in swaps.orders))
    return Verdict("check_order", agrees, quantities, diagnosis, "", f"swaps change theta by {orders}", advice)


@dataclass(frozen=True)
class Effect:
    """A factor of ε or ε², the norm of its error in each tensor, and the norm of the steps that cancel in it."""

    values: Arrays
    errors: dict[str, float]
    terms: float


class Swaps:
    """Steps of an update rule from θ, and what swapping two of them does."""

    def __init__(self, step: Callable[..., Any], theta: Form, state: Any) -> None:
        if not callable(step):
            raise InputError(f"step: expected a function, got {type(step).__name__}")
        self.step, self.form, self.state = step, theta, state
        self.theta = read("theta", theta)
        self.shapes = {name: a.shape for name, a in self.theta.items()}
        self.orders: list[float] = []  # observed, of each pair

    def after(self, numbers: Sequence[int], epsilon: float) -> Arrays:
        """θ after steps on these examples."""
        theta, state = self.theta, copy.deepcopy(self.state)
        for number in numbers:
            form = rebuilt(self.form, theta)  # a copy, which is not attached to a graph of the step before
            if state is None:
                stepped = called("step", "a function of theta, i and epsilon", self.step, form, number, epsilon)
            else:
                expected = "a function of theta, i, epsilon and state"
                both = called("step", expected, self.step, form, number, epsilon, state)
                if not isinstance(both, (tuple, list)) or len(both) != 2:
                    raise InputError(f"step: expected (theta, state), as state= was given, got {shortened(both)}")
                stepped, state = both
            theta = read_like(f"step(theta, {number}, {epsilon:.2g})", stepped, self.shapes)
        return {name: a.astype(np.float64) for name, a in theta.items()}  # a copy

    def effects(self, i: int, j: int) -> dict[str, Effect]:
        """The factors of ε and ε² in θ(i then j) − θ(j then i)."""
        sample = Sample(self.theta, whole=True)
        once, again = self.after([i], PROBE), self.after([i], PROBE)
        check_finite(f"step(theta, {i}, {PROBE:g})", once)
        if (apart := norm(difference(again, once))) > UNSTEADY * unit(self.theta) * norm(once):
            hint = "pass what it keeps as state=, or fix its seed"
            raise InputError(f"step: two steps on {i} from the same theta differ by {apart:.1g}; {hint}")
        steps = difference(once, self.theta), difference(self.after([j], PROBE), self.theta)
        step = max(steps, key=norm)  # one of the two may be far longer
        pace, own = norm(step) / PROBE, START * PROBE * min(own_size(self.theta, each) for each in steps)
        h = START * (norm(self.theta) or 1.0) / (pace or 1.0)
        own = max(own, TINY * h) if (far := own * FAR < h) else h
        # A tensor of zeros is rounded as well once it has moved.
        sizes = [max(size(self.theta[n]), size(step[n]) * h / PROBE) for n in sample.names]
        noise = 2 * unit(self.theta) * np.array(sizes)
        start = Start(sample, sample.of(self.theta), noise)
        last, (first, second) = h * unit(self.theta), (Tableau(start, 1, 1, doubted=far) for _ in range(2))
        swaps: list[tuple[float, Array]] = []
        seen = np.zeros(len(sample.names), bool)
        while h > last:
            swap = sample.of(difference(self.after([i, j], h), self.after([j, i], h)))
            swaps.append((h, sample.resolved(swap, seen) / h))
            if first.row:
                (before, larger), (_, smaller) = swaps[-2:]
                second.add((larger - smaller) / (before - h), h * (before - h) / 2)
            first.add(swaps[-1][1], h)
            h /= SHRINK
            if len(second.row) >= FEWEST and (noise / h**2 >= second.errors).all():  # rounding spoils smaller steps
                if h <= own:
                    break
                h, last = max(h / JUMP, own), own * unit(self.theta)
                first.begin_again()
                second.begin_again()
        self.orders.append(_order(swaps, float(np.linalg.norm(noise))))
        return {
            order: Effect(sample.arrays(of.best), dict(zip(sample.names, of.errors.tolist(), strict=True)), 2 * pace)
            for order, of in zip(ORDERS, (first, second), strict=True)
        }

    def claims(self, candidate: Mapping[str, Any], pairs: Array) -> dict[str, Arrays]:
        """name → (pairs, *shape) of each effect that the candidate has."""
        if not isinstance(candidate, Mapping) or not candidate:
            came = f"got {type(candidate).__name__}" if not isinstance(candidate, Mapping) else "got none"
            raise InputError(f"candidate: expected a dict with {' or '.join(ORDERS)}, {came}")
        found, first = {}, [int(pairs[0, 0])]
        for quantity, claim in candidate.items():
            if quantity not in ORDERS:
                raise InputError(f"candidate: {quantity!r} is not compared, {nearest(quantity, ORDERS)}")
            if callable(claim):
                where, expected = f"candidate: {quantity}", "a function of theta, i and j"
                before, again = self.after(first, PROBE), self.after(first, PROBE)  # not equal if steps are random
                claim = [called(where, expected, claim, rebuilt(self.form, self.theta), *p) for p in pairs.tolist()]
                moved, noise = (norm(difference(after, before)) for after in (self.after(first, PROBE), again))
                if moved > UNSTEADY * unit(self.theta) * norm(before) >= noise:
                    raise InputError(f"{where}: it changed step(theta, {first[0]}, …) by {moved:.1g}; {STAY}")
            found[quantity] = rows(f"candidate: {quantity}", claim, self.shapes, (len(pairs),))
        return found


@dataclass(frozen=True)
class Compared:
    """What a candidate claims of one effect, beside the effect itself, for each pair."""

    quantity: str
    claim: Arrays  # name → (pairs, *shape)
    effects: list[Effect]
    pairs: Array

    def errors(self, factor: float = 1.0) -> Array:
        """‖claim − factor · effect‖: (tensors, pairs)."""
        return np.array(
            [
                [np.linalg.norm((a[p] - factor * effect.values[name]).ravel()) for p, effect in enumerate(self.effects)]
                for name, a in self.claim.items()
            ]
        )

    def sizes(self) -> Array:
        return np.array([[np.linalg.norm(e.values[name].ravel()) for e in self.effects] for name in self.claim])

    def allowed(self) -> Array:
        claimed = np.array([[e.errors.get(name, 0.0) for e in self.effects] for name in self.claim])
        rounding = max(float(np.finfo(a.dtype).eps) for a in self.claim.values())
        terms = np.array([e.terms for e in self.effects])
        return ALLOWED * claimed + MARGIN * rounding * (self.sizes() + terms * (self.quantity == ORDERS[0]))

    def agreement(self) -> Agreement:
        errors, allowed, sizes = self.errors(), self.allowed(), self.sizes()
        finite = all(np.isfinite(a).all() for a in self.claim.values())
        worst = np.unravel_index(np.argmax(np.where(np.isfinite(errors), errors / allowed, np.inf)), errors.shape)
        whole, size = np.hypot.reduce(allowed), np.hypot.reduce(sizes)
        size = np.where(size > whole, size, [e.terms for e in self.effects])  # an effect of zero: what cancels in it
        each = np.where(sizes > whole, sizes / allowed, np.inf)
        ratios = np.minimum(size / whole, each.min(axis=0))
        least = int(np.argmin(ratios))
        decided = math.floor(10 * log_digits(1.0, float(ratios[least]))) / 10
        agrees = bool(finite and (errors <= allowed).all()) and (True if decided >= ENOUGH else None)
        scale = float(sizes[worst] if sizes[worst] > whole[worst[1]] else size[worst[1]])
        name, dtype = list(self.claim)[worst[0]], next(iter(self.claim.values())).dtype
        digits, required = (log_digits(float(e[worst]), scale) for e in (errors, allowed))
        place = f"{name} of pair {tuple(self.pairs[worst[1]].tolist())}"
        where = f"pair {tuple(self.pairs[least].tolist())}"
        because = "of rounding in theta, or of kinks close to it"
        return Agreement(agrees, digits, required, name, place, finite, dtype, decided, where, because)

    def explained(self) -> Iterator[Explanation]:
        """The claim as a multiple of the effect."""
        both = [(a[p], e.values[name]) for name, a in self.claim.items() for p, e in enumerate(self.effects)]
        along, whole = (sum(float(np.vdot(of[k], of[1])) for of in both) for k in (0, 1))
        c = along / whole if whole else 0.0
        if not (self.errors(c) <= SLACK * np.maximum(self.allowed(), CLOSE * self.errors())).all():
            return
        name = "all-zero" if not c else "sign-swapped" if abs(c + 1) < CLOSE else "factor"
        near = float(np.linalg.norm(self.errors(c)) / max(abs(c) * float(np.linalg.norm(self.sizes())), 1e-300))
        said = f"the claim is {c:.6g} times the {self.quantity.replace('_', '-')} effect"
        yield Explanation(name, said, log_digits(near, 1.0))


def _order(swaps: list[tuple[float, Array]], noise: float) -> float:
    """The power of ε by which the swap falls, between the smallest steps that rounding does not spoil."""
    sizes = [(h, h * float(np.linalg.norm(swap))) for h, swap in swaps]
    clear = [(h, size) for h, size in sizes if size > noise / CLOSE]
    if len(clear) < 2:
        return math.inf
    (a, larger), (b, smaller) = clear[-2:]
    return math.log(larger / smaller) / math.log(a / b)
