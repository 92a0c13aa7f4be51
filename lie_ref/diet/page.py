"""Draws the page of a diet: one self-contained HTML file, from the results and the images."""

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
from ..study.pages.markup import WORDS, cells, claim_row, interval, number, percent, row, source, thumbnails
from ..study.settings import command_line
from .plan import BANDS
from .results import how_forgotten
from .settings import DietSettings, score_keys, spoken

LINES = {"lowest": "lowest", "middle": "random", "random": "random", "highest": "highest", "all": "mean"}
LINES |= {"true labels": "lowest", "false labels": "highest"}  # name of a curve → class of its line
PAPER = "Deep Learning on a Data Diet: Finding Important Examples Early in Training", "https://arxiv.org/abs/2107.07075"
Task = Mapping[str, Any]  # the results of a task
Values = Sequence[float | None]  # one for each run, as `results.json` has them
Curve = list[tuple[Any, Values]]  # places on the horizontal axis, and the values at each
Figure = tuple[str, str, str, dict[Any, str], dict[str, Curve]]  # what it shows; titles of the axes; ticks; curves


def render_diet(out: Path, results: Mapping[str, Any], dataset: Dataset) -> Path:
    """Write `report.html` into the folder `out`, whole or not at all, and return its path.

    `results` are those of `results.json`, in which whatever is not finite is None.
    """
    style, script = (source(markup.__package__, name) for name in ("style.css", "shared.js"))
    settings = results["settings"]
    page = Template(source(__package__, "diet.html")).substitute(
        policy=markup.content_policy(style, script),
        style=style,
        script=script,
        dataset=escape(results["dataset"]),
        **{key: escape(str(settings[key])) for key in ("network", "runs", "retrainings")},
        steps=f"{settings['steps']:,}",
        tasks="".join(_task(task, dataset) for task in results["tasks"]),
        config=markup.settings_rows(settings),
        footer=markup.footer(command_line(DietSettings, "diet", settings), bool(settings.get("celeba")), *PAPER),
    )
    write_text(path := out / "report.html", page)
    return path


def _task(task: Task, dataset: Dataset) -> str:
    figures, keys = _figures(task), score_keys()
    return Template(source(__package__, "diet-task.html")).substitute(
        task=escape(task["task"]),
        **{key: f"{task[key]:,}" for key in ("examples", "held_out")},
        outputs=len(task["outputs"]),
        false_labels=f"{task['false_labels']:,}",
        false_share=percent(task["false_labels"] / task["examples"], 1),
        without_noise="" if task["false_labels"] else " hidden",
        answer=escape(_answer(task)),
        **{f"{name}_say": escape(sentence) for name, sentence in _sentences(task).items()},
        findings="".join(map(claim_row, sorted(task["findings"], key=lambda of: str(of["verdict"]) == "undecided"))),
        pruning="".join(_pruning_charts(task)),
        pruning_rows="".join(map(_pruning_row, task["pruning"])),
        gain_rows="".join(map(_gain_row, task["gains"])),
        forgetting=escape(how_forgotten(task["forgetting"])),
        **dict(zip(("windows", "velocities", "barriers"), map(_chart, figures), strict=True)),
        figure_rows="".join(line for figure in figures for line in _figure_rows(figure)),
        noise_rows="".join(map(_noise_row, task["noise"])),
        score_heads=markup.heads(map(spoken, keys)),
        correlations="".join(_correlation_rows(task, keys)),
        extremes="".join(_extremes_row(key, ends, dataset) for key, ends in task["extremes"].items()),
    )


def _answer(task: Task) -> str:
    """What scores are good for, above all those by brackets, in sentences; and how many claims were decided."""
    (gain,) = (finding["value"] for finding in task["findings"] if finding["id"] == "7i")
    words = []
    if gain is not None:
        points = f"{abs(100 * gain):.1f} points of accuracy {'less' if gain < 0 else 'more'}"
        words.append(
            f"Training on the highest bracket scores gives {points} than training on random examples, on average."
        )
    if known := [entry for entry in task["noise"] if entry["value"] is not None]:
        ranked = sorted(known, key=lambda entry: -float(entry["value"]))
        each = ", ".join(f"{spoken(entry['score'])} {percent(entry['value'])}" for entry in ranked)
        words.append(f"How often a score is higher for a false label than for a true one: {each}.")
    of = Counter(finding["verdict"] for finding in task["findings"])
    counts = f"{of['holds']} held, {of['fails']} failed, and {of['undecided']} remained undecided"
    return " ".join([*words, f"Of {of.total()} claims, {counts}."])


