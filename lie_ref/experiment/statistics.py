"""The statistics of a checkpoint: how closely brackets follow gradients, and which attributes brackets move."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.types import Array
from ..fast.dual import Dual
from ..images.labels import HAIR
from ..measure.evaluation import Swaps
from .exclusive import attribute_probabilities

RMS_GRADIENT = "the root of the mean of the two examples' squared RMS gradients, tensor by tensor"


def checkpoint_statistics(plain: Swaps, pairs: Array, attributes: Sequence[str], rms_shuffled: Array) -> dict[str, Any]:
    """The statistics of the brackets of pairs (p, 2), for logits of `attributes`: ready for JSON, None if undefined.

    `brackets` has the norm of each pair's bracket and its `proportionality` to the gradients; `mean_…` are means over
    the pairs, and `shuffled` has the same means for `rms_shuffled` (p, t), the RMS along shuffled directions;
    `attributes` are sorted by falling mean |logit change|.
    """
    fits = pair_fits(plain.rms_bracket, plain.rms_gradient, pairs)
    ranking = rank_attributes(plain.logit_delta, attributes)
    return {
        "brackets": [
            {"pair": pair, "norm": float(norm), **fit}
            for pair, norm, fit in zip(pairs.tolist(), plain.norm, fits, strict=True)
        ],
        **mean_fits(fits),
        "shuffled": mean_fits(pair_fits(rms_shuffled, plain.rms_gradient, pairs)),
        "attributes": ranking,
        "hair_ranks": _hair_ranks(ranking),
    }


def swap_statistics(swaps: Swaps, pairs: Array, attributes: Sequence[str]) -> dict[str, Any]:
    """The statistics of swaps under an optimizer: only the means over the pairs (p, 2), and the ranks of hair."""
    return {
        **mean_fits(pair_fits(swaps.rms_bracket, swaps.rms_gradient, pairs)),
        "hair_ranks": _hair_ranks(rank_attributes(swaps.logit_delta, attributes)),
    }


def _hair_ranks(ranking: Sequence[dict[str, Any]]) -> dict[str, int]:
    ranks = {entry["name"]: entry["rank"] for entry in ranking}
    return {name: ranks[name] for name in HAIR}


def shares_of_hair(
    logits: Array, logit_delta: Array, attributes: Sequence[str], exclusive: Sequence[int] = ()
) -> dict[str, dict[str, float]]:
    """The `hair_shares` of the changes (p, n, k) of the `logits` (n, k), and of the changes of the `probabilities`.

    The columns `exclusive` share a softmax.
    """
    moved = attribute_probabilities(Dual(logits, logit_delta), exclusive).tangent
    return {"logits": hair_shares(logit_delta, attributes), "probabilities": hair_shares(moved, attributes)}


def pair_fits(rms_bracket: Array, rms_gradient: Array, pairs: Array) -> list[dict[str, Any]]:
    """The `proportionality` of RMS bracket (p, t) and RMS gradient of each pair, from the RMS of examples (e, t)."""
    return [
        proportionality(bracket, pair_rms_gradient(rms_gradient, i, j))
        for bracket, (i, j) in zip(rms_bracket, pairs.tolist(), strict=True)
    ]


def mean_fits(fits: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over the pairs with a value, geometric for the constants; None if no pair has a value."""
    defined = {key: [fit[key] for fit in fits if fit[key] is not None] for key in ("correlation", "slope", "constant")}
    return {
        "mean_correlation": float(np.mean(defined["correlation"])) if defined["correlation"] else None,
        "mean_slope": float(np.mean(defined["slope"])) if defined["slope"] else None,
        "mean_constant": float(np.exp(np.mean(np.log(defined["constant"])))) if defined["constant"] else None,
    }


def hair_shares(change: Array, attributes: Sequence[str]) -> dict[str, float]:
    """The share of each hair colour in all |changes| (p, n, k); 0 if nothing changes.

    >>> hair_shares(np.array([[[3.0, 0, 0, 1.0]]]), [*HAIR[:3], "Gray_Hair"])["Black_Hair"]
    0.75
    """
    sums = np.abs(change).sum(axis=(0, 1))
    shares = sums / (sums.sum() or 1.0)
    return {name: float(shares[attributes.index(name)]) for name in HAIR}


def pair_rms_gradient(rms_gradient: Array, i: int, j: int) -> Array:
    """`RMS_GRADIENT` for the examples i and j of rms_gradient (e, t): (t,)."""
    return np.sqrt((rms_gradient[i] ** 2 + rms_gradient[j] ** 2) / 2)


def proportionality(rms_bracket: Array, rms_gradient: Array) -> dict[str, Any]:
    """Fit RMS bracket = c · RMS gradient over tensors (t,), by least squares of the logarithms.

    Tensors in which either is zero have no logarithm and are left out; `tensors` is the number that remain.
    `correlation` is that of the logarithms, `slope` that of a line fitted to them, and `constant` is c.  All three are
    None with fewer than three tensors; `correlation` and `slope` also if RMS bracket or RMS gradient is constant.

    >>> fit = proportionality(np.array([2.0, 4.0, 8.0, 0.0]), np.array([1.0, 2.0, 4.0, 1.0]))
    >>> round(fit["correlation"], 12), fit["constant"], fit["tensors"]
    (1.0, 2.0, 3)
    """
    used = (rms_bracket > 0) & (rms_gradient > 0)
    count = int(used.sum())
    if count < 3:
        return {"correlation": None, "slope": None, "constant": None, "tensors": count}
    b, g = np.log(rms_bracket[used]), np.log(rms_gradient[used])
    varies = np.ptp(b) > 0 and np.ptp(g) > 0
    return {
        "correlation": float(np.corrcoef(b, g)[0, 1]) if varies else None,
        "slope": float(np.polyfit(g, b, 1)[0]) if varies else None,
        "constant": float(np.exp(np.mean(b - g))),
        "tensors": count,
    }


def beats_majority(probabilities: Array, targets: Array) -> Array:
    """Which of k attributes are predicted clearly better than by always giving the more common answer: (k,) bool.

    Probabilities and targets are (n, k).  Clearly means by McNemar's test: among the examples on which only one of the
    two is right, the network is right more often, by over two standard deviations.

    >>> targets = np.array([[1.0, 1.0]] * 10 + [[0.0, 0.0]] * 30)
    >>> beats_majority(np.where(np.arange(40)[:, None] < [10, 1], 0.9, 0.1), targets).tolist()
    [True, False]
    """
    truth = targets > 0.5
    right, majority_right = (probabilities > 0.5) == truth, truth == (truth.mean(axis=0) > 0.5)
    gained, lost = (right & ~majority_right).sum(axis=0), (~right & majority_right).sum(axis=0)
    return gained - lost > 2 * np.sqrt(gained + lost)


def rank_attributes(logit_delta: Array, attributes: Sequence[str]) -> list[dict[str, Any]]:
    """The attributes, sorted by falling mean |logit change| over pairs and examples; logit_delta is (p, n, k).

    >>> rank_attributes(np.array([[[1.0, -3.0]]]), ["Bald", "Young"])[0]
    {'name': 'Young', 'rank': 1, 'mean_abs_logit_change': 3.0}
    """
    change = np.abs(logit_delta).mean(axis=(0, 1))
    order = np.argsort(-change, kind="stable")
    return [
        {"name": attributes[k], "rank": rank, "mean_abs_logit_change": float(change[k])}
        for rank, k in enumerate(order.tolist(), start=1)
    ]
