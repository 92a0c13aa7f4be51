"""Writes the tables and figures of the READMEs from `data/results`: `make tables` or `python -m readme_tables`.

`make tables` or `python -m readme_tables RUN NAME` first takes the results of a finished study from its folder RUN into
`data/results/NAME.json`, together with its record.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import tutorial_figures

from lie_ref.diet.run import gains_table
from lie_ref.study.pages.charts import Axis, SmallChart
from lie_ref.study.verdicts import judged, table

ROOT = Path(__file__).parents[1]
RESULTS, FIGURES = ROOT / "data/results", ROOT / "data/figures"
Result = dict[str, Any]

COLOURS = {"a": "#0b62b8", "b": "#c2410c", "c": "#2f8f4e", "d": "#8a4bb8"}
STYLE = """
svg { font: 13px system-ui, sans-serif; --ink: #1b2126; --soft: #5d676f; --line: #dde2e6; }
@media (prefers-color-scheme: dark) { svg { --ink: #e8ecef; --soft: #a3aeb6; --line: #31393f; } }
text { fill: var(--soft); } .title { fill: var(--ink); font-weight: 600; }
.middle { text-anchor: middle; } .end { text-anchor: end; }
path { stroke: var(--line); fill: none; } polyline { fill: none; stroke-width: 2; }
.now { stroke: var(--soft); stroke-dasharray: 5 4; stroke-width: 1; } .band { opacity: .18; }
""" + "".join(
    f"polyline.{name} {{ stroke: {colour}; }} polygon.{name}, text.{name} {{ fill: {colour}; }}\n"
    for name, colour in COLOURS.items()
)
HIGHLIGHTS = ("1a", "2a", "2b", "3a", "6f", "8a")
PANEL, HEIGHT, LEGEND = 420, 260, 20  # units of a panel and of a line of the legend


# Results


def take(run: Path, name: str) -> None:
    """Take the results of a study or a diet and its record into `data/results`."""
    of = "results.json" if (run / "results.json").exists() else "summary.json"
    record, found = (json.loads((run / name).read_text(encoding="utf-8")) for name in ("record.json", of))
    found = {"record": record, **found}
    if found.get("settings", {}).get("celeba"):
        found["settings"] |= {"celeba": "DIR"}  # wherever it was
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(found, separators=(",", ":"), ensure_ascii=False) + "\n", "utf-8")


def results(prefix: str) -> list[Result]:
    """The results whose names begin in this way, in the order of their names."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob(f"{prefix}*.json"))]


def column(result: Result) -> str:
    """The title of a study's column, or what a diet has tried."""
    if "tasks" in result:
        return f"{result['dataset']}, {' and '.join(task['task'] for task in result['tasks'])}"
    network = "" if result["preset"] == "mxresnet-tiny" else f", {result['preset']}"
    return f"{result['images']}{network} ({len(result['seeds'])} seeds)"


# Tables


def made(prefix: str) -> Iterator[str]:
    """How each study was made: a line each."""
    for result in results(prefix):
        record = result["record"]
        versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
        yield f"- {column(result)}: `{record['command']}`; {record['seconds'] / 3600:.1f} hours; {versions}"


def again(columns: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """The findings of these columns, all judged together."""
    for finding in [finding for of in columns.values() for finding in of]:  # JSON has no infinity
        low, high = finding["bounds"]
        finding["bounds"] = [-math.inf if low is None else low, math.inf if high is None else high]
    return judged(columns)


def judged_findings() -> dict[str, list[dict[str, Any]]]:
    """The claims about brackets, a column for each study."""
    return {column(result): again({"": result["findings"]})[""] for result in results("findings")}


def findings() -> list[str]:
    """A row for each claim about brackets, a column for each study."""
    return table(judged_findings())


def highlights() -> list[str]:
    """The rows of `findings` that the first README shows, without notes."""
    of = judged_findings()
    return table({name: [f | {"note": ""} for f in column if f["id"] in HIGHLIGHTS] for name, column in of.items()})


def agreement() -> Iterator[str]:
    """A row for each attribute, a column for each study."""
    of = {column(result): result["agreement"] for result in results("findings")}
    yield f"| attribute | {' | '.join(of)} |"
    yield "| --- " * (1 + len(of)) + "|"
    first = next(iter(of.values()))
    for name in sorted(first, key=lambda name: -(first[name]["value"] or 0)):
        cells = [_number(found.get(name), "+.2f") for found in of.values()]
        yield f"| {name} | {' | '.join(cells)} |"


def _number(found: dict[str, Any] | None, form: str) -> str:
    if found is None or found["value"] is None:
        return ""
    between = "" if found["low"] is None else f" ({found['low']:{form}} … {found['high']:{form}})"
    return f"{found['value']:{form}}{between}"


def diets() -> list[dict[str, Any]]:
    """The results of the long diet, task by task, wherever each was run, with all claims judged together."""
    tasks = [task for result in results("diet") for task in result["tasks"]]
    verdicts = again({task["task"]: task["findings"] for task in tasks})
    return [task | {"findings": verdicts[task["task"]]} for task in tasks]


def diet() -> list[str]:
    """A row for each claim about data diets, a column for each task."""
    return table({task["task"]: task["findings"] for task in diets()})


def gains() -> Iterator[str]:
    """What each selection gains over others of its size: a table for each task."""
    for k, task in enumerate(diets()):
        yield from [*[""] * bool(k), *gains_table(task)]


BLOCKS: dict[str, dict[str, Callable[[], Any]]] = {
    "README.md": {"highlights": highlights},
    "lie_ref/experiment/README.md": {
        "findings": findings,
        "agreement": agreement,
        "findings-made": partial(made, "findings"),
    },
    "lie_ref/diet/README.md": {"diet": diet, "gains": gains, "diet-made": partial(made, "diet")},
}


def written(readme: str) -> str:
    """The text of a README with its blocks written anew."""
    text = (ROOT / readme).read_text(encoding="utf-8")
    for name, block in BLOCKS[readme].items():
        pattern = rf"(<!-- {name}: by `make tables` -->\n).*?(<!-- end -->)"
        lines = "\n".join(["", *block(), "", ""])
        text, count = re.subn(pattern, lambda found, lines=lines: found[1] + lines + found[2], text, flags=re.DOTALL)
        assert count == 1, f"{readme}: expected one block {name}, got {count}"
    return text


# Figures


def panel(
    title: str, x: tuple[str, Axis, dict[float, str]], y: Axis, curves: Sequence[list[dict[str, Any]]], level: float
) -> tuple[str, str]:
    """A title, and a chart with a line and a band for each curve, whose points are {x, value, low, high}."""
    across, axis, ticks = x
    chart = SmallChart(axis, y)
    marks = [chart.line("now", [axis.low, axis.high], [level, level])]
    for kind, points in zip(COLOURS, curves, strict=False):
        known = [p for p in points if p["value"] is not None]
        at = [p["x"] for p in known]
        ends = (
            [min(max(p[end] if p[end] is not None else p["value"], y.low), y.high) for p in known]
            for end in ("low", "high")
        )
        marks += [chart.band(kind, at, *ends), chart.line(kind, at, [p["value"] for p in known])]
    return title, chart.draw(title, across, ticks, marks)


def figure(panels: Sequence[tuple[str, str]], legend: Sequence[str]) -> str:
    """A picture with panels side by side, and what the lines are below them."""
    width, height = PANEL * len(panels), HEIGHT + LEGEND * len(legend)
    placed = "".join(
        f'<text x="{(k + 0.5) * PANEL}" y="14" class="title middle">{title}</text>'
        + text.replace("<svg ", f'<svg x="{k * PANEL}" y="18" width="{PANEL}" height="{HEIGHT - 18}" ', 1)
        for k, (title, text) in enumerate(panels)
    )
    names = "".join(
        f'<text x="60" y="{HEIGHT + LEGEND * (k + 0.6)}" class="{kind}">— {text}</text>'
        for k, (kind, text) in enumerate(zip(COLOURS, legend, strict=False))
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">'
    return f"{head}<style>{STYLE}</style>{placed}{names}</svg>\n"


def orders_figure(result: Result) -> str:
    """How well brackets foretell which order is better, by ε."""
    kinds = [(kind, optimizer) for optimizer in ("sgd", "adam") for kind in ("examples", "mini-batches")]
    of = result["curves"]["orders"]
    epsilons = sorted({entry["epsilon"] for entry in of})
    x = ("ε", Axis(epsilons[0], epsilons[-1], True), {e: f"{e:g}" for e in epsilons})

    def curve(kind: str, optimizer: str, step: int) -> list[dict[str, Any]]:
        wanted = kind, optimizer, step
        return [
            {"x": entry["epsilon"], **entry["cosine"]}
            for entry in sorted(of, key=lambda entry: float(entry["epsilon"]))
            if (entry["kind"], entry["optimizer"], entry["step"]) == wanted
        ]

    panels = [
        panel(
            f"cosine of predicted and real change, step {step:,}", x, Axis(-0.5, 1), [curve(*k, step) for k in kinds], 0
        )
        for step in sorted({entry["step"] for entry in of})
    ]
    names = {"sgd": "plain steps", "adam": "steps of Adam with its memory"}
    return figure(panels, [f"swaps of two {kind}, {names[optimizer]}" for kind, optimizer in kinds])


def hair_figure(result: Result) -> str:
    """Hair's share of the changes, with either loss."""
    of, losses = result["curves"]["hair"], {"plain": "each attribute on its own", "exclusive": "one softmax over hair"}
    steps = sorted({entry["step"] for entry in of if entry["variant"] == "exclusive"})
    x = ("step", Axis(steps[0], steps[-1], True), {step: f"{step:,}" for step in steps})
    panels = [
        panel(
            f"hair’s share of all changes, {pairs}",
            x,
            Axis(0.1, 0.4),
            [
                [
                    {"x": e["step"], **e["share"]}
                    for e in of
                    if (e["variant"], e["pairs"]) == (variant, pairs) and e["step"] in steps
                ]
                for variant in losses
            ],
            0.1,
        )
        for pairs in dict.fromkeys(entry["pairs"] for entry in of)
    ]
    return figure(panels, [f"loss: {words}" for words in losses.values()])


def reach_figure(result: Result) -> str:
    """Up to which ε the expansion holds, and its error at the learning rate, by step."""
    of = result["curves"]["reach"]
    networks, steps = (list(dict.fromkeys(entry[key] for entry in of)) for key in ("network", "step"))
    x = (
        "step",
        Axis(steps[0], steps[-1], True),
        {step: f"{step:,}" for step in steps if step not in (600, 1500, 3000)},
    )

    def curves(key: str, back: Callable[[float], float]) -> list[list[dict[str, Any]]]:
        return [
            [
                {"x": entry["step"]}
                | {end: None if value is None else back(value) for end, value in entry[key].items()}
                for entry in of
                if entry["network"] == network
            ]
            for network in networks
        ]

    panels = [
        panel(
            "ε up to which the error is within 10 %", x, Axis(1e-6, 1e-1, True), curves("reach", lambda v: 10**v), 5e-3
        ),
        panel("error at ε = 0.005", x, Axis(1e-2, 1e2, True), curves("error", float), 0.1),
    ]
    return figure(panels, networks)


FIGURE = {"orders.svg": orders_figure, "hair.svg": hair_figure, "reach.svg": reach_figure}


def figures() -> dict[Path, str]:
    """The figures of the study on CelebA and of the tutorial: path → text."""
    (result,) = results("findings-celeba")[:1]
    found = {FIGURES / name: draw(result) for name, draw in FIGURE.items()}
    return found | {FIGURES / name: draw() for name, draw in tutorial_figures.FIGURES.items()}


def main(*given: str) -> None:
    """Take the results of a run, if one is named, and write all tables and figures."""
    if given:
        run, name = given
        take(Path(run), name)
    for readme in BLOCKS:
        (ROOT / readme).write_text(written(readme), encoding="utf-8")
    for path, text in figures().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
