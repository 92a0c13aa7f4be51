"""Judges the published claims: trains with several seeds, losses and kinds of faces, and gives a verdict on each claim.

Each run has a folder of its own, VARIANT/seed-N; a finished run is not done again.  A run trains as `lie-ref
experiment` does, and its checkpoints are sampled: see `sample`.  Runs other than plain ones are only compared with
others and train for fewer steps.  All findings go to `summary.json` of the study.
"""

import re
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..core.networks import Model, preset
from ..core.problem import NO_PAIRS, Problem
from ..core.types import Array
from ..images.dataset import Dataset
from ..machine.errors import InputError, shortened
from ..machine.files import from_json, make_folders, read_json, to_json, write_npz, write_text
from ..machine.progress import expectation
from ..machine.threads import threads
from ..machine.workers import completed
from ..measure.crosschecks import mini_batch_error
from ..study.checkpoint import Checkpoint
from ..study.folder import held_folder, recorded
from ..study.training import seconds_per_step
from ..study.verdicts import judged, table
from .claims import COMPARED, LATE, SETTLED, Run, agreement_by_attribute, compare, found_in
from .curves import curves
from .expansion import NETWORKS, expansion, variant
from .orders import try_orders
from .reading import VIEWS, read_orders, read_passes, read_sample, readable
from .run import PASSES, compare_orders, prepare, read_trained, train
from .sample import sample
from .settings import Settings
from .statistics import sample_statistics

VARIANTS: dict[str, dict[str, Any]] = {"plain": {}, "exclusive": {"exclusive_hair": True}}  # what a run changes
OF_FACES: dict[str, dict[str, Any]] = {  # the variants of synthetic faces only
    "independent": {"independent_hair": True},
    "clear": {"ambiguity": 0.0},
    "ambiguous": {"ambiguity": 2.0},
}
FEWEST, MOST = 3, 10  # seeds, if their number is not given
HOUR = 3300  # seconds that they may take by `_cost`, which may be a tenth too low
COMPARED_STEPS = 2000  # of runs that are only compared: validation loss is lowest by then (CelebA 1,500, faces 2,000)
SAMPLED = (100, 400, 600, 1000, 1500, 2000, 3000, 5000)  # steps at which checkpoints are sampled
TRIED = (400, 5000)  # steps at which orders are tried
SAMPLE, ORDERS = 500, 2100  # what a sample, and trying orders, cost, in training steps
LARGE = 9_000  # parameters for which a sample costs a step more: it uses them for one example at a time
SAMPLES = 2**23  # bytes of the samples of a run


def run_study(
    settings: Settings, seeds: int | None, out: Path, cache: Path, executor: Executor | None = None
) -> dict[str, Any]:
    """Do or finish all runs of the study in the folder `out`; return the contents of its `summary.json`.

    If `seeds` is None, a study that was begun keeps its number of seeds.  A new one takes the most that fit into an
    hour on this machine, from 3 to 10.  The runs go to any `concurrent.futures.Executor` whose workers see the same
    files; without one, they are done in this process.  Raises InputError as `run_experiment` does.
    """
    if seeds is not None and not 1 <= seeds <= 1000:
        expected = "an integer >= 1" if seeds < 1 else "at most 1000"
        raise InputError(f"--seeds: expected {expected}, got {shortened(seeds)}")
    settings = settings.checked()
    model, at_once = preset(settings.preset), threads() if executor else 1
    seeds = seeds or _begun_with(out) or min(max(int(HOUR * at_once / _seconds(settings, model)), FEWEST), MOST)
    runs = [(variant, seed) for seed in range(seeds) for variant in variants(settings)]
    with held_folder(out), recorded(out, settings.command("findings", seeds=seeds)) as record:
        if settings.celeba:
            settings.open_images(cache)  # here, so that they are decoded by all processors
        room = len(runs) * (len(settings.checkpoints) * 12 * model.parameter_count + SAMPLES)
        expected = expectation(seeds * _seconds(settings, model), room, at_once)
        print(f"seeds: {seeds}; runs: {len(runs)}, {at_once} at a time; {expected}")
        record()
        work = [partial(_run, settings, *run, out.resolve(), cache.resolve()) for run in runs]
        for done, _ in enumerate(completed(executor, work), start=1):
            print(f"runs done: {done} of {len(work)}", flush=True)
            record()
        return judge(settings, seeds, out)


def variants(settings: Settings) -> dict[str, dict[str, Any]]:
    """The variants that a study of these images trains: name → the settings that it changes."""
    return VARIANTS if settings.celeba else VARIANTS | OF_FACES


def judge(settings: Settings, seeds: int, out: Path) -> dict[str, Any]:
    """Judge the claims by all runs of a study, together, and write its `summary.json`."""
    runs = {
        variant: [read_study_run(out / variant / f"seed-{seed}") for seed in range(seeds)]
        for variant in variants(settings)
    }
    pairs = [(claim, runs[a], runs[b], key) for claim, a, b, key in COMPARED if {a, b} <= runs.keys()]
    found = [*found_in(runs["plain"]), *(compare(*pair) for pair in pairs)]
    (found,) = judged({"": sorted(found, key=lambda finding: str(finding["id"]))}).values()
    summary: dict[str, Any] = {
        "format": "lie-ref-findings/3",
        "images": "CelebA" if settings.celeba else "synthetic faces",
        "preset": settings.preset,
        "seeds": list(range(seeds)),
        "steps": settings.steps,
        "findings": found,
        "agreement": agreement_by_attribute(runs["plain"]),
        "curves": curves(runs),
    }
    text = to_json(summary, indent=1)
    write_text(out / "summary.json", text + "\n")
    return from_json(text, out / "summary.json")


