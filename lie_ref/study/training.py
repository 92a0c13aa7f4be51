"""Trains a network as PyTorch would: Adam on shuffled passes over the data, stopped and resumed at any step."""

from time import monotonic
from typing import NamedTuple

import numpy as np

from ..core.losses import LOSSES, LossFunction
from ..core.networks import Model
from ..core.problem import NO_PAIRS, Problem
from ..core.types import Array, Arrays
from ..fast.engine import training_step
from ..images.dataset import Dataset
from ..machine.errors import InputError
from .checkpoint import Checkpoint
from .settings import stream


class Adam:
    """Adam (Kingma & Ba 2015) exactly as in `torch.optim.Adam`: bias-corrected, with ε added outside the root.

    `step(params, grads)` updates the arrays of `params` in place, in their own dtype.

    >>> params = {"w": np.array([1.0])}
    >>> Adam(params, lr=0.1).step(params, {"w": np.array([5.0])})
    >>> params["w"].round(6)
    array([0.9])
    """

    def __init__(
        self, params: Arrays, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        self.lr, self.betas, self.eps = lr, betas, eps
        self.count = 0
        self.mean = {name: np.zeros_like(p) for name, p in params.items()}
        self.square = {name: np.zeros_like(p) for name, p in params.items()}

    def step(self, params: Arrays, grads: Arrays) -> None:
        """One step, in place, from the gradient name → (*shape)."""
        self.count += 1
        beta1, beta2 = self.betas
        step_size = self.lr / (1 - beta1**self.count)
        root = (1 - beta2**self.count) ** 0.5
        for name, p in params.items():
            g, m, v = grads[name], self.mean[name], self.square[name]
            m += (g - m) * (1 - beta1)
            v *= beta2
            v += g * g * (1 - beta2)
            p -= step_size * m / (np.sqrt(v) / root + self.eps)


class Sampler:
    """Mini-batches of row numbers, pass after pass.  Each pass has its own order and drops an incomplete last batch.

    The order of a pass depends only on the seed and on the number of the pass, so `epoch` and `position` are the whole
    state.  Raises ValueError if there are fewer rows than a batch needs.

    >>> sampler = Sampler(np.arange(5), batch=2, seed=0)
    >>> [sampler.next().tolist() for _ in range(3)]
    [[2, 1], [3, 4], [3, 0]]
    """

    def __init__(self, rows: Array, batch: int, seed: int, epoch: int = 0, position: int = 0) -> None:
        if len(rows) < batch:
            raise ValueError(f"batch: expected at most {len(rows)}, the number of rows, got {batch}")
        self.rows, self.batch, self.seed = rows, batch, seed
        self.go_to(epoch, position)

    def next(self) -> Array:
        """The next mini-batch: row numbers (batch,)."""
        if self.position + self.batch > len(self.rows):
            self.go_to(self.epoch + 1, 0)
        self.position += self.batch
        return self.order[self.position - self.batch : self.position]

    def go_to(self, epoch: int, position: int) -> None:
        """Continue in this pass, from this position."""
        self.epoch, self.position = epoch, position
        self.order = stream(self.seed, "order", epoch).permutation(self.rows)


class Step(NamedTuple):
    """The mean loss of a step, and the row numbers (m,) and logits (m, k) of its mini-batch.

    Loss and logits are those before the step, in training mode.
    """

    loss: float
    rows: Array
    logits: Array


class Training:
    """The state of a training run on the train split after `step` steps; `advance` takes one more step."""

    def __init__(
        self,
        model: Model,
        dataset: Dataset,
        seed: int,
        batch: int,
        lr: float,
        betas: tuple[float, float],
        loss: LossFunction = LOSSES["bce"],
    ) -> None:
        """Start at step 0, with float32 parameters and an order of the data that are both drawn from `seed`."""
        self.model, self.dataset, self.loss, self.step = model, dataset, loss, 0
        self.params, self.buffers = model.init(stream(seed, "weights"), np.float32)
        self.adam = Adam(self.params, lr, betas)
        self.sampler = Sampler(dataset.indices("train"), batch, seed)

    def advance(self) -> Step:
        """Take one step on the next mini-batch.  Raises InputError if a number is not finite afterwards."""
        rows = self.sampler.next()
        x, y = self.dataset.batch(rows)
        problem = Problem(
            self.model, self.params, self.buffers, x[None], y[None], NO_PAIRS, x, self.loss, training=True
        )
        with np.errstate(over="ignore", invalid="ignore"):
            loss, grads, self.buffers, z = training_step(problem)
            self.adam.step(self.params, grads)
        self.step += 1
        state = {"": np.array(loss)}, self.params, self.buffers, self.adam.mean, self.adam.square
        if not all(np.isfinite(a).all() for arrays in state for a in arrays.values()):
            raise InputError(f"--lr: training with {self.adam.lr} went beyond float32 at step {self.step}")
        return Step(loss, rows, z)

    def checkpoint(self) -> Checkpoint:
        """The complete state.  Its arrays belong to this run, and the next step changes them."""
        counters = self.step, self.adam.count, self.sampler.epoch, self.sampler.position
        return Checkpoint(self.params, self.buffers, self.adam.mean, self.adam.square, *counters)

    def continue_from(self, checkpoint: Checkpoint) -> None:
        """Take the state of a checkpoint of this model."""
        weights, adam = checkpoint.weights(self.model, np.float32), checkpoint.adam(self.adam.betas, np.float32)
        self.params, self.buffers = weights.params, weights.buffers
        self.adam.mean, self.adam.square, self.adam.count = adam.mean, adam.square, adam.count
        self.step = checkpoint.step
        self.sampler.go_to(checkpoint.epoch, checkpoint.position)


def seconds_per_step(model: Model, size: int, batch: int) -> float:
    """About how long a training step takes on this machine: the shortest on empty pictures within a second."""
    x, y = np.zeros((1, batch, 3, size, size), np.float32), np.zeros((1, batch, model.n_out), np.float32)
    params, buffers = model.init(0, np.float32)
    problem = Problem(model, params, buffers, x, y, NO_PAIRS, x[0], training=True)
    took: list[float] = []
    while len(took) < 2 or sum(took) < 1:
        began = monotonic()
        training_step(problem)
        took.append(monotonic() - began)
    return min(took)
