"""Runs a data diet from end to end: data, scores, retrainings, results and page."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from ..core.types import Arrays
from ..images.dataset import Dataset
from ..machine.errors import InputError
from ..machine.files import from_json, make_folders, to_json, write_npz, write_text
from ..machine.progress import Progress, expectation
from ..machine.threads import threads
from ..machine.workers import completed
from ..study.folder import check_config, held_folder, own_files, recorded, with_versions, write_config
from ..study.pages.markup import percent
from ..study.training import seconds_per_step
from ..study.verdicts import judged, table
from .claims import ACCURACY, found_in
from .jobs import Job, Work
from .page import render_diet
from .plan import check_sizes, score_runs, subsets, trials
from .results import how_forgotten, mean_scores, runs_of, task_results
from .settings import DietSettings, spoken

FORMAT = "lie-ref-diet/1"
SCORED = 0.17  # what an example's bracket with one partner costs, in training steps, as measured
OTHERWISE = "--out takes another folder"
FILES = ("config.json", "record.json", "results.json", "report.html", "scores-*.npz", "jobs/*.npz", "states/*.npz")


def run_diet(settings: DietSettings, out: Path, cache: Path, executor: Executor | None = None) -> dict[str, Any]:
    """Run a data diet in the folder `out`, or continue one that was stopped; returns the content of `results.json`.

    A diet keeps its finished jobs and may be stopped at any point.  `cache` is the folder for decoded images.  The jobs
    run on any `concurrent.futures.Executor` whose workers see the same files; without one, in this process.  Raises
    InputError for settings or files that cannot be used, such as an `out` that holds another diet.  Waits while another
    process works in `out`.
    """
    settings = settings.checked()
    with held_folder(out), recorded(out, settings.command("diet")) as record:
        dataset = settings.open_images(cache)
        work = Work(settings, dataset.cache, out.resolve())
        tasks = work.tasks
        for name in settings.tasks:
            check_sizes(settings, tasks[name, False])
        _begin(out, settings, dataset)
        record()
        print(_expected(settings, work, threads() if executor else 1), flush=True)
        files = do(score_runs(settings), work, "scoring runs", executor, record)
        false = {name: task.false_labels(tasks[name, False]) for (name, noisy), task in tasks.items() if noisy}
        jobs: list[Job] = []
        for name in settings.tasks:
            scores = {noisy: mean_scores(runs_of(files, settings, name, noisy)) for key, noisy in tasks if key == name}
            jobs += trials(settings, tasks[name, False], scores)
            arrays = {"rows": tasks[name, False].rows, **scores[False]}
            if name in false:
                arrays |= {"false": false[name], **{f"noisy/{key}": score for key, score in scores[True].items()}}
            write_npz(out / f"scores-{name}.npz", arrays)
        files |= do(jobs, work, "retrainings", executor, record)
        found = [task_results(settings, tasks[name, False], false.get(name), files) for name in settings.tasks]
        verdicts = judged({task["task"]: found_in(task) for task in found})
        found = [task | {"findings": verdicts[task["task"]]} for task in found]
        results = {"format": FORMAT, "dataset": dataset.name, "settings": asdict(settings), "tasks": found}
        text = to_json(results, indent=1)
        write_text(out / "results.json", text + "\n")
        results = from_json(text, out / "results.json")
        render_diet(out, results, dataset)
        return results


def _expected(settings: DietSettings, work: Work, at_once: int) -> str:
    """How long a diet takes by what was measured with the smallest network, and how much its files take."""
    kinds, seconds, room = 1 + bool(settings.noise), 0.0, 0.0
    selections = len(subsets(settings)) + kinds * len(settings.offsets)
    children = sum(2 * (settings.steps - step) for step in settings.spawns)
    for name in settings.tasks:
        task = work.tasks[name, False]
        scoring = settings.steps + SCORED * settings.partners * len(task.rows)
        steps = kinds * settings.runs * scoring + settings.retrainings * selections * settings.steps
        steps += settings.runs * children
        model = work.model(task)
        seconds += steps * seconds_per_step(model, settings.size, settings.batch)
        room += settings.runs * len(settings.watched) * 12 * model.parameter_count
    return f"tasks: {', '.join(settings.tasks)}; jobs at a time: {at_once}; {expectation(seconds, room, at_once)}"


def do(
    jobs: Sequence[Job], work: Work, label: str, executor: Executor | None, record: Callable[[], None]
) -> dict[str, Arrays]:
    """Do the jobs that have no file yet, with a progress bar, and call `record` after each.

    Returns the arrays of all jobs by name.
    """
    done = {job.name: job.read(work) for job in jobs if job.path(work).exists()}
    left = [job for job in jobs if job.name not in done]
    with Progress(len(jobs), label, start=len(done)) as bar:
        for _ in completed(executor, [partial(job.perform, work) for job in left]):
            bar.advance()
            record()
    return done | {job.name: job.read(work) for job in left}


def _begin(out: Path, settings: DietSettings, dataset: Dataset) -> None:
    """Make the folder and its `config.json`, or check that it holds the same diet."""
    config = with_versions(asdict(settings) | {"images": dataset.images.parent.name})
    if (out / "config.json").exists():
        check_config(out, config, OTHERWISE)
    elif any(out.glob("jobs/*")):
        raise InputError(f"{out}: holds jobs but no config.json; {OTHERWISE}")
    make_folders(out / "jobs", out / "states")
    for path in own_files(out, FILES, "*.part"):
        path.unlink()
    if not (out / "config.json").exists():
        write_config(out, config)


def headlines(results: dict[str, Any]) -> list[str]:
    """The lines to print: a Markdown table of the findings, then for each task the forgetting and a table of gains."""
    lines = table({task["task"]: task["findings"] for task in results["tasks"]})
    for task in results["tasks"]:
        lines += ["", f"{task['task']}: {how_forgotten(task['forgetting'])}", "", *gains_table(task)]
    return lines


def gains_table(task: dict[str, Any]) -> list[str]:
    """Differences in held-out accuracy between subsets of the same size, with a column for each fraction."""
    gains = [entry for entry in task["gains"] if entry["over"] != "all"]
    fractions = list(dict.fromkeys(entry["fraction"] for entry in gains))
    rows: dict[str, list[str]] = {}
    for entry in gains:
        found, name = entry["accuracy"], f"highest {spoken(entry['score'])} minus {spoken(entry['over'])}"
        between = "" if found["low"] is None else f" ({found['low']:+.3f} … {found['high']:+.3f})"
        rows.setdefault(name, []).append(f"{found['value']:+.4f}{between}")
    kept = " | ".join(f"{percent(fraction)} kept" for fraction in fractions)
    head = f"| {task['task']}: {ACCURACY} | {kept} |"
    rest = [f"| {name} | {' | '.join(texts)} |" for name, texts in rows.items()]
    return [head, "| --- |" + " --- |" * len(fractions), *rest] if gains else []
