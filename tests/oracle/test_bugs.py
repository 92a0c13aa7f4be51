"""The catalogue names bugs that are made without its code: by other weights, other statistics or plain arithmetic."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

import autograd.numpy as np
import numpy
import pytest
from autograd.tracer import getval
from numpy.lib.stride_tricks import sliding_window_view

import lie_ref
from lie_ref import oracle
from lie_ref.core.activations import ACTIVATIONS
from lie_ref.core.engine import AUTOGRAD, Autograd
from lie_ref.core.layers import (
    Activation,
    AvgPool,
    BatchNorm,
    Conv,
    GlobalAvgPool,
    Linear,
    MaxPool,
    Residual,
    Sequential,
)
from lie_ref.core.losses import LOSSES, LossFunction
from lie_ref.fast.trees import with_layers
from lie_ref.oracle import Vector
from lie_ref.oracle.answers import Answers as Solution
from lie_ref.oracle.answers import quantity_of
from lie_ref.oracle.bugs import layers as faulty
from lie_ref.oracle.bugs.batch_norm import all_together
from lie_ref.oracle.bugs.catalogue import CATALOGUE, ESTIMATED, ROUNDING
from lie_ref.oracle.bugs.layers import swapped
from lie_ref.oracle.bugs.networks import broadcast_targets
from lie_ref.oracle.bugs.products import curvature_lost
from lie_ref.oracle.bugs.products import gauss_newton as gauss_newton_answers
from lie_ref.oracle.comparison import compared

Answers = dict[str, np.ndarray]


def named(vector: Vector, answers: Answers) -> list[str]:
    verdict = oracle.verify(vector, answers)
    assert not verdict.agrees
    return [explanation.name for explanation in verdict.diagnosis]


def answers_of(vector: Vector, **changes) -> Answers:
    """The exact answers to the vector's problem with something changed."""
    return Solution(replace(vector, **changes)).outputs()


class Flipped(Conv):
    def apply(self, params, buffers, x, training=False):
        return super().apply({f"{self.name}.weight": params[f"{self.name}.weight"][:, :, ::-1, ::-1]}, buffers, x)


class Transposed(Linear):
    def apply(self, params, buffers, x, training=False):
        return np.dot(x, params[f"{self.name}.weight"]) + params[f"{self.name}.bias"]


def defined_with(vector: Vector, change) -> Answers:
    """The answers of the network with other layers, by autograd from their definitions."""
    return Solution(replace(vector, model=with_layers(vector.model, change)), AUTOGRAD).outputs()


def test_every_bug_of_the_catalogue_has_its_own_name_and_a_sentence():
    bugs = {*chain(*CATALOGUE.values()), *ESTIMATED, ROUNDING}
    assert len(bugs) == len({bug.name for bug in bugs}) >= 40
    assert all(bug.sentence and "\n" not in bug.sentence for bug in bugs)


@pytest.mark.parametrize(
    ("name", "combine"),
    [
        ("sign-swapped", lambda h: h[:, 1] - h[:, 0]),
        ("plus-for-minus", lambda h: h[:, 0] + h[:, 1]),
        ("first-term-only", lambda h: h[:, 0]),
        ("second-term-only", lambda h: -h[:, 1]),
    ],
)
@pytest.mark.parametrize("vector", ["mlp-mish-mse", "conv-batches-training", "conv-bottleneck"])
def test_a_wrong_combination_of_the_two_terms_is_named(vector, name, combine):
    v = oracle.load(vector)
    wrong = {f"bracket/{k}": combine(v.outputs[f"hvp/{k}"]) for k in v.params}
    answers = {k: a for k, a in v.outputs.items() if k != "logit_delta"} | wrong
    assert named(v, answers) == [name]


class Largest(GlobalAvgPool):
    def apply(self, params, buffers, x, training=False):
        return np.max(x, axis=(2, 3))