def study_run(settings: Settings, out: Path, cache: Path, plain: bool) -> None:
    """Train in the folder `out` and sample the checkpoints; a plain run also tries other orders.

    Raises InputError as `run_experiment` does.  A run that was stopped is continued.
    """
    if not plain:
        settings = replace(settings, steps=min(settings.steps, COMPARED_STEPS))
    with held_folder(out):
        model, dataset = prepare(settings, out, cache, resume=(out / "config.json").exists())
        make_folders(out / "samples", out / "orders")
        for step in train(settings, model, dataset, out):
            path, orders = out / "samples" / f"step_{step:06d}.npz", out / "orders" / f"step_{step:06d}.json"
            if step in _sampled(plain) and not path.exists():
                state = read_trained(out, model, step)
                arrays = sample(settings, model, dataset, state, VIEWS[1:] if plain else ())
                if plain:
                    first = arrays["examples"][0], arrays["watched"][0]
                    arrays["checks"] = np.array(to_json(_checks(settings, model, dataset, state, *first)))
                write_npz(path, arrays)
            if plain and step in TRIED and not orders.exists():
                found = try_orders(settings, model, dataset, read_trained(out, model, step))
                write_text(orders, to_json(found) + "\n")
        if plain:
            compare_orders(settings, model, dataset, out)
        (out / "state.npz").unlink(missing_ok=True)


def read_study_run(out: Path) -> Run:
    """What the claims are about: the statistics of the samples of a run, and its passes and orders."""
    passes, points = out / "passes.json", []
    for path in sorted(out.glob("samples/step_*.npz")):
        with readable(path):
            points.append(sample_statistics(read_sample(path)))
    return {
        "checkpoints": points,
        "passes": read_passes(passes) if passes.exists() else [],
        "orders": [entry for path in sorted(out.glob("orders/step_*.json")) for entry in read_orders(path)],
    }


def study_table(summary: dict[str, Any]) -> list[str]:
    """The lines of a Markdown table with the findings of a study."""
    return table({f"{summary['images']} (seeds: {len(summary['seeds'])})": summary["findings"]})


def _begun_with(out: Path) -> int | None:
    """The number of seeds in the command of a study that was begun in this folder."""
    try:
        named = re.search(r" --seeds (\d+)", read_json(out / "record.json")["command"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # no study, or a damaged record, which is an error elsewhere
    return int(named[1]) if named else None


def _sampled(plain: bool) -> list[int]:
    """The steps at which a run is sampled: those to which claims apply."""
    return [step for step in SAMPLED if step >= (SETTLED if plain else LATE)]


def _seconds(settings: Settings, model: Model) -> float:
    """About how long the runs of one seed take, one after the other, on this machine."""
    steps = sum(_cost(settings, variant, model.parameter_count) for variant in variants(settings))
    return steps * seconds_per_step(model, settings.size, settings.batch)


def _cost(settings: Settings, variant: str, parameters: int) -> int:
    """What a run costs, in training steps, by what was measured with the smallest network and with mxresnet18."""
    plain, sample = variant == "plain", SAMPLE + parameters // LARGE
    steps = settings.steps if plain else min(settings.steps, COMPARED_STEPS)
    sampled = sum(step <= steps for step in _sampled(plain))
    if not plain:
        return steps + sample // 3 * sampled
    tried = sum(step in TRIED for step in settings.checkpoints)
    return steps + sample * sampled + ORDERS * tried + PASSES


def _run(settings: Settings, variant: str, seed: int, out: Path, cache: Path) -> None:
    """Do or finish one run of the study."""
    print(f"{variant}, seed {seed}", flush=True)
    settings = replace(settings, seed=seed, **variants(settings)[variant])
    study_run(settings, out / variant / f"seed-{seed}", cache, plain=variant == "plain")


def _checks(
    settings: Settings, model: Model, dataset: Dataset, checkpoint: Checkpoint, examples: Array, watched: Array
) -> dict[str, Any]:
    """In float64: how far the expansion reaches, and how far a bracket of mini-batches is from the mean of brackets."""
    (x, y), seen = dataset.batch(examples, np.float64), dataset.batch(watched, np.float64)[0]
    weights, loss = checkpoint.weights(model), settings.loss(dataset.attributes)
    problem = Problem(model, weights.params, weights.buffers, x, y, NO_PAIRS, seen, loss)
    x_two, y_two = (a.reshape(2, 3, *a.shape[1:]) for a in (x, y))  # two mini-batches
    return {
        "expansion": {name: expansion(variant(problem, name), settings.lr) for name in NETWORKS},
        "mini_batches": mini_batch_error(replace(problem, x=x_two, y=y_two)),
    }
