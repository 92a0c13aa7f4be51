"""Draws the page of a run: one self-contained HTML file made from nothing but the files in the run's folder."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .files import write_text
from .findings import HAIR, pair_rms_gradient
from .models import Arrays
from .page_template import CHART, CHART_HEIGHT, CHART_WIDTH, DETAILS, HEAT_MAP, LOWERED, PAGE, RAISED, STYLE
from .runs import RunFiles, read_run

THUMBNAIL = 48  # pixels: sharp in a heat map's row, yet 13 checkpoints of 32 different faces weigh a few MiB at most
LOG_POINTS = 600  # points of the training loss that are drawn, spread evenly over the logarithmic axis


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


def _chart(
    title: str, x: LogAxis, y: LogAxis, x_ticks: list[tuple[float, str]], names: Sequence[str], marks: str
) -> str:
    """An SVG chart: frame, grid, labels of both axes and, clipped to the frame, the `marks`."""
    grid, labels, last = [], [], -math.inf
    for value, label in x_ticks:
        at = float(x.place(value))
        grid.append(f"M{at:.1f} 0V{CHART_HEIGHT}")
        if at - last >= 58:  # so that labels do not touch on a narrow screen, where they are drawn larger
            labels.append(f'<text x="{at:.1f}" y="{CHART_HEIGHT + 24}" class="middle">{escape(label)}</text>')
            last = at
    for value, label in y.ticks():
        at = float(y.place(value))
        grid.append(f"M0 {at:.1f}H{CHART_WIDTH}")
        labels.append(f'<text x="-8" y="{at + 5:.1f}" class="end">{escape(label)}</text>')
    return CHART.substitute(
        title=escape(title), grid="".join(grid), labels="".join(labels), x_name=names[0], y_name=names[1], marks=marks
    )


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


def _loss_chart(log: np.ndarray, checkpoints: list[dict[str, Any]]) -> str:
    log = log[np.isfinite(log[:, 1]) & (log[:, 1] > 0)]  # what diverged has no place on the axis
    chosen = np.unique(np.geomspace(1, len(log), LOG_POINTS).astype(int)) - 1 if len(log) else np.arange(0)
    steps = np.array([point["step"] for point in checkpoints])
    scores = {part: np.array([point[part]["loss"] for point in checkpoints]) for part in ("train", "validation")}
    losses = np.concatenate([log[chosen, 1], *scores.values()])
    if not (losses > 0).any():
        return "<p>No loss is positive: there is nothing to draw.</p>"
    x = LogAxis.around(1 + np.concatenate([log[:, 0], steps]), CHART_WIDTH)  # step 0 has no logarithm
    y = LogAxis.around(losses[losses > 0], -CHART_HEIGHT)
    marks = [_dots(x.place(1 + log[chosen, 0]), y.place(log[chosen, 1]), "raw")]
    marks.append(_line(x.place(1 + log[chosen, 0]), y.place(running_mean(log[:, 1])[chosen]), "mean"))
    for part, values in scores.items():
        shown = values > 0
        at = x.place(1 + steps[shown]), y.place(values[shown])
        marks.append(_line(*at, part) + _dots(*at, part))
    ticks = [(1.0 + step, str(step)) for step in steps]
    return _chart("Loss against training step", x, y, ticks, ("step (logarithmic)", "loss"), "".join(marks))


def _scatter(evaluation: Arrays, constants: list[float]) -> str:
    """RMS of the brackets against RMS of the gradients, and the line bracket = c · gradient, c the pairs' mean."""
    rms_gradient, pairs = evaluation["rms_gradient"].astype(float), evaluation["pairs"].tolist()
    gradient = np.concatenate([pair_rms_gradient(rms_gradient, i, j) for i, j in pairs])
    bracket = evaluation["rms_bracket"].astype(float).ravel()
    shown = (gradient > 0) & (bracket > 0)
    if not shown.any():
        return "<p>No tensor has both a gradient and a bracket: there is nothing to draw.</p>"
    gradient, bracket = gradient[shown], bracket[shown]
    x, y = LogAxis.around(gradient, CHART_WIDTH), LogAxis.around(bracket, -CHART_HEIGHT)
    marks, caption = _dots(x.place(gradient), y.place(bracket), "tensor"), "No line could be fitted."
    if constants:
        ends, slope = np.array([x.low, x.high]), math.exp(np.log(constants).mean())
        marks += _line(x.place(ends), y.place(slope * ends), "mean")
        caption = f"Line: bracket = c · gradient with c = {slope:.3g}, the geometric mean of the pairs’ constants."
    names = ("RMS of the gradients", "RMS of the bracket")
    chart = _chart("RMS of brackets against RMS of gradients", x, y, x.ticks(), names, marks)
    left_out = f" {(~shown).sum()} points with a zero are not drawn." if not shown.all() else ""
    return f"{chart}<figcaption>One point a tensor and pair. {caption}{left_out}</figcaption>"


