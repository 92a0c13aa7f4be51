"""Reads and writes files: never unpickling anything, and never leaving half a file in place of a whole one."""

import io
import json
import math
import os
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import IO, Any

import numpy as np

from .errors import InputError, shortened
from .process import interrupt_held

BUDGET = 2**28  # most bytes that arrays larger than their file may take
HEADER = 4096  # the largest number of bytes that the header of one array may take
JSON_LENGTH, JSON_DEPTH = 2**24, 100  # characters of JSON text, lists and objects within each other

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
    path: Path, limit: int | None = None, check_keys: Callable[[list[str]], None] = lambda keys: None
) -> dict[str, np.ndarray]:
    """All arrays of an `.npz` file, without unpickling anything; InputError, which names the file, if that fails.

    `check_keys` raises an error for wrong keys before any array is read.  `limit` is the largest number of bytes that
    the arrays may take, headers included.  By default they may take `BUDGET`, or as much as the file itself, which
    suffices for all that `np.savez` writes; only what is compressed can be more.
    """
    arrays, place = {}, ""
    try:
        check_file(path)
        if path.suffix in PICKLED:
            raise InputError(f"{path}: {NO_PICKLES}")
        with zipfile.ZipFile(path) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy and Python warn of odd headers
            keys = [member.filename.removesuffix(".npy") for member in archive.infolist()]
            if any(key.endswith("/data.pkl") for key in keys):
                raise InputError(f"{path}: {NO_PICKLES}")
            for key, count in Counter(keys).items():
                if count > 1:
                    raise InputError(f"{path}: {shortened(key)} is there twice")
            check_keys(keys)
            most = max(BUDGET, path.stat().st_size) if limit is None else limit
            if (total := sum(member.file_size for member in archive.infolist())) > most:
                raise InputError(f"{path}: expected arrays of at most {most:,} bytes, got {total:,}")
            for key, member in zip(keys, archive.infolist(), strict=True):
                place = f"{shortened(key)}: "
                arrays[key] = _read_member(archive, member)
    except InputError:
        raise
    except Exception as error:  # a damaged archive makes zipfile, its decompressors and NumPy raise almost anything
        reason = f"{place}{first_line(error)}"
        raise InputError(f"{path}: damaged or not an .npz archive of plain arrays ({reason})") from error
    return arrays


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("compressed in a way that np.savez does not use")
    with archive.open(member) as file:  # which yields no more than the archive's directory says
        data = io.BytesIO(file.read(member.file_size))
    version = np.lib.format.read_magic(data)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f".npy version {version[0]}.{version[1]}")
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(data)
    if not dtype.itemsize:  # NumPy would allocate a character for each empty text
        raise ValueError(f"items of no bytes, dtype {dtype}")
    promised, there = math.prod(shape) * dtype.itemsize, data.getbuffer().nbytes - data.tell()
    if promised != there and not dtype.hasobject:  # NumPy would allocate what the header promises
        raise ValueError(f"the header promises {promised:,} bytes, got {there:,}")
    data.seek(0)
    return np.lib.format.read_array(data, allow_pickle=False)


def check_file(path: Path) -> None:
    """Raise InputError unless this is a regular file or a link to one: a pipe or a device may have no end."""
    try:
        problem = "" if path.is_file() else "not a regular file" if path.exists() else "no such file"
    except OSError as error:  # a folder that may not be searched, a name that is too long
        problem = f"cannot be read ({error.strerror})"
    if problem:
        raise InputError(f"{path}: {problem}")


def read_text(path: Path) -> str:
    """The UTF-8 text of a file; InputError, which names it, if it cannot be read."""
    check_file(path)
    try:
        if (size := path.stat().st_size) > BUDGET:
            raise ValueError(f"expected at most {BUDGET:,} bytes, got {size:,}")
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def read_json(path: Path) -> Any:
    """The value in a JSON file; InputError, which names it, if it cannot be read or is not what `from_json` accepts."""
    return from_json(read_text(path), path)


def from_json(text: str, source: Path | str) -> Any:
    """The value of JSON text.  Raises InputError, which names the source, for what a program may choke on later.

    That is text that is too long or nested too deeply, numbers that are not finite or need more than 64 bits, and half
    a surrogate pair, which cannot be encoded.

    >>> from_json('{"sizes": [2, 3, 1]}', "--model")
    {'sizes': [2, 3, 1]}
    """
    try:
        if len(text) > JSON_LENGTH:
            raise ValueError(f"expected at most {JSON_LENGTH:,} characters, got {len(text):,}")
        value = json.loads(text)
        _check_json(value, 1)
    except RecursionError as error:
        raise InputError(f"{source}: cannot be read as JSON (more than {JSON_DEPTH} deep)") from error
    except ValueError as error:
        raise InputError(f"{source}: cannot be read as JSON ({first_line(error)})") from error
    return value


def _check_json(value: Any, depth: int) -> None:
    if depth > JSON_DEPTH:
        raise RecursionError
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, (dict, list)):
        for item in (*value, *value.values()) if isinstance(value, dict) else value:
            _check_json(item, depth + 1)
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"an integer beyond 64 bits, {shortened(value)}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"a number that is not finite, {value}")


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
        write_file(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to a file, which appears only when it is whole."""
    write_file(path, lambda file: file.write(text.encode()))


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


def make_folders(*folders: Path) -> None:
    """Make the folders that do not exist yet.  Raises InputError if that fails."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: cannot be made a folder ({error.strerror})") from error


@contextmanager
def new_folder(folder: Path) -> Iterator[None]:
    """Make a folder for the block to fill.  If the block fails, new folders that are still empty are removed."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    make_folders(folder)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # not empty
            for path in made:
                path.rmdir()
        raise


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Turn an error of the system in a block that writes a file into an InputError, which names the file."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


def write_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a file that appears at `path` only when it is whole; InputError, which names it, if it fails."""
    with written(path):
        check_new_file(path)
        target = Path(os.path.realpath(path))  # a link stays a link
        part = target.with_name(f"{target.name}.{token_hex(4)}.part")  # process ids are not unique across containers
        try:
            with part.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        finally:
            with suppress(OSError):  # it is gone, unless writing failed or was interrupted
                part.unlink()


def check_new_file(path: Path) -> None:
    """Raise InputError if this is a device, which a file would replace, or the file that standard output goes to."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: cannot be written (not a regular file)")
    with suppress(OSError):  # no such file, or standard output is closed
        if os.path.samestat(path.stat(), os.fstat(1)):  # what is printed would go to a file without a name
            raise InputError(f"{path}: cannot be written (standard output goes there)")
