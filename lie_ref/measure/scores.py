"""Scores that say how much a training example matters: by its gradient, its error, its brackets, or its forgetting.

GraNd and EL2N are defined by Paul, Ganguli & Dziugaite 2021 ("Deep Learning on a Data Diet"), forgetting by Toneva et
al. 2019.  Forgetting describes a whole training run.  The other scores describe networks at one step of training: they
are means over `states`, the (params, buffers) of independent initialisations that were trained up to that step.
Batch-norm is in evaluation mode.  The scores are computed batch by batch, so x (n, …) and y (n, …) may be anything that
has a length and gives arrays for slices, such as a memory map; only one batch is in memory at a time.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np

from ..core.losses import loss_function
from ..core.networks import Model
from ..core.types import Array, Arrays
from ..fast.arguments import LossLike, as_array, checked_indices, checked_model, checked_targets
from ..fast.norms import row_norms
from ..fast.scalar_rules import gradient
from .derivatives import BUDGET, bracket_norms, gradients, logits, tensor_norms

ROWS = 256  # examples in a batch

State = tuple[Arrays, Arrays]


class Rows(Protocol):
    """What the scores need of x and y: the number of rows, and the rows of a slice as an array."""

    def __len__(self) -> int: ...

    def __getitem__(self, some: slice, /) -> Array: ...


def grand(model: Model, states: Sequence[State], x: Rows, y: Rows, loss: LossLike = "bce") -> Array:
    """GraNd: the mean of ‖∇_θ L_i‖ over the states, for each example: (n,) float64.

    x and y have the shapes that `lie_ref.gradients` takes, and the same errors are raised, but for a score that is not
    finite: it is returned.

    >>> from lie_ref import mlp
    >>> model = mlp([2, 3, 1])
    >>> grand(model, [model.init(seed) for seed in range(10)], np.ones((5, 2)), np.zeros((5, 1))).shape
    (5,)
    """
    return _expected(states, lambda state: gradient_norms(model, *state, x, y, loss))


def gradient_norms(model: Model, params: Arrays, buffers: Arrays, x: Rows, y: Rows, loss: LossLike = "bce") -> Array:
    """‖∇_θ L_i‖ of one network for each example: (n,) float64.  Arguments as for `grand`."""

    def norms(some: slice) -> Array:
        return tensor_norms(gradients(model, params, buffers, x[some], y[some], loss, "ignore"))

    return _in_batches(norms, x, y, most=BUDGET // checked_model(model).parameter_count)


def el2n(model: Model, states: Sequence[State], x: Rows, y: Rows, loss: LossLike = "bce") -> Array:
    """EL2N: the mean norm of the error vector over the states, for each example: (n,) float64.

    See `error_vectors` for the vector, and `grand` for the arguments.

    >>> from lie_ref import mlp
    >>> model = mlp([2, 3])
    >>> params = {name: np.zeros_like(p) for name, p in model.init()[0].items()}
    >>> el2n(model, [(params, {})], np.ones((1, 2)), np.array([2]), "softmax").round(4)  # ‖(1/3, 1/3, −2/3)‖
    array([0.8165])
    """

    def norms(state: State, some: slice) -> Array:
        z = logits(model, *state, x[some])
        return row_norms(error_vectors(z, y[some], loss))

    return _expected(states, lambda state: _in_batches(partial(norms, state), x, y))


def error_vectors(z: Array, y: Array, loss: LossLike = "bce") -> Array:
    """The errors (n, k) of logits z (n, k): softmax(z) − one-hot(y) for "softmax", σ(z) − y for "bce".

    In general it is ∂L/∂z for a loss of labels, and k ∂L/∂z for others, which are means over k outputs; so it is
    2 (z − y) for "mse".  Raises ValueError for logits or targets that do not fit.

    >>> error_vectors(np.zeros((1, 2)), np.array([[1.0, 0.0]]))
    array([[-0.5,  0.5]])
    """
    of, z = loss_function(loss), _checked_logits(z)
    slope: Array = gradient(of)(z, checked_targets("y", z.shape[-1], y, z.shape[:-1], z.dtype, of))
    return slope if of.labels else slope * z.shape[-1]


def right(z: Array, y: Array, loss: LossLike = "bce") -> Array:
    """Whether logits z (n, k) are right, as bool: (n, 1) for labels y (n,), and (n, k) for targets y (n, k).

    With labels, an example is right if its label has the largest logit.  With targets, an output is right if its
    probability differs from its target by less than 1/2.  Raises ValueError for a loss that has neither labels nor
    targets between 0 and 1, and for y of another shape.

    >>> right(np.array([[2.0, -1.0]]), np.array([[1.0, 1.0]]))
    array([[ True, False]])
    >>> right(np.array([[2.0, -1.0]]), np.array([1]), "softmax")
    array([[False]])
    """
    of, z = loss_function(loss), _checked_logits(z)
    y = checked_targets("y", z.shape[-1], y, z.shape[:-1], z.dtype, of)
    if of.labels:
        return (z.argmax(axis=-1, keepdims=True) == y[:, None]) & ~np.isnan(z).any(axis=-1, keepdims=True)
    if not of.binary:
        raise ValueError(f"loss: expected one with labels or targets between 0 and 1, got {of.name!r}")
    return np.abs(error_vectors(z, y, of)) < 0.5


def _checked_logits(z: Array) -> Array:
    """Logits (n, k) as floats.  Raises ValueError for arrays of another kind, TypeError for what is no array."""
    z = as_array("z", z)
    if z.dtype.kind not in "biuf" or z.ndim != 2:
        raise ValueError(f"z: expected logits of shape (n, k), got {z.dtype} of shape {z.shape}")
    return z if z.dtype.kind == "f" else z.astype(np.float64)


class Forgetting(NamedTuple):
    """Forgetting `events` and outputs `never_learnt` of each example: (n,) int each."""

    events: Array
    never_learnt: Array


def forgetting(rows: Sequence[int] | Array, is_right: Array, n: int) -> Forgetting:
    """How often an output of an example was right at one visit and wrong at the next visit to the same example.

    `rows` (t,) are the examples, numbered below n, in the order in which training saw them.  `is_right` (t, k) says
    which of their k outputs were right (see `right`), taken before the step that learnt from the visit.  Events are
    added up over the outputs.  An output that was never right counts as never learnt, and so do all k outputs of an
    example that was never seen.  With labels (k = 1) this is the definition of Toneva et al. 2019; with several outputs
    each is learnt and forgotten on its own.

    >>> seen, is_right = [0, 1, 0, 1, 0, 1], np.array([[True], [False], [False], [False], [True], [False]])
    >>> forgetting(seen, is_right, n=2)
    Forgetting(events=array([1, 0]), never_learnt=array([0, 1]))
    """
    rows, is_right = np.asarray(rows), np.asarray(is_right)
    if rows.ndim != 1 or is_right.ndim != 2 or len(is_right) != len(rows):
        raise ValueError(f"is_right: expected shape ({rows.size}, k), a row for each of rows, got {is_right.shape}")
    if rows.size and not np.issubdtype(rows.dtype, np.integer):
        raise ValueError(f"rows: expected integers, got {rows.dtype}")
    if is_right.dtype != bool:
        raise ValueError(f"is_right: expected bool, got {is_right.dtype}")
    if rows.size and not 0 <= rows.min() <= rows.max() < n:
        raise ValueError(f"rows: expected numbers 0 to {n - 1}, got {rows.min()} to {rows.max()}")
    order = np.argsort(rows, kind="stable")  # the visits to each example, in their order
    rows, is_right = rows[order].astype(int), is_right[order]
    forgotten = is_right[:-1] & ~is_right[1:] & (rows[:-1] == rows[1:])[:, None]
    events, learnt = np.zeros(n, int), np.zeros((n, is_right.shape[1]), bool)
    np.add.at(events, rows[:-1], forgotten.sum(axis=1))
    np.logical_or.at(learnt, rows, is_right)
    return Forgetting(events, (~learnt).sum(axis=1))


class BracketScore(NamedTuple):
    """The `rms` of the brackets of each example, and the same `relative` to both gradients: (n,) float64 each."""

    rms: Array
    relative: Array


def bracket_score(
    model: Model, states: Sequence[State], x: Rows, y: Rows, partners: Sequence[int] | Array, loss: LossLike = "bce"
) -> BracketScore:
    """How much the place of an example in the order matters: the RMS of ‖[v_i, v_j]‖ over partners j ≠ i.

    `partners` (k,) are the indices of the examples j.  The `relative` score takes ‖[v_i, v_j]‖ / (‖g_i‖ ‖g_j‖) instead,
    which leaves the sizes of the gradients out: 0 where the bracket is zero, otherwise infinite where a gradient is
    zero.  Both are means over the states.  Other arguments as for `grand`.

    >>> from lie_ref import mlp
    >>> model = mlp([2, 3, 1])
    >>> score = bracket_score(model, [model.init(0)], np.eye(2), np.array([[0.0], [1.0]]), partners=[0, 1])
    >>> bool(score.rms[0] == score.rms[1] > 0)
    True
    """
    partners = checked_indices("partners", partners, min(_length("x", x), _length("y", y)))
    if len(np.unique(partners)) == 1:
        raise ValueError(f"partners: expected at least two different examples, or {partners[0]} has none, got one")
    of_partners = [
        np.concatenate([as_array(name, a[j : j + 1]) for j in partners.tolist()]) for name, a in (("x", x), ("y", y))
    ]

    def scores(state: State, some: slice) -> Array:
        x_all, y_all = (np.concatenate([a[some], b]) for a, b in zip((x, y), of_partners, strict=True))
        m, k = len(y_all) - len(partners), len(partners)
        sizes = bracket_norms(model, *state, x_all, y_all, m + np.arange(k), loss, "ignore")[:m].astype(np.float64)
        g = gradient_norms(model, *state, x_all, y_all, loss)
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = np.where(sizes == 0, 0.0, sizes / g[:m, None] / g[m:])
        others = np.arange(len(y))[some, None] != partners
        return np.stack([_rms(sizes, others), _rms(relative, others)], axis=1)

    return BracketScore(*_expected(states, lambda state: _in_batches(partial(scores, state), x, y)).T)


def _rms(a: Array, chosen: Array) -> Array:
    """The root of the mean square of the chosen entries of each row, whose squares neither overflow nor vanish."""
    return np.hypot.reduce(a, axis=1, where=chosen) / np.sqrt(np.sum(chosen, axis=1))


def _expected(states: Sequence[State], score: Callable[[State], Array]) -> Array:
    """The mean of the score over the states.  Raises ValueError if there are none."""
    states = list(states)
    if not states:
        raise ValueError("states: expected at least one (params, buffers), got none")
    if not all(isinstance(state, (tuple, list)) and len(state) == 2 for state in states):
        raise TypeError("states: expected a list of (params, buffers), such as [(params, buffers)]")
    return np.mean([score(state) for state in states], axis=0)


def _length(argument: str, rows: Rows) -> int:
    """The number of rows.  Raises TypeError for what has no length, or no slices."""
    try:
        rows[:0]
        return len(rows)
    except Exception as error:
        raise TypeError(f"{argument}: expected an array of n rows, got {type(rows).__name__}") from error


def _in_batches(score: Callable[[slice], Array], x: Rows, y: Rows, most: int = ROWS) -> Array:
    """The score of all examples, at most `most` at a time.  Raises ValueError for none, or too few targets."""
    if _length("x", x) != _length("y", y) or len(x) == 0:
        raise ValueError(f"y: expected as many targets as examples, at least one, got {len(y)} for {len(x)}")
    rows = max(1, min(ROWS, most))
    return np.concatenate([score(slice(start, start + rows)) for start in range(0, len(x), rows)])
