"""Which examples each score selects, and which settings are refused before anything is trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lie_ref.diet.jobs import Connection, Job, Retraining, Velocities
from lie_ref.diet.plan import bands, check_sizes, score_runs, scores_of_run, trials
from lie_ref.diet.settings import PRESETS, DietSettings, score_keys
from lie_ref.diet.tasks import Task, hair
from lie_ref.images.dataset import Dataset
from lie_ref.machine.errors import InputError

SETTINGS = DietSettings(
    runs=2, retrainings=2, fractions=(0.5,), offsets=(0.0, 0.3, 0.6), window=0.4, spawns=(0, 5), steps=10, early=5
)


@pytest.fixture(scope="module")
def task(faces: Dataset) -> Task:
    return hair(faces)


def planned(task: Task, **changes: Any) -> dict[str, Job]:
    """The trials by name, where the scores rise with the row, and fall if there are false labels."""
    rising = np.arange(len(task.rows)) * 1.0
    scores = {noisy: dict.fromkeys(score_keys(), rising[::-1] if noisy else rising) for noisy in (False, True)}
    return {job.name: job for job in trials(replace(SETTINGS, **changes), task, scores)}


def test_subsets_are_the_highest_and_as_many_random_examples(task: Task) -> None:
    jobs, n = planned(task), len(task.rows)
    half = round(0.5 * n)
    for number in (0, 1):
        np.testing.assert_array_equal(jobs[f"hair-el2n-early-highest-0.5-{number}"].rows, task.rows[n - half :])
        np.testing.assert_array_equal(jobs[f"hair-grand-early-highest-0.5-{number}"].rows, task.rows[n - half :])
        np.testing.assert_array_equal(jobs[f"hair-all-{number}"].rows, task.rows)
        np.testing.assert_array_equal(jobs[f"hair-grand-start-highest-0.5-{number}"].rows, task.rows[n - half :])
        assert len(jobs[f"hair-random-0.5-{number}"].rows) == half
    assert not np.array_equal(jobs["hair-random-0.5-0"].rows, jobs["hair-random-0.5-1"].rows)


def test_each_retraining_breaks_ties_at_random(task: Task) -> None:
    n = len(task.rows)
    ties = dict.fromkeys(score_keys(), np.repeat([0.0, 1.0], [n - n // 4, n // 4]))
    jobs = trials(replace(SETTINGS, retrainings=20), task, {False: ties})
    high = [set(job.rows) for job in jobs if job.name.startswith("hair-forgetting-end-highest-0.5-")]
    assert all(chosen >= set(task.rows[n - n // 4 :]) for chosen in high)
    rest = [np.array(sorted(chosen & set(task.rows[: n - n // 4]))) for chosen in high]
    assert not np.array_equal(*rest[:2])
    assert np.mean(np.concatenate(rest)) == pytest.approx(np.mean(task.rows[: n - n // 4]), rel=0.05)


def test_partners_are_drawn_independently_of_the_false_labels(task: Task) -> None:
    n = len(task.rows)
    false = task.with_noise(0.5, SETTINGS.rng("noise")).false_labels(task)
    partners = SETTINGS.rng("partners", 0).permutation(n)[: n // 2]
    assert false[partners].mean() == pytest.approx(false.mean(), abs=0.1)
    assert not np.array_equal(partners, SETTINGS.rng("partners", 1).permutation(n)[: n // 2])
    assert not np.array_equal(partners, SETTINGS.rng("choices", 0).permutation(n)[: n // 2])


def test_windows_slide_over_the_scores_with_the_same_labels(task: Task) -> None:
    jobs, n = planned(task), len(task.rows)
    width = round(0.4 * n)
    np.testing.assert_array_equal(jobs["hair-window-clean-0-0"].rows, task.rows[:width])
    np.testing.assert_array_equal(jobs["hair-window-clean-0.6-0"].rows, task.rows[n - width :])
    np.testing.assert_array_equal(jobs["hair-window-noisy-0-0"].rows, task.rows[n - width :])
    assert jobs["hair-window-noisy-0-0"].noisy
    assert not jobs["hair-window-clean-0-0"].noisy


def test_only_the_given_scores_select_and_forgetting_only_at_the_end(task: Task) -> None:
    jobs = planned(task, scores=("forgetting", "el2n")).values()
    highest = {job.choice for job in jobs if isinstance(job, Retraining) and "highest" in job.choice}
    assert highest == {"forgetting-end-highest-0.5", "el2n-early-highest-0.5"}


def test_each_run_has_children_and_velocities(task: Task) -> None:
    jobs = planned(task).values()
    assert [(j.number, j.step) for j in jobs if isinstance(j, Connection)] == [(0, 0), (0, 5), (1, 0), (1, 5)]
    assert [j.number for j in jobs if isinstance(j, Velocities)] == [0, 1]


def test_bands_are_the_lowest_the_middle_and_the_highest_scores(task: Task) -> None:
    n = len(task.rows)
    found = bands(replace(SETTINGS, band=0.1), task, np.arange(n)[::-1])
    size = round(0.1 * n)
    np.testing.assert_array_equal(found["lowest"], task.rows[n - size :])
    np.testing.assert_array_equal(found["highest"], task.rows[:size])
    assert np.median(found["middle"]) == pytest.approx(np.median(task.rows), abs=3)


def test_without_noise_no_run_has_false_labels() -> None:
    assert {job.noisy for job in score_runs(SETTINGS)} == {False, True}
    assert {job.noisy for job in score_runs(replace(SETTINGS, noise=0.0))} == {False}


def test_examples_never_learnt_have_the_highest_forgetting_score() -> None:
    arrays = {key: np.zeros(3) for key in score_keys() if key != "forgetting/end"}
    found = scores_of_run(arrays | {"events": np.array([4, 0, 1]), "never_learnt": np.array([0, 1, 0])})
    assert np.argsort(found["forgetting/end"]).tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"fractions": (0.5, 0.05)},
            r"--fractions: 0.05 of the \d+ training examples of task hair is \d+, expected",
        ),
        ({"window": 0.05, "offsets": (0.0,)}, r"--window: 0.05 of the .*, expected at least a mini-batch of 32"),
        ({"band": 0.001}, r"--band: 0.001 of the \d+ training examples of task hair is 0, expected at least one"),
        ({"noise": 1e-5}, r"--noise: 1e-05 of the \d+ training examples of task hair is 0, expected at least two"),
        ({"partners": 1000}, r"--partners: expected at most the \d+ training examples of task hair"),
    ],
)
def test_subsets_that_are_too_small_are_refused(changes: dict, message: str, task: Task) -> None:
    with pytest.raises(InputError, match=message):
        check_sizes(replace(SETTINGS, **changes), task)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": ("el2n", "vog")}, "--scores: expected one of grand, el2n, .*, forgetting, got 'vog'"),
        ({"tasks": ("eyes",)}, "--tasks: expected one of attributes, hair, got 'eyes'"),
        ({"tasks": ()}, "--tasks: expected at least one, got none"),
        ({"tasks": ("hair", "hair")}, "--tasks: expected each once, got hair hair"),
        ({"fractions": (0.5, 0.5)}, "--fractions: expected each once, got 0.5 0.5"),
        ({"fractions": (0.5, 0.5000000001)}, "--fractions: expected each once, got 0.5 0.5"),
        ({"spawns": (0, 0)}, "--spawns: expected each once, got 0 0"),
        ({"spawns": (5, 0)}, "--spawns: expected rising numbers, got 5 0"),
        ({"offsets": (0.6, 0.0)}, "--offsets: expected rising numbers, got 0.6 0"),
        ({"network": "resnet"}, "--network: expected one of mxresnet-tiny, .*, got 'resnet'"),
        ({"fractions": (0.0,)}, "--fractions: expected a share above 0 and at most 1, got 0.0"),
        ({"fractions": (1.2,)}, "--fractions: expected a share above 0 and at most 1, got 1.2"),
        ({"offsets": (0.7,)}, "--offsets: expected a start from 0 to 0.6, got 0.7"),
        ({"offsets": (-0.1,)}, "--offsets: expected a start from 0 to 0.6, got -0.1"),
        ({"band": 0.0}, "--band: expected a share above 0 and at most a third, got 0.0"),
        ({"band": 0.4}, "--band: expected a share above 0 and at most a third, got 0.4"),
        ({"points": 1}, "--points: expected an integer >= 2, got 1"),
        ({"noise": 1.0}, "--noise: expected a share of at least 0 and below 1, got 1.0"),
        ({"early": 10}, "--early: expected a step between 0 and 10, the last, got 10"),
        ({"spawns": (10,)}, "--spawns: expected steps from 0 to 9, got 10"),
        ({"kernel_examples": 0}, "--kernel-examples: expected an integer >= 1, got 0"),
        ({"runs": 101}, "--runs: expected at most 100, got 101"),
        ({"runs": 0}, "--runs: expected an integer >= 1, got 0"),
        ({"partners": 1}, "--partners: expected an integer >= 2, got 1"),
        ({"lr": float("nan")}, "--lr: expected a number > 0, got nan"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(SETTINGS, **changes).checked()


@pytest.mark.parametrize("name", PRESETS)
def test_presets_can_be_used(name: str) -> None:
    settings = DietSettings(**PRESETS[name]).checked()
    assert settings.watched[0] == 0
    assert settings.watched[-1] == settings.steps
