"""Gradients, Hessian-vector products, brackets and push-forwards equal those of torch.func in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import pytest

import lie_ref

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from . import Arrays, assert_agree, generic_weights  # noqa: E402
from .mxresnet_torch import (  # noqa: E402
    ACTIVATIONS,
    LOSSES,
    MXResNet,
    bracket,
    gradient,
    hvp,
    load_weights,
    mlp,
    push_forward,
    without_running_statistics,
)
from .test_torch_networks import PRESETS  # noqa: E402

# torch 2.13 warns of its own use of torch.jit.script in forward mode.
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")]


@dataclass(frozen=True)
class Case:
    """A network, how its peer is made, and the inputs both are asked about."""

    model: Callable[[], Any]
    peer: Callable[[], nn.Module]
    shape: tuple[int, ...]  # of one example
    n_out: int
    loss: str
    examples: int
    batch: int  # examples in each of the two mini-batches


def preset_case(name: str, side: int, examples: int, batch: int) -> Case:
    """A preset with the 40 outputs and the loss of the experiment."""
    model = lambda: lie_ref.preset(name, n_out=40)  # noqa: E731
    return Case(model, lambda: MXResNet(**PRESETS[name]), (3, side, side), 40, "bce", examples, batch)


def mxresnet_case(size: tuple[int, int], n_out: int, loss: str, **arguments: Any) -> Case:
    """A small MXResNet of any make."""
    model = lambda: lie_ref.mxresnet(**arguments, n_out=n_out)  # noqa: E731
    peer = lambda: MXResNet(**arguments, n_out=n_out)  # noqa: E731
    return Case(model, peer, (arguments.get("n_in", 3), *size), n_out, loss, examples=4, batch=4)


def mlp_case(activation: str, loss: str) -> Case:
    """An MLP with two hidden layers."""
    sizes = [6, 9, 8, 5]
    model = lambda: lie_ref.mlp(sizes, activation=activation)  # noqa: E731
    return Case(model, lambda: mlp(sizes, activation), (6,), 5, loss, examples=4, batch=3)


CASES = {
    # The last stage of the deep presets is a single pixel here. Batch-norm of two numbers in training mode is ±1
    # whatever they are: mini-batches of two examples would leave little but rounding to compare.
    "mxresnet-tiny": preset_case("mxresnet-tiny", 64, examples=4, batch=6),
    "mxresnet-small": preset_case("mxresnet-small", 64, examples=3, batch=4),
    "mxresnet18": preset_case("mxresnet18", 25, examples=2, batch=6),
    "mxresnet50": preset_case("mxresnet50", 25, examples=2, batch=6),
    "bottleneck": mxresnet_case((24, 24), 5, "bce", stem=(4, 4, 8), widths=(4, 6), layers=(2, 1), expansion=4),
    "bottleneck-wide": mxresnet_case((33, 47), 3, "mse", stem=(4, 8, 8), widths=(2, 4), layers=(1, 2), expansion=4),
    "odd-rectangle": mxresnet_case((33, 47), 5, "softmax", stem=(4, 6, 8), widths=(8, 10), layers=(2, 1)),
    "grey-17": mxresnet_case((17, 17), 4, "mse", stem=(4, 4, 6), widths=(6, 8), layers=(1, 1), n_in=1),
    "pool-only-shortcut": mxresnet_case((20, 26), 4, "softmax", stem=(4, 4, 6), widths=(6, 6), layers=(1, 2)),
    **{f"mlp-{activation}-{loss}": mlp_case(activation, loss) for activation in ACTIVATIONS for loss in LOSSES},
}


class Subject:
    """A case with its weights and inputs drawn, in both frameworks."""

    def __init__(self, name: str) -> None:
        case = CASES[name]
        seed = list(CASES).index(name)
        self.case, self.loss, self.rng = case, case.loss, np.random.default_rng(100 + seed)
        self.model = case.model()
        self.params, self.buffers = generic_weights(self.model, seed)
        self.net = load_weights(case.peer(), self.params, self.buffers)
        self.x, self.y = self.inputs(case.examples)
        self._brackets: dict[tuple[int, int], dict[str, Tensor]] = {}
        self.small = sum(value.size for value in self.params.values()) < 1_000_000

    def inputs(self, *leading: int) -> tuple[np.ndarray, np.ndarray]:
        """Images (*leading, channels, height, width) and targets of the case's loss."""
        x = self.rng.normal(size=(*leading, *self.case.shape))
        if self.loss == "softmax":
            return x, self.rng.integers(0, self.case.n_out, size=leading)
        if self.loss == "bce":
            return x, self.rng.integers(0, 2, size=(*leading, self.case.n_out)).astype(np.float64)
        return x, self.rng.normal(size=(*leading, self.case.n_out))

    def directions(self, count: int) -> Arrays:
        """name → (count, *shape), random."""
        return {name: self.rng.normal(size=(count, *value.shape)) for name, value in self.params.items()}

    def example(self, i: int) -> tuple[Tensor, Tensor]:
        """Example i as a batch of one."""
        return torch.from_numpy(self.x[i : i + 1]), torch.from_numpy(self.y[i : i + 1])

    @cached_property
    def gradients(self) -> list[dict[str, Tensor]]:
        """The peer's gradient of each example."""
        return [gradient(self.net, *self.example(i), self.loss) for i in range(len(self.x))]

    def bracket(self, i: int, j: int) -> dict[str, Tensor]:
        """The peer's bracket, computed once."""
        if (i, j) not in self._brackets:
            self._brackets[i, j] = bracket(self.net, self.example(i), self.example(j), self.loss)
        return self._brackets[i, j]


@pytest.fixture(scope="module", params=CASES)
def subject(request: pytest.FixtureRequest) -> Subject:
    return Subject(request.param)


def at(arrays: Arrays, *index: int) -> Arrays:
    """The entry at `index` of each array's leading axes."""
    return {name: value[index] for name, value in arrays.items()}


def tensors(arrays: Arrays) -> dict[str, Tensor]:
    return {name: torch.from_numpy(value) for name, value in arrays.items()}


def norm(tree: dict[str, Tensor]) -> float:
    """Euclidean norm of all tensors together."""
    return float(torch.stack([value.norm() for value in tree.values()]).norm())


def rms(tree: dict[str, Tensor], names: Any) -> np.ndarray:
    """(t,): root mean square of each tensor."""
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
    # What cancels is H g, so rounding is measured by its norm.
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
    assert ours.shape == (2, 5, s.case.n_out)
    for k in range(2):
        theirs = push_forward(s.net, torch.from_numpy(x_eval), tensors(at(tangents, k)))
        assert_agree({"logits": ours[k]}, {"logits": theirs})


def test_every_field_of_an_evaluation(subject: Subject) -> None:
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
        # Of a right label of probability 1 − 1e-32 torch loses the gradient, p − 1, and is no peer: take wrong labels.
        s.y = logits.argmin(axis=1)
    ours = lie_ref.brackets(s.model, s.params, s.buffers, s.x, s.y, [(0, 1), (2, 3)], loss=loss)
    assert norm(tensors(at(ours, 0))) > 0
    for p, (i, j) in enumerate([(0, 1), (2, 3)]):
        assert_agree(at(ours, p), bracket(s.net, s.example(i), s.example(j), loss))
