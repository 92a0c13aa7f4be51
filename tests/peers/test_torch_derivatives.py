"""Gradients, Hessian-vector products, brackets and push-forwards equal those of torch.func in float64."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from networks import at, generic_state

import lie_ref
from lie_ref.core.networks import Model

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from . import Arrays, assert_agree  # noqa: E402
from .mxresnet_torch import (  # noqa: E402
    ACTIVATIONS,
    LOSSES,
    bracket,
    gradient,
    hvp,
    load_weights,
    network,
    push_forward,
    without_running_statistics,
)

# In forward mode, torch 2.13 warns of its own use of torch.jit.script.
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")]


@dataclass(frozen=True)
class Case:
    """A network and the inputs on which its derivatives are compared."""

    model: Model
    shape: tuple[int, ...]  # of one example
    loss: str
    examples: int = 4
    batch: int = 4  # examples in each of the two mini-batches


SIZES = [6, 9, 8, 5]
CASES = {
    # The last stage of the deep presets has a single pixel here.  In training mode, batch-norm maps any two numbers to
    # ±1, so mini-batches of two examples would leave little but rounding to compare.
    "mxresnet-tiny": Case(lie_ref.preset("mxresnet-tiny"), (3, 64, 64), "bce", batch=6),
    "mxresnet-small": Case(lie_ref.preset("mxresnet-small"), (3, 64, 64), "bce", examples=3),
    "mxresnet18": Case(lie_ref.preset("mxresnet18"), (3, 25, 25), "bce", examples=2, batch=6),
    "mxresnet50": Case(lie_ref.preset("mxresnet50"), (3, 25, 25), "bce", examples=2, batch=6),
    "bottleneck": Case(lie_ref.mxresnet((4, 4, 8), (4, 6), (2, 1), expansion=4, n_out=5), (3, 24, 24), "bce"),
    "bottleneck-wide": Case(lie_ref.mxresnet((4, 8, 8), (2, 4), (1, 2), expansion=4, n_out=3), (3, 33, 47), "mse"),
    "odd-rectangle": Case(lie_ref.mxresnet((4, 6, 8), (8, 10), (2, 1), n_out=5), (3, 33, 47), "softmax"),
    "grey-17": Case(lie_ref.mxresnet((4, 4, 6), (6, 8), (1, 1), n_out=4, n_in=1), (1, 17, 17), "mse"),
    "pool-only-shortcut": Case(lie_ref.mxresnet((4, 4, 6), (6, 6), (1, 2), n_out=4), (3, 20, 26), "softmax"),
    **{
        f"mlp-{a}-{loss}": Case(lie_ref.mlp([6, 9, 8, 5], a), (6,), loss, batch=3)
        for a in ACTIVATIONS
        for loss in LOSSES
    },
}


class Subject:
    """A case with random weights and inputs in both frameworks."""

    def __init__(self, name: str) -> None:
        self.case, self.model, self.loss = CASES[name], CASES[name].model, CASES[name].loss
        seed = list(CASES).index(name)
        self.rng = np.random.default_rng(100 + seed)
        self.params, self.buffers = generic_state(self.model, seed)
        self.net = load_weights(network(self.model.spec), self.params, self.buffers)
        self.x, self.y = self.inputs(self.case.examples)
        self._brackets: dict[tuple[int, int], dict[str, Tensor]] = {}
        self.small = self.model.parameter_count < 1_000_000

    def inputs(self, *leading: int) -> tuple[np.ndarray, np.ndarray]:
        """Random inputs with these leading axes, and targets that fit the case's loss."""
        x = self.rng.normal(size=(*leading, *self.case.shape))
        if self.loss == "softmax":
            return x, self.rng.integers(0, self.model.n_out, size=leading)
        if self.loss == "bce":
            return x, self.rng.integers(0, 2, size=(*leading, self.model.n_out)).astype(np.float64)
        return x, self.rng.normal(size=(*leading, self.model.n_out))

    def directions(self, count: int) -> Arrays:
        """Random directions, name → (count, *shape)."""
        return {name: self.rng.normal(size=(count, *value.shape)) for name, value in self.params.items()}

    def example(self, i: int) -> tuple[Tensor, Tensor]:
        """Example i as a batch of one."""
        return torch.from_numpy(self.x[i : i + 1]), torch.from_numpy(self.y[i : i + 1])

    @cached_property
    def gradients(self) -> list[dict[str, Tensor]]:
        """The peer's gradients of all examples."""
        return [gradient(self.net, *self.example(i), self.loss) for i in range(len(self.x))]

    def bracket(self, i: int, j: int) -> dict[str, Tensor]:
        """The peer's bracket of two examples."""
        if (i, j) not in self._brackets:
            self._brackets[i, j] = bracket(self.net, self.example(i), self.example(j), self.loss)
        return self._brackets[i, j]


@pytest.fixture(scope="module", params=CASES)
def subject(request: pytest.FixtureRequest) -> Subject:
    return Subject(request.param)


def tensors(arrays: Arrays) -> dict[str, Tensor]:
    return {name: torch.from_numpy(value) for name, value in arrays.items()}


def norm(tree: Mapping[str, Any]) -> float:
    """The Euclidean norm of all tensors together."""
    return float(np.linalg.norm([np.linalg.norm(value) for value in tree.values()]))


def rms(tree: dict[str, Tensor], names: Iterable[Any]) -> np.ndarray:
    """The root mean square of each tensor, (t,)."""
    return np.array([tree[str(name)].square().mean().sqrt().item() for name in names])


