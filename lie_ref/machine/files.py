"""Reads and writes the files of runs: never unpickling, and never leaving half a file where a whole one was."""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from .errors import InputError
from .process import interrupt_held


def data_file(name: str) -> Path:
    """A file of the top-level `data/` folder of a checkout, which an installed wheel holds as `lie_ref/data/`."""
    package = Path(__file__).parent.parent
    installed = package / "data" / name
    return installed if installed.exists() else package.parent / "data" / name


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an `.npz` file, never unpickling anything; `InputError` naming the file where that fails."""
    try:
        with zipfile.ZipFile(path) as archive:
            # each member whole, so that its check sum is verified before any of it is interpreted
            files = {name.removesuffix(".npy"): io.BytesIO(archive.read(name)) for name in archive.namelist()}
            return {name: np.lib.format.read_array(file, allow_pickle=False) for name, file in files.items()}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except Exception as error:  # a damaged archive makes zipfile, its decompressors and NumPy raise almost anything
        raise InputError(f"{path}: damaged or not an .npz archive of plain arrays ({first_line(error)})") from error


def first_line(error: Exception) -> str:
    """What an error says, in one line of bearable length, or its name if it says nothing.

    >>> first_line(MemoryError())
    'MemoryError'
    """
    line = str(error).partition("\n")[0] or type(error).__name__
    return line if len(line) <= 300 else line[:299] + "…"


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the arrays to an `.npz` file that appears only when it is whole."""
    with interrupt_held():  # zipfile would answer Ctrl-C with errors of its own
        _replace(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to a file that appears only when it is whole."""
    _replace(path, lambda file: file.write(text.encode()))


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON text of nested dicts, lists and plain values, in which a number that is not finite is null.

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
        with suppress(OSError):  # gone already, unless writing failed or was interrupted
            part.unlink()
