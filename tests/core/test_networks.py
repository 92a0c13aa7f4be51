"""Tests of the networks: names, shapes and number of parameters, initial values, and refused arguments."""

from __future__ import annotations

import numpy as np
import pytest

import lie_ref
from lie_ref.core.networks import PRESETS

TINY = lie_ref.preset("mxresnet-tiny")
COUNTS = {"mxresnet-tiny": 83_280, "mxresnet-small": 326_008, "mxresnet18": 11_243_976, "mxresnet50": 23_636_936}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_the_stated_number_of_parameters_and_take_images_of_any_size(name):
    model = lie_ref.preset(name)
    params, buffers = model.init(seed=0)
    assert model.parameter_count == sum(p.size for p in params.values()) == COUNTS[name]
    for size in ((32, 32), (33, 47), (1, 1), (2, 3)):
        assert model.apply(params, buffers, np.ones((2, 3, *size))).shape == (2, 40)


def test_basic_network_has_the_names_and_shapes_of_the_public_implementation():
    shapes = TINY.parameter_shapes
    assert list(shapes)[:6] == ["0.0.weight", "0.1.weight", "0.1.bias", "1.0.weight", "1.1.weight", "1.1.bias"]
    assert shapes["0.0.weight"] == (8, 3, 3, 3)
    assert shapes["5.0.convs.0.0.weight"] == (32, 16, 3, 3)
    assert shapes["5.0.idconv.0.weight"] == (32, 16, 1, 1)
    assert "4.0.idconv.0.weight" not in shapes  # its block has equal numbers of input and output channels
    assert list(shapes)[-2:] == ["9.weight", "9.bias"]
    assert shapes["9.weight"] == (40, 64)


def test_bottleneck_network_has_three_convolutions_per_block_and_expanded_widths():
    shapes = lie_ref.preset("mxresnet50", n_out=10).parameter_shapes
    assert shapes["4.0.convs.0.0.weight"] == (64, 64, 1, 1)
    assert shapes["4.0.convs.2.0.weight"] == (256, 64, 1, 1)
    assert shapes["4.0.idconv.0.weight"] == (256, 64, 1, 1)
    assert shapes["5.3.convs.1.0.weight"] == (128, 128, 3, 3)
    assert shapes["10.weight"] == (10, 2048)
    assert sum(name.count("convs.0.0") for name in shapes) == 16


def test_mlp_has_the_names_of_a_pytorch_sequential():
    model = lie_ref.mlp([5, 4, 3, 2], activation="relu")
    names = ("0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias")
    shapes = ((4, 5), (4,), (3, 4), (3,), (2, 3), (2,))
    assert model.parameter_shapes == dict(zip(names, shapes, strict=True))
    assert model.buffer_shapes == {}


def test_initial_values_are_kaiming_normal_with_zero_biases_and_zero_last_batch_norms():
    params, buffers = lie_ref.preset("mxresnet-small").init(seed=1)
    weight = params["6.0.convs.1.0.weight"]
    assert abs(weight.std() / np.sqrt(2 / (128 * 9)) - 1) < 0.02
    assert not params["6.0.convs.1.1.weight"].any()
    assert (params["6.0.convs.0.1.weight"] == 1).all()
    assert not any(p.any() for name, p in params.items() if name.endswith("bias"))
    assert (buffers["0.1.running_var"] == 1).all()
    assert not buffers["0.1.running_mean"].any()


def test_a_seed_gives_the_same_initial_values_in_both_precisions():
    (a, _), (b, _), (c, _) = TINY.init(3), TINY.init(3, np.float32), TINY.init(4)
    assert all(np.array_equal(a[name].astype(np.float32), b[name]) and b[name].dtype == np.float32 for name in a)
    assert not np.array_equal(a["0.0.weight"], c["0.0.weight"])


# fmt: off
BAD = [
    (lambda: lie_ref.mlp([3]), r"sizes: expected at least 2 positive integer\(s\), got \[3\]"),
    (lambda: lie_ref.mlp([3, 0, 1]), r"sizes: expected at least 2 positive integer\(s\), got \[3, 0, 1\]"),
    (lambda: lie_ref.mlp([3, 1], "gelu"), r"activation: expected one of tanh, mish, softplus, relu, got 'gelu'"),
    (lambda: lie_ref.preset("resnet18"), r"preset: expected one of mxresnet-tiny, .*, got 'resnet18'"),
    (lambda: lie_ref.mxresnet((8, 8), (8,), (1,)), r"stem: expected 3 positive integer\(s\), got \(8, 8\)"),
    (lambda: lie_ref.mxresnet((8, 8, 8), (8, 8), (1,)), "layers: expected 2 numbers, one for each of widths, got 1"),
    (lambda: lie_ref.mxresnet((8, 8, 6), (8,), (1,), 4), r"stem: .* a multiple of expansion 4, got 6"),
    (lambda: lie_ref.mxresnet((8, 8, 8), (8.5,), (1,)), r"widths: expected at least 1 positive integer\(s\)"),
    (lambda: lie_ref.mxresnet((8, 8, 8), (8,), (0,)), r"layers: expected at least 1 positive .*, got \(0,\)"),
    (lambda: lie_ref.mxresnet((8, 8, 8), (8,), (1,), n_out=0), r"n_out: expected .*, got \[0\]"),
    (lambda: lie_ref.mxresnet((8, 8, 8), (8,), (1,), n_in=True), r"n_in: expected 1 positive .*, got \[True\]"),
    (lambda: lie_ref.mxresnet((8, 8, 8), (8,), (1,), [2, 2]), r"expansion: expected 1 positive .*, got \[\[2, 2\]\]"),
    (lambda: TINY.apply(*TINY.init(0), np.ones((2, 1, 8, 8))), r"x: expected shape \(n, 3, height, width\), none"),
    (lambda: TINY.apply({}, {}, np.ones((2, 3, 8, 8))), "params: expected the model's 35 names, but '0.0.weight' is"),
    (lambda: TINY.init(dtype=np.int64), "dtype: expected a floating-point type, got int64"),
]
# fmt: on


@pytest.mark.parametrize(("make", "message"), BAD)
def test_bad_arguments_are_named(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