def test_per_example_gradients(subject: Subject) -> None:
    s = subject
    ours = lie_ref.gradients(s.model, s.params, s.buffers, s.x, s.y, loss=s.loss)
    for i, theirs in enumerate(s.gradients):
        assert_agree(at(ours, i), theirs)


def test_hvps_in_random_directions(subject: Subject) -> None:
    s = subject
    count = 2 if s.small else 1
    directions = s.directions(count)
    ours = lie_ref.hvps(s.model, s.params, s.buffers, s.x[:2], s.y[:2], directions, loss=s.loss)
    for k in range(count):
        for i in range(2):
            assert_agree(at(ours, k, i), hvp(s.net, *s.example(i), s.loss, tensors(at(directions, k))))


def test_brackets_of_pairs_in_both_orders(subject: Subject) -> None:
    s = subject
    pairs = [(0, 1), (1, 0), (2, 1)] if s.small else [(0, 1), (1, 0)]
    ours = lie_ref.brackets(s.model, s.params, s.buffers, s.x, s.y, pairs, loss=s.loss)
    assert_agree(at(ours, 0), s.bracket(0, 1))
    assert_agree(at(ours, 1), {name: -value for name, value in s.bracket(0, 1).items()})
    if s.small:
        assert_agree(at(ours, 2), s.bracket(2, 1))


def test_the_bracket_of_an_example_with_itself_is_zero(subject: Subject) -> None:
    s = subject
    ours = lie_ref.brackets(s.model, s.params, s.buffers, s.x, s.y, [(1, 1)], loss=s.loss)
    # Two products H g cancel, so rounding errors are relative to the norm of H g.
    zero = {name: np.zeros(value.shape) for name, value in s.params.items()}
    scale = norm(hvp(s.net, *s.example(1), s.loss, s.gradients[1]))
    assert_agree(at(ours, 0), zero, tolerance=1e-13, scale=scale)


@pytest.mark.parametrize("training", [False, True])
def test_brackets_of_mini_batches(subject: Subject, training: bool) -> None:
    s = subject
    x, y = s.inputs(2, s.case.batch)
    pairs = [(0, 1), (1, 0)]
    before = {name: value.copy() for name, value in s.buffers.items()}
    ours = lie_ref.batch_brackets(s.model, s.params, s.buffers, x, y, pairs, loss=s.loss, training=training)
    net = without_running_statistics(s.net) if training else s.net
    first, second = [(torch.from_numpy(x[b]), torch.from_numpy(y[b])) for b in range(2)]
    theirs = bracket(net, first, second, s.loss)
    assert_agree(at(ours, 0), theirs)
    assert_agree(at(ours, 1), {name: -value for name, value in theirs.items()})
    for name, value in before.items():
        np.testing.assert_array_equal(s.buffers[name], value, err_msg=name)


def test_push_forwards_of_random_tangents(subject: Subject) -> None:
    s = subject
    x_eval, _ = s.inputs(5)
    tangents = s.directions(2)
    ours = lie_ref.push_forward(s.model, s.params, s.buffers, x_eval, tangents)
    assert ours.shape == (2, 5, s.model.n_out)
    for k in range(2):
        theirs = push_forward(s.net, torch.from_numpy(x_eval), tensors(at(tangents, k)))
        assert_agree({"logits": ours[k]}, {"logits": theirs})


def test_all_results_of_an_evaluation(subject: Subject) -> None:
    s = subject
    k = min(3, len(s.x))
    ev = lie_ref.evaluate(s.model, s.params, s.buffers, s.x, s.y, examples=k, loss=s.loss)
    x, y = torch.from_numpy(s.x), torch.from_numpy(s.y)
    assert [tuple(pair) for pair in ev.pairs] == list(combinations(range(k), 2))
    assert set(ev.tensor_names) == set(s.params)
    z = s.net(x).detach()
    losses = torch.stack([LOSSES[s.loss](z[i : i + 1], y[i : i + 1]) for i in range(len(x))])
    assert_agree({"logits": ev.logits}, {"logits": z})
    assert_agree({"loss": ev.loss}, {"loss": losses})
    for i in range(k):
        assert_agree({"gradient": ev.rms_gradient[i]}, {"gradient": rms(s.gradients[i], ev.tensor_names)})
    for p, (i, j) in enumerate(ev.pairs):
        theirs = s.bracket(i, j)
        assert_agree(at(ev.brackets, p), theirs)
        assert_agree({"bracket": ev.rms_bracket[p]}, {"bracket": rms(theirs, ev.tensor_names)})
        assert_agree({"delta": ev.logit_delta[p]}, {"delta": push_forward(s.net, x, theirs)})


@pytest.mark.parametrize("loss", LOSSES)
def test_brackets_at_logits_of_a_thousand(loss: str) -> None:
    s = Subject(f"mlp-mish-{loss}")
    s.params["4.weight"] *= 1000 / np.abs(s.model.apply(s.params, s.buffers, s.x)).max()
    s.params["4.bias"][:] = 0
    s.net = load_weights(s.net, s.params, s.buffers)
    logits = s.model.apply(s.params, s.buffers, s.x)
    assert 500 < np.abs(logits).max() < 2000
    if loss == "softmax":
        # At a right label of probability p = 1 − 1e-32, torch loses the gradient p − 1, so take wrong labels.
        s.y = logits.argmin(axis=1)
    ours = lie_ref.brackets(s.model, s.params, s.buffers, s.x, s.y, [(0, 1), (2, 3)], loss=loss)
    assert norm(at(ours, 0)) > 0
    for p, (i, j) in enumerate([(0, 1), (2, 3)]):
        assert_agree(at(ours, p), bracket(s.net, s.example(i), s.example(j), loss))