def _sentences(task: Task) -> dict[str, str]:
    """What each figure shows, in a sentence computed from its numbers."""
    (*_, windows), (*_, saved, velocities), (*_, copied, barriers) = _figures(task)
    return {
        "pruning": _pruning_sentence(task),
        "windows": _windows_sentence(windows["true labels"]),
        "velocities": _bands_sentence("Between the last two saved steps the kernel turns by", velocities, saved),
        "barriers": _bands_sentence("For the children that are copied last, the barrier is", barriers, copied),
        "noise": _noise_sentence(task),
        "correlations": _correlation_sentence(task),
    }


def _pruning_sentence(task: Task) -> str:
    """The best subset that a score selects, beside a random one of the same size and all examples."""
    pairs = (((entry["score"], entry["fraction"]), entry["accuracy"]["value"]) for entry in task["pruning"])
    of = {key: value for key, value in pairs if value is not None}
    if not (scored := {key: value for key, value in of.items() if key[0]}):
        return "There are no accuracies."
    (score, fraction), best = max(scored.items(), key=lambda item: float(item[1]))
    others = {"a random subset of this size": of.get((None, fraction)), "all examples": of.get((None, 1.0))}
    beside = ", ".join(f"{percent(value, 1)} with {name}" for name, value in others.items() if value is not None)
    subset = f"the {percent(fraction)} with the highest {spoken(score)}"
    return f"The best of these subsets, {subset}, gives an accuracy of {percent(best, 1)}; {beside}."


def _windows_sentence(curve: Curve) -> str:
    means = {start: fmean(known) for start, values in curve if (known := _known(values))}
    if not means:
        return ""
    best = max(means, key=means.__getitem__)
    last = f"for the last one it is {percent(means[max(means)], 1)}"
    return f"Accuracy is highest for the window that starts at {percent(best)} ({percent(means[best], 1)}); {last}."


def _bands_sentence(words: str, curves: Mapping[str, Curve], ticks: Mapping[Any, str]) -> str:
    """The last value of the lowest and the highest band."""
    ends = {band: _known(curves[band][-1][1]) for band in ("lowest", "highest") if curves[band]}
    known = [f"{fmean(values):.2g} for the {band} EL2N" for band, values in ends.items() if values]
    return f"{words} {' and '.join(known)} (step {ticks[max(ticks)]})." if known else ""


def _noise_sentence(task: Task) -> str:
    known = {entry["value"]: spoken(entry["score"]) for entry in task["noise"] if entry["value"] is not None}
    if not known:
        return "No labels are false."
    best, worst = max(known), min(known)
    return f"Best at finding false labels: {known[best]} (AUROC {best:.2f}); worst: {known[worst]} ({worst:.2f})."


def _correlation_sentence(task: Task) -> str:
    known = [entry for entry in task["correlations"] if entry["value"] is not None]
    if not known:
        return "No correlation is defined."
    most, least = (f(known, key=lambda entry: float(entry["value"])) for f in (max, min))
    each = (f"{' and '.join(map(spoken, entry['scores']))} ({entry['value']:.2f})" for entry in (most, least))
    return "The most similar scores are {}; the least similar are {}.".format(*each)


# Charts


def _chart(figure: Figure, level: float | None = None, axis: Axis | None = None) -> str:
    """For each curve a line through the means, in a band from the lowest to the highest value; dashed at `level`.

    The vertical axis is the given one, or shows all values.
    """
    what, up, across, ticks, curves = figure
    known = {LINES[name]: [(x, of) for x, values in curve if (of := _known(values))] for name, curve in curves.items()}
    every = [value for curve in known.values() for _, values in curve for value in values]
    if not every:
        return "<p>There is nothing to draw.</p>"
    first, last, levels, marks = min(ticks), max(ticks), _known([level]), []
    chart = SmallChart(Axis(first, last), axis or Axis.around(every + levels))
    for kind, curve in known.items():
        x = [place for place, _ in curve]
        low, high, mean = ([f(values) for _, values in curve] for f in (min, max, fmean))
        marks += [chart.band(kind, x, low, high), chart.line(kind, x, mean), chart.dots(f"dots {kind}", x, mean)]
    marks += [chart.line("now", [first, last], [value, value]) for value in levels]
    return chart.draw(what, across, ticks, marks, up)


