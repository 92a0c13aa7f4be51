"""Judges the published claims, and those beyond, by the findings of one run or of several: number, interval, verdict.

A statistic has a value for each checkpoint of a run (or one for the run).  Its number is the mean of the runs' means;
its interval is Student's 95 % over the runs, or for one run the range over its checkpoints.  The claim holds if all of
the interval lies within the bounds that the claim sets, fails if all lies outside, and is undecided otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from ..images.labels import HAIR

Run = dict[str, Any]  # of a run: what is in its summary.json

# Student's t, 97.5 %, by degrees of freedom; the last also serves for more, where it is a little too wide.
T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
SETTLED, LATE = 100, 400  # steps from which brackets follow gradients, and from which hair colours were said to lead
UNBOUNDED = math.inf


@dataclass(frozen=True)
class Claim:
    """What is claimed, the statistic that tells, and the bounds within which the claim holds."""

    id: str
    claim: str
    statistic: str
    of_run: Callable[[Run], Sequence[float]] = lambda run: ()  # none, where runs are compared
    low: float = -UNBOUNDED
    high: float = UNBOUNDED

    def judged(self, runs: Sequence[Run]) -> dict[str, Any]:
        """The finding, ready for JSON: id, claim, statistic, value, low, high, verdict, runs, note."""
        return finding(self, [list(self.of_run(run)) for run in runs])


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
        **{key: text for key, text in asdict(claim).items() if key in ("id", "claim", "statistic")},
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


def _late(run: Run, since: int) -> list[dict[str, Any]]:
    return [point for point in run["checkpoints"] if point["step"] >= since]


def _spread_over_pairs(point: dict[str, Any]) -> float | None:
    """The factor by which the constants of a checkpoint's pairs spread: e to the standard deviation of their logs."""
    constants = [bracket["constant"] for bracket in point["brackets"] if bracket["constant"]]
    return math.exp(np.std(np.log(constants), ddof=1)) if len(constants) > 1 else None


def _spread_over_training(run: Run) -> list[float]:
    """The same of the checkpoints' geometric means: one number for the run."""
    constants = [point["mean_constant"] for point in _late(run, SETTLED) if point["mean_constant"]]
    return [math.exp(np.std(np.log(constants), ddof=1))] if len(constants) > 1 else []


def _unexplained(point: dict[str, Any]) -> float | None:
    """1 − r² of the brackets over that of shuffled directions, from the pairs' mean correlations."""
    pair = point["mean_correlation"], point["shuffled"]["mean_correlation"]
    return None if None in pair else (1 - pair[0] ** 2) / (1 - pair[1] ** 2)


def _excess(point: dict[str, Any]) -> float | None:
    pair = point["mean_constant"], point["shuffled"]["mean_constant"]
    return math.log10(pair[0] / pair[1]) if all(pair) else None


def _of_view(view: str, key: str, point: dict[str, Any]) -> float | None:
    """Of what swaps do under an optimizer: a mean over the pairs, or hair's mean rank."""
    found = point["views"].get(view)
    if found is None:
        return None
    return _mean_rank(found) if key == "rank" else found[key]


def _both_lead(point: dict[str, Any]) -> float:
    return float({point["hair_ranks"][name] for name in ("Black_Hair", "Brown_Hair")} == {1, 2})


def _share(name: str, point: dict[str, Any]) -> float:
    return float(point["hair_shares"]["logits"][name])


def _mean_rank(point: dict[str, Any]) -> float:
    return float(np.mean(list(point["hair_ranks"].values())))


def rank_chance(run: Run) -> float | None:
    """The share of all sets of as many attributes whose mean rank over the late checkpoints is at most hair's.

    That is the probability, if names were given to attributes at random, so it does not mind that ranks at one
    checkpoint resemble those at the next.
    """
    points = _late(run, LATE)
    if not points:
        return None
    ranks = np.mean(
        [[{a["name"]: a["rank"] for a in p["attributes"]}[n] for n in run["attributes"]] for p in points], 0
    )
    hair = sum(ranks[run["attributes"].index(name)] for name in HAIR)
    sums = [sum(chosen) for chosen in combinations(ranks.tolist(), len(HAIR))]
    return float(np.mean(np.array(sums) <= hair + 1e-9))


def _cosine(network: str, epsilon: float) -> Callable[[Run], list[float]]:
    """The cosine of prediction and truth for passes over the most mini-batches at this ε."""

    def of(run: Run) -> list[float]:
        most = max((p["mini_batches"] for p in run["passes"]), default=0)
        return [
            cosine
            for p in run["passes"]
            if (p["network"], p["epsilon"], p["mini_batches"]) == (network, epsilon, most)
            for cosine in p["cosine"]
        ]

    return of


def _at(since: int, of: Callable[[dict[str, Any]], Any]) -> Callable[[Run], list[Any]]:
    return lambda run: [of(point) for point in _late(run, since)]


