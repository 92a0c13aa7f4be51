"""The fast engine and the plain one give the same answers: every function, layer, loss, preset and batch-norm mode."""

from __future__ import annotations

import inspect
import time
from dataclasses import replace
from itertools import product
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
from networks import BOTTLENECK, MLPS, generic_problem

import lie_ref
from lie_ref.core.activations import mish
from lie_ref.core.engine import AUTOGRAD, Autograd
from lie_ref.core.fields import hvp_reverse_over_reverse
from lie_ref.core.layers import (
    Activation,
    AvgPool,
    BatchNorm,
    Conv,
    GlobalAvgPool,
    Layer,
    Linear,
    MaxPool,
    Residual,
    Sequential,
)
from lie_ref.core.losses import LOSSES, LossFunction
from lie_ref.core.networks import Model
from lie_ref.core.problem import Problem, Solution
from lie_ref.experiment.exclusive import exclusive
from lie_ref.fast import engine, sweeps
from lie_ref.machine import threads

TINY, SMALL = lie_ref.preset("mxresnet-tiny"), lie_ref.preset("mxresnet-small")
PUBLIC = [
    name
    for name, f in inspect.getmembers(engine, inspect.isfunction)
    if f.__module__ == engine.__name__ and name[0] != "_"
]


def around(layer: Layer, channels: int = 4) -> Model:
    """A network with a convolution, this layer (with four input channels), a mean and a linear layer."""
    layers = Conv("first", 2, 4), layer, GlobalAvgPool("mean"), Linear("last", channels, 3)
    spec = {"stem": (4, 4, 4), "widths": (channels,), "expansion": 1}
    return Model(Sequential("", layers), n_in=2, n_out=3, pictures=True, spec=spec)


CONVS, NO_CONVS = Sequential("a", (Conv("b", 4, 6, 3, 2), BatchNorm("c", 6))), Sequential("d", ())
SHORTCUT = Sequential("e", (AvgPool("f"), Conv("g", 4, 6, 1)))
LAYERS = {
    "conv": (around(Conv("l", 4, 5), 5), (8, 8)),
    "conv, strided": (around(Conv("l", 4, 5, stride=2), 5), (7, 5)),
    "conv, pointwise": (around(Conv("l", 4, 5, kernel=1), 5), (1, 6)),
    "conv, few patches": (around(Conv("l", 4, 20), 20), (3, 3)),
    "conv, few patches, strided": (around(Conv("l", 4, 20, stride=2), 20), (3, 2)),
    "batch-norm": (around(BatchNorm("l", 4)), (9, 1)),
    "batch-norm not after a convolution": (around(Sequential("a", (AvgPool("b"), BatchNorm("l", 4)))), (4, 3)),
    "activation": (around(Activation("l", mish)), (2, 2)),
    "activation without a rule": (around(Activation("l", lambda x: x * x * x)), (3, 2)),
    "max-pool": (around(MaxPool("l")), (8, 7)),
    "max-pool, one row": (around(MaxPool("l")), (1, 6)),
    "average-pool": (around(AvgPool("l")), (7, 6)),
    "residual": (around(Residual("l", Sequential("a", (Conv("b", 4, 4),)), NO_CONVS, Activation("h", mish))), (5, 6)),
    "residual, strided": (around(Residual("l", CONVS, SHORTCUT, Activation("h", mish)), 6), (7, 5)),
}
FOURTH_POWER = LossFunction(lambda z, y: ((z - y) ** 4).sum(axis=-1))
DECAYED = replace(LOSSES["bce"], weight_decay=0.3)
NETWORKS: dict[str, tuple[Model, tuple[int, ...], Any]] = {
    **{f"{model.spec['activation']}-{loss}": (model, (5,), loss) for model, loss in product(MLPS, LOSSES)},
    "exclusive loss": (MLPS[1], (5,), exclusive([0, 2])),
    "loss without a rule": (MLPS[1], (5,), FOURTH_POWER),
    "weight decay": (MLPS[1], (5,), DECAYED),
    "weight decay, pictures": (lie_ref.mxresnet(**BOTTLENECK), (3, 9, 9), DECAYED),
    "mxresnet-tiny": (TINY, (3, 64, 64), "bce"),
    "mxresnet-tiny, odd": (TINY, (3, 33, 47), "softmax"),
    "mxresnet-tiny, one column": (TINY, (3, 5, 1), "mse"),
    "mxresnet-small": (SMALL, (3, 32, 32), "bce"),
    "mxresnet18, narrow": (lie_ref.mxresnet((4, 8, 8), (8, 16, 32, 64), (2, 2, 2, 2), n_out=3), (3, 9, 10), "bce"),
    "mxresnet50, narrow": (lie_ref.mxresnet((4, 8, 8), (4, 8, 8, 8), (3, 4, 6, 3), 4, n_out=3), (3, 11, 6), "mse"),
    "bottleneck": (lie_ref.mxresnet(**BOTTLENECK), (3, 17, 24), "mse"),
    "bottleneck, one channel": (lie_ref.mxresnet(**BOTTLENECK, n_in=1), (1, 15, 15), "bce"),
}
PAIRS = [(0, 1), (2, 0), (1, 1)]
CASES = {
    **{name: (model, (3, 2, *size), PAIRS, "bce", False) for name, (model, size) in LAYERS.items()},
    **{f"{n}, training": (model, (2, 3, 2, *size), [(0, 1)], "bce", True) for n, (model, size) in LAYERS.items()},
    **{
        name: (model, (2 if model.pictures else 3, *shape), PAIRS[: 1 if model.pictures else 3], loss, False)
        for name, (model, shape, loss) in NETWORKS.items()
    },
    "mini-batches of features": (MLPS[2], (3, 4, 5), PAIRS, "softmax", False),
    "mini-batches, evaluation": (TINY, (2, 3, 3, 9, 12), [(0, 1)], "bce", False),
    "mini-batches, training": (TINY, (2, 4, 3, 17, 20), [(0, 1)], "softmax", True),
    "bottleneck, training": (lie_ref.mxresnet(**BOTTLENECK), (2, 4, 3, 9, 9), [(0, 1)], "bce", True),
    "weight decay, training": (lie_ref.mxresnet(**BOTTLENECK), (2, 4, 3, 9, 9), [(0, 1)], DECAYED, True),
}


