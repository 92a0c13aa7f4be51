"""The findings of a run as a few lines of text, for the end of the run and for the README."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HEADER = "  step  train loss  valid. loss  accuracy  correlation  Black Brown Blond  Gray  worst check  order"


def headlines(run: Path) -> list[str]:
    """A table of the checkpoints of a finished run, a line each, and what it comes to.

    `accuracy` is of validation; `correlation` the mean log–log correlation of RMS bracket and RMS gradient; then come
    the ranks of the hair colours among the most moved attributes, the largest disagreement of the first bracket with
    reverse over reverse and with differences of the gradient, and the observed order of the order swap.
    """
    points = json.loads((run / "summary.json").read_text(encoding="utf-8"))["checkpoints"]
    return [HEADER, *map(_row, points), *_sentences(points)]


def _row(point: dict[str, Any]) -> str:
    scores, checks = point["validation"], point["checks"]
    disagreements = checks["hvp_modes"], checks["richardson"]
    worst = "undefined" if None in disagreements else f"{max(disagreements):.1e}"  # nan is None in JSON
    return "  ".join(
        [
            f"{point['step']:6d}",
            _shown(point["train"]["loss"], "10.4f"),
            _shown(scores["loss"], "11.4f"),
            _shown(scores["accuracy"], "8.4f"),
            _shown(point["mean_correlation"], "11.3f"),
            " ".join(f"{rank:5d}" for rank in point["hair_ranks"].values()),
            f"{worst:>11}",
            _shown(checks["order_swap"]["observed_order"], "5.3f"),
        ]
    )


def _sentences(points: list[dict[str, Any]]) -> list[str]:
    late = [point["hair_ranks"]["Black_Hair"] <= 2 for point in points if point["step"] >= 400]
    correlations = [p["mean_correlation"] for p in points if p["step"] >= 100 and p["mean_correlation"] is not None]
    last, attributes = points[-1], len(points[-1]["attributes"])
    lines = [
        f"At step {last['step']} the network clearly beats the commoner answer (McNemar, z > 2) on "
        f"{last['validation']['beats_majority']} of {attributes} attributes."
    ]
    if late:
        lines.append(f"Black_Hair is one of the two most moved attributes at {sum(late)} of {len(late)} steps >= 400.")
    if correlations:
        lines.append(
            f"The log–log correlation of RMS bracket and RMS gradient is >= {min(correlations):.3f} for steps >= 100."
        )
    return lines


def _shown(number: float | None, form: str) -> str:
    return f"{'-':>{form.partition('.')[0]}}" if number is None else f"{number:{form}}"
