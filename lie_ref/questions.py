"""Reads a user's own network, weights and inputs from files, and answers them: the references of the command line."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from .dual import Array
from .errors import InputError
from .files import first_line, read_npz
from .models import PRESETS, Arrays, Model, preset
from .oracle import reference
from .vectors import Vector, model_of, part


def read_question(model: str, weights: Path, inputs: Path, loss: str, training: bool) -> Vector:
    """The reference for a model (a preset, JSON or a file of it), an `.npz` of its weights and one of its inputs.

    The weights have the names of a `state_dict`, or those of a run's checkpoint; the inputs are `x`, `y`, and unless
    they are all pairs and x itself `pairs` and `x_eval`.  Raises `InputError` naming the file for what does not fit.
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
    pairs = arrays.get("pairs", np.array(list(combinations(range(len(arrays["x"])), 2))).reshape(-1, 2))
    try:
        return reference(
            network, params, buffers, arrays["x"], arrays["y"], pairs, arrays.get("x_eval"), loss, training
        )
    except (TypeError, ValueError) as error:
        source = weights if str(error).startswith(("params", "buffers")) else inputs
        raise InputError(f"{source}: {first_line(error)}") from error


def _state(arrays: Arrays) -> Arrays:
    """Parameters and buffers by their names alone, whether or not they say which they are."""
    return (part(arrays, "param") | part(arrays, "buffer")) or arrays


def _network(text: str, state: Arrays) -> Model:
    """The network of `--model`; a preset has as many outputs as the weights' last bias."""
    if text in PRESETS:
        biases: list[Array] = [a for name, a in state.items() if name.endswith(".bias") and a.ndim == 1]
        return preset(text, n_out=len(biases[-1]) if biases else 40)
    try:
        return model_of(_json(text))
    except ValueError as error:
        raise InputError(f"--model: {first_line(error).removeprefix('model: ')}") from error


def _json(text: str) -> Any:
    path = Path(text)
    try:
        return json.loads(text if text.lstrip().startswith("{") else path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"--model: expected one of {', '.join(PRESETS)}, JSON or a file of it, got {text!r}") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"--model: {text[:80]!r} is not JSON ({first_line(error)})") from error