def calls(p: Problem) -> dict[str, tuple[Any, ...]]:
    """Arguments for each public function of an engine that the problem fits."""
    rng = np.random.default_rng(2)
    of_fields, free = (
        {name: rng.standard_normal((count, *a.shape)).astype(a.dtype) for name, a in p.params.items()}
        for count in (len(p.x), 2)
    )
    found: dict[str, tuple[Any, ...]] = {
        "logits": (p, p.x_eval, p.training),
        "gradients": (p,),
        "hvps": (p, free),
        "products": (p, of_fields),
        "brackets": (p, of_fields),
        "push_forward": (p, p.x_eval, free),
    }
    return found | ({"training_step": (p,)} if p.batches else {})


def close(found: Any, expected: Any, tolerance: float = 1e-12) -> None:
    """Every array is within the tolerance of the other, relative to its norm or a thousandth of the largest one's."""
    if isinstance(expected, tuple):
        for a, b in zip(found, expected, strict=True):
            close(a, b, tolerance)
        return
    pairs = [(found[k], b) for k, b in expected.items()] if isinstance(expected, dict) else [(found, expected)]
    largest = max((float(np.linalg.norm(b)) for _, b in pairs), default=0)
    assert not isinstance(expected, dict) or found.keys() == expected.keys()
    for a, b in pairs:
        assert np.shape(a) == np.shape(b)
        assert np.asarray(a).dtype == np.asarray(b).dtype
        assert np.linalg.norm(a - b) <= tolerance * max(float(np.linalg.norm(b)), 1e-3 * largest)


@pytest.mark.parametrize("name", CASES)
def test_the_fast_engine_and_its_plain_twin_give_the_same_answers(name: str) -> None:
    model, shape, pairs, loss, training = CASES[name]
    p = generic_problem(model, shape, 1, pairs, loss, training)
    tolerance = 1e-11 if training else 1e-12
    for function, arguments in calls(p).items():
        if function == "training_step":
            p = generic_problem(model, (1, *shape[1:]), 1, [(0, 0)], loss, training)
            arguments = (p,)
        found = getattr(engine, function)(*arguments)
        close(found, getattr(AUTOGRAD, function)(*arguments), tolerance)
        if function == "products" and name not in NETWORKS:
            close(found, Autograd(hvp_reverse_over_reverse).products(*arguments), tolerance)


@pytest.mark.parametrize("name", LAYERS)
def test_both_engines_keep_float32(name: str) -> None:
    given = calls(generic_problem(LAYERS[name][0], (2, 2, 8, 8), 1).astype(np.float32))
    for function in ("logits", "gradients", "push_forward"):
        close(getattr(engine, function)(*given[function]), getattr(AUTOGRAD, function)(*given[function]), 1e-4)


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="there is no extended precision here")
@pytest.mark.parametrize(("name", "training"), list(product(LAYERS, (False, True))))
def test_no_array_in_a_sweep_has_fewer_digits_than_the_parameters(name: str, training: bool) -> None:
    """All means are over a power of two, because 1 / n is rounded to float64."""
    shape = (2, *((4,) if training else ()), 2, 8, 8)
    given = calls(generic_problem(LAYERS[name][0], shape, 1, training=training).astype(np.longdouble))
    for function in ("logits", "gradients", "push_forward"):  # autograd's second derivatives are less precise
        close(getattr(engine, function)(*given[function]), getattr(AUTOGRAD, function)(*given[function]), 2e-17)


