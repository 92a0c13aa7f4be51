"""Networks with other layers in place of theirs: any change of layers, and batch-norm folded into convolutions."""

from __future__ import annotations

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
    """The model with every layer changed, the innermost first; the model itself if that leaves all as they are."""

    def changed(layer: Any) -> Any:
        if isinstance(layer, Sequential):
            layer = replace(layer, layers=tuple(map(changed, layer.layers)))
        elif isinstance(layer, Residual):
            parts = {name: changed(getattr(layer, name)) for name in ("convs", "shortcut", "activation")}
            layer = replace(layer, **parts)
        return change(layer)

    network = changed(model.network)
    return model if network == model.network else replace(model, network=network)


def folded(model: Model, params: dict[str, Number], buffers: Arrays) -> tuple[Model, dict[str, Number]]:
    """In evaluation mode, the same network without batch-norm: each is folded into the convolution before it.

    In evaluation mode batch-norm is x · scale + shift.  Both go into the kernel and the bias of each channel, so that
    they cost nothing at the pixels.  Parameters may be duals.
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
