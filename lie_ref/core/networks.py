"""The networks: a multilayer perceptron and MXResNet, as trees of layers with the names of a PyTorch state_dict."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from .activations import ACTIVATIONS, mish
from .layers import Activation, AvgPool, BatchNorm, Conv, GlobalAvgPool, Layer, Linear, MaxPool, Residual, Sequential
from .types import Arrays, Shapes

PRESETS: dict[str, dict[str, Any]] = {
    "mxresnet-tiny": {"stem": (8, 16, 16), "widths": (16, 32, 64), "layers": (1, 1, 1), "expansion": 1},
    "mxresnet-small": {"stem": (16, 32, 32), "widths": (32, 64, 128), "layers": (1, 1, 1), "expansion": 1},
    "mxresnet18": {"stem": (32, 64, 64), "widths": (64, 128, 256, 512), "layers": (2, 2, 2, 2), "expansion": 1},
    "mxresnet50": {"stem": (32, 64, 64), "widths": (64, 128, 256, 512), "layers": (3, 4, 6, 3), "expansion": 4},
}


@dataclass(frozen=True)
class Model:
    """A network without its weights; `spec` holds the keywords that `mlp` or `mxresnet` made it from.

    `n_in` is the number of channels of pictures (n, channels, height, width), or of features (n, features).
    """

    network: Sequential
    n_in: int
    n_out: int
    pictures: bool
    spec: dict[str, Any]

    @property
    def parameter_shapes(self) -> Shapes:
        return self.network.parameter_shapes()

    @property
    def buffer_shapes(self) -> Shapes:
        return self.network.buffer_shapes()

    @property
    def parameter_count(self) -> int:
        return sum(int(np.prod(shape)) for shape in self.parameter_shapes.values())

    def init(self, seed: int | np.random.Generator = 0, dtype: Any = np.float64) -> tuple[Arrays, Arrays]:
        """Parameters and buffers, name → array: Kaiming-normal weights (variance 2 / fan-in) and zero biases.

        Vectors named `…weight`, except the last of each residual block, and variances start as 1, all others as 0.

        >>> params, buffers = mlp([2, 3, 1]).init(seed=0)
        >>> {name: array.shape for name, array in params.items()}
        {'0.weight': (3, 2), '0.bias': (3,), '2.weight': (1, 3), '2.bias': (1,)}
        """
        if not np.issubdtype(dtype, np.floating):
            raise TypeError(f"dtype: expected a floating-point type, got {np.dtype(dtype)}")
        rng, params = np.random.default_rng(seed), {}
        residuals = [layer for layer in self.network.layers if isinstance(layer, Residual)]
        zero = {[name for name in r.convs.parameter_shapes() if name.endswith("weight")][-1] for r in residuals}
        for name, shape in self.parameter_shapes.items():
            if len(shape) > 1:  # a matrix or a kernel; the weight of batch-norm has one axis
                params[name] = (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(dtype)
            else:
                params[name] = np.full(shape, float(name.endswith("weight") and name not in zero), dtype)
        buffers = {name: np.full(s, float(name.endswith("var")), dtype) for name, s in self.buffer_shapes.items()}
        return params, buffers

    def apply(self, params: Mapping[str, Any], buffers: Mapping[str, Any], x: Any, training: bool = False) -> Any:
        """Logits (n, n_out) by the definitions of the layers, which autograd differentiates to any order.

        Batch-norm uses the running statistics or, with `training`, those of x as one mini-batch; `buffers` do not
        change.  Raises ValueError for names or shapes that are not the model's.
        """
        check_shapes("params", params, self.parameter_shapes)
        check_shapes("buffers", buffers, self.buffer_shapes)
        self.check_input("x", x, lead="n")
        return self.network.apply(params, dict(buffers), x, training)

    def check_input(self, argument: str, x: Any, lead: str) -> None:
        """Raise ValueError unless x has these leading axes, such as "b, m", then the network's own, none 0."""
        axes, shape = lead.count(",") + 1, np.shape(x)
        if len(shape) != axes + (3 if self.pictures else 1) or shape[axes] != self.n_in or 0 in shape:
            rest = ", height, width" if self.pictures else ""
            raise ValueError(f"{argument}: expected shape ({lead}, {self.n_in}{rest}), none of them 0, got {shape}")


def mlp(sizes: Sequence[int], activation: str = "tanh") -> Model:
    """A multilayer perceptron, PyTorch's Sequential(Linear, activation, Linear, …): sizes = [in, hidden, …, out].

    Activations are tanh, mish, softplus and relu.  Raises ValueError for others.

    >>> mlp([3, 4, 2], activation="mish").parameter_count
    26
    """
    sizes = _positive_integers("sizes", sizes, at_least=2)
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        came = " ".join(repr(activation).split())[:60]
        raise ValueError(f"activation: expected one of {', '.join(ACTIVATIONS)}, got {came}")
    layers: list[Layer] = []
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        if i:
            layers.append(Activation(str(2 * i - 1), ACTIVATIONS[activation]))
        layers.append(Linear(str(2 * i), n_in, n_out))
    spec = {"kind": "mlp", "sizes": list(sizes), "activation": activation}
    return Model(Sequential("", tuple(layers)), sizes[0], sizes[-1], pictures=False, spec=spec)


