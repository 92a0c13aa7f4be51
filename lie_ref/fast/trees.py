"""Replaces layers of a network; in particular, folds batch-norm into convolutions."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..core.layers import EPS, BatchNorm, Conv, Layer, Residual, Sequential
from ..core.networks import Model
from ..core.types import Arrays
from .convolution import BiasedConv
from .dual import Number, linear


def with_layers(model: Model, change: Callable[[Layer], Layer]) -> Model:
    """The model with `change` applied to every layer, innermost first; the model itself if nothing differs."""
    network = _changed(model.network, change)
    return model if network == model.network else replace(model, network=network)


def _changed(layer: Any, change: Callable[[Layer], Layer]) -> Any:
    if isinstance(layer, Sequential):
        layer = replace(layer, layers=tuple(_changed(inner, change) for inner in layer.layers))
    elif isinstance(layer, Residual):
        parts = {name: _changed(getattr(layer, name), change) for name in ("convs", "shortcut", "activation")}
        layer = replace(layer, **parts)
    return change(layer)


def folded(model: Model, params: dict[str, Number], buffers: Arrays) -> tuple[Model, dict[str, Number]]:
    """The same network in evaluation mode, with each batch-norm folded into the convolution before it.

    In evaluation mode batch-norm is x · scale + shift.  The scale goes into the kernel of the convolution and the shift
    becomes its bias, so that they cost nothing per pixel.  Parameters may be duals.
    """
    state = dict(params)

    def fold(layer: Layer) -> Layer:
        if not isinstance(layer, Sequential):
            return layer
        layers: list[Layer] = []
        for inner in layer.layers:
            conv = layers[-1] if layers else None
            if type(inner) is BatchNorm and isinstance(conv, Conv):
                scale = params[f"{inner.name}.weight"] * (1 / np.sqrt(buffers[f"{inner.name}.running_var"] + EPS))
                shift = params[f"{inner.name}.bias"] - scale * buffers[f"{inner.name}.running_mean"]
                per_kernel = linear(lambda s: s[..., None, None, None], scale)
                state[f"{conv.name}.weight"] = params[f"{conv.name}.weight"] * per_kernel
                state[f"{conv.name}.bias"] = shift
                layers[-1] = BiasedConv(conv.name, conv)
            else:
                layers.append(inner)
        return replace(layer, layers=tuple(layers))

    return with_layers(model, fold), state
