"""The catalogue of known bugs, each with a function that tells how well it explains the answers of a candidate.

Most of these functions compute what an implementation with the bug answers, by replacing a quantity or a layer, and
compare.  Some must first estimate something from the candidate, such as a factor.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from ...core.layers import EPS, AvgPool, BatchNorm, MaxPool
from ..answers import Answers, quantity_of
from ..comparison import Comparison
from . import batch_norm, fitted, layers, networks, products
from .batch_norm import other_variance, running_statistics
from .losses import CLIPPED, DOUBLE_SIGMOID, DOUBLE_SOFTMAX
from .networks import Faulty, loss_times, other_layers, other_loss, other_targets

Explain = Callable[[Comparison], tuple[float, str] | None]  # the digits that match, and a note, or None


@dataclass(frozen=True)
class Bug:
    """The name of a bug, one sentence that says what it does, and how well it explains a candidate."""

    name: str
    sentence: str
    explain: Explain


def predicted(make: Callable[[Answers], Faulty]) -> Explain:
    """Explains a candidate by the answers of one faulty implementation."""
    return one_of(lambda exact: iter([("", make(exact))]))


def one_of(variants: Callable[[Answers], Iterator[tuple[str, Faulty]]]) -> Explain:
    """Explains a candidate by the first of several faulty answers that matches, each with a note for the verdict."""

    def explain(comparison: Comparison) -> tuple[float, str] | None:
        for note, faulty in variants(comparison.exact):
            try:
                digits = None if faulty is None else comparison.explained_by(faulty)
            except ValueError:  # such as that of batch-norm in training mode for a single value
                continue
            if digits is not None:
                return digits, note
        return None

    return explain


def layerwise(comparison: Comparison) -> tuple[float, str] | None:
    """Compares one tensor first, because every tensor takes a product; logit changes alone are not explained."""
    tensors = [key.partition("/")[2] for key in comparison.candidate if quantity_of(key) in ("hvp", "bracket")]
    if not tensors:
        return None
    name = tensors[-1]
    h = products.layerwise_product(comparison.exact, name)
    if f"hvp/{name}" in comparison.candidate:
        matched = comparison.matched(f"hvp/{name}", h)
    else:
        matched = comparison.matched(f"bracket/{name}", h[:, 0] - h[:, 1])
    if matched is None:
        return None
    return predicted(products.layerwise)(comparison)


def _bug(name: str, sentence: str, make: Callable[[Answers], Faulty]) -> Bug:
    return Bug(name, sentence, predicted(make))


# fmt: off
# These change little, so that they may show only later.
SMALL = (
    Bug("softplus-threshold", "softplus is the identity beyond 20, as PyTorch's is",
        one_of(networks.threshold_softplus_for_softplus)),
    _bug("clipped-probabilities", "probabilities are clipped to [1e-7, 1 − 1e-7], and have no gradient there",
         partial(other_loss, "bce", CLIPPED)),
    Bug("other-loss", "the loss is another one", one_of(networks.other_losses)),
)
# Running statistics change logits or, where the fields are in training mode, only the logit changes.
STATISTICS = (
    _bug("fresh-statistics", "batch-norm's running statistics were not loaded: mean 0, variance 1",
         partial(running_statistics, lambda name, b: np.full_like(b, name.endswith("var")))),
    Bug("moved-statistics", "batch-norm's running statistics were updated by forward passes in training mode",
        one_of(batch_norm.moved_statistics)),
    _bug("variance-for-deviation", "batch-norm divides by variance + ε, not by its root",
         partial(running_statistics, lambda name, b: (b + EPS) ** 2 - EPS if name.endswith("var") else b)),
)
# The bugs by the first quantity that they change.
CATALOGUE: dict[str, tuple[Bug, ...]] = {
    "logits": (
        Bug("other-activation", "the activation is another function", one_of(networks.other_activation)),
        _bug("activation-after-last", "there is an activation after the last layer", networks.activation_after_last),
        Bug("other-pooling", "pictures are pooled otherwise", one_of(networks.other_pooling)),
        Bug("other-padding", "convolutions pad the picture otherwise", one_of(networks.other_padding)),
        Bug("same-padding", "strided convolutions and the max-pool pad as “SAME”, less before than after",
            one_of(networks.padded_same)),
        _bug("max-pool-zero-padding", "the max-pool is padded with zeros, not with −∞",
             partial(other_layers, layers.swapped(MaxPool, layers.ZeroPaddedMaxPool))),
        _bug("average-pool-divides-by-four", "the average-pool divides by 4 at odd edges, too",
             partial(other_layers, layers.swapped(AvgPool, layers.FourDividingAvgPool))),
        Bug("other-stride", "the stride is on another convolution", one_of(networks.other_strides)),
        Bug("other-order", "layers stand in another order", one_of(networks.reordered)),
        Bug("batch-norm-exchanged", "two arrays of batch-norm are exchanged", one_of(batch_norm.exchanged)),
        Bug("weights-shared", "layers share their weights", one_of(networks.shared_weights)),
        Bug("other-inputs", "inputs are not as they are given", one_of(networks.other_inputs)),
        _bug("mini-batches-dealt", "mini-batches take every b-th example, not consecutive ones", networks.dealt),
        _bug("flipped-kernels", "convolutions turn their kernels by 180°",
             partial(networks.reindexed, lambda a: a[..., ::-1, ::-1], lambda p: p.ndim == 4)),
        _bug("transposed-weight", "square weights of linear layers are transposed",
             partial(networks.reindexed, lambda a: np.swapaxes(a, -1, -2),
                     lambda p: p.ndim == 2 and p.shape == p.T.shape)),
        _bug("no-shortcut-norm", "the shortcut's batch-norm is left out",
             partial(other_layers, layers.swapped(BatchNorm, layers.LeftOut, lambda a: a.name.endswith("idconv.1")))),
        _bug("batch-norm-of-one", "batch-norm is in training mode, over each example alone", batch_norm.each_alone),
        _bug("batch-norm-of-all", "batch-norm is in training mode, over all examples at once", batch_norm.all_together),
        _bug("batch-norm-evaluation-mode", "batch-norm takes its running statistics, not the mini-batch's",
             partial(batch_norm.in_training, layers.swapped(BatchNorm, layers.EvaluationMode))),
        _bug("unbiased-variance", "batch-norm divides by the mini-batch's unbiased variance",
             partial(batch_norm.in_training, layers.swapped(BatchNorm, layers.UnbiasedVariance))),
        Bug("batch-norm-of-others", "batch-norm in training mode takes other statistics",
            one_of(batch_norm.mini_batch_statistics)),
        Bug("batch-norm-epsilon", "batch-norm's ε is not 1e-5", one_of(batch_norm.other_epsilon)),
        _bug("epsilon-outside-root", "batch-norm divides by √variance + ε, not by √(variance + ε)",
             partial(other_variance, lambda v: (v**0.5 + EPS) ** 2 - EPS)),
        *STATISTICS,
        *SMALL,
    ),
    "loss": (
        _bug("sum-over-outputs", "the loss is summed over the outputs, not averaged",
             partial(loss_times, lambda p: p.model.n_out if p.loss in ("bce", "mse") else None)),
        _bug("mean-over-examples", "each example's loss is divided by the number of examples",
             partial(loss_times, lambda p: None if p.batches else 1 / len(p.x))),
        _bug("sum-over-batch", "a mini-batch's field descends the sum of its losses, not their mean",
             partial(loss_times, lambda p: p.x.shape[1] if p.batches else None)),
        _bug("targets-plus-minus-one", "targets are −1 and 1 where the loss expects 0 and 1",
             partial(other_targets, "bce", lambda p: 2 * p.y - 1)),
        _bug("shifted-labels", "labels are one too high",
             partial(other_targets, "softmax", lambda p: (p.y + 1) % p.model.n_out)),
        Bug("other-targets", "targets are not as they are given", one_of(networks.affine_targets)),
        _bug("broadcast-targets", "each loss is the mean over the targets of all", networks.broadcast_targets),
        _bug("running-average", "losses are averages of all so far",
             lambda exact: exact.replaced(loss=lambda _: exact.loss.cumsum() / np.arange(1, 1 + len(exact.loss)))),
        _bug("double-sigmoid", "the loss is given probabilities σ(z) where it expects logits",
             partial(other_loss, "bce", DOUBLE_SIGMOID)),
        _bug("double-softmax", "the loss is given probabilities softmax(z) where it expects logits",
             partial(other_loss, "softmax", DOUBLE_SOFTMAX)),
        *SMALL,
    ),
    "grad": (
        _bug("max-pool-shares-ties", "equal entries of a max-pool window share the derivative",
             partial(other_layers, layers.swapped(MaxPool, layers.TieSharingMaxPool))),
        Bug("slope-at-kink", "the derivative at a kink is another one", one_of(networks.kinks)),
        Bug("misread", "answers are read in another order of the tensors than they were written in",
            one_of(products.misreported)),
        Bug("clipped-gradients", "the norms of gradients are clipped", one_of(products.clipped)),
        _bug("gradient-centralisation", "the mean over the inputs of each unit is subtracted from gradients",
             products.centred),
        Bug("detached", "some inputs of layers are detached", one_of(networks.detached)),
        Bug("detached-statistics", "the mini-batch's statistics are not differentiated through",
            one_of(batch_norm.detached_statistics)),
        *SMALL,
    ),
    "hvp": (
        _bug("gauss-newton", "products are with the Gauss–Newton matrix, not with the Hessian", products.gauss_newton),
        Bug("curvature-lost", "part of the network or loss has no second derivative", one_of(products.curvature_lost)),
        Bug("products-elsewhere", "products are other ones", one_of(products.products_elsewhere)),
        _bug("hessian-of-sum", "Hessians are of the sum over the outputs, gradients of the mean",
             products.hessian_of_sum),
        _bug("hessian-of-mean", "Hessians are of the mean loss of all examples, not of each example's",
             products.hessian_of_mean),
        Bug("direction-lacks-group", "directions lack a group of parameters", one_of(products.lacking_group)),
        Bug("layerwise-hessian", "products lack the Hessian's blocks between different tensors", layerwise),
        Bug("flattened-otherwise", "vectors of all tensors are read in another order than they were written in",
            one_of(products.flattened)),
        *SMALL,
    ),
    "logit_delta": (
        *STATISTICS,
        Bug("push-lacks-group", "changes are those along a part of the bracket", one_of(products.pushed_without)),
        _bug("pushed-in-training-mode", "changes are those of batch-norm in training mode, over x_eval",
             batch_norm.pushed_as_mini_batch),
        _bug("summed-over-inputs", "changes are summed over x_eval", products.summed_over_inputs),
        _bug("pushed-onto-x", "logit changes are those of x, not of x_eval", products.pushed_onto_x),
        _bug("probability-change", "changes are of probabilities, not of logits", products.changed_probabilities),
        _bug("finite-change", "changes are z(θ + bracket) − z(θ), not the derivative along the bracket",
             products.changed_finitely),
    ),
    "bracket": (),
}

# The bugs above that can be recognised without the network, from gradients and products alone.
OF_FIELDS = ("misread", "clipped-gradients", "gradient-centralisation", "products-elsewhere", "direction-lacks-group",
             "layerwise-hessian", "flattened-otherwise", "push-lacks-group", "summed-over-inputs", "finite-change")

# Only tried if no bug above explains the candidate: they fit something to it and are slower.
ESTIMATED = (
    Bug("factor", "quantities are multiples of what they should be", fitted.estimated_factors),
    Bug("weight-decay", "the loss has λ/2 ‖θ‖² added", fitted.estimated_decay),
    Bug("finite-differences", "products are differences of gradients over too large a step", fitted.estimated_step),
    Bug("direction-lacks-part", "directions lack some parameters, as if they were constants",
        one_of(products.lacking_part)),
    Bug("moved-between", "the second product of a pair is taken after the first step", fitted.estimated_move),
    Bug("finite-swap", "the bracket is the difference that two finite steps make", fitted.estimated_swap),
)
# Only tried if nothing else explains the candidate, and on all that it has.
ROUNDING = Bug("lower-precision", "something is computed or kept in fewer bits", fitted.estimated_precision)
# fmt: on
