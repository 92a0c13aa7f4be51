"""Threads and partners: results in one order, the same sums for both, and errors that reach the caller."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from networks import examples, generic_state

import lie_ref
from lie_ref.core.losses import LOSSES
from lie_ref.fast.engine import training_gradients
from lie_ref.fast.sweeps import channels_last, mini_batch_gradient
from lie_ref.machine import parallel
from lie_ref.machine.parallel import Partner, in_threads, threads, workers
from lie_ref.measure.crosschecks import largest_relative_error


def together(*parts: Callable[[Partner], Any]) -> list[Any]:
    """Two partners, each in a thread of its own."""
    partners = Partner.pair(nbytes=4_000_000)
    with ThreadPoolExecutor(2) as pool:
        found = [pool.submit(part, partner) for part, partner in zip(parts, partners, strict=True)]
        return [f.result() for f in found]


@pytest.mark.parametrize("size", [1, 2000, 500_000])
def test_both_partners_have_the_sum_whichever_is_faster(size):
    rng = np.random.default_rng(0)
    arrays = rng.standard_normal((2, 3, size))

    def part(k):
        def totals(partner):
            found = []
            for n, a in enumerate(arrays[k]):
                time.sleep(0.01 * ((n + k) % 2) + 0.15 * (n == k))  # past `PATIENCE`, and past `GLANCE`
                found.append(partner.total(a))
            return found

        return totals

    first, second = together(part(0), part(1))
    np.testing.assert_array_equal(first, arrays.sum(axis=0))
    np.testing.assert_array_equal(second, first)


def test_a_slow_reader_has_the_sum_although_the_other_has_written_again():
    def reads_slowly(partner):
        other = partner.other

        def view(turn, like):
            time.sleep(0.05)
            return other.view(turn, like)

        partner.other = SimpleNamespace(written=other.written, view=view)
        return [partner.total(np.full(1, n)).item() for n in range(4)]

    first, second = together(reads_slowly, lambda partner: [partner.total(np.full(1, 10 * n)).item() for n in range(4)])
    assert first == second == [0, 11, 22, 33]


def test_the_sum_has_the_shape_and_dtype_of_what_is_added_however_that_lies_in_memory():
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    first, second = together(lambda partner: partner.total(a.T), lambda partner: partner.total(np.ones((3, 2), "f4")))
    np.testing.assert_array_equal(first, a.T + 1)
    assert second.dtype == first.dtype == np.float32


def test_a_partner_that_has_ended_is_an_error():
    first, second = Partner.pair(nbytes=8)
    second.send(np.ones(1))  # what he had said before counts
    second.line.close()
    np.testing.assert_array_equal(first.total(np.ones(1)), [2])
    with pytest.raises(EOFError):
        first.total(np.ones(1))


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


@pytest.mark.parametrize("members", [2, 5])
def test_a_mini_batch_in_parts_gives_the_gradients_and_statistics_of_the_whole(members):
    model = lie_ref.preset("mxresnet-tiny")
    params, buffers = generic_state(model, 0)
    x, y = examples(model, (members, 3, 40, 40), 0)
    whole = training_gradients(model, params, buffers, x, y)

    def half(rows):
        of = channels_last(x[rows]), y[rows], LOSSES["bce"], members
        return lambda partner: mini_batch_gradient(model, params, buffers, *of, partner.total)

    first, second = together(*map(half, np.array_split(np.arange(members), 2)))
    assert first[0] == second[0] == pytest.approx(whole[0], rel=1e-13)
    for mine, his, expected, tolerance in zip(first[1:3], second[1:3], whole[1:], (1e-11, 1e-13), strict=True):
        assert largest_relative_error(mine, expected) < tolerance
        assert all(np.array_equal(mine[name], his[name]) for name in mine)


def test_a_worker_computes_in_one_thread():
    with workers() as pool:
        assert pool.submit(threads).result() == 1
    assert threads() >= 1


def test_workers_end_at_once_with_their_block():
    """Whatever they are at, and whatever waits: more than a pipe holds, and cancelled."""

    def interrupted():
        with workers() as pool:
            busy = [pool.submit(time.sleep, 300) for _ in range(threads())]
            waiting = [pool.submit(np.sum, np.ones(100_000)) for _ in range(20)]
            while not all(future.running() for future in busy):
                time.sleep(0.01)
            for future in waiting:
                future.cancel()
            raise KeyboardInterrupt

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.monotonic() - begun < 60
    assert not multiprocessing.active_children()
