"""What the oracle offers: vectors and references, and the verdict on a candidate."""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.networks import Model
from ..core.types import Array
from ..fast.arguments import LossLike, checked_problem, checked_weights
from ..machine.errors import InputError, nearest, shortened
from .candidates import LAYER, checked_candidate, read_candidate
from .comparison import compared
from .layer_outputs import first_wrong
from .vector_list import RECIPES, shipped
from .vectors import Vector, answered, read_vector
from .verdict import Verdict, judge

Name = str | os.PathLike[str]


def names() -> list[str]:
    """The names of the shipped test vectors."""
    return [recipe.name for recipe in RECIPES]


def load(name: Name) -> Vector:
    """A shipped test vector by its name, or a vector or reference by the path of its file.

    Raises `InputError`, a ValueError, for an unknown name or a file that is not a vector.

    >>> vector = load("mlp-tanh-bce")
    >>> vector.x.shape, vector.outputs["bracket/0.weight"].shape
    ((3, 4), (2, 6, 4))
    """
    if not isinstance(name, (str, os.PathLike)):
        raise InputError(f"vector: expected a Vector, its name or the path of its file, got {shortened(name)}")
    if name in names():
        return shipped(str(name))
    if Path(name).is_file() or os.fspath(name).endswith(".npz"):
        return read_vector(Path(name))
    known = f"{nearest(name, names())}; the vectors are {', '.join(names())}"
    raise InputError(f"{name}: neither a test vector nor a file of one; {known}")


def verify(vector: Vector | Name, candidate: Mapping[str, Any] | Name) -> Verdict:
    """The verdict on a candidate, a dict key → array or the path of an `.npz`, with any of the vector's outputs.

    The keys are `loss`, `logits`, `grad/NAME`, `hvp/NAME`, `bracket/NAME`, `logit_delta`, and `layer/NAME` for the
    outputs of any layers that `layers(vector)` names.  Raises `InputError`, a ValueError, for arrays that cannot be
    compared; nan, inf and wrong numbers are part of the verdict.

    >>> vector = load("mlp-tanh-bce")
    >>> wrong = {key: -a for key, a in vector.outputs.items() if key.startswith("bracket")}
    >>> verdict = verify(vector, wrong)
    >>> verdict.agrees, [explanation.name for explanation in verdict.diagnosis]
    (False, ['pair-order-swapped', 'sign-swapped'])
    """
    vector = vector if isinstance(vector, Vector) else load(vector)
    if isinstance(candidate, (str, os.PathLike)):
        arrays = read_candidate(vector, Path(candidate))
    else:
        arrays = checked_candidate(vector, candidate)
    outputs = {key: a for key, a in arrays.items() if not key.startswith(LAYER)}
    inside = {key.removeprefix(LAYER): a for key, a in arrays.items() if key.startswith(LAYER)}
    with np.errstate(all="ignore"), warnings.catch_warnings():  # whatever overflows is part of the verdict
        warnings.filterwarnings("ignore", "Output seems independent of input", UserWarning)  # that of a faulty loss
        return judge(compared(vector, outputs), first_wrong(vector, inside) if inside else "")


def assert_agrees(vector: Vector | Name, candidate: Mapping[str, Any] | Name) -> None:
    """Raise AssertionError, with the verdict as its message, unless the candidate agrees; for tests.

    >>> assert_agrees("mlp-tanh-bce", load("mlp-tanh-bce").outputs)
    """
    verdict = verify(vector, candidate)
    if not verdict.agrees:
        raise AssertionError(str(verdict))


def reference(
    model: Model,
    params: Mapping[str, Array],
    buffers: Mapping[str, Array],
    x: Array,
    y: Array,
    pairs: Sequence[tuple[int, int]] | Array,
    x_eval: Array | None = None,
    loss: LossLike = "bce",
    training: bool = False,
) -> Vector:
    """The exact answers, in float64, for your own weights and inputs: `verify` takes them like a test vector.

    x is (n, …), or (b, m, …) for the fields of mini-batches, with batch-norm in training mode if `training` says so;
    `x_eval` is x unless it is given.  `loss` is "bce", "softmax", "mse" or a `LossFunction`, and autograd makes the
    answers for one of your own.  Raises ValueError or TypeError for arrays that do not fit.

    >>> from lie_ref import mlp
    >>> import numpy as np
    >>> model = mlp([2, 3, 1])
    >>> vector = reference(model, *model.init(seed=0), np.eye(2), np.array([[0.0], [1.0]]), pairs=[(0, 1)])
    >>> verify(vector, vector.outputs).agrees
    True
    """
    weights = checked_weights(model, params, buffers)
    params, buffers = ({k: a.astype(np.float64) for k, a in of.items()} for of in (weights.params, weights.buffers))
    problem = checked_problem(model, params, buffers, x, y, pairs, x_eval, loss, training)
    return answered(problem, name="reference")
