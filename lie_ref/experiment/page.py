"""Draws the page of a run: one self-contained HTML file, made from nothing but the files in the run's folder.

This module draws whatever concerns the whole run.  The scripts draw what depends on the reader's choices, from data
that the page carries and that are computed here.
"""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import fields
from html import escape
from pathlib import Path
from statistics import fmean, median
from string import Template
from typing import Any

import numpy as np

from ..core.types import Arrays
from ..images.labels import HAIR
from ..machine.files import write_text
from ..study.pages import markup
from ..study.pages.charts import Axis, Chart, SmallChart
from ..study.pages.markup import WORDS, cells, heads, number, percent, row, source, thumbnails, to_base64
from ..study.settings import command_line
from .exclusive import attribute_probabilities
from .reading import SWAPS, RunFiles, evaluation_path, read_run, readable, views
from .settings import Settings
from .statistics import pair_fits, pair_rms_gradient, rank_attributes

LOG_POINTS = 600  # points of the training loss that are drawn, spread evenly over the logarithmic axis
LABEL_WIDTH = 58  # for the label of a step, so that labels do not touch on a narrow screen, where they are larger
PARTS = ("train", "validation")
POST = (
    "Training examples are vector fields and their Lie brackets can be computed",
    "https://pbement.com/posts/lie_brackets",
)
PACKED = {"logits": "logits", "shuffled": "rms_shuffled", "corners": "square_corners", "gap": "square_gap"}  # arrays
KINDS = "lowest", "random", "highest"  # the classes of lines, by their colours
DERIVATIONS = ("richardson", "hvp_modes")  # the checks that derive the bracket a second time


def render(run: Path) -> Path:
    """Write `report.html` into the folder `run`, whole or not at all, and return its path.

    Raises InputError, which names the file, if a file of the run is missing or damaged.
    """
    files, page = read_run(run), run / "report.html"
    with readable(run / "summary.json"):
        write_text(page, _page(files))
    return page


def _page(run: RunFiles) -> str:
    summary, points = run.summary, run.summary["checkpoints"]
    style, final = source(markup.__package__, "style.css"), points[-1]
    own = [source(__package__, f"{name}.js") for name in ("explorer", "figures", "tour")]
    script = "".join([source(markup.__package__, "shared.js"), *own])
    data = json.dumps(_data(run), separators=(",", ":"), allow_nan=False)
    epsilons, passes = _pass_rows(summary["passes"])
    return Template(source(__package__, "page.html")).substitute(
        policy=markup.content_policy(style, script),
        style=style,
        script=script,
        data=data.replace("<", "\\u003c"),  # so that no text in it can close the element
        **{key: escape(summary[key].rstrip(".")) for key in ("dataset", "preset", "rms_gradient")},
        **{key: f"{summary[key]:,}" for key in ("steps", "parameters")},
        **{f"{part}_images": f"{final[part]['images']:,}" for part in PARTS},
        without_passes="" if summary["passes"] else " hidden",
        seed=summary["seed"],
        examples=len({example for bracket in final["brackets"] for example in bracket["pair"]}),
        training=_training_sentence(points),
        loss_chart=_loss_chart(run.log, points),
        loss_rows="".join(_row(point, _scores(point, "loss", ".4f")) for point in points),
        hair=heads(name.replace("_", " ") for name in HAIR),
        epsilons=epsilons,
        passes=passes,
        passes_say=_passes_sentence(summary["passes"]),
        passes_charts="".join(_passes_charts(summary["passes"])),
        findings="".join(map(_findings_row, points)),
        swaps=heads(f"swap under {words}" for words in SWAPS.values()),
        checked=_checked(points),
        checks="".join(map(_checks_row, points)),
        config=markup.settings_rows(run.config),
        **_answer(run),
        footer=markup.footer(_command(run.config), bool(run.config.get("celeba")), *POST),
    )


