"""Candidates made by anyone: what cannot be compared is refused in one line, nan and wrong numbers are judged."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lie_ref import oracle
from lie_ref.cli import main
from lie_ref.machine.errors import InputError
from lie_ref.oracle.answers import QUANTITIES
from lie_ref.oracle.candidates import checked_candidate, read_candidate

NAME = "mlp-tanh-bce"
VECTOR = oracle.load(NAME)
GOOD = VECTOR.outputs
LOSS = GOOD["loss"]
GRADIENTS = {key: a for key, a in GOOD.items() if key.startswith("grad/")}
WEIGHT = "grad/0.weight"
TRANSPOSED = GRADIENTS[WEIGHT].swapaxes(1, 2)
FILE, ENTRY, END = (
    b"PK\3\4",
    b"PK\1\2",
    b"PK\5\6",
)  # in an archive: before each file, each entry of its directory, its end


class Marker:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


class Tensor:
    """Like a tensor of another library: nothing but convertible."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self.array


def saved(arrays: Mapping[str, Any], save: Callable[..., None] = np.savez) -> bytes:
    """The file of a candidate."""
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """An archive of these files, whatever they are called and hold."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def npy(array: Any, version: tuple[int, int] | None = None) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), version)
    return file.getvalue()


def headed(header: str, data: bytes = LOSS.tobytes()) -> bytes:
    """A candidate with a loss whose `.npy` header is this text."""
    text = header.encode("latin1") + b"\n"
    return zipped({"loss.npy": b"\x93NUMPY\2\0" + struct.pack("<I", len(text)) + text + data})


def described(descr: Any = "<f8", shape: Any = LOSS.shape, fortran_order: Any = False) -> bytes:
    return headed(repr({"descr": descr, "fortran_order": fortran_order, "shape": shape}))


def patched(content: bytes, *patches: tuple[bytes, int, bytes]) -> bytes:
    """The file with other bytes, each so far behind the beginning of a signature's first place."""
    changed = bytearray(content)
    for signature, offset, new in patches:
        start = content.index(signature) + offset
        changed[start : start + len(new)] = new
    return bytes(changed)


