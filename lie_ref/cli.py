"""The command line, `lie-ref COMMAND` or `python -m lie_ref COMMAND`: it parses options, calls, and prints.

Exit status: 0 done, or the answers agree; 1 the answers were compared and disagree; 3 they were compared, and too
little is decided to tell; 2 input that cannot be used, or output that cannot be written (a full disk, a closed standard
output), or not enough memory, with one line on standard error; as a shell reports it for programs that a signal ends,
130 stopped by Ctrl-C, 143 by SIGTERM, 141 by a closed pipe on standard output, and for the last there is no line.
"""

import argparse
import io
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields
from functools import partial
from importlib.metadata import version
from pathlib import Path
from threading import Timer
from typing import Any, NoReturn

from . import oracle
from .all_pairs import Source, write_brackets
from .blackbox.files import check_file
from .core.losses import LOSSES
from .core.networks import PRESETS
from .diet import settings as diet
from .diet.run import headlines as diet_headlines
from .diet.run import run_diet
from .experiment.demo import demo
from .experiment.page import render
from .experiment.printout import headlines
from .experiment.run import run_experiment
from .experiment.seeds import COMPARED_STEPS, SEEDS, run_study, study_table
from .experiment.settings import Settings
from .images.doctor import MISSING, PROBLEM, diagnosis
from .machine.errors import InputError, nearest, one_line
from .machine.files import check_new_file, to_json, write_text
from .machine.process import interrupt_on_sigterm, keep_freed_memory
from .machine.workers import executor_of, workers
from .oracle.request import read_question
from .oracle.vector_list import write_vectors
from .oracle.vectors import write_vector

WEIGHTS = ".npz of weights, under the names of a state_dict; or a checkpoint of a run"
PATIENCE = 2.0  # seconds before `verify` says that it is at work
WAIT = "lie-ref verify: still at work; with 11 million parameters, a comparison with the known bugs takes a minute"


