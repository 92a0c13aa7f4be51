"""Draws the page of a diet: one self-contained HTML file without scripts, from the results and the images."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import fmean, stdev
from string import Template
from typing import Any

import numpy as np

from ..images.dataset import Dataset
from ..machine.files import write_text
from ..study.pages import markup
from ..study.pages.charts import Axis, SmallChart
from ..study.pages.markup import WORDS, cells, claim_row, interval, number, row, source, thumbnails
from ..study.settings import command_line
from .plan import BANDS
from .results import how_forgotten
from .settings import DietSettings, score_keys

LINES = {"lowest": "lowest", "middle": "random", "random": "random", "highest": "highest", "all": "mean"}
LINES |= {"true labels": "lowest", "false labels": "highest"}  # name of a curve → class of its line
PAPER = "Deep Learning on a Data Diet: Finding Important Examples Early in Training", "https://arxiv.org/abs/2107.07075"
Task = Mapping[str, Any]  # the results of a task
Values = Sequence[float | None]  # one for each run, as `results.json` has them
Curve = list[tuple[Any, Values]]  # places on the horizontal axis, and the values at each
Figure = tuple[str, str, dict[Any, str], dict[str, Curve]]  # what it shows; horizontal axis: title, ticks; curves


def render_diet(out: Path, results: Mapping[str, Any], dataset: Dataset) -> Path:
    """Write `report.html` into the folder `out`, whole or not at all, and return its path.

    `results` are those of `results.json`, in which whatever is not finite is None.
    """
    style, settings = source(markup.__package__, "style.css"), results["settings"]
    page = Template(source(__package__, "diet.html")).substitute(
        policy=markup.content_policy(style),
        style=style,
        dataset=escape(results["dataset"]),
        **{key: escape(str(settings[key])) for key in ("network", "runs", "retrainings")},
        steps=f"{settings['steps']:,}",
        tasks="".join(_task(task, dataset) for task in results["tasks"]),
        config=markup.settings_rows(settings),
        footer=markup.footer(command_line(DietSettings, "diet", settings), bool(settings.get("celeba")), *PAPER),
    )
    path = out / "report.html"
    write_text(path, page)
    return path


def _task(task: Task, dataset: Dataset) -> str:
    figures, keys = _figures(task), score_keys()
    return Template(source(__package__, "diet-task.html")).substitute(
        task=escape(task["task"]),
        **{key: f"{task[key]:,}" for key in ("examples", "held_out")},
        outputs=escape(", ".join(name.replace("_", " ") for name in task["outputs"])),
        false_labels=f"{task['false_labels']:,}",
        false_share=f"{task['false_labels'] / task['examples']:.1%}",
        without_noise="" if task["false_labels"] else " hidden",
        answer=escape(_answer(task)),
        findings="".join(map(claim_row, sorted(task["findings"], key=lambda of: str(of["verdict"]) == "undecided"))),
        pruning="".join(_pruning_charts(task)),
        pruning_rows="".join(map(_pruning_row, task["pruning"])),
        gain_rows="".join(map(_gain_row, task["gains"])),
        forgetting=escape(how_forgotten(task["forgetting"])),
        **dict(zip(("windows", "velocities", "barriers"), map(_chart, figures), strict=True)),
        figure_rows="".join(line for figure in figures for line in _figure_rows(figure)),
        noise_rows="".join(map(_noise_row, task["noise"])),
        score_heads=markup.heads(keys),
        correlations="".join(_correlation_rows(task, keys)),
        extremes="".join(_extremes_row(key, ends, dataset) for key, ends in task["extremes"].items()),
    )


def _answer(task: Task) -> str:
    """What the diet found out, in sentences: how many claims were decided, and which score finds false labels best."""
    verdicts = Counter(finding["verdict"] for finding in task["findings"])
    counts = f"{verdicts['holds']} hold, {verdicts['fails']} fail, and {verdicts['undecided']} are undecided"
    words = [f"Of {len(task['findings'])} claims {counts}."]
    if known := [entry for entry in task["noise"] if entry["value"] is not None]:
        ranked = sorted(known, key=lambda entry: -float(entry["value"]))
        each = ", ".join(f"{entry['score']} {entry['value']:.0%}" for entry in ranked)
        words.append(f"How often a score is higher for a false label than for a true one: {each}.")
    return " ".join(words)


# Charts


def _chart(figure: Figure, level: float | None = None) -> str:
    """For each curve a line through the means, in a band from the lowest to the highest value; dashed at `level`."""
    what, across, ticks, curves = figure
    known = {LINES[name]: [(x, of) for x, values in curve if (of := _known(values))] for name, curve in curves.items()}
    every = [value for curve in known.values() for _, values in curve for value in values]
    if not every:
        return "<p>There is nothing to draw.</p>"
    first, last, levels, marks = min(ticks), max(ticks), _known([level]), []
    chart = SmallChart(Axis(first, last), Axis.around(every + levels))
    for kind, curve in known.items():
        x = [place for place, _ in curve]
        low, high, mean = ([f(values) for _, values in curve] for f in (min, max, fmean))
        marks += [chart.band(kind, x, low, high), chart.line(kind, x, mean), chart.dots(f"dots {kind}", x, mean)]
    marks += [chart.line("now", [first, last], [value, value]) for value in levels]
    return chart.draw(what, across, ticks, marks)


def _pruning_charts(task: Task) -> Iterator[str]:
    """For each score a chart of the accuracy with its highest examples, random ones, and all of them."""
    curves: dict[tuple[str | None, str], Curve] = defaultdict(list)
    for entry in sorted(task["pruning"], key=lambda entry: float(entry["fraction"])):
        curves[entry["score"], entry["end"]].append((entry["fraction"], entry["accuracy"]["values"]))
    level = task["pruning"][0]["accuracy"]["value"]
    for score in dict.fromkeys(entry["score"] for entry in task["pruning"] if entry["score"]):
        of = {end: curves[score if end != "random" else None, end] for end in ("random", "highest")}
        ticks = {fraction: f"{fraction:.0%}" for fraction, _ in of["random"]}
        chart = _chart((f"Accuracy by the fraction kept, {score}", "examples kept", ticks, of), level)
        yield f"<figure>{chart}<figcaption>{escape(score)}</figcaption></figure>"


def _figures(task: Task) -> list[Figure]:
    """Windows, velocities and barriers.  Steps are at equal distances, because the gaps between them grow."""
    windows = {
        labels: [(at["offset"], at["accuracy"]["values"]) for at in task["windows"] if at["noisy"] == noisy]
        for labels, noisy in (("true labels", False), ("false labels", True))
    }
    starts = {offset: f"{offset:.0%}" for offset, _ in windows["true labels"]}
    bands, barriers = task["velocities"]["bands"], list(enumerate(task["barriers"]))
    velocities = {band: [(k, at["values"]) for k, at in enumerate(bands[band])] for band in BANDS}
    saved = {k: str(step) for k, step in enumerate(task["velocities"]["steps"][1:])}
    between = {g: [(k, at["groups"][g]["barrier"]["values"]) for k, at in barriers] for g in (*BANDS, "all")}
    copied = {k: str(at["step"]) for k, at in barriers}
    return [
        ("accuracy by window", "start of the window", starts, windows),
        ("velocity of the kernel", "from the saved step before to step", saved, velocities),
        ("error barrier", "children are copied at step", copied, between),
    ]


# Tables


def _known(values: Values) -> list[float]:
    return [value for value in values if value is not None]


def _pruning_row(entry: Mapping[str, Any]) -> str:
    texts = [escape(entry["end"]), f"{entry['fraction']:.0%}", f"{entry['examples']:,}"]
    for found in (entry["accuracy"], entry["loss"]):
        known = _known(found["values"])
        texts += [number(found["value"], ".4f"), number(stdev(known) if len(known) > 1 else None, ".4f")]
    return row(escape(entry["score"] or "–"), cells(texts))


def _gain_row(entry: Mapping[str, Any]) -> str:
    texts = [escape(entry["over"]), f"{entry['fraction']:.0%}"]
    for found in (entry["accuracy"], entry["loss"]):
        texts += [number(found["value"], "+.4f"), interval(found, "+.4f")]
    return row(escape(f"{entry['score']}, {entry['end']}"), cells(texts))


def _figure_rows(figure: Figure) -> Iterator[str]:
    what, _, ticks, curves = figure
    for name, curve in curves.items():
        for place, values in curve:
            known = _known(values)
            texts = [number(f(known) if known else None, ".4f") for f in (fmean, min, max)]
            yield row(what, cells([name, ticks[place], *texts]), kind=WORDS)


def _noise_row(entry: Mapping[str, Any]) -> str:
    given = (entry, entry["beyond"])
    texts = [text for of in given for text in ((number(of["value"], ".3f"), interval(of, ".3f")) if of else ("", ""))]
    return row(escape(entry["score"]), cells(texts))


def _correlation_rows(task: Task, keys: Sequence[str]) -> Iterator[str]:
    found = {frozenset(entry["scores"]): _correlation_cell(entry) for entry in task["correlations"]}
    for a in keys:
        yield row(escape(a), *(found.get(frozenset((a, b)), "<td>1</td>") for b in keys))


def _correlation_cell(found: Mapping[str, Any]) -> str:
    value, kind = found["value"], ""
    if value is not None:  # the security policy forbids inline styles, so a class sets the colour, in tenths
        kind = f' class="{"raised" if value > 0 else "lowered"}-{min(9, int(10 * abs(value)))}"'
    text = number(value and round(value, 2) + 0.0, ".2f")  # without −0.00
    return f'<td{kind} title="{escape(", ".join(found["scores"]))}: {interval(found, ".3f")}">{text}</td>'


def _extremes_row(key: str, ends: Mapping[str, Sequence[int]], dataset: Dataset) -> str:
    """The images of the examples with the highest and lowest scores."""
    texts = []
    for examples in (ends["highest"], ends["lowest"]):
        names = (escape(str(dataset.files[example])) for example in examples)
        pairs = zip(thumbnails(dataset.batch(np.array(examples))[0]), names, strict=True)
        texts.append("".join(f'<img src="{uri}" alt="{name}" title="{name}">' for uri, name in pairs))
    return row(escape(key), cells(texts, WORDS))
