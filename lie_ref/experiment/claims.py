"""The published claims about brackets, and some more, as statistics of the summaries of runs."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from ..images.labels import HAIR
from ..study.verdicts import Claim, finding

Run = dict[str, Any]  # the contents of the summary.json of a run
Point = dict[str, Any]  # its entry for a checkpoint

SETTLED, LATE = 100, 400  # steps from which claims about gradients, and about hair, apply


def _late(run: Run, since: int) -> list[Point]:
    return [point for point in run["checkpoints"] if point["step"] >= since]


def _at(since: int, of: Callable[[Point], Any]) -> Callable[[Run], list[Any]]:
    return lambda run: [of(point) for point in _late(run, since)]


def _spread_over_pairs(point: Point) -> float | None:
    """The factor by which the constants of the pairs spread: exp of the standard deviation of their logarithms."""
    constants = [bracket["constant"] for bracket in point["brackets"] if bracket["constant"]]
    return math.exp(np.std(np.log(constants), ddof=1)) if len(constants) > 1 else None


def _spread_over_training(run: Run) -> list[float]:
    """The same factor for the mean constants of the checkpoints: one number for the run."""
    constants = [point["mean_constant"] for point in _late(run, SETTLED) if point["mean_constant"]]
    return [math.exp(np.std(np.log(constants), ddof=1))] if len(constants) > 1 else []


def _unexplained(point: Point) -> float | None:
    """1 − r² of the brackets divided by that of shuffled directions, from the mean correlations of the pairs."""
    pair = point["mean_correlation"], point["shuffled"]["mean_correlation"]
    return None if None in pair else (1 - pair[0] ** 2) / (1 - pair[1] ** 2)


def _excess(point: Point) -> float | None:
    pair = point["mean_constant"], point["shuffled"]["mean_constant"]
    return math.log10(pair[0] / pair[1]) if all(pair) else None


def _under(view: str, of: Callable[[Point], Any]) -> Callable[[Point], Any]:
    """A statistic of swaps under an optimizer; None at a checkpoint without this view."""
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
    """The share of all sets of four attributes that have at most the mean rank of hair over the late checkpoints.

    It is the probability of such a rank if the attributes were named at random.  It does not assume that the ranks of
    different checkpoints are independent.
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
    """The cosines of prediction and truth at this ε, for the passes over the most mini-batches."""
    most = max((p["mini_batches"] for p in run["passes"]), default=0)
    wanted = network, epsilon, most
    found = [p["cosine"] for p in run["passes"] if (p["network"], p["epsilon"], p["mini_batches"]) == wanted]
    return [cosine for cosines in found for cosine in cosines]


