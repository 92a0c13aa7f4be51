"""The networks: a multilayer perceptron and MXResNet, as trees of layers with the names of a PyTorch state_dict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np

from ..fast.convolution import AvgPool, Conv, MaxPool
from ..fast.dual import Array, Number, linear
from .activations import ACTIVATIONS
from .layers import Activation, BatchNorm, GlobalAvgPool, Layer, Linear, Residual, Sequential, Shapes

Arrays = dict[str, Array]

PRESETS: dict[str, dict[str, Any]] = {
    "mxresnet-tiny": {"stem": (8, 16, 16), "widths": (16, 32, 64), "layers": (1, 1, 1), "expansion": 1},
    "mxresnet-small": {"stem": (16, 32, 32), "widths": (32, 64, 128), "layers": (1, 1, 1), "expansion": 1},
    "mxresnet18": {"stem": (32, 64, 64), "widths": (64, 128, 256, 512), "layers": (2, 2, 2, 2), "expansion": 1},
    "mxresnet50": {"stem": (32, 64, 64), "widths": (64, 128, 256, 512), "layers": (3, 4, 6, 3), "expansion": 4},
}


@dataclass(frozen=True)
class Model:
    """A network: its layers, what its inputs are, and `spec`, the keywords that make it again.

    `n_in` is the number of input channels of pictures (n, channels, height, width), or of features (n, features).
    """

    network: Sequential
    n_in: int
    n_out: int
    pictures: bool
    spec: dict[str, Any]
    zero_initialised: frozenset[str] = frozenset()

    @property
    def parameter_shapes(self) -> Shapes:
        return self.network.parameter_shapes()

    @property
    def buffer_shapes(self) -> Shapes:
        return self.network.buffer_shapes()

    @property
    def parameter_count(self) -> int:
        return sum(int(np.prod(shape)) for shape in self.parameter_shapes.values())

    def largest_array(self, x: Array) -> int:
        """Roughly how many numbers the largest array of a pass over x holds: x channels last, any leading axes."""
        if not self.pictures:
            return x.size // self.n_in * max(self.spec["sizes"])
        pixels, expansion = x.size // self.n_in, self.spec["expansion"]
        stages = [expansion * width * pixels // (16 * 4**i) for i, width in enumerate(self.spec["widths"])]
        return max(x.size, max(self.spec["stem"]) * pixels // 4, *stages)

    def init(self, seed: int = 0, dtype: Any = np.float64) -> tuple[Arrays, Arrays]:
        """Parameters and buffers, name → array: Kaiming-normal weights (variance 2 / fan-in), zero biases.

        Batch-norm starts as the identity, except that the last weight of each residual block is zero.

        >>> params, buffers = mlp([2, 3, 1]).init(seed=0)
        >>> {name: array.shape for name, array in params.items()}
        {'0.weight': (3, 2), '0.bias': (3,), '2.weight': (1, 3), '2.bias': (1,)}
        """
        if not np.issubdtype(dtype, np.floating):
            raise TypeError(f"dtype: expected a floating-point type, got {np.dtype(dtype)}")
        rng = np.random.default_rng(seed)
        params = {}
        for name, shape in self.parameter_shapes.items():
            if len(shape) > 1:  # a matrix or a kernel; batch-norm's weight has one axis
                params[name] = (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(dtype)
            else:
                one = name.endswith(".weight") and name not in self.zero_initialised
                params[name] = np.full(shape, float(one), dtype)
        buffers = {
            name: np.full(shape, float(name.endswith("running_var")), dtype)
            for name, shape in self.buffer_shapes.items()
        }
        return params, buffers

    def apply(self, params: Mapping[str, Any], buffers: Mapping[str, Any], x: Any, training: bool = False) -> Any:
        """Logits (n, n_out) by the layers' definitions; autograd differentiates it in any argument, to any order.

        Batch-norm uses the running statistics, or with `training` those of x, one mini-batch; `buffers` never change.
        Raises ValueError for names or shapes that are not the model's.

        >>> model = mlp([2, 3, 1])
        >>> model.apply(*model.init(seed=0), np.ones((5, 2))).shape
        (5, 1)
        """
        check_shapes("params", params, self.parameter_shapes)
        check_shapes("buffers", buffers, self.buffer_shapes)
        self.check_input("x", x, lead="n")
        return self.network.apply(params, buffers, x, training)

    def check_input(self, argument: str, x: Any, lead: str) -> None:
        """ValueError unless x has these leading axes, such as "b, m", and then the network's own, none empty."""
        axes = lead.count(",") + 1
        shape = np.shape(x)
        if len(shape) != axes + (3 if self.pictures else 1) or shape[axes] != self.n_in or 0 in shape:
            rest = ", height, width" if self.pictures else ""
            raise ValueError(f"{argument}: expected shape ({lead}, {self.n_in}{rest}), none of them 0, got {shape}")


