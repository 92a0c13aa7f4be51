"""Draws the page of a diet: one self-contained HTML file, from the results and the pictures, without any script."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import fmean
from string import Template
from typing import Any

import numpy as np

from ..images.dataset import Dataset
from ..machine.files import write_text
from ..study.pages import markup
from ..study.pages.markup import WORDS, cells, claim_row, content_policy, number, source, thumbnails
from .plan import BANDS
from .results import how_forgotten
from .settings import score_keys

WIDTH, HEIGHT = 300, 170  # units of a chart's frame
LINES = {"lowest": "lowest", "middle": "random", "highest": "highest", "all": "mean"}  # band → how its line looks
Values = Sequence[float | None]  # of the runs, as `results.json` has them


@dataclass(frozen=True)
class Curve:
    """A line with a band: places on the horizontal axis, and for each the values of the runs."""

    kind: str  # how it looks
    places: Sequence[float]
    values: Sequence[Sequence[float]]

    @classmethod
    def known(cls, kind: str, places: Sequence[float], values: Sequence[Values]) -> Curve:
        """Without the places of which nothing is known."""
        pairs = [(place, known) for place, of in zip(places, values, strict=True) if (known := _known(of))]
        return cls(kind, [place for place, _ in pairs], [of for _, of in pairs])


def render_diet(out: Path, results: dict[str, Any], dataset: Dataset) -> Path:
    """Write `report.html` into the folder `out`, whole or not at all; returns its path.

    `results` are as in `results.json`: what is not finite is None there.
    """
    style, settings = source(markup.__package__, "style.css"), results["settings"]
    page = Template(source(__package__, "diet.html")).substitute(
        policy=content_policy(style),
        style=style,
        dataset=escape(results["dataset"]),
        **{key: escape(str(settings[key])) for key in ("network", "runs", "retrainings")},
        steps=f"{settings['steps']:,}",
        tasks="".join(_task(task, settings, dataset) for task in results["tasks"]),
        config="".join(
            f'<tr><th scope="row">{escape(key)}</th><td>{escape(json.dumps(value, ensure_ascii=False))}</td></tr>'
            for key, value in settings.items()
        ),
    )
    path = out / "report.html"
    write_text(path, page)
    return path


def _task(task: dict[str, Any], settings: dict[str, Any], dataset: Dataset) -> str:
    share = task["false_labels"] / task["examples"]
    noise = f"In the runs with noise {task['false_labels']:,} labels ({share:.1%}) are false." if share else ""
    keys = score_keys()
    return Template(source(__package__, "diet-task.html")).substitute(
        task=escape(task["task"]),
        examples=f"{task['examples']:,}",
        held_out=f"{task['held_out']:,}",
        outputs=escape(", ".join(name.replace("_", " ") for name in task["outputs"])),
        noise=noise,
        findings="".join(map(claim_row, task["findings"])),
        pruning="".join(_pruning_charts(task)),
        pruning_rows="".join(map(_pruning_row, task["pruning"])),
        gain_rows="".join(map(_gain_row, task["gains"])),
        forgetting=escape(how_forgotten(task["forgetting"])),
        windows=_window_chart(task),
        noisy_key=', <span class="key highest">some labels false</span>' if share else "",
        velocities=_velocity_chart(task),
        barriers=_barrier_chart(task),
        curve_rows="".join(_curve_rows(task)),
        noise_table=_noise_table(task) if task["noise"] else "",
        score_heads="".join(f'<th scope="col">{escape(key)}</th>' for key in keys),
        correlations="".join(_correlation_rows(task, keys)),
        extremes="".join(_extreme_rows(task, dataset)),
    )


# Charts


def _chart(curves: Sequence[Curve], label: str, across: str, ticks: Mapping[float, str], level: float | None) -> str:
    """Lines with bands from the least to the greatest value, a dashed line at `level`; `ticks` are place → label."""
    curves = [curve for curve in curves if curve.places]
    if not curves:
        return "<p>There is nothing to draw.</p>"
    values = [v for curve in curves for of in curve.values for v in of] + ([] if level is None else [level])
    low, high = _around(values)
    left, right = min(ticks), max(ticks)

    def point(place: float, value: float) -> str:
        x = WIDTH * ((place - left) / (right - left) if right > left else 0.5)
        return f"{x:.1f} {HEIGHT * (high - value) / (high - low):.1f}"

    def path(points: Sequence[tuple[float, float]]) -> str:
        return "L".join(point(*p) for p in points)

    marks = []
    for curve in curves:
        least, greatest, mean = (
            [(p, float(f(v))) for p, v in zip(curve.places, curve.values, strict=True)]
            for f in (np.min, np.max, np.mean)
        )
        marks.append(f'<path class="band {curve.kind}" d="M{path(least)}L{path(greatest[::-1])}Z"/>')
        dots = "".join(f"M{point(*p)}h0" for p in mean)
        marks.append(f'<path class="{curve.kind}" d="M{path(mean)}"/><path class="dots {curve.kind}" d="{dots}"/>')
    if level is not None:
        marks.append(f'<path class="now" d="M{point(left, level)}L{point(right, level)}"/>')
    grid, labels = [], []
    for value in _ticks(low, high):
        grid.append(f"M{point(left, value)}H{WIDTH}")
        at = point(left, value).split()[1]
        labels.append(f'<text x="-6" y="{float(at) + 4:.1f}" class="end">{value:.6g}</text>')
    for place, text in ticks.items():
        labels.append(f'<text x="{point(place, low).split()[0]}" y="{HEIGHT + 18}" class="middle">{text}</text>')
    return (
        f'<svg class="chart small-chart" viewBox="-52 -10 {WIDTH + 74} {HEIGHT + 52}" role="img" '
        f'aria-label="{escape(label)}"><path d="M0 0H{WIDTH}V{HEIGHT}H0Z{"".join(grid)}"/>{"".join(labels)}'
        f'<text x="{WIDTH / 2}" y="{HEIGHT + 38}" class="middle">{escape(across)}</text>{"".join(marks)}</svg>'
    )


def _around(values: Sequence[float]) -> tuple[float, float]:
    """An axis that shows all of the values with a little room."""
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 0.01 + 0.01 * abs(high)
    return low - room, high + room


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round values from low to high."""
    step = 10 ** math.floor(math.log10((high - low) / 2))
    for factor in (5, 2, 1):
        if (high - low) / (factor * step) >= 2.5:
            step *= factor
            break
    return [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _pruning_charts(task: dict[str, Any]) -> list[str]:
    """One chart for each score: the highest and lowest fractions, random ones, and all examples."""
    level = task["pruning"][0]["accuracy"]["value"]
    found = []
    tried = dict.fromkeys(entry["score"] for entry in task["pruning"] if entry["score"])
    for key in tried:
        curves = []
        for end in ("random", "lowest", "highest"):
            of = [e for e in task["pruning"] if (e["score"], e["end"]) == (None if end == "random" else key, end)]
            of.sort(key=lambda entry: float(entry["fraction"]))
            if not of:  # the lowest at the start
                continue
            curves.append(Curve.known(end, [e["fraction"] for e in of], [e["accuracy"]["values"] for e in of]))
        ticks = {fraction: f"{fraction:.0%}" for fraction in curves[0].places}
        chart = _chart(curves, f"Accuracy by the fraction kept, {key}", "examples kept", ticks, level)
        found.append(f"<figure>{chart}<figcaption>{escape(key)}</figcaption></figure>")
    return found


def _window_chart(task: dict[str, Any]) -> str:
    curves = []
    for noisy, kind in ((False, "lowest"), (True, "highest")):
        of = [w for w in task["windows"] if w["noisy"] == noisy]
        if of:
            curves.append(Curve.known(kind, [w["offset"] for w in of], [w["accuracy"]["values"] for w in of]))
    ticks = {offset: f"{offset:.0%}" for offset in curves[0].places} if curves else {}
    return _chart(curves, "Accuracy by the window's beginning", "the window begins at", ticks, None)


def _velocity_chart(task: dict[str, Any]) -> str:
    """Steps are drawn at equal distances, for they grow faster than evenly."""
    steps, bands = task["velocities"]["steps"], task["velocities"]["bands"]
    places = [float(place) for place in range(1, len(steps))]
    curves = [Curve.known(LINES[band], places, [at["values"] for at in bands[band]]) for band in BANDS]
    ticks = {place: f"{steps[int(place)]}" for place in places}
    return _chart(curves, "Velocity of the kernel by step", "from the kept step before to step", ticks, None)


def _barrier_chart(task: dict[str, Any]) -> str:
    barriers = task["barriers"]
    curves = [
        Curve.known(
            kind,
            np.arange(len(barriers), dtype=float).tolist(),
            [at["groups"][group]["barrier"]["values"] for at in barriers],
        )
        for group, kind in LINES.items()
    ]
    ticks = {float(place): f"{at['step']}" for place, at in enumerate(barriers)}
    return _chart(curves if barriers else [], "Error barrier by step", "children leave at step", ticks, None)


# Tables


def _known(values: Values) -> list[float]:
    return [value for value in values if value is not None]


def _deviation(values: Values) -> str:
    known = _known(values)
    return number(float(np.std(known, ddof=1)) if len(known) > 1 else None, ".4f")


def _pruning_row(entry: dict[str, Any]) -> str:
    figures = [
        text
        for key in ("accuracy", "loss")
        for text in (number(entry[key]["value"], ".4f"), _deviation(entry[key]["values"]))
    ]
    head = escape(entry["score"] or "–")
    rest = cells([escape(entry["end"]), f"{entry['fraction']:.0%}", f"{entry['examples']:,}", *figures])
    return f'<tr><th scope="row">{head}</th>{rest}</tr>'


def _gain_row(entry: dict[str, Any]) -> str:
    head, fraction = f"{entry['score']}, {entry['end']}", f"{entry['fraction']:.0%}"
    figures = [
        text
        for key in ("accuracy", "loss")
        for text in (number(entry[key]["value"], "+.4f"), _interval(entry[key], "+.4f"))
    ]
    return f'<tr><th scope="row">{escape(head)}</th>{cells([escape(entry["over"]), fraction, *figures])}</tr>'


def _curve_rows(task: dict[str, Any]) -> list[str]:
    rows: list[tuple[str, str, str, dict[str, Any]]] = [
        ("accuracy of a window", "false labels" if w["noisy"] else "true labels", f"{w['offset']:.0%}", w["accuracy"])
        for w in task["windows"]
    ]
    steps = task["velocities"]["steps"]
    rows += [
        ("velocity of the kernel", band, f"step {steps[k]} to {steps[k + 1]}", at)
        for band, of in task["velocities"]["bands"].items()
        for k, at in enumerate(of)
    ]
    rows += [
        ("error barrier", group, f"step {at['step']}", of["barrier"])
        for at in task["barriers"]
        for group, of in at["groups"].items()
    ]
    return [
        f'<tr><th scope="row" class="words">{what}</th>'
        + cells([of, at, *(number(f(known) if known else None, ".4f") for f in (fmean, min, max))])
        + "</tr>"
        for what, of, at, found in rows
        for known in [_known(found["values"])]
    ]


def _noise_table(task: dict[str, Any]) -> str:
    rows = []
    for entry in task["noise"]:
        beyond = entry["beyond"]
        figures = [
            number(entry["value"], ".3f"),
            _interval(entry),
            *((number(beyond["value"], ".3f"), _interval(beyond)) if beyond else ("", "")),
        ]
        rows.append(f'<tr><th scope="row">{escape(entry["score"])}</th>{cells(figures)}</tr>')
    return (
        "<h3>Who finds the false labels?</h3><p>AUROC of each score, the chance that a false label has the higher "
        "score than a true one; and of the bracket scores the partial correlation with being false, GraNd and EL2N, "
        'their squares and product given. Intervals are of 95 % over the runs.</p><div class="scroll" tabindex="0" '
        'role="region" aria-label="False labels"><table><thead><tr><th scope="col">score'
        '</th><th scope="col">AUROC</th><th scope="col">interval</th><th scope="col">beyond GraNd and EL2N</th>'
        f'<th scope="col">interval</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _interval(found: dict[str, Any], form: str = ".3f") -> str:
    return "–" if found["low"] is None else f"{found['low']:{form}} … {found['high']:{form}}"


def _correlation_rows(task: dict[str, Any], keys: Sequence[str]) -> list[str]:
    of = {frozenset(entry["scores"]): entry for entry in task["correlations"]}

    def cell(a: str, b: str) -> str:
        if a == b:
            return "<td>1</td>"
        found = of[frozenset((a, b))]
        value = found["value"]
        # the pages' policy allows no style of an element's own: a class has the colour, in tenths
        kind = (
            "" if value is None else f' class="{"raised" if value > 0 else "lowered"}-{min(9, int(10 * abs(value)))}"'
        )
        text = number(value and round(value, 2) + 0.0, ".2f")  # no −0.00
        return f'<td{kind} title="{escape(a)}, {escape(b)}: {_interval(found)}">{text}</td>'

    return [f'<tr><th scope="row">{escape(a)}</th>{"".join(cell(a, b) for b in keys)}</tr>' for a in keys]


def _extreme_rows(task: dict[str, Any], dataset: Dataset) -> list[str]:
    """The pictures of the highest and lowest examples of each score; a picture's data stand once a row."""
    rows = []
    for key, ends in task["extremes"].items():
        pictures = []
        for end in ("highest", "lowest"):
            x, _ = dataset.batch(np.array(ends[end]))
            names = [str(dataset.files[row]) for row in ends[end]]
            images = (
                f'<img src="{uri}" alt="{escape(name)}" title="{escape(name)}">'
                for uri, name in zip(thumbnails(x), names, strict=True)
            )
            pictures.append("".join(images))
        rows.append(f'<tr><th scope="row">{escape(key)}</th>{cells(pictures, WORDS)}</tr>')
    return rows
