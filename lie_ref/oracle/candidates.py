"""Reads what other implementations answer: arrays that anyone may have made, and so trusted in nothing.

A candidate is refused, with one line that names the array, if it has keys, shapes or dtypes that are not the vector's.
Of a file no more is read than the vector's answers could take, nothing is unpickled, and no name is used as a path.
"""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..core.types import Array, Arrays
from ..machine.errors import InputError
from ..machine.files import first_line
from .vectors import Vector, output_shapes

HEADER = 4096  # bytes that the header of one array may take
WIDEST = 16  # bytes of one number


def checked_candidate(vector: Vector, candidate: Mapping[str, Any], source: str = "candidate") -> Arrays:
    """The candidate's arrays, in native byte order; `InputError` unless each is one that the vector asks for.

    Quantities may be left out, but not some tensors of one that is there.
    """
    shapes = output_shapes(vector)
    if not isinstance(candidate, Mapping):
        raise InputError(f"{source}: expected a dict or an .npz file of arrays, got {type(candidate).__name__}")
    _check_keys(source, list(candidate), shapes)
    arrays = {}
    for key in candidate:
        place = f"{source}: {key!r}"
        try:
            a = np.asarray(candidate[key])
        except Exception as error:  # whatever the mapping and the array-like are made of
            raise InputError(f"{place}: is no array ({first_line(error)})") from error
        _check_array(place, a.shape, a.dtype, shapes[key])
        arrays[key] = a.astype(a.dtype.newbyteorder("="))
    return arrays


def read_candidate(vector: Vector, path: Path) -> Arrays:
    """The same of an `.npz` file, every array's header checked before its data is read."""
    shapes = output_shapes(vector)
    sizes = {key: int(np.prod(shape)) * WIDEST + HEADER for key, shape in shapes.items()}
    arrays: Arrays = {}
    place = str(path)  # of what is being read, for the message
    try:
        if not path.is_file():  # nor a pipe or a device, which has no end
            raise InputError(f"{path}: no such file")
        size = path.stat().st_size
        if size > sum(sizes.values()) * 2:
            raise InputError(f"{path}: larger than any answer to {vector.name!r} can be ({size:,} bytes)")
        with zipfile.ZipFile(path) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy's and Python's, of what stands in headers
            keys = [member.filename.removesuffix(".npy") for member in archive.infolist()]
            _check_keys(str(path), keys, shapes)
            for key, member in zip(keys, archive.infolist(), strict=True):
                place = f"{path}: {key!r}"
                arrays[key] = _read(place, archive, member, shapes[key], sizes[key])
    except InputError:
        raise
    except Exception as error:  # a damaged archive makes zipfile, its decompressors and NumPy raise almost anything
        raise InputError(f"{place}: cannot be read as what np.savez writes ({first_line(error)})") from error
    return arrays


def _read(place: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo, shape: tuple[int, ...], most: int) -> Array:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"{place}: is compressed in a way that np.savez does not use")
    if member.file_size > most:
        raise InputError(f"{place}: expected shape {shape}, got {member.file_size:,} bytes, which are too many")
    with archive.open(member) as file:
        data = io.BytesIO(file.read(most))  # unpacks no more than that, even where the archive gives a false size
    version = np.lib.format.read_magic(data)
    if version not in ((1, 0), (2, 0)):
        raise InputError(f"{place}: expected numbers, got .npy version {version[0]}.{version[1]}")
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    found, _, dtype = header(data)
    _check_array(place, found, dtype, shape)
    data.seek(0)
    array = np.lib.format.read_array(data, allow_pickle=False)
    if data.read(1):
        raise InputError(f"{place}: expected shape {shape}, got more numbers than that")
    return array.astype(dtype.newbyteorder("="))


def _check_keys(source: str, keys: list[Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    if not keys:
        raise InputError(f"{source}: holds no arrays")
    there: set[str] = set()
    for key in keys:
        if key not in shapes:
            quantities = ", ".join(dict.fromkeys(k.partition("/")[0] + "/NAME" * ("/" in k) for k in shapes))
            raise InputError(f"{source}: {_shortened(key)} is not asked for, expected some of {quantities}")
        if key in there:
            raise InputError(f"{source}: {key!r} is there twice")
        there.add(key)
    quantities_there = {key.partition("/")[0] for key in there}
    for key in shapes:
        if key.partition("/")[0] in quantities_there and key not in there:
            raise InputError(f"{source}: {key!r} is missing, though other tensors of {key.partition('/')[0]} are there")


def _check_array(place: str, shape: tuple[int, ...], dtype: Any, expected: tuple[int, ...]) -> None:
    if dtype.kind != "f" or dtype.itemsize < 4:
        raise InputError(f"{place}: expected float32 or float64, got {_shortened(str(dtype))}")
    if shape != expected:
        raise InputError(f"{place}: expected shape {expected}, got {shape}")


def _shortened(text: Any) -> str:
    return repr(text) if len(repr(text)) <= 80 else repr(text)[:77] + "…"
