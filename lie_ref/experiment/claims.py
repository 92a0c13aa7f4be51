"""The published claims on brackets, and some beyond, as statistics of the summaries of runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from ..images.labels import HAIR
from ..study.verdicts import Claim, finding

Run = dict[str, Any]  # what is in the summary.json of a run
Point = dict[str, Any]  # its entry for a checkpoint

SETTLED, LATE = 100, 400  # steps from which brackets follow gradients, and from which hair colours were said to lead


def _late(run: Run, since: int) -> list[Point]:
    return [point for point in run["checkpoints"] if point["step"] >= since]


def _at(since: int, of: Callable[[Point], Any]) -> Callable[[Run], list[Any]]:
    return lambda run: [of(point) for point in _late(run, since)]


def _spread_over_pairs(point: Point) -> float | None:
    """The factor by which the constants of the pairs spread: e to the standard deviation of their logarithms."""
    constants = [bracket["constant"] for bracket in point["brackets"] if bracket["constant"]]
    return math.exp(np.std(np.log(constants), ddof=1)) if len(constants) > 1 else None


def _spread_over_training(run: Run) -> list[float]:
    """The same for the geometric means at the checkpoints: one number for the run."""
    constants = [point["mean_constant"] for point in _late(run, SETTLED) if point["mean_constant"]]
    return [math.exp(np.std(np.log(constants), ddof=1))] if len(constants) > 1 else []


def _unexplained(point: Point) -> float | None:
    """1 − r² of the brackets over that of shuffled directions, from the mean correlations of the pairs."""
    pair = point["mean_correlation"], point["shuffled"]["mean_correlation"]
    return None if None in pair else (1 - pair[0] ** 2) / (1 - pair[1] ** 2)


def _excess(point: Point) -> float | None:
    pair = point["mean_constant"], point["shuffled"]["mean_constant"]
    return math.log10(pair[0] / pair[1]) if all(pair) else None


def _under(view: str, of: Callable[[Point], Any]) -> Callable[[Point], Any]:
    """A statistic of what swaps do under an optimizer; None where the view is missing."""
    return lambda point: of(point["views"][view]) if view in point["views"] else None


def _correlation(point: Point) -> float | None:
    return point["mean_correlation"]


def _both_lead(point: Point) -> float:
    return float({point["hair_ranks"][name] for name in ("Black_Hair", "Brown_Hair")} == {1, 2})


def _share(name: str, point: Point) -> float:
    return float(point["hair_shares"]["logits"][name])


def _mean_rank(point: Point) -> float:
    return float(np.mean(list(point["hair_ranks"].values())))


def rank_chance(run: Run) -> float | None:
    """The share of all sets of four attributes whose mean rank over the late checkpoints is at most that of hair.

    That is the probability of such a rank if names were given to attributes at random.  It does not matter that ranks
    at one checkpoint resemble those at the next.
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


def _cosine(network: str, epsilon: float, run: Run) -> list[float]:
    """The cosine of prediction and truth for passes over the most mini-batches at this ε."""
    most = max((p["mini_batches"] for p in run["passes"]), default=0)
    wanted = network, epsilon, most
    found = [p["cosine"] for p in run["passes"] if (p["network"], p["epsilon"], p["mini_batches"]) == wanted]
    return [cosine for cosines in found for cosine in cosines]