class Reflected(Conv):
    def apply(self, params, buffers, x, training=False):
        edge = self.kernel // 2
        x = numpy.pad(x, ((0, 0), (0, 0), (edge, edge), (edge, edge)), "reflect")
        kernel, rows = params[f"{self.name}.weight"], sliding_window_view(x, (self.kernel, self.kernel), axis=(2, 3))
        return numpy.einsum("nchwij,ocij->nohw", rows[:, :, :: self.stride, :: self.stride], kernel)


class PaddedAfter(Conv):
    def apply(self, params, buffers, x, training=False):
        if self.stride == 1:
            return super().apply(params, buffers, x)
        x = numpy.pad(x, ((0, 0), (0, 0), *((n % 2, 1) for n in x.shape[2:])))
        kernel, rows = params[f"{self.name}.weight"], sliding_window_view(x, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
        return numpy.einsum("nchwij,ocij->nohw", rows, kernel)


class OnlyConvolutionsLearn(Residual):
    def apply(self, params, buffers, x, training=False):
        z = self.convs.apply(params, buffers, x, training) + self.shortcut.apply(params, buffers, getval(x), training)
        return self.activation.apply(params, buffers, z)


def smoothed(v: Vector, part: float) -> np.ndarray:
    """−Σ_k q_k log p_k with q = (1 − part) one-hot + part / K."""
    z = v.outputs["logits"]
    p = numpy.exp(z) / numpy.exp(z).sum(axis=1, keepdims=True)
    q = (1 - part) * numpy.eye(z.shape[1])[v.y] + part / z.shape[1]
    return -(q * numpy.log(p)).sum(axis=1)


def along_misread_directions(v: Vector) -> Answers:
    """H_j d_i and H_i d_j, where d are gradients written in the order of the names and read in that of the network."""
    names, g = list(v.params), {n: v.outputs[f"grad/{n}"] for n in v.params}
    flat = numpy.concatenate([g[n].reshape(len(v.x), -1) for n in sorted(names)], axis=1)
    parts = numpy.split(flat, numpy.cumsum([v.params[n].size for n in names])[:-1], axis=1)
    d = {n: part.reshape(g[n].shape) for n, part in zip(names, parts, strict=True)}
    h = lie_ref.hvps(v.model, v.params, v.buffers, v.x, v.y, d, v.loss)  # (direction, example, …)
    pairs = [((i, j), (j, i)) for i, j in v.pairs]
    return {f"hvp/{n}": numpy.array([[h[n][d, e] for d, e in pair] for pair in pairs]) for n in names}


def cut(v: Vector, quantity: str, lead: int) -> Answers:
    """A quantity as one vector in the order of the names, cut up in that of the network."""
    arrays = {n: v.outputs[f"{quantity}/{n}"] for n in v.params}
    flat = numpy.concatenate([arrays[n].reshape(*arrays[n].shape[:lead], -1) for n in sorted(arrays)], axis=-1)
    parts = numpy.split(flat, numpy.cumsum([p.size for p in v.params.values()])[:-1], axis=-1)
    return {n: part.reshape(a.shape) for part, (n, a) in zip(parts, arrays.items(), strict=True)}


def first(v: Vector, *quantities: str) -> Answers:
    """The right answers of some quantities."""
    return {k: a for k, a in v.outputs.items() if quantity_of(k) in quantities}


def last_layer_alone(v: Vector) -> np.ndarray:
    tangents = {n: v.outputs[f"bracket/{n}"] * (n in list(v.params)[-2:]) for n in v.params}
    return lie_ref.push_forward(v.model, v.params, v.buffers, v.x_eval, tangents)


class NormLast(Sequential):
    def apply(self, params, buffers, x, training=False):
        conv, norm, activation = self.layers
        return norm.apply(params, buffers, activation.function(conv.apply(params, buffers, x)), training)


def normalised_last(layer):
    order = [type(inner) for inner in layer.inner]
    return NormLast(layer.name, layer.layers) if order == [Conv, BatchNorm, Activation] else layer


def exchanged(v: Vector) -> Answers:
    params = dict(v.params)
    for layer in {name.rpartition(".")[0] for name in v.buffers}:
        params[f"{layer}.weight"], params[f"{layer}.bias"] = v.params[f"{layer}.bias"], v.params[f"{layer}.weight"]
    return params


def after_a_pass(v: Vector) -> Answers:
    """The buffers after one forward pass of all examples in training mode."""
    buffers = dict(v.buffers)
    v.model.network.apply(v.params, buffers, v.x, training=True)
    return buffers


def clipped(v: Vector, most: float) -> Answers:
    """Gradients that are no longer than `most`, all tensors together."""
    g = {n: v.outputs[f"grad/{n}"] for n in v.params}
    sizes = numpy.sqrt(sum((a.reshape(len(a), -1) ** 2).sum(axis=1) for a in g.values()))
    return {
        f"grad/{n}": numpy.array([r * min(1, most / s) for r, s in zip(a, sizes, strict=True)]) for n, a in g.items()
    }


def with_the_hessian_of_the_last(v: Vector) -> Answers:
    g = {n: v.outputs[f"grad/{n}"] for n in v.params}
    h = lie_ref.hvps(v.model, v.params, v.buffers, v.x, v.y, g, v.loss)  # (direction, example, …)
    return {f"hvp/{n}": numpy.array([[a[i, -1], a[j, -1]] for i, j in v.pairs]) for n, a in h.items()}


def cross_entropies(v: Vector) -> np.ndarray:
    """The binary cross-entropy of each example with the targets of each: (example, targets)."""
    p = 1 / (1 + numpy.exp(-v.outputs["logits"]))[:, None]
    return -(v.y * numpy.log(p) + (1 - v.y) * numpy.log(1 - p)).mean(axis=2)


# fmt: off
PLANTED = {  # the name of a bug, a vector, and answers that have the bug
    "transposed-weight": ("mlp-deep", lambda v: defined_with(v, swapped(Linear, Transposed, lambda a: a.n_out == 4))),
    "flipped-kernels": ("conv-odd", lambda v: defined_with(v, swapped(Conv, Flipped))),
    "batch-norm-of-one": ("conv-odd", lambda v: {"logits": np.concatenate([
        v.model.apply(v.params, v.buffers, one[None], training=True) for one in v.x])}),
    "other-activation": ("mlp-mish-bce", lambda v: answers_of(v, model=lie_ref.mlp([4, 6, 4], "relu"))),
    "fresh-statistics": ("conv-one-channel", lambda v: answers_of(v, buffers=v.model.init(seed=0)[1])),
    "shifted-labels": ("mlp-mish-softmax", lambda v: answers_of(v, y=(v.y + 1) % 4)),
    "batch-norm-evaluation-mode": ("conv-batches-training-wide", lambda v: answers_of(v, training=False)),
    "pair-order-swapped": ("mlp-mish-mse", lambda v: answers_of(v, pairs=v.pairs[:, ::-1])),
    "activation-after-last": ("mlp-tanh-bce", lambda v: {"logits": np.tanh(v.outputs["logits"])}),
    "other-pooling": ("conv-odd", lambda v: defined_with(v, swapped(GlobalAvgPool, Largest))),
    "other-padding": ("conv-odd", lambda v: {"logits": with_layers(v.model, swapped(Conv, Reflected)).apply(
        v.params, v.buffers, v.x)}),
    "other-stride": ("conv-odd", lambda v: answers_of(v, model=with_layers(v.model, lambda a: replace(
        a, stride={"0.0": 1, "1.0": 2}[a.name]) if a.name in ("0.0", "1.0") else a))),
    "weights-shared": ("conv-bottleneck", lambda v: {"logits": v.model.apply(*(
        {name: of[name.replace("4.0.", "4.1.", 1)] for name in of} for of in (v.params, v.buffers)), v.x)}),
    "other-inputs": ("mlp-mish-bce", lambda v: answers_of(v, x=2 * v.x - 1, x_eval=2 * v.x_eval - 1)),
    "other-targets": ("mlp-mish-bce", lambda v: answers_of(v, y=(v.y + 1) / 2)),
    "other-loss": ("mlp-mish-softmax", lambda v: first(v, "logits") | {"loss": smoothed(v, 0.1)}),
    "slope-at-kink": ("mlp-relu-at-zero", lambda v: defined_with(v, swapped(
        Activation, lambda name, _: Activation(name, lambda x: np.where(x >= 0, x, 0.0))))),
    "detached": ("conv-odd", lambda v: defined_with(v, swapped(Residual, OnlyConvolutionsLearn))),
    "curvature-lost": ("mlp-tanh-bce", lambda v: first(v, "logits", "loss", "grad") | {
        f"hvp/{n}": v.outputs[f"hvp/{n}"] - products[n] for products in [gauss_newton_products(v)] for n in v.params}),
    "flattened-otherwise": ("mlp-mish-mse", lambda v: first(v, "logits", "loss", "grad") | along_misread_directions(v)),
    "other-order": ("conv-one-channel", lambda v: {"logits": with_layers(v.model, normalised_last).apply(
        v.params, v.buffers, v.x)}),
    "batch-norm-exchanged": ("conv-odd", lambda v: answers_of(v, params=exchanged(v))),
    "batch-norm-of-others": ("conv-batches-training", lambda v: {"logits": numpy.array([numpy.concatenate([
        v.model.apply(v.params, v.buffers, half, training=True) for half in numpy.array_split(x, 2)]) for x in v.x])}),
    "moved-statistics": ("conv-odd", lambda v: answers_of(v, buffers=after_a_pass(v))),
    "mini-batches-dealt": ("mlp-batches", lambda v: answers_of(v, **{k: numpy.array([
        [getattr(v, k).reshape(-1, *getattr(v, k).shape[2:])[len(v.x) * m + b] for m in range(v.x.shape[1])]
        for b in range(len(v.x))]) for k in ("x", "y")})),
    "broadcast-targets": ("mlp-tanh-bce", lambda v: first(v, "logits") | {"loss": cross_entropies(v).mean(axis=1)}),
    "running-average": ("mlp-tanh-bce", lambda v: v.outputs | {"loss": numpy.array([
        v.outputs["loss"][: n + 1].mean() for n in range(len(v.x))])}),
    "misread": ("mlp-mish-mse", lambda v: v.outputs | {
        f"{q}/{n}": a for q, lead in (("grad", 1), ("hvp", 2), ("bracket", 1)) for n, a in cut(v, q, lead).items()}),
    "same-padding": ("conv-even", lambda v: {"logits": with_layers(v.model, swapped(Conv, PaddedAfter)).apply(
        v.params, v.buffers, v.x)}),
    "clipped-gradients": ("mlp-mish-mse", lambda v: first(v, "logits", "loss") | clipped(v, 1.0)),
    "gradient-centralisation": ("mlp-mish-mse", lambda v: first(v, "logits", "loss") | {
        f"grad/{n}": a - a.mean(axis=-1, keepdims=True) * (a.ndim > 2)
        for n in v.params for a in [v.outputs[f"grad/{n}"]]}),
    "products-elsewhere": ("mlp-mish-mse", lambda v:
        first(v, "logits", "loss", "grad") | with_the_hessian_of_the_last(v)),
    "summed-over-inputs": ("mlp-mish-mse", lambda v: v.outputs | {"logit_delta": numpy.stack(
        [v.outputs["logit_delta"].sum(axis=1)] * len(v.x_eval), axis=1)}),
    "push-lacks-group": ("mlp-mish-mse", lambda v: v.outputs | {"logit_delta": last_layer_alone(v)}),
}
# fmt: on


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_named(name):
    vector, answers = PLANTED[name]
    v = oracle.load(vector)
    assert named(v, answers(v)) == [name]


def test_a_large_network_is_compared_with_the_bugs_in_float32_first_unless_its_errors_are_small():
    v = oracle.load("trained-tiny")
    answers = answers_of(v, y=(v.y + 1) / 2)
    assert compared(v, answers).screen.vector.x.dtype == np.float32
    assert named(v, answers) == ["other-targets"]
    small = {k: v.outputs[k] + 1e-7 * (a - v.outputs[k]) for k, a in answers.items()}
    assert compared(v, small).screen.vector.x.dtype == np.float64


def test_a_bug_that_makes_rows_zero_is_named_by_the_others():
    v = oracle.load("mlp-batches")

    def over_members(z, y):  # p − one-hot adds up to zero over the members: the last bias has no gradient
        logs = np.log(np.exp(z) / np.sum(np.exp(z), axis=-2, keepdims=True))
        return -np.sum(logs * (np.arange(z.shape[-1]) == y[..., None]), axis=-1)

    answers = Solution(replace(v, loss=LossFunction(over_members, labels=True)), AUTOGRAD).outputs()
    assert np.abs(answers["grad/2.bias"]).max() < 1e-15
    (only,) = oracle.verify(v, answers).diagnosis
    assert only.explains == "the loss is another one: its softmax is over the members of the mini-batch"


class Unbiased(BatchNorm):
    def apply(self, params, buffers, x, training=False):
        if not training:
            return super().apply(params, buffers, x)
        variance = np.sum((x - np.mean(x, axis=(0, 2, 3), keepdims=True)) ** 2, axis=(0, 2, 3)) / (x[:, 0].size - 1)
        scale = params[f"{self.name}.weight"] / np.sqrt(variance + 1e-5)
        centred = x - np.mean(x, axis=(0, 2, 3), keepdims=True)
        return centred * scale[:, None, None] + params[f"{self.name}.bias"][:, None, None]


def test_an_unbiased_variance_in_training_mode_explains_the_changes_in_evaluation_mode_too():
    v = oracle.load("conv-batches-training")
    (only,) = oracle.verify(v, defined_with(v, swapped(BatchNorm, Unbiased))).diagnosis
    assert (only.name, only.explains) == (
        "unbiased-variance",
        "batch-norm divides by the mini-batch's unbiased variance",
    )


def test_faulty_losses_keep_the_weight_decay():
    """In one layer the Gauss–Newton matrix is the Hessian, and equal targets are not changed by their mean."""
    v = oracle.load("mlp-one-layer-bce")
    right = Solution(replace(v, y=v.y[[0, 0, 0]], loss=replace(LOSSES["bce"], weight_decay=0.1)))
    (_, straight), *_ = curvature_lost(right)
    for name, g in right.grad.items():
        assert numpy.allclose(straight.hvp[name], 0.1 * g[v.pairs], rtol=1e-12, atol=1e-15)
        assert numpy.allclose(
            gauss_newton_answers(right).hvp[name], right.hvp[name], rtol=1e-12
        )  # and so is the Hessian
        assert numpy.allclose(broadcast_targets(right).hvp[name], right.hvp[name], rtol=1e-12)


def test_another_epsilon_is_estimated():
    v = oracle.load("conv-odd")
    shifted = {k: b + 1e-3 - 1e-5 if k.endswith("running_var") else b for k, b in v.buffers.items()}
    verdict = oracle.verify(v, answers_of(v, buffers=shifted))
    assert [(e.name, e.explains) for e in verdict.diagnosis] == [
        ("batch-norm-epsilon", "batch-norm's ε is not 1e-5: ε = 0.001")
    ]


def test_a_sum_over_outputs_multiplies_the_loss_by_c_and_the_bracket_by_c_squared():
    v = oracle.load("mlp-tanh-bce")
    power = {"logits": 0, "loss": 1, "grad": 1, "hvp": 2, "bracket": 2, "logit_delta": 2}
    wrong = {key: a * 4.0 ** power[quantity_of(key)] for key, a in v.outputs.items()}
    assert "sum-over-outputs" in named(v, wrong)


def test_the_gauss_newton_matrix_of_logistic_regression_is_its_hessian():
    v = oracle.load("mlp-one-layer-bce")
    assert oracle.verify(v, v.outputs).agrees  # so the bug changes nothing here
    deep = oracle.load("mlp-tanh-bce")
    wrong = {f"hvp/{k}": product for k, product in gauss_newton_products(deep).items()}
    answers = {k: a for k, a in deep.outputs.items() if k in ("logits", "loss")} | wrong
    assert named(deep, answers) == ["gauss-newton"]


def gauss_newton_products(v: Vector) -> Answers:
    """The products of the Gauss–Newton matrices with the gradients of each pair: name → (p, 2, *shape)."""
    g = {name: v.outputs[f"grad/{name}"] for name in v.params}
    products = [[gauss_newton(v, f, {k: a[d] for k, a in g.items()}) for f, d in ((j, i), (i, j))] for i, j in v.pairs]
    return {k: np.array([[side[k] for side in pair] for pair in products]) for k in v.params}


def gauss_newton(v: Vector, field: int, direction: Answers) -> Answers:
    """Jᵀ diag(σ'(z) / C) J d from the full Jacobian of the logits."""
    names, shapes = list(v.params), [p.shape for p in v.params.values()]
    count = sum(p.size for p in v.params.values())
    unit = np.split(np.eye(count), np.cumsum([p.size for p in v.params.values()])[:-1], axis=1)
    tangents = {k: u.reshape(count, *shape) for k, u, shape in zip(names, unit, shapes, strict=True)}
    x = v.x[field : field + 1]
    jacobian = lie_ref.push_forward(v.model, v.params, v.buffers, x, tangents)[:, 0]
    p = 1 / (1 + np.exp(-v.model.apply(v.params, v.buffers, x)[0]))
    flat = np.concatenate([direction[k].ravel() for k in names])
    product = jacobian @ (p * (1 - p) / len(p) * (jacobian.T @ flat))
    parts = np.split(product, np.cumsum([s.size for s in v.params.values()])[:-1])
    return {k: part.reshape(shape) for k, part, shape in zip(names, parts, shapes, strict=True)}


@pytest.mark.parametrize(("central", "step"), [(False, 1e-3), (True, 1e-2)])
def test_the_step_of_differences_is_estimated(central, step):
    v = oracle.load("conv-one-channel")
    g = {name: v.outputs[f"grad/{name}"] for name in v.params}

    def gradient(field: int, along: int, h: float) -> Answers:
        moved = {k: p + h * g[k][along] for k, p in v.params.items()}
        one = slice(field, field + 1)
        return lie_ref.gradients(v.model, moved, v.buffers, v.x[one], v.y[one], v.loss)

    def product(field: int, along: int) -> Answers:
        ahead, behind = gradient(field, along, step), gradient(field, along, -step if central else 0)
        return {k: (ahead[k] - behind[k])[0] / (2 * step if central else step) for k in ahead}

    products = [(product(j, i), product(i, j)) for i, j in v.pairs]
    wrong = {f"hvp/{k}": np.array([[side[k] for side in pair] for pair in products]) for k in v.params}
    answers = {k: a for k, a in v.outputs.items() if quantity_of(k) in ("logits", "loss", "grad")} | wrong
    (only,) = oracle.verify(v, answers).diagnosis
    assert only.name == "finite-differences"
    assert only.explains.endswith(f"{'central' if central else 'forward'}, step {step:.2g}")


def test_changes_of_probabilities_and_of_the_wrong_inputs_are_named():
    v = oracle.load("mlp-tanh-bce")
    p = 1 / (1 + np.exp(-v.model.apply(v.params, v.buffers, v.x_eval)))
    assert named(v, v.outputs | {"logit_delta": p * (1 - p) * v.outputs["logit_delta"]}) == ["probability-change"]
    bracket = {name: v.outputs[f"bracket/{name}"] for name in v.params}
    onto_x = lie_ref.push_forward(v.model, v.params, v.buffers, v.x, bracket)
    assert named(v, v.outputs | {"logit_delta": onto_x}) == ["pushed-onto-x"]


@pytest.mark.parametrize("vector", ["conv-batches-training", "conv-max-pool-some-ties"])
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (MaxPool, faulty.LastOfTies),
        (MaxPool, faulty.EveryTie),
        (MaxPool, faulty.MeanOfWindow),
        (MaxPool, faulty.NoMaxPool),
        (GlobalAvgPool, faulty.GlobalMaxPool),
        (AvgPool, faulty.Subsampled),
        (AvgPool, faulty.MaximumInShortcut),
        (Conv, lambda *of: Sequential("", (faulty.Framed("", lambda n: (0, n - 1)), faulty.UnpaddedConv(*of)))),
        (Activation, lambda *of: Sequential("", (Activation(*of), faulty.Detached("")))),
    ],
)
def test_a_layer_without_rules_gives_the_same_in_a_sweep_as_by_autograd_alone(vector, right, wrong):
    v = oracle.load(vector)
    problem = replace(v, model=with_layers(v.model, swapped(right, wrong)))
    swept, exact = Solution(problem).outputs(), Solution(problem, AUTOGRAD).outputs()
    for key, a in exact.items():
        assert numpy.linalg.norm(swept[key] - a) <= 1e-12 * numpy.linalg.norm(a) + 1e-14, key


