"""GraNd, EL2N, kernels and recomputed batch-norm statistics equal PyTorch's, of networks written for PyTorch alone."""

from __future__ import annotations

import numpy as np
import pytest

import lie_ref
from lie_ref.measure.connectivity import batch_norm_statistics
from lie_ref.measure.kernels import ntk
from lie_ref.measure.scores import el2n, grand

torch = pytest.importorskip("torch")

from torch.func import functional_call, jacrev  # noqa: E402
from torch.optim.swa_utils import update_bn  # noqa: E402

from . import Arrays, assert_agree, generic_weights  # noqa: E402
from .mxresnet_torch import MXResNet, gradient, load_weights, mlp, parameters  # noqa: E402
from .test_torch_networks import PRESETS  # noqa: E402

pytestmark = pytest.mark.torch

SIZES = [6, 9, 8, 5]
CASES = [
    pytest.param(
        lie_ref.preset("mxresnet-tiny"), lambda: MXResNet(**PRESETS["mxresnet-tiny"]), (3, 24, 24), id="mxresnet-tiny"
    ),
    pytest.param(lie_ref.mlp(SIZES, activation="mish"), lambda: mlp(SIZES, "mish"), (6,), id="mlp"),
]


def inputs(model: lie_ref.core.networks.Model, shape: tuple[int, ...], loss: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(10)
    x = rng.standard_normal((4, *shape))
    return x, rng.integers(0, model.n_out, 4) if loss == "softmax" else rng.integers(0, 2, (4, model.n_out)) * 1.0


@pytest.mark.parametrize("loss", ["bce", "softmax"])
@pytest.mark.parametrize(("model", "peer", "shape"), CASES)
def test_grand_and_el2n_are_means_over_pytorch_networks(model, peer, shape, loss):
    states: list[tuple[Arrays, Arrays]] = [generic_weights(model, seed) for seed in (11, 12)]
    x, y = inputs(model, shape, loss)
    tx, ty = torch.from_numpy(x), torch.from_numpy(y)
    norms, errors = [], []
    for state in states:
        net = load_weights(peer(), *state)
        of_net = [gradient(net, tx[i : i + 1], ty[i : i + 1], loss) for i in range(4)]
        norms.append([torch.cat([g.flatten() for g in of.values()]).norm().item() for of in of_net])
        with torch.no_grad():
            z = net(tx)
        error = z.sigmoid() - ty if loss == "bce" else z.softmax(1) - torch.nn.functional.one_hot(ty, model.n_out)
        errors.append(error.norm(dim=1).numpy())
    np.testing.assert_allclose(grand(model, states, x, y, loss), np.mean(norms, axis=0), rtol=1e-10)
    np.testing.assert_allclose(el2n(model, states, x, y, loss), np.mean(errors, axis=0), rtol=1e-10)


@pytest.mark.parametrize(("model", "peer", "shape"), CASES)
def test_the_kernel_is_that_of_pytorchs_jacobian(model, peer, shape):
    state = generic_weights(model, 13)
    x, _ = inputs(model, shape, "bce")
    net, x = load_weights(peer(), *state), x[:2]
    rows = jacrev(lambda p: functional_call(net, p, (torch.from_numpy(x),)))(parameters(net))
    j = torch.cat([row.reshape(2, model.n_out, -1) for row in rows.values()], dim=2).numpy()
    assert_agree({"kernel": ntk(model, *state, x)}, {"kernel": np.einsum("iap,jbp->iajb", j, j)})


def test_statistics_are_those_of_update_bn():
    model, peer, shape = CASES[0].values
    params, buffers = generic_weights(model, 14)
    x = np.random.default_rng(15).standard_normal((3, 8, *shape))
    net = load_weights(peer(), params, buffers)
    update_bn([torch.from_numpy(batch) for batch in x], net)
    theirs = {name: b.numpy() for name, b in net.named_buffers() if not name.endswith("num_batches_tracked")}
    assert_agree(batch_norm_statistics(model, params, x), theirs)
