"""Verdicts on claims: each claim has a statistic, and the statistic gets a number, an interval and a verdict.

A statistic has one value for each checkpoint of a run, or one for the whole run.  Its number is the mean of the means
of the runs.  Its interval is Student's 95 % interval over the runs or, for a single run, the range over its
checkpoints.  The claim holds if the whole interval lies within the claim's bounds, fails if it lies outside, and is
undecided otherwise.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Student's t, 97.5 %, by degrees of freedom.  The last value also serves for more, where it is a little too wide.
T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


@dataclass(frozen=True)
class Claim:
    """A claim in words, the statistic that decides it, and the bounds within which the claim holds.

    `values` computes the statistic from a run, or from the results of a task.
    """

    id: str
    claim: str
    statistic: str
    values: Callable[[Any], Sequence[float | None]] = lambda of: ()
    low: float = -math.inf
    high: float = math.inf


def finding(claim: Claim, values: Sequence[Sequence[float | None]], note: str = "") -> dict[str, Any]:
    """The finding on a claim: number, interval and verdict.  `values` are those of the statistic, a list for each run.

    A claim with an undefined value, None or not finite, cannot hold, because it may fail just there.
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
    """(number, low, high) as defined above.  All are None without values; the interval is None for a single value.

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
    """ "holds" for an interval within the bounds, "fails" for one outside, otherwise "undecided".

    >>> verdict(0.95, 0.97, 0.9, 1.0), verdict(0.2, 0.3, 0.9, 1.0), verdict(0.8, 0.95, 0.9, 1.0)
    ('holds', 'fails', 'undecided')
    """
    if low is None or high is None:
        return "undecided"
    if least <= low and high <= most:
        return "holds"
    return "fails" if high < least or low > most else "undecided"


def table(columns: Mapping[str, Sequence[dict[str, Any]]]) -> list[str]:
    """The lines of a Markdown table with a row for each claim and a column of findings for each name; then notes.

    >>> print("\\n".join(table({"faces": [finding(Claim("1", "Most do", "share", low=0.5), [[0.75], [0.75]])]})))
    | | claim | statistic | faces |
    | --- | --- | --- | --- |
    | 1 | Most do | share | **holds**: 0.75 (0.75 … 0.75) |
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
