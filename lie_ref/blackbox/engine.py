"""The third engine: gradients from any function that computes them, and products by differences of these gradients.

It solves a `Problem` whose network is unknown: the inputs x are the numbers of the fields, with which the function of
the gradient is called.  Each product and change comes with an estimate of its error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ..core.engine import at, stacked
from ..core.problem import Problem, Weights
from ..core.types import Array, Arrays
from .extrapolation import Derivative, Sample, Start, derivative, difference, norm, roughness, size, unit

STEP = 8.0  # rounding errors by which θ is changed to measure noise, as in `oracle.tolerance`
TRIALS = 3
PLACES = np.sqrt(6 * np.arange(7))  # of points on a line; points at equal distances may have equal rounding errors
CLOSE = 2.0**-4  # the unit of these places, in roots of a rounding error; at 1, float32 networks have kinks on the line
SMOOTH = 64.0  # rounding errors; functions that are computed in a lower precision than they show have more noise
COARSER = (2.0**-24, 2.0**-11, 2.0**-8)  # the rounding errors of float32, half and bfloat16
LOGITS = "logits"  # the name of the only array of θ ↦ z
Point = Mapping[str, Array]
Evaluate = Callable[[Point], Arrays]


@dataclass
class Differences:
    """An engine that knows only gradient(θ, number) of each field and, if given, logits(θ) (n_eval, k).

    `tensors` are those whose products are wanted, or None for all.
    """

    theta: Arrays
    gradient: Callable[[Point, int], Arrays]
    logits_of: Callable[[Point], Array] | None = None
    sides: int = 2  # of a pair, whose products are computed: H_j d_i alone, or H_i d_j as well
    tensors: tuple[str, ...] | None = None
    quick: bool = False  # by one difference each, which rejects most bugs
    starts: dict[int | None, Start] = field(default_factory=dict)  # of each function at θ; None are the logits
    repeated: dict[int | None, float] = field(default_factory=dict)  # the relative difference of two calls at θ
    steady: set[int | None] = field(default_factory=set)  # the functions that are the same at θ and where it is shaken

    def function(self, number: int | None) -> Evaluate:
        """θ ↦ ∇L of the field with this number; for None, θ ↦ z."""
        if number is None:
            logits = self.logits_of
            assert logits is not None
            return lambda theta: {LOGITS: logits(theta)}
        return lambda theta: self.gradient(theta, number)

    def start(self, number: int | None) -> Start:
        """The function's value at θ, and its noise: in a second call, with rounding errors in θ, and along a line."""
        if number in self.starts:
            return self.starts[number]
        f, value = self.function(number), self.value(number)
        again, whole = _apart(f(self.theta), value), norm(value)
        self.repeated[number] = float(np.linalg.norm(list(again.values()))) / whole if whole else 0.0
        sample = Sample(value)

        def line(length: float) -> Array:
            moved = (Shaken(self.theta, CLOSE * place * length, TRIALS) for place in PLACES[1:])
            return np.array([sample.of(value), *(sample.of(f(theta)) for theta in moved)])

        # A function may take θ, or be computed, in a lower precision than it shows; then smaller changes do nothing.
        for coarse in (fine := max(unit(self.theta), unit(value)), *COARSER):
            trials = [_apart(f(Shaken(self.theta, STEP * coarse, trial)), value) for trial in range(TRIALS)]
            values = line(coarse**0.5)
            uneven = roughness(values, PLACES, sample)
            smooth = np.any(values[-1] != values[0]) and np.linalg.norm(uneven) <= SMOOTH * coarse * whole
            if smooth or any(change for trial in trials for change in trial.values()):
                break
        else:
            coarse = fine
            self.steady.add(number)
        if coarse < COARSER[0]:  # a part in float32, which does not move on so short a line, has noise on a longer one
            longer = roughness(line(COARSER[0] ** 0.5), PLACES, sample)
            if COARSER[0] / 8 * whole < np.linalg.norm(longer) <= SMOOTH * COARSER[0] * whole:
                coarse, uneven = COARSER[0], longer
        changes = {name: max(trial[name] for trial in trials) / STEP for name in value}
        level = np.array([max(coarse * size(value[name]), again[name], changes[name]) for name in sample.names])
        self.starts[number] = Start(sample, sample.of(value), np.maximum(level, uneven), coarse)
        return self.starts[number]

    def value(self, number: int | None) -> Arrays:
        """The function at θ, in memory of its own and restricted to the wanted tensors."""
        wanted = self.tensors if number is not None else None
        return {n: a.copy() for n, a in self.function(number)(self.theta).items() if wanted is None or n in wanted}

    def direction(self, number: int) -> Arrays:
        """The whole gradient of a field at θ, in memory of its own."""
        return {name: a.copy() for name, a in self.gradient(self.theta, number).items()}

    def along(self, number: int | None, direction: Arrays, theta: Arrays, add_to: Arrays | None = None) -> Derivative:
        """The derivative of a function along a direction, at θ or at another point, with its error."""
        start, f = self.start(number), self.function(number)
        if not start.sample.whole:  # it has to show what is 0 at θ, but changes along the direction
            change = difference(f, theta, direction, start)
            sample = Sample({name: np.hypot(change.pop(name), a) for name, a in f(theta).items()})
            start = replace(start, sample=sample, value=sample.of(f(theta)))
        elif theta is not self.theta:
            start = replace(start, value=start.sample.of(f(theta)))
        return derivative(f, theta, direction, start, add_to)

    def product(self, number: int | None, direction: Arrays, theta: Arrays) -> Arrays:
        """The derivative of a function along a direction alone."""
        if self.quick:
            return difference(self.function(number), theta, direction, self.start(number))
        return self.along(number, direction, theta).values

    def logits(self, weights: Weights, x: Array, training: bool = False) -> Array:
        """z (n_eval, k) of the evaluation inputs."""
        return self.function(None)(weights.params)[LOGITS]

    def gradients(self, problem: Problem) -> Arrays:
        """g_i of each field: name → (fields, *shape)."""
        return stacked([{n: a.copy() for n, a in self.gradient(problem.params, int(i)).items()} for i in problem.x])

    def products(self, problem: Problem, directions: Arrays) -> Arrays:
        """H_j d_i and H_i d_j for each pair, from a direction d_i for each field: name → (p, 2, *shape)."""
        found = []
        for i, j in problem.pairs:
            sides = [self.product(int(problem.x[j]), at(directions, i), problem.params)]
            if self.sides == 2:
                sides.append(self.product(int(problem.x[i]), at(directions, j), problem.params) if i != j else sides[0])
            found.append(stacked(sides))
        return stacked(found)

    def brackets(self, problem: Problem, directions: Arrays) -> Arrays:
        """H_j d_i − H_i d_j for each pair: name → (p, *shape)."""
        return {name: h[:, 0] - h[:, 1] for name, h in self.products(problem, directions).items()}

    def push_forward(self, weights: Weights, x: Array, tangents: Arrays) -> tuple[Array, Array]:
        """z (n_eval, k), and D_θ z · t for each tangent, name → (t, *shape): (t, n_eval, k)."""
        ways = range(len(next(iter(tangents.values()))))
        changes = [self.product(None, at(tangents, k), weights.params)[LOGITS] for k in ways]
        return self.logits(weights, x), np.stack(changes)


@dataclass(frozen=True)
class Shaken(Mapping[str, Array]):
    """θ with every number times 1 + unit · N(0, 1), from a seed; each array is made when it is asked for."""

    theta: Arrays
    unit: float
    seed: int

    def __getitem__(self, name: str) -> Array:
        t, rng = self.theta[name], np.random.default_rng([self.seed, list(self.theta).index(name)])
        shaken = rng.standard_normal(t.shape)
        np.multiply(shaken, self.unit, out=shaken)
        np.add(shaken, 1, out=shaken)
        return np.multiply(shaken, t, out=shaken).astype(t.dtype, copy=False)

    def __iter__(self) -> Iterator[str]:
        return iter(self.theta)

    def __len__(self) -> int:
        return len(self.theta)


def _apart(a: Arrays, b: Arrays) -> dict[str, float]:
    """‖a − b‖ of each tensor of b, infinite where it is not finite."""
    found = {name: size(a[name] - b[name]) for name in b}
    return {name: apart if np.isfinite(apart) else np.inf for name, apart in found.items()}
