"""No false alarms: answers of PyTorch and JAX to random problems are never rejected, in float64 and float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from networks import examples, generic_state

from lie_ref import mlp, mxresnet, oracle

ACTIVATIONS, LOSSES = ("tanh", "mish", "softplus", "relu"), ("bce", "softmax", "mse")
STYLES = ("double_backward", "forward_over_reverse", "vmapped")


def random_reference(seed: int) -> oracle.Vector:
    """A small network, its weights from a tenth to ten times the usual size, and its fields; a fifth are MXResNets."""
    rng = np.random.default_rng([seed, 3])
    pictures, batches, loss = rng.random() < 0.2, rng.random() < 0.4, str(rng.choice(LOSSES))
    if pictures:
        widths = [4 * int(w) for w in rng.integers(1, 3, 2)]
        model = mxresnet([2, 3, widths[0]], widths, rng.integers(1, 3, 2).tolist(), n_out=3, n_in=2)
        one: tuple[int, ...] = (2, *(int(n) for n in rng.integers(7, 13, 2)))
    else:
        sizes = rng.integers(1, 9, rng.integers(2, 6)).tolist()
        model, one = mlp(sizes, str(rng.choice(ACTIVATIONS))), (sizes[0],)
    params, buffers = generic_state(model, seed)
    size = 1.0 if pictures else 10 ** rng.uniform(-1, 1)
    params = {name: size * p for name, p in params.items()}
    lead = (3, int(rng.integers(2, 5))) if batches else (3,)
    x, y = examples(model, (*lead, *one), seed, loss)
    x_eval, _ = examples(model, (2, *one), seed + 1)
    training = bool(pictures and batches and rng.random() < 0.5)
    return oracle.reference(model, params, buffers, x, y, [(0, 1), (2, 0)], x_eval, loss, training)


def rejected(vector: oracle.Vector, answers: dict[str, np.ndarray]) -> str:
    """The verdict on sound answers if it is False, or if it is None in float64."""
    verdict = oracle.verify(vector, answers)
    single = answers["loss"].dtype == np.float32
    return "" if verdict.agrees or (single and verdict.agrees is None) else str(verdict)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("seed", range(45))
def test_sound_answers_of_torch_are_not_rejected(seed: int, dtype: Any) -> None:
    pytest.importorskip("torch")
    from . import answers_torch

    vector = random_reference(seed)
    assert not rejected(vector, getattr(answers_torch, STYLES[seed % 3])(vector, dtype))


@pytest.mark.jax
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("seed", range(45, 51))
def test_sound_answers_of_jax_are_not_rejected(seed: int, dtype: Any) -> None:
    pytest.importorskip("jax")
    from .answers_jax import answers

    vector = random_reference(seed)
    assert not rejected(vector, answers(vector, dtype))