def _answer(run: RunFiles) -> dict[str, Any]:
    """The largest change that a swap makes at the learning rate of the run, by the last checkpoint."""
    lr = _lr(run)
    point = run.summary["checkpoints"][-1]
    found, exclusive = run.evaluations[point["step"]], _exclusive(run)
    before = attribute_probabilities(found["logits"], exclusive)
    after = attribute_probabilities(found["logits"] + lr**2 * found["logit_delta"], exclusive)
    moved = np.abs(after - before)
    p, n, k = np.unravel_index(np.argmax(moved), moved.shape)
    numbers = dict(zip(("first", "then", "picture"), (*found["pairs"][p].tolist(), int(n)), strict=True))
    faces = thumbnails(found["x"][list(numbers.values())])
    error, reach = (_median(point["expansion"][key]) for key in ("error", "reach"))
    size = "Yes." if moved.max() >= 0.1 else "Yes, a little." if moved.max() >= 0.001 else "Hardly."
    return {
        "answer": size if error is not None and error < 1 else "Brackets cannot tell.",
        **numbers,
        **{f"{role}_face": uri for role, uri in zip(numbers, faces, strict=True)},
        "lr": f"{lr:g}",
        "changed": escape(run.summary["attributes"][k].replace("_", " ")),
        "before": percent(before[n, k], 1),
        "after": percent(after[p, n, k], 1),
        "reach": f"up to ε = {reach:g}" if reach else "at no ε that was tried",
        "error": percent(error),
    }


def _median(values: Iterable[float | None]) -> float | None:
    """The median, in which an undefined value counts as infinite; None if it is not finite."""
    middle = median(math.inf if value is None else value for value in values)
    return middle if math.isfinite(middle) else None


def _lr(run: RunFiles) -> float:
    with readable(run.folder / "config.json"):
        return float(run.config["lr"])


def _command(config: dict[str, Any]) -> str:
    known = {field.name for field in fields(Settings)}
    return command_line(Settings, "experiment", {key: value for key, value in config.items() if key in known})


# Static charts


def _training_sentence(points: list[dict[str, Any]]) -> str:
    """What the validation loss does over the checkpoints."""
    losses = {point["step"]: point["validation"]["loss"] for point in points if point["validation"]["loss"] is not None}
    if not losses:
        return "The loss is not a finite number at any checkpoint."
    first, last = (f"{losses[step]:.3g} at step {step:,}" for step in (min(losses), max(losses)))
    best = min(losses, key=lambda step: losses[step])
    least = "" if best in (min(losses), max(losses)) else f", with a minimum of {losses[best]:.3g} at step {best:,}"
    return f"The loss on validation images goes from {first} to {last}{least}."


def _loss_chart(log: np.ndarray, points: list[dict[str, Any]]) -> str:
    steps = np.array([point["step"] for point in points])
    log = log[np.isfinite(log[:, 1]) & (log[:, 1] > 0)]  # where training diverged, the loss has no logarithm
    thin = np.unique(np.geomspace(1, len(log), LOG_POINTS).astype(int)) - 1 if len(log) else np.arange(0)
    x = 1 + log[thin, 0]  # step 0 has no logarithm
    curves = {"raw": (x, log[thin, 1]), "mean": (x, running_mean(log[:, 1])[thin])}
    for part in PARTS:
        losses = np.array([point[part]["loss"] for point in points], float)
        curves[part] = 1 + steps[losses > 0], losses[losses > 0]
    shown = np.concatenate([losses for _, losses in curves.values()])
    chart = Chart(Axis.around(1 + np.append(log[:, 0], steps), logarithmic=True), Axis.around(shown, logarithmic=True))
    marks, ticks, end = [], {}, -math.inf
    for step in steps.tolist():
        place = float(chart.width * chart.x.share(1 + step))
        upright = f'd="M{place:.1f} 0V{chart.height}"'
        # the explorer shows the second line if its step is selected
        marks += [f"<path {upright}/>", f'<path class="now" data-step="{step}" {upright} hidden/>']
        if place - end >= LABEL_WIDTH:
            ticks[1 + step], end = str(step), place
    marks += [chart.dots("raw", *curves["raw"]), chart.line("mean", *curves["mean"])]
    marks += [draw(part, *curves[part]) for part in PARTS for draw in (chart.line, chart.dots)]
    return chart.draw("Loss against training step", "step (logarithmic)", ticks, marks, "loss")


def running_mean(loss: np.ndarray) -> np.ndarray:
    """The mean of the last tenth of the values up to each value: even smoothing on a logarithmic axis.

    >>> running_mean(np.array([4.0, 2.0, 6.0]))
    array([4., 2., 6.])
    """
    counts = np.arange(1, len(loss) + 1)
    sums = np.cumsum(np.append(0.0, loss))
    starts = counts - np.ceil(counts / 10).astype(int)
    return (sums[counts] - sums[starts]) / (counts - starts)


# The data of the explorer


