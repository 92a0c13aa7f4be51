"""Untrusted candidates: what cannot be compared is refused in one line; nan and wrong numbers are judged."""

from __future__ import annotations

import io
import json
import os
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
FILE, ENTRY, END = b"PK\3\4", b"PK\1\2", b"PK\5\6"  # signatures in a zip: a file, a directory entry, the end record


class Tensor:
    """Like a tensor of another library, which can only be converted."""

    def __init__(self, array: Any, **attributes: Any) -> None:
        self.array = array
        vars(self).update(attributes)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self.array


def saved(arrays: Mapping[str, Any], save: Callable[..., None] = np.savez) -> bytes:
    """The file of a candidate."""
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """An archive of these files."""
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


def described(descr: Any = "<f8", shape: Any = LOSS.shape) -> bytes:
    return headed(repr({"descr": descr, "fortran_order": False, "shape": shape}))


def patched(content: bytes, *patches: tuple[bytes, int, bytes]) -> bytes:
    """The file with bytes replaced; a patch is a signature, an offset from its first occurrence, and the new bytes."""
    changed = bytearray(content)
    for signature, offset, new in patches:
        start = content.index(signature) + offset
        changed[start : start + len(new)] = new
    return bytes(changed)


def bomb(megabytes: int, size: int) -> bytes:
    """An archive of this many mebibytes of zeros, deflated, whose directory says that they are `size` bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packer.compress(bytes(2**20))
    packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)  # all following blocks are the same
    packed = block * megabytes + packer.flush()
    content, sizes = zipped({"loss.npy": packed}), struct.pack("<II", len(packed), size)
    return patched(content, (FILE, 8, b"\x08"), (FILE, 18, sizes), (ENTRY, 10, b"\x08"), (ENTRY, 20, sizes))


def crowded(entries: int) -> bytes:
    """An archive whose directory names one file this many times."""
    content = zipped({"loss.npy": b""})
    start, end = content.index(ENTRY), content.index(END)
    directory = content[start:end] * entries
    return content[:start] + directory + struct.pack("<4sHHHHIIH", END, 0, 0, 1, 1, len(directory), start, 0)


def misfit(key: str, array: np.ndarray) -> str:
    """A pattern of the message for an array of another shape."""
    return re.escape(f"{key!r}: expected shape {GOOD[key].shape}, got {array.shape}")


ALONE = saved({"loss": LOSS})
ALL = saved(GOOD)
TWICE = zipped({"loss.npy": npy(LOSS), "l0ss.npy": npy(LOSS)}).replace(b"l0ss", b"loss")
# fmt: off
FILES = {  # one file for each kind of fault, and a pattern of the reason in the message
    "an empty file": (b"", "not a zip"),
    "a single array": (npy(LOSS), "not a zip"),
    "an archive cut short": (ALL[: 6 * len(ALL) // 10], "not a zip"),
    "an archive without its first half": (ALL[len(ALL) // 2 :], "'logits': "),
    "a name that is not UTF-8": (patched(ALONE, (ENTRY, 9, b"\x08"), (ENTRY, 46, b"\xff")), "'utf-8'"),
    "a directory that is larger than the file": (patched(ALONE, (END, 14, b"\xff\x7f")), ""),
    "an array that begins after the end": (patched(ALONE, (ENTRY, 44, b"\xff\x7f")), "'loss': "),
    "two names for one array": (patched(ALONE, (FILE, 30, b"l0ss")), "'loss': .*'l0ss.npy' differ"),
    "a changed number": (patched(ALONE, (LOSS.tobytes(), 3, b"\xff")), "'loss': Bad CRC-32"),
    "an encrypted array": (patched(ALONE, (FILE, 6, b"\1"), (ENTRY, 8, b"\1")), "'loss': .*encrypted"),
    "LZMA": (zipped({"loss.npy": npy(LOSS)}, zipfile.ZIP_LZMA), "'loss': compressed in a way that np.savez does not"),
    "deflated data that are not": (patched(ALONE, (ENTRY, 10, b"\x08")), "'loss': "),
    "100 MiB of zeros that are said to be few": (bomb(100, 152), "'loss': "),
    "a .npy of version 3": (zipped({"loss.npy": npy(LOSS, (3, 0))}), r"'loss': \.npy version 3\.0"),
    "an archive in an archive": (zipped({"loss.npy": ALONE}), "'loss': the magic string is not correct"),
    "a .npy cut by a byte": (zipped({"loss.npy": npy(LOSS)[:-1]}), "'loss': .*promises 24 bytes, got 23"),
    "a .npy with a number too many": (zipped({"loss.npy": npy(LOSS) + bytes(8)}), "'loss': .*24 bytes, got 32"),
    "a header that promises 10¹² numbers": (described(shape=(10**12,)), "'loss': .*promises 8,000,000,000,000 bytes"),
    "a header that promises −1 numbers": (described(shape=(-1,)), "'loss': .*promises -8 bytes"),
    "a header with an unknown dtype": (described(descr="<q7"), "'loss': .*dtype"),
    "a header of code": (headed("__import__('os').abort()"), "'loss': malformed node"),
    "a deeply nested header": (headed("-" * 3900 + "1"), "'loss': "),
    "a header in the syntax of Python 2": (headed(r"{'descr': '\d', 'shape': (3L,)}"), "'loss': "),
    "a header that is longer than its file": (zipped({"loss.npy": b"\x93NUMPY\1\0\xff\xff{"}), "'loss': "),
}
REFUSED = {  # archives that are not damaged, but are not read
    "a large file": (ALL + bytes(10**6), "larger than any answer to 'mlp-tanh-bce' can be"),
    "100 MiB of zeros": (bomb(100, 100 * 2**20), "expected arrays of at most 94,992 bytes, got 104,857,600"),
    "zeros that are said to be 4 GiB": (bomb(1, 2**32 - 1), "expected arrays of at most 94,992 bytes, got 4,294,"),
    "a directory of two thousand entries": (crowded(2000), "'loss' is there twice"),
    "an array twice": (TWICE, "'loss' is there twice"),
    "an array with and without suffix": (zipped({"loss.npy": npy(LOSS), "loss": npy(LOSS)}), "'loss' is there twice"),
}
# fmt: on

NUMBERS = [LOSS.astype(dtype) for dtype in (int, bool, np.complex64, np.complex128, np.float16, "M8[s]", "m8[s]", "V8")]
TEXTS = [np.array(["0.25", "0.5", "0.75"]), np.array([b"0.25", b"0.5", b"0.75"]), LOSS.view([("a\nb", "f8")])]
CANDIDATES = {  # arrays, and a pattern of the message
    **{f"{a.dtype}": ({"loss": a}, "'loss': expected float32 or float64, got ['\"]") for a in NUMBERS + TEXTS},
    "a loss with an axis too many": ({"loss": LOSS[:, None]}, misfit("loss", LOSS[:, None])),
    "a loss of no axes": ({"loss": LOSS.mean()}, misfit("loss", LOSS.mean())),
    "an empty loss": ({"loss": LOSS[:0]}, misfit("loss", LOSS[:0])),
    "logits transposed": ({"logits": GOOD["logits"].T}, misfit("logits", GOOD["logits"].T)),
    "logits of x_eval": (
        {"logits": np.ones((5, 4))},
        misfit("logits", np.ones((5, 4))) + "; they are of x, not of x_eval",
    ),
    "a weight's gradient transposed": (GRADIENTS | {WEIGHT: TRANSPOSED}, misfit(WEIGHT, TRANSPOSED)),
    "one example's gradient": ({key: g[0] for key, g in GRADIENTS.items()}, misfit(WEIGHT, GRADIENTS[WEIGHT][0])),
    "a tensor missing": (
        {WEIGHT: GRADIENTS[WEIGHT]},
        "'grad/0.bias' is missing, though other tensors of grad are there",
    ),
    "a tensor of another network": (
        GRADIENTS | {"grad/fc1.bias": LOSS},
        "'grad/fc1.bias' is not asked for, expected some of .*; the nearest to 'grad/fc1.bias' is 'grad/[02].bias'$",
    ),
    "a tensor of a network in DataParallel": (
        {f"bracket/module.{name}": LOSS for name in ("0.weight", "0.bias")},
        "'bracket/module.0.weight' is not asked for, .* is 'bracket/0.weight'$",
    ),
    "no arrays": ({}, "holds no arrays"),
}
ASKED_FOR = "expected some of logits, loss, grad/NAME, hvp/NAME, bracket/NAME, logit_delta, layer/NAME"
UNKNOWN = ("", "bracket", "Loss", "param/0.weight", "../loss", "loss\nloss", "\x1b[2Jloss", "lo\u202ess", 60_000 * "a")


def refusal(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The line that the command line prints when it refuses this candidate."""
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


