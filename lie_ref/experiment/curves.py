"""The curves of a study, for figures: each point is a mean over the runs, with Student's interval of 95 %."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..study.verdicts import CORRELATION, SHARE, averaged
from .claims import LATE, PAIR, SETTLED, Point, Run, error, foretold, reach
from .expansion import NETWORKS

SHARES = {"all pairs": "probability_share", "pairs that disagree on hair": "probability_share_apart"}


def curves(runs: Mapping[str, Sequence[Run]]) -> dict[str, list[dict[str, Any]]]:
    """The curves of the runs of each variant, ready for JSON.

    `orders` has, for each kind of swap, optimizer, ε and step, how well brackets foretell the change of held-out loss:
    the `cosine`, the share whose `sign` is right, and the `ratio` of the norms, real to predicted.  `hair` has hair's
    `share` of all changes of probability.  `reach` has the decimal logarithm of the ε up to which the expansion holds,
    and the `error` at the learning rate.
    """
    plain = runs["plain"]
    return {
        "orders": _orders(plain),
        "hair": [
            {"variant": variant, "pairs": pairs, "step": step}
            | {"share": averaged((point[key] for point in points), SHARE)}
            for variant, of in runs.items()
            for pairs, key in SHARES.items()
            for step, points in _points(of, LATE).items()
        ],
        "reach": [
            {"network": network, "step": step}
            | {"reach": averaged(reach(network, point) for point in points)}
            | {"error": averaged(error(network, point) for point in points)}
            for network in NETWORKS
            for step, points in _points(plain, SETTLED).items()
        ],
    }


def _orders(runs: Sequence[Run]) -> list[dict[str, Any]]:
    names = ("kind", "optimizer", "epsilon", "step")
    tried: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        for of in run["orders"]:
            tried[tuple(of[name] for name in names)].append(of)
    return [
        dict(zip(names, key, strict=True))
        | {"cosine": averaged(map(foretold, of), CORRELATION), "sign": averaged(map(_sign, of), SHARE)}
        | {"ratio": averaged(map(_ratio, of))}
        for key, of in tried.items()
    ]


def _sign(of: dict[str, Any]) -> float:
    predicted, real = (np.array(of[key]) for key in PAIR)
    return float(np.mean(predicted * real > 0))


def _ratio(of: dict[str, Any]) -> float:
    predicted, real = (float(np.linalg.norm(of[key])) for key in PAIR)
    return real / predicted if predicted else math.nan


def _points(runs: Sequence[Run], since: int) -> dict[int, list[Point]]:
    """The checkpoints of all runs, by step."""
    found: dict[int, list[Point]] = defaultdict(list)
    for run in runs:
        for point in run["checkpoints"]:
            if point["step"] >= since:
                found[point["step"]].append(point)
    return found
