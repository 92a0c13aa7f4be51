"""Reads a user's own network, weights and inputs from files, and answers them: the references of the command line."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from ..core.networks import PRESETS, Model, preset
from ..core.types import Arrays
from ..machine.errors import InputError
from ..machine.files import first_line, read_npz
from .api import reference
from .vectors import Vector, model_of, part


def read_question(model: str, weights: Path, inputs: Path, loss: str, training: bool) -> Vector:
    """The reference for a model (a preset, JSON or a file of it), an `.npz` of its weights and one of its inputs.

    The weights have the names of a `state_dict` or of a run's checkpoint.  The inputs are `x`, `y` and, optionally,
    `pairs` (all pairs by default) and `x_eval` (x by default).  Raises `InputError`, which names the file.
    """
    state, arrays = _state(read_npz(weights)), read_npz(inputs)
    network = _network(model, state)
    params = {name: a for name, a in state.items() if name in network.parameter_shapes}
    buffers = {name: a for name, a in state.items() if name not in params}
    for key in ("x", "y"):
        if key not in arrays:
            raise InputError(f"{inputs}: expected an array {key!r}, got {', '.join(arrays) or 'none'}")
    for key in arrays:
        if key not in ("x", "y", "pairs", "x_eval"):
            raise InputError(f"{inputs}: expected x, y, pairs and x_eval, got {key!r}")
    count = len(np.atleast_1d(arrays["x"]))
    pairs = arrays.get("pairs", np.array(list(combinations(range(count), 2))).reshape(-1, 2))
    try:
        return reference(
            network, params, buffers, arrays["x"], arrays["y"], pairs, arrays.get("x_eval"), loss, training
        )
    except (TypeError, ValueError) as error:
        source = weights if str(error).startswith(("params", "buffers")) else inputs
        raise InputError(f"{source}: {first_line(error)}") from error


def _state(arrays: Arrays) -> Arrays:
    """Parameters and buffers by their names, without the prefixes of a checkpoint."""
    return (part(arrays, "param") | part(arrays, "buffer")) or arrays


def _network(text: str, state: Arrays) -> Model:
    """The network of `--model`; a preset has as many outputs as the bias of its last layer."""
    if text in PRESETS:
        bias = list(preset(text).parameter_shapes)[-1]
        return preset(text, n_out=np.size(state.get(bias, 0)) or 1)  # a missing or empty bias is refused later
    spec = _json(text)
    try:
        return model_of(spec)
    except ValueError as error:
        raise InputError(f"--model: {first_line(error).removeprefix('model: ')}") from error


def _json(text: str) -> Any:
    path = Path(text)
    try:
        return json.loads(text if text.lstrip().startswith("{") else path.read_text(encoding="utf-8"))
    except OSError as error:
        expected = f"one of {', '.join(PRESETS)}, JSON or a file of it"
        raise InputError(f"--model: expected {expected}, got {text[:80]!r} ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"--model: {text[:80]!r} is not JSON ({first_line(error)})") from error
