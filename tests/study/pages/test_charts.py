"""The axes of a chart place values and have round ticks; its marks are drawn where the axes place them."""

from __future__ import annotations

import pytest

from lie_ref.study.pages.charts import Axis, Chart


@pytest.mark.parametrize("logarithmic", [False, True])
def test_an_axis_around_values_shows_all_of_them_with_a_little_room(logarithmic: bool) -> None:
    axis = Axis.around([3.0, 0.02, 7.0], logarithmic)
    first, *between, last = axis.share([axis.low, 0.02, 3.0, 7.0, axis.high]).tolist()
    assert (first, last) == pytest.approx((0, 1))
    assert 0 < between[0] < 0.07
    assert between[0] < between[1] < between[2] < 1


@pytest.mark.parametrize("logarithmic", [False, True])
def test_an_axis_around_one_value_has_room_on_both_sides(logarithmic: bool) -> None:
    assert Axis.around([0.25], logarithmic).share(0.25) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Axis(0.15, 1.2, True), [0.2, 0.3, 0.5, 0.7, 1]),
        (Axis(0.15, 12, True), [0.2, 0.5, 1, 2, 5, 10]),
        (Axis(2e-6, 30, True), [1e-5, 1e-4, 1e-3, 0.01, 0.1, 1, 10]),
        (Axis(0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (Axis(0.62, 0.91), [0.7, 0.8, 0.9]),
    ],
)
def test_ticks_are_round_values_on_the_axis(axis: Axis, ticks: list[float]) -> None:
    assert axis.ticks() == pytest.approx(ticks)


def test_points_are_drawn_from_left_to_right_and_from_bottom_to_top() -> None:
    chart = Chart(Axis(0, 4), Axis(0.1, 10, logarithmic=True))
    assert chart.line("mean", [0, 2, 4], [0.1, 1, 10]) == (
        '<polyline class="mean" points="0.0,240.0 280.0,120.0 560.0,0.0"/>'
    )
    assert chart.dots("raw", [4], [10]) == '<path class="raw" d="M560.0,0.0h0"/>'
