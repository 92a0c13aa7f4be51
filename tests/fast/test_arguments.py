"""Arrays that do not fit: each refused by an error that names the argument, what came and what was expected."""

from __future__ import annotations

import numpy as np
import pytest
from networks import examples

import lie_ref
from lie_ref.core.losses import LossFunction
from lie_ref.experiment.exclusive import exclusive

MODEL = lie_ref.mxresnet((2, 2, 2), (2,), (1,), n_out=3)
PARAMS, BUFFERS = MODEL.init(0)
X, Y = examples(MODEL, (4, 3, 8, 8), 0)


def call(params=PARAMS, buffers=BUFFERS, x=X, y=Y, pairs=((0, 1),), loss="bce"):
    return lie_ref.brackets(MODEL, params, buffers, x, y, pairs, loss)


def changed(arrays, name, value):
    return {**arrays, name: value}


def without(arrays, name):
    return {key: a for key, a in arrays.items() if key != name}


BAD = [
    ({"x": X[:, :2]}, ValueError, r"x: expected shape \(n, 3, height, width\), none of them 0, got \(4, 2, 8, 8\)"),
    ({"x": X[0]}, ValueError, r"x: expected shape .*, got \(3, 8, 8\)"),
    ({"x": X[:0]}, ValueError, r"x: expected shape .*, got \(0, 3, 8, 8\)"),
    ({"x": X.astype(int)}, TypeError, r"x: expected a floating-point array, got dtype int64"),
    ({"x": np.where(X > 0, np.nan, X)}, ValueError, r"x: expected finite numbers"),
    ({"y": Y[:3]}, ValueError, r"y: expected shape \(4, 3\) for loss 'bce', got \(3, 3\)"),
    ({"y": 2 * Y - 1}, ValueError, r"y: expected targets in \[0, 1\] for loss 'bce', got -1 to 1"),
    (
        {"y": 2 * Y, "loss": exclusive([0, 1])},
        ValueError,
        r"y: expected targets in \[0, 1\] for loss 'exclusive', got 0 to 2",
    ),
    ({"y": Y[:3], "loss": LossFunction(len)}, ValueError, r"y: expected shape .* for loss 'of your own', got"),
    ({"y": Y.astype(complex)}, TypeError, r"y: expected a floating-point array, got dtype complex128"),
    ({"y": np.full_like(Y, np.inf), "loss": "mse"}, ValueError, r"y: expected finite numbers"),
    ({"loss": "softmax"}, ValueError, r"y: expected shape \(4,\) for loss 'softmax', got \(4, 3\)"),
    ({"y": Y[:, 0], "loss": "softmax"}, TypeError, r"y: expected integer labels for loss 'softmax', got dtype float64"),
    ({"y": np.full(4, 3), "loss": "softmax"}, ValueError, r"y: expected labels 0 to 2, got 3 to 3"),
    ({"loss": "hinge"}, ValueError, r"loss: expected one of bce, softmax, mse, got 'hinge'"),
    ({"pairs": [(0, 4)]}, ValueError, r"pairs: expected indices 0 to 3, got 0 to 4"),
    ({"pairs": [(-1, 0)]}, ValueError, r"pairs: expected indices 0 to 3, got -1 to 0"),
    ({"pairs": [0, 1]}, ValueError, r"pairs: expected shape \(p, 2\), none of them 0, got \(2,\)"),
    ({"pairs": []}, ValueError, r"pairs: expected shape \(p, 2\), none of them 0, got \(0,\)"),
    ({"pairs": [(0.0, 1.0)]}, TypeError, r"pairs: expected integers, got dtype float64"),
    (
        {"params": without(PARAMS, "7.bias")},
        ValueError,
        r"params: expected the model's 17 names, but '7.bias' is missing",
    ),
    ({"params": changed(PARAMS, "fc", np.ones(1))}, ValueError, r"params: expected .* names, but 'fc' is unknown"),
    (
        {"params": changed(PARAMS, "7.bias", np.ones(4))},
        ValueError,
        r"params\['7.bias'\]: expected shape \(3,\), got \(4,\)",
    ),
    (
        {"params": changed(PARAMS, "7.bias", np.ones(3, int))},
        TypeError,
        r"params: expected one floating dtype of at least 32 bits, got float64, int64",
    ),
    ({"params": changed(PARAMS, "7.bias", np.ones(3, np.float32))}, TypeError, r"params: .* got float32, float64"),
    (
        {"params": changed(PARAMS, "7.bias", np.full(3, np.inf))},
        ValueError,
        r"params\['7.bias'\]: expected finite numbers",
    ),
    ({"params": {}}, ValueError, r"params: expected the model's 17 names, but '0.0.weight' is missing"),
    ({"params": [1.0]}, TypeError, r"params: expected a dict name -> array, got list"),
    ({"buffers": None}, TypeError, r"buffers: expected a dict name -> array, got NoneType"),
    (
        {"params": {name: p.astype(np.float16) for name, p in PARAMS.items()}},
        TypeError,
        r"params: expected one floating dtype of at least 32 bits, got float16",
    ),
    (
        {"params": {name: p.astype(np.float32) for name, p in PARAMS.items()}, "x": 1e300 * X},
        ValueError,
        r"x: expected finite numbers in float32, got nan or inf",
    ),
    ({"pairs": [(0, 1), (0,)]}, ValueError, r"pairs: expected shape \(p, 2\), got rows of different lengths"),
    ({"loss": ["bce"]}, ValueError, r"loss: expected one of bce, softmax, mse, got \['bce'\]"),
    ({"buffers": {}}, ValueError, r"buffers: expected the model's 10 names, but '0.1.running_mean' is missing"),
    (
        {"buffers": changed(BUFFERS, "0.1.running_var", -np.ones(2))},
        ValueError,
        r"running_var'\]: expected variances >= 0, got -1",
    ),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD, ids=[message for _, _, message in BAD])