# fmt: off
_VIEWS = {"preconditioned": "fields scaled by Adam’s preconditioner", "momentum": "swaps under Adam with its state"}
CLAIMS = (
    Claim("1a", "RMS bracket follows RMS gradient over the tensors", "log–log correlation, steps ≥ 100",
          _at(SETTLED, _correlation), low=0.9),
    Claim("1b", "… in proportion", "slope left free, steps ≥ 100",
          _at(SETTLED, lambda point: point["mean_slope"]), low=0.9, high=1.1),
    Claim("1c", "… with one constant for all pairs",
          "factor by which the constants of the pairs spread at a checkpoint (one standard deviation)",
          _at(SETTLED, _spread_over_pairs), high=1.5),
    Claim("1d", "… and one for all of training", "factor by which the constants of the checkpoints spread, steps ≥ 100",
          _spread_over_training, high=1.5),
    Claim("1e", "… and leaves less than half as much unexplained as shuffled directions of the same norms",
          "1 − r² over that of shuffled directions", _at(SETTLED, _unexplained), high=0.5),
    Claim("1f", "Brackets of examples are larger than those of shuffled directions",
          "decimal logarithm of the constant over that of shuffled directions", _at(SETTLED, _excess), low=0.0),
    Claim("1g", f"1a for {_VIEWS['preconditioned']}", "log–log correlation, steps ≥ 100",
          _at(SETTLED, _under("preconditioned", _correlation)), low=0.9),
    Claim("1h", f"1a for {_VIEWS['momentum']}", "log–log correlation, steps ≥ 100",
          _at(SETTLED, _under("momentum", _correlation)), low=0.9),
    Claim("2a", "Past some step Black_Hair and Brown_Hair change most",
          "share of checkpoints ≥ 400 at which they lead (1/780 if ranks were random)", _at(LATE, _both_lead), low=0.9),
    Claim("2b", "Hair colours rank higher than by chance",
          "mean rank of the four, steps ≥ 400 (20.5 if ranks were random)", _at(LATE, _mean_rank), high=20.5),
    *(Claim(f"2{letter}", f"{name} takes more than its share of the changes",
            "share of all absolute logit changes, steps ≥ 400 (0.025 if all were equal)",
            _at(LATE, partial(_share, name)), low=0.025) for letter, name in zip("cdef", HAIR, strict=True)),
    *(Claim(f"2{letter}", f"2b for {_VIEWS[view]}", "mean rank of the four, steps ≥ 400",
            _at(LATE, _under(view, _mean_rank)), high=20.5) for letter, view in zip("gh", _VIEWS, strict=True)),
    Claim("4", "The bracket of two mini-batches is the mean over pairs of examples (batch-norm statistics fixed)",
          "largest relative difference of any tensor",
          _at(0, lambda point: point["checks"]["mini_batches"]), high=1e-10),
    Claim("5a", "ε² Σ brackets predicts how the order of a pass moves the parameters, at ε = 0.1",
          "cosine of prediction and truth, for 8 mini-batches",
          partial(_cosine, "as trained", 1e-1), low=0.9),
    Claim("5b", "… at ε = 0.001", "the same", partial(_cosine, "as trained", 1e-3), low=0.9),
    Claim("5c", "… at ε = 1e-7", "the same", partial(_cosine, "as trained", 1e-7), low=0.99),
    Claim("5d", "… at ε = 0.001, with an average in place of the max-pool", "the same, with the same weights",
          partial(_cosine, "average pool", 1e-3), low=0.99),
)

_HAIR_SHARE = "difference in hair’s share of all absolute changes of probability, steps 400 to 2,000"
COMPARED = (  # claim, its runs, and those beside them
    (Claim("3a", "Hair’s share of the changes falls when the loss encodes that hair colours exclude each other",
           _HAIR_SHARE, high=0.0), "exclusive", "plain"),
    (Claim("3b", "Hair’s share is larger where colours exclude each other than where they are independent",
           _HAIR_SHARE, low=0.0), "plain", "independent"),
    (Claim("3c", "Hair’s share is larger where colours are ambiguous (2) than where they are clear (0)",
           _HAIR_SHARE, low=0.0), "ambiguous", "clear"),
)
# fmt: on


def judge(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The findings on the claims, from runs that differ only by their seeds."""
    chances = [f"{chance:.2g}" for run in runs if (chance := rank_chance(run)) is not None]
    notes = {"2b": f"chance of such a rank: {', '.join(chances)}"} if chances else {}
    return [finding(claim, [list(claim.values(run)) for run in runs], notes.get(claim.id, "")) for claim in CLAIMS]


def hair_share(run: Run) -> dict[int, float]:
    """The share of hair in all changes of probabilities at the late checkpoints: step → share."""
    return {point["step"]: sum(point["hair_shares"]["probabilities"].values()) for point in _late(run, LATE)}


def compare(claim: Claim, runs: Sequence[Run], others: Sequence[Run]) -> dict[str, Any]:
    """The finding on a claim about the share of hair in `runs` minus that in `others`, for runs with the same seeds.

    Only late steps at which both runs have a checkpoint count.
    """
    pairs = [(hair_share(run), hair_share(other)) for run, other in zip(runs, others, strict=True)]
    shares = np.array([[(of[step], by[step]) for step in sorted(of.keys() & by.keys())] for of, by in pairs])
    if not shares.size:  # no checkpoint is late
        return finding(claim, [])
    mean, beside = shares.mean(axis=(0, 1))
    return finding(claim, (shares[..., 0] - shares[..., 1]).tolist(), f"{mean:.3f} against {beside:.3f}")
