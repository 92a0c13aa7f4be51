"""The files of a diet's jobs hold what their docstrings say, recomputed here from the saved states."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from lie_ref.core.losses import LOSSES
from lie_ref.core.networks import preset
from lie_ref.core.types import Arrays
from lie_ref.diet.jobs import Connection, Job, Retraining, ScoreRun, Velocities, Work
from lie_ref.diet.settings import DietSettings
from lie_ref.diet.tasks import attributes, hair
from lie_ref.images.dataset import Dataset
from lie_ref.machine.errors import InputError
from lie_ref.machine.files import read_npz
from lie_ref.measure.connectivity import batch_norm_statistics
from lie_ref.measure.kernels import kernel_velocity, ntk
from lie_ref.measure.scores import bracket_score, el2n, grand
from lie_ref.study.checkpoint import Checkpoint
from lie_ref.study.training import Training

SETTINGS = DietSettings(
    size=16, faces=400, runs=1, retrainings=1, steps=24, early=6, spawns=(0, 20), points=3, kernel_examples=3
)


@pytest.fixture(scope="module")
def work(faces: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Work:
    """A folder with scoring runs of both tasks, and one with false labels for hair."""
    out = tmp_path_factory.mktemp("diet")
    for name in ("jobs", "states"):
        (out / name).mkdir()
    shortened = (task.keeping(task.rows[:96]) for task in (hair(faces), attributes(faces)))  # scoring is slow
    few = {(task.name, False): task for task in shortened}
    few["hair", True] = few["hair", False].with_noise(0.2, np.random.default_rng(0))

    class Few(Work):
        tasks = few

    work = Few(SETTINGS, faces.cache, out)
    for job in (ScoreRun("hair", 0, False), ScoreRun("hair", 0, True), ScoreRun("attributes", 0, False)):
        job.perform(work)
    return work


def done(job: Job, work: Work) -> Arrays:
    job.perform(work)
    return job.read(work)


def state(work: Work, name: str, step: int) -> tuple:
    """The model, parameters and buffers that a task's run saved at a step."""
    model = preset("mxresnet-tiny", n_out=len(work.tasks[name, False].outputs))
    kept = Checkpoint.read(work.out / "states" / f"{name}-0-{step:06d}.npz", model, step, step)
    return model, kept.params, kept.buffers


@pytest.mark.parametrize("name", ["hair", "attributes"])
def test_scores_are_those_of_the_saved_states(name: str, work: Work) -> None:
    task = work.tasks[name, False]
    x, y = task.dataset.batch(task.rows)
    found = read_npz(work.out / "jobs" / f"{name}-scores-clean-0.npz")
    partners = SETTINGS.rng("partners", 0).permutation(len(task.rows))[:2]
    for time, step in (("start", 0), ("early", 6), ("end", 24)):
        model, *network = state(work, name, step)
        np.testing.assert_allclose(found[f"grand/{time}"], grand(model, [network], x, y, task.loss), rtol=1e-5)
        np.testing.assert_allclose(found[f"el2n/{time}"], el2n(model, [network], x, y, task.loss), rtol=1e-5)
    model, *network = state(work, name, 6)
    rms, relative = bracket_score(model, [network], x, y, partners, task.loss)
    np.testing.assert_allclose(found["bracket/early"], rms, rtol=1e-3)
    np.testing.assert_allclose(found["relative/early"], relative, rtol=1e-3)


def test_forgetting_is_counted_over_the_whole_run(work: Work) -> None:
    task = work.tasks["hair", False]
    training = Training(preset("mxresnet-tiny", 4), task.dataset, 0, 32, 5e-3, (0.8, 0.999), LOSSES["softmax"])
    histories: dict[int, list[bool]] = {row: [] for row in task.rows.tolist()}
    for _ in range(24):
        step = training.advance()
        for row, logits in zip(step.rows.tolist(), step.logits, strict=True):
            histories[row].append(bool(logits.argmax() == task.dataset.labels[row]))
    events = [sum(a and not b for a, b in pairwise(h)) for h in histories.values()]
    found = read_npz(work.out / "jobs" / "hair-scores-clean-0.npz")
    np.testing.assert_array_equal(found["events"], events)
    np.testing.assert_array_equal(found["never_learnt"], [not any(h) for h in histories.values()])
    assert sum(events) > 0


def test_a_run_with_false_labels_has_different_early_scores_and_saves_no_state(work: Work) -> None:
    clean, noisy = (read_npz(work.out / "jobs" / f"hair-scores-{kind}-0.npz") for kind in ("clean", "noisy"))
    assert {key for key in noisy if "/" in key} == {key for key in clean if key.endswith("/early")}
    assert (clean["el2n/early"] != noisy["el2n/early"]).all()
    assert len(list((work.out / "states").glob("hair-*"))) == len(SETTINGS.watched)


