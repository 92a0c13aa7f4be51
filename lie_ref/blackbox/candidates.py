"""Reads what a user claims to have computed: arrays in the form of θ or under the oracle's keys, or functions of θ."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from ..core.types import Arrays, Shapes
from ..machine.errors import InputError, nearest
from .forms import named, read_like

QUANTITIES = ("grad", "hvp", "bracket", "logit_delta")


def gathered(candidate: Mapping[Any, Any]) -> dict[str, Any]:
    """What the candidate has of each quantity; keys such as `bracket/NAME` are put together.

    >>> gathered({"bracket/a": 1.0, "bracket/b": 2.0})
    {'bracket': {'a': 1.0, 'b': 2.0}}
    """
    if not isinstance(candidate, Mapping):
        came = type(candidate).__name__
        raise InputError(f"candidate: expected a dict with some of {', '.join(QUANTITIES)}, got {came}")
    found: dict[str, Any] = {}
    for key, value in candidate.items():
        quantity, slash, name = str(key).partition("/")
        if quantity not in QUANTITIES:
            expected = f"expected some of {', '.join(QUANTITIES)}; {nearest(key, QUANTITIES)}"
            raise InputError(f"candidate: {key!r} is not compared, {expected}")
        if slash and isinstance(found.setdefault(quantity, {}), dict):
            found[quantity][name] = value
        elif quantity in found:
            raise InputError(f"candidate: expected one {quantity!r}, got it twice")
        else:
            found[quantity] = value
    if not found:
        raise InputError(f"candidate: expected some of {', '.join(QUANTITIES)}, got none")
    return found


def rows(
    where: str,
    value: Any,
    shapes: Shapes,
    lead: tuple[int, ...],
    wanted: Collection[str] | None = None,
    like: str = "theta",
) -> Arrays:
    """name → (*lead, *shape) from one form with such arrays, or lists of forms; axes that are 1 may be missing.

    >>> {name: a.shape for name, a in rows("grad", [{"w": np.ones(2)}] * 3, {"w": (2,)}, (3,)).items()}
    {'w': (3, 2)}
    """
    whole = {name: (*lead, *shape) for name, shape in shapes.items()}
    if lead and not _fits(value, whole) and not _fits(value, shapes):
        if isinstance(value, list | tuple) and len(value) == lead[0]:
            parts = [rows(f"{where}[{k}]", part, shapes, lead[1:], wanted, like) for k, part in enumerate(value)]
            return {name: np.stack([part[name] for part in parts]) for name in parts[0]}
        if isinstance(value, list | tuple) and value and lead[0] > 1 and all(_fits(p, shapes) for p in value):
            raise InputError(f"{where}: expected {lead[0]} of the form of {like}, got {len(value)}")
    if lead and lead[0] == 1 and not _fits(value, whole):
        return {name: a[None] for name, a in rows(where, value, shapes, lead[1:], wanted, like).items()}
    return read_like(where, value, whole, wanted, like)


def _fits(value: Any, shapes: Shapes) -> bool:
    """Whether a value has the names and shapes."""
    try:
        found = {name: np.shape(leaf) for name, leaf in named(value) if leaf is not None}
    except Exception:  # whatever another library raises
        return False
    return bool(found) and all(shapes.get(name) == tuple(shape) for name, shape in found.items())


def matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """(n_eval, k) of logits of any shape.

    >>> matrix((2, 3, 4)), matrix((5,))
    ((2, 12), (5, 1))
    """
    return (shape[0] if shape else 1), int(np.prod(shape[1:]))
