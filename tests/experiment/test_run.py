"""The experiment writes the files of the contract, the same ones each time, however often it is stopped on the way."""

from __future__ import annotations

import csv
import json
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
from lie_ref.experiment.claims import CLAIMS
from lie_ref.experiment.examination import EPSILONS
from lie_ref.experiment.printout import headlines
from lie_ref.experiment.run import FILES, run_experiment, train
from lie_ref.experiment.settings import Settings
from lie_ref.images.dataset import Dataset
from lie_ref.images.labels import ATTRIBUTES, HAIR
from lie_ref.machine.errors import InputError
from lie_ref.machine.files import read_npz, write_npz
from lie_ref.study import checkpoint
from lie_ref.study.checkpoint import Checkpoint

VIEW = ("norm", "logit_delta", "rms_gradient", "rms_bracket")
STEPS = [0, 10, 12]
TINY = preset("mxresnet-tiny")

# The command in a process of its own that saves its state at each step, and is interrupted even where a shell that
# started the tests in the background ignores Ctrl-C.
COMMAND = """
import signal, sys
from lie_ref import cli
from lie_ref.experiment import run as experiment
experiment.SAVE_EVERY = 0
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(cli.main())
"""


def content(run: Path) -> dict[str, bytes]:
    """Every file of a run, by its name."""
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def steps_logged(run: Path) -> int:
    log = run / "log.csv"
    return log.read_text().count("\n") - 1 if log.exists() else 0


