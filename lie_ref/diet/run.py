"""A data diet from end to end: data, scores, what is tried with them, results and page.

It lives in one folder and can be stopped at any point: the same command goes on, and jobs that are done stay done.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..core.types import Arrays
from ..images.dataset import Dataset
from ..machine.errors import InputError
from ..machine.files import read_npz, to_json, write_npz, write_text
from ..machine.process import interrupt_held
from ..machine.progress import Progress
from ..study.folder import check_config, make_folders, own_files, with_versions, write_config
from ..study.verdicts import table
from .claims import judge
from .jobs import FORMAT, Job, Work, job_path, perform
from .page import render_diet
from .plan import check_sizes, score_runs, trials
from .results import how_forgotten, mean_scores, runs_of, task_results
from .settings import DietSettings
from .tasks import TASKS, Task

OTHERWISE = "--out takes another folder"


def run_diet(settings: DietSettings, out: Path, cache: Path, executor: Executor | None = None) -> dict[str, Any]:
    """Run a data diet in the folder `out`, or finish one that was stopped; returns what its `results.json` holds.

    `cache` is the folder for decoded images.  The jobs are computed by any `concurrent.futures.Executor` whose workers
    see the same files; without one, here.  Raises InputError for settings or files that cannot be used, among them an
    `out` that holds another diet.
    """
    settings = settings.checked()
    dataset = settings.open_images(cache)
    tasks, false = _tasks(settings, dataset)
    for name in settings.tasks:
        check_sizes(settings, tasks[name, False])
    _begin(out, settings, dataset)
    work = Work(settings, tasks, out)
    files = do(score_runs(settings), work, "runs that score", executor)
    tried: list[Job] = []
    for name in settings.tasks:
        scores = {noisy: mean_scores(runs_of(files, settings, name, noisy)) for key, noisy in tasks if key == name}
        tried += trials(settings, tasks[name, False], scores)
        arrays = {"rows": tasks[name, False].rows, **scores[False]}
        if name in false:
            arrays |= {"false": false[name], **{f"noisy/{key}": score for key, score in scores[True].items()}}
        write_npz(out / f"scores-{name}.npz", arrays)
    files |= do(tried, work, "trials", executor)
    found = [task_results(settings, tasks[name, False], false.get(name), files) for name in settings.tasks]
    for task in found:
        task["findings"] = judge(task)
    results = {
        "format": "lie-ref-diet/1",
        "dataset": dataset.name,
        "settings": asdict(settings),
        "tasks": found,
    }
    text = to_json(results, indent=1)
    write_text(out / "results.json", text + "\n")
    results = json.loads(text)
    render_diet(out, results, dataset)
    return results


def do(jobs: Sequence[Job], work: Work, label: str, executor: Executor | None) -> dict[str, Arrays]:
    """Do the jobs that are not done yet, and show how far they are; returns job → what its file holds."""
    steps = {job.name: 1 + job.steps(work.settings) for job in jobs}
    done = {job.name: _read(job, work) for job in jobs if job_path(job, work).exists()}
    left = [job for job in jobs if job.name not in done]
    with Progress(sum(steps.values()), label, start=sum(steps[name] for name in done)) as bar:
        if executor is None:
            for job in left:
                perform(job, work)
                bar.advance(steps[job.name])
        else:
            futures: dict[Future[Path], Job] = {}
            try:
                with interrupt_held():  # it may start its workers now
                    for job in left:
                        futures[executor.submit(perform, job, work)] = job
                for future in as_completed(futures):
                    future.result()
                    bar.advance(steps[futures[future].name])
            except BrokenExecutor as error:  # its futures have all failed
                raise InputError("a worker process ended: was it killed, or short of memory?") from error
            except BaseException:
                for future in futures:  # those that wait are not to be done
                    future.cancel()
                raise
    return done | {job.name: _read(job, work) for job in left}


def _read(job: Job, work: Work) -> Arrays:
    """What a job's file holds; InputError, with the remedy, for one that is damaged or holds something else."""
    path, remedy = job_path(job, work), "delete it, and the same command does it again"
    try:
        arrays = read_npz(path)
    except InputError as error:
        raise InputError(f"{error}; {remedy}") from error
    if str(arrays.pop("format", "none")) != FORMAT:
        raise InputError(f"{path}: not a job's file of this version; {remedy}")
    shapes, found = job.shapes(work), {name: a.shape for name, a in arrays.items()}
    if found != shapes:
        name = next(name for name in (*shapes, *found) if found.get(name) != shapes.get(name))
        expected, got = (of.get(name, "none") for of in (shapes, found))
        raise InputError(f"{path}: {name}: expected shape {expected}, got {got}; {remedy}")
    return arrays


def _tasks(settings: DietSettings, dataset: Dataset) -> tuple[dict[tuple[str, bool], Task], dict[str, np.ndarray]]:
    """(name, whether labels are false) → task, and name → which labels of the training examples are false."""
    tasks, false = {}, {}
    for name in settings.tasks:
        tasks[name, False] = clean = TASKS[name](dataset)
        if settings.noise:
            tasks[name, True], of_rows = clean.with_noise(settings.noise, settings.rng("noise"))
            false[name] = of_rows[clean.rows]
    return tasks, false


def _begin(out: Path, settings: DietSettings, dataset: Dataset) -> None:
    """Make the folder and its `config.json`, or see that it holds the same diet."""
    config = with_versions(asdict(settings) | {"images": dataset.images.parent.name})
    if (out / "config.json").exists():
        check_config(out, config, OTHERWISE)
    elif (out / "jobs").is_dir() and any((out / "jobs").iterdir()):
        raise InputError(f"{out}: holds jobs but no config.json; {OTHERWISE}")
    make_folders(out, out / "jobs", out / "states")
    for half in own_files(out, ("jobs/*.npz", "states/*.npz"), ".part"):
        half.unlink()
    if not (out / "config.json").exists():
        write_config(out, config)


def headlines(results: dict[str, Any]) -> list[str]:
    """The findings as a table in Markdown, then of each task what was forgotten and what each choice gains, by line."""
    lines = table({task["task"]: task["findings"] for task in results["tasks"]})
    for task in results["tasks"]:
        lines += ["", f"{task['task']}: {how_forgotten(task['forgetting'])}", "", *_gains_table(task)]
    return lines


def _gains_table(task: dict[str, Any]) -> list[str]:
    """Of each choice the difference in held-out accuracy from others as many; a column for each fraction."""
    gains = [entry for entry in task["gains"] if entry["over"] != "all"]
    fractions = list(dict.fromkeys(entry["fraction"] for entry in gains))
    rows: dict[str, list[str]] = {}
    for entry in gains:
        found, name = entry["accuracy"], f"{entry['score']}, {entry['end']}, less {entry['over']}"
        between = "" if found["low"] is None else f" ({found['low']:+.3f} … {found['high']:+.3f})"
        rows.setdefault(name, []).append(f"{found['value']:+.4f}{between}")
    head = f"| {task['task']}, trained on | {' | '.join(f'{fraction:.0%}' for fraction in fractions)} |"
    rest = [f"| {name} | {' | '.join(texts)} |" for name, texts in rows.items()]
    return [head, "| --- |" + " --- |" * len(fractions), *rest] if gains else []