def _face(name: str, label: str, x: float = 0, y: float = 0, size: int = 40) -> str:
    at = f'x="{x}" y="{y}" width="{size}" height="{size}"'
    return f'<use href="#{name}" {at} role="img" aria-label="{label}"><title>{label}</title></use>'


def _matrix(point: dict[str, Any], faces: list[str]) -> str:
    """The table of bracket norms, examples on both edges; the lower triangle repeats the upper one."""
    norms = {tuple(bracket["pair"]): bracket["norm"] for bracket in point["brackets"]}
    examples, largest = sorted({k for pair in norms for k in pair}), max(norms.values()) or 1.0

    def edge(k: int, scope: str) -> str:
        return f'<th scope="{scope}"><svg viewBox="0 0 40 40">{_face(faces[k], f"example {k}")}</svg></th>'

    def cell(i: int, j: int) -> str:
        if i == j:
            return "<td>0</td>"
        norm = norms.get((i, j), norms.get((j, i)))
        if norm is None:
            return "<td>–</td>"
        shade = (*LOWERED, round(0.6 * norm / largest, 3))
        return f'<td style="background:rgba{shade}">{norm:{".2g" if norm < 99.5 else ".0f"}}</td>'

    rows = (f"<tr>{edge(i, 'row')}{''.join(cell(i, j) for j in examples)}</tr>" for i in examples)
    head = "".join(edge(k, "col") for k in examples)
    return f'<table class="matrix"><tr><td></td>{head}</tr>{"".join(rows)}</table>'


CELL, ROW, NAMES = 22, 26, 126  # units of the heat map: a column's width, a row's height, the height of the names


def _heat_map(change: np.ndarray, attributes: list[str], faces: list[str], marked: Sequence[int]) -> str:
    """The signed changes (inputs, attributes) as colours between LOWERED and RAISED, transparent at zero."""
    limit = float(np.abs(change).max()) or 1.0
    pixels = np.empty((*change.shape, 4), np.uint8)
    pixels[..., :3] = np.where(change[..., None] > 0, RAISED, LOWERED)
    pixels[..., 3] = np.rint(255 * np.abs(change) / limit)
    width, height = CELL * change.shape[1], ROW * change.shape[0]
    names = "".join(
        f'<text class="{"hair" if name in HAIR else ""}" transform="translate({CELL * (k + 0.7):.1f} -6) rotate(-60)">'
        f"{escape(name)}</text>"
        for k, name in enumerate(attributes)
    )
    rows = "".join(
        _face(face, f"example {k}", -ROW, ROW * k, ROW - 2)
        + (f'<path class="marker" d="M{-ROW - 10} {ROW * k + 6}l7 7l-7 7z"/>' if k in marked else "")
        for k, face in enumerate(faces)
    )
    return HEAT_MAP.substitute(
        box=f"{-ROW - 12} {-NAMES} {width + ROW + 12 + 66} {NAMES + height + 44}",
        picture=_data_uri(Image.fromarray(pixels)),
        width=width,
        height=height,
        names=names,
        rows=rows,
        bar_top=height + 10,
        bar_text=height + 38,
        bar_left=width / 2 - 150,
        bar_right=width / 2 + 150,
        middle=width / 2,
        limit=f"{limit:.2g}",
    )


