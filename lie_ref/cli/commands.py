"""What each command does: a function of its name calls the package and prints; it returns an exit status, if not 0."""

import argparse
import sys
from contextlib import AbstractContextManager
from dataclasses import fields
from functools import partial
from pathlib import Path
from threading import Timer
from typing import Any

from .. import oracle
from ..all_pairs import Source, write_brackets
from ..blackbox.files import check_file
from ..diet.run import headlines as diet_headlines
from ..diet.run import run_diet
from ..diet.settings import PRESETS, DietSettings
from ..experiment.demo import demo as show
from ..experiment.page import render
from ..experiment.printout import headlines
from ..experiment.run import run_experiment
from ..experiment.seeds import run_study, study_table
from ..experiment.settings import Settings
from ..images.doctor import MISSING, PROBLEM, diagnosis
from ..machine.errors import InputError
from ..machine.files import to_json, write_text
from ..machine.workers import executor_of, workers
from ..oracle.request import read_question
from ..oracle.vector_list import write_vectors
from ..oracle.vectors import write_vector

PATIENCE = 2.0  # seconds before `verify` says that it is at work
WAIT = "lie-ref verify: still at work; with 11 million parameters, a comparison with the known bugs takes a minute"


def _executor(options: argparse.Namespace, default: Any) -> AbstractContextManager[Any]:
    return default() if options.executor is None else executor_of(options.executor)


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


def demo(options: argparse.Namespace) -> None:
    show(options.out, options.cache)


def experiment(options: argparse.Namespace) -> None:
    settings = Settings(**_chosen(options, Settings))
    with _executor(options, partial(workers, 1)) as executor:
        page = run_experiment(settings, options.out, options.cache, "resume" in options, "force" in options, executor)
    print("\n".join(headlines(options.out)))
    print(f"page: {page}")


def findings(options: argparse.Namespace) -> None:
    settings = Settings(**_chosen(options, Settings))
    with _executor(options, workers) as executor:
        found = run_study(settings, options.seeds, options.out, options.cache, executor)
    print("\n".join(study_table(found)))


def diet(options: argparse.Namespace) -> None:
    settings = DietSettings(**(PRESETS[options.preset] | _chosen(options, DietSettings))).checked()
    with _executor(options, workers) as executor:
        results = run_diet(settings, options.out, options.cache, executor)
    print("\n".join(diet_headlines(results)))
    print(f"page: {options.out / 'report.html'}")


def doctor(options: argparse.Namespace) -> int:
    seen = [*diagnosis(options.folder)]
    print("\n".join(f"{what:<12}{text}" for what, text in seen))
    found = {what for what, _ in seen}
    if PROBLEM in found:
        return 2
    print(f'ready: make experiment CELEBA="{options.folder}"{" ARGS=--subset" if MISSING in found else ""}')
    return 0


def report(options: argparse.Namespace) -> None:
    print(f"page: {render(options.run)}")


def verify(options: argparse.Namespace) -> int:
    waiting = Timer(PATIENCE, print, [WAIT], {"file": sys.stderr, "flush": True})
    waiting.start()
    try:
        verdict = oracle.verify(options.vector, options.candidate)
    finally:
        waiting.cancel()
    return _report_verdict(verdict, options.json)


def check(options: argparse.Namespace) -> int:
    return _report_verdict(check_file(options.file), options.json)


def _report_verdict(verdict: oracle.Verdict, file: Path | None) -> int:
    if file is not None:
        write_text(file, to_json(verdict.to_dict(), indent=1) + "\n")
    print(verdict)
    return {True: 0, False: 1, None: 3}[verdict.agrees]


def reference(options: argparse.Namespace) -> None:
    vector = read_question(options.model, options.weights, options.inputs, options.loss, options.training)
    write_vector(options.out, vector)
    print(f"reference: {options.out}")


def brackets(options: argparse.Namespace) -> None:
    source = Source(options.model, options.weights.resolve(), options.inputs.resolve(), options.loss)
    with _executor(options, workers) as executor:
        n = write_brackets(source, options.out, executor)
    print(f"brackets: {options.out}, of {n:,} x {n:,} pairs")


def vectors(options: argparse.Namespace) -> None:
    print(f"vectors: {len(write_vectors(options.out)) - 1} in {options.out}")
