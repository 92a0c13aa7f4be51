"""The experiment writes the files of the contract, with the same contents however often it is stopped and resumed."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import SMALL, SMALL_OPTIONS

from lie_ref.core.networks import preset
from lie_ref.experiment import examination
from lie_ref.experiment import run as experiment
from lie_ref.experiment.examination import EPSILONS
from lie_ref.experiment.run import FILES, prepare, read_trained, run_experiment, train
from lie_ref.experiment.settings import Settings
from lie_ref.images.labels import ATTRIBUTES, HAIR
from lie_ref.machine.errors import InputError
from lie_ref.machine.files import read_npz, write_npz
from lie_ref.study import checkpoint
from lie_ref.study.checkpoint import Checkpoint

VIEW = ("norm", "logit_delta", "rms_gradient", "rms_bracket")
STEPS = [0, 10, 12]
TINY = preset("mxresnet-tiny")

# The command for a process of its own.  It saves its state at each step, and Ctrl-C stops it even if the tests run in
# the background of a shell, which ignores Ctrl-C there.
COMMAND = """
import signal, sys
from lie_ref import cli
from lie_ref.experiment import run as experiment
experiment.SAVE_EVERY = 0
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(cli.main())
"""


def content(run: Path) -> dict[str, bytes]:
    """The bytes of every file of a run."""
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def arrays(run: Path, folder: str, step: int) -> dict[str, np.ndarray]:
    return read_npz(run / folder / f"step_{step:06d}.npz")


def first_loss(run: Path) -> str:
    return (run / "log.csv").read_text().splitlines()[1]


def steps_logged(run: Path) -> int:
    log = run / "log.csv"
    return log.read_text().count("\n") - 1 if log.exists() else 0


def start(out: Path, cache: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", COMMAND, "experiment", "--out", str(out), "--cache", str(cache), *options]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def stop(process: subprocess.Popen[str], number: signal.Signals, ready: Callable[[], bool], delay: float = 0) -> str:
    """Send a signal to the group of the process, `delay` seconds after it is `ready`, and return its standard error."""
    while not ready():
        assert process.poll() is None, f"ended with {process.returncode} too early: {process.communicate()}"
        time.sleep(0.002)
    time.sleep(delay)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    return process.communicate(timeout=60)[1]


def refusal(out: Path, cache: Path, settings: Settings = SMALL, **how: bool) -> str:
    """The one line that says why the experiment does not run.  It leaves the folder as it was."""
    before = content(out) if out.is_dir() else None
    with pytest.raises(InputError) as caught:
        run_experiment(settings, out, cache, **how)
    if before is not None:
        assert content(out) == before
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{out}/")


# --- The files of a run


@pytest.fixture(scope="module")
def summary(small_run: Path) -> dict[str, Any]:
    return json.loads((small_run / "summary.json").read_text())


def test_a_run_holds_the_files_of_the_contract_and_no_others(small_run):
    steps = [f"{folder}/step_{step:06d}.npz" for folder in ("checkpoints", "evaluation") for step in STEPS]
    assert sorted(content(small_run)) == sorted(
        ["config.json", "log.csv", "passes.json", "summary.json", "report.html", *steps]
    )


def test_a_checkpoint_holds_float32_arrays_by_their_pytorch_names(small_run):
    for step in STEPS:
        saved = arrays(small_run, "checkpoints", step)
        for group, shapes in (("param", TINY.parameter_shapes), ("buffer", TINY.buffer_shapes)):
            found = {name.partition("/")[2]: a for name, a in saved.items() if name.startswith(f"{group}/")}
            assert {name: a.shape for name, a in found.items()} == shapes
            assert {a.dtype for a in found.values()} == {np.dtype(np.float32)}
        assert saved["counters"][0] == step


def test_an_evaluation_holds_float64_arrays_of_the_shapes_of_the_contract(small_run, faces):
    names = list(TINY.parameter_shapes)
    # fmt: off
    shapes = {
        "pairs": (15, 2), "x": (32, 3, 16, 16), "y": (32, 40), "logits": (32, 40), "loss": (32,), "norm": (15,),
        "logit_delta": (15, 32, 40), "rms_gradient": (6, len(names)), "rms_bracket": (15, len(names)),
        "rms_shuffled": (15, len(names)), "square_epsilon": (6,), "square_corners": (15, 6, 4, 2),
        "square_gap": (15, 6),
    }
    # fmt: on
    x, y = faces.batch(faces.indices("test")[:32], np.float64)
    for step in STEPS:
        found = arrays(small_run, "evaluation", step)
        assert {name: found[name].shape for name in shapes} == shapes
        assert {found[name].dtype for name in shapes if name != "pairs"} == {np.dtype(np.float64)}
        assert found["tensor_names"].tolist() == names
        assert found["tensor_sizes"].tolist() == [math.prod(shape) for shape in TINY.parameter_shapes.values()]
        assert found["square_epsilon"].tolist() == [1e-5, 1e-4, 1e-3, 5e-3, 1e-2, 1e-1]  # with that of the run
        assert found["pairs"].tolist() == [[i, j] for i in range(6) for j in range(i + 1, 6)]
        np.testing.assert_array_equal(found["x"], x)
        np.testing.assert_array_equal(found["y"], y)
        views = ["preconditioned", "momentum"] if step else ["momentum"]  # before its first step Adam has none
        assert found["views"].tolist() == views
        of_views = {f"{name}/{view}" for name in VIEW for view in views}
        for name in of_views:
            assert (found[name].shape, found[name].dtype) == (shapes[name.partition("/")[0]], np.float64)
        others = {"tensor_names", "tensor_sizes", "format", "step", "statistics", "views"}
        assert found.keys() - shapes.keys() - of_views == others
        assert (str(found["format"]), int(found["step"])) == ("lie-ref-evaluation/5", step)


def test_evaluations_and_scores_are_those_of_the_weights_in_float64(small_run, faces, summary):
    def logits_and_losses(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z = TINY.apply(weights.params, weights.buffers, x)
        return z, (np.logaddexp(0, z) - y * z).mean(axis=1)

    for point in summary["checkpoints"]:
        weights = read_trained(small_run, TINY, point["step"]).weights(TINY)
        found = arrays(small_run, "evaluation", point["step"])
        logits, loss = logits_and_losses(found["x"], found["y"])
        np.testing.assert_allclose(found["logits"], logits, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(found["loss"], loss, rtol=1e-12)
        for split in ("train", "validation"):
            x, y = faces.batch(faces.indices(split), np.float64)
            z, loss = logits_and_losses(x, y)
            assert point[split]["loss"] == pytest.approx(loss.mean(), rel=1e-12)
            assert point[split]["accuracy"] == pytest.approx(((z > 0) == (y == 1)).mean(), rel=1e-12)


def test_the_log_has_one_line_per_step(small_run):
    header, *rows = csv.reader((small_run / "log.csv").read_text().splitlines())
    assert header == ["step", "loss"]
    assert [int(step) for step, _ in rows] == list(range(1, 13))
    losses = [float(loss) for _, loss in rows]
    assert 0.5 < losses[0] < 1
    assert losses[-1] < losses[0]


def test_the_configuration_holds_all_settings_and_versions(small_run, faces):
    config = json.loads((small_run / "config.json").read_text())
    settings = {name: config[name] for name in Settings.__dataclass_fields__}
    assert Settings(**settings | {"betas": tuple(settings["betas"])}) == SMALL
    assert config["checkpoints"] == STEPS
    assert config["images"] == faces.images.parent.name
    assert config["versions"].keys() == {"python", "lie-ref", "numpy", "autograd", "pillow"}
    assert config["versions"]["numpy"] == np.__version__


def test_the_summary_describes_the_run_and_scores_both_splits(summary, faces):
    assert summary["dataset"] == faces.name
    assert (summary["preset"], summary["steps"], summary["seed"]) == ("mxresnet-tiny", 12, 0)
    assert summary["parameters"] == 83_280
    assert [point["step"] for point in summary["checkpoints"]] == STEPS
    for point in summary["checkpoints"]:
        assert (point["train"]["images"], point["validation"]["images"]) == (320, 40)
    assert summary["checkpoints"][-1]["train"]["loss"] < summary["checkpoints"][0]["train"]["loss"]


def test_the_checks_of_each_checkpoint_confirm_its_brackets(summary):
    for point in summary["checkpoints"]:
        checks = point["checks"]
        assert checks["pair"] == [0, 1]
        assert checks["hvp_modes"] < 1e-12
        assert checks["richardson"] < 1e-7
        assert abs(checks["order_swap"]["observed_order"] - 1) < 0.05
        swaps = {name: swap["observed_order"] for name, swap in checks["swaps"].items()}
        assert swaps.keys() == {"sgd-momentum", "adam", *["preconditioned"] * (point["step"] > 0)}
        assert all(abs(order - 1) < 0.01 for order in swaps.values())
        assert checks["mini_batches"] < 1e-13


def test_the_summary_says_how_far_the_expansion_reaches_and_judges_no_claim(summary):
    for point in summary["checkpoints"]:
        assert all(len(point["expansion"][key]) == 3 for key in ("reach", "error"))
    assert summary["checkpoints"][0]["expansion"]["reach"] >= [1e-4] * 3
    assert "findings" not in summary


def test_passes_are_compared_for_both_networks_and_all_learning_rates(small_run, summary):
    passes = json.loads((small_run / "passes.json").read_text())
    assert summary["passes"] == passes
    cases = [(p["network"], p["mini_batches"], p["epsilon"]) for p in passes]
    assert cases == [(network, 2, e) for network in ("as trained", "average pool") for e in EPSILONS]
    smooth = [c for p in passes if p["network"] == "average pool" and p["epsilon"] < 1e-3 for c in p["cosine"]]
    assert min(smooth) > 0.999


@pytest.mark.parametrize(("batch", "expected"), [(100, 3), (32, 8)])
def test_a_pass_has_at_most_eight_mini_batches_of_the_training(small_run, faces, monkeypatch, batch, expected):
    compared: list[tuple[int, ...]] = []
    monkeypatch.setattr(examination, "compare_passes", lambda problem, *_: compared.append(problem.x.shape[:2]) or [])
    examination.change_passes(replace(SMALL, batch=batch), TINY, faces, read_trained(small_run, TINY, 12))
    assert compared == [(expected, batch)] * 2


@pytest.mark.parametrize("change", [{"seed": 1}, {"exclusive_hair": True}])
def test_another_seed_or_loss_gives_another_training_and_only_the_seed_other_initial_weights(
    faces, small_run, tmp_path, change
):
    list(train(replace(SMALL, steps=1, **change), TINY, faces, tmp_path))
    assert first_loss(tmp_path) != first_loss(small_run)
    first, other = (arrays(run, "checkpoints", 0) for run in (small_run, tmp_path))
    assert all(np.array_equal(first[name], other[name]) for name in first) == ("seed" not in change)


def test_with_exclusive_hair_an_evaluation_has_the_loss_of_one_softmax_over_the_colours(small_run, faces):
    settings = replace(SMALL, exclusive_hair=True)
    evaluation = examination.examine(settings, TINY, faces, read_trained(small_run, TINY, 12))
    columns = [ATTRIBUTES.index(name) for name in HAIR]
    z, y = evaluation["logits"], evaluation["y"]
    others = np.delete(np.logaddexp(0, z) - y * z, columns, axis=1).sum(axis=1)
    together = np.log(1 + np.exp(z[:, columns]).sum(axis=1)) - (y * z)[:, columns].sum(axis=1)
    np.testing.assert_allclose(evaluation["loss"], (others + together) / 40, rtol=1e-12)


# --- Stopped runs


def test_resuming_where_there_is_no_run_is_refused(cache, tmp_path):
    with pytest.raises(InputError, match=r"nowhere: holds no run to continue; start one without --resume"):
        run_experiment(SMALL, tmp_path / "nowhere", cache, resume=True)
    assert not (tmp_path / "nowhere").exists()


def test_a_run_killed_at_random_moments_ends_with_the_bytes_of_an_uninterrupted_one(cache, small_run, tmp_path):
    """This also shows that a seed determines every byte, and that no saved state is left behind."""
    rng = np.random.default_rng(20)
    out = tmp_path / "killed"
    for lines in sorted(rng.choice(np.arange(1, 12), 2, replace=False).tolist()):
        process = start(out, cache, *["--resume"][: out.exists()], *SMALL_OPTIONS)
        stop(process, signal.SIGKILL, lambda lines=lines: steps_logged(out) >= lines, rng.uniform(0, 0.03))
        assert process.returncode == -signal.SIGKILL
    process = start(out, cache, "--resume", *SMALL_OPTIONS)
    stop(process, signal.SIGKILL, lambda: (out / "evaluation/step_000000.npz").exists(), rng.uniform(0, 0.5))
    assert process.returncode == -signal.SIGKILL
    run_experiment(SMALL, out, cache, resume=True)
    assert content(out) == content(small_run)


def test_ctrl_c_prints_one_line_and_the_run_can_be_resumed(cache, small_run, tmp_path):
    out = tmp_path / "run"
    process = start(out, cache, *SMALL_OPTIONS)
    error = stop(process, signal.SIGINT, lambda: steps_logged(out) >= 4)
    assert process.returncode == 130
    assert error == "lie-ref: stopped (continue an experiment with --resume, anything else with the same command)\n"
    logged = steps_logged(out)
    assert 4 <= logged < 12
    assert read_npz(out / "state.npz")["counters"][0] >= logged - 1
    list(train(SMALL, TINY, SMALL.open_images(cache), out))
    for name in ("log.csv", "checkpoints/step_000012.npz"):
        assert (out / name).read_bytes() == (small_run / name).read_bytes()


def test_resuming_a_finished_run_changes_nothing_and_removes_the_unfinished_files_of_a_kill(cache, small_run, run_copy):
    for name in FILES:
        part = run_copy / (name.replace("*", "000012") + ".part")
        part.parent.mkdir(exist_ok=True)
        part.write_text("half")
    (run_copy / "summary.json").unlink()
    run_experiment(SMALL, run_copy, cache, resume=True)
    assert content(run_copy) == content(small_run)


def test_the_progress_of_a_resumed_run_counts_what_was_evaluated_before(cache, run_copy, capsys):
    (run_copy / "evaluation/step_000012.npz").unlink()
    run_experiment(SMALL, run_copy, cache, resume=True)
    total = len(SMALL.checkpoints)
    assert f"evaluating checkpoints  {total}/{total}" in capsys.readouterr().err


OTHER_SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"steps": 13}, "steps 12, not 13"),
    ({"seed": 1}, "seed 0, not 1"),
    ({"lr": 1e-3}, "lr 0.005, not 0.001"),
    ({"batch": 16}, "batch 100, not 16"),
    ({"size": 32}, "size 16, not 32"),
    ({"preset": "mxresnet-small"}, "preset mxresnet-tiny, not mxresnet-small"),
    ({"celeba": "there"}, "celeba None, not there"),
]


@pytest.mark.parametrize(("change", "said"), OTHER_SETTINGS)
def test_resuming_with_another_setting_names_it(tmp_path, run_copy, change, said):
    """It is refused before any image is prepared: not even the folder of the images is made."""
    cache = tmp_path / "no cache"
    message = refusal(run_copy, cache, replace(SMALL, **change), resume=True)
    assert message == f"config.json: the run has {said}; give the same options to continue it, or --force to start anew"
    assert not cache.exists()


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def put(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


def edited(pattern: str, new: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(re.sub(pattern, new, path.read_text()))


def with_statistics(**statistics: np.ndarray) -> Callable[[Path], object]:
    return lambda path: write_npz(path, {n: a for n, a in read_npz(path).items() if n != "statistics"} | statistics)


def swap_step(path: Path) -> None:
    """Put the file of step 10 in place of this one."""
    shutil.copy(path.with_name("step_000010.npz"), path)


CONFIG, LAST, TEN = "config.json", "checkpoints/step_000012.npz", "evaluation/step_000010.npz"
DAMAGES: list[tuple[str, Callable[[Path], object], str]] = [  # the file, what happens to it, and the refusal
    (CONFIG, edited('"numpy": "[^"]*"', '"numpy": "1.0"'), "the run has versions {"),
    (CONFIG, edited('"images": "[^"]*"', '"images": "others"'), "the run has images others, not faces-400-16-seed0-"),
    (CONFIG, Path.unlink, "not the configuration of a run ("),
    *((CONFIG, put(text), "not the configuration of a run (") for text in ("", "{}", "[]", '{"steps": 12')),
    ("log.csv", Path.unlink, "no such file"),
    ("log.csv", cut_short, "cut short: expected 12 steps, found "),
    (LAST, cut_short, "damaged or not an .npz archive"),
    (LAST, swap_step, "expected step 12, found 10; delete it and resume the run"),
    ("evaluation/step_000012.npz", swap_step, "expected step 12, found '10'; delete it and resume the run"),
    (TEN, cut_short, "damaged or not an .npz archive"),
    (TEN, with_statistics(), "holds no statistics of this version ("),
    (TEN, with_statistics(statistics=np.array("{")), "holds no statistics of this version ("),
    (TEN, with_statistics(statistics=np.array("3")), "holds no statistics of this version ("),
    *(("passes.json", put(text), "cannot be read") for text in ("[", "3", '[{"network": "as trained"}]')),
]


@pytest.mark.parametrize(("name", "damage", "said"), DAMAGES)
def test_resuming_with_a_damaged_file_names_it(cache, run_copy, name, damage, said):
    damage(run_copy / name)
    assert refusal(run_copy, cache, resume=True).startswith(f"{name}: {said}")


def test_resuming_with_a_damaged_state_or_one_beyond_the_last_step_names_it(cache, run_copy):
    last, state = run_copy / "checkpoints/step_000012.npz", run_copy / "state.npz"
    write_npz(state, read_npz(last) | {"counters": np.array([13, 13, 1, 0])})
    last.unlink()
    assert refusal(run_copy, cache, resume=True).startswith("state.npz: expected step 0 to 12, found 13;")
    cut_short(state)
    assert refusal(run_copy, cache, resume=True).startswith("state.npz: damaged or not an .npz archive")


@pytest.mark.parametrize(
    ("missing", "state"),
    [([0], None), ([0], 0), ([10], None), ([10], 0), ([10], 12), ([12], 10), ([0, 10], 10), ([10, 12], 10), (STEPS, 0)],
)
def test_resuming_makes_missing_checkpoints_again(faces, small_run, run_copy, missing, state):
    if state is not None:
        shutil.copy(run_copy / f"checkpoints/step_{state:06d}.npz", run_copy / "state.npz")
    for step in missing:
        (run_copy / f"checkpoints/step_{step:06d}.npz").unlink()
    list(train(SMALL, TINY, faces, run_copy))
    (run_copy / "state.npz").unlink(missing_ok=True)
    assert content(run_copy) == content(small_run)


def test_resuming_reads_only_the_file_from_which_it_continues(faces, run_copy, monkeypatch):
    read: list[str] = []
    read_npz = checkpoint.read_npz
    monkeypatch.setattr(checkpoint, "read_npz", lambda path: read.append(path.stem) or read_npz(path))
    list(train(SMALL, TINY, faces, run_copy))
    assert read == ["step_000012"]
    (run_copy / "checkpoints/step_000012.npz").rename(run_copy / "state.npz")
    list(train(SMALL, TINY, faces, run_copy))
    assert read == ["step_000012", "state"]
    (run_copy / "checkpoints/step_000012.npz").unlink()
    shutil.copy(run_copy / "checkpoints/step_000000.npz", run_copy / "state.npz")  # older than a checkpoint
    list(train(SMALL, TINY, faces, run_copy))
    assert read == ["step_000012", "state", "state", "step_000010"]


def test_the_log_is_on_the_disk_before_any_state_that_needs_it(faces, tmp_path, monkeypatch):
    on_disk: list[int] = []  # the number of lines whenever the log was synchronised
    saved: list[tuple[int, int]] = []
    fsync, write = os.fsync, Checkpoint.write

    def synced(file: int) -> None:
        log = tmp_path / "log.csv"
        if log.exists() and os.path.samestat(os.fstat(file), log.stat()):
            on_disk.append(steps_logged(tmp_path))
        fsync(file)

    def noted(self: Any, path: Path) -> None:
        saved.append((self.step, on_disk[-1]))
        write(self, path)

    monkeypatch.setattr(experiment, "SAVE_EVERY", -1.0)
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Checkpoint, "write", noted)
    list(train(replace(SMALL, steps=3), TINY, faces, tmp_path))
    assert saved == [(step, step) for step in (0, 1, 2, 3, 3)]


def test_statistics_that_are_not_finite_are_null(faces, small_run, monkeypatch):
    right = examination.check_bracket
    monkeypatch.setattr(examination, "check_bracket", lambda *given: replace(right(*given), richardson=math.nan))
    settings = replace(SMALL, exclusive_hair=True)
    evaluation = examination.examine(settings, TINY, faces, read_trained(small_run, TINY, 12))
    assert '"richardson": null' in str(evaluation["statistics"])
    assert "NaN" not in str(evaluation["statistics"])


# --- Folders that hold something


@pytest.mark.parametrize("name", [name.replace("*", "000600") for name in FILES])
def test_a_folder_with_any_file_of_a_run_is_refused(cache, tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("somebody's work")
    remedies = "--out takes another folder, --resume continues it, --force replaces it"
    assert refusal(tmp_path, cache) == f"{tmp_path}: holds a run ({path.name}); {remedies}"


def test_force_replaces_the_files_of_a_run_and_no_others(cache, run_copy):
    foreign = ["notes.txt", "checkpoints/best.npz", "evaluation/notes.txt"]
    for name in foreign:
        (run_copy / name).write_text("mine")
    for name in ("summary.json.part", "checkpoints/step_000011.npz.part", "evaluation/step_000011.npz"):
        (run_copy / name).write_text("left by an older run")
    settings = replace(SMALL, steps=0)
    list(train(settings, *prepare(settings, run_copy, cache, force=True), run_copy))
    assert sorted(content(run_copy)) == sorted([*foreign, "config.json", "log.csv", "checkpoints/step_000000.npz"])
    assert (run_copy / "log.csv").read_text() == "step,loss\n"
    assert {(run_copy / name).read_text() for name in foreign} == {"mine"}


def test_force_removes_nothing_when_the_new_run_cannot_begin(tmp_path, cache, run_copy):
    nowhere = tmp_path / "nowhere"
    assert refusal(run_copy, cache, replace(SMALL, celeba=str(nowhere)), force=True) == f"{nowhere}: no such folder"
    assert "--batch: expected at most 320" in refusal(run_copy, cache, replace(SMALL, batch=321), force=True)


@pytest.mark.parametrize("place", ["file", "file/run"])
def test_a_folder_that_cannot_be_made_is_named(cache, tmp_path, place):
    (tmp_path / "file").write_text("")
    assert refusal(tmp_path / place, cache).startswith(f"{tmp_path / place}: cannot be made a folder (")


# --- Settings


def test_the_defaults_and_the_checkpoints_are_those_of_the_published_protocol():
    settings, protocol = Settings(), [0, 10, 30, 100, 200, 400, 600, 1000, 1500, 2000, 3000, 4000, 5000]
    assert (settings.steps, settings.batch, settings.lr, settings.betas) == (5000, 32, 5e-3, (0.8, 0.999))
    assert settings.checkpoints == protocol
    assert Settings(steps=6000).checkpoints == [*protocol, 6000]
    assert Settings(steps=250).checkpoints == [0, 10, 30, 100, 200, 250]
    assert Settings(steps=0).checkpoints == [0]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("lr", [1e10, 1e18, 1e38])
def test_training_that_diverges_is_reported(cache, tmp_path, lr):
    with pytest.raises(InputError, match=rf"--lr: training with {re.escape(str(lr))} went beyond float32 at step \d"):
        run_experiment(replace(SMALL, lr=lr), tmp_path / "run", cache)


def test_a_network_that_does_not_fit_into_memory_is_refused_before_it_trains(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(experiment, "available_memory", lambda: 2**30)
    with pytest.raises(InputError, match=r"^--preset: mxresnet18 takes about 5\.3 GiB of memory, expected a network"):
        run_experiment(replace(SMALL, preset="mxresnet18"), tmp_path / "run", cache)
    assert not (tmp_path / "run" / "config.json").exists()
