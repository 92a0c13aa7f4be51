"""The command line: headlines and a page, or one line and exit status 2 for what cannot be used."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from small import SMALL_OPTIONS

import lie_ref
from lie_ref import oracle
from lie_ref.cli import commands, main
from lie_ref.cli.parser import command_parser
from lie_ref.core.networks import PRESETS
from lie_ref.diet.settings import PRESETS as PRESETS_OF_DIETS
from lie_ref.diet.settings import DietSettings
from lie_ref.experiment.demo import STEPS
from lie_ref.experiment.printout import headlines
from lie_ref.experiment.settings import Settings
from lie_ref.images.labels import ATTRIBUTES
from lie_ref.machine.errors import InputError
from lie_ref.machine.files import read_npz

REFUSED = {  # a command, or an option of a small experiment: its error message
    "--steps -1": "lie-ref: --steps: expected an integer >= 0, got -1",
    "--steps many": "lie-ref experiment: argument --steps: invalid int value: 'many'",
    "--size 0": "lie-ref: --size: expected an integer >= 8, got 0",
    "--batch 0": "lie-ref: --batch: expected an integer >= 2, got 0",
    "--batch 321": "lie-ref: --batch: expected at most 320, the images of the train split, got 321",
    "--lr nan": "lie-ref: --lr: expected a number > 0, got nan",
    "--lr 0": "lie-ref: --lr: expected a number > 0, got 0.0",
    "--lr inf": "lie-ref: --lr: expected a number > 0, got inf",
    "--seed -1": "lie-ref: --seed: expected an integer >= 0, got -1",
    "--faces 319": "lie-ref: --faces: expected an integer >= 320, got 319",
    "--preset resnet": f"lie-ref: --preset: expected one of {', '.join(PRESETS)}, got 'resnet'",
    "--subset": "lie-ref: --subset: is for --celeba, which is not given",
    "--skip-bad": "lie-ref: --skip-bad: is for --celeba, which is not given",
    "--ambiguity -1": "lie-ref: --ambiguity: expected a number >= 0, got -1.0",
    "--celeba nowhere": "lie-ref: --faces: is for synthetic faces, not for --celeba",
    "--resume --force": "lie-ref: --resume continues a run and --force replaces it: expected one of them, got both",
    "--seed 2147483648": "lie-ref: --seed: expected an integer <= 2147483647, got 2147483648",
    "--faces 100000000": "lie-ref: --faces: expected what takes at most 64 GiB, got 100000000, which would take",
    "--size 100000": "lie-ref: --size: expected what takes at most 64 GiB, got 100000, which would take 93,132 GiB",
    "--batch 2000000000": "lie-ref: --size: expected what takes at most 64 GiB, got 16, which would take 47,683 GiB",
    "--steps=--": "lie-ref: argument --steps: expected a value, got '--'",
    f"--steps {1000 * 'a'}": f"lie-ref experiment: argument --steps: invalid int value: '{98 * 'a'}…\n",
    f"--preset {1000 * 'a'}": f"lie-ref: --preset: expected one of {', '.join(PRESETS)}, got '{98 * 'a'}…\n",
    "--preset \a\x1b[31m": f"lie-ref: --preset: expected one of {', '.join(PRESETS)}, got '\\x07\\x1b[31m'\n",
    "\a\x1b[31m": "lie-ref: expected a command, one of demo, check, verify, ",
    f"--{1000 * 'a'}": f"lie-ref: unrecognized arguments: --{97 * 'a'}…\n",
    "findings --seeds 1001": "lie-ref: --seeds: expected at most 1000, got 1001",
    "diet --points 1001": "lie-ref: --points: expected at most 1000, got 1001",
    "diet --retrainings 901": "lie-ref: --retrainings: expected at most 900, got 901",
    "--colour red": "lie-ref: unrecognized arguments: --colour red",
    "exprimnt": "lie-ref: expected a command, one of demo, check, verify, reference, experiment, report, findings, "
    "brackets, diet, doctor, vectors; the nearest to 'exprimnt' is 'experiment'",
    "experiment --celeba nowhere": "lie-ref: nowhere: no such folder",
    "experiment --celeba nowhere --ambiguity 0": "lie-ref: --ambiguity: is for synthetic faces, not for --celeba",
    "experiment --celeba nowhere --independent-hair": "lie-ref: --independent-hair: is for synthetic faces, not for ",
    "findings --celeba nowhere": "lie-ref: nowhere: no such folder",
    "findings --subset": "lie-ref: --subset: is for --celeba, which is not given",
    "findings --seeds 0": "lie-ref: --seeds: expected an integer >= 1, got 0",
    "findings --faces 100": "lie-ref: --faces: expected an integer >= 320, got 100",
    "findings --celeba nowhere --faces 400": "lie-ref: --faces: is for synthetic faces, not for --celeba",
    "findings --preset nothing": "lie-ref: --preset: expected one of mxresnet-tiny",
    "findings --steps -1": "lie-ref: --steps: expected an integer >= 0, got -1",
    "experiment --celeba nowhere --faces 10000": "lie-ref: --faces: is for synthetic faces, not for --celeba",
    "report": "lie-ref report: the following arguments are required: RUN",
    "report nowhere": "lie-ref: nowhere/config.json: no such file",
    "report .": "lie-ref: config.json: no such file",
}


def run(*arguments: str) -> int:
    """The exit status of the command, which may also leave as argparse does."""
    try:
        return main(arguments)
    except SystemExit as leaving:
        return int(leaving.code or 0)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.usefixtures("faces")  # otherwise the bar of their making would stand on standard error
@pytest.mark.parametrize("command", REFUSED)
def test_what_cannot_be_used_gives_status_2_and_one_line(command, cache, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    start = ("experiment", *SMALL_OPTIONS, "--cache", str(cache), "--out", "run") if command.startswith("--") else ()
    assert run(*start, *command.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith(REFUSED[command])
    assert error.endswith("\n")
    assert error.count("\n") == 1
    assert not files(tmp_path)


@pytest.mark.usefixtures("faces")
def test_a_folder_of_the_run_that_cannot_be_made_gives_status_2_and_one_line(cache, tmp_path, capsys):
    (tmp_path / "checkpoints").write_text("not a folder")
    assert run("experiment", *SMALL_OPTIONS, "--cache", str(cache), "--out", str(tmp_path)) == 2
    assert re.fullmatch(rf"lie-ref: .*{re.escape(str(tmp_path / 'checkpoints'))}.*\n", capsys.readouterr().err)


def test_python_m_lie_ref_is_the_same_as_lie_ref(tmp_path):
    script = Path(sys.executable).parent / "lie-ref"
    for arguments, status in ((["--help"], 0), (["report", "nowhere"], 2)):
        by_module, by_script = (
            subprocess.run([*command, *arguments], capture_output=True, text=True, cwd=tmp_path)
            for command in ([sys.executable, "-m", "lie_ref"], [script])
        )
        assert by_module.returncode == by_script.returncode == status
        assert (by_module.stdout, by_module.stderr) == (by_script.stdout, by_script.stderr)
        assert "Traceback" not in by_module.stderr


def test_help_shows_every_default(capsys):
    assert run("experiment", "--help") == 0
    shown = capsys.readouterr().out
    for default in ("10000", "64", "mxresnet-tiny", "5000", "0.005", "runs/experiment", "runs/cache"):
        assert f"(default: {default})" in " ".join(shown.split())


def test_help_shows_what_a_preset_changes(capsys):
    assert run("diet", "--help") == 0
    shown = " ".join(capsys.readouterr().out.split())
    for defaults in ("(default: 500; quick: 30; paper: 1600)", "(default: 0.6 0.2; quick: 0.6 0.3)", "(default: 0.15)"):
        assert defaults in shown


def test_without_a_command_it_says_what_there_is_to_do(capsys):
    assert run() == 0
    shown = capsys.readouterr().out
    (commands,) = (
        action.choices for action in command_parser()._actions if action.dest == "==SUPPRESS==" and action.choices
    )
    assert set(re.findall(r"^  ([a-z]+) +\w.*\)$", shown, re.MULTILINE)) == set(commands)


def test_version(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"lie-ref {lie_ref.__version__}\n"


@pytest.mark.parametrize(
    ("runner", "settings"),
    [
        ("run_study", Settings(faces=400, size=16, preset="mxresnet-small", steps=7)),
        ("run_study", Settings(celeba="DIR", subset=True, skip_bad=True)),
        ("run_diet", DietSettings(celeba="DIR", **PRESETS_OF_DIETS["paper"])),
        ("run_diet", DietSettings(**PRESETS_OF_DIETS["quick"], tasks=("hair",), noise=0.0, lr=1e-3)),
    ],
)
def test_the_command_in_a_record_has_the_settings_of_the_study(runner, settings, tmp_path, monkeypatch, capsys):
    given = []

    def capture(settings, *_):
        given.append(settings)
        raise InputError("seen")

    monkeypatch.setattr(commands, runner, capture)
    name = {"run_study": "findings", "run_diet": "diet"}[runner]
    assert main([*settings.command(name).split()[1:], "--out", str(tmp_path)]) == 2
    assert (given, capsys.readouterr().err) == ([settings], "lie-ref: seen\n")


def test_resuming_a_finished_run_prints_its_headlines_and_its_page(cache, run_copy, capsys):
    assert run("experiment", *SMALL_OPTIONS, "--cache", str(cache), "--out", str(run_copy), "--resume") == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "data: synthetic faces, seed 0, 400 images"
    assert shown[2] == "mxresnet-tiny takes about 0.8 GiB of memory"
    assert re.fullmatch(r"12 steps, 3 checkpoints: about [\d:]+ and 0\.1 GiB of disk if nothing is done yet", shown[3])
    assert shown[4:-1] == headlines(run_copy)
    assert shown[-1] == f"page: {run_copy / 'report.html'}"


def test_report_draws_the_page_of_a_run_again(run_copy, capsys):
    page = run_copy / "report.html"
    drawn = page.read_bytes()
    page.unlink()
    assert run("report", str(run_copy)) == 0
    assert capsys.readouterr().out == f"page: {page}\n"
    assert page.read_bytes() == drawn


def make_celeba(folder: Path) -> np.ndarray:
    """A made-up CelebA of 100 images in the official layout; its labels (100, 40)."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (100, 40))
    names = [f"{number:06}.jpg" for number in range(1, 101)]
    (folder / "img_align_celeba").mkdir(parents=True)
    for name in names:
        Image.fromarray(rng.integers(0, 256, (22, 18, 3), np.uint8)).save(folder / "img_align_celeba" / name)
    rows = [f"{name} {' '.join(f'{2 * v - 1:2}' for v in row)}" for name, row in zip(names, labels, strict=True)]
    (folder / "list_attr_celeba.txt").write_text("\n".join(["100", " ".join(ATTRIBUTES), *rows, ""]))
    split = np.repeat([0, 1, 2], [58, 10, 32])
    rows = [f"{name} {part}" for name, part in zip(names, split, strict=True)]
    (folder / "list_eval_partition.txt").write_text("\n".join([*rows, ""]))
    return labels


