"""What the evaluation of a checkpoint shows, as plain numbers: how brackets follow gradients, and what they move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .derivatives import squared_norms
from .dual import Array
from .evaluation import Evaluation

HAIR = ("Black_Hair", "Brown_Hair", "Blond_Hair", "Gray_Hair")
RMS_GRADIENT = "the root of the mean of the two examples' squared RMS gradients, tensor by tensor"


def checkpoint_findings(evaluation: Evaluation, attributes: Sequence[str]) -> dict[str, Any]:
    """The findings of one evaluation whose logits are the `attributes`, ready for JSON (None where undefined).

    `brackets`: for each pair its norm, and the log–log correlation and one-parameter line of RMS bracket against RMS
    gradient over the tensors in which neither is zero; `attributes`: by falling mean |logit change|.
    """
    norms = np.sqrt(sum(squared_norms(bracket) for bracket in evaluation.brackets.values()))
    fits = []
    for p, (i, j) in enumerate(evaluation.pairs.tolist()):
        rms_gradient = pair_rms_gradient(evaluation.rms_gradient, i, j)
        fits.append(
            {"pair": [i, j], "norm": float(norms[p]), **proportionality(evaluation.rms_bracket[p], rms_gradient)}
        )
    correlations = [fit["correlation"] for fit in fits if fit["correlation"] is not None]
    ranking = rank_attributes(evaluation.logit_delta, attributes)
    ranks = {entry["name"]: entry["rank"] for entry in ranking}
    return {
        "brackets": fits,
        "mean_correlation": float(np.mean(correlations)) if correlations else None,
        "attributes": ranking,
        "hair_ranks": {name: ranks[name] for name in HAIR},
    }


def pair_rms_gradient(rms_gradient: Array, i: int, j: int) -> Array:
    """`RMS_GRADIENT` for the examples i and j of rms_gradient (e, t): (t,)."""
    return np.sqrt((rms_gradient[i] ** 2 + rms_gradient[j] ** 2) / 2)


def proportionality(rms_bracket: Array, rms_gradient: Array) -> dict[str, Any]:
    """Fit RMS bracket = c · RMS gradient over tensors (t,), by least squared_norms of the logarithms.

    Tensors in which either is zero have no logarithm and are left out; `tensors` is how many remain.  `correlation` is
    that of the logarithms.  Both are None with fewer than three tensors, and the correlation if either does not vary.

    >>> fit = proportionality(np.array([2.0, 4.0, 8.0, 0.0]), np.array([1.0, 2.0, 4.0, 1.0]))
    >>> round(fit["correlation"], 12), fit["constant"], fit["tensors"]
    (1.0, 2.0, 3)
    """
    used = (rms_bracket > 0) & (rms_gradient > 0)
    count = int(used.sum())
    if count < 3:
        return {"correlation": None, "constant": None, "tensors": count}
    b, g = np.log(rms_bracket[used]), np.log(rms_gradient[used])
    varies = np.ptp(b) > 0 and np.ptp(g) > 0
    return {
        "correlation": float(np.corrcoef(b, g)[0, 1]) if varies else None,
        "constant": float(np.exp(np.mean(b - g))),
        "tensors": count,
    }


def beats_majority(logits: Array, targets: Array) -> Array:
    """Which of k attributes are predicted clearly better than by always giving the commoner answer: (k,) bool.

    logits and targets (n, k).  Clearly is by McNemar's test: of the examples on which just one of the two is right, the
    network has more, by over two standard deviations.

    >>> targets = np.array([[1.0, 1.0]] * 10 + [[0.0, 0.0]] * 30)
    >>> beats_majority(np.where(np.arange(40)[:, None] < [10, 1], 1.0, -1.0), targets).tolist()
    [True, False]
    """
    truth = targets > 0.5
    right, majority_right = (logits > 0) == truth, truth == (truth.mean(axis=0) > 0.5)
    gained, lost = (right & ~majority_right).sum(axis=0), (~right & majority_right).sum(axis=0)
    return gained - lost > 2 * np.sqrt(gained + lost)


def rank_attributes(logit_delta: Array, attributes: Sequence[str]) -> list[dict[str, Any]]:
    """The attributes by falling mean |logit change| over pairs and examples; logit_delta (p, n, k).

    >>> rank_attributes(np.array([[[1.0, -3.0]]]), ["Bald", "Young"])[0]
    {'name': 'Young', 'rank': 1, 'mean_abs_logit_change': 3.0}
    """
    change = np.abs(logit_delta).mean(axis=(0, 1))
    order = np.argsort(-change, kind="stable")
    return [
        {"name": attributes[k], "rank": rank, "mean_abs_logit_change": float(change[k])}
        for rank, k in enumerate(order.tolist(), start=1)
    ]
