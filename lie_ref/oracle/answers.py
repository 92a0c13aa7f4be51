"""The answers to a problem by their names, and faulty answers, in which some quantities are computed differently.

An implementation that gets one quantity wrong also gets those wrong that follow from it.  Replacing a quantity of the
exact solution and letting the others follow therefore gives the answers of a faulty implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from ..core.engine import stacked
from ..core.problem import Engine, Problem, Solution
from ..core.types import Array, Arrays
from ..fast import engine as sweeps

QUANTITIES = ("logits", "loss", "grad", "hvp", "bracket", "logit_delta")  # each is computed from those before it
Quantity = Callable[["Answers"], Any]  # computes a quantity from those before it


class Answers(Solution):
    """A solution, by sweeps unless another engine is given; `answers[quantity]` is the quantity of this name."""

    def __init__(self, problem: Problem, engine: Engine = sweeps) -> None:
        super().__init__(problem, engine)

    def __getitem__(self, quantity: str) -> Any:
        return getattr(self, quantity)

    @property
    def sides(self) -> int:
        """How many products the engine computes of a pair: both, or only H_j g_i."""
        return getattr(self.engine, "sides", 2)

    def replaced(self, **quantities: Quantity) -> Answers:
        """The same answers with these quantities computed differently: earlier ones stay, later ones follow."""
        first = min(QUANTITIES.index(quantity) for quantity in quantities)
        made: dict[str, Quantity] = {q: lambda _, q=q: self[q] for q in QUANTITIES[:first]}  # type: ignore[misc]
        if "hvp" in quantities:
            made["bracket"] = lambda answers: mapped(lambda h: h[:, 0] - h[:, 1], answers.hvp)
        properties = {name: cached_property(make) for name, make in (made | quantities).items()}
        return type("Replaced", (type(self),), properties)(self.problem, self.engine)

    def known(self, found: Mapping[str, Any]) -> Answers:
        """The same answers with these quantities given."""
        answers = type(self)(self.problem, self.engine)
        vars(answers).update(vars(self), **found)
        return answers

    def outputs(self) -> Arrays:
        """All arrays under the keys of a test vector: `loss`, `logits`, `grad/NAME`, …"""
        return {key: a for quantity in QUANTITIES for key, a in keyed(quantity, self[quantity]).items()}


def keyed(quantity: str, found: Any) -> Arrays:
    """The arrays of a quantity under the keys of a test vector: `quantity`, or `quantity/NAME` for each tensor."""
    return {f"{quantity}/{name}": a for name, a in found.items()} if isinstance(found, dict) else {quantity: found}


def quantity_of(key: str) -> str:
    """The quantity to which a key of a test vector belongs.

    >>> quantity_of("grad/0.weight")
    'grad'
    """
    return key.partition("/")[0]


def mapped(f: Callable[[Array], Array], found: Any) -> Any:
    """A quantity with f applied to its array, or to each of its tensors."""
    return {name: f(a) for name, a in found.items()} if isinstance(found, dict) else f(found)


def both_ways(pairs: Array, product: Callable[[int, int], Arrays]) -> Arrays:
    """product(j, i) and product(i, j) for each pair (i, j), of a field and a direction: name → (p, 2, *shape)."""
    return stacked([stacked([product(j, i), product(i, j)]) for i, j in pairs])


def gradient_norms(grad: Arrays) -> Array:
    """‖g_i‖ over all tensors, (fields,), from name → (fields, *shape)."""
    return np.sqrt(np.sum([np.square(g).reshape(len(g), -1).sum(axis=1) for g in grad.values()], axis=0))
