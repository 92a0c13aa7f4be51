"""The shipped test vectors: the problem of each, the bugs that it is there to catch, and how it is certified.

Everything is drawn from seeded generators, except the weights and faces of the trained network, which are read from the
shipped file itself.  Weights are not initial values, for which a wrong term could be zero, unless a flag says so.
"""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from ..core.activations import ACTIVATIONS
from ..core.losses import LOSSES
from ..core.networks import mlp
from ..core.problem import Problem
from ..machine.files import data_file, write_text
from . import vector_problems as problems
from .answers import QUANTITIES
from .comparison import compared
from .vector_problems import drawn, drawn_mxresnet
from .vectors import Vector, answered, read_vector, write_vector

MPMATH = "order swap of the loss's value in multiple precision (mpmath)"
EXTENDED = "sweeps and reverse over reverse in extended precision (x87)"

FLAGS = {
    "activation": "another activation function, or a wrong derivative of this one",
    "at-zero": "wrong derivatives at exactly 0 of functions written with |x|, max(x, 0), a sign or a norm",
    "batch-fields": "a mini-batch's field that descends the sum of the losses, not their mean",
    "batch-norm-scale": "zero or negative batch-norm weights that are taken for positive, or left out",
    "batch-norm-training": "batch statistics that are detached, unbiased or not those of the mini-batch",
    "bottleneck": "blocks of expansion 4: 1 × 1 convolutions, their strides and widths",
    "cancellation": "a bracket lost to rounding because its two terms are nearly equal, or found by differences",
    "constant-channel": "a variance of 0 that is taken for 1, or whose root has a derivative of nan",
    "deep": "terms of the chain rule that appear only from the second hidden layer on; transposed square weights",
    "equal-examples": "a bracket taken for zero because the inputs are equal, though the labels are not",
    "input-precision": "inputs, weights or activations kept in float32 somewhere, while the answer is float64",
    "itself": "a bracket of an example with itself that is not zero",
    "large-inputs": "activations or losses that are capped, replaced by a limit or overflow for large arguments",
    "large-statistics": "running statistics ignored, not loaded, or divided by without the root or ε",
    "loss": "another loss, another reduction over the outputs, or other targets",
    "max-pool-border": "a max-pool padded with zeros instead of −∞",
    "max-pool-ties": "a derivative that does not go to the first of equal entries in a max-pool window",
    "odd-size": "padding, strides and the average-pool's ceil_mode at odd edges of pictures that are not square",
    "one-channel": "a channel axis of length one that is squeezed away, or taken for a batch",
    "one-layer": "a Hessian that lacks its Gauss–Newton term, which is the whole Hessian here",
    "padding": "strided layers that pad as “SAME”, which shifts pictures of even size",
    "one-output": "an axis of length one that is squeezed away or broadcast against another",
    "pair-order": "pairs (j, i) with j > i answered as (i, j), or brackets with the wrong sign",
    "relu-at-zero": "a slope of ReLU at 0 that is not 0",
    "saturated": "losses that overflow, are clipped, or lose all digits for large logits",
    "threshold": "a softplus that is the identity beyond 20 or 25, in the activation or in the loss",
    "trained": "errors that show only on trained weights, with small gradients, large curvature and ordinary pictures",
    "x-eval": "logit changes of x in place of x_eval",
}


@dataclass(frozen=True)
class Recipe:
    """One vector: its flags, how its problem is made, how many digits are certified, and by which computation."""

    name: str
    flags: tuple[str, ...]
    notes: str
    make: Callable[[], Problem]
    digits: int = 20
    by: str = MPMATH


