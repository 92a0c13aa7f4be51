"""The CelebA experiment end to end: data, training with checkpoints, evaluation, findings, and the page.

A run has a folder of its own and can be stopped at any point.  When it is resumed, training continues from the last
saved state and finished evaluations are kept, so it ends with the same arrays as an uninterrupted run.
"""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import asdict
from functools import partial
from itertools import takewhile
from pathlib import Path
from time import monotonic
from typing import Any

from ..core.networks import Model, preset
from ..images.dataset import Cache, Dataset
from ..machine.errors import InputError
from ..machine.files import from_json, make_folders, read_text, to_json, write_npz, write_text, written
from ..machine.process import available_memory
from ..machine.progress import Progress, expectation
from ..machine.workers import completed
from ..study.checkpoint import Checkpoint
from ..study.folder import check_config, held_folder, own_files, with_versions, write_config
from ..study.training import Training, seconds_per_step
from .examination import INPUTS, change_passes, examine
from .page import render
from .reading import SUMMARY, evaluation_path, read_evaluation, read_passes
from .settings import Settings
from .statistics import RMS_GRADIENT

FIXED, A_PARAMETER = 3 * 2**28, 430  # bytes of memory that training and evaluation take together, as measured
EVALUATED, PASSES = 150, 700  # what evaluating a checkpoint, and comparing passes, cost, in training steps
SAVE_EVERY = 15.0  # seconds between two saves of the state from which a stopped run continues
OTHERWISE = "give the same options to continue it, or --force to start anew"
FILES = (
    *("config.json", "log.csv", "state.npz", "checkpoints/step_*.npz", "evaluation/step_*.npz", "samples/step_*.npz"),
    *("orders/step_*.json", "passes.json", "summary.json", "report.html"),
)


def run_experiment(
    settings: Settings,
    out: Path,
    cache: Path,
    resume: bool = False,
    force: bool = False,
    executor: Executor | None = None,
) -> Path:
    """Run the experiment in the folder `out`, or finish one that was stopped, and return the path of its page.

    `cache` is the folder for decoded images.  The checkpoints are evaluated on any `concurrent.futures.Executor` whose
    workers see the same files, while training goes on; without one, in this process, after training.  Raises InputError
    for settings or files that cannot be used, for an `out` that already holds a run (unless `resume` or `force`), and
    with `resume` for a run with other settings.  Waits while another process works in `out`.

    The processes that it starts never run the calling script, so the script needs no `if __name__ == "__main__":`.
    """
    with held_folder(out):
        model, dataset = prepare(settings, out, cache, resume, force)
        print(_expected(settings, model), flush=True)
        points = evaluate_checkpoints(settings, dataset, out, train(settings, model, dataset, out), executor)
        passes = compare_orders(settings, model, dataset, out)
        summary: dict[str, Any] = {
            "format": SUMMARY,
            "dataset": dataset.name,
            "preset": settings.preset,
            "steps": settings.steps,
            "seed": settings.seed,
            "parameters": model.parameter_count,
            "attributes": list(dataset.attributes),
            "rms_gradient": RMS_GRADIENT,
            "checkpoints": points,
            "passes": passes,
        }
        write_text(out / "summary.json", to_json(summary, indent=1) + "\n")
        page = render(out)
        (out / "state.npz").unlink(missing_ok=True)
    return page


def _expected(settings: Settings, model: Model) -> str:
    """How long the run takes by what was measured with the smallest network, and how much its files take."""
    points = len(settings.checkpoints)
    steps = settings.steps + EVALUATED * points + PASSES
    saved = 12 * model.parameter_count + 8 * INPUTS * 3 * settings.size**2  # weights and Adam's state; watched images
    seconds = steps * seconds_per_step(model, settings.size, settings.batch)
    return f"{settings.steps:,} steps, {points} checkpoints: {expectation(seconds, points * saved)}"


def prepare(
    settings: Settings, out: Path, cache: Path, resume: bool = False, force: bool = False
) -> tuple[Model, Dataset]:
    """The network and the images of a run, after its folder has been checked and begun.  Errors as `run_experiment`."""
    config = with_versions(asdict(settings.checked()) | {"checkpoints": settings.checkpoints})
    _check_folder(out, config, resume, force)
    dataset = settings.open_images(cache, not settings.independent_hair, settings.ambiguity)
    images = len(dataset.indices("train"))
    if settings.batch > images:
        raise InputError(f"--batch: expected at most {images}, the images of the train split, got {settings.batch}")
    model = preset(settings.preset, n_out=len(dataset.attributes))
    needed, free = FIXED + A_PARAMETER * model.parameter_count, available_memory()
    taken = f"{settings.preset} takes about {needed / 2**30:.1f} GiB of memory"
    if free is not None and free < needed:
        raise InputError(f"--preset: {taken}, expected a network for the {free / 2**30:.1f} GiB that are free")
    print(taken, flush=True)
    _begin(out, config | {"images": dataset.images.parent.name}, force)
    return model, dataset


