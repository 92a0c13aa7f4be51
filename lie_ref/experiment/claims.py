"""The published claims about brackets, and some more, as statistics of the runs of a study."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..images.labels import HAIR
from ..study.verdicts import CORRELATION, SHARE, Claim, averaged, finding

# A run: its `checkpoints` are the `sample_statistics`, `passes` and `orders` the entries of its JSON files.
Run = dict[str, Any]
Point = dict[str, Any]

SETTLED, LATE = 100, 400  # steps from which claims about gradients, and about hair, apply


def _late(run: Run, since: int) -> list[Point]:
    return [point for point in run["checkpoints"] if point["step"] >= since]


def _at(since: int, of: Callable[[Point], Any]) -> Callable[[Run], list[Any]]:
    return lambda run: [of(point) for point in _late(run, since)]


def _view(key: str, view: str = "plain") -> Callable[[Point], float]:
    return lambda point: float(point["views"][view][key])


def _spread_over_training(run: Run) -> list[float]:
    """The factor by which the constants of the checkpoints spread: exp of the deviation of their logarithms."""
    constants = [_view("constant")(point) for point in _late(run, SETTLED)]
    return [math.exp(np.std(np.log(constants), ddof=1))] if len(constants) > 1 else []


def _unexplained(point: Point) -> float:
    """1 − r² of the brackets divided by that of shuffled directions, from the mean correlations."""
    ours, shuffled = _view("correlation")(point), float(point["shuffled"]["correlation"])
    return (1 - ours**2) / (1 - shuffled**2)


def _excess(point: Point) -> float:
    return math.log10(_view("constant")(point) / point["shuffled"]["constant"])


def _share(name: str, point: Point) -> float:
    return float(point["views"]["plain"]["hair_shares"][name])


def agreement(names: Sequence[str] | None, run: Run) -> list[float]:
    """How much more of a swap's changes falls to an attribute on which the two examples disagree: log₂ of the ratio.

    The mean over the attributes with these names (None: all), from the mean shares over the late checkpoints.
    """
    shares: dict[str, list[list[float]]] = {}
    for point in _late(run, LATE):
        for name, pair in point["agreement"].items():
            if names is None or name in names:
                shares.setdefault(name, []).append(pair)
    means = [np.mean(pairs, axis=0).tolist() for pairs in shares.values()]
    logs = [math.log2(apart / together) for apart, together in means if apart > 0 and together > 0]
    return [sum(logs) / len(logs)] if logs else []


def _cosine(network: str, epsilon: float, run: Run) -> list[float]:
    """The cosines of prediction and truth at this ε, for the passes over the most mini-batches."""
    most = max((p["mini_batches"] for p in run["passes"]), default=0)
    wanted = network, epsilon, most
    found = [p["cosine"] for p in run["passes"] if (p["network"], p["epsilon"], p["mini_batches"]) == wanted]
    return [cosine for cosines in found for cosine in cosines]


def _trials(run: Run, kind: str, optimizer: str, epsilon: float) -> list[dict[str, Any]]:
    wanted = kind, optimizer, epsilon
    return [of for of in run["orders"] if (of["kind"], of["optimizer"], of["epsilon"]) == wanted]


def foretold(of: dict[str, Any]) -> float:
    """The cosine of the predicted and the real changes of held-out loss.

    For whole passes it is their correlation, because both are relative to an arbitrary order.
    """
    predicted, real = (np.array(of[key]) - (np.mean(of[key]) if of["kind"] == "passes" else 0) for key in PAIR)
    sizes = np.linalg.norm(predicted) * np.linalg.norm(real)
    return float(predicted @ real / sizes) if sizes else math.nan


def _foretold(kind: str, optimizer: str, epsilon: float, run: Run) -> list[float]:
    return [foretold(of) for of in _trials(run, kind, optimizer, epsilon)]


def _best(other: str, optimizer: str, epsilon: float, run: Run) -> list[float]:
    """The held-out loss after the order that brackets find best minus that after its reverse, or the mean order."""
    of = _trials(run, "passes", optimizer, epsilon)
    return [entry["best"] - (entry["reverse"] if other == "reverse" else np.mean(entry["real"])) for entry in of]


def reach(network: str, point: Point) -> float:
    """The decimal logarithm of the median ε up to which the expansion holds at a checkpoint."""
    epsilon = np.median(point["expansion"][network]["reach"])
    return math.log10(epsilon) if epsilon else math.nan


def error(network: str, point: Point) -> float:
    """The median relative error of the predicted changes of the logits, at the learning rate."""
    return float(np.median(point["expansion"][network]["error"]))


PAIR = ("predicted", "real")
LR = 5e-3  # the learning rate of the experiment
_VIEWS = {"preconditioned": "fields scaled by Adam’s preconditioner", "momentum": "swaps under Adam with its state"}
_FORETOLD = "cosine of predicted and real changes of held-out loss, steps 400 and 5,000"
_LOSS = "difference in held-out loss, steps 400 and 5,000"
_RANK = "mean rank of the four, steps ≥ 400"
_SHARE = "share of all absolute logit changes, steps ≥ 400 (0.025 if all were equal)"
_AGREE = "log₂ of (its share of the changes by disagreeing pairs / by agreeing pairs)"
# fmt: off
CLAIMS = (
    Claim("1a", "RMS bracket follows RMS gradient over the tensors", "log–log correlation, steps ≥ 100",
          _at(SETTLED, _view("correlation")), low=0.9, within=CORRELATION),
    Claim("1b", "… in proportion", "slope left free, steps ≥ 100", _at(SETTLED, _view("slope")), low=0.9, high=1.1),
    Claim("1c", "… with one constant for all pairs",
          "factor by which the constants of the pairs spread at a checkpoint (one standard deviation)",
          _at(SETTLED, _view("spread")), high=1.5),
    Claim("1d", "… and one for all of training", "factor by which the constants of the checkpoints spread, steps ≥ 100",
          _spread_over_training, high=1.5),
    Claim("1e", "… and leaves less than half the unexplained variance of shuffled directions of the same norms",
          "1 − r², divided by that of shuffled directions", _at(SETTLED, _unexplained), high=0.5),
    Claim("1f", "Brackets of examples are larger than those of shuffled directions",
          "log₁₀ of the constant divided by that of shuffled directions", _at(SETTLED, _excess), low=0.0),
    *(Claim(f"1{letter}", f"1a for {words}", "log–log correlation, steps ≥ 100",
            _at(SETTLED, _view("correlation", view)), low=0.9, within=CORRELATION)
      for letter, (view, words) in zip("gh", _VIEWS.items(), strict=True)),
    Claim("2a", "Past some step Black_Hair and Brown_Hair change most",
          "how often they lead, over groups of six examples and steps ≥ 400 (1/780 if ranks were random)",
          _at(LATE, _view("lead")), low=0.9, within=SHARE),
    Claim("2b", "Hair colours rank higher than by chance", f"{_RANK} (20.5 if ranks were random)",
          _at(LATE, _view("hair_rank")), high=20.5),
    *(Claim(f"2{letter}", f"{name} takes more than its share of the changes", _SHARE,
            _at(LATE, partial(_share, name)), low=0.025, within=SHARE)
      for letter, name in zip("cdef", HAIR, strict=True)),
    *(Claim(f"2{letter}", f"2b for {words}", _RANK, _at(LATE, _view("hair_rank", view)), high=20.5)
      for letter, (view, words) in zip("gh", _VIEWS.items(), strict=True)),
    Claim("2i", "A swap of examples that disagree on an attribute moves it more than a swap of examples that agree",
          f"{_AGREE}, mean over the attributes, steps ≥ 400", partial(agreement, None), low=0.0),
    Claim("2j", "… for the hair colours", f"{_AGREE}, mean over the four", partial(agreement, HAIR), low=0.0),
    Claim("4", "The bracket of two mini-batches is the mean over pairs of examples (batch-norm statistics fixed)",
          "largest relative difference of any tensor, steps ≥ 100",
          _at(SETTLED, lambda point: point["mini_batches"]), high=1e-10),
    Claim("5a", "ε² Σ brackets predicts how the order of a pass moves the parameters, at ε = 0.1",
          "cosine of prediction and truth, for 8 mini-batches", partial(_cosine, "as trained", 1e-1), low=0.9,
          within=CORRELATION),
    Claim("5b", "… at ε = 0.001", "the same", partial(_cosine, "as trained", 1e-3), low=0.9, within=CORRELATION),
    Claim("5c", "… at ε = 1e-7", "the same", partial(_cosine, "as trained", 1e-7), low=0.99, within=CORRELATION),
    Claim("5d", "… at ε = 0.001, with an average in place of the max-pool", "the same, with the same weights",
          partial(_cosine, "average pool", 1e-3), low=0.99, within=CORRELATION),
    Claim("6a", "A bracket tells which of two examples should come first, by plain steps at ε = 1e-5", _FORETOLD,
          partial(_foretold, "examples", "sgd", 1e-5), low=0.9, within=CORRELATION),
    Claim("6b", "… which of two mini-batches", "the same",
          partial(_foretold, "mini-batches", "sgd", 1e-5), low=0.9, within=CORRELATION),
    Claim("6c", "… which of two mini-batches, at ε = 0.005, better than by chance", "the same",
          partial(_foretold, "mini-batches", "sgd", LR), low=0.0, within=CORRELATION),
    Claim("6d", "The expansion of Adam’s own steps, memory included, tells which of two mini-batches should come "
          "first, at ε = 1e-5", "the same",
          partial(_foretold, "mini-batches", "adam", 1e-5), low=0.9, within=CORRELATION),
    Claim("6e", "… at ε = 0.005, better than by chance", "the same",
          partial(_foretold, "mini-batches", "adam", LR), low=0.0, within=CORRELATION),
    Claim("6f", "Brackets predict the loss after whole passes in random orders, by plain steps at ε = 0.005",
          "correlation of predicted and real held-out loss over 50 orders", partial(_foretold, "passes", "sgd", LR),
          low=0.0, within=CORRELATION),
    Claim("6g", "A pass in the order that brackets find best beats its reverse", _LOSS,
          partial(_best, "reverse", "sgd", LR), high=0.0),
    Claim("6h", "… and the mean random order", "the same", partial(_best, "random", "sgd", LR), high=0.0),
    Claim("6i", "Under Adam at ε = 0.005, the same order beats its reverse by 0.01 or more", "the same",
          partial(_best, "reverse", "adam", LR), high=-0.01),
    Claim("8a", "A bracket predicts what a real swap does to logits, within 10 %, up to ε = 0.005",
          "log₁₀ of the largest ε (median of three pairs), steps ≥ 100",
          _at(SETTLED, partial(reach, "as trained")), low=math.log10(LR)),
    Claim("8b", "… with an average in place of the max-pool", "the same, with the same weights",
          _at(SETTLED, partial(reach, "average pool")), low=math.log10(LR)),
    Claim("8c", "… with ReLU in place of Mish", "the same", _at(SETTLED, partial(reach, "relu")), low=math.log10(LR)),
    Claim("8d", "… with both", "the same", _at(SETTLED, partial(reach, "average pool and relu")), low=math.log10(LR)),
    Claim("8e", "At ε = 0.005 more than half of a predicted effect on the logits is real",
          "relative error of the prediction (median of three pairs), steps ≥ 100",
          _at(SETTLED, partial(error, "as trained")), high=0.5),
)

_HAIR_SHARE = "difference in hair’s share of all absolute changes of probability, steps 400 to 2,000"
_APART = f"{_HAIR_SHARE}, by pairs that disagree on hair"
COMPARED = (  # claim, its runs, those beside them, and the share that is compared
    (Claim("3a", "Hair’s share of the changes falls when the loss encodes that hair colours exclude each other",
           _HAIR_SHARE, high=0.0), "exclusive", "plain", "probability_share"),
    (Claim("3b", "Hair’s share is larger where colours exclude each other than where they are independent",
           _HAIR_SHARE, low=0.0), "plain", "independent", "probability_share"),
    (Claim("3c", "Hair’s share is larger where colours are ambiguous (2) than where they are clear (0)",
           _HAIR_SHARE, low=0.0), "ambiguous", "clear", "probability_share"),
    (Claim("3d", "3a for swaps of examples with different hair", _APART, high=0.0),
     "exclusive", "plain", "probability_share_apart"),
    (Claim("3e", "Hair’s share falls as in 3a, by 0.03 or more", _HAIR_SHARE, high=-0.03),
     "exclusive", "plain", "probability_share"),
    (Claim("3f", "Hair’s share falls as in 3d, by 0.03 or more", _APART, high=-0.03),
     "exclusive", "plain", "probability_share_apart"),
)
# fmt: on


def found_in(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The findings on the claims, not judged yet, from runs that differ only by their seeds."""
    return [finding(claim, [list(claim.values(run)) for run in runs]) for claim in CLAIMS]


def compare(claim: Claim, runs: Sequence[Run], others: Sequence[Run], key: str) -> dict[str, Any]:
    """The finding on a claim about a share of hair in `runs` minus that in `others`, for runs with the same seeds.

    Only late steps at which both runs have a checkpoint count.
    """
    pairs = [[{p["step"]: p[key] for p in _late(of, LATE)} for of in both] for both in zip(runs, others, strict=True)]
    shares = np.array([[(of[step], by[step]) for step in sorted(of.keys() & by.keys())] for of, by in pairs])
    if not shares.size:  # no checkpoint is late
        return finding(claim, [])
    mean, beside = shares.mean(axis=(0, 1))
    return finding(claim, (shares[..., 0] - shares[..., 1]).tolist(), f"{mean:.3f} against {beside:.3f}")


def agreement_by_attribute(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """`agreement` of each attribute over the runs: its mean, and a 95 % interval of its own."""
    names = [name for point in runs[0]["checkpoints"][:1] for name in point["agreement"]]
    return {name: averaged(value for run in runs for value in agreement([name], run)) for name in names}