def write_vectors(out: Path) -> list[str]:
    """Write all vectors and `index.json` into a folder, as they are shipped, and return the names of the files.

    The answers are computed in extended precision and rounded once.  Intel's and AMD's functions in extended precision
    differ in the last bit, so another processor may round a few answers the other way, and the digits under `decides`
    in the index may differ by a few tenths.  On a platform without an 80-bit long double the answers are computed in
    float64 and differ by a few units in the last place.
    """
    out.mkdir(parents=True, exist_ok=True)
    entries: list[dict[str, Any]] = []
    for recipe in RECIPES:
        problem = recipe.make().astype(np.longdouble)
        vector = answered(problem, name=recipe.name, flags=recipe.flags, notes=recipe.notes)
        path = out / f"{recipe.name}.npz"
        write_vector(path, vector)
        entry: dict[str, Any] = {"name": recipe.name, "file": path.name}
        entry |= {"model": vector.model.spec, "loss": vector.loss}
        entry |= {"flags": recipe.flags, "notes": recipe.notes, "certified_digits": recipe.digits}
        entry |= {"certified_by": recipe.by, "decides": decided_digits(vector)}
        entry |= {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        entries.append(entry)
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    flags = json.dumps(FLAGS, indent=1, ensure_ascii=False)
    write_text(out / "index.json", f'{{"format": "lie-ref-vectors/1", "flags": {flags}, "vectors": [\n{lines}\n]}}\n')
    return [entry["file"] for entry in entries] + ["index.json"]


def decided_digits(vector: Vector) -> dict[str, dict[str, float]]:
    """Precision → quantity → the digits that a verdict decides of a candidate in this precision."""
    decided = {}
    for dtype in ("float32", "float64"):
        comparison = compared(vector, {key: a.astype(dtype) for key, a in vector.outputs.items()})
        decided[dtype] = {q: math.floor(10 * comparison.decided(q)[0]) / 10 for q in QUANTITIES}
    return decided


def shipped(name: str) -> Vector:
    """The shipped vector of this name."""
    return read_vector(data_file(f"vectors/{name}.npz"))


def _recipe(
    name: str, flags: str, seed: int, notes: str, make: Callable[..., Problem], *arguments: Any, **keywords: Any
) -> Recipe:
    """A recipe whose problem is `make(*arguments, seed=seed, **keywords)`."""
    return Recipe(name, tuple(flags.split()), f"{notes}; seed {seed}", partial(make, *arguments, seed=seed, **keywords))


# activation, loss, and the size of the example that is not zero
AT_ZERO = ("tanh", "bce", 1), ("mish", "softmax", 1), ("softplus", "bce", 1), ("relu", "mse", 16)
LARGE = (  # activation, loss, and inputs of hidden units
    ("tanh", "bce", (6, -10, 400, -800)),
    ("mish", "mse", (6, 9, 13, -8, -11, -26, 100, -800, 800)),
    ("softplus", "mse", (16, 26, -11, -26, 60, 800, -800)),
)

# fmt: off
RECIPES = (
    *(_recipe(f"mlp-{activation}-{loss}", "activation loss pair-order x-eval", seed,
              f"MLP with one hidden layer, {activation}, {loss}", drawn, mlp([4, 6, 4], activation), (3, 4), loss)
      for seed, (activation, loss) in enumerate(product(ACTIVATIONS, LOSSES))),
    *(_recipe(f"mlp-one-layer-{loss}", "one-layer loss pair-order", seed, f"{kind} regression",
              drawn, mlp([3, 4]), (3, 3), loss)
      for seed, (loss, kind) in enumerate(zip(LOSSES, ("logistic", "multinomial", "linear"), strict=True), 12)),
    _recipe("mlp-deep", "deep activation", 20, "five layers of four Mish units, all but the last weight square",
            drawn, mlp([4, 4, 4, 4, 4, 5], "mish"), (3, 4)),
    *(_recipe(f"mlp-saturated-{loss}-{largest}", "saturated loss", 21,
              f"logits up to ±{largest}, one of each example on the wrong side", problems.saturated, loss, largest)
      for loss in ("bce", "softmax") for largest in (30, 800)),
    _recipe("mlp-equal-examples", "equal-examples", 22, "examples 0 and 1 are equal but for their labels",
            problems.equal_examples),
    _recipe("mlp-itself", "itself pair-order", 31, "an example paired with itself, and a pair in both orders",
            drawn, mlp([3, 4, 2], "mish"), (3, 3), "bce", [(1, 1), (0, 2), (2, 0)]),
    _recipe("mlp-nearly-commuting", "cancellation", 23,
            "the second example is the first moved by 2⁻¹¹: the bracket is a thousandth of its terms",
            problems.nearly_commuting),
    _recipe("mlp-offset-inputs", "input-precision", 24,
            "inputs 16384 ± 0.004: float32 has no digits left, float64 is exact",
            problems.offset_inputs, 2.0**14, 2.0**-8),
    _recipe("mlp-offset-inputs-16", "input-precision", 24, "inputs 16 ± 0.1, which cost two digits",
            problems.offset_inputs, 16.0, 0.125),
    _recipe("mlp-beyond-threshold", "threshold activation loss", 32, "softplus units and logits of about ±21",
            problems.beyond_threshold),
    _recipe("mlp-relu-at-zero", "relu-at-zero", 25, "the first example has every hidden unit exactly at its kink",
            problems.relu_at_zero),
    *(_recipe(f"mlp-at-zero-{activation}", "at-zero" + " relu-at-zero large-inputs" * (activation == "relu"), seed,
              f"{activation} of exactly 0 in all hidden units of two examples, {loss}",
              problems.at_zero, activation, loss, size) for seed, (activation, loss, size) in enumerate(AT_ZERO, 50)),
    *(_recipe(f"mlp-large-{activation}", "large-inputs" + " threshold" * (activation != "mish"), seed,
              f"{activation} of inputs up to ±800, {loss}" + " of logits up to ±800" * (loss == "bce"),
              problems.large_units, activation, loss, inputs)
      for seed, (activation, loss, inputs) in enumerate(LARGE, 54)),
    _recipe("mlp-batches", "batch-fields", 30, "fields of three mini-batches of four examples",
            drawn, mlp([4, 5, 5], "softplus"), (3, 4, 4), "softmax"),
    _recipe("mlp-batches-one-output", "batch-fields one-output", 61,
            "fields of two mini-batches of four examples, a single output, a single evaluation input, mse",
            drawn, mlp([3, 4, 1]), (2, 4, 3), "mse", [(1, 0)], 1),
    _recipe("conv-basic", "padding odd-size one-channel x-eval", 40,
            "the smallest MXResNet with everything: both poolings, a strided shortcut with convolution",
            drawn_mxresnet, (2, 2, 2), (2, 3), (1, 1), (2, 1, 10, 6)),
    _recipe("conv-batches-training", "batch-fields batch-norm-training one-channel", 41,
            "two mini-batches of four, batch-norm in training mode",
            drawn_mxresnet, (2, 2, 2), (2,), (1,), (2, 4, 1, 5, 5), training=True),
    _recipe("conv-batches-evaluation", "batch-fields", 42, "two mini-batches of four, batch-norm in evaluation mode",
            drawn_mxresnet, (3, 4, 4), (4, 6), (1, 1), (2, 4, 2, 9, 9)),
    _recipe("conv-batches-training-wide", "batch-fields batch-norm-training odd-size", 43,
            "two mini-batches of five, batch-norm in training mode, two stages, softmax",
            drawn_mxresnet, (3, 4, 4), (4, 6), (1, 1), (2, 5, 2, 13, 9), "softmax", training=True),
    _recipe("conv-batches-constant-channel", "batch-fields batch-norm-training constant-channel", 60,
            "one channel is 0 for every pixel, so that batch-norm divides it by √ε, in training mode",
            problems.constant_channel),
    _recipe("conv-odd", "odd-size loss", 44, "17 × 23 pictures, three stages, softmax",
            drawn_mxresnet, (3, 4, 4), (4, 6, 6), (1, 1, 1), (2, 3, 17, 23), "softmax"),
    _recipe("conv-even", "padding loss x-eval", 45, "16 × 16 pictures, where “SAME” padding differs, mse",
            drawn_mxresnet, (3, 4, 4), (4, 6), (1, 1), (2, 3, 16, 16), "mse"),
    _recipe("conv-bottleneck", "bottleneck odd-size", 46, "bottleneck blocks, three in two stages, 14 × 11 pictures",
            drawn_mxresnet, (3, 3, 8), (2, 3), (2, 1), (2, 3, 14, 11), expansion=4),
    _recipe("conv-one-channel", "one-channel odd-size", 47, "one-channel pictures of 5 × 7",
            drawn_mxresnet, (3, 4, 4), (4, 6), (1, 1), (2, 1, 5, 7)),
    _recipe("conv-large-statistics", "large-statistics", 26, "running means of ±10 and variances from 2⁻¹³ to 64",
            problems.large_statistics),
    _recipe("conv-batch-norm-scale", "batch-norm-scale", 27,
            "batch-norm weights zero and negative, one residual branch zero as it is initialised",
            problems.batch_norm_scale),
    _recipe("conv-max-pool-ties", "max-pool-ties threshold", 28,
            "half of the channels before the max-pool are zero everywhere, the first logit is beyond 20",
            problems.max_pool_ties),
    _recipe("conv-max-pool-some-ties", "max-pool-ties loss", 59,
            "two to nine entries of most windows of the max-pool are equal, two different labels, softmax",
            problems.max_pool_some_ties),
    _recipe("conv-max-pool-border", "max-pool-border", 29, "everything before the max-pool is negative",
            problems.max_pool_border),
    Recipe("trained-tiny", ("trained", "x-eval"), "mxresnet-tiny after 2,000 steps on synthetic faces "
           "(lie-ref experiment --steps 2000, seed 0), two test faces", partial(shipped, "trained-tiny"), 16, EXTENDED),
)
# fmt: on