OVERVIEW = {  # what one wants: the commands for it, and about how long each takes
    "see what this is": {"demo": "half a minute"},
    "check your own code": {"check": "seconds to minutes", "verify": "seconds", "reference": "seconds"},
    "see order-dependence in a training run": {
        "experiment": "3 to 15 minutes",
        "report": "seconds",
        "findings": "an hour",
        "brackets": "4 to 60 ms a pair",
    },
    "know which examples matter": {"diet": "half an hour"},
    "use real images": {"doctor": "seconds"},
    "change the package": {"vectors": "minutes"},
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        if found := re.match(r"argument COMMAND: invalid choice: '(.*?)'", message):
            names = [name for of in OVERVIEW.values() for name in of]
            message = f"expected a command, one of {', '.join(names)}; {nearest(found[1], names)}"
        words = re.sub(r"(\S{99})\S{2,}", r"\1…", one_line(message))
        self.exit(2, f"{self.prog}: {words[:500]}\n")

    def print_help(self, file: Any = None) -> None:  # argparse's own passes over a full disk
        print(self.format_help(), end="", file=file)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        args = sys.argv[1:] if args is None else args
        for argument in args:
            if argument.startswith("--") and argument.endswith("=--"):  # argparse would make an empty list of it
                self.error(f"argument {argument[:-3]}: expected a value, got '--'")
        return super().parse_known_args(args, namespace)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115 -- closed by the caller, who wants no messages
    try:
        return _run(arguments)
    except BrokenPipeError:  # the reader of the output has seen enough
        _forget_output()
        return 141
    except MemoryError as error:
        said = f"not enough memory ({one_line(str(error) or 'MemoryError')})"
    except InputError as error:
        said = str(error)
    except OSError as error:  # it names its file, such as a folder that may not be read; what is printed has no name
        said = one_line(str(error))
        if error.filename is None:
            said = f"standard output: cannot be written ({error.strerror})"
            _forget_output()
    except KeyboardInterrupt as stop:
        remedy = "continue an experiment with --resume, anything else with the same command"
        print(f"lie-ref: stopped ({remedy})", file=sys.stderr)
        return 128 + (stop.args or (signal.SIGINT,))[0]
    print(f"lie-ref: {said}", file=sys.stderr)
    return 2


def _run(arguments: Sequence[str] | None) -> int:
    interrupt_on_sigterm()
    if sys.stdout is None:
        raise InputError("standard output: is closed")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # not every encoding has − and ×
    keep_freed_memory()
    try:
        options = _parser().parse_args(arguments)
        status: int = options.command(options) or 0
    except SystemExit:  # after --help
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return status


def _forget_output() -> None:
    """Drop what is printed and cannot be written, or Python complains of it when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> Parser:
    parser = Parser(prog="lie-ref", usage="lie-ref COMMAND …", formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"lie-ref {version('lie-ref')}")
    parser.set_defaults(command=lambda _: parser.print_help())
    commands = parser.add_subparsers(prog="lie-ref", metavar="COMMAND", help=argparse.SUPPRESS)
    texts: dict[str, str] = {}

    def command(name: str, run: Any, text: str) -> Parser:
        texts[name] = text
        added = commands.add_parser(name, description=f"{text[0].upper()}{text[1:]}.")
        added.set_defaults(command=run)
        return added

    default = Settings()
    showing = command("demo", _demo, "show what lie_ref does, with the Python that does it, and draw a page")
    _add_folders(showing, "demo")
    experiment = command("experiment", _experiment, "train a network, compute brackets at checkpoints, draw the page")
    _add_source(experiment)
    # fmt: off
    _add_options(experiment, default, (
        ("faces", int, "number of synthetic faces"),
        ("size", int, "height and width of the images in pixels"),
        ("preset", str, f"network, one of {', '.join(PRESETS)}"),
        ("steps", int, "number of training steps"),
        ("seed", int, "seed of the weights, the order of the data and the synthetic faces"),
        ("batch", int, "examples per training step"),
        ("lr", float, "learning rate of Adam"),
        ("ambiguity", float, "how far the colour of synthetic hair strays from its label"),
    ))
    # fmt: on
    for name, text in (
        ("exclusive-hair", "train with one softmax over the four hair colours, because hair has at most one colour"),
        ("independent-hair", "let the hair of a synthetic face have several colours"),
        ("resume", "continue a run that was stopped"),
        ("force", "replace a run that exists"),
    ):
        experiment.add_argument(f"--{name}", action="store_true", default=argparse.SUPPRESS, help=text)
    _add_folders(experiment, "experiment")
    _add_executor(experiment, "checkpoints to evaluate", "a process beside that which trains")

    findings = command("findings", _findings, "run the experiment with several seeds and judge the published claims")
    _add_source(findings)
    findings.add_argument(
        "--seeds",
        type=int,
        default=SEEDS,
        metavar="N",
        help="runs of each kind, with seeds from 0 (default: %(default)s; a long study has 10)",
    )
    text = f"number of training steps, at most {COMPARED_STEPS} in runs that are only compared"
    # fmt: off
    _add_options(findings, default, (
        ("faces", int, "number of synthetic faces"),
        ("size", int, "height and width of the images in pixels"),
        ("preset", str, f"network, one of {', '.join(PRESETS)}"),
        ("steps", int, text),
    ))
    # fmt: on
    _add_folders(findings, "findings", "; finished runs in it are not done again")
    _add_executor(findings, "runs")

    selecting = command("diet", _diet, "score training examples, and train without those that the scores leave out")
    _add_source(selecting)
    text = f"settings to start from, one of {', '.join(diet.PRESETS)} (default: %(default)s)"
    selecting.add_argument("--preset", choices=list(diet.PRESETS), default="default", metavar="NAME", help=text)
    # fmt: off
    _add_options(selecting, diet.DietSettings(), (
        ("tasks", str, f"tasks, of {', '.join(diet.TASKS)}"),
        ("scores", str, f"scores that select examples, of {', '.join(diet.SCORES)}"),
        ("faces", int, "number of synthetic faces"),
        ("size", int, "height and width of the images in pixels"),
        ("network", str, f"network, one of {', '.join(PRESETS)}"),
        ("batch", int, "examples per training step"),
        ("lr", float, "learning rate of Adam"),
        ("seed", int, "seed of faces, false labels and random selections"),
        ("runs", int, "training runs that score; the mean of their scores selects the examples"),
        ("retrainings", int, "training runs on each selection of examples"),
        ("steps", int, "number of steps of each training run"),
        ("early", int, "step at which the early scores are taken"),
        ("partners", int, "number of examples whose brackets with an example make its bracket score"),
        ("fractions", float, "fractions of the examples to keep"),
        ("noise", float, "fraction of labels that are made false"),
        ("window", float, "width of the sliding window, as a fraction of the examples"),
        ("offsets", float, "starts of the window, as fractions of the sorted examples"),
        ("band", float, "fraction of the examples in a band of lowest, middle or highest scores"),
        ("spawns", int, "steps at which two children leave their parent run"),
        ("points", int, "points on the line between two children, both ends included"),
        ("kernel-examples", int, "examples per band used for the kernel"),
    ), diet.PRESETS)
    # fmt: on
    _add_folders(selecting, "diet", "; finished jobs in it are not done again")
    _add_executor(selecting, "jobs")

    doctor = command(
        "doctor", _doctor, "say what is seen in a folder of CelebA, what would be used, and what is missing"
    )
    doctor.add_argument("folder", type=Path, metavar="DIR", help="folder or zip of CelebA")

    report = command("report", _report, "draw the page of a run again")
    report.add_argument("run", type=Path, metavar="RUN", help="folder of the run")

    check = command("check", _check, "run a file that defines a gradient of any network, and check brackets with it")
    text = "Python file that defines gradient, theta and a candidate; or a dict or function NAME in it that gives them"
    check.add_argument("file", metavar="FILE.py[:NAME]", help=text)
    _add_json(check)

    verify = command("verify", _verify, "compare the answers of an implementation with a test vector")
    verify.add_argument("vector", metavar="VECTOR", help="name of a test vector, or the .npz of a vector or reference")
    text = "answers to compare: some or all of the outputs of the vector"
    verify.add_argument("candidate", type=Path, metavar="CANDIDATE.npz", help=text)
    _add_json(verify)

    reference = command("reference", _reference, "compute the exact answers for your own weights and inputs")
    reference.add_argument("--weights", type=Path, required=True, metavar="W.npz", help=WEIGHTS)
    _add_question(reference, "x and y; optionally pairs (p, 2) (default: all pairs) and x_eval (default: x)")
    text = "use batch-norm in training mode, for mini-batches x (b, m, …)"
    reference.add_argument("--training", action="store_true", help=text)
    reference.add_argument("--out", type=_new_file, required=True, metavar="R.npz", help="file for the reference")

    many = command(
        "brackets", _brackets, "compute norms of the brackets among many examples of a network, and their scores"
    )
    many.add_argument("weights", type=Path, metavar="CHECKPOINT", help=WEIGHTS)
    _add_question(many, "x and y of the n examples")
    text = "file for norms (n, n), grand (n,) and el2n (n,); the same command continues after a stop"
    many.add_argument("--out", type=_new_file, required=True, metavar="N.npz", help=text)
    _add_executor(many, "blocks of brackets")

    vectors = command("vectors", _vectors, "write the test vectors anew")
    vectors.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the vectors")
    parser.description = _overview(texts)
    return parser


def _overview(texts: Mapping[str, str]) -> str:
    """What there is to do, and how long it takes on two cores; `texts` say what each command does."""
    lines = ["Exact Lie brackets of training examples.  Times are those of the defaults on two cores."]
    for purpose, commands in OVERVIEW.items():
        lines += ["", f"to {purpose}:"]
        lines += [f"  {name:<11} {texts[name]} ({time})" for name, time in commands.items()]
    return "\n".join([*lines, "", "`lie-ref COMMAND --help` says more about each."])


def _add_json(parser: Parser) -> None:
    parser.add_argument("--json", type=_new_file, metavar="FILE", help="also write the verdict to this file")


def _new_file(text: str) -> Path:
    """The path of a file to write, checked before the work is done that would be lost."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path}: is a folder, expected a file")
    if not path.resolve().parent.is_dir():
        raise argparse.ArgumentTypeError(f"{path}: no such folder")
    try:
        check_new_file(path)
    except InputError as error:  # argparse has words of its own for a ValueError
        raise argparse.ArgumentTypeError(str(error)) from error
    return path


