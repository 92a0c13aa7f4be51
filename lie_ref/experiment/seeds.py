"""Judges the published claims: the experiment with several seeds, losses and kinds of faces, and a verdict on each
claim.

Each run has a folder of its own, SET/VARIANT/seed-N; a finished run is not done again.  A plain run is the same as
that of `lie-ref experiment`.  The others are only compared with it and train for fewer steps.  All findings go to
`summary.json` of the study; those of a set also go to the summary and page of its first plain run.
"""

from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ..machine.errors import InputError, shortened
from ..machine.files import to_json, write_text
from ..machine.workers import completed
from ..study.folder import held_folder
from ..study.verdicts import table
from .claims import COMPARED, LATE, Run, compare, judge
from .examination import examine_hair
from .page import render
from .reading import read_shares
from .run import prepare, read_trained, run_experiment, train
from .settings import Settings

SETS = {"celeba": "CelebA", "faces": "synthetic faces"}
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {  # what each run of a set changes
    "celeba": {"plain": {}, "exclusive": {"exclusive_hair": True}},
    "faces": {
        "plain": {},
        "exclusive": {"exclusive_hair": True},
        "independent": {"independent_hair": True},
        "clear": {"ambiguity": 0.0},
        "ambiguous": {"ambiguity": 2.0},
    },
}
COMPARED_STEPS = 2000  # of runs that are only compared: validation loss is lowest by then (CelebA 1,500, faces 2,000)


def run_study(
    settings: Settings, seeds: int, out: Path, cache: Path, executor: Executor | None = None
) -> dict[str, Any]:
    """Do or finish all runs of the study in the folder `out`; return the contents of its `summary.json`.

    Without `settings.celeba` there are only the runs on synthetic faces.  Each run is a piece of work for any
    `concurrent.futures.Executor` whose workers see the same files; without one, they are done in this process.  Raises
    InputError as `run_experiment` does.
    """
    if not 1 <= seeds <= 1000:
        expected = "an integer >= 1" if seeds < 1 else "at most 1000"
        raise InputError(f"--seeds: expected {expected}, got {shortened(seeds)}")
    settings = settings.checked()
    sets = [name for name in SETS if name == "faces" or settings.celeba]
    runs = [(name, variant, seed) for name in sets for variant in VARIANTS[name] for seed in range(seeds)]
    with held_folder(out):
        if settings.celeba:
            settings.open_images(cache)  # here, so that they are decoded by all processors
        work = [partial(_run, settings, *run, out.resolve(), cache.resolve()) for run in runs]
        for done, _ in enumerate(completed(executor, work), start=1):
            print(f"runs done: {done} of {len(work)}", flush=True)
        summary = {"format": "lie-ref-findings/1", "seeds": list(range(seeds)), "steps": settings.steps}
        summary["sets"] = {name: _judge(name, seeds, out) for name in sets}
        write_text(out / "summary.json", to_json(summary, indent=1) + "\n")
    return summary


def run_compared(settings: Settings, out: Path, cache: Path, resume: bool) -> None:
    """Train for at most `COMPARED_STEPS`, and write the shares of hair at the late checkpoints to `summary.json`."""
    settings = replace(settings, steps=min(settings.steps, COMPARED_STEPS))
    with held_folder(out):
        model, dataset = prepare(settings, out, cache, resume)
        train(settings, model, dataset, out)
        if not (out / "summary.json").exists():
            points = [
                {"step": step, "hair_shares": examine_hair(settings, model, dataset, read_trained(out, model, step))}
                for step in settings.checkpoints
                if step >= LATE
            ]
            write_text(out / "summary.json", to_json({"checkpoints": points}, indent=1) + "\n")
        (out / "state.npz").unlink(missing_ok=True)


def study_table(summary: dict[str, Any]) -> list[str]:
    """The lines of a Markdown table with the findings of a study."""
    return table({SETS[name]: found for name, found in summary["sets"].items()})


def _run(settings: Settings, name: str, variant: str, seed: int, out: Path, cache: Path) -> None:
    """Do or finish one run of the study."""
    folder = out / name / variant / f"seed-{seed}"
    source = settings.celeba if name == "celeba" else None
    print(f"{SETS[name]}, {variant}, seed {seed}", flush=True)
    run = run_experiment if variant == "plain" else run_compared
    settings = replace(settings, celeba=source, seed=seed, **VARIANTS[name][variant])
    run(settings, folder, cache, resume=(folder / "config.json").exists())


def _judge(name: str, seeds: int, out: Path) -> list[dict[str, Any]]:
    """The findings of one set, which are also written to the summary and page of its first plain run."""
    runs: dict[str, list[Run]] = {
        variant: [read_shares(out / name / variant / f"seed-{seed}" / "summary.json") for seed in range(seeds)]
        for variant in VARIANTS[name]
    }
    compared = [compare(claim, runs[a], runs[b]) for claim, a, b in COMPARED if {a, b} <= runs.keys()]
    found = sorted(judge(runs["plain"]) + compared, key=lambda finding: str(finding["id"]))
    first = out / name / "plain" / "seed-0"
    write_text(first / "summary.json", to_json(runs["plain"][0] | {"findings": found}, indent=1) + "\n")
    render(first)
    return found