def _data(run: RunFiles) -> dict[str, Any]:
    """What `explorer.js` draws: numbers as JSON, and larger arrays as base64 of their little-endian bytes."""
    points, attributes = run.summary["checkpoints"], run.summary["attributes"]
    hair, exclusive = [attributes.index(name) for name in HAIR if name in attributes], _exclusive(run)
    checkpoints = []
    for point in points:
        step, loss = point["step"], point["validation"]["loss"]
        with readable(evaluation_path(run.folder, step)):
            found = run.evaluations[step]
            sizes = found["tensor_sizes"]
            drawn = {name: _view_data(view, sizes, found["pairs"], attributes) for name, view in views(found).items()}
            packed = {key: _packed(found[name], "<f4") for key, name in PACKED.items()}
            epsilons = found["square_epsilon"].tolist()
        expansion = {key: point["expansion"][key] for key in ("epsilon", "errors")}
        checkpoints.append({"step": step, "validation": loss, "expansion": expansion, "views": drawn, **packed})
    return {
        "attributes": attributes,
        "hair": hair,
        "exclusive": exclusive,
        "lr": _lr(run),
        "epsilons": epsilons,
        "tensors": found["tensor_names"].tolist(),
        "pairs": found["pairs"].tolist(),
        "faces": thumbnails(found["x"]),
        "targets": _packed(found["y"] > 0.5, "u1"),
        "checkpoints": checkpoints,
    }


def _exclusive(run: RunFiles) -> list[int]:
    """The columns of the attributes that exclude each other in the loss of the run."""
    names = run.summary["attributes"]
    return [names.index(name) for name in HAIR if name in names] if run.config.get("exclusive_hair") else []


def _view_data(view: Arrays, sizes: np.ndarray, pairs: np.ndarray, attributes: list[str]) -> dict[str, Any]:
    """One view of a checkpoint.  `change` (p, n, k) is int16, to be multiplied by the `scale` of its pair; `steps` (e,)
    are the norms of the steps that are swapped."""
    delta = view["logit_delta"]
    scale = np.abs(delta).max(axis=(1, 2)) / np.iinfo(np.int16).max
    ranking = {entry["name"]: entry for entry in rank_attributes(delta, attributes)}
    fits = pair_fits(view["rms_bracket"], view["rms_gradient"], pairs)
    return {
        "norm": view["norm"].tolist(),
        "steps": np.sqrt((view["rms_gradient"] ** 2 * sizes).sum(axis=1)).tolist(),
        "scale": scale.tolist(),
        "change": _packed(np.rint(delta / np.where(scale > 0, scale, 1)[:, None, None]), "<i2"),
        "bracket": _packed(view["rms_bracket"], "<f4"),
        "gradient": _packed(np.stack([pair_rms_gradient(view["rms_gradient"], i, j) for i, j in pairs]), "<f4"),
        "fits": [{key: fit[key] for key in ("constant", "correlation")} for fit in fits],
        "ranks": [ranking[name]["rank"] for name in attributes],
        "means": [ranking[name]["mean_abs_logit_change"] for name in attributes],
    }


def _packed(array: np.ndarray, dtype: str) -> str:
    return to_base64(array.astype(dtype).tobytes())


# Tables


def _row(point: dict[str, Any], texts: Iterable[str], *rest: str) -> str:
    """A row of a table over the checkpoints; its head selects the step in the explorer."""
    step, body = point["step"], "".join([cells(texts), *rest])
    return f'<tr data-step="{step}"><th scope="row"><a href="#step={step}">{step}</a></th>{body}</tr>'


def _scores(point: dict[str, Any], score: str, form: str) -> list[str]:
    return [number(point[part][score], form) for part in PARTS]


def _findings_row(point: dict[str, Any]) -> str:
    constants = [bracket["constant"] for bracket in point["brackets"] if bracket["constant"]]
    span = f"{min(constants):.3g} … {max(constants):.3g}" if constants else "–"
    reach, error = (
        number(_median(point["expansion"][key]), form) for key, form in (("reach", ".0e"), ("error", ".0%"))
    )
    fit, ranks = (
        [number(point["mean_correlation"], ".3f"), span, reach, error],
        [str(point["hair_ranks"][name]) for name in HAIR],
    )
    top = ", ".join(escape(attribute["name"]) for attribute in point["attributes"][:3])
    scores = _scores(point, "loss", ".4f") + _scores(point, "accuracy", ".2%")
    return _row(point, [*scores, *fit, *ranks], cells([top], WORDS))