def test_an_experiment_on_celeba_reads_the_images_and_continues_on_the_same_images_only(tmp_path, capsys):
    home, out = tmp_path / "celeba", tmp_path / "out" / "run"
    labels = make_celeba(home)
    options = ["--out", str(out), "--cache", str(tmp_path / "cache"), "--steps", "0", "--size", "16"]
    assert run("experiment", "--celeba", str(home), *options) == 0
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    data, *notes = shown.out.splitlines()[:3]
    assert data.endswith(" 100 images")
    assert notes == ["100 of the 100 listed images taken", "split read from list_eval_partition.txt"]
    assert shown.out.splitlines()[-1] == f"page: {out / 'report.html'}"
    np.testing.assert_array_equal(read_npz(out / "evaluation" / "step_000000.npz")["y"], labels[68:])
    summary = json.loads((out / "summary.json").read_text())
    assert [point["train"]["images"] for point in summary["checkpoints"]] == [58]
    config = (out / "config.json").read_text()
    assert json.loads(config)["celeba"] == str(home)

    moved = home.rename(tmp_path / "moved")
    for path in moved.rglob("*"):
        os.utime(path, (1, 1))
    assert run("experiment", "--celeba", f"{moved}/", *options, "--resume") == 0
    assert (out / "config.json").read_text() == config
    with (moved / "img_align_celeba" / "000100.jpg").open("ab") as picture:
        picture.write(b"changed")
    assert run("experiment", "--celeba", str(moved), *options, "--resume") == 2
    assert "config.json: the run has images celeba-16-" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.celeba
