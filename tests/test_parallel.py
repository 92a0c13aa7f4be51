"""Parts side by side: sums in one order, errors that reach the caller, and training that does not depend on timing."""

from __future__ import annotations

import time

import numpy as np
import pytest
from networks import examples, generic_state

import lie_ref
from lie_ref import derivatives, parallel
from lie_ref.checks import largest_relative_error
from lie_ref.derivatives import training_gradients
from lie_ref.parallel import in_threads, side_by_side


def test_sums_are_added_in_one_order_whichever_part_is_faster():
    values = [1.0, 1e16, -1e16]  # added in any other order, the first is lost or the last two come first

    def part(k, total):
        time.sleep(0.01 * ((k + 1) % 3))
        return [float(total(np.array(values[k]))) for _ in range(5)]

    assert side_by_side(part, 3) == [[0.0] * 5] * 3


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_in_one_part_ends_the_others_and_reaches_the_caller(failing):
    def part(k, total):
        if k == failing:
            raise ValueError("this part fails")
        return total(np.zeros(1))

    with pytest.raises(ValueError, match="this part fails"):
        side_by_side(part, 2)


def test_floating_point_settings_of_the_caller_hold_in_every_part():
    with np.errstate(over="raise"):
        assert side_by_side(lambda k, total: np.geterr()["over"], 2) == ["raise", "raise"]


def test_threads_give_results_in_the_order_of_the_items_and_take_few_ahead():
    started = []

    def slow(n):
        started.append(n)
        time.sleep(0.01 * (n % 3))
        return n

    found = in_threads(slow, range(50))
    for n in range(10):
        assert next(found) == n
    assert max(started) <= 9 + 2 * parallel.threads() + 1
    assert list(found) == list(range(10, 50))


def test_an_error_in_a_thread_reaches_the_caller_and_his_floating_point_settings_the_thread():
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        list(in_threads(lambda n: np.float64(1e300) * n, [1e300]))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_results_do_not_depend_on_the_number_of_threads(count, monkeypatch):
    model = lie_ref.preset("mxresnet-tiny")
    params, buffers = generic_state(model, 2)
    x, y = examples(model, (9, 3, 33, 20), 2)
    usual = lie_ref.evaluate(model, params, buffers, x, y, examples=4)
    monkeypatch.setattr(parallel, "threads", lambda: count)
    again = lie_ref.evaluate(model, params, buffers, x, y, examples=4)
    for name in params:
        np.testing.assert_array_equal(again.brackets[name], usual.brackets[name])
    np.testing.assert_array_equal(again.logit_delta, usual.logit_delta)


@pytest.mark.parametrize("members", [1, 2, 5])
def test_a_mini_batch_in_parts_gives_the_gradients_and_statistics_of_the_whole(members, monkeypatch):
    model = lie_ref.preset("mxresnet-tiny")
    params, buffers = generic_state(model, 0)
    x, y = examples(model, (members, 3, 40, 40), 0)
    in_parts = training_gradients(model, params, buffers, x, y)
    monkeypatch.setattr(derivatives, "PARTS", 1)
    whole = training_gradients(model, params, buffers, x, y)
    assert in_parts[0] == pytest.approx(whole[0], rel=1e-13)
    assert largest_relative_error(in_parts[1], whole[1]) < 1e-11
    assert largest_relative_error(in_parts[2], whole[2]) < 1e-13


def test_training_gradients_are_the_same_bits_every_time():
    model = lie_ref.preset("mxresnet-tiny")
    params, buffers = model.init(0, np.float32)
    x, y = examples(model, (7, 3, 32, 32), 1)
    first = training_gradients(model, params, buffers, x, y)
    for _ in range(10):
        again = training_gradients(model, params, buffers, x, y)
        assert again[0] == first[0]
        assert all(np.array_equal(again[1][name], g) for name, g in first[1].items())