def test_every_public_function_has_a_twin_with_the_same_first_arguments() -> None:
    assert set(PUBLIC) == set(calls(generic_problem(TINY, (1, 2, 3, 8, 8), 0, [(0, 0)], training=True)))
    for name in PUBLIC:
        ours, plain = (inspect.signature(getattr(of, name)).parameters for of in (engine, AUTOGRAD))
        assert list(ours)[: len(plain)] == list(plain)


def test_a_layer_without_a_rule_is_refused_by_its_name() -> None:
    class Strange(Layer):
        def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
            return x

    with pytest.raises(TypeError, match=r"^Strange: expected a layer with a rule in fast.rules, got one without$"):
        engine.gradients(generic_problem(around(Strange("l")), (2, 2, 4, 4), 0))


OWN_LOSSES = {  # as users write them: for logits (n, k), and so that the losses of a mini-batch's members may mix
    "mse": LossFunction(lambda z, y: anp.mean((z - y) ** 2, axis=1)),
    "softmax": LossFunction(lambda z, y: -log_softmax(z)[anp.arange(len(y)), y], labels=True),
    "relative to the other members": LossFunction(lambda z, y: anp.mean((z - anp.mean(z, axis=0) - y) ** 2, axis=1)),
    "the same, tiny": LossFunction(lambda z, y: 1e-12 * anp.mean((z - anp.mean(z, axis=0) - y) ** 2, axis=1)),
    "of all but the first": LossFunction(lambda z, y: anp.mean((z - y) ** 2 + (z - before(z)) ** 2, axis=1)),
    "divided by their number": LossFunction(lambda z, y: anp.mean((z - y) ** 2, axis=1) / len(z)),
}


def before(z: Any) -> Any:
    return anp.concatenate([z[:1], z[:-1]])


def log_softmax(z: Any) -> Any:
    return z - anp.log(anp.sum(anp.exp(z), axis=1, keepdims=True))


@pytest.mark.parametrize("name", OWN_LOSSES)
@pytest.mark.parametrize("lead", [(4,), (4, 1), (2, 3)])
def test_a_loss_of_ones_own_sees_the_logits_of_one_field(name: str, lead: tuple[int, ...]) -> None:
    """Both engines agree, and with the loss of this name if there is one."""
    p = generic_problem(lie_ref.mlp([3, 4, 2]), (*lead, 3), 2, loss=name if name in LOSSES else "mse")
    own = replace(p, loss=OWN_LOSSES[name])
    expected = Solution(p if name in LOSSES else own, AUTOGRAD)
    largest = max(float(abs(b).max()) for b in expected.bracket.values())
    for found in (Solution(own, engine), Solution(own, AUTOGRAD)):
        np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-12)
        for key, b in expected.bracket.items():
            np.testing.assert_allclose(found.bracket[key], b, rtol=1e-9, atol=1e-13 * largest)


def test_one_thread_at_a_time_differentiates_a_loss_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """autograd numbers nested derivatives for all threads together, and the filters of warnings belong to all, too."""
    running, most = 0, 0

    def definition(z: Any, y: Any) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(1e-3)
        running -= 1
        return anp.mean((z - y) ** 2, axis=1)

    monkeypatch.setattr(threads, "threads", lambda: 4)
    monkeypatch.setattr(sweeps, "THREADED", 0)
    p = generic_problem(lie_ref.mlp([3, 4, 2]), (12, 3), 0)
    engine.gradients(replace(p, loss=LossFunction(definition)))
    assert most == 1


def test_a_loss_with_no_curvature_has_no_brackets_and_one_of_another_shape_is_refused() -> None:
    p = generic_problem(lie_ref.mlp([3, 2]), (2, 3), 1)
    hinge = LossFunction(lambda z, y: anp.mean(anp.maximum(0.0, z - y), axis=1))
    assert not any(b.any() for b in engine.brackets(replace(p, loss=hinge), engine.gradients(p)).values())
    for loss, came in ((lambda z, y: anp.mean(z - y), r"\(\)"), (lambda z, y: anp.mean(z - y, axis=0), r"\(2,\)")):
        whole = replace(p, x=np.concatenate([p.x, p.x[:1]]), y=np.concatenate([p.y, p.y[:1]]), loss=LossFunction(loss))
        with pytest.raises(ValueError, match=rf"^loss: expected 3 losses, \(3,\), of logits \(3, 2\), got {came}$"):
            engine.gradients(whole)
