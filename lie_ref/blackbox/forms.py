"""Parameters in any form, nested dicts, lists and tuples of arrays of any framework, as named NumPy arrays and back.

What an array can do tells how to read it, and no framework is imported.  The name of a tensor is the path of keys and
numbers that lead to it, joined by dots, so that a `state_dict` keeps its names; an array that stands alone is "theta".
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, MutableMapping
from typing import Any

import numpy as np

from ..core.types import Array, Arrays, Shapes
from ..machine.errors import InputError, nearest, shortened

ALONE = "theta"


def inside(form: Any) -> list[tuple[Any, Any]] | None:
    """The keys and values of a container, or None for an array."""
    if isinstance(form, Mapping):
        return list(form.items())
    if isinstance(form, list | tuple):
        return list(zip(getattr(form, "_fields", range(len(form))), form, strict=True))  # of a named tuple
    return None


def named(form: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The tensors of a form with their names.

    >>> list(named({"a": [1.0, 2.0], "b": 3.0}))
    [('a.0', 1.0), ('a.1', 2.0), ('b', 3.0)]
    """
    items = inside(form)
    if items is None:
        yield name or ALONE, form
    for key, value in items or ():
        yield from named(value, f"{name}.{key}" if name else str(key))


def read(argument: str, form: Any) -> Arrays:
    """Copies of a form's floating arrays by their names.  Raises InputError for a form with anything else in it.

    >>> read("theta", {"w": [np.ones(2), np.zeros(1)]})
    {'w.0': array([1., 1.]), 'w.1': array([0.])}
    """
    found: Arrays = {}
    for name, leaf in named(form):
        where = f"{argument}: {name!r}" if name != ALONE else argument
        if leaf is None:  # an empty place in JAX's trees
            continue
        if name in found:
            raise InputError(f"{where}: expected one tensor of this name, got two")
        if "bfloat16" in str(getattr(leaf, "dtype", "")):  # moving θ by less than it can hold would not show
            raise InputError(f"{where}: expected float32 or float64, got {leaf.dtype}")
        found[name] = numbers(where, leaf).copy()
        if not np.isfinite(found[name]).all():
            raise InputError(f"{where}: expected finite numbers, got nan or inf")
    if not sum(a.size for a in found.values()):
        raise InputError(f"{argument}: expected arrays of numbers, got none")
    return found


def read_like(
    argument: str, form: Any, shapes: Shapes, wanted: Collection[str] | None = None, like: str = "theta"
) -> Arrays:
    """The arrays of a form that has these names and shapes; a flat list or tuple of them may come without names.

    None, which PyTorch gives for a parameter that is not used, is zeros.  Tensors that are not `wanted` may be missing.
    Raises InputError for other forms.
    """
    found = dict(named(form))
    if isinstance(form, list | tuple) and found.keys() != shapes.keys() and len(form) == len(found) == len(shapes):
        found = dict(zip(shapes, form, strict=True))
    if not any(found.get(name) is not None for name in shapes):
        names = ", ".join(list(shapes)[:3]) + ", …" * (len(shapes) > 3)
        expected = (
            f"an array of shape {shapes[ALONE]}" if list(shapes) == [ALONE] else f"the form of {like}, with {names}"
        )
        raise InputError(f"{argument}: expected {expected}, got {_described(form)}")
    for name, leaf in found.items():
        if inner := [outer for outer in shapes if name.startswith(f"{outer}.")]:
            came = "a list or dict of arrays"
            raise InputError(f"{argument}: {inner[0]!r}: expected an array of shape {shapes[inner[0]]}, got {came}")
        if name not in shapes and leaf is not None:
            raise InputError(f"{argument}: expected the form of {like}, got {name!r}; {nearest(name, shapes)}")
    arrays: Arrays = {}
    for name, shape in shapes.items():
        if wanted is not None and name not in wanted:
            continue
        where = f"{argument}: {name!r}" if name != ALONE else argument
        if name not in found:
            raise InputError(f"{where} is missing, though {like} has it")
        if found[name] is None:
            arrays[name] = np.zeros(shape)
            continue
        arrays[name] = numbers(where, found[name])
        if arrays[name].shape != shape:
            raise InputError(f"{where}: expected shape {shape}, got {arrays[name].shape}")
    return arrays


