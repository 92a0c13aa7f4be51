"""The work of a diet, as jobs that know nothing of each other: each trains or examines networks, and has one file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np

from ..core.losses import LOSSES
from ..core.networks import Model, preset
from ..core.types import Array, Arrays, Shapes
from ..images.dataset import Images
from ..machine.errors import InputError
from ..machine.files import write_npz
from ..measure.connectivity import batch_norm_statistics, interpolated
from ..measure.derivatives import logits
from ..measure.kernels import kernel_velocity, ntk
from ..measure.scores import ROWS, bracket_score, el2n, forgetting, grand, right
from ..study.checkpoint import Checkpoint
from ..study.training import Sampler, Step, Training
from .settings import CHILDREN, RETRAINED, TIMES, DietSettings, score_keys
from .tasks import Task

TESTED: Shapes = {"loss": (), "accuracy": ()}
FORMAT = "lie-ref-diet-job/4"
STATISTICS = 8, 128  # mini-batches, and images of each, for batch-norm's statistics of an interpolated network


@dataclass(frozen=True, eq=False)
class Work:
    """What all jobs of a diet share: `tasks` are (name, whether labels are false) → task; `out` is the folder."""

    settings: DietSettings
    tasks: dict[tuple[str, bool], Task]
    out: Path

    def model(self, task: Task) -> Model:
        return preset(self.settings.network, n_out=len(task.outputs))

    def training(self, task: Task, seed: int) -> Training:
        s = self.settings
        return Training(self.model(task), task.dataset, seed, s.batch, s.lr, s.betas, LOSSES[task.loss])

    def state_path(self, task: str, run: int, step: int) -> Path:
        """Where the run of a task keeps its state at a step."""
        return self.out / "states" / f"{task}-{run}-{step:06d}.npz"

    def state(self, task: Task, run: int, step: int) -> Checkpoint:
        """The checkpoint of a run at a step; InputError, with the remedy, where that is lost or damaged."""
        try:
            return Checkpoint.read(self.state_path(task.name, run, step), self.model(task), step, step)
        except InputError as error:
            made_by = ScoreRun(task.name, False, run).name
            raise InputError(f"{error}; jobs/{made_by}.npz deleted, the same command makes it again") from error


class Job(Protocol):
    """A piece of work: its `name`, which is its file's; `steps`, how many are trained; `run`, what the file holds.

    `shapes` are those of what the file holds.
    """

    @property
    def name(self) -> str: ...

    def steps(self, settings: DietSettings) -> int: ...

    def shapes(self, work: Work) -> Shapes: ...

    def run(self, work: Work) -> Arrays: ...


def job_path(job: Job, work: Work) -> Path:
    """The file of a job."""
    return work.out / "jobs" / f"{job.name}.npz"


def perform(job: Job, work: Work) -> Path:
    """Do a job, unless that was done before; returns the path of its file, which appears only when it is whole."""
    path = job_path(job, work)
    if not path.exists():
        write_npz(path, job.run(work) | {"format": np.array(FORMAT)})
    return path


@dataclass(frozen=True)
class ScoreRun:
    """A training on all examples, whose scores are taken on the way; without false labels it keeps its states.

    With false labels scores are taken early alone, but forgetting.  Its file has `SCORE/TIME` (n,) for each of the
    training examples, ascending by row, of forgetting `events` and `never_learnt` (n,), and the test's `loss` and
    `accuracy`.
    """

    task: str
    noisy: bool
    number: int

    @property
    def name(self) -> str:
        return f"{self.task}-scores-{'noisy' if self.noisy else 'clean'}-{self.number}"

    @property
    def times(self) -> tuple[str, ...]:
        return ("early",) if self.noisy else TIMES

    def steps(self, settings: DietSettings) -> int:
        return settings.steps

    def shapes(self, work: Work) -> Shapes:
        scores = [key for key in score_keys(times=self.times) if key != "forgetting/end"]
        of_example = dict.fromkeys([*scores, "events", "never_learnt"], work.tasks[self.task, self.noisy].rows.shape)
        return of_example | TESTED

    def run(self, work: Work) -> Arrays:
        task, settings = work.tasks[self.task, self.noisy], work.settings
        rows, found = task.rows, {}
        training = work.training(task, self.number)
        x, y = Images(task.dataset, rows), _targets(task, rows)
        partners = settings.rng("partners", self.number).permutation(len(rows))[: settings.partners]
        times = {settings.scored[time]: time for time in self.times}
        seen, is_right = [], []

        def look() -> None:
            if training.step in times:
                time, network = times[training.step], (training.model, [(training.params, training.buffers)])
                found[f"grand/{time}"] = grand(*network, x, y, task.loss)
                found[f"el2n/{time}"] = el2n(*network, x, y, task.loss)
                score = bracket_score(*network, x, y, partners, task.loss)
                found[f"bracket/{time}"], found[f"relative/{time}"] = score
            if not self.noisy and training.step in settings.watched:
                training.checkpoint().write(work.state_path(self.task, self.number, training.step))

        look()
        for step in _steps(training, settings.steps):
            seen.append(step.rows)
            is_right.append(right(step.logits, _targets(task, step.rows), task.loss))
            look()
        places = np.searchsorted(rows, np.concatenate(seen))
        found["events"], found["never_learnt"] = forgetting(places, np.concatenate(is_right), len(rows))
        return found | _tested(work, task, training)


@dataclass(frozen=True, eq=False)
class Retraining:
    """A training on chosen rows alone, for as many steps as on all: its file has the test's `loss` and `accuracy`."""

    task: str
    noisy: bool
    choice: str  # in words, for its name
    number: int
    rows: Array

    @property
    def name(self) -> str:
        return f"{self.task}-{self.choice}-{self.number}"

    def steps(self, settings: DietSettings) -> int:
        return settings.steps

    def shapes(self, work: Work) -> Shapes:
        return TESTED | {"examples": ()}

    def run(self, work: Work) -> Arrays:
        task = work.tasks[self.task, self.noisy].keeping(self.rows)
        training = work.training(task, RETRAINED + self.number)
        for _ in _steps(training, work.settings.steps):
            pass
        return _tested(work, task, training) | {"examples": np.array(len(self.rows))}


