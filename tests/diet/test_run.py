"""A diet from end to end on a few small faces: its files, continuing after a stop, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lie_ref.cli import main
from lie_ref.diet import run as diet
from lie_ref.diet.jobs import Job
from lie_ref.diet.page import render_diet
from lie_ref.diet.run import run_diet
from lie_ref.diet.settings import PRESETS, DietSettings
from lie_ref.images.dataset import Dataset
from lie_ref.machine.errors import InputError
from lie_ref.machine.files import read_npz
from lie_ref.machine.progress import expectation
from lie_ref.machine.workers import workers

# fmt: off
SETTINGS = DietSettings(**PRESETS["quick"] | {
    "faces": 400, "steps": 8, "early": 4, "spawns": (0, 4), "tasks": ("hair",), "scores": ("el2n", "forgetting"),
    "fractions": (0.5,), "offsets": (0.0, 0.6),
})
COMMAND = [
    "diet", "--preset", "quick", "--faces", "400", "--steps", "8", "--early", "4", "--spawns", "0", "4",
    "--tasks", "hair", "--scores", "el2n", "forgetting", "--fractions", "0.5", "--offsets", "0", "0.6",
]
# fmt: on


@pytest.fixture(scope="module")
def finished(cache: Path, faces: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished diet; tests must not change it."""
    out = tmp_path_factory.mktemp("diets") / "finished"
    run_diet(SETTINGS, out, cache)
    return out


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "copy")


def results(out: Path) -> dict[str, Any]:
    return json.loads((out / "results.json").read_text(encoding="utf-8"))


def test_a_diet_writes_results_scores_and_page(finished: Path) -> None:
    found = results(finished)
    assert found["format"] == "lie-ref-diet/1"
    (task,) = found["tasks"]
    scores = read_npz(finished / "scores-hair.npz")
    assert len(scores["rows"]) == len(scores["el2n/early"]) == len(scores["noisy/el2n/early"]) == task["examples"]
    assert scores["false"].sum() == task["false_labels"]
    assert {entry["end"] for entry in task["pruning"]} == {"all", "random", "highest"}
    for entry in task["pruning"]:
        assert all(0 <= value <= 1 for value in entry["accuracy"]["values"])
        assert len(entry["accuracy"]["values"]) == 2
    assert [(w["noisy"], w["offset"]) for w in task["windows"]] == [(False, 0), (False, 0.6), (True, 0), (True, 0.6)]
    assert (finished / "report.html").stat().st_size > 10_000


