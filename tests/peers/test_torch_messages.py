"""What PyTorch hands out is taken as it is or refused in one line, and `oracle.split` takes any state_dict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lie_ref
from lie_ref import oracle
from lie_ref.machine.errors import InputError

torch = pytest.importorskip("torch")

from .mxresnet_torch import MXResNet, mlp  # noqa: E402

pytestmark = pytest.mark.torch
NET = mlp([4, 5, 3], "tanh")
MODEL, STATE = lie_ref.mlp([4, 5, 3], "tanh"), NET.state_dict()
X, Y = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), torch.eye(3)


def gradients(model: Any = MODEL, params: Any = STATE, x: Any = X, y: Any = Y) -> dict[str, np.ndarray]:
    return lie_ref.gradients(model, params, {}, x, y)


REFUSED = {
    "a module": ({"model": NET}, r"model: expected a network of lie_ref.mlp, .*, got Sequential; .* gives the weights"),
    "parameters": ({"params": dict(NET.named_parameters())}, r"params\['0.weight'\]: .*, pass tensor.detach\(\)"),
    "bfloat16": ({"params": {k: v.bfloat16() for k, v in STATE.items()}}, r"params\['0.weight'\]: .* tensor.float\(\)"),
    "another device": ({"x": X.to("meta")}, r"x: NumPy cannot read this tensor, pass tensor.cpu\(\)"),
    "a graph": ({"x": X.clone().requires_grad_()}, r"x: NumPy cannot read this tensor, pass tensor.detach\(\)"),
    "pictures": (
        {"x": X.to(torch.uint8)},
        r"x: expected a floating-point array, got dtype uint8; scale pictures as .*",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_tensors_that_numpy_cannot_read_are_refused_with_the_method_that_helps(case: str) -> None:
    arguments, message = REFUSED[case]
    with pytest.raises(TypeError, match=f"^{message}$"):
        gradients(**arguments)


def test_tensors_on_the_cpu_are_taken_as_they_are() -> None:
    expected = gradients(MODEL, {k: v.numpy() for k, v in STATE.items()}, X.numpy(), Y.numpy())
    for name, g in gradients().items():
        np.testing.assert_array_equal(g, expected[name])


def compiled(net: Any) -> Any:
    return torch.compile(net)


@pytest.mark.parametrize("wrap", [lambda net: net, torch.nn.DataParallel, compiled], ids=["", "parallel", "compiled"])
def test_the_state_dict_of_a_wrapped_network_is_split_into_the_models_names(wrap: Any) -> None:
    shape: dict[str, Any] = {"stem": (2, 2, 2), "widths": (2,), "layers": (1,), "n_out": 3}
    net = MXResNet(**shape)
    params, buffers = oracle.split(wrap(net).state_dict())
    model = lie_ref.mxresnet(**shape)
    assert {name: a.shape for name, a in params.items()} == model.parameter_shapes
    assert {name: a.shape for name, a in buffers.items()} == model.buffer_shapes
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8))
    expected = net.eval()(torch.from_numpy(x).to(next(net.parameters()).dtype))
    np.testing.assert_allclose(model.apply(params, buffers, x), expected.detach(), rtol=1e-4, atol=1e-5)
    assert oracle.split(dict(wrap(net).named_parameters()))[0].keys() == params.keys()


def test_split_refuses_bfloat16_by_name() -> None:
    with pytest.raises(TypeError, match=r"^state_dict\['0.bias'\]: NumPy cannot read .* pass tensor.float\(\)$"):
        oracle.split(STATE | {"0.bias": STATE["0.bias"].bfloat16()})


@pytest.mark.parametrize("new", [True, False], ids=["a zip", "the old format"])
@pytest.mark.parametrize("name", ["w.pt", "w.pth"])
def test_files_of_torch_save_are_refused(name: str, new: bool, tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / name, _use_new_zipfile_serialization=new)
    with pytest.raises(InputError, match=r"w.pth?: a file of torch.save is a pickle, .*np.savez\("):
        oracle.verify("mlp-tanh-bce", tmp_path / name)