class AllTogether(Autograd):
    """Batch-norm in training mode over all inputs, from its definition."""

    def field_loss(self, problem, i):
        def loss(params):
            z = problem.model.apply(params, problem.buffers, problem.x, training=True)
            return problem.loss_function.definition(z, problem.y)[i]

        return loss


@pytest.mark.parametrize("vector", ["conv-basic", "conv-max-pool-ties"])
def test_examples_in_one_mini_batch_have_the_gradients_and_products_of_its_members(vector):
    v = oracle.load(vector)
    swept, exact = all_together(Solution(v)), Solution(v, AllTogether())
    for q in ("grad", "hvp", "bracket"):
        for name, a in exact[q].items():
            assert numpy.linalg.norm(swept[q][name] - a) <= 1e-11 * numpy.linalg.norm(a) + 1e-14, (q, name)
    assert numpy.allclose(swept.logits, v.model.apply(v.params, v.buffers, v.x, training=True), rtol=1e-12)


@pytest.mark.parametrize("batches", [False, True])
@pytest.mark.parametrize("labels", [False, True])
def test_wrong_answers_for_losses_of_ones_own_are_examined_without_an_error(labels, batches):
    """The definitions take logits (n, k), as users write them, and no others."""

    def definition(z, y):
        n, k = z.shape
        assert np.shape(y) == ((n,) if labels else (n, k))
        if labels:
            return np.log(np.sum(np.exp(z), axis=1)) - z[np.arange(n), y]
        return np.mean((z - y) ** 2, axis=1)

    model, rng, lead = lie_ref.mlp([3, 4, 3]), numpy.random.default_rng(0), (2, 2) if batches else (3,)
    x, y = rng.normal(size=(*lead, 3)), rng.integers(0, 3, lead) if labels else rng.normal(size=(*lead, 3))
    loss = LossFunction(definition, labels=labels)
    vector = oracle.reference(model, *model.init(0), x, y, [(0, 1)], loss=loss)
    for key, a in vector.outputs.items():
        assert not oracle.verify(vector, {**vector.outputs, key: a + 1e-2 * rng.normal(size=a.shape)}).agrees


