"""Reads and writes files: never unpickling anything, and never leaving half a file in place of a whole one."""

import io
import json
import math
import os
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from .errors import InputError
from .process import interrupt_held

PICKLED = (".pt", ".pth", ".ckpt")
NO_PICKLES = (
    "a file of torch.save is a pickle, which is never loaded; convert it by "
    "np.savez('FILE.npz', **{name: t.detach().cpu().numpy() for name, t in torch.load('FILE.pt').items()})"
)


def data_file(name: str) -> Path:
    """A file of the `data/` folder at the top of a checkout; an installed wheel has it as `lie_ref/data/`."""
    package = Path(__file__).parent.parent
    installed = package / "data" / name
    return installed if installed.exists() else package.parent / "data" / name


def read_npz(
    path: Path, sizes: Mapping[str, int] | None = None, check_keys: Callable[[list[str]], None] = lambda keys: None
) -> dict[str, np.ndarray]:
    """All arrays of an `.npz` file, without unpickling anything; InputError, which names the file, if that fails.

    For a file that anyone may have made, `check_keys` raises an error for wrong keys before any array is read, and
    `sizes` gives for each key the largest number of bytes that may be read, header included.
    """
    arrays, place = {}, ""
    try:
        if not path.is_file():  # a pipe or a device has no end
            raise InputError(f"{path}: no such file")
        if path.suffix in PICKLED:
            raise InputError(f"{path}: {NO_PICKLES}")
        with zipfile.ZipFile(path) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy and Python warn of odd headers
            keys = [member.filename.removesuffix(".npy") for member in archive.infolist()]
            if any(key.endswith("/data.pkl") for key in keys):
                raise InputError(f"{path}: {NO_PICKLES}")
            for key, count in Counter(keys).items():
                if count > 1:
                    raise InputError(f"{path}: {key!r} is there twice")
            check_keys(keys)
            for key, member in zip(keys, archive.infolist(), strict=True):
                place = f"{key!r}: "
                size = member.file_size if sizes is None else sizes[key]
                if member.file_size > size:
                    raise InputError(f"{path}: {place}expected at most {size:,} bytes, got {member.file_size:,}")
                arrays[key] = _read_member(archive, member, size)
    except InputError:
        raise
    except Exception as error:  # a damaged archive makes zipfile, its decompressors and NumPy raise almost anything
        reason = f"{place}{first_line(error)}"
        raise InputError(f"{path}: damaged or not an .npz archive of plain arrays ({reason})") from error
    return arrays


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, size: int) -> np.ndarray:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("compressed in a way that np.savez does not use")
    with archive.open(member) as file:  # the archive may lie about the size; the check sum is verified at the end
        data = io.BytesIO(file.read(size))
    version = np.lib.format.read_magic(data)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f".npy version {version[0]}.{version[1]}")
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(data)
    promised, there = math.prod(shape) * dtype.itemsize, data.getbuffer().nbytes - data.tell()
    if promised != there and not dtype.hasobject:  # NumPy would allocate what the header promises
        raise ValueError(f"the header promises {promised:,} bytes, got {there:,}")
    data.seek(0)
    return np.lib.format.read_array(data, allow_pickle=False)


def first_line(error: Exception) -> str:
    """The first line of an error's message, cut to 300 characters, or the type of an error without one.

    >>> first_line(MemoryError())
    'MemoryError'
    """
    line = str(error).partition("\n")[0] or type(error).__name__
    return line if len(line) <= 300 else line[:299] + "…"


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the arrays to an `.npz` file, which appears only when it is whole."""
    with interrupt_held():  # zipfile would raise errors of its own on Ctrl-C
        _replace(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to a file, which appears only when it is whole."""
    _replace(path, lambda file: file.write(text.encode()))


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON text of nested dicts, lists and plain values; numbers that are not finite become null.

    >>> to_json({"loss": [0.5, float("nan")]})
    '{"loss": [0.5, null]}'
    """
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _replace(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    part = Path(f"{path}.part")
    try:
        with part.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):  # it is gone, unless writing failed or was interrupted
            part.unlink()