def _add_question(parser: Parser, inputs: str) -> None:
    """Add the options that name a network and its inputs."""
    text = f"network: a preset ({', '.join(PRESETS)}), JSON as in data/vectors/index.json, or a file with such JSON"
    parser.add_argument("--model", required=True, metavar="SPEC", help=text)
    parser.add_argument("--inputs", type=Path, required=True, metavar="XY.npz", help=inputs)
    parser.add_argument("--loss", choices=list(LOSSES), default="bce", help="loss (default: %(default)s)")


def _add_executor(parser: Parser, work: str, default: str = "a process for each processor") -> None:
    text = f"function that returns the concurrent.futures.Executor for the {work} (default: {default})"
    parser.add_argument("--executor", metavar="MODULE:FACTORY", help=text)


def _executor(options: argparse.Namespace, default: Any) -> AbstractContextManager[Any]:
    return default() if options.executor is None else executor_of(options.executor)


def _add_source(parser: Parser) -> None:
    """Add the options that say where the images come from."""
    parser.add_argument("--celeba", metavar="DIR", help="folder or zip of CelebA (default: synthetic faces)")
    parser.add_argument("--subset", action="store_true", help="accept a folder that holds only some of the images")
    parser.add_argument("--skip-bad", action="store_true", help="leave out images that cannot be read")


