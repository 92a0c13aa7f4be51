"""The independent jobs of a diet: each trains or examines networks and writes one file."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..core.losses import LOSSES
from ..core.networks import Model, preset
from ..core.types import Array, Arrays
from ..images.dataset import Cache, Images
from ..machine.errors import InputError
from ..machine.files import read_npz, write_npz
from ..measure.connectivity import batch_norm_statistics, interpolated
from ..measure.derivatives import logits
from ..measure.kernels import kernel_velocity, ntk
from ..measure.scores import ROWS, bracket_score, el2n, forgetting, grand, right
from ..study.checkpoint import Checkpoint
from ..study.training import Sampler, Training
from .settings import CHILDREN, RETRAINED, TIMES, DietSettings
from .tasks import TASKS, Task

FORMAT = "lie-ref-diet-job/5"
STATISTICS = 8, 128  # mini-batches, and images in each, for the batch-norm statistics of an interpolated network


@dataclass(frozen=True, eq=False)
class Work:
    """What all jobs of a diet share: the settings, where the images are, and the folder."""

    settings: DietSettings
    images: Cache
    out: Path

    @property
    def tasks(self) -> dict[tuple[str, bool], Task]:
        """The tasks by (name, noisy), which each process makes only once."""
        return _tasks(self.settings, self.images)

    def model(self, task: Task) -> Model:
        return preset(self.settings.network, n_out=len(task.outputs))

    def training(self, task: Task, seed: int) -> Training:
        s = self.settings
        return Training(self.model(task), task.dataset, seed, s.batch, s.lr, s.betas, LOSSES[task.loss])

    def state_path(self, task: str, run: int, step: int) -> Path:
        """The file in which a run of a task saves its state at a step."""
        return self.out / "states" / f"{task}-{run}-{step:06d}.npz"

    def state(self, task: Task, run: int, step: int) -> Checkpoint:
        """The checkpoint of a run at a step; InputError, with the remedy, if the file is lost or damaged."""
        try:
            return Checkpoint.read(self.state_path(task.name, run, step), self.model(task), step, step)
        except InputError as error:
            job = ScoreRun(task.name, run, noisy=False).name
            raise InputError(f"{error}; delete jobs/{job}.npz, and the same command makes it again") from error


@lru_cache(maxsize=1)
def _tasks(settings: DietSettings, images: Cache) -> dict[tuple[str, bool], Task]:
    tasks = {}
    for name in settings.tasks:
        tasks[name, False] = TASKS[name](images.open())
        if settings.noise:
            tasks[name, True] = tasks[name, False].with_noise(settings.noise, settings.rng("noise"))
    return tasks


@dataclass(frozen=True, eq=False)
class Job(ABC):
    """A piece of work: `name` is that of its file, `run` computes the arrays in it."""

    task: str
    number: int  # of the run or retraining
    pattern: ClassVar[str]  # of the name, filled in from the fields

    @property
    def name(self) -> str:
        return self.pattern.format(**vars(self))

    @abstractmethod
    def run(self, work: Work) -> Arrays: ...

    def path(self, work: Work) -> Path:
        """The job's file."""
        return work.out / "jobs" / f"{self.name}.npz"

    def perform(self, work: Work) -> None:
        """Do the job and write its file, which appears only when it is complete."""
        write_npz(self.path(work), self.run(work) | {"format": np.array(self._origin(work))})

    def read(self, work: Work) -> Arrays:
        """The arrays in the file; InputError, with the remedy, if it is damaged or comes from another job or diet."""
        path = self.path(work)
        try:
            arrays = read_npz(path)
            if str(arrays.pop("format", "none")) != self._origin(work):
                raise InputError(f"{path}: not a file of this job, with these settings and of this version")
        except InputError as error:
            raise InputError(f"{error}; delete it, and the same command does it again") from error
        return arrays

    def _origin(self, work: Work) -> str:
        """What made the file: the version of the format, the job and the settings, which decide all shapes."""
        return f"{FORMAT} {self.name} {replace(work.settings, celeba=None)}"  # CelebA may be moved


@dataclass(frozen=True, eq=False)
class ScoreRun(Job):
    """A training on all examples that computes scores on the way; with true labels it also saves its states.

    With false labels it computes only the early scores and forgetting.  Its file holds, for the training examples in
    ascending order of their rows, `SCORE/TIME` (n,), forgetting `events` (n,) and `never_learnt` (n,); and `loss` and
    `accuracy` on the held-out images.
    """

    noisy: bool

    @property
    def name(self) -> str:
        return f"{self.task}-scores-{'noisy' if self.noisy else 'clean'}-{self.number}"

    def run(self, work: Work) -> Arrays:
        task, settings = work.tasks[self.task, self.noisy], work.settings
        rows, found = task.rows, {}
        training = work.training(task, self.number)
        x, y = Images(task.dataset, rows), task.targets(rows)
        partners = settings.rng("partners", self.number).permutation(len(rows))[: settings.partners]
        times = {settings.scored[time]: time for time in (("early",) if self.noisy else TIMES)}
        seen, is_right = [], []

        def look() -> None:
            if time := times.get(training.step):
                data = training.model, [(training.params, training.buffers)], x, y
                found[f"grand/{time}"] = grand(*data, task.loss)
                found[f"el2n/{time}"] = el2n(*data, task.loss)
                if time == "early":
                    found["bracket/early"], found["relative/early"] = bracket_score(*data, partners, task.loss)
            if not self.noisy and training.step in settings.watched:
                training.checkpoint().write(work.state_path(self.task, self.number, training.step))

        look()
        for _ in range(settings.steps):
            step = training.advance()
            seen.append(step.rows)
            is_right.append(right(step.logits, task.targets(step.rows), task.loss))
            look()
        if bad := [key for key, score in found.items() if np.isnan(score).any()]:
            raise InputError(f"--lr: training with {settings.lr:g} led to scores that are not numbers, {bad[0]}")
        places = np.searchsorted(rows, np.concatenate(seen))
        found["events"], found["never_learnt"] = forgetting(places, np.concatenate(is_right), len(rows))
        return found | _tested(task, training)