def bomb(megabytes: int, size: int) -> bytes:
    """An archive of so many mebibytes of zeros, deflated, with a directory that says they are `size` bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packer.compress(bytes(2**20))
    packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)  # from now on each is the same
    packed = block * megabytes + packer.flush()
    content, sizes = zipped({"loss.npy": packed}), struct.pack("<II", len(packed), size)
    return patched(content, (FILE, 8, b"\x08"), (FILE, 18, sizes), (ENTRY, 10, b"\x08"), (ENTRY, 20, sizes))


def crowded(entries: int) -> bytes:
    """An archive whose directory names one file so many times."""
    content = zipped({"loss.npy": b""})
    start, end = content.index(ENTRY), content.index(END)
    directory = content[start:end] * entries
    return content[:start] + directory + struct.pack("<4sHHHHIIH", END, 0, 0, 1, 1, len(directory), start, 0)


def misfit(key: str, array: np.ndarray) -> str:
    """What is said of an array of another shape."""
    return re.escape(f"{key!r}: expected shape {GOOD[key].shape}, got {array.shape}")


ALONE = saved({"loss": LOSS})
ALL = saved(GOOD)
FILES = {  # content, and what is said of it
    "an empty file": (b"", "cannot be read"),
    "text": (b"0.25 0.5 0.75\n", "cannot be read"),
    "a single array": (npy(LOSS), "cannot be read"),
    "a pickled dict of arrays": (pickle.dumps(GOOD), "cannot be read"),
    "a compressed stream": (zlib.compress(ALL), "cannot be read"),
    **{f"an archive cut to {k}/1000": (ALL[: k * len(ALL) // 1000], "cannot be read") for k in (3, 300, 600, 900, 990)},
    "an archive without its last byte": (ALL[:-1], "cannot be read"),
    "an archive without its first half": (ALL[len(ALL) // 2 :], "('logits': )?cannot be read"),
    "two kilobytes twice": (ALL[:4000] + ALL[2000:], "'(loss|logits)': cannot be read"),
    "an archive before much garbage": (ALL + bytes(90_000), "cannot be read"),
    "an archive without files": (zipped({}), "holds no arrays"),
    "an archive in an archive": (zipped({"loss.npy": ALONE}), "'loss': cannot be read"),
    "an archive of a folder": (zipped({"grad/": b""}), "'grad/' is not asked for"),
    "a file that is larger than any answer": (ALL + bytes(10**6), "larger than any answer to 'mlp-tanh-bce' can be"),
    "a changed number": (patched(ALONE, (LOSS.tobytes(), 3, b"\xff")), "'loss': cannot be read .*Bad CRC-32"),
    "a changed check sum": (patched(ALONE, (ENTRY, 16, b"\1\2\3\4")), "'loss': cannot be read .*Bad CRC-32"),
    "an encrypted array": (patched(ALONE, (FILE, 6, b"\1"), (ENTRY, 8, b"\1")), "'loss': cannot be read .*encrypted"),
    "two names for one array": (patched(ALONE, (FILE, 30, b"l0ss")), "'loss': cannot be read .*'l0ss.npy' differ"),
    "a name that is not UTF-8": (patched(ALONE, (ENTRY, 9, b"\x08"), (ENTRY, 46, b"\xff")), "cannot be read .*'utf-8'"),
    "an array that begins elsewhere": (patched(ALONE, (ENTRY, 42, b"\7")), "'loss': cannot be read"),
    "an array that begins after the end": (patched(ALONE, (ENTRY, 44, b"\xff\x7f")), "'loss': cannot be read"),
    "a directory that begins before the file": (patched(ALONE, (END, 18, b"\xff\x7f")), "('loss': )?cannot be read"),
    "a directory that is larger than the file": (patched(ALONE, (END, 14, b"\xff\x7f")), "cannot be read"),
    "an array that is there twice": (
        zipped({"loss.npy": npy(LOSS), "l0ss.npy": npy(LOSS)}).replace(b"l0ss", b"loss"),
        "'loss' is there twice",
    ),
    "an array that is there with and without suffix": (
        zipped({"loss.npy": npy(LOSS), "loss": npy(LOSS)}),
        "'loss' is there twice",
    ),
    "a directory of two thousand entries": (crowded(2000), "'loss' is there twice"),
    "LZMA": (
        zipped({"loss.npy": npy(LOSS)}, zipfile.ZIP_LZMA),
        "'loss': is compressed in a way that np.savez does not",
    ),
    "bzip2": (zipped({"loss.npy": npy(LOSS)}, zipfile.ZIP_BZIP2), "'loss': is compressed in a way that np.savez"),
    "an unknown compression": (patched(ALONE, (ENTRY, 10, b"\x63")), "'loss': is compressed in a way that np.savez"),
    "a deflated stream of nothing like it": (patched(ALONE, (ENTRY, 10, b"\x08")), "'loss': cannot be read"),
    "a mebibyte of deflated zeros": (
        bomb(1, 2**20),
        "'loss': expected shape .* got 1,048,576 bytes, which are too many",
    ),
    "a mebibyte of deflated zeros that are said to be few": (bomb(1, 152), "'loss': cannot be read"),
    "a .npy of version 3": (
        zipped({"loss.npy": npy(LOSS, (3, 0))}),
        r"'loss': expected numbers, got \.npy version 3\.0",
    ),
    "a .npy of version 9": (
        zipped({"loss.npy": b"\x93NUMPY\x09\0"}),
        r"'loss': expected numbers, got \.npy version 9\.0",
    ),
    "a .npy without its magic": (zipped({"loss.npy": npy(LOSS)[1:]}), "'loss': cannot be read"),
    "a .npy without data": (zipped({"loss.npy": npy(LOSS)[:-24]}), "'loss': cannot be read .*data"),
    "a .npy cut by a byte": (zipped({"loss.npy": npy(LOSS)[:-1]}), "'loss': cannot be read"),
    "a .npy with a number too many": (zipped({"loss.npy": npy(LOSS) + bytes(8)}), "'loss': .* more numbers than that"),
    "an empty .npy": (zipped({"loss.npy": b""}), "'loss': cannot be read"),
    "a header that promises 10¹² numbers": (described(shape=(10**12,)), r"'loss': .* got \(1000000000000,\)"),
    "a header that promises 2⁶³ numbers": (described(shape=(2**62, 2)), r"'loss': .* got \(4611686018427387904, 2\)"),
    "a header that promises −1 numbers": (described(shape=(-1,)), r"'loss': .* got \(-1,\)"),
    "a header with a shape in words": (described(shape="three"), "'loss': cannot be read .*shape is not valid"),
    "a header with an order in words": (described(fortran_order="no"), "'loss': cannot be read .*fortran_order"),
    "a header with a dtype of no kind": (described(descr="<q7"), "'loss': cannot be read .*dtype"),
    "a header of code": (headed("__import__('os').abort()"), "'loss': cannot be read .*malformed node"),
    "a header of a large power": (headed("9**9**9**9"), "'loss': cannot be read .*malformed node"),
    "a header of many parentheses": (headed("(" * 3900), "'loss': cannot be read"),
    "a header of many signs": (headed("-" * 3900 + "1"), "'loss': cannot be read"),
    "a header of many digits": (headed("9" * 3900), "'loss': cannot be read"),
    "a header in the syntax of Python 2": (headed(r"{'descr': '\d', 'shape': (3L,)}"), "'loss': cannot be read"),
    "a header that is longer than its file": (
        zipped({"loss.npy": b"\x93NUMPY\1\0\xff\xff{"}),
        "'loss': cannot be read",
    ),
}

NUMBERS = [LOSS.astype(dtype) for dtype in (int, bool, np.complex64, np.complex128, np.float16, "M8[s]", "m8[s]", "V8")]
TEXTS = [np.array(["0.25", "0.5", "0.75"]), np.array([b"0.25", b"0.5", b"0.75"]), LOSS.view([("a\nb", "f8")])]
CANDIDATES = {  # arrays, and what is said of them
    **{f"{a.dtype}": ({"loss": a}, "'loss': expected float32 or float64, got ['\"]") for a in NUMBERS + TEXTS},
    "a loss with an axis too many": ({"loss": LOSS[:, None]}, misfit("loss", LOSS[:, None])),
    "a loss of no axes": ({"loss": LOSS.mean()}, misfit("loss", LOSS.mean())),
    "an empty loss": ({"loss": LOSS[:0]}, misfit("loss", LOSS[:0])),
    "logits transposed": ({"logits": GOOD["logits"].T}, misfit("logits", GOOD["logits"].T)),
    "a weight's gradient transposed": (GRADIENTS | {WEIGHT: TRANSPOSED}, misfit(WEIGHT, TRANSPOSED)),
    "one example's gradient": ({key: g[0] for key, g in GRADIENTS.items()}, misfit(WEIGHT, GRADIENTS[WEIGHT][0])),
    "a tensor missing": (
        {key: g for key, g in GRADIENTS.items() if key != "grad/2.bias"},
        "'grad/2.bias' is missing, though other tensors of grad are there",
    ),
    "a tensor of another network": (GRADIENTS | {"grad/4.bias": LOSS}, "'grad/4.bias' is not asked for"),
    "no arrays": ({}, "holds no arrays"),
}
ASKED_FOR = "expected some of logits, loss, grad/NAME, hvp/NAME, bracket/NAME, logit_delta"
UNKNOWN = (
    "",
    "bracket",
    "Loss",
    "loss ",
    "loss.npy",
    "losses",
    "param/0.weight",
    "meta",
    "grad\\0.weight",
    "../loss",
    "/loss",
    "grad/../loss",
    "C:/loss",
    "loss\nloss",
    "loss\r",
    "\x1b[2Jloss",
    "lo\u202ess",
    "λ",
    60_000 * "a",
)


def refusal(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command line says of this candidate for the vector, in the one line that it may."""
    tracemalloc.start()
    with pytest.raises(InputError):
        read_candidate(VECTOR, path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4e6, f"{peak} bytes"
    assert main(["verify", NAME, str(path)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    line = shown.err.removeprefix("lie-ref: ").removesuffix("\n")
    assert shown.err == f"lie-ref: {line}\n"
    assert line.isprintable()
    assert len(line) < 700
    return line


@pytest.mark.parametrize("case", FILES)
def test_a_malformed_file_is_refused_in_one_line(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    content, message = FILES[case]
    path = tmp_path / "candidate.npz"
    path.write_bytes(content)
    assert re.match(f"{re.escape(str(path))}: {message}", refusal(path, capsys))
    assert not recwarn.list  # each would be two more lines


@pytest.mark.parametrize("case", CANDIDATES)
def test_arrays_that_do_not_fit_are_refused_alike_in_a_dict_and_in_a_file(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays, message = CANDIDATES[case]
    path = tmp_path / "candidate.npz"
    path.write_bytes(saved(arrays))
    assert re.match(f"{re.escape(str(path))}: {message}", refusal(path, capsys))
    with pytest.raises(InputError, match=f"^candidate: {message}"):
        oracle.verify(VECTOR, arrays)


@pytest.mark.parametrize("name", UNKNOWN, ids=ascii)
def test_an_unknown_name_is_refused_and_used_for_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    path = Path("candidate.npz")
    path.write_bytes(zipped({"loss.npy": npy(LOSS), f"{name}.npy": npy(LOSS)}))
    line = refusal(path, capsys)
    assert line.startswith("candidate.npz: '")
    assert line.endswith(f" is not asked for, {ASKED_FOR}")
    assert len(line) < 250
    assert [p.name for p in tmp_path.rglob("*")] == ["here", "candidate.npz"]
    with pytest.raises(InputError) as caught:
        oracle.verify(VECTOR, {"loss": LOSS, name: LOSS})
    assert str(caught.value) == line.replace("candidate.npz", "candidate")


PLACES = {
    "nothing": lambda path: None,
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a link to itself": lambda path: path.symlink_to(path),
    "a file in a file": lambda path: path.parent.write_text(""),
}


@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_file_is_refused(place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "folder" / "candidate.npz"
    if place != "a file in a file":
        path.parent.mkdir()
    PLACES[place](path)
    assert refusal(path, capsys) == f"{path}: no such file"


def test_pickled_objects_are_refused_and_never_unpickled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    objects = np.array([Marker(tmp_path / "marker")] * 3, dtype=object)
    contents = {
        "inside": saved({"loss": objects}),
        "of a false dtype": saved({"loss": objects}).replace(b"'|O'", b"'<O'"),
        "whole": pickle.dumps(objects),
        "as a member": zipped({"loss.npy": pickle.dumps(objects)}),
    }
    for name, content in contents.items():
        path = tmp_path / f"{name}.npz"
        path.write_bytes(content)
        refusal(path, capsys)
        assert not (tmp_path / "marker").exists(), name
    with pytest.raises(InputError, match=r"^candidate: 'loss': expected float32 or float64, got 'object'"):
        oracle.verify(VECTOR, {"loss": objects})
    with pytest.raises(InputError, match=r"^candidate: 'loss': is no array \(Object arrays cannot be loaded"):
        oracle.verify(VECTOR, np.load(tmp_path / "inside.npz"))
    np.load(tmp_path / "inside.npz", allow_pickle=True)["loss"]
    assert (tmp_path / "marker").exists(), "the pickle was a dud"


WORST = """
import re, sys
from pathlib import Path
from lie_ref.cli import main
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])  # KiB
main(["verify", sys.argv[1], "missing.npz"])
for path in sys.argv[2:]:
    before = peak()
    print(main(["verify", sys.argv[1], path]), peak() - before, peak())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read in /proc")
def test_bombs_take_no_memory(tmp_path: Path) -> None:
    vector = "conv-basic"
    contents = {
        "many": bomb(600, 600 * 2**20),
        "said-to-be-few": bomb(600, 152),
        "said-to-be-4-gib": bomb(1, 2**32 - 1),
        "promised": described(shape=(10**12,)),
        "crowded": crowded(12_000),
        "nested": headed("(" * 3900),
    }
    for name, content in contents.items():
        (tmp_path / f"{name}.npz").write_bytes(content)
    with (tmp_path / "sparse.npz").open("wb") as file:
        file.truncate(2**33)
    files = [f"{name}.npz" for name in (*contents, "sparse")]
    done = subprocess.run(
        [sys.executable, "-c", WORST, vector, *files], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert [line.partition(".npz: ")[0] for line in done.stderr.splitlines()] == [
        f"lie-ref: {name}" for name in ("missing", *contents, "sparse")
    ]
    for name, line in zip(files, done.stdout.splitlines(), strict=True):
        status, taken, peak = (int(number) for number in line.split())
        assert status == 2, name
        assert taken < 30_000, name
        assert peak < 300_000, name


@pytest.mark.parametrize("case", ["missing", "cut", "object", "good", "wrong"])
def test_the_command_has_its_status_and_no_traceback(case: str, tmp_path: Path) -> None:
    contents = {
        "cut": ALL[:3000],
        "object": saved({"loss": LOSS.astype(object)}),
        "good": ALL,
        "wrong": saved({"loss": -LOSS}),
    }
    if case in contents:
        (tmp_path / "candidate.npz").write_bytes(contents[case])
    command = [sys.executable, "-m", "lie_ref", "verify", NAME, "candidate.npz"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == {"good": 0, "wrong": 1}.get(case, 2)
    if done.returncode == 2:
        assert re.fullmatch(r"lie-ref: candidate\.npz: .+\n", done.stderr)
        assert done.stdout == ""
    else:
        assert done.stderr == ""
        assert done.stdout.startswith(f"{NAME}: ")


NOT_ARRAYS = {
    "None": (None, "expected a dict or an .npz file of arrays, got NoneType"),
    "a list": ([LOSS], "expected a dict or an .npz file of arrays, got list"),
    "an array": (LOSS, "expected a dict or an .npz file of arrays, got ndarray"),
    "bytes": (ALL, "expected a dict or an .npz file of arrays, got bytes"),
    "a number as name": ({0: LOSS}, "0 is not asked for"),
    "a surrogate in a name": ({"loss\ud800": LOSS}, r"'loss\ud800' is not asked for"),
    "nothing": ({"loss": None}, "'loss': expected float32 or float64, got 'object'"),
    "integers in a list": ({"loss": [1, 2, 3]}, "'loss': expected float32 or float64, got 'int64'"),
    "rows of several lengths": ({"logits": [[0.5], [0.5, 0.5]]}, "'logits': is no array ("),
    "what converts to no array": ({"loss": Tensor("no array")}, "'loss': is no array ("),
    "a structured array": ({"loss": LOSS.view([(1000 * "a", "f8")])}, "'loss': expected float32 or float64, got "),
}


@pytest.mark.parametrize("case", NOT_ARRAYS)
def test_what_python_hands_in_is_refused_in_one_line(case: str) -> None:
    candidate, message = NOT_ARRAYS[case]
    with pytest.raises(InputError) as caught:
        oracle.verify(VECTOR, candidate)
    assert str(caught.value).startswith(f"candidate: {message}")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250


def changed(function: Callable[[np.ndarray], Any]) -> dict[str, Any]:
    return {key: function(a) for key, a in GOOD.items()}


ACCEPTED = {
    "lists": changed(np.ndarray.tolist),
    "array-likes": changed(Tensor),
    "Fortran order": changed(np.asfortranarray),
    "views": changed(lambda a: np.repeat(a, 2, axis=-1)[..., ::2]),
    "read-only arrays": changed(lambda a: np.broadcast_to(a, a.shape)),
    "big-endian": changed(lambda a: a.astype(">f8")),
    "float32": changed(lambda a: a.astype(np.float32)),
    "big-endian float32": changed(lambda a: a.astype(">f4")),
    "long double": changed(lambda a: a.astype(np.longdouble)),
    "big-endian long double": changed(lambda a: a.astype(np.dtype(np.longdouble).newbyteorder(">"))),
    "several dtypes": {key: a.astype(("f4", "f8", ">f8", "g")[k % 4]) for k, (key, a) in enumerate(GOOD.items())},
    "names in another order": dict(reversed(GOOD.items())),
    **{f"{q} alone": {k: a for k, a in GOOD.items() if k.split("/")[0] == q} for q in QUANTITIES},
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_right_numbers_agree_however_they_are_stored(case: str, tmp_path: Path) -> None:
    arrays = ACCEPTED[case]
    oracle.assert_agrees(VECTOR, arrays)
    assert all(a.dtype.isnative for a in checked_candidate(VECTOR, arrays).values())
    for save in (np.savez, np.savez_compressed):
        path = tmp_path / f"{save.__name__}.npz"
        path.write_bytes(saved({key: np.asarray(a) for key, a in arrays.items()}, save))
        oracle.assert_agrees(NAME, path)
        assert all(a.dtype.isnative for a in read_candidate(VECTOR, path).values())
        oracle.assert_agrees(VECTOR, np.load(path))
        assert main(["verify", NAME, str(path)]) == 0


CONTAINERS = {
    ".npy of version 1": zipped({f"{key}.npy": npy(a, (1, 0)) for key, a in GOOD.items()}),
    ".npy of version 2": zipped({f"{key}.npy": npy(a, (2, 0)) for key, a in GOOD.items()}),
    "names without suffix": zipped({key: npy(a) for key, a in GOOD.items()}),
    "a header of Python 2": headed("{'descr': '<f8', 'fortran_order': False, 'shape': (3L,)}"),
    "a comment": patched(ALL, (END, 20, b"\5\0")) + b"hello",
    "garbage before": b"garbage" + ALL,
    "garbage behind": ALL + b"garbage",
}


@pytest.mark.parametrize("case", CONTAINERS)
def test_right_numbers_agree_in_whatever_numpy_reads(
    case: str, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    path = tmp_path / "candidate.npz"
    path.write_bytes(CONTAINERS[case])
    oracle.assert_agrees(VECTOR, path)
    assert not recwarn.list


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("key", ["logits", "loss", "grad/2.bias", "hvp/0.weight", "bracket/0.weight", "logit_delta"])
def test_nan_and_inf_are_judged_and_named(
    key: str, value: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = GOOD[key].copy()
    wrong.flat[-1] = value
    path = tmp_path / "candidate.npz"
    path.write_bytes(saved(GOOD | {key: wrong}))
    assert main(["verify", NAME, str(path), "--json", str(tmp_path / "verdict.json")]) == 1
    quantity, _, tensor = key.partition("/")
    shown = capsys.readouterr()
    lines = [line for line in shown.out.splitlines() if "has nan or inf" in line]
    (line,) = lines
    assert line.startswith(f"  {quantity:<12} has nan or inf, in {tensor}")
    assert line.endswith(
        {"logits": "example 2", "loss": "example 2", "grad": "example 2", "hvp": "H_2 g_0"}.get(quantity, "pair (2, 0)")
    )
    assert shown.err == ""
    verdict = json.loads((tmp_path / "verdict.json").read_text(), parse_constant=pytest.fail)
    assert [name for name, q in verdict["quantities"].items() if not q["agrees"]] == [quantity]
    assert verdict["diagnosis"] == []


@pytest.mark.parametrize(
    "value", [-1e100, 1e300, 1.7e308, np.finfo(np.longdouble).max, 5e-324, np.float32(3e38)], ids=repr
)
@pytest.mark.parametrize("name", [NAME, "mlp-relu-at-zero"])
def test_huge_and_tiny_numbers_are_judged_quietly(name: str, value: Any, recwarn: pytest.WarningsRecorder) -> None:
    exact = oracle.load(name).outputs
    for key in ("logits", "loss", "grad/2.bias", "hvp/0.weight", "bracket/0.weight", "logit_delta"):
        wrong = np.full_like(exact[key], value, dtype=np.asarray(value).dtype)
        verdict = oracle.verify(name, exact | {key: wrong})
        assert [q for q, found in verdict.quantities.items() if not found.agrees] == [key.partition("/")[0]]
        assert "has nan or inf" not in str(verdict)
    assert not recwarn.list


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """The file with a bit or more changed, or a piece of it cut out, doubled, zeroed or put elsewhere."""
    start, place = rng.integers(0, len(content), 2).tolist()
    end = min(len(content), start + int(rng.integers(1, 64)))
    changes = {
        0: lambda: content[:start] + content[end:],
        1: lambda: content[:end] + content[start:],
        2: lambda: content[:start] + bytes(end - start) + content[end:],
        3: lambda: content[:place] + content[start:end] + content[place:],
        4: lambda: content[:start] + rng.bytes(end - start) + content[end:],
    }
    bit = content[start] ^ 1 << rng.integers(0, 8)
    return changes.get(rng.integers(0, 10), lambda: content[:start] + bytes([bit]) + content[start + 1 :])()


def archives(rng: np.random.Generator) -> bytes:
    """A damaged archive."""
    return mutated(saved(GOOD, (np.savez, np.savez_compressed)[rng.integers(0, 2)]), rng)


def directories(rng: np.random.Generator) -> bytes:
    """An archive with a damaged directory."""
    start = ALL.index(ENTRY)
    return ALL[:start] + mutated(ALL[start:], rng)


def members(rng: np.random.Generator) -> bytes:
    """A sound archive of a damaged array."""
    return zipped({"logits.npy": mutated(npy(GOOD["logits"]), rng), "loss.npy": npy(LOSS)})


@pytest.mark.parametrize("damaged", [archives, directories, members])
def test_no_damage_gives_anything_but_a_verdict_or_a_refusal(
    damaged: Callable[[np.random.Generator], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "candidate.npz"
    rng = np.random.default_rng(0)
    refusals, verdicts = [], []
    tracemalloc.start()
    for _ in range(200):
        path.write_bytes(damaged(rng))
        try:
            verdicts.append(oracle.verify(VECTOR, path))
        except InputError as error:
            refusals.append(str(error))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert min(len(refusals), len(verdicts)) > 10
    assert all(line.startswith(f"{path}: ") and line.isprintable() and len(line) < 700 for line in refusals)
    assert peak < 8e6
