"""Draws the page of a run: one self-contained HTML file made from nothing but the files in the run's folder.

What holds for the whole run is drawn here; what the reader chooses is drawn by `explorer/explorer.js`, from data that
the page carries and whose figures are computed here.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from ..core.types import Arrays
from ..images.labels import HAIR
from ..machine.files import write_text
from ..study.pages import markup
from ..study.pages.markup import WORDS, cells, claim_row, content_policy, number, source, thumbnails
from .exclusive import attribute_probabilities
from .reading import SWAPS, RunFiles, read_run, views
from .statistics import pair_rms_gradient, proportionality, rank_attributes

LOG_POINTS = 600  # points of the training loss that are drawn, spread evenly over the logarithmic axis
CHART_WIDTH, CHART_HEIGHT = 560, 240  # units of the loss chart's frame
CHART = Template(
    f"""<svg class="chart" viewBox="-104 -8 {CHART_WIDTH + 112} {CHART_HEIGHT + 64}" role="img"
aria-label="Loss against training step">
<path d="M0 0H{CHART_WIDTH}V{CHART_HEIGHT}H0Z$grid"/>$labels
<text x="{CHART_WIDTH / 2}" y="{CHART_HEIGHT + 50}" class="middle">step (logarithmic)</text>
<text transform="translate(-86 {CHART_HEIGHT / 2}) rotate(-90)" class="middle">loss</text>
<svg width="{CHART_WIDTH}" height="{CHART_HEIGHT}">$marks</svg></svg>"""
)
DERIVATIONS = ("richardson", "hvp_modes")  # the checks that derive the bracket again


def render(run: Path) -> Path:
    """Write `report.html` into the folder `run` and return its path.

    The page is written whole or not at all. Raises InputError when a file of the run is missing or damaged.
    """
    files = read_run(run)
    page = run / "report.html"
    write_text(page, _page(files))
    return page


# Drawing


@dataclass(frozen=True)
class LogAxis:
    """A logarithmic axis from the positive value `low` to `high`, drawn from 0 to `length` (or back, if negative).

    >>> LogAxis(1, 100, 200).place(10)
    array(100.)
    >>> LogAxis(1, 100, -200).place(10)
    array(100.)
    """

    low: float
    high: float
    length: float

    @classmethod
    def around(cls, values: np.ndarray, length: float) -> LogAxis:
        """The axis that shows all of the positive `values` with a little room on both sides."""
        room = (values.max() / values.min()) ** 0.05 * 1.05
        return cls(values.min() / room, values.max() * room, length)

    def place(self, values: Any) -> np.ndarray:
        share = np.log(np.asarray(values) / self.low) / math.log(self.high / self.low)
        return np.asarray(share * self.length if self.length > 0 else (share - 1) * self.length)

    def ticks(self) -> list[tuple[float, str]]:
        """(value, label) at powers of ten; also between them where the axis covers less than two decades."""
        digits = (1, 2, 3, 5, 7) if self.high < 10 * self.low else (1, 2, 5) if self.high < 100 * self.low else (1,)
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)))
        values = [(digit * 10.0**decade, digit, decade) for decade in decades for digit in digits]
        return [
            (value, f"{value:g}" if -3 <= decade <= 3 else f"{digit}e{decade}")  # short, to fit beside the axis
            for value, digit, decade in values
            if self.low <= value <= self.high
        ]


def _chart(x: LogAxis, y: LogAxis, steps: Sequence[int], marks: str) -> str:
    """The SVG chart: frame, grid, labels of both axes and, clipped to the frame, the `marks`."""
    grid, labels, last = [], [], -math.inf
    for step in steps:
        at = float(x.place(1 + step))
        grid.append(f"M{at:.1f} 0V{CHART_HEIGHT}")
        if at - last >= 58:  # so that labels do not touch on a narrow screen, where they are drawn larger
            labels.append(f'<text x="{at:.1f}" y="{CHART_HEIGHT + 24}" class="middle">{step}</text>')
            last = at
    for value, label in y.ticks():
        at = float(y.place(value))
        grid.append(f"M0 {at:.1f}H{CHART_WIDTH}")
        labels.append(f'<text x="-8" y="{at + 5:.1f}" class="end">{label}</text>')
    return CHART.substitute(grid="".join(grid), labels="".join(labels), marks=marks)


def _dots(x: np.ndarray, y: np.ndarray, kind: str) -> str:
    """All points as one path of zero-length strokes with round caps, a tenth of the size of as many circles."""
    return f'<path class="{kind}" d="{"".join(f"M{a:.1f} {b:.1f}h0" for a, b in zip(x, y, strict=True))}"/>'


def _line(x: np.ndarray, y: np.ndarray, kind: str) -> str:
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return f'<polyline class="{kind}" points="{points}"/>'


def running_mean(loss: np.ndarray) -> np.ndarray:
    """The mean of the last tenth of the values so far, at each value: even smoothing on a logarithmic axis.

    >>> running_mean(np.array([4.0, 2.0, 6.0]))
    array([4., 2., 6.])
    """
    counts = np.arange(1, len(loss) + 1)
    starts = counts - np.ceil(counts / 10).astype(int)
    sums = np.concatenate([[0.0], np.cumsum(loss)])
    return (sums[counts] - sums[starts]) / (counts - starts)


def _loss_axis(log: np.ndarray, checkpoints: list[dict[str, Any]]) -> LogAxis:
    """The axis of 1 + step, as step 0 has no logarithm."""
    return LogAxis.around(1 + np.array([*log[:, 0], *(point["step"] for point in checkpoints)]), CHART_WIDTH)


def _loss_chart(log: np.ndarray, checkpoints: list[dict[str, Any]]) -> str:
    x = _loss_axis(log, checkpoints)
    log = log[np.isfinite(log[:, 1]) & (log[:, 1] > 0)]  # what diverged has no place on the axis
    chosen = np.unique(np.geomspace(1, len(log), LOG_POINTS).astype(int)) - 1 if len(log) else np.arange(0)
    steps = np.array([point["step"] for point in checkpoints])
    scores = {part: np.array([point[part]["loss"] for point in checkpoints]) for part in ("train", "validation")}
    losses = np.concatenate([log[chosen, 1], *scores.values()])
    if not (losses > 0).any():
        return "<p>No loss is positive: there is nothing to draw.</p>"
    y = LogAxis.around(losses[losses > 0], -CHART_HEIGHT)
    marks = [_dots(x.place(1 + log[chosen, 0]), y.place(log[chosen, 1]), "raw")]
    marks.append(_line(x.place(1 + log[chosen, 0]), y.place(running_mean(log[:, 1])[chosen]), "mean"))
    for part, values in scores.items():
        shown = values > 0
        at = x.place(1 + steps[shown]), y.place(values[shown])
        marks.append(_line(*at, part) + _dots(*at, part))
    marks.append('<path class="now" id="now"/>')  # the selected step, which the explorer places
    return _chart(x, y, steps.tolist(), "".join(marks))


# The data of the explorer


def _data(run: RunFiles) -> dict[str, Any]:
    """What `explorer.js` draws: numbers as JSON, larger arrays as base64 of their little-endian bytes."""
    summary, first = run.summary, run.evaluations[0]
    points, attributes = summary["checkpoints"], summary["attributes"]
    hair = [attributes.index(name) for name in HAIR if name in attributes]
    exclusive = hair if run.config.get("exclusive_hair") else []
    places = _loss_axis(run.log, points).place([1 + point["step"] for point in points])
    return {
        "attributes": attributes,
        "hair": hair,
        "tensors": first["tensor_names"].tolist(),
        "pairs": first["pairs"].tolist(),
        "faces": thumbnails(first["x"]),
        "targets": _base64(first["y"] > 0.5, "u1"),
        "checkpoints": [
            {
                "step": point["step"],
                "validation": point["validation"]["loss"],
                "x": round(float(x), 1),
                "probabilities": _base64(attribute_probabilities(evaluation["logits"], exclusive), "<f4"),
                "views": {
                    name: _view_data(arrays, evaluation["pairs"], attributes)
                    for name, arrays in views(evaluation).items()
                },
            }
            for point, evaluation, x in zip(points, run.evaluations, places, strict=True)
        ],
    }


def _view_data(view: Arrays, pairs: np.ndarray, attributes: list[str]) -> dict[str, Any]:
    """One view of a checkpoint: `change` (p, n, k) is int16, to be multiplied by the `scale` of its pair."""
    delta, bracket = view["logit_delta"].astype(float), view["rms_bracket"].astype(float)
    gradient = np.stack([pair_rms_gradient(view["rms_gradient"].astype(float), i, j) for i, j in pairs.tolist()])
    scale = np.abs(delta).max(axis=(1, 2)) / np.iinfo(np.int16).max
    ranking = {entry["name"]: entry for entry in rank_attributes(delta, attributes)}
    fits = [proportionality(b, g) for b, g in zip(bracket, gradient, strict=True)]
    return {
        "norm": view["norm"].tolist(),
        "scale": scale.tolist(),
        "change": _base64(np.rint(delta / np.where(scale > 0, scale, 1)[:, None, None]), "<i2"),
        "bracket": _base64(bracket, "<f4"),
        "gradient": _base64(gradient, "<f4"),
        "fits": [{key: fit[key] for key in ("constant", "correlation")} for fit in fits],
        "ranks": [ranking[name]["rank"] for name in attributes],
        "means": [ranking[name]["mean_abs_logit_change"] for name in attributes],
    }


def _base64(array: np.ndarray, dtype: str) -> str:
    return base64.b64encode(array.astype(dtype).tobytes()).decode("ascii")


# Composing


def _row(point: dict[str, Any], rest: str) -> str:
    """A row of a table over the checkpoints, whose head chooses the step in the explorer."""
    step = point["step"]
    return f'<tr data-step="{step}"><th scope="row"><a href="#step={step}">{step}</a></th>{rest}</tr>'


def _loss_row(point: dict[str, Any]) -> str:
    return _row(point, cells([number(point[part]["loss"], ".4f") for part in ("train", "validation")]))


def _findings_row(point: dict[str, Any]) -> str:
    constants = [bracket["constant"] for bracket in point["brackets"] if (bracket["constant"] or 0) > 0]
    figures = [
        *(number(point[part]["loss"], ".4f") for part in ("train", "validation")),
        *(number(point[part]["accuracy"], ".2%") for part in ("train", "validation")),
        number(point["mean_correlation"], ".3f"),
        f"{min(constants):.3g} … {max(constants):.3g}" if constants else "–",
        *(str(point["hair_ranks"][name]) for name in HAIR),
    ]
    top = ", ".join(escape(attribute["name"]) for attribute in point["attributes"][:3])
    return _row(point, cells(figures) + cells([top], WORDS))


def _checks_row(point: dict[str, Any]) -> str:
    differences = [number(point["checks"][name], ".1e") for name in DERIVATIONS]
    return _row(point, cells([*differences, *(number(swap.get("observed_order"), ".3f") for swap in _swaps(point))]))


def _swaps(point: dict[str, Any]) -> list[dict[str, Any]]:
    """The checks by swaps, of plain gradient steps and of SWAPS; empty for one that was not made."""
    checks = point["checks"]
    return [checks["order_swap"], *(checks["swaps"].get(name, {}) for name in SWAPS)]


def _checked(points: list[dict[str, Any]]) -> str:
    """What the checks of all checkpoints come to, in one sentence."""
    figures = [point["checks"][name] for point in points for name in DERIVATIONS]
    orders = [swap["observed_order"] for point in points for swap in _swaps(point) if swap]
    known, found = ([value for value in values if value is not None] for values in (figures, orders))
    lost = [
        f" {len(values) - len(left)} of the {len(values)} {what} are undefined."
        for what, values, left in (("differences", figures, known), ("orders", orders, found))
        if len(left) < len(values)
    ]
    span = f"{min(found):.3f} to {max(found):.3f}" if found else "–"
    largest = number(max(known, default=None), ".1e")
    return f"The largest difference at any checkpoint is {largest}; the orders of all swaps are {span}.{''.join(lost)}"


def _pass_rows(passes: list[dict[str, Any]]) -> tuple[str, str]:
    """Of passes in other orders the table's heads, a learning rate each, and its rows, a network and number k each."""
    epsilons = list(dict.fromkeys(entry["epsilon"] for entry in passes))
    means: dict[tuple[str, int], dict[float, str]] = {}
    for entry in passes:
        defined = ([value for value in entry[key] if value is not None] for key in ("cosine", "ratio"))
        texts = [number(float(np.mean(values)), ".2f") if values else "–" for values in defined]
        means.setdefault((entry["network"], entry["mini_batches"]), {})[entry["epsilon"]] = " · ".join(texts)
    rows = (
        f'<tr><th scope="row" class="words">{escape(network)}</th><td>{k}</td>'
        f"{cells([row.get(epsilon, '–') for epsilon in epsilons])}</tr>"
        for (network, k), row in means.items()
    )
    return "".join(f'<th scope="col">ε = {epsilon:g}</th>' for epsilon in epsilons), "".join(rows)