def numbers(where: str, leaf: Any) -> Array:
    """An array or tensor of floating numbers as a NumPy array, which may share its memory."""
    if hasattr(leaf, "named_parameters") or isinstance(leaf, Iterator):
        hint = "dict(net.named_parameters()) has those of a network net"
        raise InputError(f"{where}: expected arrays, got {type(leaf).__name__}; {hint}")
    if isinstance(leaf, np.ma.MaskedArray):  # NumPy would take the masked numbers as well
        raise InputError(f"{where}: expected an array without a mask, got a masked one; its filled() makes one")
    came = f"{type(leaf).__name__} of {getattr(leaf, 'dtype', 'no dtype')}"
    try:
        if hasattr(leaf, "detach"):  # PyTorch
            leaf = leaf.detach().cpu()
            leaf = leaf if "strided" in str(leaf.layout) else leaf.to_dense()
            leaf = leaf.float() if "bfloat16" in str(leaf.dtype) else leaf  # NumPy has none
            leaf = leaf.numpy()
        a = np.asarray(leaf)
    except Exception as error:  # whatever another library raises
        raise InputError(f"{where}: expected an array of floating-point numbers, got {came}") from error
    if a.dtype.kind != "f":
        if "bfloat16" in str(a.dtype):  # JAX
            return a.astype(np.float32)
        came = f"dtype {a.dtype}" if a.dtype.kind in "biuc" else f"{type(leaf).__name__} {shortened(leaf)}"
        if "num_batches_tracked" in where:
            came += "; a state_dict holds buffers, too, and dict(net.named_parameters()) does not"
        raise InputError(f"{where}: expected an array of floating-point numbers, got {came}")
    return a if a.dtype.isnative else a.astype(a.dtype.newbyteorder("="))


def alike(leaf: Any, a: Array) -> Any:
    """The numbers of an array as an array or tensor like this one: of its framework, dtype and device."""
    if hasattr(leaf, "new_tensor"):  # PyTorch
        return leaf.detach().new_tensor(a).requires_grad_(leaf.requires_grad)
    if hasattr(leaf, "at"):  # JAX
        return leaf.at[...].set(a)
    return np.array(a, dtype=np.asarray(leaf).dtype)


def rebuilt(form: Any, arrays: Mapping[str, Array], name: str = "") -> Any:
    """The same containers with these arrays, which were named by `read`."""
    items = inside(form)
    parts = {k: rebuilt(v, arrays, f"{name}.{k}" if name else str(k)) for k, v in items or ()}
    if isinstance(form, MutableMapping):
        made = copy.copy(form)  # keeps the default of a defaultdict and the order of an OrderedDict
        made.update(parts)
        return made
    if isinstance(form, Mapping):
        try:
            return type(form)(parts)  # type: ignore[call-arg]
        except Exception:  # such as an open .npz file, which is not made from a dict
            return parts
    if items is not None:
        return type(form)(*parts.values()) if hasattr(form, "_fields") else type(form)(parts.values())
    return None if form is None else alike(form, arrays[name or ALONE])


def restore(form: Any, arrays: Arrays) -> None:
    """Write these arrays, which were read from the form, back into it where it has changed."""
    for name, leaf in named(form):
        if leaf is None or np.array_equal(numbers(name, leaf), arrays[name]):
            continue
        if hasattr(leaf, "new_tensor"):  # PyTorch
            leaf.detach().copy_(leaf.detach().new_tensor(arrays[name]))
        elif isinstance(leaf, np.ndarray):
            leaf[...] = arrays[name]


def _described(form: Any) -> str:
    items = inside(form)
    if items and all(leaf is None for _, leaf in named(form)):
        return "None in each place"
    return type(form).__name__ if items is None else f"{type(form).__name__} of {len(items)}"
