"""The statistics of a run as a few lines of text, for the end of the run and for the README."""

from pathlib import Path
from typing import Any

from ..machine.files import read_json
from ..study.pages.markup import number
from .reading import readable

HEADER = "  step  train loss  valid. loss  accuracy  correlation  Black Brown Blond  Gray  worst check  order"
WIDTHS = (6, 10, 11, 8, 11, 5, 4, 4, 4, 11, 5)


def headlines(run: Path) -> list[str]:
    """The header and one line for each checkpoint of a finished run, then two or three sentences about all of them.

    `accuracy` is that on validation images.  `correlation` is the mean log–log correlation of RMS bracket and RMS
    gradient.  The next four columns are the ranks of the hair colours among the attributes that swaps move most.
    `worst check` is the larger relative error of the first bracket, against reverse over reverse and against
    differences of the gradient.  `order` is the observed order of the order swap.
    """
    with readable(run / "summary.json"):
        points = read_json(run / "summary.json")["checkpoints"]
        return [HEADER, *map(_line, points), *_sentences(points)]


def _line(point: dict[str, Any]) -> str:
    checks, validation = point["checks"], point["validation"]
    errors = checks["hvp_modes"], checks["richardson"]
    worst = "undefined" if None in errors else f"{max(errors):.1e}"  # JSON has null for nan
    scores = [number(score, ".4f") for score in (point["train"]["loss"], validation["loss"], validation["accuracy"])]
    correlation, order = (number(x, ".3f") for x in (point["mean_correlation"], checks["order_swap"]["observed_order"]))
    figures = [point["step"], *scores, correlation, *point["hair_ranks"].values(), worst, order]
    return "  ".join(f"{figure:>{width}}" for figure, width in zip(figures, WIDTHS, strict=True))


def _sentences(points: list[dict[str, Any]]) -> list[str]:
    last, attributes = points[-1], len(points[-1]["attributes"])
    lines = [
        f"At step {last['step']} the network is clearly better than always giving the more common answer "
        f"(McNemar, z > 2) on {last['validation']['beats_majority']} of {attributes} attributes."
    ]
    if late := [point["hair_ranks"]["Black_Hair"] <= 2 for point in points if point["step"] >= 400]:
        lines.append(f"Black_Hair is one of the two most moved attributes at {sum(late)} of {len(late)} steps >= 400.")
    seen = [p["mean_correlation"] for p in points if p["step"] >= 100 and p["mean_correlation"] is not None]
    if seen:
        lines.append(f"The log–log correlation of RMS bracket and RMS gradient is >= {min(seen):.3f} for steps >= 100.")
    return lines
