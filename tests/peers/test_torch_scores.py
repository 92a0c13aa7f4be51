"""GraNd, EL2N, kernels and recomputed batch-norm statistics equal those of PyTorch networks."""

from __future__ import annotations

import numpy as np
import pytest
from networks import examples, generic_state

import lie_ref
from lie_ref.core.networks import Model
from lie_ref.measure.connectivity import batch_norm_statistics
from lie_ref.measure.kernels import ntk
from lie_ref.measure.scores import el2n, grand

torch = pytest.importorskip("torch")

from torch.func import functional_call, jacrev  # noqa: E402
from torch.optim.swa_utils import update_bn  # noqa: E402

from . import Arrays, assert_agree  # noqa: E402
from .mxresnet_torch import gradient, load_weights, network, parameters, statistics  # noqa: E402

pytestmark = pytest.mark.torch

CASES = {
    "mxresnet-tiny": (lie_ref.preset("mxresnet-tiny"), (3, 24, 24)),
    "mlp": (lie_ref.mlp([6, 9, 8, 5], activation="mish"), (6,)),
}
with_cases = pytest.mark.parametrize(("model", "shape"), CASES.values(), ids=CASES)


@pytest.mark.parametrize("loss", ["bce", "softmax"])
@with_cases
def test_grand_and_el2n_are_means_over_networks(model: Model, shape: tuple[int, ...], loss: str) -> None:
    states: list[tuple[Arrays, Arrays]] = [generic_state(model, seed) for seed in (11, 12)]
    x, y = examples(model, (4, *shape), seed=10, loss=loss)
    tx, ty = torch.from_numpy(x), torch.from_numpy(y)
    norms, errors = [], []
    for state in states:
        net = load_weights(network(model.spec), *state)
        of_net = [gradient(net, tx[i : i + 1], ty[i : i + 1], loss) for i in range(4)]
        norms.append([torch.cat([g.flatten() for g in of.values()]).norm().item() for of in of_net])
        with torch.no_grad():
            z = net(tx)
        error = z.sigmoid() - ty if loss == "bce" else z.softmax(1) - torch.nn.functional.one_hot(ty, model.n_out)
        errors.append(error.norm(dim=1).numpy())
    np.testing.assert_allclose(grand(model, states, x, y, loss), np.mean(norms, axis=0), rtol=1e-10)
    np.testing.assert_allclose(el2n(model, states, x, y, loss), np.mean(errors, axis=0), rtol=1e-10)


@with_cases
def test_the_kernel_is_that_of_the_jacobian(model: Model, shape: tuple[int, ...]) -> None:
    state = generic_state(model, 13)
    x, _ = examples(model, (2, *shape), seed=10)
    net = load_weights(network(model.spec), *state)
    rows = jacrev(lambda p: functional_call(net, p, (torch.from_numpy(x),)))(parameters(net))
    j = torch.cat([row.reshape(2, model.n_out, -1) for row in rows.values()], dim=2).numpy()
    assert_agree({"kernel": ntk(model, *state, x)}, {"kernel": np.einsum("iap,jbp->iajb", j, j)})


def test_batch_norm_statistics_are_those_of_update_bn() -> None:
    model, shape = CASES["mxresnet-tiny"]
    params, buffers = generic_state(model, 14)
    x = np.random.default_rng(15).standard_normal((3, 8, *shape))
    net = load_weights(network(model.spec), params, buffers)
    update_bn([torch.from_numpy(batch) for batch in x], net)
    assert_agree(batch_norm_statistics(model, params, x), statistics(net))
