"""A file is written completely or not at all, and reading one never executes code in it."""

from __future__ import annotations

import io
import json
import math
import os
import re
import signal
import tracemalloc
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from walk import PACKAGE

from lie_ref.machine.errors import InputError
from lie_ref.machine.files import from_json, read_json, read_npz, read_text, to_json, write_npz, write_text


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
    assert all(line.startswith((f"{path}: damaged", f"{path}: expected arrays of at most")) for line in refusals)
    assert not any("\n" in line for line in refusals)


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


def test_texts_of_no_characters_take_no_memory(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<U0", "fortran_order": False, "shape": (10**9,)})
    path = tmp_path / "file.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", file.getvalue())  # NumPy would make 4 GB of it
    with pytest.raises(InputError, match=re.escape(f"{path}: damaged")):
        read_npz(path)


def test_compressed_arrays_may_take_a_budget_and_others_as_much_as_their_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.npz"
    monkeypatch.setattr("lie_ref.machine.files.BUDGET", 3000)
    np.savez(path, a=np.zeros(1000))
    assert len(read_npz(path)["a"]) == 1000
    np.savez_compressed(path, a=np.zeros(200), b=np.zeros(200))
    with pytest.raises(InputError, match=re.escape(f"{path}: expected arrays of at most 3,000 bytes, got 3,456")):
        read_npz(path)
    np.savez_compressed(path, a=np.zeros(200))
    assert len(read_npz(path)["a"]) == 200


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
@pytest.mark.parametrize("read", [read_npz, read_json, read_text])
def test_what_may_have_no_end_is_not_read(tmp_path: Path, read: Callable[[Path], Any], make: Any) -> None:
    make(tmp_path / "file")
    with pytest.raises(InputError, match=re.escape(f"{tmp_path / 'file'}: not a regular file")):
        read(tmp_path / "file")


BAD_JSON = {
    "[" * 200_000: "more than 100 deep",
    "[" * 101 + "]" * 101: "more than 100 deep",
    '{"a": ' * 200_000: "more than 100 deep",
    "1" * 400: "an integer beyond 64 bits, 1111",
    "[-" + "1" * 5000 + "]": "",  # Python has a limit of its own for the number of digits
    '{"\\ud800": 1}': "surrogates not allowed",
    '["a\\ud800"]': "surrogates not allowed",
    "1e309": "a number that is not finite, inf",
    "[NaN]": "a number that is not finite, nan",
    "": "Expecting value",
    "{": "Expecting property name",
    '"' + "a" * 2**24 + '"': "expected at most 16,777,216 characters, got 16,777,218",
}


@pytest.mark.parametrize("text", BAD_JSON, ids=lambda text: text[:20])
def test_json_that_a_program_would_choke_on_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_json(path)
    assert str(caught.value).startswith(f"{path}: cannot be read as JSON (")
    assert BAD_JSON[text] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_limits_of_json_are_far_from_what_is_used() -> None:
    text = json.dumps({"a": [0.5, 2**63 - 1, -(2**63), 1e308, True, None, "grün", {"b": []}]})
    assert from_json(text, "text") == json.loads(text)
    assert from_json("[" * 100 + "]" * 100, "text")


def test_text_that_is_not_utf8_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\xff")
    with pytest.raises(InputError, match=re.escape(f"{tmp_path / 'file'}: cannot be read ('utf-8' codec")):
        read_text(tmp_path / "file")


def test_all_json_is_read_by_one_function() -> None:
    places = [path for path in PACKAGE.rglob("*.py") if re.search(r"json\.loads?\(", path.read_text(encoding="utf-8"))]
    assert places == [PACKAGE / "machine" / "files.py"]


@pytest.mark.parametrize("write", [write_text, lambda path, text: write_npz(path, {"a": np.array(text)})])
def test_what_is_not_a_regular_file_is_not_replaced(tmp_path: Path, write: Callable[[Path, str], None]) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to("pipe")
    for path in (pipe, tmp_path / "link"):
        with pytest.raises(InputError, match=re.escape(f"{path}: cannot be written (")):
            write(path, "text")
    assert pipe.is_fifo()  # and root would have replaced a device
    assert names(tmp_path) == ["link", "pipe"]


def test_a_link_stays_a_link_to_the_file_that_is_written(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/file")
    for text in ("first", "second"):
        write_text(tmp_path / "link", text)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "file").read_text() == "second"
    assert names(tmp_path / "folder") == ["file"]


def test_writers_of_one_file_have_parts_of_their_own_and_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "file.txt.part").write_text("of another program")
    with ThreadPoolExecutor(8) as pool:  # in one process, as in two with the same number in two containers
        list(pool.map(lambda n: write_text(tmp_path / "file.txt", str(n) * 10_000), range(8)))
    assert (tmp_path / "file.txt").read_text() in [str(n) * 10_000 for n in range(8)]
    assert (tmp_path / "file.txt.part").read_text() == "of another program"
    (tmp_path / "usual").touch()
    assert (tmp_path / "file.txt").stat().st_mode == (tmp_path / "usual").stat().st_mode


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
