"""The shipped test vectors: for each its problem, which bugs it is there to catch, and who certified how many digits.

Everything is drawn from seeded generators, except the weights and faces of the trained network, which the shipped file
itself holds.  No value is at an initial one, where a wrong term could be zero, unless its flag says so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..core.losses import LOSSES
from ..core.networks import mlp
from ..core.problem import Problem
from ..machine.files import data_file, write_text
from .vector_problems import (
    batch_norm_scale,
    beyond_threshold,
    drawn,
    drawn_mlp,
    drawn_mxresnet,
    equal_examples,
    large_statistics,
    max_pool_border,
    max_pool_ties,
    nearly_commuting,
    offset_inputs,
    relu_at_zero,
    saturated,
)
from .vectors import Vector, answered, read_vector, write_vector

MPMATH = "order swap of the loss's value in multiple precision (mpmath)"
EXTENDED = "sweeps and reverse over reverse in extended precision (x87)"

FLAGS = {
    "activation": "another activation function, or a wrong derivative of this one",
    "batch-fields": "the sum of the examples' losses where a mini-batch's field descends their mean",
    "batch-norm-scale": "batch-norm weights that are zero or negative taken for positive, or left out",
    "batch-norm-training": "batch statistics that are detached, unbiased or not those of the mini-batch",
    "bottleneck": "blocks of expansion 4: 1 × 1 convolutions, their strides and widths",
    "cancellation": "a bracket lost to rounding because its two terms are nearly equal, or found by differences",
    "deep": "terms of the chain rule that appear from the second hidden layer on; square weights that are transposed",
    "equal-examples": "a bracket taken for zero because the inputs are equal, though the labels are not",
    "input-precision": "inputs, weights or activations kept in float32 somewhere, while the answer is float64",
    "itself": "a bracket of an example with itself that is not zero",
    "large-statistics": "running statistics ignored, not loaded, or divided by without the root or ε",
    "loss": "another loss, another reduction over the outputs, or other targets",
    "max-pool-border": "a max-pool padded with zeros instead of −∞",
    "max-pool-ties": "of equal entries in a max-pool window another than the first in scan order, or several",
    "odd-size": "padding, strides and the average-pool's ceil_mode at odd edges of pictures that are not square",
    "one-channel": "pictures whose single channel axis was squeezed away, or taken for a batch",
    "one-layer": "a Hessian that lacks its Gauss–Newton term: nothing else is there",
    "padding": "even sizes, where strided layers that pad as “SAME” shift the picture",
    "pair-order": "pairs (j, i) with j > i answered as (i, j), or brackets with the wrong sign",
    "relu-at-zero": "a slope of ReLU at 0 that is not 0",
    "saturated": "losses that overflow, are clipped, or lose all digits for large logits",
    "threshold": "a softplus that is the identity beyond 20, in the activation or in the loss",
    "trained": "what only weights that were really trained show: small gradients, large curvature, ordinary pictures",
    "x-eval": "logit changes of x where those of x_eval are asked for",
}


@dataclass(frozen=True)
class Recipe:
    """One vector: how its problem is made, its flags, `digits` certified and by whom."""

    name: str
    flags: tuple[str, ...]
    notes: str
    make: Callable[[], Problem]
    digits: int
    by: str


def write_vectors(out: Path) -> list[str]:
    """Write all vectors and `index.json` into a folder, bit for bit those shipped; returns the files' names.

    The answers are computed in extended precision and rounded once.  Where the platform has no 80-bit long double they
    are those of float64, a few units in the last place away.
    """
    out.mkdir(parents=True, exist_ok=True)
    entries: list[dict[str, Any]] = []
    for recipe in RECIPES:
        problem = recipe.make().astype(np.longdouble)
        vector = answered(problem, name=recipe.name, flags=recipe.flags, notes=recipe.notes)
        path = out / f"{recipe.name}.npz"
        write_vector(path, vector)
        entries.append(
            {
                "name": recipe.name,
                "file": path.name,
                "model": vector.model.spec,
                "loss": vector.loss,
                "flags": list(recipe.flags),
                "notes": recipe.notes,
                "certified_digits": recipe.digits,
                "certified_by": recipe.by,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
        )
    index = {"format": "lie-ref-vectors/1", "flags": FLAGS, "vectors": entries}
    write_text(out / "index.json", json.dumps(index, indent=1, ensure_ascii=False) + "\n")
    return [entry["file"] for entry in entries] + ["index.json"]


def shipped(name: str) -> Vector:
    """The shipped vector of this name."""
    return read_vector(data_file(f"vectors/{name}.npz"))


_ACTIVATIONS = ("tanh", "mish", "softplus", "relu")

RECIPES = (
    *(
        Recipe(
            f"mlp-{activation}-{loss}",
            ("activation", "loss", "pair-order", "x-eval"),
            f"MLP with one hidden layer, {activation}, {loss}; seed {seed}",
            partial(drawn_mlp, [4, 6, 4], activation, loss, seed),
            20,
            MPMATH,
        )
        for seed, (activation, loss) in enumerate((a, b) for a in _ACTIVATIONS for b in LOSSES)
    ),
    *(
        Recipe(
            f"mlp-one-layer-{loss}",
            ("one-layer", "loss", "pair-order"),
            f"{kind}; seed {seed}",
            partial(drawn_mlp, [3, 4], loss=loss, seed=seed),
            20,
            MPMATH,
        )
        for seed, (loss, kind) in enumerate(
            (("bce", "logistic regression"), ("softmax", "multinomial regression"), ("mse", "linear regression")), 12
        )
    ),
    Recipe(
        "mlp-deep",
        ("deep", "activation"),
        "five layers of four Mish units, all but the last weight square; seed 20",
        lambda: drawn_mlp([4, 4, 4, 4, 4, 5], "mish", seed=20),
        20,
        MPMATH,
    ),
    *(
        Recipe(
            f"mlp-saturated-{loss}-{largest}",
            ("saturated", "loss"),
            f"logits up to ±{largest}, one of each example on the wrong side; seed 21",
            partial(saturated, loss, largest),
            20,
            MPMATH,
        )
        for loss, largest in (("bce", 30), ("bce", 800), ("softmax", 30), ("softmax", 800))
    ),
    Recipe(
        "mlp-equal-examples",
        ("equal-examples",),
        "examples 0 and 1 are equal but for their labels; seed 22",
        equal_examples,
        20,
        MPMATH,
    ),
    Recipe(
        "mlp-itself",
        ("itself", "pair-order"),
        "an example paired with itself, and a pair in both orders; seed 31",
        lambda: drawn_mlp([3, 4, 2], "mish", seed=31, pairs=[(1, 1), (0, 2), (2, 0)]),
        20,
        MPMATH,
    ),
    Recipe(
        "mlp-nearly-commuting",
        ("cancellation",),
        "the second example is the first moved by 2⁻¹¹: the bracket is a thousandth of its terms; seed 23",
        nearly_commuting,
        20,
        MPMATH,
    ),
    Recipe(
        "mlp-offset-inputs",
        ("input-precision",),
        "inputs 16384 ± 0.004: float32 has no digits left, float64 is exact; seed 24",
        offset_inputs,
        20,
        MPMATH,
    ),
    Recipe(
        "mlp-beyond-threshold",
        ("threshold", "activation", "loss"),
        "softplus units and logits of about ±21; seed 32",
        beyond_threshold,
        20,
        MPMATH,
    ),
    Recipe(
        "mlp-relu-at-zero",
        ("relu-at-zero",),
        "the first example has every hidden unit exactly at its kink; seed 25",
        relu_at_zero,
        20,
        MPMATH,
    ),
    Recipe(
        "mlp-batches",
        ("batch-fields",),
        "fields of three mini-batches of four examples; seed 30",
        lambda: drawn(mlp([4, 5, 5], "softplus"), 30, (3, 4, 4), "softmax"),
        20,
        MPMATH,
    ),
    Recipe(
        "conv-basic",
        ("padding", "odd-size", "one-channel", "x-eval"),
        "the smallest MXResNet with everything: both poolings, a strided shortcut with convolution; seed 40",
        lambda: drawn_mxresnet((2, 2, 2), (2, 3), (1, 1), (2, 1, 10, 6), n_out=3, seed=40),
        20,
        MPMATH,
    ),
    Recipe(
        "conv-batches-training",
        ("batch-fields", "batch-norm-training", "one-channel"),
        "two mini-batches of four, batch-norm in training mode; seed 41",
        lambda: drawn_mxresnet((2, 2, 2), (2,), (1,), (2, 4, 1, 5, 5), n_out=3, training=True, seed=41),
        20,
        MPMATH,
    ),
    Recipe(
        "conv-batches-evaluation",
        ("batch-fields",),
        "two mini-batches of four, batch-norm in evaluation mode; seed 42",
        lambda: drawn_mxresnet((3, 4, 4), (4, 6), (1, 1), (2, 4, 2, 9, 9), seed=42),
        20,
        MPMATH,
    ),
    Recipe(
        "conv-batches-training-wide",
        ("batch-fields", "batch-norm-training", "odd-size"),
        "two mini-batches of five, batch-norm in training mode, two stages, softmax; seed 43",
        lambda: drawn_mxresnet((3, 4, 4), (4, 6), (1, 1), (2, 5, 2, 13, 9), loss="softmax", training=True, seed=43),
        20,
        MPMATH,
    ),
    Recipe(
        "conv-odd",
        ("odd-size", "loss"),
        "17 × 23 pictures, three stages, softmax; seed 44",
        lambda: drawn_mxresnet((3, 4, 4), (4, 6, 6), (1, 1, 1), (2, 3, 17, 23), loss="softmax", seed=44),
        20,
        MPMATH,
    ),
    Recipe(
        "conv-even",
        ("padding", "loss", "x-eval"),
        "16 × 16 pictures, where “SAME” padding differs, mse; seed 45",
        lambda: drawn_mxresnet((3, 4, 4), (4, 6), (1, 1), (2, 3, 16, 16), loss="mse", seed=45),
        20,
        MPMATH,
    ),
    Recipe(
        "conv-bottleneck",
        ("bottleneck", "odd-size"),
        "bottleneck blocks, three in two stages, 14 × 11 pictures; seed 46",
        lambda: drawn_mxresnet((3, 3, 8), (2, 3), (2, 1), (2, 3, 14, 11), expansion=4, seed=46),
        20,
        MPMATH,
    ),
    Recipe(
        "conv-one-channel",
        ("one-channel", "odd-size"),
        "one-channel pictures of 5 × 7; seed 47",
        lambda: drawn_mxresnet((3, 4, 4), (4, 6), (1, 1), (2, 1, 5, 7), seed=47),
        20,
        MPMATH,
    ),
    Recipe(
        "conv-large-statistics",
        ("large-statistics",),
        "running means of ±10 and variances from 2⁻¹³ to 64; seed 26",
        large_statistics,
        20,
        MPMATH,
    ),
    Recipe(
        "conv-batch-norm-scale",
        ("batch-norm-scale",),
        "batch-norm weights zero and negative, one residual branch zero as it is initialised; seed 27",
        batch_norm_scale,
        20,
        MPMATH,
    ),
    Recipe(
        "conv-max-pool-ties",
        ("max-pool-ties", "threshold"),
        "half of the channels before the max-pool are zero everywhere, the first logit is beyond 20; seed 28",
        max_pool_ties,
        20,
        MPMATH,
    ),
    Recipe(
        "conv-max-pool-border",
        ("max-pool-border",),
        "everything before the max-pool is negative; seed 29",
        max_pool_border,
        20,
        MPMATH,
    ),
    Recipe(
        "trained-tiny",
        ("trained", "x-eval"),
        "mxresnet-tiny after 2,000 steps on synthetic faces (lie-ref experiment --steps 2000, seed 0), two test faces",
        lambda: shipped("trained-tiny"),
        16,
        EXTENDED,
    ),
)
