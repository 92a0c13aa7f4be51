"""A file is written completely or not at all, and reading one never executes code in it."""

from __future__ import annotations

import io
import json
import math
import re
import signal
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lie_ref.machine.errors import InputError
from lie_ref.machine.files import read_npz, to_json, write_npz, write_text


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_arrays_are_read_as_they_were_written(tmp_path: Path) -> None:
    arrays = {"a/b": np.arange(6.0, dtype=np.float32).reshape(2, 3), "text": np.array("grün"), "none": np.zeros((0, 2))}
    arrays["fortran"] = np.asfortranarray(np.arange(6, dtype=">i2").reshape(3, 2))
    write_npz(tmp_path / "file.npz", arrays)
    found = read_npz(tmp_path / "file.npz")
    assert list(found) == list(arrays)
    assert all(found[name].dtype == a.dtype and np.array_equal(found[name], a) for name, a in arrays.items())
    assert names(tmp_path) == ["file.npz"]


def test_the_same_arrays_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.npz", "two.npz"):
        write_npz(tmp_path / name, {"a": np.arange(3)})
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_text_is_written_as_utf8_and_replaces_the_old_text(tmp_path: Path) -> None:
    write_text(tmp_path / "file.txt", "a longer first text\n")
    write_text(tmp_path / "file.txt", "grün\n")
    assert (tmp_path / "file.txt").read_bytes() == "grün\n".encode()
    assert names(tmp_path) == ["file.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    write_npz(tmp_path / "file.npz", {"a": np.arange(3)})

    def savez(file: Any, **arrays: np.ndarray) -> None:
        file.write(b"half")
        raise error

    monkeypatch.setattr(np, "savez", savez)
    with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else InputError):
        write_npz(tmp_path / "file.npz", {"a": np.arange(4)})
    assert names(tmp_path) == ["file.npz"]
    np.testing.assert_array_equal(read_npz(tmp_path / "file.npz")["a"], np.arange(3))


@pytest.mark.parametrize("place", ["missing/file.txt", "a file/file.txt", "a folder"])
def test_a_path_that_cannot_be_written_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "a file").write_text("")
    (tmp_path / "a folder").mkdir()
    with pytest.raises(InputError, match=re.escape(f"{tmp_path / place}: cannot be written (")):
        write_text(tmp_path / place, "text")
    assert names(tmp_path) == ["a file", "a folder"]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_file_cut_short_is_named(tmp_path: Path, share: float) -> None:
    path = tmp_path / "file.npz"
    write_npz(path, {"a": np.arange(300), "b": np.arange(300)})
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(InputError, match=re.escape(f"{path}: damaged")) as caught:
        read_npz(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_changed_bytes_raise_only_input_errors(tmp_path: Path, write: Callable[..., None]) -> None:
    path = tmp_path / "file.npz"
    write(path, a=np.arange(5), b=np.array("text"))
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refusals = []
    for _ in range(1000):
        content = np.frombuffer(whole, np.uint8).copy()
        content[rng.integers(0, len(whole), rng.integers(1, 4))] = rng.integers(0, 256)
        path.write_bytes(content.tobytes())
        try:
            read_npz(path)
        except InputError as error:
            refusals.append(str(error))
    assert len(refusals) > 500
    assert all(line.startswith(f"{path}: damaged") and "\n" not in line for line in refusals)


@pytest.mark.parametrize("shape", [(10**12,), (2**62, 2), (10**30,), (-1,), (2,)])
def test_a_header_that_promises_more_data_than_there_is_takes_no_memory(tmp_path: Path, shape: tuple[int, ...]) -> None:
    file = io.BytesIO()
    np.lib.format.write_array_header_2_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    path = tmp_path / "file.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", file.getvalue() + bytes(8))
    tracemalloc.start()
    with pytest.raises(InputError, match=re.escape(f"{path}: damaged")):
        read_npz(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e6


def test_nan_and_inf_become_null_in_json() -> None:
    value = {"a": [1, math.nan, (np.float64("inf"), 0.5)], "b": {"c": -math.inf, "d": None, "e": True}, "f": "NaN"}
    expected = {"a": [1, None, [None, 0.5]], "b": {"c": None, "d": None, "e": True}, "f": "NaN"}
    assert json.loads(to_json(value, indent=1)) == expected


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    objects = np.array([Bomb(marker)], dtype=object)
    np.savez(tmp_path / "inside.npz", a=objects)
    objects.dump(tmp_path / "whole.npz")
    (tmp_path / "false.npz").write_bytes((tmp_path / "inside.npz").read_bytes().replace(b"'|O'", b"'<O'"))
    with zipfile.ZipFile(tmp_path / "member.npz", "w") as archive:
        archive.write(tmp_path / "whole.npz", "a.npy")
    for name in ("inside.npz", "whole.npz", "false.npz", "member.npz"):
        with pytest.raises(InputError, match=name):
            read_npz(tmp_path / name)
    assert not marker.exists()
    np.load(tmp_path / "inside.npz", allow_pickle=True)["a"]
    assert marker.exists(), "the bomb was a dud"


def test_an_interrupt_waits_until_the_archive_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    close = zipfile._ZipWriteFile.close

    def interrupted(self: object) -> None:
        signal.raise_signal(signal.SIGINT)
        close(self)

    monkeypatch.setattr(zipfile._ZipWriteFile, "close", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_npz(tmp_path / "file.npz", {"a": np.ones(3)})
    assert read_npz(tmp_path / "file.npz")["a"].tolist() == [1, 1, 1]


def test_every_package_is_installed() -> None:
    tomllib = pytest.importorskip("tomllib")  # of Python 3.11
    root = Path(__file__).parents[2]
    setup = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {str(path.parent.relative_to(root)).replace("/", ".") for path in root.glob("lie_ref/**/__init__.py")}
    assert set(setup["packages"]) - {"lie_ref.data"} == folders
