"""Arrays that do not fit are refused by an error that names the argument, what came and what was expected."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from networks import examples

import lie_ref
from lie_ref.core.losses import LossFunction
from lie_ref.experiment.exclusive import exclusive
from lie_ref.fast.arguments import checked_problem

MODEL = lie_ref.mxresnet((2, 2, 2), (2,), (1,), n_out=3)
PARAMS, BUFFERS = MODEL.init(0)
X, Y = examples(MODEL, (4, 3, 8, 8), 0)
BIAS, WEIGHT, VARIANCE = "7.bias", "0.0.weight", "0.1.running_var"


def call(params=PARAMS, buffers=BUFFERS, x=X, y=Y, pairs=((0, 1),), loss="bce"):
    return lie_ref.brackets(MODEL, params, buffers, x, y, pairs, loss)


def changed(name, value, arrays=PARAMS):
    return {**arrays, name: value}


def without(name, arrays=PARAMS):
    return {key: a for key, a in arrays.items() if key != name}


def cast(dtype):
    return {name: p.astype(dtype) for name, p in PARAMS.items()}


V, T = ValueError, TypeError
BAD = [
    ({"x": X[:, :2]}, V, r"x: expected shape \(n, 3, height, width\), none of them 0, got \(4, 2, 8, 8\)"),
    ({"x": X[0]}, V, r"x: expected shape .*, got \(3, 8, 8\)"),
    ({"x": X[:0]}, V, r"x: expected shape .*, got \(0, 3, 8, 8\)"),
    ({"x": X.astype(int)}, T, r"x: expected a floating-point array, got dtype int64"),
    ({"x": np.where(X > 0, np.nan, X)}, V, r"x: expected finite numbers"),
    ({"x": 1e300 * X, "params": cast("f4")}, V, r"x: expected finite numbers in float32, got nan or inf"),
    ({"x": np.ma.masked_less(X, 0)}, T, r"x: expected an array without a mask, got a masked one; its filled\(\) makes"),
    ({"params": changed(BIAS, np.ma.array(np.ones(3)))}, T, rf"params\['{BIAS}'\]: expected an array without a mask"),
    ({"pairs": np.ma.array([(0, 1)])}, T, r"pairs: expected an array without a mask"),
    ({"y": Y[:3]}, V, r"y: expected shape \(4, 3\) for loss 'bce', got \(3, 3\)"),
    ({"y": 2 * Y - 1}, V, r"y: expected targets in \[0, 1\] for loss 'bce', got -1 to 1"),
    ({"y": 2 * Y, "loss": exclusive([0])}, V, r"y: expected targets in \[0, 1\] for loss 'exclusive', got 0 to 2"),
    ({"y": Y[:3], "loss": LossFunction(len)}, V, r"y: expected shape .* for loss 'custom', got"),
    ({"y": Y.astype(complex)}, T, r"y: expected a floating-point array, got dtype complex128"),
    ({"y": np.full_like(Y, np.inf), "loss": "mse"}, V, r"y: expected finite numbers"),
    ({"loss": "softmax"}, V, r"y: expected shape \(4,\) for loss 'softmax', got \(4, 3\)"),
    ({"y": Y[:, 0], "loss": "softmax"}, T, r"y: expected integer labels for loss 'softmax', got dtype float64"),
    ({"y": np.full(4, 3), "loss": "softmax"}, V, r"y: expected labels 0 to 2, got 3 to 3"),
    ({"loss": "hinge"}, V, r"loss: expected one of bce, softmax, mse, got 'hinge'"),
    ({"loss": ["bce"]}, V, r"loss: expected one of bce, softmax, mse, got \['bce'\]"),
    ({"pairs": [(0, 4)]}, V, r"pairs: expected indices 0 to 3, got 0 to 4"),
    ({"pairs": [(-1, 0)]}, V, r"pairs: expected indices 0 to 3, got -1 to 0"),
    ({"pairs": [0, 1]}, V, r"pairs: expected shape \(p, 2\), none of them 0, got \(2,\)"),
    ({"pairs": []}, V, r"pairs: expected shape \(p, 2\), none of them 0, got \(0,\)"),
    ({"pairs": [(0.0, 1.0)]}, T, r"pairs: expected integers, got dtype float64"),
    ({"pairs": [(0, 1), (0,)]}, T, r"pairs: is not an array \(.* inhomogeneous shape"),
    ({"params": [1.0]}, T, r"params: expected a dict name -> array, got list"),
    ({"params": {}}, V, rf"params: expected the model's 17 names, but '{WEIGHT}' is missing"),
    ({"params": without(BIAS)}, V, rf"params: expected the model's 17 names, but '{BIAS}' is missing"),
    ({"params": changed("fc", np.ones(1))}, V, r"params: expected .* names, but 'fc' is unknown; they are 0.0.w.*, …"),
    ({"params": PARAMS | {0: np.ones(1)}}, V, r"params: expected the model's 17 names, but 0 is unknown"),
    ({"params": changed(BIAS, np.ones(4))}, V, rf"params\['{BIAS}'\]: expected shape \(3,\), got \(4,\)"),
    ({"params": changed(BIAS, np.full(3, np.inf))}, V, rf"params\['{BIAS}'\]: expected finite numbers"),
    ({"params": changed(BIAS, np.ones(3, int))}, T, r"params: expected one floating dtype .*, got float64, int64"),
    ({"params": changed(BIAS, np.ones(3, "f4"))}, T, r"params: .* got float32, float64"),
    ({"params": cast("f2")}, T, r"params: expected one floating dtype of at least 32 bits, got float16"),
    ({"buffers": None}, T, r"buffers: expected a dict name -> array, got NoneType"),
    ({"buffers": {}}, V, r"buffers: expected the model's 10 names, but '0.1.running_mean' is missing"),
    ({"buffers": changed(VARIANCE, -np.ones(2), BUFFERS)}, V, rf"{VARIANCE}'\]: expected variances >= 0, got -1"),
]


class Tensor:
    """A tensor that NumPy cannot read, as PyTorch has them."""

    def __init__(self, requires_grad=False, device="cpu", dtype="torch.float32"):
        self.requires_grad, self.device, self.dtype = requires_grad, SimpleNamespace(type=device), dtype
        self.shape, self.ndim = X.shape, X.ndim

    def __array__(self, *_, **__):
        raise RuntimeError("it cannot")


class Module:
    """Not a mapping, and not a network of this package."""

    def state_dict(self):
        return PARAMS


SPLIT = r"params, buffers = lie_ref.oracle.split\(net.state_dict\(\)\) has the right ones$"
COUNTED = {"0.1.num_batches_tracked": np.array(7)}
OTHER = {f"layer{k}": p for k, p in enumerate(PARAMS.values())}
FIRST = "they are 0.0.weight, 0.1.weight, 0.1.bias, 1.0.weight, …,"
PYTORCH = [  # what PyTorch users pass in, and the line that says what to do
    ({"params": Module()}, T, r"params: expected a dict name -> array, got Module$"),
    (
        {"params": {f"module.{n}": p for n, p in PARAMS.items()}},
        V,
        rf"params: .* '{WEIGHT}' is missing; {FIRST} the nearest to 'module.{WEIGHT}' is '{WEIGHT}'; {SPLIT}",
    ),
    ({"params": {f"_orig_mod.module.{n}": p for n, p in PARAMS.items()}}, V, rf"params: .* is missing; .*; {SPLIT}"),
    ({"params": PARAMS | BUFFERS | COUNTED}, V, rf"params: .* '0.1.running_mean' is unknown; .*; {SPLIT}"),
    ({"buffers": PARAMS | BUFFERS | COUNTED}, V, rf"buffers: .* '{WEIGHT}' is unknown; .*; {SPLIT}"),
    (
        {"params": OTHER},
        V,
        rf"params: .* '{WEIGHT}' is missing; {FIRST} none is like 'layer0'; "
        r"dict\(zip\(model.parameter_shapes, params.values\(\)\)\) renames them, if this is their order$",
    ),
    ({"params": dict(reversed(OTHER.items()))}, V, r"params: .*; they are .* none is like 'layer16'$"),
    ({"params": without(BIAS) | {"7.biases": PARAMS[BIAS]}}, V, rf"params: .*the nearest to '7.biases' is '{BIAS}'"),
    ({"x": (127 * X).astype(np.uint8)}, T, r"x: .* got dtype uint8; scale pictures as in training, such as x / 127.5"),
    ({"x": Tensor(requires_grad=True)}, T, r"x: NumPy cannot read this tensor, pass tensor.detach\(\)$"),
    ({"y": Tensor(device="cuda")}, T, r"y: NumPy cannot read this tensor, pass tensor.cpu\(\)$"),
    ({"y": Tensor(True, "mps", "torch.bfloat16")}, T, r"y: .* pass tensor.detach\(\).cpu\(\).float\(\)$"),
    ({"pairs": Tensor(device="cuda")}, T, r"pairs: .* pass tensor.cpu\(\)$"),
    ({"y": Tensor()}, T, r"y: is not an array \(it cannot\)$"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), PYTORCH)
def test_what_pytorch_users_pass_in_is_refused_in_one_line_that_says_what_to_do(arguments, error, message):
    with pytest.raises(error, match=f"^{message}") as caught:
        call(**arguments)
    assert str(caught.value).isprintable()


CALLS = [
    lambda net: lie_ref.gradients(net, PARAMS, BUFFERS, X, Y),
    lambda net: lie_ref.brackets(net, PARAMS, BUFFERS, X, Y, [(0, 1)]),
    lambda net: lie_ref.bracket_norms(net, PARAMS, BUFFERS, X, Y),
    lambda net: lie_ref.push_forward(net, PARAMS, BUFFERS, X, PARAMS),
    lambda net: lie_ref.evaluate(net, PARAMS, BUFFERS, X, Y, 2),
    lambda net: lie_ref.oracle.reference(net, PARAMS, BUFFERS, X, Y, [(0, 1)]),
    lambda net: lie_ref.kernels.ntk(net, PARAMS, BUFFERS, X),
    lambda net: lie_ref.scores.grand(net, [(PARAMS, BUFFERS)], X, Y),
    lambda net: lie_ref.connectivity.batch_norm_statistics(net, PARAMS, [X]),
]


@pytest.mark.parametrize("function", CALLS)
def test_a_network_of_another_package_is_refused_everywhere_by_the_same_line(function):
    with pytest.raises(TypeError, match=r"^model: expected a network of lie_ref.mlp, .*, got Module; .*\.split\("):
        function(Module())


@pytest.mark.parametrize(("arguments", "error", "message"), BAD, ids=[message for _, _, message in BAD])
def test_arrays_that_do_not_fit_are_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        call(**arguments)


GOOD = {name: np.ones((2, *p.shape)) for name, p in PARAMS.items()}
BAD_DIRECTIONS = [
    ({}, r"directions: expected a dict name -> \(k, \*shape\) for every parameter, k >= 1, got nothing"),
    ([1.0], r"directions: expected a dict name -> .*, got nothing"),
    ({name: d[:0] for name, d in GOOD.items()}, rf"k >= 1, got shape \(0, 2, 3, 3, 3\) for '{WEIGHT}'"),
    (without(BIAS, GOOD), rf"directions: .*'{BIAS}' is missing"),
    ({f"module.{name}": d for name, d in GOOD.items()}, rf"directions: .*is '{WEIGHT}'; {SPLIT}"),
    (changed(BIAS, np.ones((3, 3)), GOOD), rf"directions\['{BIAS}'\]: expected shape \(2, 3\), got \(3, 3\)"),
]
BAD_STATES = [
    (without(BIAS), rf"optimizer: expected the model's 17 names, but '{BIAS}' is missing"),
    (changed(BIAS, np.ones(4)), r"optimizer: expected a state with the parameters' names and shapes"),
    (changed(BIAS, np.ones((2, 3))), rf"optimizer\['{BIAS}'\]: expected shape \(3,\), got \(2, 3\)"),
]


@pytest.mark.parametrize(("bad", "message"), BAD_DIRECTIONS)
def test_directions_must_have_all_names_and_one_count(bad, message):
    with pytest.raises(ValueError, match=message):
        lie_ref.hvps(MODEL, PARAMS, BUFFERS, X, Y, bad)
    with pytest.raises(ValueError, match=message.replace("directions", "tangents")):
        lie_ref.push_forward(MODEL, PARAMS, BUFFERS, X, bad)


@pytest.mark.parametrize(("bad", "message"), BAD_STATES)
def test_the_state_of_an_optimizer_must_have_the_names_and_shapes_of_the_parameters(bad, message):
    with pytest.raises(ValueError, match=message):
        lie_ref.swap_effects(MODEL, PARAMS, BUFFERS, X, Y, [(0, 1)], lie_ref.core.optimizers.Momentum(bad))


def test_by_default_a_problem_has_no_pairs_and_watches_its_own_inputs():
    for shape in ((4,), (2, 2)):
        p = checked_problem(MODEL, PARAMS, BUFFERS, X.reshape(*shape, 3, 8, 8), Y.reshape(*shape, 3))
        assert (p.pairs.shape, p.pairs.dtype) == ((0, 2), int)
        np.testing.assert_array_equal(p.x_eval, X)


def test_partners_and_examples_must_be_among_the_inputs():
    with pytest.raises(ValueError, match=r"partners: expected indices 0 to 3, got 7 to 7"):
        lie_ref.bracket_norms(MODEL, PARAMS, BUFFERS, X, Y, [7])
    for count in (-1, 1, 5, 2.5):
        message = f"examples: expected an integer from 2 to 4, the number of inputs, got {count}"
        with pytest.raises(ValueError, match=message):
            lie_ref.evaluate(MODEL, PARAMS, BUFFERS, X, Y, examples=count)


def test_batch_brackets_expect_a_mini_batch_axis():
    with pytest.raises(ValueError, match=r"x: expected shape \(b, m, 3, height, width\)"):
        lie_ref.batch_brackets(MODEL, PARAMS, BUFFERS, X, Y, [(0, 1)])


def test_a_running_variance_may_be_zero_and_targets_may_be_0_and_1():
    found = call(buffers=changed(VARIANCE, np.zeros(2), BUFFERS), y=np.eye(4, 3))
    assert all(np.isfinite(b).all() for b in found.values())


def test_pytorchs_counters_among_the_buffers_are_ignored():
    counted = changed("0.1.num_batches_tracked", np.array(7), BUFFERS)
    assert all(np.array_equal(a, b) for a, b in zip(call(buffers=counted).values(), call().values(), strict=True))


def test_indices_may_be_of_any_integer_dtype():
    given = MODEL, PARAMS, BUFFERS, X, Y
    for dtype in (np.uint8, np.uint64, np.int32):
        found = lie_ref.bracket_norms(*given, np.array([0, 2], dtype))
        np.testing.assert_array_equal(found, lie_ref.bracket_norms(*given, [0, 2]))
        assert len(lie_ref.brackets(*given, np.array([[0, 1]], dtype))[BIAS]) == 1


def test_a_state_on_its_own_is_not_taken_for_a_list_of_states():
    for score in (lie_ref.scores.grand, lie_ref.scores.el2n):
        with pytest.raises(TypeError, match=r"^states: expected a list of \(params, buffers\), such as "):
            score(MODEL, (PARAMS, BUFFERS), X, Y)


def test_pairs_are_not_optional_where_brackets_are_asked_for_and_arguments_are_copied():
    for function in (lie_ref.brackets, lie_ref.oracle.reference):
        with pytest.raises(ValueError, match=r"^pairs: expected shape \(p, 2\), none of them 0, got \(\)$"):
            function(MODEL, PARAMS, BUFFERS, X, Y, None)
    pairs, labels = np.array([[0, 1]]), np.array([0, 1, 2, 0])
    p = checked_problem(MODEL, PARAMS, BUFFERS, X, labels, pairs, loss="softmax")
    assert not np.shares_memory(p.pairs, pairs)
    assert not np.shares_memory(p.y, labels)