CLAIMS = (
    Claim(
        "1a",
        "RMS bracket follows RMS gradient over the tensors",
        "log–log correlation, steps ≥ 100",
        _at(SETTLED, lambda point: point["mean_correlation"]),
        low=0.9,
    ),
    Claim(
        "1b",
        "… in proportion",
        "slope left free, steps ≥ 100",
        _at(SETTLED, lambda point: point["mean_slope"]),
        low=0.9,
        high=1.1,
    ),
    Claim(
        "1c",
        "… with one constant for all pairs",
        "factor by which the constants of a checkpoint’s pairs spread (one standard deviation)",
        _at(SETTLED, _spread_over_pairs),
        high=1.5,
    ),
    Claim(
        "1d",
        "… and one for all of training",
        "factor by which the checkpoints’ constants spread, steps ≥ 100",
        _spread_over_training,
        high=1.5,
    ),
    Claim(
        "1e",
        "… and leaves less than half as much unexplained as shuffled directions of the same norms do",
        "1 − r² over that of shuffled directions",
        _at(SETTLED, _unexplained),
        high=0.5,
    ),
    Claim(
        "1f",
        "Brackets of examples are larger than those of shuffled directions",
        "decimal logarithm of the constant over that of shuffled directions",
        _at(SETTLED, _excess),
        low=0.0,
    ),
    *(
        Claim(
            f"1{letter}",
            f"1a of {name}",
            "log–log correlation, steps ≥ 100",
            _at(SETTLED, partial(_of_view, view, "mean_correlation")),
            low=0.9,
        )
        for letter, view, name in (
            ("g", "preconditioned", "fields scaled by Adam’s preconditioner"),
            ("h", "momentum", "what a swap does to Adam with its state, and Adam’s updates"),
        )
    ),
    Claim(
        "2a",
        "Past some step Black_Hair and Brown_Hair change most",
        "share of checkpoints ≥ 400 at which they lead (1/780 if ranks were random)",
        _at(LATE, _both_lead),
        low=0.9,
    ),
    Claim(
        "2b",
        "Hair colours rank higher than by chance",
        "mean rank of the four, steps ≥ 400 (20.5 if ranks were random)",
        _at(LATE, _mean_rank),
        high=20.5,
    ),
    *(
        Claim(
            f"2{letter}",
            f"{name} takes more than its share of the changes",
            "share of all absolute logit changes, steps ≥ 400 (0.025 if all were equal)",
            _at(LATE, partial(_share, name)),
            low=0.025,
        )
        for letter, name in zip("cdef", HAIR, strict=True)
    ),
    *(
        Claim(
            f"2{letter}",
            f"2b of {name}",
            "mean rank of the four, steps ≥ 400",
            _at(LATE, partial(_of_view, view, "rank")),
            high=20.5,
        )
        for letter, view, name in (
            ("g", "preconditioned", "fields scaled by Adam’s preconditioner"),
            ("h", "momentum", "what a swap does to Adam with its state"),
        )
    ),
    Claim(
        "4",
        "The bracket of mini-batches is the mean over pairs of examples (batch-norm’s statistics fixed)",
        "largest relative difference of any tensor",
        _at(0, lambda point: point["checks"]["mini_batches"]),
        high=1e-10,
    ),
    Claim(
        "5a",
        "ε² Σ brackets points where the order of a pass moves the parameters, at ε = 0.1",
        "cosine of prediction and truth, of the most mini-batches (8)",
        _cosine("as trained", 1e-1),
        low=0.9,
    ),
    Claim("5b", "… at ε = 0.001", "the same", _cosine("as trained", 1e-3), low=0.9),
    Claim("5c", "… at ε = 1e-7", "the same", _cosine("as trained", 1e-7), low=0.99),
    Claim(
        "5d",
        "… at ε = 0.001, if the max-pool is an average",
        "the same, of the same weights",
        _cosine("average pool", 1e-3),
        low=0.99,
    ),
)


def judge(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The findings of runs that differ by their seeds alone."""
    found = [claim.judged(runs) for claim in CLAIMS]
    chances = [chance for run in runs if (chance := rank_chance(run)) is not None]
    for entry in found:
        if entry["id"] == "2b" and chances:
            entry["note"] += f"; chance of so low a rank: {', '.join(f'{c:.2g}' for c in chances)}"
    return found


def hair_share(run: Run) -> dict[int, float]:
    """Hair's share of all changes of probabilities, late step → share."""
    return {point["step"]: sum(point["hair_shares"]["probabilities"].values()) for point in _late(run, LATE)}


def compare(claim: Claim, runs: Sequence[Run], others: Sequence[Run]) -> dict[str, Any]:
    """The finding of a claim on hair's share in `runs` less that in `others`, run by run of the same seed.

    It is of the late steps at which both have a checkpoint.
    """
    pairs = [(hair_share(run), hair_share(other)) for run, other in zip(runs, others, strict=True)]
    shares = np.array([[(of[step], by[step]) for step in sorted(of.keys() & by.keys())] for of, by in pairs])
    if not shares.size:  # no checkpoint is late
        return finding(claim, [])
    mean, beside = shares.mean(axis=(0, 1))
    return finding(claim, (shares[..., 0] - shares[..., 1]).tolist(), f"{mean:.3f} against {beside:.3f}")


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
