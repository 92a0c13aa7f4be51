"""The folder of a run: its files, its `config.json`, and whether the run can be continued."""

import json
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import Any

from ..machine.errors import InputError
from ..machine.files import from_json, new_folder, read_json, write_text
from ..machine.lock import locked


def with_versions(config: dict[str, Any]) -> dict[str, Any]:
    """The contents of `config.json`: the settings, and the versions of Python and of the packages that compute."""
    versions = {package: version(package) for package in ("lie-ref", "numpy", "autograd", "pillow")}
    found: dict[str, Any] = from_json(
        json.dumps({**config, "versions": {"python": platform.python_version(), **versions}}), "settings"
    )
    return found


@contextmanager
def held_folder(folder: Path) -> Iterator[None]:
    """Make the folder of a run and keep other processes out of it.  An error leaves no folder that is still empty."""
    with new_folder(folder), locked(folder / ".lock", str(folder)):
        yield


@contextmanager
def recorded(out: Path, command: str) -> Iterator[Callable[[], None]]:
    """Keep `record.json` in the folder of a study: its command, the versions, and the seconds spent over all starts.

    Call the yielded function at the start and after each piece of work, so that a kill loses little of the time.
    Raises InputError for a record that is damaged.
    """
    path, began = out / "record.json", monotonic()
    try:
        before = float(read_json(path)["seconds"]) if path.exists() else 0.0
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not the record of a study ({error}); delete it") from error

    def record() -> None:
        found = with_versions({"command": command, "seconds": round(before + monotonic() - began)})
        write_text(path, json.dumps(found, indent=1) + "\n")

    try:
        yield record
    finally:
        if path.exists():  # work has begun
            record()


def own_files(out: Path, patterns: Sequence[str], suffix: str = "") -> list[Path]:
    """The files of a run that match the patterns; with the suffix "*.part", the unfinished files that a kill left."""
    return [path for pattern in patterns for path in sorted(out.glob(pattern + suffix))]


def write_config(out: Path, config: dict[str, Any]) -> None:
    """Write `config.json` into the folder of a run."""
    write_text(out / "config.json", json.dumps(config, indent=1) + "\n")


def check_config(out: Path, config: dict[str, Any], otherwise: str) -> None:
    """Raise InputError if a setting in the run's `config.json` differs from `config`; the error names the first.

    `otherwise` ends the message and says what to do instead.
    """
    path = out / "config.json"
    try:
        before = read_json(path)
        moved = before["celeba"] and config["celeba"]  # CelebA may have moved; "images" says if it is the same
        changed = [key for key in config if before[key] != config[key] and not (key == "celeba" and moved)]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not the configuration of a run ({error}); {otherwise}") from error
    if changed:
        key = changed[0]
        raise InputError(f"{path}: the run has {key} {before[key]}, not {config[key]}; {otherwise}")
