"""The command line: `lie-ref COMMAND` and `python -m lie_ref COMMAND`; it parses, calls and prints, nothing else.

Exit status: 0 done or agrees, 1 compared and disagrees, 2 input that cannot be used (one line on standard error), 130
stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from . import oracle
from .core.losses import LOSSES
from .core.networks import PRESETS
from .diet import settings as diet
from .diet.run import headlines as diet_headlines
from .diet.run import run_diet
from .experiment.page import render
from .experiment.printout import headlines
from .experiment.run import run_experiment
from .experiment.seeds import COMPARED_STEPS, run_study, study_table
from .experiment.settings import Settings
from .machine.errors import InputError
from .machine.files import to_json, write_text
from .machine.process import keep_freed_memory, use_one_blas_thread
from .machine.workers import workers
from .oracle.request import read_question
from .oracle.vector_list import write_vectors
from .oracle.vectors import write_vector


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # not every encoding has − and ×
    options = _parser().parse_args(arguments)
    try:
        status = options.command(options) or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever read the output has seen enough; 141 is how a shell reports SIGPIPE
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at its end
        return 141
    except (InputError, OSError) as error:  # an OSError names its file: a full disk, a folder that may not be read
        print(f"lie-ref: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "lie-ref: stopped (--resume goes on with an experiment, the same command with the others)", file=sys.stderr
        )
        return 130


def _parser() -> Parser:
    parser = Parser(prog="lie-ref", description="Exact Lie brackets of training examples.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    default = Settings()
    experiment = commands.add_parser("experiment", help="train, take brackets at checkpoints, draw the page")
    experiment.set_defaults(command=_experiment)
    _add_source(experiment)
    text = f"number of synthetic faces (default: {default.faces})"
    experiment.add_argument("--faces", type=int, default=argparse.SUPPRESS, metavar="N", help=text)
    for option, kind, value, metavar, text in (
        ("--size", int, default.size, "N", "height and width in pixels"),
        ("--preset", str, default.preset, "NAME", f"one of {', '.join(PRESETS)}"),
        ("--steps", int, default.steps, "N", "training steps"),
        ("--seed", int, default.seed, "N", "of weights, order and faces"),
        ("--batch", int, default.batch, "N", "examples a training step"),
        ("--lr", float, default.lr, "X", "Adam's learning rate"),
        ("--out", Path, Path("runs/experiment"), "DIR", "the run's folder"),
        ("--cache", Path, Path("runs/cache"), "DIR", "decoded images"),
    ):
        text += " (default: %(default)s)"
        experiment.add_argument(option, type=kind, default=value, metavar=metavar, help=text)
    text = "train with the four hair colours as one softmax, for hair has one colour at most"
    experiment.add_argument("--exclusive-hair", action="store_true", help=text)
    text = "let synthetic hair have several colours"
    experiment.add_argument("--independent-hair", action="store_true", default=argparse.SUPPRESS, help=text)
    text = f"how far the colour of synthetic hair strays from its label (default: {default.ambiguity:g})"
    experiment.add_argument("--ambiguity", type=float, default=argparse.SUPPRESS, metavar="X", help=text)
    experiment.add_argument("--resume", action="store_true", help="go on with a run that was stopped")
    experiment.add_argument("--force", action="store_true", help="replace a run that is there")

    findings = commands.add_parser(
        "findings", help="run the experiment on several seeds and judge the published claims"
    )
    findings.set_defaults(command=_findings)
    findings.add_argument("--celeba", metavar="DIR", help="folder of CelebA; without it, synthetic faces alone")
    findings.add_argument("--subset", action="store_true", help="take the images that are there")
    findings.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of each kind (default: %(default)s)")
    text = f"training steps; runs that are only compared take at most {COMPARED_STEPS} (default: %(default)s)"
    findings.add_argument("--steps", type=int, default=default.steps, metavar="N", help=text)
    text = "folder of the runs, which are not done again where they are there (default: %(default)s)"
    findings.add_argument("--out", type=Path, default=Path("runs/findings"), metavar="DIR", help=text)
    text = "decoded images (default: %(default)s)"
    findings.add_argument("--cache", type=Path, default=Path("runs/cache"), metavar="DIR", help=text)

    _add_diet(commands)

    report = commands.add_parser("report", help="draw the page of a run again")
    report.set_defaults(command=_report)
    report.add_argument("run", type=Path, metavar="RUN", help="the run's folder")

    verify = commands.add_parser("verify", help="compare an implementation's answers with a test vector")
    verify.set_defaults(command=_verify)
    verify.add_argument("vector", metavar="VECTOR", help="a test vector's name, or the .npz of a vector or reference")
    verify.add_argument(
        "candidate", type=Path, metavar="CANDIDATE.npz", help="the answers, any of the vector's outputs"
    )
    verify.add_argument("--json", type=Path, metavar="FILE", help="write the verdict there, too")

    reference = commands.add_parser("reference", help="exact answers for your own weights and inputs")
    reference.set_defaults(command=_reference)
    text = f"a preset ({', '.join(PRESETS)}), JSON such as that in index.json, or a file of it"
    reference.add_argument("--model", required=True, metavar="SPEC", help=text)
    text = "the weights, names of a state_dict; or a checkpoint of a run"
    reference.add_argument("--weights", type=Path, required=True, metavar="W.npz", help=text)
    text = "x and y, and if they differ from all pairs and from x: pairs (p, 2), x_eval"
    reference.add_argument("--inputs", type=Path, required=True, metavar="XY.npz", help=text)
    reference.add_argument("--loss", choices=list(LOSSES), default="bce", help="(default: %(default)s)")
    text = "batch-norm in training mode, for mini-batches x (b, m, …)"
    reference.add_argument("--training", action="store_true", help=text)
    reference.add_argument("--out", type=Path, required=True, metavar="R.npz", help="the reference")

    vectors = commands.add_parser("vectors", help="write the test vectors anew")
    vectors.set_defaults(command=_vectors)
    vectors.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder")
    return parser


def _add_source(parser: argparse.ArgumentParser) -> None:
    """Where the images come from."""
    parser.add_argument("--celeba", metavar="DIR", help="folder of CelebA; without it, synthetic faces")
    parser.add_argument("--subset", action="store_true", help="take the images that are there")
    parser.add_argument("--skip-bad", action="store_true", help="leave out images that cannot be read")


def _add_diet(commands: Any) -> None:
    """The data diet: a preset, and options that differ from it."""
    parser = commands.add_parser("diet", help="score training examples, and train without those that scores leave out")
    parser.set_defaults(command=_diet)
    _add_source(parser)
    text = f"one of {', '.join(diet.PRESETS)} (default: %(default)s); the options below change it"
    parser.add_argument("--preset", choices=list(diet.PRESETS), default="default", metavar="NAME", help=text)
    for option, kind, many, text in (
        ("--tasks", str, True, f"of {', '.join(diet.TASKS)}"),
        ("--scores", str, True, f"that choose examples, of {', '.join(diet.SCORES)}"),
        ("--faces", int, False, "number of synthetic faces"),
        ("--size", int, False, "height and width in pixels"),
        ("--network", str, False, f"one of {', '.join(PRESETS)}"),
        ("--batch", int, False, "examples of a mini-batch"),
        ("--lr", float, False, "Adam's learning rate"),
        ("--seed", int, False, "of faces, false labels and random choices"),
        ("--runs", int, False, "trainings that score"),
        ("--retrainings", int, False, "trainings on each choice of examples"),
        ("--steps", int, False, "training steps of each"),
        ("--early", int, False, "the step at which scores are early"),
        ("--partners", int, False, "examples whose brackets with each other one make its score"),
        ("--fractions", float, True, "of the examples that are kept"),
        ("--noise", float, False, "share of false labels"),
        ("--window", float, False, "width of the sliding window, a share of the examples"),
        ("--offsets", float, True, "where it begins"),
        ("--band", float, False, "share of the examples in a band of scores"),
        ("--spawns", int, True, "the steps at which two children leave their parent"),
        ("--points", int, False, "where networks on the line between them are tested, its ends among them"),
        ("--kernel-examples", int, False, "of each band"),
    ):
        metavar = {str: "NAME", int: "N", float: "X"}[kind]
        more: dict[str, Any] = {"nargs": "+"} if many else {}
        parser.add_argument(option, type=kind, default=argparse.SUPPRESS, metavar=metavar, help=text, **more)
    text = "folder of the results; jobs are not done again where they are there (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=Path("runs/diet"), metavar="DIR", help=text)
    text = "decoded images (default: %(default)s)"
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"), metavar="DIR", help=text)


def _checked_source(options: argparse.Namespace) -> dict[str, Any]:
    """The options by name; InputError for those that belong to the other source of images."""
    given = vars(options)
    for name in ("faces", "ambiguity", "independent_hair"):
        if options.celeba is not None and name in given:
            raise InputError(f"--{name.replace('_', '-')}: is for synthetic faces, not for --celeba")
    for name in ("subset", "skip_bad"):
        if options.celeba is None and given.get(name):
            raise InputError(f"--{name.replace('_', '-')}: is for --celeba, which is not given")
    return given


def _experiment(options: argparse.Namespace) -> None:
    use_one_blas_thread()
    keep_freed_memory()
    given = _checked_source(options)
    settings = Settings(**{field.name: given[field.name] for field in fields(Settings) if field.name in given})
    page = run_experiment(settings, options.out, options.cache, options.resume, options.force)
    print("\n".join(headlines(options.out)))
    print(f"page: {page}")


def _findings(options: argparse.Namespace) -> None:
    use_one_blas_thread()
    keep_freed_memory()
    _checked_source(options)
    settings = Settings(celeba=options.celeba, subset=options.subset, steps=options.steps)
    print("\n".join(study_table(run_study(settings, options.seeds, options.out, options.cache))))


def _diet(options: argparse.Namespace) -> None:
    use_one_blas_thread()
    keep_freed_memory()
    given = _checked_source(options)
    names = {field.name for field in fields(diet.DietSettings)} & given.keys()
    chosen = {name: tuple(given[name]) if isinstance(given[name], list) else given[name] for name in names}
    settings = diet.DietSettings(**(diet.PRESETS[options.preset] | chosen)).checked()
    with workers() as executor:
        results = run_diet(settings, options.out, options.cache, executor)
    print("\n".join(diet_headlines(results)))
    print(f"page: {options.out / 'report.html'}")


def _report(options: argparse.Namespace) -> None:
    print(f"page: {render(options.run)}")


def _verify(options: argparse.Namespace) -> int:
    use_one_blas_thread()
    keep_freed_memory()
    verdict = oracle.verify(options.vector, options.candidate)
    if options.json is not None:
        write_text(options.json, to_json(verdict.to_dict(), indent=1) + "\n")
    print(verdict)
    return 0 if verdict.agrees else 1


def _reference(options: argparse.Namespace) -> None:
    vector = read_question(options.model, options.weights, options.inputs, options.loss, options.training)
    write_vector(options.out, vector)
    print(f"reference: {options.out}")


def _vectors(options: argparse.Namespace) -> None:
    use_one_blas_thread()
    print(f"vectors: {len(write_vectors(options.out)) - 1} in {options.out}")