def test_arrays_that_do_not_fit_are_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        call(**arguments)


def test_directions_must_have_all_names_and_one_count():
    good = {name: np.ones((2, *p.shape)) for name, p in PARAMS.items()}
    for bad, message in (
        ({}, r"directions: expected a dict name -> \(k, \*shape\) for every parameter, k >= 1, got nothing"),
        ([1.0], r"directions: expected a dict name -> .*, got nothing"),
        (
            {name: d[:0] for name, d in good.items()},
            r"directions: .*, k >= 1, got shape \(0, 2, 3, 3, 3\) for '0.0.weight'",
        ),
        (without(good, "7.bias"), r"directions: .*'7.bias' is missing"),
        (changed(good, "7.bias", np.ones((3, 3))), r"directions\['7.bias'\]: expected shape \(2, 3\), got \(3, 3\)"),
    ):
        with pytest.raises(ValueError, match=message):
            lie_ref.hvps(MODEL, PARAMS, BUFFERS, X, Y, bad)


def test_partners_and_examples_must_be_among_the_inputs():
    with pytest.raises(ValueError, match=r"partners: expected indices 0 to 3, got 7 to 7"):
        lie_ref.bracket_norms(MODEL, PARAMS, BUFFERS, X, Y, [7])
    for examples_ in (1, 5, 2.5):
        with pytest.raises(
            ValueError, match=rf"examples: expected an integer from 2 to 4, the number of inputs, got {examples_}"
        ):
            lie_ref.evaluate(MODEL, PARAMS, BUFFERS, X, Y, examples=examples_)


def test_a_mini_batch_axis_is_expected_where_it_belongs():
    with pytest.raises(ValueError, match=r"x: expected shape \(b, m, 3, height, width\)"):
        lie_ref.batch_brackets(MODEL, PARAMS, BUFFERS, X, Y, [(0, 1)])


def test_pytorchs_counters_among_the_buffers_are_passed_over():
    counted = changed(BUFFERS, "0.1.num_batches_tracked", np.array(7))
    assert all(np.array_equal(a, b) for a, b in zip(call(buffers=counted).values(), call().values(), strict=True))


def test_the_state_of_an_optimizer_must_have_the_names_and_shapes_of_the_parameters():
    for bad, message in (
        (without(PARAMS, "7.bias"), r"optimizer: expected the model's 17 names, but '7.bias' is missing"),
        (changed(PARAMS, "7.bias", np.ones(4)), r"optimizer: expected a state with the parameters' names and shapes"),
        (changed(PARAMS, "7.bias", np.ones((2, 3))), r"optimizer\['7.bias'\]: expected shape \(3,\), got \(2, 3\)"),
    ):
        with pytest.raises(ValueError, match=message):
            lie_ref.swap_effects(MODEL, PARAMS, BUFFERS, X, Y, [(0, 1)], lie_ref.core.optimizers.Momentum(bad))
