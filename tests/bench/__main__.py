"""`make bench`: how fast lie_ref is beside PyTorch, JAX and this machine's own matrix products, with goals.

The exit status is 1 if results disagree, because the times then mean nothing, and 0 otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import lie_ref

from .flops import total_flops
from .race import Entrant, race
from .table import Line, Results, agree, norms_lines, ratio_lines, remarks, score_lines, share_lines, table
from .work import THREADS

EVALUATION = {"inputs": 32, "examples": 6}
SLOWEST = "bracket"  # this score takes minutes per round, so it is measured only with --only
TRAINING = {"batch": 32, "steps": 10, "lr": 5e-3, "betas": (0.8, 0.999)}


class Row(NamedTuple):
    """Contestants for one piece of work, and the table's lines about it."""

    entrants: dict[str, Entrant]
    lines: Callable[[Results], list[Line]]


def rows(quick: bool) -> dict[str, Row]:
    """All measurements, by their names for `--only`."""
    found = {}
    for size, goal in (("small", 0.2), ("tiny", 0.3)):
        who = entrants("evaluation", "lie_ref", "torch", "jax", preset=f"mxresnet-{size}", **EVALUATION)
        goals = {"torch": goal, "jax": goal}
        found[f"evaluate-{size}"] = Row(who, partial(ratio_lines, work=f"evaluate, mxresnet-{size}", goals=goals))
    for size in ("small", "tiny"):
        who = entrants("training", "lie_ref", "torch", preset=f"mxresnet-{size}", **TRAINING)
        lines = partial(ratio_lines, work=f"training step, mxresnet-{size}", goals={"torch": 1.0})
        found[f"step-{size}"] = Row(who, lines)
    ns = (8, 16) if quick else (8, 16, 32, 64)
    who = {f"n = {n}": alone("norms", preset="mxresnet-tiny", n=n, shown=8) for n in ns}
    found["norms"] = Row(who, partial(norms_lines, work="bracket_norms, mxresnet-tiny", flat=1.3, bounded=1.5))
    who = entrants("bracket", "lie_ref", "torch", preset="mxresnet18")
    lines = partial(ratio_lines, work="one bracket, mxresnet18", goals={"torch": 0.5}, memory=2048)
    found["bracket18"] = Row(who, lines)
    for score, seconds in (("el2n", 15), ("grand", 45), (SLOWEST, 360)):
        ns = (1500, 6000)
        who = {f"n = {n:,}": alone("scores", preset="mxresnet-tiny", score=score, n=n) for n in ns}
        lines = partial(score_lines, work=f"{score}, mxresnet-tiny", seconds=seconds, bounded=1.1)
        found[f"score-{score}"] = Row(who, lines)
    for size in ("small", "tiny"):
        who = entrants("evaluation", "lie_ref", preset=f"mxresnet-{size}", **EVALUATION, share=True)
        flops = total_flops(lie_ref.preset(f"mxresnet-{size}"), **EVALUATION)
        lines = partial(share_lines, work=f"share of the rate, mxresnet-{size}", flops=flops, goal=0.6)
        found[f"share-{size}"] = Row(who, lines)
    return found


def entrants(work: str, *labels: str, **arguments: Any) -> dict[str, Entrant]:
    """Contestants for the same work."""
    return {label: Entrant(f"contestant_{label}", work, arguments) for label in labels}


def alone(work: str, **arguments: Any) -> Entrant:
    return entrants(work, "lie_ref", **arguments)["lie_ref"]


def machine() -> dict[str, Any]:
    """The hardware and versions that the figures depend on."""
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        info = []
    names = [line.split(":")[1].strip() for line in info if line.startswith("model name")]
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "cores used": THREADS,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": f"{blas['name']} {blas['version']}",
        **{package: installed(package) for package in ("torch", "jax")},
    }


def installed(package: str) -> str | None:
    """The version of a package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def main() -> int:
    """Measure, print the table, and save it together with all times."""
    names = list(rows(quick=False))
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="2 rounds, without mxresnet18 and the scores, n ≤ 16")
    parser.add_argument("--rounds", type=int, metavar="N", help="number of timed rounds (default 5)")
    parser.add_argument("--out", type=Path, metavar="FILE", default="runs/bench.json", help="(default %(default)s)")
    parser.add_argument("--only", choices=names, metavar="ROW", help=f"one of {', '.join(names)}")
    options = parser.parse_args()
    rounds = options.rounds or (2 if options.quick else 5)
    left_out = {f"score-{SLOWEST}"} | ({"bracket18", "score-el2n", "score-grand"} if options.quick else set())
    chosen = [options.only] if options.only else [name for name in names if name not in left_out]
    if hasattr(os, "sched_setaffinity"):  # JAX uses all cores that it may; workers inherit this
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])

    found: dict[str, Results] = {}
    for name in chosen:
        say = partial("{}: {}".format, name)
        who = rows(options.quick)[name].entrants
        found[name] = race(who, rounds, lambda text, say=say: print(say(text), file=sys.stderr))
    lines = [line for name in chosen for line in rows(options.quick)[name].lines(found[name])]
    about = machine()
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    print(f"seconds: median [min … max] of {rounds} rounds; ×: lie_ref's median / the peer's\n")
    print(table(lines), *(text for name in chosen for text in remarks(name, found[name])), sep="\n")

    raw = {name: {label: asdict(result) for label, result in results.items()} for name, results in found.items()}
    document = {"format": "lie-ref-bench/1", "machine": about, "table": [asdict(line) for line in lines], "rows": raw}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0 if all(agree(result) for results in found.values() for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
