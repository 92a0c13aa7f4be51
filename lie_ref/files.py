"""Reads and writes the files of runs: never unpickling, and never leaving half a file where a whole one was."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np

from .errors import InputError


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an `.npz` file, never unpickling anything; `InputError` naming the file where that fails."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (AttributeError, TypeError):  # np.load gives a bare array for an .npy file, which is no context manager
        raise InputError(f"{path}: expected an .npz archive, found a single array") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, struct.error, pickle.PickleError) as error:
        raise InputError(f"{path}: damaged or not an .npz archive of plain arrays ({error})") from error


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the arrays to an `.npz` file that appears only when it is whole."""
    _replace(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to a file that appears only when it is whole."""
    _replace(path, lambda file: file.write(text.encode()))


def _replace(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    part = path.with_name(path.name + ".part")
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
