"""The commands and their options.  `lie-ref` alone says what there is to do."""

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from ..core.losses import LOSSES
from ..core.networks import PRESETS
from ..diet import settings as diet
from ..experiment.seeds import COMPARED_STEPS, FEWEST, MOST
from ..experiment.settings import Settings
from ..machine.errors import InputError, nearest, one_line
from ..machine.files import check_new_file
from . import commands

WEIGHTS = ".npz of weights, under the names of a state_dict; or a checkpoint of a run"
TEXTS = {  # of options that several commands have
    "faces": "number of synthetic faces",
    "size": "height and width of the images in pixels",
    "preset": f"network, one of {', '.join(PRESETS)}",
    "batch": "examples per training step",
    "lr": "learning rate of Adam",
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        if found := re.match(r"argument COMMAND: invalid choice: '(.*?)'", message):
            names = [name for of in COMMANDS.values() for name in of]
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


def command_parser() -> Parser:
    parser = Parser(prog="lie-ref", usage="lie-ref COMMAND …", formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"lie-ref {version('lie-ref')}")
    parser.set_defaults(command=lambda _: parser.print_help())
    every = parser.add_subparsers(prog="lie-ref", metavar="COMMAND", help=argparse.SUPPRESS)
    lines = ["Exact Lie brackets of training examples.  Times are those of the defaults on two cores."]
    for purpose, of in COMMANDS.items():
        lines += ["", f"to {purpose}:"]
        for name, (text, time, add_options) in of.items():
            lines.append(f"  {name:<11} {text} ({time})")
            added = every.add_parser(name, description=f"{text[0].upper()}{text[1:]}.")
            added.set_defaults(command=getattr(commands, name))
            add_options(added)
    parser.description = "\n".join([*lines, "", "`lie-ref COMMAND --help` says more about each."])
    return parser


def _demo(parser: Parser) -> None:
    _add_folders(parser, "demo")


def _check(parser: Parser) -> None:
    text = (
        "Python file that defines gradient(theta, i), theta, and a candidate or functions grad, hvp, bracket and "
        "logit_delta; optionally pairs, logits and tensors; or a dict or function NAME in it that gives them"
    )
    parser.add_argument("file", metavar="FILE.py[:NAME]", help=text)
    _add_json(parser)


def _verify(parser: Parser) -> None:
    parser.add_argument("vector", metavar="VECTOR", help="name of a test vector, or the .npz of a vector or reference")
    text = "answers to compare: some or all of the outputs of the vector"
    parser.add_argument("candidate", type=Path, metavar="CANDIDATE.npz", help=text)
    _add_json(parser)


def _reference(parser: Parser) -> None:
    parser.add_argument("--weights", type=Path, required=True, metavar="W.npz", help=WEIGHTS)
    _add_question(parser, "x and y; optionally pairs (p, 2) (default: all pairs) and x_eval (default: x)")
    text = "use batch-norm in training mode, for mini-batches x (b, m, …)"
    parser.add_argument("--training", action="store_true", help=text)
    parser.add_argument("--out", type=_new_file, required=True, metavar="R.npz", help="file for the reference")


def _experiment(parser: Parser) -> None:
    _add_source(parser)
    texts = {
        "steps": "number of training steps",
        "seed": "seed of the weights, the order of the data and the synthetic faces",
        "ambiguity": "how far the colour of synthetic hair strays from its label",
    }
    _add_options(parser, Settings(), TEXTS | texts)
    for name, text in (
        ("exclusive-hair", "train with one softmax over the four hair colours, because hair has at most one colour"),
        ("independent-hair", "let the hair of a synthetic face have several colours"),
        ("resume", "continue a run that was stopped"),
        ("force", "replace a run that exists"),
    ):
        parser.add_argument(f"--{name}", action="store_true", default=argparse.SUPPRESS, help=text)
    _add_folders(parser, "experiment")
    _add_executor(parser, "checkpoints to evaluate", "one process beside the training")


def _report(parser: Parser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the run")


def _findings(parser: Parser) -> None:
    _add_source(parser)
    text = f"runs of each kind, with seeds from 0 (default: {FEWEST} to {MOST}, the most that fit into an hour)"
    parser.add_argument("--seeds", type=int, metavar="N", help=text)
    texts = {name: TEXTS[name] for name in ("faces", "size", "preset")}
    texts["steps"] = f"number of training steps; runs with another loss or other faces stop at {COMPARED_STEPS:,}"
    _add_options(parser, Settings(), texts)
    _add_folders(parser, "findings", "; finished runs in it are not done again")
    _add_executor(parser, "runs")


def _brackets(parser: Parser) -> None:
    parser.add_argument("weights", type=Path, metavar="CHECKPOINT", help=WEIGHTS)
    _add_question(parser, "x and y of the n examples")
    text = "file for norms (n, n), grand (n,) and el2n (n,); the same command continues after a stop"
    parser.add_argument("--out", type=_new_file, required=True, metavar="N.npz", help=text)
    _add_executor(parser, "blocks of brackets")


def _diet(parser: Parser) -> None:
    _add_source(parser)
    text = f"settings to start from, one of {', '.join(diet.PRESETS)} (default: %(default)s)"
    parser.add_argument("--preset", choices=list(diet.PRESETS), default="default", metavar="NAME", help=text)
    texts = {
        "tasks": f"one or more tasks: {', '.join(diet.TASKS)}",
        "scores": f"scores that select examples: {', '.join(diet.SCORES)}",
        "faces": TEXTS["faces"],
        "size": TEXTS["size"],
        "network": TEXTS["preset"],
        "batch": TEXTS["batch"],
        "lr": TEXTS["lr"],
        "seed": "seed of faces, false labels and random selections",
        "runs": "training runs that score; the mean of their scores selects the examples",
        "retrainings": "training runs on each selection of examples",
        "steps": "number of steps of each training run",
        "early": "step at which the early scores are taken",
        "partners": "number of examples whose brackets with an example make its bracket score",
        "fractions": "fractions of the examples to keep",
        "noise": "fraction of labels that are exchanged among examples; some of them stay the same",
        "window": "width of the sliding window, as a fraction of the examples",
        "offsets": "starts of the window, as fractions of the sorted examples",
        "band": "fraction of the examples in a band of lowest, middle or highest scores",
        "spawns": "steps at which two children leave their parent run",
        "points": "points on the line between two children, both ends included",
        "kernel-examples": "examples per band used for the kernel",
    }
    _add_options(parser, diet.DietSettings(), texts, diet.PRESETS)
    _add_folders(parser, "diet", "; finished jobs in it are not done again")
    _add_executor(parser, "jobs")


def _doctor(parser: Parser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder or zip of CelebA")


def _vectors(parser: Parser) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the vectors")


def _add_json(parser: Parser) -> None:
    parser.add_argument("--json", type=_new_file, metavar="FILE", help="also write the verdict to this file")


def check_outputs(options: argparse.Namespace) -> None:
    """InputError if a file that a command writes is one that it reads."""
    given = vars(options)
    read = [Path(str(given[name])) for name in ("model", "weights", "inputs", "vector", "candidate") if name in given]
    for name in ("out", "json"):
        if (path := given.get(name)) and any(path.exists() and of.exists() and path.samefile(of) for of in read):
            raise InputError(f"--{name}: {path} is read by this command, expected another file")


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


def _add_source(parser: Parser) -> None:
    """Add the options that say where the images come from."""
    parser.add_argument("--celeba", metavar="DIR", help="folder or zip of CelebA (default: synthetic faces)")
    parser.add_argument("--subset", action="store_true", help="accept a folder that holds only some of the images")
    parser.add_argument("--skip-bad", action="store_true", help="leave out images that cannot be read")


def _add_options(
    parser: Parser, settings: Any, texts: Mapping[str, str], presets: Mapping[str, Mapping[str, Any]] = {}
) -> None:
    """Add options for fields of the settings, which have the defaults, and what each of the presets changes.

    Only options that are given are passed on.
    """
    for name, text in texts.items():
        field = name.replace("-", "_")
        value = getattr(settings, field)
        many: dict[str, Any] = {"nargs": "+"} if isinstance(value, tuple) else {}
        kind = type(value[0] if many else value)
        values = {"default": value} | {preset: of[field] for preset, of in presets.items() if field in of}
        words = {preset: " ".join(map(str, of)) if many else of for preset, of in values.items()}
        shown = "; ".join(f"{preset}: {of}" for preset, of in words.items())
        letter, text = {str: "NAME", int: "N", float: "X"}[kind], f"{text} ({shown})"
        parser.add_argument(f"--{name}", type=kind, default=argparse.SUPPRESS, metavar=letter, help=text, **many)


def _add_folders(parser: Parser, name: str, kept: str = "") -> None:
    text = f"folder of the results{kept} (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=Path("runs") / name, metavar="DIR", help=text)
    text = "folder for decoded images (default: %(default)s)"
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"), metavar="DIR", help=text)


# fmt: off
COMMANDS: dict[str, dict[str, tuple[str, str, Callable[[Parser], None]]]] = {  # what one wants: the commands for it,
    "see what this is": {  # what they do, and about how long it takes
        "demo": ("show what lie_ref does, with the Python that does it, and draw a page", "half a minute", _demo),
    },
    "check your own code": {
        "check": ("check the brackets that a Python file defines, with its gradient of any network",
                  "seconds to minutes", _check),
        "verify": ("compare the answers of an implementation with a test vector", "seconds", _verify),
        "reference": ("compute the exact answers for your own weights and inputs", "seconds", _reference),
    },
    "see order-dependence in a training run": {
        "experiment": ("train a network, compute brackets at checkpoints, draw the page",
                       "3 to 15 minutes", _experiment),
        "report": ("draw the page of a run again", "seconds", _report),
        "findings": ("run the experiment with several seeds and judge the published claims", "an hour", _findings),
        "brackets": ("compute norms of the brackets among many examples, and each example's GraNd and EL2N",
                     "4 to 60 ms a pair", _brackets),
    },
    "know which examples matter": {
        "diet": ("score training examples, and train only on those that the scores select", "half an hour", _diet),
    },
    "use real images": {
        "doctor": ("say what is seen in a folder of CelebA, what would be used, and what is missing",
                   "seconds", _doctor),
    },
    "change the package": {"vectors": ("write the test vectors anew", "minutes", _vectors)},
}