def test_a_short_experiment_on_real_images(tmp_path, capsys):
    if "CELEBA" not in os.environ:
        pytest.skip("CELEBA does not name a folder of real images")
    options = ["--celeba", os.environ["CELEBA"], "--subset", "--steps", "20", "--size", "32", "--batch", "8"]
    assert run("experiment", *options, "--out", str(tmp_path / "run"), "--cache", str(tmp_path / "cache")) == 0
    assert capsys.readouterr().out.endswith(f"page: {tmp_path / 'run' / 'report.html'}\n")
    first, *_, last = json.loads((tmp_path / "run" / "summary.json").read_text())["checkpoints"]
    assert (first["step"], last["step"]) == (0, 20)
    for split in ("train", "validation"):
        assert last[split]["loss"] < first[split]["loss"]
        assert last[split]["accuracy"] > 0.7
    assert last["mean_correlation"] > 0.5
    assert max(last["checks"]["hvp_modes"] / 1e-12, last["checks"]["richardson"] / 1e-7) < 1


def test_verify_says_that_it_is_at_work_if_it_takes_long(tmp_path, monkeypatch, capsys):
    vector = oracle.load("mlp-tanh-bce")
    np.savez(tmp_path / "candidate.npz", **vector.outputs)

    def slow(*arguments):
        for thread in threading.enumerate():
            if isinstance(thread, threading.Timer):
                thread.join()  # until it has spoken
        return oracle.verify(*arguments)

    monkeypatch.setattr(commands, "PATIENCE", 0.0)
    monkeypatch.setattr(commands, "oracle", SimpleNamespace(verify=slow))
    assert run("verify", "mlp-tanh-bce", str(tmp_path / "candidate.npz")) == 0
    assert capsys.readouterr().err == f"{commands.WAIT}\n"


