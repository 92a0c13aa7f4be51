"""Verdicts on claims: each claim has a statistic, and all claims of a study are judged together.

A statistic has one value for each checkpoint of a run, or one for the whole run.  Its number is the mean of the means
of the runs, and its interval is Student's over the runs; that of a share or a correlation is computed on the logit
scale, so that it stays within their range.  It covers what the runs draw anew: in the experiment both weights and
examples of the same images; the README of the diet says what is fixed there.  A claim holds if the whole interval lies
within the claim's bounds, fails if it lies outside, and is undecided otherwise.

Of many intervals that are right 19 times in 20, some are wrong.  The level of the intervals is therefore chosen for all
claims of a study together, so that at most 5 % of the decided verdicts are expected to be wrong (Benjamini & Hochberg
1995; for intervals, Benjamini & Yekutieli 2005): with m claims, of which d are decided, it is 1 − 0.05 d / m.  This is
proved for statistics that are independent or depend on one another positively.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

WRONG = 0.05  # the expected share of wrong verdicts among those that are decided
FOUND = 0.8  # an effect is detectable if a study like this one would find it this often
SHARE, CORRELATION, DIFFERENCE = (0.0, 1.0), (-1.0, 1.0), (-1.0, 1.0)  # ranges; the last is that of two shares
TIE = 1e-12  # a difference from a bound, relative to the bound or to 1, that may be rounding


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
    within: tuple[float, float] | None = None  # the range of the statistic, if it has one

    @property
    def condition(self) -> str:
        """What decides the claim, in words: it is known before anything is computed.

        >>> Claim("1", "Most do", "share", low=0.5).condition
        '> 0.5'
        """
        if math.inf in (-self.low, self.high):
            return f"> {self.low:g}" if self.high == math.inf else f"< {self.high:g}"
        return f"{self.low:g} … {self.high:g}"


def finding(claim: Claim, values: Sequence[Sequence[float | None]], note: str = "") -> dict[str, Any]:
    """The number of a claim and its standard error; `values` are those of the statistic, a list for each run.

    A claim with an undefined value, None or not finite, cannot hold, because it may fail just there.
    """
    known = [[float(v) for v in of if v is not None and math.isfinite(v)] for of in values]
    every, defined = (sum(map(len, of)) for of in (values, known))
    number, error = mean_and_error([float(np.mean(of)) for of in known if of])
    undefined = f"{every - defined} of {every} values undefined" if defined < every else ""
    return {
        "id": claim.id,
        "claim": claim.claim,
        "statistic": claim.statistic,
        "condition": claim.condition,
        "bounds": [claim.low, claim.high],
        "within": claim.within,
        "value": number,
        "error": error,
        "runs": sum(map(bool, known)),
        "undefined": bool(undefined),
        "note": "; ".join(text for text in (undefined, note) if text),
    }


def judged(columns: Mapping[str, Sequence[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """The findings of a study, in columns, with `level`, interval (`low`, `high`), `verdict` and `detectable`.

    `detectable` is the distance from the nearest bound at which a study with these runs would decide 4 times in 5, or
    None if the range of the statistic is shorter.  All are None for a single run, and the verdict is then "undecided".
    """
    risks = sorted(_risk(entry) for of in columns.values() for entry in of)
    decided = max((k for k, risk in enumerate(risks, start=1) if risk <= WRONG * k / len(risks)), default=0)
    level = 1 - WRONG * max(decided, 1) / max(len(risks), 1)
    return {name: [entry | _verdict(entry, level) for entry in of] for name, of in columns.items()}


def mean_and_error(values: Sequence[float]) -> tuple[float | None, float | None]:
    """The mean of one value for each run and its standard error: None without values, or with a single one.

    >>> mean_and_error([1.0, 3.0])
    (2.0, 1.0)
    """
    if not values:
        return None, None
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None
    return float(np.mean(values)), error


def interval(
    values: Sequence[float], level: float = 0.95, within: tuple[float, float] | None = None
) -> tuple[float | None, float | None, float | None]:
    """The mean of one value for each run, and Student's interval; its ends are None with fewer than two values.

    It stays within the range `within`, if that is given.

    >>> interval([1.0, 3.0])[0], round(interval([1.0, 3.0])[2], 3)
    (2.0, 14.706)
    """
    number, error = mean_and_error(values)
    if number is None or error is None:
        return number, None, None
    return number, *_ends(number, student(level, len(values) - 1) * error, within)


def averaged(values: Iterable[float], within: tuple[float, float] | None = None) -> dict[str, float | None]:
    """The mean and interval of one value for each run, without undefined values, for a table or a page."""
    number, low, high = interval([value for value in values if math.isfinite(value)], within=within)
    return {"value": number, "low": low, "high": high}


def _ends(number: float, half: float, within: tuple[float, float] | None) -> tuple[float, float]:
    """The ends of an interval of half-width `half`, measured at the number if a range bends the scale."""
    if within is None or not within[0] < number < within[1]:
        return number - half, number + half
    middle, stretched, (low, high) = _logit(number, within), half * _slope(number, within), within
    first, last = (low + (high - low) / 2 * (1 + math.tanh((middle + end) / 2)) for end in (-stretched, stretched))
    return first, last


def _logit(number: float, within: tuple[float, float]) -> float:
    """log (x − low) / (high − x), infinite from the ends of the range on."""
    below, above = number - within[0], within[1] - number
    return math.log(below / above) if min(below, above) > 0 else math.copysign(math.inf, below - above)


def _slope(number: float, within: tuple[float, float]) -> float:
    """The derivative of `_logit`."""
    return 1 / (number - within[0]) + 1 / (within[1] - number)


def student(level: float, degrees: int) -> float:
    """The t that |t| exceeds with probability 1 − level, by bisection.

    >>> round(student(0.95, 9), 4)
    2.2622
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, degrees) < level else (low, middle)
    return math.tan(low) * math.sqrt(degrees)