def start(out: Path, cache: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", COMMAND, "experiment", "--out", str(out), "--cache", str(cache), *options]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def stop(process: subprocess.Popen[str], number: signal.Signals, ready: Callable[[], bool], delay: float = 0) -> str:
    """Send a signal some seconds after the process is `ready`, Ctrl-C as a terminal does; its standard error."""
    while not ready():
        assert process.poll() is None, f"ended with {process.returncode} too early: {process.communicate()}"
        time.sleep(0.002)
    time.sleep(delay)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # to its other processes, too
    else:
        process.send_signal(number)
    return process.communicate(timeout=60)[1]


def refusal(out: Path, cache: Path, settings: Settings = SMALL, **how: bool) -> str:
    """The one line that says why the experiment does not run; nothing in the folder is changed by it."""
    before = content(out) if out.is_dir() else None
    with pytest.raises(InputError) as caught:
        run_experiment(settings, out, cache, **how)
    if before is not None:
        assert content(out) == before
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{out}/")


# --- The files of a run


def test_a_run_holds_the_files_of_the_contract_and_no_others(small_run: Path) -> None:
    steps = [f"{folder}/step_{step:06d}.npz" for folder in ("checkpoints", "evaluation") for step in STEPS]
    assert sorted(content(small_run)) == sorted(
        ["config.json", "log.csv", "passes.json", "summary.json", "report.html", *steps]
    )


def test_a_checkpoint_holds_float32_arrays_by_their_pytorch_names(small_run: Path) -> None:
    for step in STEPS:
        arrays = read_npz(small_run / "checkpoints" / f"step_{step:06d}.npz")
        for group, shapes in (("param", TINY.parameter_shapes), ("buffer", TINY.buffer_shapes)):
            found = {name.partition("/")[2]: a for name, a in arrays.items() if name.startswith(f"{group}/")}
            assert {name: a.shape for name, a in found.items()} == shapes
            assert {a.dtype for a in found.values()} == {np.dtype(np.float32)}
        assert arrays["counters"][0] == step


def test_an_evaluation_holds_float64_arrays_of_the_shapes_of_the_contract(small_run: Path, faces: Dataset) -> None:
    names = list(TINY.parameter_shapes)
    shapes = {
        "pairs": (15, 2),
        "x": (32, 3, 16, 16),
        "y": (32, 40),
        "logits": (32, 40),
        "loss": (32,),
        "logit_delta": (15, 32, 40),
        "rms_gradient": (6, len(names)),
        "rms_bracket": (15, len(names)),
        "norm": (15,),
    }
    x, y = faces.batch(faces.indices("test")[:32], np.float64)
    for step in STEPS:
        arrays = read_npz(small_run / "evaluation" / f"step_{step:06d}.npz")
        assert {name: arrays[name].shape for name in shapes} == shapes
        assert {arrays[name].dtype for name in shapes if name != "pairs"} == {np.dtype(np.float64)}
        assert arrays["tensor_names"].tolist() == names
        assert arrays["pairs"].tolist() == [[i, j] for i in range(6) for j in range(i + 1, 6)]
        np.testing.assert_array_equal(arrays["x"], x)
        np.testing.assert_array_equal(arrays["y"], y)
        views = ["preconditioned", "momentum"] if step else ["momentum"]  # before its first step Adam has none
        assert arrays["views"].tolist() == views
        of_views = {f"{name}/{view}" for name in VIEW for view in views}
        for name in of_views:
            assert (arrays[name].shape, arrays[name].dtype) == (shapes[name.partition("/")[0]], np.float64)
        assert arrays.keys() - shapes.keys() - of_views == {"tensor_names", "format", "step", "statistics", "views"}
        assert (str(arrays["format"]), int(arrays["step"])) == ("lie-ref-evaluation/3", step)


def test_evaluation_is_computed_in_float64_from_the_weights_of_the_checkpoint(small_run: Path) -> None:
    for step in STEPS:
        weights = read_npz(small_run / "checkpoints" / f"step_{step:06d}.npz")
        params, buffers = (
            {name.partition("/")[2]: a.astype(float) for name, a in weights.items() if name.startswith(group)}
            for group in ("param/", "buffer/")
        )
        found = read_npz(small_run / "evaluation" / f"step_{step:06d}.npz")
        logits = TINY.apply(params, buffers, found["x"])
        loss = (np.logaddexp(0, logits) - found["y"] * logits).mean(axis=1)
        np.testing.assert_allclose(found["logits"], logits, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(found["loss"], loss, rtol=1e-12)


def test_the_log_has_a_line_for_each_step(small_run: Path) -> None:
    header, *rows = csv.reader((small_run / "log.csv").read_text().splitlines())
    assert header == ["step", "loss"]
    assert [int(step) for step, _ in rows] == list(range(1, 13))
    losses = [float(loss) for _, loss in rows]
    assert 0.5 < losses[0] < 1
    assert losses[-1] < losses[0]


def test_the_configuration_is_all_that_is_needed_to_run_it_again(small_run: Path, faces: Dataset) -> None:
    config = json.loads((small_run / "config.json").read_text())
    settings = {name: config[name] for name in Settings.__dataclass_fields__}
    assert Settings(**settings | {"betas": tuple(settings["betas"])}) == SMALL
    assert config["checkpoints"] == STEPS
    assert config["images"] == faces.images.parent.name
    assert config["versions"].keys() == {"python", "lie-ref", "numpy", "autograd", "pillow"}
    assert config["versions"]["numpy"] == np.__version__


def test_the_summary_says_what_was_run_and_scores_both_splits(small_run: Path, faces: Dataset) -> None:
    summary = json.loads((small_run / "summary.json").read_text())
    assert summary["dataset"] == faces.name
    assert (summary["preset"], summary["steps"], summary["seed"]) == ("mxresnet-tiny", 12, 0)
    assert summary["parameters"] == 83_280
    assert [point["step"] for point in summary["checkpoints"]] == STEPS
    for point in summary["checkpoints"]:
        assert (point["train"]["images"], point["validation"]["images"]) == (320, 40)
    first, *_, last = summary["checkpoints"]
    assert last["train"]["loss"] < first["train"]["loss"]


def test_scores_are_the_mean_loss_and_accuracy_of_the_splits_in_evaluation_mode(
    small_run: Path, faces: Dataset
) -> None:
    weights = read_npz(small_run / "checkpoints" / "step_000012.npz")
    params = {name: weights[f"param/{name}"].astype(float) for name in TINY.parameter_shapes}
    buffers = {name: weights[f"buffer/{name}"].astype(float) for name in TINY.buffer_shapes}
    point = json.loads((small_run / "summary.json").read_text())["checkpoints"][-1]
    for split in ("train", "validation"):
        x, y = faces.batch(faces.indices(split), np.float64)
        z = TINY.apply(params, buffers, x)
        assert point[split]["loss"] == pytest.approx((np.logaddexp(0, z) - y * z).mean(), rel=1e-12)
        assert point[split]["accuracy"] == pytest.approx(((z > 0) == (y == 1)).mean(), rel=1e-12)


def test_the_checks_of_each_checkpoint_agree_with_its_bracket(small_run: Path) -> None:
    for point in json.loads((small_run / "summary.json").read_text())["checkpoints"]:
        assert point["checks"]["pair"] == [0, 1]
        assert point["checks"]["hvp_modes"] < 1e-12
        assert point["checks"]["richardson"] < 1e-7
        assert abs(point["checks"]["order_swap"]["observed_order"] - 1) < 0.05
        swaps = {name: swap["observed_order"] for name, swap in point["checks"]["swaps"].items()}
        assert swaps.keys() == {"sgd-momentum", "adam", *["preconditioned"] * (point["step"] > 0)}
        assert all(abs(order - 1) < 0.01 for order in swaps.values())
        assert point["checks"]["mini_batches"] < 1e-13


def test_the_summary_judges_every_claim_that_one_run_can(small_run: Path) -> None:
    summary = json.loads((small_run / "summary.json").read_text())
    assert [finding["id"] for finding in summary["findings"]] == [claim.id for claim in CLAIMS]
    verdicts = {finding["id"]: finding["verdict"] for finding in summary["findings"]}
    assert verdicts["4"] == "holds"
    assert verdicts["1a"] == verdicts["2a"] == "undecided"  # of steps that come later


def test_passes_are_compared_for_both_networks_all_learning_rates_and_numbers_of_mini_batches(small_run: Path) -> None:
    passes = json.loads((small_run / "passes.json").read_text())
    assert json.loads((small_run / "summary.json").read_text())["passes"] == passes
    cases = [(p["network"], p["mini_batches"], p["epsilon"]) for p in passes]
    assert cases == [(n, k, e) for n in ("as trained", "average pool") for k in (2, 4, 8) for e in EPSILONS]
    smooth = [c for p in passes if p["network"] == "average pool" and p["epsilon"] < 1e-3 for c in p["cosine"]]
    assert min(smooth) > 0.999


def test_a_run_with_exclusive_hair_trains_another_network_from_the_same_weights(
    cache: Path, small_run: Path, tmp_path: Path
) -> None:
    settings = replace(SMALL, steps=2, exclusive_hair=True)
    run_experiment(settings, tmp_path / "run", cache)
    first, other = (read_npz(run / "checkpoints/step_000000.npz") for run in (small_run, tmp_path / "run"))
    assert all(np.array_equal(first[name], other[name]) for name in first)
    logs = [(run / "log.csv").read_text().splitlines()[1] for run in (small_run, tmp_path / "run")]
    assert logs[0] != logs[1]
    evaluation = read_npz(tmp_path / "run/evaluation/step_000002.npz")
    columns = [ATTRIBUTES.index(name) for name in HAIR]
    z, y = evaluation["logits"], evaluation["y"]
    others = np.delete(np.logaddexp(0, z) - y * z, columns, axis=1).sum(axis=1)
    together = np.log(1 + np.exp(z[:, columns]).sum(axis=1)) - (y * z)[:, columns].sum(axis=1)
    np.testing.assert_allclose(evaluation["loss"], (others + together) / 40, rtol=1e-12)


# --- The same seed, the same files


def test_the_same_seed_gives_the_same_bytes_and_keeps_no_state(cache: Path, small_run: Path, tmp_path: Path) -> None:
    run_experiment(SMALL, tmp_path / "again", cache)
    assert content(tmp_path / "again") == content(small_run)


def test_another_seed_gives_another_training(faces: Dataset, small_run: Path, tmp_path: Path) -> None:
    settings = replace(SMALL, seed=1, steps=2)
    train(settings, TINY, faces, tmp_path)
    assert (tmp_path / "log.csv").read_text().splitlines()[1] != (small_run / "log.csv").read_text().splitlines()[1]
    first, other = (read_npz(run / "checkpoints" / "step_000000.npz") for run in (small_run, tmp_path))
    assert not np.array_equal(first["param/0.0.weight"], other["param/0.0.weight"])


# --- Stopped runs


def test_resuming_where_there_is_no_run_is_refused(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: holds no run to continue; start one without --resume"):
        run_experiment(SMALL, tmp_path / "nowhere", cache, resume=True)
    assert not (tmp_path / "nowhere").exists()


def test_a_run_killed_at_random_moments_ends_with_the_bytes_of_an_uninterrupted_one(
    cache: Path, small_run: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(20)
    out = tmp_path / "killed"
    for lines in sorted(rng.choice(np.arange(1, 12), 3, replace=False).tolist()):
        process = start(out, cache, *["--resume"][: out.exists()], *SMALL_OPTIONS)
        stop(process, signal.SIGKILL, lambda lines=lines: steps_logged(out) >= lines, rng.uniform(0, 0.03))
        assert process.returncode == -signal.SIGKILL
        assert not (out / "evaluation").exists()
    process = start(out, cache, "--resume", *SMALL_OPTIONS)
    stop(process, signal.SIGKILL, lambda: (out / "evaluation/step_000000.npz").exists(), rng.uniform(0, 0.5))
    assert process.returncode == -signal.SIGKILL
    run_experiment(SMALL, out, cache, resume=True)
    assert content(out) == content(small_run)


def test_ctrl_c_is_answered_with_one_line_and_resume_goes_on(cache: Path, small_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(out, cache, *SMALL_OPTIONS)
    error = stop(process, signal.SIGINT, lambda: steps_logged(out) >= 4)
    assert process.returncode == 130
    assert error == "lie-ref: stopped (continue an experiment with --resume, anything else with the same command)\n"
    logged = steps_logged(out)
    assert 4 <= logged < 12
    assert read_npz(out / "state.npz")["counters"][0] >= logged - 1
    settings = replace(SMALL, preset="mxresnet-tiny")
    train(settings, TINY, settings.open_images(cache), out)
    for name in ("log.csv", "checkpoints/step_000012.npz"):
        assert (out / name).read_bytes() == (small_run / name).read_bytes()


def test_ctrl_c_while_images_are_prepared_leaves_one_line_and_no_cache(tmp_path: Path) -> None:
    out, cache = tmp_path / "run", tmp_path / "cache"
    process = start(out, cache, "--faces", "20000")
    error = stop(process, signal.SIGINT, lambda: cache.exists() and any(cache.iterdir()), 0.3)
    assert process.returncode == 130
    assert error == "lie-ref: stopped (continue an experiment with --resume, anything else with the same command)\n"
    assert not any(cache.iterdir())
    assert not content(out)


def test_resuming_a_finished_run_changes_nothing(cache: Path, small_run: Path, run_copy: Path) -> None:
    run_experiment(SMALL, run_copy, cache, resume=True)
    assert content(run_copy) == content(small_run)


def test_halves_of_files_that_a_kill_left_do_not_matter(cache: Path, small_run: Path, run_copy: Path) -> None:
    for name in FILES:
        (run_copy / (name.replace("*", "000012") + ".part")).write_text("half")
    (run_copy / "summary.json").unlink()
    run_experiment(SMALL, run_copy, cache, resume=True)
    assert content(run_copy) == content(small_run)


def test_resuming_goes_on_from_the_state_where_it_is_ahead_of_the_checkpoints(
    faces: Dataset, small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "SAVE_EVERY", -1.0)
    taken: list[int] = []
    advance = experiment.Training.advance

    def counted(self: Any) -> float:
        if len(taken) == 7:
            raise RuntimeError("stopped")
        taken.append(self.step)
        return advance(self)

    monkeypatch.setattr(experiment.Training, "advance", counted)
    with pytest.raises(RuntimeError, match="stopped"):
        train(SMALL, TINY, faces, tmp_path)
    taken.clear()
    train(SMALL, TINY, faces, tmp_path)
    assert taken == [7, 8, 9, 10, 11]
    assert (tmp_path / "log.csv").read_bytes() == (small_run / "log.csv").read_bytes()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 13}, "steps 12, not 13"),
        ({"seed": 1}, "seed 0, not 1"),
        ({"lr": 1e-3}, "lr 0.005, not 0.001"),
        ({"batch": 16}, "batch 32, not 16"),
        ({"size": 32}, "size 16, not 32"),
        ({"preset": "mxresnet-small"}, "preset mxresnet-tiny, not mxresnet-small"),
        ({"celeba": "there"}, "celeba None, not there"),
    ],
)
def test_resuming_with_another_setting_names_it(
    tmp_path: Path, run_copy: Path, change: dict[str, Any], said: str
) -> None:
    """It is refused before any image is prepared: the folder for them is not even made."""
    cache = tmp_path / "no cache"
    message = refusal(run_copy, cache, replace(SMALL, **change), resume=True)
    assert message == f"config.json: the run has {said}; give the same options to continue it, or --force to start anew"
    assert not cache.exists()


def test_resuming_with_other_versions_of_the_packages_is_refused(cache: Path, run_copy: Path) -> None:
    text = (run_copy / "config.json").read_text().replace(f'"numpy": "{np.__version__}"', '"numpy": "1.0"')
    (run_copy / "config.json").write_text(text)
    assert "the run has versions {" in refusal(run_copy, cache, resume=True)


def test_resuming_on_other_images_is_refused(cache: Path, run_copy: Path) -> None:
    text = (run_copy / "config.json").read_text()
    (run_copy / "config.json").write_text(re.sub(r'"images": "[^"]*"', '"images": "others"', text))
    assert "the run has images others, not faces-400-16-seed0-" in refusal(run_copy, cache, resume=True)


@pytest.mark.parametrize("text", [None, "", "{}", "[]", '{"steps": 12'])
def test_resuming_without_a_whole_configuration_is_refused(cache: Path, run_copy: Path, text: str | None) -> None:
    (run_copy / "config.json").unlink()
    if text is not None:
        (run_copy / "config.json").write_text(text)
    assert refusal(run_copy, cache, resume=True).startswith("config.json: not the configuration of a run (")


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("name", ["evaluation/step_000010.npz", "checkpoints/step_000012.npz", "state.npz"])
def test_resuming_with_an_array_file_cut_short_names_it(cache: Path, run_copy: Path, name: str) -> None:
    shutil.copy(run_copy / "checkpoints/step_000012.npz", run_copy / "state.npz")
    if name == "state.npz":  # which is of no use once the last checkpoint is there
        (run_copy / "checkpoints/step_000012.npz").unlink()
    cut_short(run_copy / name)
    assert refusal(run_copy, cache, resume=True).startswith(f"{name}: damaged or not an .npz archive")


@pytest.mark.parametrize("folder", ["checkpoints", "evaluation"])
def test_resuming_with_a_file_under_the_name_of_another_step_names_it(cache: Path, run_copy: Path, folder: str) -> None:
    shutil.copy(run_copy / folder / "step_000010.npz", run_copy / folder / "step_000012.npz")
    said = refusal(run_copy, cache, resume=True)
    assert said.startswith(f"{folder}/step_000012.npz: expected step 12, found ")
    assert said.endswith("; delete it and resume the run")


def test_resuming_with_a_state_beyond_the_last_step_names_it(cache: Path, run_copy: Path) -> None:
    last = run_copy / "checkpoints/step_000012.npz"
    write_npz(run_copy / "state.npz", read_npz(last) | {"counters": np.array([13, 13, 1, 0])})
    last.unlink()
    assert refusal(run_copy, cache, resume=True).startswith("state.npz: expected step 0 to 12, found 13;")


@pytest.mark.parametrize("missing", [[0], [10], [12], [0, 10], [10, 12], STEPS])
@pytest.mark.parametrize("state", [None, 0, 10, 12])
def test_resuming_makes_checkpoints_that_are_missing_again(
    faces: Dataset, small_run: Path, run_copy: Path, missing: list[int], state: int | None
) -> None:
    if state is not None:
        shutil.copy(run_copy / f"checkpoints/step_{state:06d}.npz", run_copy / "state.npz")
    for step in missing:
        (run_copy / f"checkpoints/step_{step:06d}.npz").unlink()
    train(SMALL, TINY, faces, run_copy)
    (run_copy / "state.npz").unlink(missing_ok=True)
    assert content(run_copy) == content(small_run)


def test_resuming_reads_only_the_files_that_it_goes_on_from(
    faces: Dataset, run_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    read_npz = checkpoint.read_npz
    monkeypatch.setattr(checkpoint, "read_npz", lambda path: read.append(path.stem) or read_npz(path))
    train(SMALL, TINY, faces, run_copy)
    assert read == ["step_000012"]
    (run_copy / "checkpoints/step_000012.npz").rename(run_copy / "state.npz")
    train(SMALL, TINY, faces, run_copy)
    assert read == ["step_000012", "state"]
    (run_copy / "checkpoints/step_000012.npz").unlink()
    shutil.copy(run_copy / "checkpoints/step_000000.npz", run_copy / "state.npz")  # older than a checkpoint
    train(SMALL, TINY, faces, run_copy)
    assert read == ["step_000012", "state", "state", "step_000010"]


def test_the_log_is_on_the_disk_before_any_state_that_needs_it(
    faces: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk: list[int] = []  # number of log lines at each time when the log was synchronised
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
    train(replace(SMALL, steps=3), TINY, faces, tmp_path)
    assert saved == [(step, step) for step in (0, 1, 2, 3, 3)]


def test_statistics_that_are_not_finite_are_null(cache: Path, run_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_bracket = examination.check_bracket
    monkeypatch.setattr(
        examination, "check_bracket", lambda *given: replace(check_bracket(*given), richardson=float("nan"))
    )
    (run_copy / "evaluation/step_000012.npz").unlink()
    run_experiment(SMALL, run_copy, cache, resume=True)
    found = str(read_npz(run_copy / "evaluation/step_000012.npz")["statistics"]), (run_copy / "summary.json").read_text()
    for text in found:
        assert '"richardson": null' in text
        assert "NaN" not in text
    assert headlines(run_copy)[3].split()[-2] == "undefined"


def test_resuming_with_a_log_cut_short_names_it(cache: Path, run_copy: Path) -> None:
    cut_short(run_copy / "log.csv")
    assert refusal(run_copy, cache, resume=True).startswith("log.csv: cut short: expected 12 steps, found ")


def test_resuming_without_the_log_names_it(cache: Path, run_copy: Path) -> None:
    (run_copy / "log.csv").unlink()
    assert refusal(run_copy, cache, resume=True).startswith("log.csv: cannot be read")


@pytest.mark.parametrize("passes", ["[", "3", '[{"network": "as trained"}]'])
def test_resuming_with_foreign_passes_names_them(cache: Path, run_copy: Path, passes: str) -> None:
    (run_copy / "passes.json").write_text(passes)
    with pytest.raises(InputError, match=r"passes\.json(\[0\])?: "):
        run_experiment(SMALL, run_copy, cache, resume=True)


@pytest.mark.parametrize("statistics", [None, "{", "3"])
def test_resuming_with_a_foreign_evaluation_names_it(cache: Path, run_copy: Path, statistics: str | None) -> None:
    path = run_copy / "evaluation/step_000010.npz"
    arrays = read_npz(path) | {"statistics": np.array(statistics)}
    write_npz(path, {name: a for name, a in arrays.items() if name != "statistics" or statistics})
    assert refusal(run_copy, cache, resume=True).startswith("evaluation/step_000010.npz: holds no statistics of this")


# --- Folders that hold something


REMEDIES = "--out takes another folder, --resume continues it, --force replaces it"


def test_a_folder_that_holds_a_run_is_left_as_it_is(cache: Path, run_copy: Path) -> None:
    expected = f"{run_copy}: holds a run (config.json); {REMEDIES}"
    assert refusal(run_copy, cache) == expected


@pytest.mark.parametrize("name", [name.replace("*", "000600") for name in FILES])
def test_any_one_file_of_a_run_is_not_overwritten(cache: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("somebody's work")
    assert refusal(tmp_path, cache) == f"{tmp_path}: holds a run ({path.name}); {REMEDIES}"


def test_force_replaces_the_files_of_a_run_and_no_others(cache: Path, run_copy: Path) -> None:
    foreign = ["notes.txt", "checkpoints/best.npz", "evaluation/notes.txt"]
    for name in foreign:
        (run_copy / name).write_text("mine")
    for name in ("summary.json.part", "checkpoints/step_000011.npz.part", "evaluation/step_000011.npz"):
        (run_copy / name).write_text("left by an older run")
    settings = replace(SMALL, steps=0)
    run_experiment(settings, run_copy, cache, force=True)
    steps = ["checkpoints/step_000000.npz", "evaluation/step_000000.npz"]
    own = ["config.json", "log.csv", "passes.json", "summary.json", "report.html", *steps]
    assert sorted(content(run_copy)) == sorted([*foreign, *own])
    assert (run_copy / "log.csv").read_text() == "step,loss\n"
    assert {(run_copy / name).read_text() for name in foreign} == {"mine"}


def test_force_removes_nothing_when_the_new_run_cannot_begin(tmp_path: Path, cache: Path, run_copy: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert refusal(run_copy, cache, replace(SMALL, celeba=str(nowhere)), force=True) == f"{nowhere}: no such folder"
    assert "--batch: expected at most 320" in refusal(run_copy, cache, replace(SMALL, batch=321), force=True)


def test_force_and_resume_together_are_refused(cache: Path, run_copy: Path) -> None:
    assert "expected one of them, got both" in refusal(run_copy, cache, resume=True, force=True)


@pytest.mark.parametrize("place", ["file", "file/run"])
def test_a_folder_that_cannot_be_made_is_named(cache: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    assert refusal(tmp_path / place, cache).startswith(f"{tmp_path / place}: cannot be made a folder (")


# --- Settings


def test_checkpoints_are_those_of_the_protocol_and_the_last_step() -> None:
    protocol = [0, 10, 30, 100, 200, 400, 600, 1000, 1500, 2000, 3000, 4000, 5000]
    assert Settings().checkpoints == protocol
    assert Settings(steps=6000).checkpoints == [*protocol, 6000]
    assert Settings(steps=250).checkpoints == [0, 10, 30, 100, 200, 250]
    assert Settings(steps=0).checkpoints == [0]


def test_the_defaults_are_the_published_protocol() -> None:
    settings = Settings()
    assert (settings.steps, settings.batch, settings.lr, settings.betas) == (5000, 32, 5e-3, (0.8, 0.999))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("lr", [1e10, 1e18, 1e38])
def test_training_that_diverges_says_so(cache: Path, tmp_path: Path, lr: float) -> None:
    with pytest.raises(InputError, match=rf"--lr: training with {re.escape(str(lr))} went beyond float32 at step \d"):
        run_experiment(replace(SMALL, lr=lr), tmp_path / "run", cache)