@pytest.mark.parametrize("buffering", [[], ["-u"]])
def test_a_closed_pipe_on_standard_output_causes_no_message(buffering, tmp_path):
    np.savez(tmp_path / "candidate.npz", **oracle.load("mlp-tanh-bce").outputs)
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, *buffering, "-m", "lie_ref", "verify", "mlp-tanh-bce", str(tmp_path / "candidate.npz")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, env=environment, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_the_demo_shows_code_and_what_it_prints(tmp_path, cache, capsys):
    assert run("demo", "--out", str(tmp_path / "demo"), "--cache", str(cache)) == 0
    shown = capsys.readouterr().out
    for said in (
        "norm of the bracket: 2.9326",
        "step size 0.001: swap / step² differs from the bracket by 4e-04",
        "agrees: True to 12 digits",
        "agrees: False - it looks like pair-order-swapped or sign-swapped",
    ):
        assert said in shown
    code = [line[4:] for line in shown.splitlines() if line.startswith("    ")]
    assert code == [line for _, step in STEPS for line in step.strip().splitlines()]
    assert (tmp_path / "demo" / "report.html").exists()


def test_a_lack_of_processes_is_not_called_a_fault_of_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_process(options: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(commands, "doctor", no_process)
    assert main(["doctor", "nowhere"]) == 2
    assert capsys.readouterr().err == f"lie-ref: [Errno {errno.EAGAIN}] Resource temporarily unavailable\n"


def test_a_file_that_a_command_reads_is_not_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "both.npz"
    path.write_bytes(b"precious")
    network = ["--model", '{"kind": "mlp", "sizes": [2, 1]}', "--inputs", str(path)]
    other = str(tmp_path / "other.npz")
    for command, option in (
        (["reference", "--weights", other, *network, "--out", str(path)], "--out"),
        (["brackets", other, *network, "--out", f"{tmp_path}/./both.npz"], "--out"),
        (["verify", "conv-odd", str(path), "--json", str(path)], "--json"),
    ):
        assert main(command) == 2
        assert capsys.readouterr().err.startswith(f"lie-ref: {option}: ")
        assert path.read_bytes() == b"precious"