def _page(run: RunFiles) -> str:
    summary, points = run.summary, run.summary["checkpoints"]
    style, script, final = source(markup.__package__, "style.css"), source(__package__, "explorer.js"), points[-1]
    epsilons, passes = _pass_rows(summary["passes"])
    return Template(source(__package__, "page.html")).substitute(
        policy=content_policy(style, script),
        style=style,
        script=script,
        data=json.dumps(_data(run), separators=(",", ":")).replace("<", "\\u003c"),  # no text may close the element
        **{key: escape(summary[key]) for key in ("dataset", "preset")},
        rms_gradient=escape(summary["rms_gradient"].rstrip(".")),
        **{key: f"{summary[key]:,}" for key in ("steps", "parameters")},
        seed=summary["seed"],
        examples=len(np.unique(run.evaluations[0]["pairs"])),
        loss_chart=_loss_chart(run.log, points),
        loss_rows="".join(map(_loss_row, points)),
        train_images=f"{final['train']['images']:,}",
        validation_images=f"{final['validation']['images']:,}",
        hair="".join(f'<th scope="col">{name.replace("_", " ")}</th>' for name in HAIR),
        claims="".join(map(claim_row, summary["findings"])),
        without_claims="" if summary["findings"] else " hidden",
        epsilons=epsilons,
        passes=passes,
        without_passes="" if summary["passes"] else " hidden",
        findings="".join(map(_findings_row, points)),
        swaps="".join(f'<th scope="col">swap with {name}</th>' for name in SWAPS),
        checked=_checked(points),
        checks="".join(map(_checks_row, points)),
        config="".join(
            f'<tr><th scope="row">{escape(key)}</th><td>{escape(json.dumps(value, ensure_ascii=False))}</td></tr>'
            for key, value in run.config.items()
        ),
    )
