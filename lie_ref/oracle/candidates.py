"""Reads the answers of other implementations: arrays that anyone may have made, and that are not trusted.

A candidate is refused, with one line that names the array, unless its keys, shapes and dtypes are those of the vector.
No more of a file is read than answers to the vector can take, nothing is unpickled, and no name is used as a path.
"""

from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any

from ..core.types import Arrays, Shapes
from ..fast.arguments import as_array
from ..machine.errors import InputError, nearest, shortened
from ..machine.files import HEADER, check_file, read_npz
from .layer_outputs import layers
from .vectors import Vector, output_shapes

LAYER = "layer/"  # the keys of outputs of layers start with this
WIDEST = 16  # the largest number of bytes that one number may take


def checked_candidate(vector: Vector, candidate: Mapping[str, Any], source: str = "candidate") -> Arrays:
    """The arrays of a candidate, in native byte order.  Raises InputError for anything that is not an answer.

    A candidate may lack quantities, but of a quantity that it has it may not lack tensors.  It may also have outputs of
    layers, `layer/NAME`, of any shape.
    """
    shapes = answer_shapes(vector)
    if not isinstance(candidate, Mapping):
        raise InputError(f"{source}: expected a dict or an .npz file of arrays, got {type(candidate).__name__}")
    _check_keys(source, candidate, shapes)
    arrays = {}
    for key in candidate:
        try:
            a = as_array(f"{source}: {key!r}", candidate[key])
        except TypeError as error:
            raise InputError(str(error)) from error
        if a.dtype.kind != "f" or a.dtype.itemsize < 4:
            raise InputError(f"{source}: {key!r}: expected float32 or float64, got {shortened(str(a.dtype))}")
        if a.shape != shapes[key] and not key.startswith(LAYER):
            whose = "; they are of x, not of x_eval" if key == "logits" else ""
            raise InputError(f"{source}: {key!r}: expected shape {shapes[key]}, got {a.shape}{whose}")
        arrays[key] = a.astype(a.dtype.newbyteorder("="))
    return arrays


def read_candidate(vector: Vector, path: Path) -> Arrays:
    """The arrays of a candidate in an `.npz` file, which is read only as far as an answer can be large."""
    shapes = answer_shapes(vector)
    most = sum(HEADER + WIDEST * prod(shape) * (16 if key.startswith(LAYER) else 1) for key, shape in shapes.items())
    check_file(path)
    if (size := path.stat().st_size) > 2 * most:  # the archive's directory counts as well
        raise InputError(f"{path}: larger than any answer to {vector.name!r} can be ({size:,} bytes)")
    arrays = read_npz(path, most, lambda keys: _check_keys(str(path), keys, shapes))
    return checked_candidate(vector, arrays, str(path))


def answer_shapes(vector: Vector) -> Shapes:
    """The keys that a candidate may have and their shapes; a layer with a wrong stride may be 16 times as large."""
    return output_shapes(vector) | {f"{LAYER}{name}": a.shape for name, a in layers(vector).items()}


def _check_keys(source: str, keys: Iterable[Any], shapes: Shapes) -> None:
    there = list(keys)
    if all(str(key).startswith(LAYER) for key in there):
        raise InputError(f"{source}: holds no arrays" + " but outputs of layers" * bool(there))
    for key in there:
        if key not in shapes:
            quantities = ", ".join(dict.fromkeys(k.partition("/")[0] + "/NAME" * ("/" in k) for k in shapes))
            expected = f"expected some of {quantities}; {nearest(key, shapes)}"
            raise InputError(f"{source}: {shortened(key)} is not asked for, {expected}")
    quantities_there = {key.partition("/")[0] for key in there}
    for key in shapes:
        quantity = key.partition("/")[0]
        if quantity in quantities_there and key not in there and not key.startswith(LAYER):
            raise InputError(f"{source}: {key!r} is missing, though other tensors of {quantity} are there")