@dataclass(frozen=True, eq=False)
class Velocities:
    """How fast the kernels among the examples of each band change along a run.

    Its file has the `steps` (s,) that the run kept, and `velocity` (s − 1, bands) from each to the next.
    """

    task: str
    number: int
    bands: dict[str, Array]

    @property
    def name(self) -> str:
        return f"{self.task}-velocities-{self.number}"

    def steps(self, settings: DietSettings) -> int:
        return 0

    def shapes(self, work: Work) -> Shapes:
        count = len(work.settings.watched)
        return {"steps": (count,), "velocity": (count - 1, len(self.bands))}

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
class Connection:
    """Two children of a run's state at `step`, trained to the end on different orders, and the line between them.

    Both begin with the parent's weights, statistics and Adam's state.  Its file has `error` (points, 1 + bands) along
    the line, the share of outputs that are wrong, of all training examples first; batch-norm's statistics are computed
    anew at each point, at the ends as well.
    """

    task: str
    number: int
    step: int
    bands: dict[str, Array]

    @property
    def name(self) -> str:
        return f"{self.task}-connection-{self.number}-{self.step:06d}"

    def steps(self, settings: DietSettings) -> int:
        return 2 * (settings.steps - self.step)

    def shapes(self, work: Work) -> Shapes:
        return {"error": (work.settings.points, 1 + len(self.bands))}

    def run(self, work: Work) -> Arrays:
        task, settings = work.tasks[self.task, False], work.settings
        parent, model, ends = work.state(task, self.number, self.step), work.model(task), []
        for child in range(2):
            training = work.training(task, self.number)
            training.go_on_from(parent)
            training.sampler = Sampler(task.rows, settings.batch, CHILDREN + 2 * self.number + child)
            for _ in _steps(training, settings.steps):
                pass
            ends.append(training.params)
        count, size = STATISTICS
        some = settings.rng("statistics").permutation(task.rows)[: count * size]
        batches = [task.dataset.batch(part)[0] for part in np.array_split(some, min(count, -(-len(some) // size)))]
        groups = [np.searchsorted(task.rows, rows) for rows in (task.rows, *self.bands.values())]
        errors = []
        for alpha in np.linspace(0, 1, settings.points):
            params = interpolated(ends[0], ends[1], float(alpha))
            z = _logits(model, params, batch_norm_statistics(model, params, batches), Images(task.dataset, task.rows))
            wrong = 1 - right(z, _targets(task, task.rows), task.loss).mean(axis=1)
            errors.append([wrong[group].mean() for group in groups])
        return {"error": np.array(errors)}


def _steps(training: Training, last: int) -> Iterator[Step]:
    """The steps up to the last; InputError if the numbers leave float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        while training.step < last:
            step = training.advance()
            if not (np.isfinite(step.loss) and training.finite):
                raise InputError(f"--lr: training with {training.adam.lr} went beyond float32 at step {training.step}")
            yield step


def _tested(work: Work, task: Task, training: Training) -> Arrays:
    """Mean loss and share of right outputs on the images that nothing is trained on, of both other splits."""
    rows = np.concatenate([task.dataset.indices(split) for split in ("validation", "test")])
    z, y = _logits(training.model, training.params, training.buffers, Images(task.dataset, rows)), _targets(task, rows)
    return {
        "loss": np.mean(LOSSES[task.loss].definition(z, y), dtype=np.float64),
        "accuracy": right(z, y, task.loss).mean(),
    }


def _logits(model: Model, params: Arrays, buffers: Arrays, x: Images) -> Array:
    return np.concatenate([logits(model, params, buffers, x[i : i + ROWS]) for i in range(0, len(x), ROWS)])


def _targets(task: Task, rows: Array) -> Array:
    """The labels of these rows, as the loss takes them."""
    y = task.dataset.labels[rows]
    return y if y.ndim == 1 else y.astype(np.float32)
