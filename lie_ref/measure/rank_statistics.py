"""Rank statistics: whether two scores order the examples alike, and whether a score finds the marked examples."""

from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np

from ..core.types import Array


def ranks(a: Array) -> Array:
    """The rank of each entry (n,), from 0.  Equal entries share their mean rank.  Raises ValueError for nan.

    >>> ranks(np.array([5.0, 2.0, 5.0, 9.0]))
    array([1.5, 0. , 1.5, 3. ])
    """
    _, place, counts = np.unique(_comparable(a), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[place]


def rising(a: Array, shuffled: Array) -> Array:
    """The indices (n,) that sort `a` in rising order.  Equal entries keep the order that they have in `shuffled`.

    `shuffled` (n,) is a random permutation of the indices: it decides where a score does not.

    >>> rising(np.array([5.0, 2.0, 5.0]), np.array([2, 1, 0]))
    array([1, 2, 0])
    """
    return shuffled[np.argsort(_comparable(a)[shuffled], kind="stable")]


def spearman(a: Array, b: Array, given: Sequence[Array] = ()) -> float:
    """Spearman's rank correlation of a and b (n,); with `given` scores, the part that these do not explain.

    The partial correlation is that of the residuals after regression of both ranks on the ranks of the `given` scores,
    their squares and their pairwise products, so that it allows for a smooth dependence.  nan if a residual is
    constant.

    >>> round(spearman(np.array([1.0, 2.0, 9.0]), np.array([0.0, 3.0, 4.0])), 12)
    1.0
    """
    known = [2 * ranks(c) / len(a) - 1 for c in given]  # between −1 and 1
    pairwise = [c * d for c, d in combinations_with_replacement(known, 2)]
    basis = np.stack([np.ones(len(a)), *known, *pairwise], axis=1)
    left = np.stack([ranks(a), ranks(b)], axis=1)
    residual = left - basis @ np.linalg.lstsq(basis, left, rcond=None)[0]
    size = np.linalg.norm(residual, axis=0)
    if (size <= 1e-9 * np.linalg.norm(left, axis=0)).any():  # nothing but rounding is left
        return float("nan")
    return float(residual[:, 0] @ residual[:, 1] / size.prod())


def auroc(score: Array, marked: Array) -> float:
    """The probability that a marked example (n,) bool has a higher score than an unmarked one; ties count half.

    nan if all examples are marked, or none.  It is the area under the receiver operating characteristic (Mann & Whitney
    1947).

    >>> auroc(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, False, True, True]))
    0.875
    """
    marked = np.asarray(marked, bool)  # numbers would be taken for indices
    count = int(marked.sum())
    pairs = count * (len(marked) - count)
    return float((ranks(score)[marked].sum() - count * (count - 1) / 2) / pairs) if pairs else float("nan")


def _comparable(a: Array) -> Array:
    if np.isnan(a).any():
        raise ValueError(f"a: expected numbers, got nan at {np.flatnonzero(np.isnan(a))[0]}")
    return a