@pytest.mark.parametrize("case", [*FILES, *REFUSED])
def test_a_malformed_file_is_refused_in_one_line(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    content, reason = (FILES | REFUSED)[case]
    path = tmp_path / "candidate.npz"
    path.write_bytes(content)
    message = reason if case in REFUSED else rf"damaged or not an \.npz archive of plain arrays \(.*{reason}"
    assert re.match(f"{re.escape(str(path))}: {message}", refusal(path, capsys))
    assert not recwarn.list  # a warning would be printed, too


@pytest.mark.parametrize("case", CANDIDATES)
def test_arrays_that_do_not_fit_are_refused_in_a_dict_and_in_a_file(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays, message = CANDIDATES[case]
    path = tmp_path / "candidate.npz"
    path.write_bytes(saved(arrays))
    assert re.match(f"{re.escape(str(path))}: {message}", refusal(path, capsys))
    with pytest.raises(InputError, match=f"^candidate: {message}"):
        oracle.verify(VECTOR, arrays)


@pytest.mark.parametrize("vector", [None, 3, {"loss": LOSS}], ids=repr)
def test_what_is_no_vector_is_named(vector: Any) -> None:
    with pytest.raises(InputError, match=r"^vector: expected a Vector, its name or the path of its file, got "):
        oracle.verify(vector, {"loss": LOSS})


@pytest.mark.parametrize("name", UNKNOWN, ids=ascii)
def test_an_unknown_name_is_refused_and_never_used_as_a_path(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    path = Path("candidate.npz")
    path.write_bytes(zipped({"loss.npy": npy(LOSS), f"{name}.npy": npy(LOSS)}))
    line = refusal(path, capsys)
    assert line.startswith("candidate.npz: '")
    assert re.search(f" is not asked for, {ASKED_FOR}; (the nearest to '.* is '[a-z].*'|none is like '.*)$", line)
    assert len(line) < 400
    assert [p.name for p in tmp_path.rglob("*")] == ["here", "candidate.npz"]
    with pytest.raises(InputError) as caught:
        oracle.verify(VECTOR, {"loss": LOSS, name: LOSS})
    assert str(caught.value) == line.replace("candidate.npz", "candidate")


@pytest.mark.parametrize("name", ["c.pt", "c.pth", "c.npz"])
def test_a_file_of_torch_save_is_refused_with_the_line_that_converts_it(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_bytes(zipped({"c/data.pkl": b"\x80\x02", "c/version": b"3", "c/data/0": LOSS.tobytes()}))
    line = refusal(path, capsys)
    assert line.startswith(f"{path}: a file of torch.save is a pickle, which is never loaded; ")
    assert (
        "np.savez('FILE.npz', **{name: t.detach().cpu().numpy() for name, t in torch.load('FILE.pt').items()})" in line
    )
    with pytest.raises(InputError, match=r"a file of torch\.save"):
        oracle.load(path)


@pytest.mark.parametrize("make", [lambda path: None, Path.mkdir, os.mkfifo], ids=["nothing", "a folder", "a pipe"])
def test_a_path_that_is_not_a_file_is_refused(
    make: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "candidate.npz"
    make(path)
    assert refusal(path, capsys) == f"{path}: {'not a regular file' if path.exists() else 'no such file'}"


@pytest.mark.parametrize("case", ["cut", "good", "wrong"])
def test_the_exit_status_is_right_and_there_is_no_traceback(case: str, tmp_path: Path) -> None:
    content = {"cut": ALL[:3000], "good": ALL, "wrong": saved({"loss": -LOSS})}[case]
    (tmp_path / "candidate.npz").write_bytes(content)
    command = [sys.executable, "-m", "lie_ref", "verify", NAME, "candidate.npz"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == {"good": 0, "wrong": 1, "cut": 2}[case]
    printed, silent = (done.stderr, done.stdout) if case == "cut" else (done.stdout, done.stderr)
    assert silent == ""
    assert re.match(r"lie-ref: candidate\.npz: .+\n$" if case == "cut" else f"{NAME}: ", printed)


NOT_ARRAYS = {
    "None": (None, "expected a dict or an .npz file of arrays, got NoneType"),
    "a list": ([LOSS], "expected a dict or an .npz file of arrays, got list"),
    "a number as name": ({0: LOSS}, "0 is not asked for"),
    "a surrogate in a name": ({"loss\ud800": LOSS}, r"'loss\ud800' is not asked for"),
    "an object": ({"loss": None}, "'loss': expected float32 or float64, got 'object'"),
    "integers in a list": ({"loss": [1, 2, 3]}, "'loss': expected float32 or float64, got 'int64'"),
    "rows of several lengths": ({"logits": [[0.5], [0.5, 0.5]]}, "'logits': is not an array ("),
    "an object that does not convert": ({"loss": Tensor("no array")}, "'loss': is not an array ("),
    "a tensor with a graph": (
        {"loss": Tensor(LOSS, requires_grad=True)},
        "'loss': NumPy cannot read this tensor, pass t",
    ),
    "a bfloat16": (
        {"loss": Tensor(LOSS, dtype="torch.bfloat16")},
        "'loss': NumPy cannot read this tensor, pass tensor.f",
    ),
    "a structured array": ({"loss": LOSS.view([(1000 * "a", "f8")])}, "'loss': expected float32 or float64, got "),
}


@pytest.mark.parametrize("case", NOT_ARRAYS)
def test_a_python_object_that_is_not_a_candidate_is_refused_in_one_line(case: str) -> None:
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
    ".npy of version 2": zipped({f"{key}.npy": npy(a, (2, 0)) for key, a in GOOD.items()}),
    "names without suffix": zipped({key: npy(a) for key, a in GOOD.items()}),
    "a header of Python 2": headed("{'descr': '<f8', 'fortran_order': False, 'shape': (3L,)}"),
    "a comment": patched(ALL, (END, 20, b"\5\0")) + b"hello",
    "garbage before": b"garbage" + ALL,
    "garbage behind": ALL + b"garbage",
}


@pytest.mark.parametrize("case", CONTAINERS)
def test_right_numbers_agree_in_every_container_that_numpy_reads(
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
    (line,) = [line for line in shown.out.splitlines() if "has nan or inf" in line]
    assert line.startswith(f"  {quantity:<12} has nan or inf, in {tensor}")
    places = {"logits": "example 2", "loss": "example 2", "grad": "example 2", "hvp": "H_2 g_0"}
    assert line.endswith(places.get(quantity, "pair (2, 0)"))
    assert "Numbers that are not finite are not diagnosed." in shown.out
    assert f"\nThe first quantity that disagrees is {quantity}" in shown.out
    assert shown.err == ""
    verdict = json.loads((tmp_path / "verdict.json").read_text(), parse_constant=pytest.fail)
    assert [name for name, q in verdict["quantities"].items() if not q["agrees"]] == [quantity]
    assert verdict["diagnosis"] == []


@pytest.mark.parametrize("value", [-1e100, 1.7e308, np.finfo(np.longdouble).max, 5e-324, np.float32(3e38)], ids=repr)
@pytest.mark.parametrize("name", [NAME, "mlp-relu-at-zero"])
def test_huge_and_tiny_numbers_are_judged_without_warnings(
    name: str, value: Any, recwarn: pytest.WarningsRecorder
) -> None:
    exact = oracle.load(name).outputs
    for key in ("logits", "loss", "grad/2.bias", "hvp/0.weight", "bracket/0.weight", "logit_delta"):
        wrong = np.full_like(exact[key], value, dtype=np.asarray(value).dtype)
        verdict = oracle.verify(name, exact | {key: wrong})
        assert [q for q, found in verdict.quantities.items() if not found.agrees] == [key.partition("/")[0]]
        assert "has nan or inf" not in str(verdict)
    assert not recwarn.list


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """The file with a bit changed, or a piece cut out, doubled, zeroed, randomised or moved."""
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


def members(rng: np.random.Generator) -> bytes:
    """An intact archive of a damaged array."""
    return zipped({"logits.npy": mutated(npy(GOOD["logits"]), rng), "loss.npy": npy(LOSS)})


@pytest.mark.parametrize("damaged", [archives, members])
def test_a_damaged_file_gets_a_verdict_or_a_refusal(
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