def test_a_retraining_takes_all_steps_on_its_own_rows(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    task = work.tasks["hair", False]
    seen: list[np.ndarray] = []
    advance = Training.advance

    def counted(self):
        step = advance(self)
        seen.append(step.rows)
        return step

    monkeypatch.setattr(Training, "advance", counted)
    rows = task.rows[::3]
    found = done(Retraining("hair", 0, False, "third", rows), work)
    assert len(seen) == 24
    assert set(np.concatenate(seen)) == set(rows)
    assert found["examples"] == len(rows)


def test_accuracy_and_loss_are_those_on_the_validation_and_test_splits(work: Work) -> None:
    task = work.tasks["hair", False]
    model, params, buffers = state(work, "hair", 24)
    rows = np.flatnonzero(np.isin(task.dataset.split, (1, 2)))
    x, y = task.dataset.batch(rows)
    z = model.apply(params, buffers, x)
    found = read_npz(work.out / "jobs" / "hair-scores-clean-0.npz")
    assert found["accuracy"] == pytest.approx(np.mean(z.argmax(axis=1) == y))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    assert found["loss"] == pytest.approx(-np.log(p[np.arange(len(y)), y]).mean(), rel=1e-4)


def test_velocities_are_those_between_consecutive_saved_states(work: Work) -> None:
    task = work.tasks["hair", False]
    bands = {"lowest": task.rows[:3], "highest": task.rows[-3:]}
    found = done(Velocities("hair", 0, bands), work)
    np.testing.assert_array_equal(found["steps"], [0, 6, 20, 24])
    for b, rows in enumerate(bands.values()):
        kernels = [ntk(*state(work, "hair", step), task.dataset.batch(rows)[0]) for step in (0, 6, 20, 24)]
        expected = [kernel_velocity(*kernels[k : k + 2]) for k in range(3)]
        np.testing.assert_allclose(found["velocity"][:, b], expected, rtol=1e-4)


def test_children_continue_from_their_parent_on_different_orders(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    task = work.tasks["hair", False]
    begun, orders, ends = [], [], []
    advance = Training.advance

    def watched(self):
        if self.step == 20:
            adam = self.adam.mean["0.0.weight"].copy()
            begun.append((self.adam.count, adam, self.params["0.0.weight"].copy(), self.buffers["0.1.running_mean"]))
            orders.append([])
        step = advance(self)
        orders[-1].append(step.rows)
        if self.step == 24:
            ends.append(self.params)
        return step

    monkeypatch.setattr(Training, "advance", watched)
    bands = {"lowest": task.rows[:9], "highest": task.rows[-9:]}
    found = done(Connection("hair", 0, 20, bands), work)
    parent = read_npz(work.out / "states" / "hair-0-000020.npz")
    names = ("adam.mean/0.0.weight", "param/0.0.weight", "buffer/0.1.running_mean")
    for count, *arrays in begun:
        assert count == 20
        for array, name in zip(arrays, names, strict=True):
            np.testing.assert_array_equal(array, parent[name])
    assert len(begun) == 2
    assert not np.array_equal(*orders)
    model = preset("mxresnet-tiny", n_out=4)
    some = SETTINGS.rng("statistics").permutation(task.rows)[: 8 * 128]
    batches = [task.dataset.batch(part)[0] for part in np.array_split(some, -(-len(some) // 128))]
    x, y = task.dataset.batch(task.rows)
    middle = {name: (ends[0][name] + ends[1][name]) / 2 for name in ends[0]}
    for point, params in enumerate((ends[0], middle, ends[1])):
        z = model.apply(params, batch_norm_statistics(model, params, batches), x)
        wrong = z.argmax(axis=1) != y
        expected = [wrong.mean(), wrong[:9].mean(), wrong[-9:].mean()]
        np.testing.assert_allclose(found["error"][point], expected, atol=2 / len(y))  # rounding decides ties


@pytest.mark.parametrize("lr", [1e30, 1e38])  # the next loss overflows, or the parameters do
def test_a_training_that_overflows_float32_is_reported(lr: float, work: Work, tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    wild = replace(work, settings=replace(SETTINGS, lr=lr), out=tmp_path)
    rows = wild.tasks["hair", False].rows
    with pytest.raises(InputError, match=rf"--lr: training with {re.escape(str(lr))} went beyond float32 at step"):
        Retraining("hair", 0, False, "all", rows).perform(wild)
    assert not list((tmp_path / "jobs").iterdir())


def test_scores_that_are_not_numbers_are_reported_and_not_kept(work: Work, tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "states").mkdir()
    wild = replace(work, settings=replace(SETTINGS, lr=30.0, steps=3, early=1, spawns=(0,)), out=tmp_path)
    with pytest.raises(InputError, match=r"^--lr: training with 30 led to scores that are not numbers, \w+/\w+$"):
        ScoreRun("hair", 0, False).perform(wild)
    assert not list((tmp_path / "jobs").iterdir())
