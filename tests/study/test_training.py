"""Adam as in its paper, passes over the data, and training that continues from a checkpoint bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from small import SMALL

from lie_ref.core.networks import preset
from lie_ref.images.dataset import Dataset
from lie_ref.study.checkpoint import Checkpoint
from lie_ref.study.training import Adam, Sampler, Training


def training(dataset: Dataset, seed: int = 0, batch: int = 32) -> Training:
    return Training(preset("mxresnet-tiny"), dataset, seed, batch, SMALL.lr, SMALL.betas)


def state(run: Training) -> dict[str, np.ndarray]:
    """A copy of every array of the state."""
    kept = run.checkpoint()
    groups = {"param": kept.params, "buffer": kept.buffers, "mean": kept.mean, "square": kept.square}
    return {f"{group}/{name}": a.copy() for group, named in groups.items() for name, a in named.items()}


def assert_same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    assert all(a[name].tobytes() == b[name].tobytes() for name in a)


# --- Adam


def test_adam_follows_the_formulas_of_its_paper():
    rng = np.random.default_rng(0)
    alpha, beta1, beta2, eps = 5e-3, 0.8, 0.999, 1e-8
    theta, m, v = rng.standard_normal(50), np.zeros(50), np.zeros(50)
    params = {"w": theta.copy()}
    adam = Adam(params, alpha, (beta1, beta2), eps)
    scale = np.geomspace(1e-10, 10, 50)  # ε matters for some entries only
    for t in range(1, 31):
        g = scale * rng.standard_normal(50)
        adam.step(params, {"w": g})
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        theta = theta - alpha * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
    np.testing.assert_allclose(params["w"], theta, rtol=1e-12, atol=1e-14)


def test_adam_changes_parameters_in_place_and_keeps_their_dtype():
    w = np.ones(3, np.float32)
    adam = Adam({"w": w})
    adam.step({"w": w}, {"w": np.ones(3, np.float32)})
    assert (w < 1).all()
    assert {w.dtype, adam.mean["w"].dtype, adam.square["w"].dtype} == {np.dtype(np.float32)}


# --- Sampler


def test_every_pass_takes_each_row_once_in_a_new_order():
    rows = np.arange(100, 112)
    sampler = Sampler(rows, batch=4, seed=0)
    passes = [np.concatenate([sampler.next() for _ in range(3)]) for _ in range(4)]
    for taken in passes:
        np.testing.assert_array_equal(np.sort(taken), rows)
    assert len({taken.tobytes() for taken in passes}) == 4


def test_an_incomplete_last_batch_is_left_out():
    sampler = Sampler(np.arange(11), batch=4, seed=0)
    batches = [sampler.next() for _ in range(40)]
    assert {len(batch) for batch in batches} == {4}
    for first, second in zip(batches[::2], batches[1::2], strict=True):
        assert len(set(first) | set(second)) == 8
    assert set(np.concatenate(batches)) == set(range(11))  # a different part is left out each time


@pytest.mark.parametrize("taken", [0, 1, 3, 4, 8])
def test_a_sampler_continues_from_an_epoch_and_position(taken):
    sampler = Sampler(np.arange(10), batch=3, seed=5)
    for _ in range(taken):
        sampler.next()
    again = Sampler(np.arange(10), batch=3, seed=5, epoch=sampler.epoch, position=sampler.position)
    for _ in range(7):
        np.testing.assert_array_equal(again.next(), sampler.next())


def test_another_seed_gives_another_order():
    orders = {Sampler(np.arange(50), batch=50, seed=seed).next().tobytes() for seed in range(5)}
    assert len(orders) == 5


def test_a_batch_of_more_rows_than_there_are_is_refused():
    with pytest.raises(ValueError, match="batch: expected at most 3, the number of rows, got 4"):
        Sampler(np.arange(3), batch=4, seed=0)


# --- Training


def test_training_lowers_the_loss_and_takes_train_images_only(faces, monkeypatch):
    used: list[np.ndarray] = []
    batch = Dataset.batch
    monkeypatch.setattr(Dataset, "batch", lambda self, rows, *dtype: used.append(rows) or batch(self, rows, *dtype))
    run = training(faces)
    losses = [run.advance().loss for _ in range(30)]
    assert run.step == 30
    assert np.mean(losses[-5:]) < 0.75 * losses[0]
    assert set(np.concatenate(used)) == set(faces.indices("train"))


def test_a_step_returns_its_examples_and_their_logits_before_the_step(faces):
    run = training(faces)
    run.advance()
    before, buffers = ({name: a.copy() for name, a in of.items()} for of in (run.params, run.buffers))
    expected_rows = Sampler(faces.indices("train"), run.sampler.batch, run.sampler.seed)
    expected_rows.next()
    step = run.advance()
    np.testing.assert_array_equal(step.rows, expected_rows.next())
    expected = run.model.apply(before, buffers, faces.batch(step.rows)[0], training=True)
    np.testing.assert_allclose(step.logits, expected, rtol=1e-3, atol=1e-4)


def test_training_continues_from_a_checkpoint_bit_for_bit(faces, tmp_path):
    run = training(faces, batch=100)  # three steps a pass, so that the next pass begins after the checkpoint
    for _ in range(2):
        run.advance()
    run.checkpoint().write(tmp_path / "a.npz")
    at_save = state(run)
    losses = [run.advance().loss for _ in range(3)]
    again = training(faces, batch=100)
    again.continue_from(Checkpoint.read(tmp_path / "a.npz", again.model, 2, 2))
    assert (again.step, again.adam.count) == (2, 2)
    assert_same(state(again), at_save)
    again.checkpoint().write(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert [again.advance().loss for _ in range(3)] == losses
    assert_same(state(again), state(run))
    assert (again.sampler.epoch, again.sampler.position) == (run.sampler.epoch, run.sampler.position) == (1, 200)
