"""A checkpoint's file is refused, by one line that names it, for whatever is wrong with it."""

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


def refusal(path: Path, network: str = "mxresnet-tiny") -> str:
    with pytest.raises(InputError, match=re.escape(f"{path}: ")) as caught:
        Checkpoint.read(path, preset(network), 0, 12)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


def change(path: Path, **arrays: np.ndarray | None) -> None:
    changed = read_npz(path) | arrays
    write_npz(path, {name: a for name, a in changed.items() if a is not None})


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_checkpoint_cut_short_is_refused(checkpoint: Path, share: float) -> None:
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: int(share * len(content))])
    assert refusal(checkpoint).startswith("damaged")


@pytest.mark.parametrize("network", ["mxresnet-small", "mxresnet18", "mxresnet50"])
def test_a_checkpoint_of_another_preset_is_refused(checkpoint: Path, network: str) -> None:
    assert refusal(checkpoint, network).endswith("another network's checkpoint?")


@pytest.mark.parametrize("version", ["lie-ref-checkpoint/0", None])
def test_a_checkpoint_of_another_format_is_refused(checkpoint: Path, version: str | None) -> None:
    change(checkpoint, format=None if version is None else np.array(version))
    assert refusal(checkpoint) == f"expected format 'lie-ref-checkpoint/1', found '{version or 'none'}'"


@pytest.mark.parametrize("name", ["param/0.0.weight", "buffer/0.1.running_var", "adam.square/6.0.convs.1.1.bias"])
def test_a_checkpoint_without_one_of_its_arrays_is_refused(checkpoint: Path, name: str) -> None:
    change(checkpoint, **{name: None})
    assert refusal(checkpoint).startswith(f"expected {name} of shape ")


def test_a_checkpoint_with_an_array_of_another_shape_is_refused(checkpoint: Path) -> None:
    change(checkpoint, counters=np.zeros(3))
    assert refusal(checkpoint).startswith("expected counters of shape (4,), found (3,)")


def test_pickled_arrays_in_a_checkpoint_are_refused(checkpoint: Path) -> None:
    change(checkpoint, counters=np.array([1, 2, 3, None], dtype=object))
    assert "Object arrays cannot be loaded" in refusal(checkpoint)


@pytest.mark.parametrize("name", ["param/0.0.weight", "buffer/0.1.running_var", "adam.mean/0.0.weight"])
def test_a_checkpoint_with_numbers_that_are_not_finite_float32_is_refused(checkpoint: Path, name: str) -> None:
    good = read_npz(checkpoint)[name]
    bad = good.copy()
    bad.flat[-1] = np.nan
    for array in (good.astype(float), bad, good.astype("U8")):
        change(checkpoint, **{name: array})
        said = f"expected finite float32 numbers in {name}, found others ({array.dtype})"
        assert refusal(checkpoint) == said


@pytest.mark.parametrize("counters", [np.array([-1, 0, 0, 0]), np.array([12, 12, 0, -3]), np.ones(4)])
def test_counters_that_are_no_counts_are_refused(checkpoint: Path, counters: np.ndarray) -> None:
    change(checkpoint, counters=counters)
    assert refusal(checkpoint) == f"expected integers >= 0 in counters, found {counters.tolist()}"


@pytest.mark.parametrize(("first", "last", "said"), [(10, 10, "10"), (0, 11, "0 to 11"), (13, 20, "13 to 20")])
def test_a_checkpoint_of_another_step_is_refused(checkpoint: Path, first: int, last: int, said: str) -> None:
    Checkpoint.read(checkpoint, preset("mxresnet-tiny"), 12, 12)
    with pytest.raises(InputError) as caught:
        Checkpoint.read(checkpoint, preset("mxresnet-tiny"), first, last)
    assert str(caught.value) == f"{checkpoint}: expected step {said}, found 12; delete it and resume the run"
