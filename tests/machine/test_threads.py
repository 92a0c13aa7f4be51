"""Threads: results come in the order of the items for any number of threads, and errors reach the caller."""

from __future__ import annotations

import time

import numpy as np
import pytest
from networks import arguments

import lie_ref
from lie_ref.machine.threads import in_threads, threads


def test_results_come_in_the_order_of_the_items_and_only_a_few_ahead():
    started = []

    def slow(n):
        started.append(n)
        time.sleep(0.01 * (n % 3))
        return n

    found = in_threads(slow, range(50))
    for n in range(10):
        assert next(found) == n
    assert max(started) <= 9 + 2 * threads() + 1
    assert list(found) == list(range(10, 50))


def test_errors_reach_the_caller_and_its_floating_point_settings_reach_the_threads():
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        list(in_threads(lambda n: np.float64(1e300) * n, [1e300]))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_results_do_not_depend_on_the_number_of_threads(count, monkeypatch):
    given = arguments(lie_ref.preset("mxresnet-tiny"), (9, 3, 33, 20), 2)
    usual = lie_ref.evaluate(*given, examples=4)
    monkeypatch.setattr("lie_ref.machine.threads.threads", lambda: count)
    again = lie_ref.evaluate(*given, examples=4)
    for name in usual.brackets:
        np.testing.assert_array_equal(again.brackets[name], usual.brackets[name])
    np.testing.assert_array_equal(again.logit_delta, usual.logit_delta)
