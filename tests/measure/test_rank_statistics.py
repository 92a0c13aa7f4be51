"""Statistics of ranks against counted pairs and explicit fits."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lie_ref.measure.rank_statistics import auroc, ranks, rising, spearman

RNG = np.random.default_rng(0)
few = st.lists(st.integers(0, 5), min_size=2, max_size=20)


@given(few)
def test_a_rank_counts_smaller_entries_and_half_of_the_other_equal_ones(entries):
    a = np.array(entries)
    expected = [(a < x).sum() + ((a == x).sum() - 1) / 2 for x in a]
    np.testing.assert_array_equal(ranks(a), expected)


@given(few, st.randoms(use_true_random=False))
def test_rising_sorts_and_keeps_equal_entries_in_the_shuffled_order(entries, random):
    a, shuffled = np.array(entries), np.array(random.sample(range(len(entries)), len(entries)))
    places = rising(a, shuffled)
    assert sorted(places) == list(range(len(a)))
    when = np.argsort(shuffled)
    assert all((a[i], when[i]) < (a[j], when[j]) for i, j in pairwise(places))


@pytest.mark.parametrize("statistic", [ranks, lambda a: rising(a, np.arange(3)), lambda a: spearman(np.arange(3), a)])
def test_nan_is_refused(statistic):
    with pytest.raises(ValueError, match=r"^a: expected numbers, got nan at 1$"):
        statistic(np.array([1.0, np.nan, np.inf]))
    statistic(np.array([1.0, -np.inf, np.inf]))


def test_spearman_is_pearsons_correlation_of_the_ranks():
    a, b = RNG.integers(0, 4, 50), RNG.integers(0, 4, 50)
    assert spearman(a, b) == pytest.approx(np.corrcoef(ranks(a), ranks(b))[0, 1], rel=1e-12)


def test_the_partial_correlation_is_that_of_the_residuals_of_an_explicit_fit():
    c, d = RNG.standard_normal((2, 200))
    a, b = c + d + RNG.standard_normal(200), c - d + RNG.standard_normal(200)
    r, s = ranks(c), ranks(d)
    basis = np.stack([r**0, r, s, r * r, r * s, s * s], axis=1)
    project = np.eye(200) - basis @ np.linalg.pinv(basis)
    expected = np.corrcoef(project @ ranks(a), project @ ranks(b))[0, 1]
    assert spearman(a, b, [c, d]) == pytest.approx(expected, rel=1e-6)


def test_the_control_also_removes_a_nonlinear_dependence():
    c = RNG.uniform(-1, 1, 4000)
    a, b = c**2 + 0.1 * RNG.standard_normal(4000), -(c**2) + 0.5 * c + 0.1 * RNG.standard_normal(4000)
    assert abs(spearman(a, b)) > 0.5
    assert abs(spearman(a, b, [c])) < 0.1


def test_only_the_order_counts():
    a, b, c = RNG.standard_normal((3, 40))
    assert spearman(np.exp(a), b**3, [5 * c]) == pytest.approx(spearman(a, b, [c]), rel=1e-12)
    assert spearman(-a, b) == pytest.approx(-spearman(a, b), rel=1e-12)


def test_a_constant_has_no_correlation():
    a = RNG.standard_normal(20)
    assert np.isnan(spearman(a, np.ones(20)))
    assert np.isnan(spearman(a, RNG.standard_normal(20), [a]))


@given(few, st.data())
def test_auroc_is_the_share_of_pairs_in_which_the_marked_example_is_higher(entries, data):
    score = np.array(entries)
    marked = np.array(data.draw(st.lists(st.booleans(), min_size=len(score), max_size=len(score))))
    pairs = [(s > t) + (s == t) / 2 for s in score[marked] for t in score[~marked]]
    expected = np.mean(pairs) if pairs else np.nan
    np.testing.assert_allclose(auroc(score, marked), expected, rtol=1e-12)
    np.testing.assert_allclose(auroc(score, marked.astype(int)), expected, rtol=1e-12)