def _data_uri(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _thumbnails(x: np.ndarray) -> list[str]:
    """PNG data URIs of images (n, 3, height, width) with values pixel/127.5 − 1."""
    pixels = np.rint((np.clip(x, -1, 1) + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)
    pictures = [Image.fromarray(image) for image in pixels]
    for picture in pictures:
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
    return [_data_uri(picture) for picture in pictures]


# Composing


def _number(value: float | None, form: str = ".3g") -> str:
    return "–" if value is None else format(value, form)


def _constants(point: dict[str, Any]) -> list[float]:
    return [bracket["constant"] for bracket in point["brackets"] if (bracket["constant"] or 0) > 0]


def _cells(texts: Sequence[str]) -> str:
    return "".join(f"<td>{text}</td>" for text in texts)


def _findings_row(point: dict[str, Any]) -> str:
    constants, checks = _constants(point), point["checks"]
    top = ", ".join(escape(attribute["name"]) for attribute in point["attributes"][:3])
    findings = [
        *(_number(point[part]["loss"], ".4f") for part in ("train", "validation")),
        *(_number(point[part]["accuracy"], ".2%") for part in ("train", "validation")),
        _number(point["mean_correlation"], ".3f"),
        f"{min(constants):.3g} … {max(constants):.3g}" if constants else "–",
        *(str(point["hair_ranks"][name]) for name in HAIR),
    ]
    checked = [
        _number(checks["richardson"], ".1e"),
        _number(checks["hvp_modes"], ".1e"),
        _number(checks["order_swap"]["observed_order"], ".3f"),
    ]
    step = point["step"]
    head = f'<th scope="row"><a href="#step-{step}">{step}</a></th>'
    return f'<tr>{head}{_cells(findings)}<td class="names">{top}</td>{_cells(checked)}</tr>'


def _checkpoint(
    point: dict[str, Any], evaluation: Arrays, faces: list[str], attributes: list[str], is_open: bool
) -> str:
    largest = max(range(len(point["brackets"])), key=lambda k: point["brackets"][k]["norm"])
    i, j = pair = point["brackets"][largest]["pair"]
    return DETAILS.substitute(
        step=point["step"],
        open=" open" if is_open else "",
        loss=_number(point["validation"]["loss"]),
        first=escape(point["attributes"][0]["name"]) if point["attributes"] else "–",
        matrix=_matrix(point, faces),
        scatter=_scatter(evaluation, _constants(point)),
        i=i,
        j=j,
        norm=_number(point["brackets"][largest]["norm"]),
        heat_map=_heat_map(evaluation["logit_delta"][largest], attributes, faces, pair),
    )


def _page(files: RunFiles) -> str:
    summary, evaluations = files.summary, files.evaluations
    pictures = [_thumbnails(evaluation["x"]) for evaluation in evaluations]
    names = {uri: f"face-{k}" for k, uri in enumerate(dict.fromkeys(uri for row in pictures for uri in row))}
    points, final = summary["checkpoints"], summary["checkpoints"][-1]
    blocks = (
        _checkpoint(point, evaluation, [names[uri] for uri in row], summary["attributes"], point is final)
        for point, evaluation, row in zip(points, evaluations, pictures, strict=True)
    )
    return PAGE.substitute(
        style=STYLE,
        faces="".join(
            f'<symbol id="{name}" viewBox="0 0 1 1"><image href="{uri}" width="1" height="1"/></symbol>'
            for uri, name in names.items()
        ),
        **{key: escape(summary[key]) for key in ("dataset", "preset")},
        rms_gradient=escape(summary["rms_gradient"].rstrip(".")),
        **{key: f"{summary[key]:,}" for key in ("steps", "parameters")},
        seed=summary["seed"],
        loss_chart=_loss_chart(files.log, points),
        train_images=f"{final['train']['images']:,}",
        validation_images=f"{final['validation']['images']:,}",
        hair="".join(f'<th scope="col">{name.replace("_", " ")}</th>' for name in HAIR),
        findings="".join(map(_findings_row, points)),
        checkpoints="".join(blocks),
        config="".join(
            f'<tr><th scope="row">{escape(key)}</th><td>{escape(json.dumps(value, ensure_ascii=False))}</td></tr>'
            for key, value in files.config.items()
        ),
    )
