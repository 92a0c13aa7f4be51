"""Checks the arrays that users pass in.  Errors name the argument, what was expected and what came."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np

from ..core.losses import LossFunction, loss_function
from ..core.networks import Model, check_shapes
from ..core.problem import NO_PAIRS, Problem, Weights
from ..core.types import Array, Arrays, Shapes
from ..machine.errors import nearest, shortened
from ..machine.files import first_line

Pairs = Sequence[tuple[int, int]] | Array
LossLike = str | LossFunction
Errors = Literal["raise", "ignore"]  # what to do if a result is not finite
Result = TypeVar("Result", Array, Arrays)
WRAPPERS = "module.", "_orig_mod."  # what PyTorch's DataParallel and compile put in front of names
STATISTICS = "running_mean", "running_var"  # how the names of buffers end
COUNTER = "num_batches_tracked"  # and those of PyTorch's counters, which nothing here needs
SPLIT = "params, buffers = lie_ref.oracle.split(net.state_dict())"


def checked_model(model: Model) -> Model:
    """The model, which must be a network of this package."""
    if not isinstance(model, Model):
        came = f"got {type(model).__name__}; of a network in PyTorch, {SPLIT} gives the weights"
        raise TypeError(f"model: expected a network of lie_ref.mlp, mxresnet or preset, {came}")
    return model


def checked_weights(model: Model, params: Mapping[str, Array], buffers: Mapping[str, Array]) -> Weights:
    """The network at these parameters and buffers, with the model's names, shapes and order, and one floating dtype.

    The buffers may contain PyTorch's `num_batches_tracked` counters, which are left out.
    """
    model = checked_model(model)
    params = checked_arrays("params", params, model.parameter_shapes)
    buffers = checked_arrays("buffers", buffers, model.buffer_shapes, next(iter(params.values())).dtype)
    for name, array in buffers.items():
        if name.endswith("running_var") and (array < 0).any():
            raise ValueError(f"buffers[{name!r}]: expected variances >= 0, got {array.min():g}")
    return Weights(model, params, buffers)


def checked_problem(
    model: Model,
    params: Mapping[str, Array],
    buffers: Mapping[str, Array],
    x: Array,
    y: Array,
    pairs: Pairs = NO_PAIRS,
    x_eval: Array | None = None,
    loss: LossLike = "bce",
    training: bool = False,
    batches: bool | None = None,
) -> Problem:
    """The problem in the dtype of the parameters.  By default it has no pairs, and x_eval are the inputs in x.

    The number of axes of x tells whether it holds mini-batches (b, m, …), unless `batches` says so.  Raises ValueError
    or TypeError for arrays that do not fit the model or each other.
    """
    weights = checked_weights(model, params, buffers)
    if batches is None:
        batches = np.ndim(x) == (5 if model.pictures else 3)
    if training and not batches:
        raise ValueError(f"training: expected mini-batches x (b, m, …) for it, got x of shape {np.shape(x)}")
    x = checked_inputs("x", weights, x, batches)
    y = checked_targets("y", model.n_out, y, x.shape[: 1 + batches], x.dtype, loss)
    if pairs is not NO_PAIRS:
        pairs = checked_indices("pairs", pairs, len(x), ndim=2)
    if x_eval is None:
        x_eval = x.reshape(-1, *x.shape[2:]) if batches else x
    x_eval = checked_inputs("x_eval", weights, x_eval)
    return Problem(model, weights.params, weights.buffers, x, y, pairs, x_eval, loss, training)


def checked_inputs(argument: str, weights: Weights, x: Array, batches: bool = False) -> Array:
    """Inputs (n, channels, height, width) or (n, features) in the dtype of the parameters; with `batches` (b, m, …)."""
    x = as_array(argument, x)
    weights.model.check_input(argument, x, lead="b, m" if batches else "n")
    return _checked_numbers(argument, x, next(iter(weights.params.values())).dtype)


def checked_directions(argument: str, weights: Weights, directions: Mapping[str, Array]) -> Arrays:
    """Directions name → (k, *shape), with the same k >= 1 for all names, in the dtype of the parameters."""
    first = np.shape(next(iter(directions.values()))) if isinstance(directions, Mapping) and directions else None
    if not first or first[0] == 0:
        came = "nothing" if first is None else f"shape {first} for {next(iter(directions))!r}"
        raise ValueError(f"{argument}: expected a dict name -> (k, *shape) for every parameter, k >= 1, got {came}")
    shapes = {name: (first[0], *p.shape) for name, p in weights.params.items()}
    return checked_arrays(argument, directions, shapes, next(iter(weights.params.values())).dtype)


def checked_indices(argument: str, given: Sequence[Any] | Array, count: int, ndim: int = 1) -> Array:
    """Integers from 0 to count − 1: indices (k,) or, for ndim = 2, pairs (p, 2); at least one."""
    expected = "(p, 2)" if ndim == 2 else "(k,)"
    indices = as_array(argument, given)
    if indices.ndim != ndim or 0 in indices.shape or (ndim == 2 and indices.shape[1] != 2):
        raise ValueError(f"{argument}: expected shape {expected}, none of them 0, got {indices.shape}")
    if not np.issubdtype(indices.dtype, np.integer):
        raise TypeError(f"{argument}: expected integers, got dtype {indices.dtype}")
    if (indices < 0).any() or (indices >= count).any():
        raise ValueError(f"{argument}: expected indices 0 to {count - 1}, got {indices.min()} to {indices.max()}")
    return indices.astype(np.intp)  # a copy; NumPy takes no uint64 for an index


def checked_arrays(argument: str, arrays: Mapping[str, Array], shapes: Shapes, dtype: Any = None) -> Arrays:
    """Arrays with exactly these names and shapes, in the order of the shapes, cast to this dtype and finite there.

    Without a dtype, they must have a common floating dtype of at least 32 bits.
    """
    try:
        check_shapes(argument, arrays, shapes)
    except ValueError as error:
        there = {name: np.shape(a) for name, a in arrays.items()}
        raise ValueError(f"{error}{_remedy(argument, there, shapes)}") from error
    given = {name: as_array(f"{argument}[{name!r}]", a) for name, a in arrays.items() if name in shapes}
    found = {name: given[name] for name in shapes}
    if dtype is None:
        dtypes = {a.dtype for a in found.values()}
        dtype = next(iter(dtypes))
        if len(dtypes) != 1 or not np.issubdtype(dtype, np.floating) or np.finfo(dtype).bits < 32:
            came = ", ".join(sorted(map(str, dtypes)))
            raise TypeError(f"{argument}: expected one floating dtype of at least 32 bits, got {came}")
    return {name: _checked_numbers(f"{argument}[{name!r}]", a, dtype) for name, a in found.items()}


def checked_targets(argument: str, outputs: int, y: Array, lead: tuple[int, ...], dtype: Any, loss: LossLike) -> Array:
    """Targets, in this dtype, that fit the loss and inputs with these leading axes; integers for a loss of labels."""
    of = loss_function(loss)
    y = as_array(argument, y)
    shape = lead if of.labels else (*lead, outputs)
    if y.shape != shape:
        raise ValueError(f"{argument}: expected shape {shape} for loss {of.name!r}, got {y.shape}")
    if of.labels:
        if not np.issubdtype(y.dtype, np.integer):
            raise TypeError(f"{argument}: expected integer labels for loss {of.name!r}, got dtype {y.dtype}")
        if (y < 0).any() or (y >= outputs).any():
            raise ValueError(f"{argument}: expected labels 0 to {outputs - 1}, got {y.min()} to {y.max()}")
        return y.astype(np.int64)  # narrow ones would wrap around
    if y.dtype == bool or np.issubdtype(y.dtype, np.integer):
        y = y.astype(dtype)
    y = _checked_numbers(argument, y, dtype)
    if of.binary and ((y < 0).any() or (y > 1).any()):
        raise ValueError(f"{argument}: expected targets in [0, 1] for loss {of.name!r}, got {y.min():g} to {y.max():g}")
    return y


def checked_result(result: Result, errors: Errors) -> Result:
    """The result of finite arrays.  Raises ValueError if a number in it is not finite, unless `errors` is "ignore"."""
    if errors not in ("raise", "ignore"):
        raise ValueError(f"errors: expected raise or ignore, got {shortened(errors)}")
    for name, array in (result if isinstance(result, Mapping) else {"": result}).items():
        if errors == "raise" and not np.isfinite(array).all():
            place = f" in {name!r}" if name else ""
            raise ValueError(f"result: expected finite numbers, got nan or inf{place}; errors='ignore' returns them")
    return result


def as_array(argument: str, given: Any) -> Array:
    """The array of an array-like, or a TypeError that says how to make one of a tensor that NumPy cannot read."""
    steps = (
        (".detach()", getattr(given, "requires_grad", False)),
        (".cpu()", getattr(getattr(given, "device", None), "type", "cpu") != "cpu"),
        (".float()", "bfloat16" in str(getattr(given, "dtype", ""))),
    )
    if isinstance(given, np.ma.MaskedArray):  # NumPy would take the masked numbers as well
        raise TypeError(f"{argument}: expected an array without a mask, got a masked one; its filled() makes one")
    if needed := "".join(step for step, needs in steps if needs):
        raise TypeError(f"{argument}: NumPy cannot read this tensor, pass tensor{needed}")
    try:
        return np.asarray(given)
    except Exception as error:  # array-likes of other libraries raise anything
        raise TypeError(f"{argument}: is not an array ({first_line(error)})") from error


def _remedy(argument: str, there: Shapes, shapes: Shapes) -> str:
    """What to do about names that are not the model's: the end of an error."""
    unknown = [str(name) for name in there if name not in shapes and not str(name).endswith(COUNTER)]
    if not unknown:
        return ""
    remedy = f"; they are {', '.join([*shapes][:4])}{', …' * (len(shapes) > 4)}, {nearest(unknown[0], shapes)}"
    if argument == "buffers" or any(name.startswith(WRAPPERS) or name.endswith(STATISTICS) for name in unknown):
        return f"{remedy if shapes else ''}; {SPLIT} has the right ones"
    if [*there.values()] == [*shapes.values()]:
        remedy += f"; dict(zip(model.parameter_shapes, {argument}.values())) renames them, if this is their order"
    return remedy


def _checked_numbers(argument: str, array: Array, dtype: Any) -> Array:
    """The floating array cast to this dtype, in which all numbers must be finite."""
    if not np.issubdtype(array.dtype, np.floating):
        scale = "; scale pictures as in training, such as x / 127.5 - 1" if array.dtype == np.uint8 else ""
        raise TypeError(f"{argument}: expected a floating-point array, got dtype {array.dtype}{scale}")
    with np.errstate(over="ignore"):  # overflow is reported below
        array = array.astype(dtype, copy=False)
    if not np.isfinite(array).all():
        raise ValueError(f"{argument}: expected finite numbers in {np.dtype(dtype)}, got nan or inf")
    return array