@dataclass(frozen=True, eq=False)
class Retraining(Job):
    """A training on the chosen rows only, for as many steps as on all of them.

    Its file holds the number of `examples`, and `loss` and `accuracy` on the held-out images.
    """

    noisy: bool
    choice: str  # the name of the subset
    rows: Array
    pattern = "{task}-{choice}-{number}"

    def run(self, work: Work) -> Arrays:
        task = work.tasks[self.task, self.noisy].keeping(self.rows)
        training = work.training(task, RETRAINED + self.number)
        for _ in range(work.settings.steps):
            training.advance()
        return _tested(task, training) | {"examples": np.array(len(self.rows))}


@dataclass(frozen=True, eq=False)
class Velocities(Job):
    """How fast the kernel among the examples of each band changes along a run.

    Its file holds the `steps` (s,) of the saved states, and `velocity` (s − 1, bands) between consecutive ones.
    """

    bands: dict[str, Array]
    pattern = "{task}-velocities-{number}"

    def run(self, work: Work) -> Arrays:
        task, settings = work.tasks[self.task, False], work.settings
        rng, kernels = settings.rng("kernels"), []
        chosen = [np.sort(rng.permutation(rows)[: settings.kernel_examples]) for rows in self.bands.values()]
        for step in settings.watched:
            state = work.state(task, self.number, step)
            network = work.model(task), state.params, state.buffers
            kernels.append([ntk(*network, task.dataset.batch(rows)[0]) for rows in chosen])
        velocity = [[kernel_velocity(*pair) for pair in zip(*two, strict=True)] for two in pairwise(kernels)]
        return {"steps": np.array(settings.watched), "velocity": np.array(velocity)}


@dataclass(frozen=True, eq=False)
class Connection(Job):
    """Two children of a run, trained from its state at `step` to the end on different data orders, and their line.

    Both start with the parent's weights, batch-norm statistics and Adam state.  The file holds `error`
    (points, 1 + bands) along the line between the children: the share of wrong outputs, first over all training
    examples, then over each band.  The batch-norm statistics are computed anew at every point, the ends included.
    """

    step: int
    bands: dict[str, Array]
    pattern = "{task}-connection-{number}-{step:06d}"

    def run(self, work: Work) -> Arrays:
        task, settings = work.tasks[self.task, False], work.settings
        parent, model, ends = work.state(task, self.number, self.step), work.model(task), []
        for child in range(2):
            training = work.training(task, self.number)
            training.continue_from(parent)
            training.sampler = Sampler(task.rows, settings.batch, CHILDREN + 2 * self.number + child)
            for _ in range(training.step, settings.steps):
                training.advance()
            ends.append(training.params)
        count, size = STATISTICS
        some = settings.rng("statistics").permutation(task.rows)[: count * size]
        batches = [task.dataset.batch(part)[0] for part in np.array_split(some, -(-len(some) // size))]
        groups = [np.searchsorted(task.rows, rows) for rows in (task.rows, *self.bands.values())]
        errors = []
        for alpha in np.linspace(0, 1, settings.points):
            params = interpolated(ends[0], ends[1], float(alpha))
            z, y = _outputs(task, task.rows, model, params, batch_norm_statistics(model, params, batches))
            wrong = 1 - right(z, y, task.loss).mean(axis=1)
            errors.append([wrong[group].mean() for group in groups])
        return {"error": np.array(errors)}


def _tested(task: Task, training: Training) -> Arrays:
    """Mean loss and share of correct outputs on the held-out images: the validation and the test split."""
    rows = np.concatenate([task.dataset.indices(split) for split in ("validation", "test")])
    z, y = _outputs(task, rows, training.model, training.params, training.buffers)
    loss = np.mean(LOSSES[task.loss].definition(z, y), dtype=np.float64)
    return {"loss": loss, "accuracy": right(z, y, task.loss).mean()}


def _outputs(task: Task, rows: Array, model: Model, params: Arrays, buffers: Arrays) -> tuple[Array, Array]:
    """The logits (n, k) of a network for these rows, and their targets."""
    x = Images(task.dataset, rows)
    parts = [logits(model, params, buffers, x[start : start + ROWS]) for start in range(0, len(x), ROWS)]
    return np.concatenate(parts), task.targets(rows)
