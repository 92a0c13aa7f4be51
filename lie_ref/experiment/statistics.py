"""The statistics of a checkpoint: how closely brackets follow gradients, and which attributes brackets move."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.types import Array, Arrays
from ..images.labels import HAIR
from ..machine.files import from_json
from ..measure.evaluation import Swaps
from .sample import PAIRS

RMS_GRADIENT = "the root of the mean of the two examples' squared RMS gradients, tensor by tensor"


def checkpoint_statistics(plain: Swaps, pairs: Array, attributes: Sequence[str], rms_shuffled: Array) -> dict[str, Any]:
    """The statistics of the brackets of pairs (p, 2), for logits of `attributes`: ready for JSON, None if undefined.

    `brackets` has the norm of each pair's bracket and its `proportionality` to the gradients; `mean_…` are means over
    the pairs, and `shuffled` has the same means for `rms_shuffled` (p, t), the RMS along shuffled directions;
    `attributes` are sorted by falling mean |logit change|.
    """
    fits = pair_fits(plain.rms_bracket, plain.rms_gradient, pairs)
    ranking = rank_attributes(plain.logit_delta, attributes)
    ranks = {entry["name"]: entry["rank"] for entry in ranking}
    return {
        "brackets": [
            {"pair": pair, "norm": float(norm), **fit}
            for pair, norm, fit in zip(pairs.tolist(), plain.norm, fits, strict=True)
        ],
        **mean_fits(fits),
        "shuffled": mean_fits(pair_fits(rms_shuffled, plain.rms_gradient, pairs)),
        "attributes": ranking,
        "hair_ranks": {name: ranks[name] for name in HAIR},
    }


def sample_statistics(arrays: Arrays) -> dict[str, Any]:
    """The statistics of a sample of sixes at a checkpoint: means over the sixes, or over all of their pairs.

    `views` has for each view the fits of `proportionality` (`spread` is the factor by which the constants of a six's
    pairs spread), the mean rank of hair, how often Black_Hair and Brown_Hair lead, and the share of each hair colour
    in all changes.  `agreement` has for each attribute its mean share of a pair's changes if the two examples disagree
    on it, and if they agree.  Undefined values are nan.
    """
    views = [name.removeprefix("moved/") for name in arrays if name.startswith("moved/")]
    attributes = arrays["attributes"].tolist()
    hair = [attributes.index(name) for name in HAIR]
    probability, targets = arrays["moved_probability"], arrays["targets"]
    first, second = (targets[:, PAIRS[:, side]] for side in range(2))
    disagree = first != second  # (s, p, k)
    apart = disagree[..., hair].any(axis=-1)
    return {
        "step": int(arrays["step"]),
        "views": {view: _view_statistics(arrays, view, hair) for view in views},
        "shuffled": _fits(arrays["rms_bracket/shuffled"], arrays["rms_gradient/plain"]),
        "probability_share": _shares(probability)[:, hair].sum(axis=1).mean(),
        "probability_share_apart": _ratio(probability[apart][:, hair].sum(), probability[apart].sum()),
        "agreement": _agreement(arrays["moved/plain"], disagree, attributes),
        **(from_json(str(arrays["checks"]), "checks") if "checks" in arrays else {}),
    }


def _view_statistics(arrays: Arrays, view: str, hair: Sequence[int]) -> dict[str, Any]:
    moved = arrays[f"moved/{view}"]
    ranks = 1 + np.argsort(np.argsort(-moved.mean(axis=1), axis=1, kind="stable"), axis=1)[:, hair]
    return {
        **_fits(arrays[f"rms_bracket/{view}"], arrays[f"rms_gradient/{view}"]),
        "hair_rank": ranks.mean(),
        "lead": (ranks[:, :2] <= 2).all(axis=1).mean(),
        "hair_shares": dict(zip(HAIR, _shares(moved)[:, hair].mean(axis=0), strict=True)),
    }


def _fits(rms_bracket: Array, rms_gradient: Array) -> dict[str, float]:
    """Means over the sixes (s, …) of the means over their pairs; geometric ones of the constants."""
    found = [
        [proportionality(bracket, pair_rms_gradient(gradient, i, j)) for bracket, (i, j) in zip(of, PAIRS, strict=True)]
        for of, gradient in zip(rms_bracket, rms_gradient, strict=True)
    ]
    of = {
        key: np.array([[fit[key] for fit in fits] for fits in found], float)
        for key in ("correlation", "slope", "constant")
    }
    logs = np.log(of["constant"])
    return {
        **{key: float(of[key].mean()) for key in ("correlation", "slope")},
        "constant": float(np.exp(logs.mean())),
        "spread": float(np.exp(logs.std(axis=1, ddof=1)).mean()),
    }


def _ratio(a: float, b: float) -> float:
    return float(a / b) if b else math.nan


def _shares(moved: Array) -> Array:
    """Each attribute's share of all changes in a six: (s, k) from (s, p, k)."""
    total = moved.sum(axis=1)
    return total / total.sum(axis=1, keepdims=True)


def _agreement(moved: Array, disagree: Array, attributes: Sequence[str]) -> dict[str, list[float]]:
    share = moved / moved.sum(axis=-1, keepdims=True)
    return {
        name: [float(share[..., k][chosen].mean()) if chosen.any() else math.nan for chosen in (apart, ~apart)]
        for k, name in enumerate(attributes)
        for apart in [disagree[..., k]]
    }


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
