"""Two partners get the same sums, whichever is faster, and notice when the other has ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from networks import arguments, training_gradients

import lie_ref
from lie_ref.core.losses import LOSSES
from lie_ref.fast.arguments import checked_problem
from lie_ref.fast.engine import training_step
from lie_ref.machine.child import Child
from lie_ref.machine.errors import InputError
from lie_ref.machine.partner import Partner
from lie_ref.measure.crosschecks import largest_relative_error


def together(*parts: Callable[[Partner], Any]) -> list[Any]:
    """The results of two partners, each in its own thread."""
    partners = Partner.pair(nbytes=4_000_000)
    with ThreadPoolExecutor(2) as pool:
        found = [pool.submit(part, partner) for part, partner in zip(parts, partners, strict=True)]
        return [f.result() for f in found]


@pytest.mark.parametrize("size", [1, 2000, 500_000])
def test_both_partners_get_the_sum_whichever_is_faster(size):
    arrays = np.random.default_rng(0).standard_normal((2, 3, size))

    def totals(partner):
        k = int(partner.first)
        for n, a in enumerate(arrays[k]):
            time.sleep(0.01 * ((n + k) % 2))  # longer than `PATIENCE`
            yield partner.total(a)

    first, second = together(*2 * [lambda partner: list(totals(partner))])
    np.testing.assert_array_equal(first, arrays.sum(axis=0))
    np.testing.assert_array_equal(second, first)


def test_a_slow_reader_gets_the_right_sum_although_the_other_has_written_again():
    def reads_slowly(partner):
        place = partner.place

        def slow_place(first, like):
            if first != partner.first:
                time.sleep(0.05)
            return place(first, like)

        partner.place = slow_place
        return [partner.total(np.full(1, n)).item() for n in range(4)]

    first, second = together(reads_slowly, lambda partner: [partner.total(np.full(1, 10 * n)).item() for n in range(4)])
    assert first == second == [0, 11, 22, 33]


def test_the_sum_has_the_shape_and_dtype_of_its_terms_whatever_their_memory_layout():
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    first, second = together(lambda partner: partner.total(a.T), lambda partner: partner.total(np.ones((3, 2), "f4")))
    np.testing.assert_array_equal(first, a.T + 1)
    assert second.dtype == first.dtype == np.float32


def add_thrice(partner):
    return [partner.total(np.full(3, n)).tolist() for n in range(3)]


def test_a_partner_can_be_sent_to_a_child_that_inherits_its_handles():
    first, second = Partner.pair(nbytes=24)
    with Child(second.handles) as child:
        child.send(partial(add_thrice, second))
        assert add_thrice(first) == [[0, 0, 0], [2, 2, 2], [4, 4, 4]]


@pytest.mark.parametrize("unread", [0, 1])
def test_a_partner_that_has_ended_is_an_error(unread):
    first, second = Partner.pair(nbytes=8)
    for _ in range(unread):
        first.send(np.ones(1))
    second.line.close()
    with pytest.raises(InputError, match=r"^a worker process ended: "):
        first.total(np.ones(1))


@pytest.mark.parametrize(("members", "decay"), [(2, 0.0), (5, 0.0), (5, 0.3)])
def test_a_mini_batch_in_parts_gives_the_gradients_and_statistics_of_the_whole(members, decay):
    loss = replace(LOSSES["bce"], weight_decay=decay)
    model, params, buffers, x, y = given = arguments(lie_ref.preset("mxresnet-tiny"), (members, 3, 24, 24), 0)
    whole = training_gradients(*given, loss=loss)

    def half(rows):
        part = checked_problem(model, params, buffers, x[None, rows], y[None, rows], loss=loss, training=True)
        return lambda partner: training_step(part, members, partner.total)

    first, second = together(*map(half, np.array_split(np.arange(members), 2)))
    assert first[0] == second[0] == pytest.approx(whole[0], rel=1e-13)
    for mine, other, expected, tolerance in zip(first[1:3], second[1:3], whole[1:], (1e-11, 1e-13), strict=True):
        assert largest_relative_error(mine, expected) < tolerance
        assert all(np.array_equal(mine[name], other[name]) for name in mine)