def _add_options(
    parser: Parser, settings: Any, table: Sequence[tuple[str, type, str]], presets: Mapping[str, Mapping[str, Any]] = {}
) -> None:
    """Add options for fields of the settings, which have the defaults, and what each of the presets changes.

    Only options that are given are passed on.
    """
    for name, kind, text in table:
        field = name.replace("-", "_")
        value = getattr(settings, field)
        many: dict[str, Any] = {"nargs": "+"} if isinstance(value, tuple) else {}
        values = {"default": value} | {preset: of[field] for preset, of in presets.items() if field in of}
        words = {preset: " ".join(map(str, of)) if many else of for preset, of in values.items()}
        shown = "; ".join(f"{preset}: {of}" for preset, of in words.items())
        parser.add_argument(
            f"--{name}",
            type=kind,
            default=argparse.SUPPRESS,
            metavar={str: "NAME", int: "N", float: "X"}[kind],
            help=f"{text} ({shown})",
            **many,
        )


def _add_folders(parser: Parser, name: str, kept: str = "") -> None:
    text = f"folder of the results{kept} (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=Path("runs") / name, metavar="DIR", help=text)
    text = "folder for decoded images (default: %(default)s)"
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"), metavar="DIR", help=text)


def _chosen(options: argparse.Namespace, kind: type) -> dict[str, Any]:
    """The given settings of this kind.  Raises InputError for options of a source of images that is not used."""
    given = vars(options)
    for name in ("faces", "ambiguity", "independent_hair"):
        if options.celeba is not None and name in given:
            raise InputError(f"--{name.replace('_', '-')}: is for synthetic faces, not for --celeba")
    for name in ("subset", "skip_bad"):
        if options.celeba is None and given.get(name):
            raise InputError(f"--{name.replace('_', '-')}: is for --celeba, which is not given")
    names = {field.name for field in fields(kind)} & given.keys()
    return {name: tuple(given[name]) if isinstance(given[name], list) else given[name] for name in names}


def _demo(options: argparse.Namespace) -> None:
    demo(options.out, options.cache)


def _experiment(options: argparse.Namespace) -> None:
    settings = Settings(**_chosen(options, Settings))
    with _executor(options, partial(workers, 1)) as executor:
        page = run_experiment(settings, options.out, options.cache, "resume" in options, "force" in options, executor)
    print("\n".join(headlines(options.out)))
    print(f"page: {page}")


def _findings(options: argparse.Namespace) -> None:
    settings = Settings(**_chosen(options, Settings))
    with _executor(options, workers) as executor:
        found = run_study(settings, options.seeds, options.out, options.cache, executor)
    print("\n".join(study_table(found)))


def _diet(options: argparse.Namespace) -> None:
    settings = diet.DietSettings(**(diet.PRESETS[options.preset] | _chosen(options, diet.DietSettings))).checked()
    with _executor(options, workers) as executor:
        results = run_diet(settings, options.out, options.cache, executor)
    print("\n".join(diet_headlines(results)))
    print(f"page: {options.out / 'report.html'}")


def _doctor(options: argparse.Namespace) -> int:
    seen = [*diagnosis(options.folder)]
    print("\n".join(f"{what:<12}{text}" for what, text in seen))
    found = {what for what, _ in seen}
    if PROBLEM in found:
        return 2
    print(f'ready: make experiment CELEBA="{options.folder}"{" ARGS=--subset" if MISSING in found else ""}')
    return 0


def _report(options: argparse.Namespace) -> None:
    print(f"page: {render(options.run)}")


def _verify(options: argparse.Namespace) -> int:
    waiting = Timer(PATIENCE, print, [WAIT], {"file": sys.stderr, "flush": True})
    waiting.start()
    try:
        verdict = oracle.verify(options.vector, options.candidate)
    finally:
        waiting.cancel()
    return _report_verdict(verdict, options.json)


def _check(options: argparse.Namespace) -> int:
    return _report_verdict(check_file(options.file), options.json)


def _report_verdict(verdict: oracle.Verdict, file: Path | None) -> int:
    if file is not None:
        write_text(file, to_json(verdict.to_dict(), indent=1) + "\n")
    print(verdict)
    return {True: 0, False: 1, None: 3}[verdict.agrees]


def _reference(options: argparse.Namespace) -> None:
    vector = read_question(options.model, options.weights, options.inputs, options.loss, options.training)
    write_vector(options.out, vector)
    print(f"reference: {options.out}")


def _brackets(options: argparse.Namespace) -> None:
    source = Source(options.model, options.weights.resolve(), options.inputs.resolve(), options.loss)
    with _executor(options, workers) as executor:
        n = write_brackets(source, options.out, executor)
    print(f"brackets: {options.out}, of {n:,} x {n:,} pairs")


def _vectors(options: argparse.Namespace) -> None:
    print(f"vectors: {len(write_vectors(options.out)) - 1} in {options.out}")
