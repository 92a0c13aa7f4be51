"""Reads a user's own network, weights and inputs from files, and answers them: the references of the command line."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from ..core.networks import PRESETS, Model, preset
from ..core.types import Arrays
from ..fast.arguments import COUNTER, STATISTICS, WRAPPERS, as_array
from ..machine.errors import InputError, shortened
from ..machine.files import first_line, from_json, read_json, read_npz
from .api import reference
from .vectors import Vector, model_of, part

ALL_PAIRS = 1000  # the largest number of inputs of which all pairs are taken where none are given


def read_question(model: str, weights: Path, inputs: Path, loss: str, training: bool) -> Vector:
    """The reference for a model (a preset, JSON or a file of it), an `.npz` of its weights and one of its inputs.

    The weights have the names of a `state_dict` or of a run's checkpoint.  The inputs are `x`, `y` and, optionally,
    `pairs` (all pairs by default) and `x_eval` (x by default).  Raises `InputError`, which names the file.
    """
    network, params, buffers = read_network(model, weights)
    arrays = read_inputs(inputs, optional=("pairs", "x_eval"))
    if (pairs := arrays.get("pairs")) is None:
        count = len(np.atleast_1d(arrays["x"]))
        if np.ndim(arrays["x"]) and not 2 <= count <= ALL_PAIRS:
            raise InputError(f"{inputs}: expected pairs, or 2 to {ALL_PAIRS} x, got {count:,} x and no pairs")
        pairs = np.array(list(combinations(range(count), 2))).reshape(-1, 2)
    with naming_file(weights, inputs):
        return reference(
            network, params, buffers, arrays["x"], arrays["y"], pairs, arrays.get("x_eval"), loss, training
        )


def read_network(model: str, weights: Path) -> tuple[Model, Arrays, Arrays]:
    """Network, parameters and buffers, as for `read_question`."""
    state = _state(read_npz(weights))
    try:
        params, buffers = split(state)
    except (TypeError, ValueError) as error:
        raise InputError(f"{weights}: {first_line(error)}") from error
    return _network(model, params), params, buffers


def read_inputs(path: Path, optional: tuple[str, ...] = ()) -> Arrays:
    """`x`, `y` and the optional arrays that are there; InputError, which names the file, for others."""
    arrays = read_npz(path)
    for key in ("x", "y"):
        if key not in arrays:
            raise InputError(f"{path}: expected an array {key!r}, got {', '.join(arrays) or 'none'}")
    for key in arrays:
        if key not in ("x", "y", *optional):
            expected = ", ".join(("x", "y", *optional)[:-1])
            raise InputError(f"{path}: expected {expected} and {('y', *optional)[-1]}, got {key!r}")
    return arrays


@contextmanager
def naming_file(weights: Path, inputs: Path) -> Iterator[None]:
    """Turn an error about arrays into an InputError, which names their file."""
    try:
        yield
    except (TypeError, ValueError) as error:
        source = weights if str(error).startswith(("params", "buffers")) else inputs
        raise InputError(f"{source}: {first_line(error)}") from error


def split(state_dict: Mapping[str, Any]) -> tuple[Arrays, Arrays]:
    """Parameters and buffers, name → array, of a PyTorch `state_dict` or another mapping of arrays or tensors.

    The buffers are batch-norm's `running_mean` and `running_var`; its `num_batches_tracked` is left out.  The names
    lose `module.` and `_orig_mod.`, which DataParallel and `torch.compile` put in front.  The arrays keep the dtypes
    of the tensors and are copies, so that training the network further does not change them.  Raises TypeError for
    what is not a mapping of arrays, and ValueError if two names become the same.

    >>> params, buffers = split({"module.0.weight": np.ones((2, 3)), "module.1.running_var": np.ones(2)})
    >>> list(params), list(buffers)
    (['0.weight'], ['1.running_var'])
    """
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"state_dict: expected a mapping, as net.state_dict() is, got {type(state_dict).__name__}")
    params: Arrays = {}
    buffers: Arrays = {}
    for key, tensor in state_dict.items():
        argument, name = f"state_dict[{shortened(key)}]", str(key)
        while name.startswith(WRAPPERS):
            name = name.partition(".")[2]
        if name in params or name in buffers:
            raise ValueError(f"{argument}: expected one tensor {name!r}, got two")
        for method in ("detach", "cpu"):
            tensor = getattr(tensor, method)() if hasattr(tensor, method) else tensor
        array = as_array(argument, tensor).copy()
        if array.dtype.kind not in "biuf":
            raise TypeError(f"{argument}: expected an array of numbers, got {type(tensor).__name__}")
        if not name.endswith(COUNTER):
            (buffers if name.endswith(STATISTICS) else params)[name] = array
    return params, buffers


def _state(arrays: Arrays) -> Arrays:
    """Parameters and buffers by their names, without the prefixes of a checkpoint."""
    return (part(arrays, "param") | part(arrays, "buffer")) or arrays


def _network(text: str, params: Arrays) -> Model:
    """The network of `--model`; a preset has as many outputs as the bias of its last layer."""
    if text in PRESETS:
        bias = list(preset(text).parameter_shapes)[-1]
        return preset(text, n_out=np.size(params.get(bias, 0)) or 1)  # a missing or empty bias is refused later
    spec = _json(text)
    try:
        return model_of(spec)
    except ValueError as error:
        raise InputError(f"--model: {first_line(error).removeprefix('model: ')}") from error


def _json(text: str) -> Any:
    if text.lstrip().startswith("{"):
        return from_json(text, f"--model: {shortened(text)}")
    try:
        return read_json(Path(text))
    except InputError as error:
        expected = f"one of {', '.join(PRESETS)}, JSON or a file of it"
        raise InputError(f"--model: expected {expected}, got {shortened(text)} ({error})") from error
