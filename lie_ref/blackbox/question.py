"""What a user asks: a gradient function with a point θ of any form, and claims about it, as arrays by name."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.types import Array, Arrays
from ..machine.errors import InputError, nearest, shortened
from ..machine.progress import Progress
from ..oracle.answers import keyed
from ..oracle.comparison import compared
from ..oracle.verdict import Verdict, judge
from .candidates import gathered, matrix, rows
from .engine import Differences
from .extrapolation import size, unit
from .forms import ALONE, numbers, read, read_like, rebuilt, restore
from .problem import UNSTEADY, Fields, solved

Form = Any  # an array, or a nested dict, list or tuple of arrays of any framework
PATIENCE = 2.0  # seconds before a progress bar is shown
STAY = "batch-norm's running statistics, for one, must stay as they are"
CANDIDATE = "a dict such as {'hvp': hvp}, or a function of theta that makes one"
TAKES = {  # of each quantity, when it is a function
    "grad": "a function of theta and i",
    "hvp": "a function of theta, i and a direction",
    "bracket": "a function of theta, i and j",
    "logit_delta": "a function of theta, i and j",
}


class Question:
    """The fields of a gradient function at θ.  It works on a copy of θ, and gives the user's functions copies."""

    def __init__(
        self,
        gradient: Callable[[Form, int], Form],
        theta: Form,
        logits: Callable[[Form], Any] | None = None,
        tensors: Sequence[str] | None = None,
        sides: int = 2,
    ) -> None:
        for argument, function in (("gradient", gradient), ("logits", logits)):
            if not callable(function) and not (argument == "logits" and function is None):
                raise InputError(f"{argument}: expected a function, got {type(function).__name__}")
        self.form, self.gradient, self.logits = theta, gradient, logits
        self.theta = read("theta", theta)
        self.shapes = {name: a.shape for name, a in self.theta.items()}
        self.tensors = tensors if tensors is None else self._chosen(tensors)
        self.logits_shape: tuple[int, ...] = ()
        changes = None if logits is None else self._logits
        self.engine = Differences(self.theta, self._gradient, changes, sides, self.tensors)
        self.bar: Progress | None = None

    def verdict(self, candidate: Any, pairs: Array) -> Verdict:
        """The verdict on what the candidate claims about the fields in these pairs."""
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():  # whatever overflows is part of the verdict
                arrays = self._answers(candidate, pairs)
                quantities = {key.partition("/")[0] for key in arrays}
                if "logit_delta" in quantities:
                    self.engine.tensors = None  # the whole bracket is pushed forward
                comparison = compared(self._solved(pairs, quantities), arrays)
                with Progress(None, "gradients to name the bug", patience=PATIENCE) as self.bar:
                    return judge(comparison)
        finally:
            restore(self.form, self.theta)  # a user's function may have loaded other parameters into a network

    def _solved(self, pairs: Array, quantities: set[str]) -> Fields:
        count = self.engine.sides * len(pairs) + ("logit_delta" in quantities)
        with Progress(count, "derivatives by differences", patience=PATIENCE) as bar:
            return solved(self.engine, pairs, quantities, bar.advance)

    def _gradient(self, theta: Mapping[str, Array], number: int) -> Arrays:
        """The user's gradient as arrays, which may share memory with what the user's function uses again."""
        if self.bar:
            self.bar.advance()
        source = f"gradient(theta, {number})"
        try:
            g = called("gradient", "a function of theta and i", self.gradient, rebuilt(self.form, theta), number)
        except (ValueError, ArithmeticError) as error:
            if theta is self.theta or isinstance(error, InputError):
                raise
            return {name: np.full(shape, np.nan) for name, shape in self.shapes.items()}  # outside of its domain
        found = read_like(source, g, self.shapes)
        if theta is self.theta:
            check_finite(source, found)
        return found

    def _logits(self, theta: Mapping[str, Array]) -> Array:
        assert self.logits is not None
        z = called("logits", "a function of theta", self.logits, rebuilt(self.form, theta))
        z = numbers("logits(theta)", z)
        if theta is self.theta:
            check_finite("logits(theta)", {ALONE: z})
        if not z.size:
            raise InputError(f"logits(theta): expected an array of numbers, got one of shape {z.shape}")
        self.logits_shape = z.shape
        return z.reshape(matrix(z.shape))

    def _answers(self, candidate: Any, pairs: Array) -> Arrays:
        """The candidate's arrays under the oracle's keys; InputError if it changes what the gradient uses."""
        number, found = int(pairs[:, -self.engine.sides :].min()), {}
        before, again = self._sizes(number), self._sizes(number)  # they differ if the gradient draws random numbers
        claims = gathered(self.call("candidate", CANDIDATE, candidate) if callable(candidate) else candidate)
        for quantity, claim in claims.items():
            where, lead = f"candidate: {quantity}", self._lead(quantity, pairs)
            if quantity == "logit_delta":
                if self.logits is None:
                    raise InputError(f"{where}: expected logits=, a function of theta, with it")
                self._logits(self.theta)  # for their shape
                if callable(claim):
                    claim = [self.call(where, TAKES[quantity], claim, i, j) for i, j in pairs.tolist()]
                z = rows(where, claim, {ALONE: self.logits_shape}, lead, like="logits(theta)")[ALONE]
                found["logit_delta"] = z.reshape(*lead, *matrix(self.logits_shape))
            else:
                claim = self._called(quantity, claim, pairs) if callable(claim) else claim
                found |= keyed(quantity, rows(where, claim, self.shapes, lead, self.tensors))
            moved, noise = (float(np.linalg.norm(a - before)) for a in (self._sizes(number), again))
            if moved > UNSTEADY * unit(self.theta) * np.linalg.norm(before) >= noise:
                changed = f"it changed gradient(theta, {number}) by {moved / np.linalg.norm(before):.1g} of its norm"
                raise InputError(f"{where}: {changed}; {STAY}")
        return {key: a.astype(np.float32) if a.dtype.itemsize < 4 else a for key, a in found.items()}

    def _sizes(self, number: int) -> Array:
        """The norm of each tensor of a gradient at θ."""
        return np.array([size(a) for a in self._gradient(self.theta, number).values()])

    def _lead(self, quantity: str, pairs: Array) -> tuple[int, ...]:
        if quantity == "grad":
            return (len(np.unique(pairs)),)
        return (len(pairs), self.engine.sides) if quantity == "hvp" else (len(pairs),)

    def _called(self, quantity: str, function: Callable[..., Form], pairs: Array) -> list[Any]:
        """What a user's function computes for each field, product or pair, in memory of its own."""

        def own(*arguments: Any) -> Arrays:
            said = ", ".join(str(a) if isinstance(a, int) else "direction" for a in arguments)
            source = f"candidate: {quantity}(theta, {said})"
            found = self.call(f"candidate: {quantity}", TAKES[quantity], function, *arguments)
            found = read_like(source, found, self.shapes, self.tensors)
            return {name: a.copy() for name, a in found.items()}

        def product(field: int, along: int) -> Arrays:
            return own(field, rebuilt(self.form, self.engine.direction(along)))

        if quantity == "grad":
            return [own(number) for number in np.unique(pairs).tolist()]
        if quantity == "bracket":
            return [own(i, j) for i, j in pairs.tolist()]
        return [[product(j, i), product(i, j)] for i, j in pairs.tolist()]

    def call(self, argument: str, expected: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a user's function returns for a copy of θ and these arguments."""
        return called(argument, expected, function, rebuilt(self.form, self.theta), *arguments)

    def _chosen(self, tensors: Sequence[str]) -> tuple[str, ...]:
        """The names of the tensors that are called so, or whose names go on with a dot after this."""
        if isinstance(tensors, str) or not isinstance(tensors, Iterable) or not (starts := list(tensors)):
            raise InputError(f"tensors: expected a list of names, got {shortened(tensors)}")
        for start in starts:
            if not any(_below(name, start) for name in self.shapes):
                known = f"{', '.join([*self.shapes][:4])}{', …' * (len(self.shapes) > 4)}"
                came = f"got {shortened(start)}; {nearest(start, self.shapes)}"
                raise InputError(f"tensors: expected names of theta's tensors, {known}, {came}")
        return tuple(name for name in self.shapes if any(_below(name, start) for start in starts))


def called(argument: str, expected: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """function(*arguments).  Raises InputError if it does not take these arguments; its own errors come through."""
    try:
        return function(*arguments)
    except TypeError as error:
        if error.__traceback__ and error.__traceback__.tb_next:  # raised inside the function
            raise
        raise InputError(f"{argument}: expected {expected}, got TypeError: {error}") from error


def checked_pairs(pairs: Sequence[tuple[int, int]] | Array) -> Array:
    """Pairs of the numbers of fields, (p, 2)."""
    try:
        found = np.asarray(pairs)
    except ValueError as error:  # NumPy's, about rows of different lengths
        raise InputError(f"pairs: expected pairs of numbers >= 0, such as [(0, 1)], got {shortened(pairs)}") from error
    if found.ndim != 2 or found.shape[1] != 2 or not len(found) or found.dtype.kind not in "iu" or (found < 0).any():
        raise InputError(f"pairs: expected pairs of numbers >= 0, such as [(0, 1)], got {shortened(pairs)}")
    return found


def _below(name: str, start: str) -> bool:
    return name == start or name.startswith(f"{start}.")


def check_finite(source: str, arrays: Arrays) -> None:
    for name, a in arrays.items():
        if not np.isfinite(a).all():
            where = source if name == ALONE else f"{source}: {name!r}"
            raise InputError(f"{where}: expected finite numbers, got nan or inf")
