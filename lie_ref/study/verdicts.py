"""Verdicts on claims: the number, the interval and the verdict of a statistic, and tables of them.

A statistic has a value for each checkpoint of a run, or one for the run.  Its number is the mean over the runs of their
means.  Its interval is Student's 95 % over the runs, or for a single run the range over its checkpoints.  The claim
holds if the whole interval lies within the bounds that the claim sets, fails if it lies outside, and is undecided
otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Student's t, 97.5 %, by degrees of freedom; the last also serves for more, where it is a little too wide.
T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


@dataclass(frozen=True)
class Claim:
    """What is claimed, the statistic that decides it, and the bounds within which the claim holds.

    `values` computes the statistic from whatever the claim is about: a run, or the results of a task.
    """

    id: str
    claim: str
    statistic: str
    values: Callable[[Any], Sequence[float | None]] = lambda of: ()
    low: float = -math.inf
    high: float = math.inf


def finding(claim: Claim, values: Sequence[Sequence[float | None]], note: str = "") -> dict[str, Any]:
    """The finding of a claim from its statistic's values, for each run those of its checkpoints.

    A claim with an undefined value, None or not finite, does not hold: that may be where it fails.
    """
    known = [[float(v) for v in of if v is not None and math.isfinite(v)] for of in values]
    every, defined = (sum(map(len, of)) for of in (values, known))
    known = [of for of in known if of]
    value, low, high = interval(known)
    judged = verdict(low, high, claim.low, claim.high)
    basis = {0: "no values", 1: "range within the one run"}.get(len(known), f"95 % over {len(known)} runs")
    undefined = f"{every - defined} of {every} values undefined" if defined < every else ""
    return {
        "id": claim.id,
        "claim": claim.claim,
        "statistic": claim.statistic,
        "value": value,
        "low": low,
        "high": high,
        "verdict": "undecided" if undefined and judged == "holds" else judged,
        "runs": len(known),
        "note": "; ".join(text for text in (basis, undefined, note) if text),
    }


def interval(values: Sequence[Sequence[float]]) -> tuple[float | None, float | None, float | None]:
    """(number, low, high) as the module says; None where there are no values, or for one run just one.

    >>> interval([[1.0], [3.0]])[0], round(interval([[1.0], [3.0]])[2], 3)
    (2.0, 14.706)
    >>> interval([[1.0, 2.0, 6.0]])
    (3.0, 1.0, 6.0)
    """
    if not values:
        return None, None, None
    means = np.array([np.mean(v) for v in values])
    number = float(means.mean())
    if len(means) == 1:
        alone = values[0]
        return (number, min(alone), max(alone)) if len(alone) > 1 else (number, None, None)
    degrees = len(means) - 1
    half = T[min(degrees, len(T)) - 1] * float(means.std(ddof=1)) / math.sqrt(len(means))
    return number, number - half, number + half


def verdict(low: float | None, high: float | None, least: float, most: float) -> str:
    """Whether an interval lies within the bounds: "holds", outside: "fails", or neither: "undecided".

    >>> verdict(0.95, 0.97, 0.9, 1.0), verdict(0.2, 0.3, 0.9, 1.0), verdict(0.8, 0.95, 0.9, 1.0)
    ('holds', 'fails', 'undecided')
    """
    if low is None or high is None:
        return "undecided"
    if least <= low and high <= most:
        return "holds"
    return "fails" if high < least or low > most else "undecided"


def table(columns: Mapping[str, Sequence[dict[str, Any]]]) -> list[str]:
    """Findings as a table in Markdown, a line each: number, interval, verdict in the column of each name; then notes.

    >>> print("\\n".join(table({"faces": [finding(Claim("1", "It is so", "share", low=0.5), [[0.75], [0.75]])]})))
    | | claim | statistic | faces |
    | --- | --- | --- | --- |
    | 1 | It is so | share | **holds**: 0.75 (0.75 … 0.75) |
    """
    lines = [f"| | claim | statistic | {' | '.join(columns)} |", "| --- | --- | --- |" + " --- |" * len(columns)]
    entries: dict[str, dict[str, dict[str, Any]]] = {}
    for name, found in columns.items():
        for entry in found:
            entries.setdefault(entry["id"], {})[name] = entry
    for key in sorted(entries):
        of = entries[key]
        first = next(iter(of.values()))
        cells = " | ".join(_cell(of[name]) if name in of else "" for name in columns)
        lines.append(f"| {key} | {first['claim']} | {first['statistic']} | {cells} |")
    notes = [
        f"{key}, {name}: {note}"
        for key in sorted(entries)
        for name in columns
        if name in entries[key] and (note := entries[key][name]["note"].partition("; ")[2])
    ]
    return [*lines, *([""] if notes else []), *notes]


def _cell(entry: dict[str, Any]) -> str:
    if entry["value"] is None:
        return str(entry["verdict"])
    between = "" if entry["low"] is None else f" ({entry['low']:.3g} … {entry['high']:.3g})"
    return f"**{entry['verdict']}**: {entry['value']:.3g}{between}"