def mlp(sizes: Sequence[int], activation: str = "tanh") -> Model:
    """A multilayer perceptron, PyTorch's Sequential(Linear, activation, Linear, …): sizes = [in, hidden, …, out].

    Activations: tanh, mish, softplus, relu.  Raises ValueError for anything else.

    >>> mlp([3, 4, 2], activation="mish").parameter_count
    26
    """
    sizes = _positive_integers("sizes", sizes, at_least=2)
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise ValueError(f"activation: expected one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    layers: list[Layer] = []
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        if i:
            layers.append(Activation(str(2 * i - 1), activation))
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
    """MXResNet without attention (lessw2020/mish, mxresnet.py): a stem of three convolutions, stages of residual blocks
    (basic for expansion 1, bottleneck for more), global average pool, linear; Mish activations throughout.

    `widths` and `layers` give each stage's width and number of blocks; every stage but the first halves the picture.
    Raises ValueError if stem is not three widths, widths and layers differ in length, or expansion does not divide
    stem[-1].

    >>> mxresnet((8, 16, 16), (16, 32, 64), (1, 1, 1)).parameter_count
    83280
    """
    stem = _positive_integers("stem", stem, at_least=3, at_most=3)
    widths, layers = _positive_integers("widths", widths), _positive_integers("layers", layers)
    (expansion,) = _positive_integers("expansion", [expansion], at_most=1)
    (n_out,), (n_in,) = (_positive_integers(k, [v], at_most=1) for k, v in (("n_out", n_out), ("n_in", n_in)))
    if len(widths) != len(layers):
        raise ValueError(f"layers: expected one number a stage, {len(widths)} as widths has, got {len(layers)}")
    if stem[-1] % expansion:
        raise ValueError(f"stem: expected the last width to be a multiple of expansion {expansion}, got {stem[-1]}")

    network: list[Layer] = []
    for i, (width_in, width_out) in enumerate(zip((n_in, *stem[:-1]), stem, strict=True)):
        network.append(_conv_layer(str(i), width_in, width_out, stride=2 if i == 0 else 1, first=i == 0))
    network.append(MaxPool("3"))
    zero_initialised = set()
    width = stem[-1] // expansion
    for stage, (stage_width, depth) in enumerate(zip(widths, layers, strict=True)):
        for block in range(depth):
            stride = 2 if stage > 0 and block == 0 else 1
            residual = _residual_block(f"{4 + stage}.{block}", width, stage_width, expansion, stride)
            zero_initialised.add([name for name in residual.convs.parameter_shapes() if name.endswith("weight")][-1])
            network.append(residual)
            width = stage_width
    end = 4 + len(widths)
    network += [GlobalAvgPool(str(end)), Linear(str(end + 2), width * expansion, n_out)]
    spec = {
        "kind": "mxresnet",
        "stem": list(stem),
        "widths": list(widths),
        "layers": list(layers),
        "expansion": expansion,
        "n_out": n_out,
        "n_in": n_in,
    }
    return Model(Sequential("", tuple(network)), n_in, n_out, True, spec, frozenset(zero_initialised))


def preset(name: str, n_out: int = 40) -> Model:
    """A shipped network: mxresnet-tiny, mxresnet-small, mxresnet18, mxresnet50; ValueError for others.

    >>> preset("mxresnet-small").parameter_count
    326008
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise ValueError(f"preset: expected one of {', '.join(PRESETS)}, got {name!r}")
    return mxresnet(**PRESETS[name], n_out=n_out)


def with_layers(model: Model, change: Callable[[Layer], Layer]) -> Model | None:
    """The model with every layer changed, down to the innermost; None if that leaves it as it is."""

    def changed(layer: Any) -> Any:
        if isinstance(layer, Sequential):
            layer = replace(layer, layers=tuple(changed(inner) for inner in layer.layers))
        elif isinstance(layer, Residual):
            parts = {name: changed(getattr(layer, name)) for name in ("convs", "shortcut", "activation")}
            layer = replace(layer, **parts)
        return change(layer)

    network = changed(model.network)
    return None if network == model.network else replace(model, network=network)


def with_average_pool(model: Model) -> Model:
    """The model with a 2 × 2 average in place of its max-pool, whose derivative jumps; or the model itself."""
    averaged = with_layers(model, lambda layer: AvgPool(layer.name) if isinstance(layer, MaxPool) else layer)
    return averaged or model


def folded(model: Model, params: Mapping[str, Number], buffers: Arrays) -> tuple[Model, dict[str, Number]]:
    """In evaluation mode the same network without batch-norm: each is folded into the convolution before it.

    Scale and shift of a channel go into its kernel and a bias, so that they cost nothing at the pictures' pixels.
    """
    state = dict(params)

    def fold(layer: Layer) -> Layer:
        if not isinstance(layer, Sequential):
            return layer
        layers: list[Layer] = []
        for inner in layer.layers:
            conv = layers[-1] if layers else None
            if type(inner) is BatchNorm and isinstance(conv, Conv):
                scale, state[f"{conv.name}.bias"] = inner.folded(params, buffers)
                per_kernel = linear(lambda s: s[..., None, None, None], scale)
                state[f"{conv.name}.weight"] = params[f"{conv.name}.weight"] * per_kernel
                layers[-1] = replace(conv, bias=True)
            else:
                layers.append(inner)
        return replace(layer, layers=tuple(layers))

    return with_layers(model, fold) or model, state


def swapped(
    right: type[Layer], wrong: Callable[..., Layer], where: Callable[[Any], bool] = lambda layer: True
) -> Callable[[Layer], Layer]:
    """The change of every layer of exactly one class into one of another that takes the same arguments."""

    def change(layer: Layer) -> Layer:
        if type(layer) is not right or not where(layer):
            return layer
        return wrong(*(getattr(layer, f.name) for f in fields(layer)))

    return change


def _conv_layer(
    name: str, n_in: int, n_out: int, kernel: int = 3, stride: int = 1, first: bool = False, activation: bool = True
) -> Sequential:
    """Convolution, batch-norm and, unless told otherwise, Mish."""
    layers: list[Layer] = [Conv(f"{name}.0", n_in, n_out, kernel, stride, first), BatchNorm(f"{name}.1", n_out)]
    if activation:
        layers.append(Activation(f"{name}.2", "mish"))
    return Sequential(name, tuple(layers))


def _residual_block(name: str, n_in: int, width: int, expansion: int, stride: int) -> Residual:
    """Two 3 × 3 convolutions, or for a bottleneck 1 × 1, 3 × 3, 1 × 1; widths are before expansion."""
    n_in, n_out = n_in * expansion, width * expansion
    convs: tuple[Sequential, ...]
    if expansion == 1:
        convs = (
            _conv_layer(f"{name}.convs.0", n_in, width, stride=stride),
            _conv_layer(f"{name}.convs.1", width, n_out, activation=False),
        )
    else:
        convs = (
            _conv_layer(f"{name}.convs.0", n_in, width, kernel=1),
            _conv_layer(f"{name}.convs.1", width, width, stride=stride),
            _conv_layer(f"{name}.convs.2", width, n_out, kernel=1, activation=False),
        )
    shortcut: list[Layer] = []
    if stride > 1:
        shortcut.append(AvgPool(f"{name}.pool"))
    if n_in != n_out:
        shortcut.append(_conv_layer(f"{name}.idconv", n_in, n_out, kernel=1, activation=False))
    return Residual(
        name,
        Sequential(f"{name}.convs", convs),
        Sequential(f"{name}.shortcut", tuple(shortcut)),
        Activation(f"{name}.activation", "mish"),
    )


def check_shapes(argument: str, arrays: Mapping[str, Any], shapes: Shapes) -> None:
    """ValueError unless the arrays have exactly these names and shapes; TypeError unless they are a mapping."""
    if not hasattr(arrays, "keys"):
        raise TypeError(f"{argument}: expected a dict name -> array, got {type(arrays).__name__}")
    names = [name for name in arrays if not name.endswith("num_batches_tracked")]  # PyTorch counts batches there
    missing, unknown = [n for n in shapes if n not in arrays], [n for n in names if n not in shapes]
    if missing or unknown:
        what = f"{missing[0]!r} is missing" if missing else f"{unknown[0]!r} is unknown"
        raise ValueError(f"{argument}: expected the model's {len(shapes)} names, but {what}")
    for name, shape in shapes.items():
        if np.shape(arrays[name]) != shape:
            raise ValueError(f"{argument}[{name!r}]: expected shape {shape}, got {np.shape(arrays[name])}")


def _positive_integers(
    argument: str, values: Sequence[int], at_least: int = 1, at_most: int | None = None
) -> tuple[int, ...]:
    """The values as a tuple of ints, or a ValueError that names the argument."""
    numbers = tuple(values) if isinstance(values, Iterable) else ()
    valid = all(isinstance(v, (int, np.integer)) and not isinstance(v, bool) and v > 0 for v in numbers)
    if not valid or not at_least <= len(numbers) <= (at_most or len(numbers)):
        exactly = f"{at_least}" if at_most else f"at least {at_least}"
        raise ValueError(f"{argument}: expected {exactly} positive integer(s), got {values}")
    return tuple(int(v) for v in numbers)