# fmt: off
_VIEWS = {
    "preconditioned": "fields scaled by Adam’s preconditioner",
    "momentum": "what a swap does to Adam with its state",
}
CLAIMS = (
    Claim("1a", "RMS bracket follows RMS gradient over the tensors", "log–log correlation, steps ≥ 100",
          _at(SETTLED, _correlation), low=0.9),
    Claim("1b", "… in proportion", "slope left free, steps ≥ 100",
          _at(SETTLED, lambda point: point["mean_slope"]), low=0.9, high=1.1),
    Claim("1c", "… with one constant for all pairs",
          "factor by which the constants of a checkpoint’s pairs spread (one standard deviation)",
          _at(SETTLED, _spread_over_pairs), high=1.5),
    Claim("1d", "… and one for all of training", "factor by which the checkpoints’ constants spread, steps ≥ 100",
          _spread_over_training, high=1.5),
    Claim("1e", "… and leaves less than half as much unexplained as shuffled directions of the same norms do",
          "1 − r² over that of shuffled directions", _at(SETTLED, _unexplained), high=0.5),
    Claim("1f", "Brackets of examples are larger than those of shuffled directions",
          "decimal logarithm of the constant over that of shuffled directions", _at(SETTLED, _excess), low=0.0),
    Claim("1g", f"1a of {_VIEWS['preconditioned']}", "log–log correlation, steps ≥ 100",
          _at(SETTLED, _under("preconditioned", _correlation)), low=0.9),
    Claim("1h", f"1a of {_VIEWS['momentum']}, and Adam’s updates", "log–log correlation, steps ≥ 100",
          _at(SETTLED, _under("momentum", _correlation)), low=0.9),
    Claim("2a", "Past some step Black_Hair and Brown_Hair change most",
          "share of checkpoints ≥ 400 at which they lead (1/780 if ranks were random)", _at(LATE, _both_lead), low=0.9),
    Claim("2b", "Hair colours rank higher than by chance",
          "mean rank of the four, steps ≥ 400 (20.5 if ranks were random)", _at(LATE, _mean_rank), high=20.5),
    *(Claim(f"2{letter}", f"{name} takes more than its share of the changes",
            "share of all absolute logit changes, steps ≥ 400 (0.025 if all were equal)",
            _at(LATE, partial(_share, name)), low=0.025) for letter, name in zip("cdef", HAIR, strict=True)),
    *(Claim(f"2{letter}", f"2b of {_VIEWS[view]}", "mean rank of the four, steps ≥ 400",
            _at(LATE, _under(view, _mean_rank)), high=20.5) for letter, view in zip("gh", _VIEWS, strict=True)),
    Claim("4", "The bracket of mini-batches is the mean over pairs of examples (batch-norm’s statistics fixed)",
          "largest relative difference of any tensor",
          _at(0, lambda point: point["checks"]["mini_batches"]), high=1e-10),
    Claim("5a", "ε² Σ brackets points where the order of a pass moves the parameters, at ε = 0.1",
          "cosine of prediction and truth, of the most mini-batches (8)",
          partial(_cosine, "as trained", 1e-1), low=0.9),
    Claim("5b", "… at ε = 0.001", "the same", partial(_cosine, "as trained", 1e-3), low=0.9),
    Claim("5c", "… at ε = 1e-7", "the same", partial(_cosine, "as trained", 1e-7), low=0.99),
    Claim("5d", "… at ε = 0.001, if the max-pool is an average", "the same, of the same weights",
          partial(_cosine, "average pool", 1e-3), low=0.99),
)

_HAIR_SHARE = "hair’s share of all absolute changes of probability, steps 400 to 2,000, less the other’s"
COMPARED = (  # claim, its runs, and those beside them
    (Claim("3a", "Hair’s share of the changes falls if the loss knows that hair colours exclude each other",
           _HAIR_SHARE, high=0.0), "exclusive", "plain"),
    (Claim("3b", "Hair’s share is larger where colours exclude each other than where they are independent",
           _HAIR_SHARE, low=0.0), "plain", "independent"),
    (Claim("3c", "Hair’s share is larger where colours are ambiguous (2) than where they are clear (0)",
           _HAIR_SHARE, low=0.0), "ambiguous", "clear"),
)
# fmt: on


def judge(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The findings of runs that differ by their seeds alone."""
    chances = [f"{chance:.2g}" for run in runs if (chance := rank_chance(run)) is not None]
    notes = {"2b": f"chance of so low a rank: {', '.join(chances)}"} if chances else {}
    return [finding(claim, [list(claim.values(run)) for run in runs], notes.get(claim.id, "")) for claim in CLAIMS]


def hair_share(run: Run) -> dict[int, float]:
    """The share of hair in all changes of probabilities, late step → share."""
    return {point["step"]: sum(point["hair_shares"]["probabilities"].values()) for point in _late(run, LATE)}


def compare(claim: Claim, runs: Sequence[Run], others: Sequence[Run]) -> dict[str, Any]:
    """The finding of a claim on the share of hair in `runs` less that in `others`, run by run of the same seed.

    Only late steps at which both have a checkpoint count.
    """
    pairs = [(hair_share(run), hair_share(other)) for run, other in zip(runs, others, strict=True)]
    shares = np.array([[(of[step], by[step]) for step in sorted(of.keys() & by.keys())] for of, by in pairs])
    if not shares.size:  # no checkpoint is late
        return finding(claim, [])
    mean, beside = shares.mean(axis=(0, 1))
    return finding(claim, (shares[..., 0] - shares[..., 1]).tolist(), f"{mean:.3f} against {beside:.3f}")
