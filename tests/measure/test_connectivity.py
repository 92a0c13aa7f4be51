"""The line between two networks: batch-norm statistics on it, and known barriers."""

from __future__ import annotations

import numpy as np
import pytest
from networks import BOTTLENECK, arguments, examples, generic_state, loss_of

import lie_ref
from lie_ref.measure.connectivity import batch_norm_statistics, error_barrier, interpolated

NET = lie_ref.mxresnet(**BOTTLENECK)


def test_evaluation_with_the_statistics_of_a_batch_equals_training_mode():
    """Except for the variance, which is unbiased in evaluation: n/(n − 1) times that of training for n values."""
    _, params, _, x, _ = arguments(NET, (6, 3, 16, 16), 0)
    buffers = batch_norm_statistics(NET, params, [x])
    strided = "5.0.convs.1", "5.0.convs.2", "5.0.idconv", "5.1"
    for name in buffers:
        if name.endswith("running_var"):
            # Pixels: 8 × 8 after the stem's stride, 4 × 4 after the max-pool, 2 × 2 after the second stage's stride.
            n = 6 * (64 if name.startswith(("0.", "1.", "2.")) else 4 if name.startswith(strided) else 16)
            buffers[name] *= (n - 1) / n
    np.testing.assert_allclose(
        NET.apply(params, buffers, x), NET.apply(params, buffers, x, training=True), rtol=1e-10, atol=1e-12
    )


def test_statistics_are_means_over_the_mini_batches_in_the_dtype_of_the_parameters():
    params, _ = NET.init(1, np.float32)
    x = examples(NET, (3, 4, 3, 12, 12), 1)[0].astype(np.float32)
    each = [batch_norm_statistics(NET, params, [batch]) for batch in x]
    together = batch_norm_statistics(NET, params, iter(x))
    assert set(together) == set(NET.buffer_shapes)
    for name, shape in NET.buffer_shapes.items():
        assert (together[name].shape, together[name].dtype) == (shape, np.float32)
        np.testing.assert_allclose(together[name], np.mean([e[name] for e in each], axis=0), rtol=1e-5, atol=1e-7)


def test_the_line_begins_and_ends_at_the_networks():
    a, b = (generic_state(NET, seed)[0] for seed in (2, 3))
    for name in a:
        np.testing.assert_array_equal(interpolated(a, b, 0.0)[name], a[name])
        np.testing.assert_array_equal(interpolated(a, b, 1.0)[name], b[name])
        np.testing.assert_allclose(interpolated(a, b, 0.3)[name], a[name] + 0.3 * (b[name] - a[name]), rtol=1e-12)


def losses_along_the_line(model, a, b, x, y) -> list[float]:
    return [float(loss_of(model, {}, x, y)(interpolated(a, b, alpha))) for alpha in np.linspace(0, 1, 11)]


def test_a_convex_loss_has_no_barrier():
    model = lie_ref.mlp([5, 3])
    x, y = examples(model, (20, 5), 4)
    a, b = (generic_state(model, seed)[0] for seed in (4, 5))
    losses = losses_along_the_line(model, a, b, x, y)
    assert error_barrier(losses) <= 1e-15


def test_a_network_and_its_copy_with_permuted_units_have_a_barrier():
    model = lie_ref.mlp([5, 8, 3])
    a, _ = generic_state(model, 6)
    x, _ = examples(model, (50, 5), 6)
    y = (model.apply(a, {}, x) > 0).astype(float)
    order = np.roll(np.arange(8), 1)
    b = {"0.weight": a["0.weight"][order], "0.bias": a["0.bias"][order], "2.weight": a["2.weight"][:, order]}
    b["2.bias"] = a["2.bias"]
    losses = losses_along_the_line(model, a, b, x, y)
    assert losses[0] == pytest.approx(losses[-1], rel=1e-12)  # the same function
    assert error_barrier(losses) > 0.1


def test_the_barrier_is_the_height_above_the_chord():
    assert error_barrier([0.1, 0.5, 0.3]) == pytest.approx(0.3)
    assert error_barrier([0.0, 0.3, 0.3, 0.3]) == pytest.approx(0.2)  # at a third, where the chord is at 0.1
    assert error_barrier([0.4, 0.2, 0.0]) == 0  # the chord itself
    assert error_barrier([0.2, 0.1, 0.2]) == 0  # a valley has no barrier


@pytest.mark.parametrize("dtype", [np.float32, np.float64, int])
def test_points_between_integers_are_not_integers_and_float32_stays_float32(dtype: type) -> None:
    found = interpolated({"w": np.array([0, 1], dtype)}, {"w": np.array([1, 3], dtype)}, np.float64(0.5))["w"]
    np.testing.assert_array_equal(found, [0.5, 2.0])
    assert found.dtype == (np.float64 if dtype is int else dtype)


def test_errors_name_the_argument_what_came_and_what_was_expected():
    params, _ = generic_state(NET, 7)
    with pytest.raises(ValueError, match="b: expected the model's 3 names, but 'c' is missing"):
        interpolated({"a": np.ones(1), "b": np.ones(1), "c": np.ones(1)}, {"a": np.ones(1), "b": np.ones(1)}, 0.5)
    with pytest.raises(ValueError, match="batches: expected at least one mini-batch, got none"):
        batch_norm_statistics(NET, params, [])
    with pytest.raises(ValueError, match=r"batches: expected shape \(n, 3, height, width\)"):
        batch_norm_statistics(NET, params, [np.ones((4, 1, 8, 8))])
    with pytest.raises(ValueError, match=r"errors: expected at least two, of shape \(points,\), got shape \(1,\)"):
        error_barrier([0.5])
