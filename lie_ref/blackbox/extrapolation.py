"""Derivatives of any function along a direction, each with an estimate of its error: extrapolated central differences.

With E(h) for the value of f at θ + h d, the central difference (E(h) − E(−h)) / 2h is the derivative plus a series in
h², h⁴, ….  Differences at falling steps are combined so that one power after the other vanishes (Richardson 1911), and
each tensor takes the combination that agrees best with its neighbours in the tableau (Ridders 1982).

A kink within the step spoils the series: then the combinations disagree until the step is smaller than the distance to
the kink.  A kink at θ itself does not show in central differences, because they are the mean of both sides.  It shows
in (E(h) − 2 E(0) + E(−h)) / 2h, which vanishes with h for smooth functions: half the difference of both sides.

Where one tensor of θ is much larger than another, the first steps saturate the units that depend on the other: then
all differences are 0, and agree.  So the steps go on to one that moves every tensor by little of its own size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..core.types import Array, Arrays
from ..oracle.tolerance import row_norms

Function = Callable[[Mapping[str, Array]], Arrays]
START = 0.03  # the first step, |h d| / |θ|
SMALLEST = 16.0  # rounding errors of θ; smaller steps may not move it at all
SHRINK = 2.0**0.5  # of one step to the next
JUMP = 4.0  # how much shorter the next step is where a tableau begins again
FAR = 300.0  # how much longer the step for all tensors is than that for one where both are taken
TINY = 1e-8  # the shortest step for one tensor, relative to that for all
COLUMNS = 8  # of the tableau, each of which removes one power of h
FEWEST = 4  # steps
POOLED = 0.03  # a tensor's relative error is at least this part of that of all: few numbers may agree by chance
SIGNIFICANT = 30.0  # errors by which both sides differ at a kink; fewer are allowed anyway
TRUE = 8.0  # how much larger than its estimate an error may be; at kinks some were
KEPT = 1 << 20  # numbers of which the tableau is kept; of larger functions, only a sample of each tensor
SAMPLE = 1 << 14  # numbers of a tensor, then
DEGREE = 3  # of a polynomial that a function without noise follows over a very short line


@dataclass(frozen=True)
class Start:
    """What is known of a function at θ: its value, as a sample, and the norm of its noise in each tensor.

    `unit` is the relative rounding error with which it takes θ and is computed.
    """

    sample: Sample
    value: Array
    noise: Array
    unit: float = 2.0**-53

    @classmethod
    def of(cls, value: Arrays, noise: dict[str, float], unit: float = 2.0**-53) -> Start:
        sample = Sample(value)
        return cls(sample, sample.of(value), np.array([noise[name] for name in sample.names]), unit)

    def step(self, theta: Arrays, length: float) -> float:
        """The step of a single difference along a direction of this length.

        Longer ones have smaller rounding errors, but in deep networks the third derivative spoils them.
        """
        return self.unit**0.5 * (norm(theta) or 1.0) / (length or 1.0)


@dataclass(frozen=True)
class Derivative:
    """The derivative, name → array, the norm of its error in each tensor, and what rounding and kinks at θ cause."""

    values: Arrays
    errors: dict[str, float]
    rounding: dict[str, float]
    kinks: dict[str, float]


def derivative(f: Function, theta: Arrays, direction: Arrays, start: Start, add_to: Arrays | None = None) -> Derivative:
    """Df(θ)·d for a function of named arrays.  Values are added to the arrays `add_to`, if there are any.

    >>> def cube(theta):
    ...     return {"t": theta["t"] ** 3}
    >>> theta, d = {"t": np.array([1.0, 2.0])}, {"t": np.array([1.0, 0.5])}
    >>> found = derivative(cube, theta, d, Start.of(cube(theta), noise={"t": 1e-15}))
    >>> found.values["t"].round(9), found.errors["t"] < 1e-11
    (array([3., 6.]), True)
    """
    sample, length = start.sample, norm(direction)
    found = {name: np.zeros(shape) for name, shape in sample.shapes.items()} if add_to is None else add_to
    nothing = dict.fromkeys(sample.shapes, 0.0)
    if not length:
        return Derivative(found, nothing, nothing, nothing)
    scale = (norm(theta) or 1.0) / length
    own, least = own_size(theta, direction), SMALLEST * max(unit(theta), start.unit)
    own = max(own, TINY * scale) if (far := own * FAR < scale) else scale
    slope, fold = (Tableau(start, first, doubted=far) for first in (2, 1))
    h, last = START * scale, least * scale
    seen = np.zeros(len(sample.names), bool)
    while h > last:
        ahead, behind = (sample.of(f(Moved(theta, direction, step))) for step in (h, -h))
        slope.add(sample.resolved(ahead - behind, seen) / (2 * h), h)
        fold.add((ahead - start.value + (behind - start.value)) / (2 * h), h)
        h /= SHRINK
        if len(slope.row) >= FEWEST and (start.noise / h >= slope.errors).all():  # rounding spoils smaller steps
            if h <= START * own:
                break
            h, last = max(h / JUMP, START * own), least * own
            slope.begin_again()
            fold.begin_again()
    sides = sample.norms(fold.best)
    kinks = np.where(sides > SIGNIFICANT * fold.errors, sides, 0.0)
    if sample.whole:
        for name, a in sample.arrays(slope.best).items():
            found[name] += a
    else:
        _combine(found, f, theta, direction, slope)
    parts = np.maximum(slope.errors, kinks), slope.magnified * start.noise, kinks
    return Derivative(found, *(nothing | dict(zip(sample.names, e.tolist(), strict=True)) for e in parts))


def difference(f: Function, theta: Arrays, direction: Arrays, start: Start) -> Arrays:
    """Df(θ)·d by one central difference, to half the digits of f.

    >>> found = difference(lambda t: {"t": t["t"] ** 3}, t := {"t": np.ones(1)}, t, Start.of(t, noise={"t": 1e-15}))
    >>> bool(abs(found["t"][0] - 3) < 1e-6)
    True
    """
    h = start.step(theta, norm(direction))
    ahead = {name: a.astype(np.float64) for name, a in f(Moved(theta, direction, h)).items()}
    behind = f(Moved(theta, direction, -h))
    return {name: (a - behind[name]) / (2 * h) for name, a in ahead.items()}


@dataclass(frozen=True)
class Moved(Mapping[str, Array]):
    """θ + h d, rounded to the dtype of θ.  Each array is made when it is asked for, so that few are in memory."""

    theta: Arrays
    direction: Arrays
    step: float

    def __getitem__(self, name: str) -> Array:
        t = self.theta[name]
        moved = np.multiply(self.direction[name], self.step, dtype=t.dtype, casting="same_kind", out=np.empty_like(t))
        return np.add(moved, t, out=moved)

    def __iter__(self) -> Iterator[str]:
        return iter(self.theta)

    def __len__(self) -> int:
        return len(self.theta)


class Sample:
    """The numbers of named arrays as one vector: all of them, or of large arrays a random sample of each tensor.

    If a tensor has zeros, such as the gradient of an embedding with few used rows, half of its sample is not zero.
    """

    def __init__(self, like: Arrays, whole: bool = False) -> None:
        self.shapes = {name: a.shape for name, a in like.items()}
        self.names = [name for name, a in like.items() if a.size]
        self.whole = whole or sum(a.size for a in like.values()) <= KEPT
        self.chosen: dict[str, Array | slice] = dict.fromkeys(self.names, slice(None))
        stands_for = {name: np.ones(like[name].size) for name in self.names}
        rng = np.random.default_rng(0)
        for name in () if self.whole else self.names:
            if like[name].size > SAMPLE:
                self.chosen[name], stands_for[name] = _sample(like[name].reshape(-1), rng)
        counts = np.array([a.size for a in stands_for.values()], int)
        self.starts, self.ends = np.cumsum(counts) - counts, np.cumsum(counts)
        self.weight = np.concatenate(list(stands_for.values()))

    def of(self, arrays: Arrays) -> Array:
        return np.concatenate([arrays[n].reshape(-1)[self.chosen[n]].astype(np.float64) for n in self.names])

    def norms(self, flat: Array) -> Array:
        """The norm of each tensor, as the sample shows it: (tensors,) from (numbers,)."""
        largest = float(np.max(np.abs(flat), initial=0.0, where=np.isfinite(flat))) or 1.0
        return largest * np.sqrt(np.add.reduceat(self.weight * np.square(flat / largest), self.starts))

    def resolved(self, change: Array, seen: Array) -> Array:
        """A change of a function, with nan in tensors that were `seen` to change and, by rounding, no longer do."""
        moved = self.norms(change) > 0
        for k in np.flatnonzero(seen & ~moved):
            change[self.starts[k] : self.ends[k]] = np.nan
        seen |= moved
        return change

    def arrays(self, flat: Array) -> Arrays:
        """The inverse of `of`, if the sample is the whole."""
        parts = {n: flat[a:b] for n, a, b in zip(self.names, self.starts, self.ends, strict=True)}
        return {n: parts[n].reshape(shape) if n in parts else np.zeros(shape) for n, shape in self.shapes.items()}


def _sample(flat: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """The places (m,) of some numbers of a vector (n,), and how many numbers each of them stands for, (m,)."""
    parts = [part for part in (np.flatnonzero(flat), np.flatnonzero(flat == 0)) if part.size]
    most = SAMPLE // len(parts)
    places = [np.unique(rng.choice(part, most)) if part.size > most else part for part in parts]
    counts = [np.full(chosen.size, part.size / chosen.size) for part, chosen in zip(parts, places, strict=True)]
    return np.concatenate(places), np.concatenate(counts)


def own_size(theta: Arrays, direction: Arrays) -> float:
    """The step along a direction that moves half of the numbers of some tensor by at least their own size.

    The size of a tensor of zeros is not known, and taken to be 1.
    """
    sizes = [np.inf]
    for name, t in theta.items():
        d = direction[name]
        if (known := (d != 0) & (t != 0)).any():
            sizes.append(float(np.median(np.abs(t[known] / d[known]))))
        elif d.any():
            sizes.append(1 / float(np.median(np.abs(d[d != 0]))))
    return min(sizes)


@dataclass
class Tableau:
    """Extrapolation to h = 0 of a series in h^first, h^(first + every), …: the best entry per tensor, and its error.

    Each entry is a sum of the differences at some steps, and `entries` holds their factors.
    """

    start: Start
    first: int
    every: int = 2
    steps: list[float] = field(default_factory=list)
    row: list[Array] = field(default_factory=list)
    entries: list[Array] = field(default_factory=list)  # of the row
    doubted: bool = False  # whether smaller steps may contradict the best entry

    def __post_init__(self) -> None:
        self.sample = self.start.sample
        tensors = len(self.sample.names)
        self.errors, self.best = np.full(tensors, np.inf), np.zeros(self.sample.ends[-1])
        self.magnified = np.zeros(tensors)  # the noise of the best entry, relative to that of the function
        self.factors: list[Array] = [np.zeros(0)] * tensors

    def add(self, quotient: Array, h: float) -> None:
        """Add the difference at the next step, which is smaller by `SHRINK`; its noise is that of `start` / (√2 h)."""
        self.steps.append(h)
        row, entries = [quotient], [np.eye(len(self.steps))[-1]]
        for m, old in enumerate(self.row[: COLUMNS - 1]):
            gain = 1 / (SHRINK ** (self.first + self.every * m) - 1)
            row.append(row[m] + gain * (row[m] - old))
            before = np.append(self.entries[m], 0.0)
            entries.append(entries[m] + gain * (entries[m] - before))
            apart = self.sample.norms(row[m] - old) * max(gain, 1 + gain)  # from both neighbours
            sizes = self.sample.norms(row[-1])
            known = np.isfinite(apart)
            whole = np.linalg.norm(apart[known]) / max(float(np.linalg.norm(sizes[known])), np.finfo(float).tiny)
            magnified = float(np.linalg.norm(entries[-1] / np.array(self.steps))) / 2**0.5
            error = np.maximum.reduce([apart, POOLED * whole * sizes, magnified * self.start.noise])
            if self.doubted:
                self.errors = np.fmax(self.errors, self.sample.norms(row[-1] - self.best) / TRUE - error)
            for k in np.flatnonzero(error < self.errors):
                part = slice(self.sample.starts[k], self.sample.ends[k])
                self.best[part], self.factors[k], self.magnified[k] = row[-1][part], entries[-1], magnified
            self.errors = np.fmin(self.errors, error)
        self.row, self.entries = row, entries

    def begin_again(self) -> None:
        """Let the next step be any smaller one."""
        self.row, self.entries = [], []


def _combine(found: Arrays, f: Function, theta: Arrays, direction: Arrays, tableau: Tableau) -> None:
    """Add the combination of differences that a tableau chose for each tensor of its sample, for all numbers."""
    sample, steps = tableau.sample, np.array(tableau.steps)
    factors = np.array([np.append(c, np.zeros(len(steps) - len(c))) for c in tableau.factors])
    for k in np.flatnonzero(factors.any(axis=0)):
        for step in (steps[k], -steps[k]):
            for name, a in f(Moved(theta, direction, step)).items():
                if name in sample.names and (c := factors[sample.names.index(name), k]):
                    found[name] += (c / (2 * step)) * a


def roughness(line: Array, places: Array, sample: Sample) -> Array:
    """The norm of the noise in each tensor of a function, (tensors,), from values (n, numbers) at n places of a line.

    A smooth function is nearly a cubic polynomial on a short line.  Some combinations of the values are 0 for every
    cubic polynomial.  With coefficients of norm 1, they have the noise of a single value (Hamming 1971, Moré and Wild
    2011).

    >>> places, noise = np.arange(7.0), 1e-12 * np.random.default_rng(0).standard_normal((7, 100))
    >>> roughness(np.exp(1e-4 * places[:, None]) + noise, places, Sample({"t": np.ones(100)})).round(12)
    array([1.e-11])
    """
    free = np.linalg.qr(np.vander(places, DEGREE + 1), mode="complete")[0][:, DEGREE + 1 :]
    found = np.max([sample.norms(row) for row in free.T @ (line - line[0])], axis=0)
    return np.where(np.isfinite(found), found, np.inf)


def unit(arrays: Arrays) -> float:
    """The largest relative error that rounding makes in the coarsest dtype of these arrays."""
    return max(float(np.finfo(a.dtype).eps) for a in arrays.values()) / 2


def size(a: Array) -> float:
    """The norm of an array, in float64, without overflow or underflow of the squares."""
    return float(row_norms(a.reshape(1, -1))[0])


def norm(arrays: Arrays) -> float:
    """The norm over all arrays."""
    return size(np.array([size(a) for a in arrays.values()]))