def test_a_stopped_diet_continues_to_the_same_results(
    copy: Path, finished: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (copy / "jobs" / "hair-all-1.npz.part").write_bytes(b"half")
    (copy / "film.mp4.part").write_bytes(b"somebody else's")
    done = []
    perform = Job.perform
    monkeypatch.setattr(Job, "perform", lambda job, work: done.append(job.name) or perform(job, work))
    run_diet(SETTINGS, without(copy, "hair-scores-noisy-1", "hair-all-1"), cache)
    assert done == ["hair-scores-noisy-1", "hair-all-1"]
    assert (copy / "results.json").read_bytes() == (finished / "results.json").read_bytes()
    assert (copy / "report.html").read_bytes() == (finished / "report.html").read_bytes()
    assert [path.name for path in copy.rglob("*.part")] == ["film.mp4.part"]


def without(out: Path, *jobs: str) -> Path:
    """The folder without the jobs that match these patterns, and without results and page."""
    for pattern in (*(f"jobs/{job}.npz" for job in jobs), "results.json", "report.html"):
        for path in out.glob(pattern):
            path.unlink()
    return out


def test_any_executor_computes_the_same(copy: Path, finished: Path, cache: Path) -> None:
    with ThreadPoolExecutor(2) as executor:
        run_diet(SETTINGS, without(copy, "*-1"), cache, executor)
    assert (copy / "results.json").read_bytes() == (finished / "results.json").read_bytes()


def test_the_command_computes_the_same_in_worker_processes(
    copy: Path, finished: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*COMMAND, "--out", str(without(copy, "*-1")), "--cache", str(cache)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == f"page: {copy / 'report.html'}"
    assert "| | claim | statistic | holds if | hair |" in printed
    assert (copy / "results.json").read_bytes() == (finished / "results.json").read_bytes()


def test_ctrl_c_ends_the_workers_and_the_same_command_continues(copy: Path, finished: Path, cache: Path) -> None:
    """The scoring runs, which take longest, are done already."""
    script = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); from lie_ref import cli; "
    out, pipe = str(without(copy, "hair-[!s]*")), subprocess.PIPE
    command = [sys.executable, "-c", script + "sys.exit(cli.main())", *COMMAND, "--out", out, "--cache", str(cache)]
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    while not any(copy.glob("jobs/hair-[!s]*.npz")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # also to the workers, as a terminal does
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert error.splitlines()[-1].startswith("lie-ref: stopped (")
    assert "Traceback" not in error
    assert len(list(copy.glob("jobs/*.npz"))) < len(list(finished.glob("jobs/*.npz")))
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert (copy / "results.json").read_bytes() == (finished / "results.json").read_bytes()


@pytest.mark.parametrize("damage", [b"", b"not an archive", None])
def test_a_damaged_job_is_named(damage: bytes | None, copy: Path, cache: Path) -> None:
    path = copy / "jobs" / "hair-all-1.npz"
    path.write_bytes(path.read_bytes()[:100] if damage is None else damage)
    with pytest.raises(InputError, match=re.escape(str(path))) as caught:
        run_diet(SETTINGS, copy, cache)
    assert "\n" not in str(caught.value)


def test_a_lost_state_is_named_with_the_job_that_makes_it_again(copy: Path, cache: Path) -> None:
    (copy / "states" / "hair-0-000004.npz").unlink()
    (copy / "jobs" / "hair-velocities-0.npz").unlink()
    with pytest.raises(InputError, match=r"hair-0-000004.npz: no such file; delete jobs/hair-scores-clean-0.npz, and"):
        run_diet(SETTINGS, copy, cache)
    (copy / "jobs" / "hair-scores-clean-0.npz").unlink()
    run_diet(SETTINGS, copy, cache)


def test_a_killed_worker_is_reported_in_one_line(copy: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(copy, "hair-all-0")
    with workers(1) as pool:
        submit = pool.submit
        monkeypatch.setattr(pool, "submit", lambda *_: submit(os._exit, 1))
        with pytest.raises(InputError, match=r"^a worker process ended: [^\n]*$"):
            run_diet(SETTINGS, copy, cache, pool)


class Refusing(ThreadPoolExecutor):
    """Accepts one job and raises this error at the second."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(1)
        self.error, self.futures = error, []

    def submit(self, f: Any, /, *arguments: Any, **named: Any) -> Any:
        if self.futures:
            raise self.error
        self.futures.append(super().submit(time.sleep, 0.5))
        self.futures.append(super().submit(f, *arguments, **named))
        return self.futures[-1]


def test_a_pool_that_breaks_during_submission_is_reported(copy: Path, cache: Path) -> None:
    without(copy, "hair-all-0", "hair-all-1")
    message = r'^a worker process ended: .* needs `if __name__ == "__main__":`, and cannot be run by `python -`\.$'
    with pytest.raises(InputError, match=message):
        run_diet(SETTINGS, copy, cache, Refusing(BrokenProcessPool("it broke")))


def test_ctrl_c_during_submission_cancels_the_waiting_jobs(copy: Path, cache: Path) -> None:
    executor = Refusing(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run_diet(SETTINGS, without(copy, "hair-all-0", "hair-all-1"), cache, executor)
    assert executor.futures[-1].cancelled()


@pytest.mark.parametrize("change", [("job/5", "job/4"), ("hair-all-1", "hair-all-0"), ("lr=0.005", "lr=0.001")])
def test_a_file_of_another_version_job_or_diet_is_refused(change: tuple[str, str], copy: Path, cache: Path) -> None:
    path = copy / "jobs" / "hair-all-1.npz"
    arrays = read_npz(path)
    origin = str(arrays["format"])
    assert change[0] in origin
    np.savez(path, **(arrays | {"format": np.array(origin.replace(*change))}))
    with pytest.raises(InputError, match=r"hair-all-1.npz: not a file of this job, .* of this version; delete it, and"):
        run_diet(SETTINGS, copy, cache)


def test_a_folder_with_another_diet_is_refused(copy: Path, cache: Path) -> None:
    with pytest.raises(InputError, match=r"config.json: the run has steps 8, not 9; --out takes another folder"):
        run_diet(DietSettings(**{**vars(SETTINGS), "steps": 9}), copy, cache)
    (copy / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"config.json: not the configuration of a run \(.*\); --out takes another"):
        run_diet(SETTINGS, copy, cache)
    (copy / "config.json").unlink()
    with pytest.raises(InputError, match=r"holds jobs but no config.json"):
        run_diet(SETTINGS, copy, cache)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fractions", "0.5", "1.5"], "--fractions: expected a share above 0 and at most 1, got 1.5"),
        (["--band", "0.0001"], "--band: 0.0001 of the 320 training examples of task attributes is 0, expected at"),
        (["--preset", "huge"], "argument --preset: invalid choice: 'huge'"),
        (["--celeba", "nowhere"], "nowhere: no such folder"),
        (["--celeba", "nowhere", "--faces", "400"], "--faces: is for synthetic faces, not for --celeba"),
        (["--subset"], "--subset: is for --celeba, which is not given"),
    ],
)
def test_bad_options_are_one_line_and_exit_2(
    options: list[str], message: str, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = [] if "--celeba" in options else ["--faces", "400", "--size", "16"]
    try:
        status = main(["diet", *few, "--out", str(tmp_path / "out"), "--cache", str(cache), *options])
    except SystemExit as stop:
        status = stop.code
    error = capsys.readouterr().err
    assert status == 2
    assert message in error.splitlines()[-1]
    assert "Traceback" not in error


def test_the_page_has_one_script_which_its_policy_names_and_loads_nothing(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    assert f"script-src 'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in page
    page = page.replace(script, "")
    tags = re.findall(r"<(\w+)", page)
    assert tags.count("img") == 2 * 8 * 9  # both ends of 9 scores
    assert tags.count("svg") == 2 + 3  # the two scores that select; windows, velocities, barriers
    loaded = re.findall(r"""\s(?:src|href|data)\s*=\s*["']?([^"'\s>]*)""", page)
    assert loaded.pop() == "https://arxiv.org/abs/2107.07075"
    assert len(loaded) == tags.count("img")
    assert all(address.startswith("data:image/png;base64,") for address in loaded)


def test_undefined_values_are_left_out_of_the_page(finished: Path, faces: Dataset, tmp_path: Path) -> None:
    found = results(finished)
    (task,) = found["tasks"]
    for entry in (task["windows"][0]["accuracy"], task["velocities"]["bands"]["lowest"][0], task["pruning"][0]["loss"]):
        entry |= {"value": None, "low": None, "high": None, "values": [None, None]}
    task["windows"][1]["accuracy"]["values"][0] = None
    for at in task["barriers"]:
        for of in at["groups"].values():
            of["barrier"]["values"] = [None, None]
    text = render_diet(tmp_path, found, faces).read_text(encoding="utf-8")
    assert "None" not in text
    assert "nan" not in text
    assert text.count("There is nothing to draw.") == 1


def test_text_from_data_is_escaped(finished: Path, faces: Dataset, tmp_path: Path) -> None:
    found = results(finished)
    found["dataset"] = "<b>&"
    found["tasks"][0]["task"] = "<i>hair"
    text = render_diet(tmp_path, found, faces).read_text(encoding="utf-8")
    assert "<b>" not in text
    assert "<i>" not in text
    assert "&lt;i&gt;hair" in text


def test_the_page_says_first_what_brackets_gain_which_score_finds_false_labels_and_what_was_decided(
    finished: Path, faces: Dataset, tmp_path: Path
) -> None:
    (task,) = results(finished)["tasks"]
    page = (finished / "report.html").read_text(encoding="utf-8")
    answer = page.split('<p class="answer">')[1].split("</p>")[0]
    verdicts = [finding["verdict"] for finding in task["findings"]]
    hold, fail, undecided = (verdicts.count(verdict) for verdict in ("holds", "fails", "undecided"))
    assert answer.endswith(
        f"Of {len(verdicts)} claims, {hold} held, {fail} failed, and {undecided} remained undecided."
    )
    best = max(task["noise"], key=lambda entry: entry["value"])
    words = {"el2n/early": "early EL2N", "forgetting/end": "forgetting", "grand/early": "early GraNd"}
    assert f"than for a true one: {words[best['score']]} {100 * best['value']:.0f}\u00a0%" in answer
    shown = re.findall(r'class="verdict (\w+)"', page)
    assert shown == sorted(shown, key=lambda verdict: verdict == "undecided")
    for gain, words in ((-0.163, "16.3 points of accuracy less"), (0.02, "2.0 points of accuracy more"), (None, None)):
        found = results(finished)
        (seven,) = (finding for finding in found["tasks"][0]["findings"] if finding["id"] == "7i")
        seven["value"] = gain
        text = render_diet(tmp_path, found, faces).read_text(encoding="utf-8")
        assert (f"Training on the highest bracket scores gives {words} than" in text) == (gain is not None)


def test_a_diet_says_how_long_it_takes_and_how_much_disk_before_it_begins(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the paper's preset: trainings on 400 faces with a step of 10 ms, one job at a time."""
    settings = replace(DietSettings(**PRESETS["paper"]), faces=400, tasks=("attributes",), batch=16)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(diet, "do", stop)
    monkeypatch.setattr(diet, "seconds_per_step", lambda *_: 0.01)
    with pytest.raises(KeyboardInterrupt):
        run_diet(settings, tmp_path / "out", cache)
    examples = 320  # 80 % of the faces
    scoring = 2 * 10 * (1600 + 0.17 * 8 * examples)  # with true and with false labels
    selections = 1 + 2 * 6 + 2 * 3  # all; two fractions of random ones and of five scores; windows
    steps = scoring + 10 * selections * 1600 + 10 * 2 * (3 * 1600 - 1000)
    assert f"tasks: attributes; jobs at a time: 1; {expectation(0.01 * steps, 0)}" in capsys.readouterr().out
