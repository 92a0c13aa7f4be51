"""A damaged or unsuitable checkpoint is refused by one line that names the file and the fault."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from lie_ref.core.networks import preset
from lie_ref.machine.errors import InputError
from lie_ref.machine.files import read_npz, write_npz
from lie_ref.study.checkpoint import Checkpoint


@pytest.fixture
def checkpoint(small_run: Path, tmp_path: Path) -> Path:
    """A copy of a good checkpoint, to be damaged."""
    path = tmp_path / "checkpoint.npz"
    path.write_bytes((small_run / "checkpoints" / "step_000012.npz").read_bytes())
    return path


def refusal(path: Path, network: str = "mxresnet-tiny", first: int = 0, last: int = 12) -> str:
    with pytest.raises(InputError, match=re.escape(f"{path}: ")) as caught:
        Checkpoint.read(path, preset(network), first, last)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_checkpoint_cut_short_is_refused(checkpoint, share):
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: int(share * len(content))])
    assert refusal(checkpoint).startswith("damaged")


@pytest.mark.parametrize("network", ["mxresnet-small", "mxresnet18", "mxresnet50"])
def test_a_checkpoint_of_another_preset_is_refused(checkpoint, network):
    assert refusal(checkpoint, network).endswith("another network's checkpoint?")


def counters(*values: object) -> dict[str, np.ndarray | None]:
    return {"counters": np.array(values)}


SHAPES = {"param/0.0.weight": (8, 3, 3, 3), "buffer/0.1.running_var": (8,), "adam.mean/0.0.weight": (8, 3, 3, 3)}
CHANGES: list[tuple[dict[str, np.ndarray | None], str]] = [
    ({"format": None}, "expected format 'lie-ref-checkpoint/1', found 'none'"),
    ({"format": np.array("a/0")}, "expected format 'lie-ref-checkpoint/1', found 'a/0'"),
    *(({name: None}, f"expected {name} of shape ") for name in (*SHAPES, "adam.square/6.0.convs.1.1.bias")),
    (counters(0, 0, 0), "expected counters of shape (4,), found (3,)"),
    (counters(1, 2, 3, None), "damaged or not an .npz archive of plain arrays ('counters': "),
    (counters(-1, 0, 0, 0), "expected integers >= 0 in counters, found [-1, 0, 0, 0]"),
    (counters(12, 12, 0, -3), "expected integers >= 0 in counters, found [12, 12, 0, -3]"),
    (counters(1.0, 1.0, 1.0, 1.0), "expected integers >= 0 in counters, found [1.0, 1.0, 1.0, 1.0]"),
    *(
        ({name: bad}, f"expected finite float32 numbers in {name}, found others ({bad.dtype})")
        for name, shape in SHAPES.items()
        for bad in (np.ones(shape), np.full(shape, np.nan, np.float32), np.full(shape, "1.0"))
    ),
]


@pytest.mark.parametrize(("change", "said"), CHANGES)
def test_a_checkpoint_with_a_wrong_array_is_refused(checkpoint, change, said):
    arrays = read_npz(checkpoint) | change
    write_npz(checkpoint, {name: a for name, a in arrays.items() if a is not None})
    assert refusal(checkpoint).startswith(said)


@pytest.mark.parametrize(("first", "last", "said"), [(10, 10, "10"), (0, 11, "0 to 11"), (13, 20, "13 to 20")])
def test_a_checkpoint_of_another_step_is_refused(checkpoint, first, last, said):
    Checkpoint.read(checkpoint, preset("mxresnet-tiny"), 12, 12)
    message = f"expected step {said}, found 12; delete it and resume the run"
    assert refusal(checkpoint, first=first, last=last) == message