def _checks_row(point: dict[str, Any]) -> str:
    differences = [number(point["checks"][name], ".1e") for name in DERIVATIONS]
    return _row(point, [*differences, *(number(swap.get("observed_order"), ".3f") for swap in _swaps(point))])


def _swaps(point: dict[str, Any]) -> list[dict[str, Any]]:
    """The order swaps of plain gradient steps and under each of SWAPS; empty if a swap was not made."""
    return [point["checks"]["order_swap"], *(point["checks"]["swaps"].get(name, {}) for name in SWAPS)]


def _checked(points: list[dict[str, Any]]) -> str:
    """The checks of all checkpoints in one sentence, and how many of their figures are undefined."""
    every = {
        "differences": [point["checks"][name] for point in points for name in DERIVATIONS],
        "orders": [swap["observed_order"] for point in points for swap in _swaps(point) if swap],
    }
    lost = [f" {n} of {len(of)} {what} are undefined." for what, of in every.items() if (n := of.count(None))]
    differences, orders = ([value for value in values if value is not None] for values in every.values())
    largest = number(max(differences, default=None), ".1e")
    span = f"from {min(orders):.3f} to {max(orders):.3f}" if orders else "–"
    return f"The largest difference at any checkpoint is {largest}; the orders of the swaps are {span}.{''.join(lost)}"


def _passes_sentence(passes: list[dict[str, Any]]) -> str:
    """For each network, the largest ε at which brackets predict passes over the most mini-batches well."""
    most = max((entry["mini_batches"] for entry in passes), default=0)
    good: dict[str, list[float]] = {entry["network"]: [] for entry in passes}
    for entry in passes:
        known = [value for value in entry["cosine"] if value is not None]
        if entry["mini_batches"] == most and known and fmean(known) > 0.99:
            good[entry["network"]].append(entry["epsilon"])
    each = [f"{f'up to ε = {max(of):g}' if of else 'at no ε'} ({escape(name)})" for name, of in good.items()]
    return f"For {most} mini-batches the cosine is above 0.99 {', and '.join(each)}." if each else ""


def _passes_charts(passes: list[dict[str, Any]]) -> Iterator[str]:
    """For each network a chart of the cosine by ε, with a line for each number of mini-batches."""
    epsilons = sorted({entry["epsilon"] for entry in passes})
    cosines = Axis.around([0.0, 1.0, *(value for entry in passes for value in entry["cosine"] if value is not None)])
    for network in dict.fromkeys(entry["network"] for entry in passes):
        chart = SmallChart(Axis.around(epsilons, logarithmic=True), cosines)
        marks, ticks = [], {epsilon: f"{epsilon:g}" for epsilon in epsilons[::2]}
        kinds = dict(zip(dict.fromkeys(entry["mini_batches"] for entry in passes), KINDS, strict=False))
        for k, kind in kinds.items():
            curve = {
                entry["epsilon"]: fmean(known)
                for entry in sorted(passes, key=lambda entry: float(entry["epsilon"]))
                if (entry["network"], entry["mini_batches"]) == (network, k)
                if (known := [value for value in entry["cosine"] if value is not None])
            }
            marks.append(chart.line(kind, list(curve), list(curve.values())))
            marks.append(chart.dots(f"dots {kind}", list(curve), list(curve.values())))
        picture = chart.draw(f"Cosine by ε, {network}", "ε", ticks, marks)
        keys = ", ".join(f'<span class="key {kind}">{k}</span>' for k, kind in kinds.items())
        caption = f"Cosine of prediction and truth, {escape(network)}, passes over {keys} mini-batches"
        yield f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _pass_rows(passes: list[dict[str, Any]]) -> tuple[str, str]:
    """The table of passes in other orders: the head of each learning rate, and a row for each network and number k."""
    epsilons = list(dict.fromkeys(entry["epsilon"] for entry in passes))
    means: dict[tuple[str, int], dict[float, str]] = {}
    for entry in passes:
        known = ([value for value in entry[key] if value is not None] for key in ("cosine", "ratio"))
        text = " · ".join(number(fmean(values) if values else None, ".2f") for values in known)
        means.setdefault((entry["network"], entry["mini_batches"]), {})[entry["epsilon"]] = text
    rows = (
        row(escape(network), cells([str(k), *(found.get(epsilon, "–") for epsilon in epsilons)]), kind=WORDS)
        for (network, k), found in means.items()
    )
    return heads(f"ε = {epsilon:g}" for epsilon in epsilons), "".join(rows)