def mxresnet(
    stem: Sequence[int],
    widths: Sequence[int],
    layers: Sequence[int],
    expansion: int = 1,
    n_out: int = 40,
    n_in: int = 3,
) -> Model:
    """MXResNet without attention (lessw2020/mish, mxresnet.py), with Mish throughout.

    It has a stem of three convolutions and a max-pool, stages of residual blocks (basic for expansion 1, otherwise
    bottleneck), a global average pool and a linear layer.  `widths` and `layers` are the width and number of blocks of
    each stage; every stage but the first halves the picture.  Raises ValueError for widths that do not fit together.

    >>> mxresnet((8, 16, 16), (16, 32, 64), (1, 1, 1)).parameter_count
    83280
    """
    stem = _positive_integers("stem", stem, at_least=3, at_most=3)
    widths, layers = _positive_integers("widths", widths), _positive_integers("layers", layers)
    (expansion,) = _positive_integers("expansion", [expansion], at_most=1)
    (n_out,), (n_in,) = (_positive_integers(k, [v], at_most=1) for k, v in (("n_out", n_out), ("n_in", n_in)))
    if len(widths) != len(layers):
        raise ValueError(f"layers: expected {len(widths)} numbers, one for each of widths, got {len(layers)}")
    if stem[-1] % expansion:
        raise ValueError(f"stem: expected the last width to be a multiple of expansion {expansion}, got {stem[-1]}")
    network: list[Layer] = [
        _conv_layer(str(i), *pair, stride=1 if i else 2) for i, pair in enumerate(pairwise((n_in, *stem)))
    ]
    network.append(MaxPool("3"))
    width = stem[-1] // expansion
    for stage, (stage_width, depth) in enumerate(zip(widths, layers, strict=True)):
        for block in range(depth):
            stride = 2 if stage > 0 and block == 0 else 1
            network.append(_residual_block(f"{4 + stage}.{block}", width, stage_width, expansion, stride))
            width = stage_width
    end = 4 + len(widths)  # in PyTorch, a Flatten without weights has the number after it
    network += [GlobalAvgPool(str(end)), Linear(str(end + 2), width * expansion, n_out)]
    shape = {"stem": list(stem), "widths": list(widths), "layers": list(layers)}
    spec = {"kind": "mxresnet", **shape, "expansion": expansion, "n_out": n_out, "n_in": n_in}
    return Model(Sequential("", tuple(network)), n_in, n_out, pictures=True, spec=spec)


def preset(name: str, n_out: int = 40) -> Model:
    """The network mxresnet-tiny, mxresnet-small, mxresnet18 or mxresnet50.  Raises ValueError for other names."""
    if not isinstance(name, str) or name not in PRESETS:
        raise ValueError(f"preset: expected one of {', '.join(PRESETS)}, got {' '.join(repr(name).split())[:60]}")
    return mxresnet(**PRESETS[name], n_out=n_out)


def check_shapes(argument: str, arrays: Mapping[str, Any], shapes: Shapes) -> None:
    """Raise ValueError unless the arrays have exactly these names and shapes, TypeError unless they are a mapping."""
    if not hasattr(arrays, "keys"):
        raise TypeError(f"{argument}: expected a dict name -> array, got {type(arrays).__name__}")
    names = [name for name in arrays if not str(name).endswith("num_batches_tracked")]  # PyTorch's counters
    missing, unknown = [n for n in shapes if n not in arrays], [n for n in names if n not in shapes]
    if missing or unknown:
        what = f"{missing[0]!r} is missing" if missing else f"{unknown[0]!r} is unknown"
        raise ValueError(f"{argument}: expected the model's {len(shapes)} names, but {what}")
    for name, shape in shapes.items():
        if np.shape(arrays[name]) != shape:
            raise ValueError(f"{argument}[{name!r}]: expected shape {shape}, got {np.shape(arrays[name])}")


def _conv_layer(name: str, n_in: int, n_out: int, kernel: int = 3, stride: int = 1, last: bool = False) -> Sequential:
    """Convolution, batch-norm and, unless this is the last layer of its branch, Mish."""
    layers = Conv(f"{name}.0", n_in, n_out, kernel, stride), BatchNorm(f"{name}.1", n_out)
    return Sequential(name, layers if last else (*layers, Activation(f"{name}.2", mish)))


def _residual_block(name: str, n_in: int, width: int, expansion: int, stride: int) -> Residual:
    """Two 3 × 3 convolutions, or in a bottleneck 1 × 1, 3 × 3 and 1 × 1; widths are given before expansion."""
    n_in, n_out = n_in * expansion, width * expansion
    kernels = (3, 3) if expansion == 1 else (1, 3, 1)
    widths = (n_in, *(len(kernels) - 1) * (width,), n_out)
    convs, last = [], len(kernels) - 1
    for i, (kernel, pair) in enumerate(zip(kernels, pairwise(widths), strict=True)):
        here = stride if i == last - 1 else 1  # the second to last may halve the picture
        convs.append(_conv_layer(f"{name}.convs.{i}", *pair, kernel, here, last=i == last))
    shortcut: list[Layer] = [AvgPool(f"{name}.pool")] if stride > 1 else []
    if n_in != n_out:
        shortcut.append(_conv_layer(f"{name}.idconv", n_in, n_out, kernel=1, last=True))
    branches = Sequential(f"{name}.convs", tuple(convs)), Sequential(f"{name}.shortcut", tuple(shortcut))
    return Residual(name, *branches, Activation(f"{name}.activation", mish))


def _positive_integers(argument: str, values: Any, at_least: int = 1, at_most: int = 0) -> tuple[int, ...]:
    """The values as a tuple of ints, or a ValueError that names the argument.  `at_most` = 0 means no limit."""
    numbers = tuple(values) if isinstance(values, Iterable) else ()
    valid = all(isinstance(v, (int, np.integer)) and not isinstance(v, bool) and v > 0 for v in numbers)
    if not valid or not at_least <= len(numbers) <= (at_most or len(numbers)):
        exactly, came = f"{'' if at_most else 'at least '}{at_least}", " ".join(str(values).split())[:60]
        raise ValueError(f"{argument}: expected {exactly} positive integer(s), got {came}")
    return tuple(int(v) for v in numbers)