def _within(angle: float, degrees: int) -> float:
    """The probability that |t| < √degrees · tan(angle) (Abramowitz & Stegun 26.7.3 and 26.7.4)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(2 + odd, degrees + 1, 2):
        total += term
        term *= cosine**2 * (k - 1) / k
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def _risk(entry: dict[str, Any]) -> float:
    """The p-value of the hypothesis that the truth is the nearest bound."""
    distance, error = _distance(entry), entry["error"]
    if not distance or error is None:
        return 1.0
    return 1 - _within(math.atan2(abs(distance), error * math.sqrt(entry["runs"] - 1)), entry["runs"] - 1)


def _distance(entry: dict[str, Any]) -> float:
    """How far the number lies within the bounds, or beyond them if negative; 0 if it can have no verdict.

    That is a tie, or a claim that would hold but for a value that is undefined.
    """
    if entry["value"] is None:
        return 0.0
    value, (low, high) = entry["value"], entry["bounds"]
    distance = min(value - low, high - value)
    if (within := entry["within"]) and within[0] < value < within[1]:  # on the scale to which the interval belongs
        middle, first, last = (_logit(number, within) for number in (value, low, high))
        distance = min(middle - first, last - middle) / _slope(value, within)
    nearest = min(low, high, key=lambda bound: abs(value - bound))
    tie = abs(value - nearest) <= TIE * max(1.0, abs(nearest))
    return 0.0 if tie or (entry["undefined"] and distance > 0) else float(distance)


def _from_bound(entry: dict[str, Any], needed: float) -> float:
    """The distance from the nearest bound that is as long, on the scale of the interval, as `needed` at the number."""
    value, within = entry["value"], entry["within"]
    bound = min(entry["bounds"], key=lambda bound: abs(value - bound))
    if not within or not all(within[0] < at < within[1] for at in (value, bound)):
        return needed
    ends = _ends(bound, needed * _slope(value, within) / _slope(bound, within), within)
    return abs(ends[value > bound] - bound)


def _verdict(entry: dict[str, Any], level: float) -> dict[str, Any]:
    found: dict[str, Any] = {"level": level, "low": None, "high": None, "verdict": "undecided", "detectable": None}
    if entry["error"] is None:
        return found
    degrees, distance = entry["runs"] - 1, _distance(entry)
    half = student(level, degrees) * entry["error"]
    found["low"], found["high"] = _ends(entry["value"], half, entry["within"])
    first, last = entry["within"] or (0.0, math.inf)
    needed = half + student(2 * FOUND - 1, degrees) * entry["error"]
    found["detectable"] = _from_bound(entry, needed) if needed < last - first else None
    if abs(distance) > half:
        found["verdict"] = "holds" if distance > 0 else "fails"
    return found


def table(columns: Mapping[str, Sequence[dict[str, Any]]]) -> list[str]:
    """The lines of a Markdown table with a row for each claim and a column of judged findings for each name; then
    notes.

    >>> found = judged({"faces": [finding(Claim("1", "Most do", "share", low=0.5), [[0.75], [0.75]])]})
    >>> print("\\n".join(table(found)))
    | | claim | statistic | holds if | faces |
    | --- | --- | --- | --- | --- |
    | 1 | Most do | share | > 0.5 | **holds**: 0.75 (0.75 … 0.75) |
    """
    lines = [f"| | claim | statistic | holds if | {' | '.join(columns)} |", "| --- " * (4 + len(columns)) + "|"]
    entries: dict[str, dict[str, dict[str, Any]]] = {}
    for name, found in columns.items():
        for entry in found:
            entries.setdefault(entry["id"], {})[name] = entry
    for key in sorted(entries):
        of = entries[key]
        first = next(iter(of.values()))
        words = " | ".join(first[name] for name in ("claim", "statistic", "condition"))
        lines.append(f"| {key} | {words} | {' | '.join(_cell(of[name]) if name in of else '' for name in columns)} |")
    notes = [(k, n, entry["note"]) for k, of in sorted(entries.items()) for n, entry in of.items() if entry["note"]]
    return [*lines, *([""] if notes else []), *(f"- {key}, {name}: {note}" for key, name, note in notes)]


def _cell(entry: dict[str, Any]) -> str:
    if entry["value"] is None:
        return str(entry["verdict"])
    between = "" if entry["low"] is None else f" ({entry['low']:.3g} … {entry['high']:.3g})"
    seen = f"; detectable: {entry['detectable']:.2g}" if entry["verdict"] == "undecided" and entry["detectable"] else ""
    return f"**{entry['verdict']}**: {entry['value']:.3g}{between}{seen}"