def _pruning_charts(task: Task) -> Iterator[str]:
    """For each score a chart of the accuracy with its highest examples, random ones, and all of them; one range."""
    axis = Axis.around([value for entry in task["pruning"] for value in _known(entry["accuracy"]["values"])] or [0.0])
    curves: dict[tuple[str | None, str], Curve] = defaultdict(list)
    for entry in sorted(task["pruning"], key=lambda entry: float(entry["fraction"])):
        curves[entry["score"], entry["end"]].append((entry["fraction"], entry["accuracy"]["values"]))
    level = task["pruning"][0]["accuracy"]["value"]
    for score in dict.fromkeys(entry["score"] for entry in task["pruning"] if entry["score"]):
        of = {end: curves[score if end != "random" else None, end] for end in ("random", "highest")}
        ticks = {fraction: percent(fraction) for fraction, _ in of["random"]}
        what = f"Accuracy by the fraction kept, {spoken(score)}"
        chart = _chart((what, "accuracy", "examples kept", ticks, of), level, axis)
        yield f"<figure>{chart}<figcaption>{spoken(score)}</figcaption></figure>"


def _figures(task: Task) -> list[Figure]:
    """Windows, velocities and barriers.  Steps are at equal distances, because the gaps between them grow."""
    windows = {
        labels: [(at["offset"], at["accuracy"]["values"]) for at in task["windows"] if at["noisy"] == noisy]
        for labels, noisy in (("true labels", False), ("false labels", True))
    }
    starts = {offset: percent(offset) for offset, _ in windows["true labels"]}
    bands, barriers = task["velocities"]["bands"], list(enumerate(task["barriers"]))
    velocities = {band: [(k, at["values"]) for k, at in enumerate(bands[band])] for band in BANDS}
    saved = {k: str(step) for k, step in enumerate(task["velocities"]["steps"][1:])}
    between = {g: [(k, at["groups"][g]["barrier"]["values"]) for k, at in barriers] for g in (*BANDS, "all")}
    copied = {k: str(at["step"]) for k, at in barriers}
    return [
        ("accuracy by window", "accuracy", "start of the window", starts, windows),
        ("velocity of the kernel", "1 − cosine", "step, compared with the saved step before", saved, velocities),
        ("error barrier", "barrier", "step at which children are copied", copied, between),
    ]


# Tables


def _known(values: Values) -> list[float]:
    return [value for value in values if value is not None]


def _pruning_row(entry: Mapping[str, Any]) -> str:
    texts = [entry["end"], percent(entry["fraction"]), f"{entry['examples']:,}"]
    for found in (entry["accuracy"], entry["loss"]):
        known = _known(found["values"])
        texts += [number(found["value"], ".4f"), number(stdev(known) if len(known) > 1 else None, ".4f")]
    return row(spoken(entry["score"] or "–"), cells(texts))


def _gain_row(entry: Mapping[str, Any]) -> str:
    texts = [spoken(entry["over"]), percent(entry["fraction"])]
    for found in (entry["accuracy"], entry["loss"]):
        texts += [number(found["value"], "+.4f"), interval(found, "+.4f")]
    return row(f"highest {spoken(entry['score'])}", cells(texts))


def _figure_rows(figure: Figure) -> Iterator[str]:
    what, _, _, ticks, curves = figure
    for name, curve in curves.items():
        for place, values in curve:
            known = _known(values)
            texts = [number(f(known) if known else None, ".4f") for f in (fmean, min, max)]
            yield row(what, cells([name, ticks[place], *texts]), kind=WORDS)


def _noise_row(entry: Mapping[str, Any]) -> str:
    given = (entry, entry["beyond"])
    texts = [text for of in given for text in ((number(of["value"], ".3f"), interval(of, ".3f")) if of else ("", ""))]
    return row(spoken(entry["score"]), cells(texts))


def _correlation_rows(task: Task, keys: Sequence[str]) -> Iterator[str]:
    found = {frozenset(entry["scores"]): _correlation_cell(entry) for entry in task["correlations"]}
    for a in keys:
        yield row(spoken(a), *(found.get(frozenset((a, b)), "<td>1</td>") for b in keys))


def _correlation_cell(found: Mapping[str, Any]) -> str:
    value, kind = found["value"], ""
    if value is not None:  # the security policy forbids inline styles, so a class sets the colour, in tenths
        kind = f' class="{"raised" if value > 0 else "lowered"}-{min(9, int(10 * abs(value)))}"'
    text = number(value and round(value, 2) + 0.0, ".2f")  # without −0.00
    return f'<td{kind} title="{", ".join(map(spoken, found["scores"]))}: {interval(found, ".3f")}">{text}</td>'


def _extremes_row(key: str, ends: Mapping[str, Sequence[int]], dataset: Dataset) -> str:
    """The images of the examples with the highest and lowest scores."""
    texts = []
    for examples in (ends["highest"], ends["lowest"]):
        names = (escape(str(dataset.files[example])) for example in examples)
        pairs = zip(thumbnails(dataset.batch(np.array(examples))[0]), names, strict=True)
        texts.append("".join(f'<img src="{uri}" alt="{name}" title="{name}">' for uri, name in pairs))
    return row(spoken(key), cells(texts, WORDS))