@pytest.mark.parametrize("dtype", [numpy.int64, numpy.uint8, numpy.int8])
def test_labels_that_are_one_too_low_are_named_whatever_their_integers_are(dtype):
    model, rng = lie_ref.mlp([3, 120]), numpy.random.default_rng(0)
    x, y = rng.normal(size=(3, 3)), numpy.array([0, 7, 119], dtype)
    vector = oracle.reference(model, *model.init(0), x, y, [(0, 1)], loss="softmax")
    wrong = oracle.reference(model, *model.init(0), x, (y.astype(int) - 1) % 120, [(0, 1)], loss="softmax").outputs
    assert [bug.name for bug in oracle.verify(vector, wrong).diagnosis] == ["other-targets"]


def test_a_network_with_an_activation_of_ones_own_is_verified(monkeypatch):
    monkeypatch.setitem(ACTIVATIONS, "square", np.square)
    model, rng = lie_ref.mlp([3, 4, 2], activation="square"), numpy.random.default_rng(0)
    vector = oracle.reference(model, *model.init(0), rng.normal(size=(2, 3)), rng.random((2, 2)), [(0, 1)])
    assert oracle.verify(vector, vector.outputs).agrees
    assert not oracle.verify(vector, {key: -a for key, a in vector.outputs.items()}).agrees
