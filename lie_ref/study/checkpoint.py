"""A checkpoint: the complete state of a training run after some number of steps, and its file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.networks import Model
from ..core.optimizers import AdamState
from ..core.problem import Weights
from ..core.types import Arrays, Shapes
from ..machine.errors import InputError
from ..machine.files import read_npz, write_npz

FORMAT = "lie-ref-checkpoint/1"
GROUPS = {"param": "params", "buffer": "buffers", "adam.mean": "mean", "adam.square": "square"}  # prefix -> field
COUNTERS = ("step", "count", "epoch", "position")


@dataclass(frozen=True)
class Checkpoint:
    """Parameters, buffers, Adam's state and the sampler's state after `step` steps.  All arrays are float32.

    `mean` and `square` are Adam's running means after `count` steps.  The sampler is at `position` in pass `epoch`.
    """

    params: Arrays
    buffers: Arrays
    mean: Arrays
    square: Arrays
    step: int
    count: int
    epoch: int
    position: int

    def write(self, path: Path) -> None:
        """Write the file, with `param/NAME`, `buffer/NAME`, `adam.mean/NAME`, `adam.square/NAME` and the counters."""
        arrays = {f"{prefix}/{name}": a for prefix, field in GROUPS.items() for name, a in getattr(self, field).items()}
        counters = np.array([getattr(self, name) for name in COUNTERS])
        write_npz(path, arrays | {"format": np.array(FORMAT), "counters": counters})

    @classmethod
    def read(cls, path: Path, model: Model, first: int, last: int) -> Checkpoint:
        """Read the checkpoint of this model, at a step from `first` to `last`.

        Raises InputError, which names the file, if it is damaged, has other contents, or holds numbers that are not
        finite float32.
        """
        arrays = read_npz(path)
        found = str(arrays.get("format", "none"))
        if found != FORMAT:
            raise InputError(f"{path}: expected format {FORMAT!r}, found {found!r}")
        expected: Shapes = {"counters": (len(COUNTERS),)}
        for prefix in GROUPS:
            shapes = model.buffer_shapes if prefix == "buffer" else model.parameter_shapes
            expected |= {f"{prefix}/{name}": shape for name, shape in shapes.items()}
        for name, shape in expected.items():
            if name not in arrays or arrays[name].shape != shape:
                came = arrays[name].shape if name in arrays else "nothing"
                raise InputError(
                    f"{path}: expected {name} of shape {shape}, found {came}: another network's checkpoint?"
                )
            if name != "counters" and not (arrays[name].dtype == np.float32 and np.isfinite(arrays[name]).all()):
                raise InputError(
                    f"{path}: expected finite float32 numbers in {name}, found others ({arrays[name].dtype})"
                )
        counters = arrays["counters"]
        if counters.dtype.kind not in "iu" or counters.min() < 0:
            raise InputError(f"{path}: expected integers >= 0 in counters, found {counters.tolist()}")
        if not first <= counters[0] <= last:
            steps = f"{first}" if first == last else f"{first} to {last}"
            raise InputError(f"{path}: expected step {steps}, found {counters[0]}; delete it and resume the run")
        groups: dict[str, Any] = {
            field: {name.removeprefix(f"{prefix}/"): arrays[name] for name in expected if name.startswith(f"{prefix}/")}
            for prefix, field in GROUPS.items()
        }
        numbers: dict[str, Any] = dict(zip(COUNTERS, counters.tolist(), strict=True))
        return cls(**groups, **numbers)

    def weights(self, model: Model, dtype: Any = np.float64) -> Weights:
        """The network at this checkpoint."""
        return Weights(model, _cast(self.params, dtype), _cast(self.buffers, dtype))

    def adam(self, betas: tuple[float, float], dtype: Any = np.float64) -> AdamState:
        """The state of Adam."""
        return AdamState(_cast(self.mean, dtype), _cast(self.square, dtype), self.count, betas)


def _cast(arrays: Arrays, dtype: Any) -> Arrays:
    return {name: a.astype(dtype) for name, a in arrays.items()}