def train(settings: Settings, model: Model, dataset: Dataset, out: Path) -> Iterator[int]:
    """Train to the last step, and write `log.csv`; yield each of the settings' checkpoints when it has been written."""
    trained = settings.loss(dataset.attributes)
    training = Training(model, dataset, settings.seed, settings.batch, settings.lr, settings.betas, trained)
    state, log = out / "state.npz", out / "log.csv"
    make_folders(out / "checkpoints")
    if saved := _newest(settings, model, out):
        training.continue_from(saved)
    yield from (step for step in settings.checkpoints if step < training.step)
    write_text(log, "".join(f"{line}\n" for line in ("step,loss", *_logged(log, training.step))))
    last_save = monotonic()
    with Progress(settings.steps, "training", start=training.step) as bar, log.open("ab", buffering=0) as lines:

        def save(path: Path) -> None:
            with written(log):
                os.fsync(lines.fileno())  # so that no power cut can leave a state that is ahead of the log
            training.checkpoint().write(path)

        while True:
            if training.step in settings.checkpoints:
                save(_path(out, training.step))
                yield training.step
            if training.step == settings.steps:
                break
            loss = training.advance().loss
            with written(log):
                lines.write(f"{training.step},{loss!r}\n".encode())
            bar.advance(extra=f"loss {loss:.3f}")
            if monotonic() - last_save > SAVE_EVERY:
                save(state)
                last_save = monotonic()


def _newest(settings: Settings, model: Model, out: Path) -> Checkpoint | None:
    """The newest saved state from which training makes all missing checkpoints."""
    kept = list(takewhile(lambda step: _path(out, step).exists(), settings.checkpoints))
    missing, state = settings.checkpoints[len(kept) :], out / "state.npz"
    if missing and state.exists():
        saved = Checkpoint.read(state, model, 0, settings.steps)
        if max(kept, default=0) <= saved.step <= missing[0]:
            return saved
    return read_trained(out, model, kept[-1]) if kept else None


def read_trained(out: Path, model: Model, step: int) -> Checkpoint:
    """The checkpoint of a run at this step.  Raises InputError, which names the file, if it is missing or damaged."""
    return Checkpoint.read(_path(out, step), model, step, step)


def evaluate_checkpoints(
    settings: Settings, dataset: Dataset, out: Path, trained: Iterable[int], executor: Executor | None = None
) -> list[dict[str, Any]]:
    """Evaluate the checkpoints in float64 as they are `trained`, write a file for each into `evaluation/`, and return
    their statistics."""
    make_folders(out / "evaluation")
    steps = trained if executor else list(trained)
    done = {step for step in settings.checkpoints if evaluation_path(out, step).exists()}
    work = (partial(_evaluate, settings, dataset.cache, out.resolve(), step) for step in steps if step not in done)
    with Progress(len(settings.checkpoints), "evaluating checkpoints", start=len(done)) as bar:
        for _ in completed(executor, work):
            bar.advance()
    return [{"step": step, **_statistics(evaluation_path(out, step), step)} for step in settings.checkpoints]


def _evaluate(settings: Settings, cache: Cache, out: Path, step: int) -> None:
    """Evaluate a checkpoint and write its file.  All that comes with this piece of work is read from the disk."""
    dataset = cache.open()
    model = preset(settings.preset, n_out=len(dataset.attributes))
    write_npz(evaluation_path(out, step), examine(settings, model, dataset, read_trained(out, model, step)))


def _statistics(path: Path, step: int) -> dict[str, Any]:
    arrays = read_evaluation(path, step)
    try:
        return {**from_json(str(arrays["statistics"]), "statistics")}
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path}: holds no statistics of this version ({error})") from error


def compare_orders(settings: Settings, model: Model, dataset: Dataset, out: Path) -> list[dict[str, Any]]:
    """What the order of a pass changes at the last checkpoint: read from `passes.json`, or computed and written
    there."""
    path = out / "passes.json"
    if not path.exists():
        state = read_trained(out, model, settings.steps)
        write_text(path, to_json(change_passes(settings, model, dataset, state)) + "\n")
    return read_passes(path)


def _path(out: Path, step: int) -> Path:
    return out / "checkpoints" / f"step_{step:06d}.npz"


def _check_folder(out: Path, config: dict[str, Any], resume: bool, force: bool) -> None:
    """Raise InputError if the folder of a run holds a run that may be neither replaced nor continued."""
    if resume and force:
        raise InputError("--resume continues a run and --force replaces it: expected one of them, got both")
    there = own_files(out, FILES)
    if resume and not there:
        raise InputError(f"{out}: holds no run to continue; start one without --resume")
    if resume:
        check_config(out, config, OTHERWISE)
    elif there and not force:
        raise InputError(
            f"{out}: holds a run ({there[0].name}); "
            "--out takes another folder, --resume continues it, --force replaces it"
        )


def _begin(out: Path, config: dict[str, Any], force: bool) -> None:
    """Remove the run that `force` replaces; write `config.json`, or compare it if there is a run to continue."""
    for path in own_files(out, FILES, "*.part") + (own_files(out, FILES) if force else []):
        path.unlink()
    if own_files(out, FILES):
        check_config(out, config, OTHERWISE)
    else:
        write_config(out, config)


def _logged(path: Path, step: int) -> list[str]:
    """The lines of the log up to `step`, from which a run continues."""
    if step == 0:
        return []
    lines = read_text(path).splitlines()[1 : step + 1]
    if len(lines) != step or not lines[-1].startswith(f"{step},"):
        raise InputError(f"{path}: cut short: expected {step} steps, found {len(lines)}; --force starts anew")
    return lines
