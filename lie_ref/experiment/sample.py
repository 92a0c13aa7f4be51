"""Samples what swaps change at a checkpoint: the brackets of many sixes of test examples, which each run draws anew.

A claim about "the examples" must not depend on six of them, nor on their hair.  The sixes of a run are
stratified by hair: of the test examples, sorted by the colour of their hair, each six takes one from every sixth part.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from ..core.networks import Model
from ..core.optimizers import FixedPreconditioner, Optimizer
from ..core.problem import Problem, Solution
from ..core.types import Array, Arrays
from ..fast import engine
from ..fast.dual import Dual
from ..images.dataset import Dataset
from ..images.labels import HAIR
from ..measure.evaluation import optimizer_swaps, plain_swaps, shuffled_rms
from ..study.checkpoint import Checkpoint
from .exclusive import attribute_probabilities
from .reading import SAMPLE
from .settings import Settings

SIXES, SIX, WATCHED = 24, 6, 16  # sixes; examples in each, with brackets; other examples, whose logits are watched
PAIRS = np.array(list(combinations(range(SIX), 2)))


def draw(rng: np.random.Generator, hair: Array, sixes: int = SIXES) -> tuple[Array, Array]:
    """Row numbers of s sixes (s, 6), and of 16 other examples to watch for each (s, 16), given the `hair` (n,) of all.

    >>> examples, watched = draw(np.random.default_rng(0), np.arange(60) // 10, sixes=2)
    >>> (examples // 10).tolist(), watched.shape
    ([[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]], (2, 16))
    """
    mixed = rng.permutation(len(hair))
    parts = np.array_split(mixed[np.argsort(hair[mixed], kind="stable")], SIX)
    columns = []
    for part in parts:
        often = -(-sixes // len(part))  # more than once if there are few examples
        columns.append(np.concatenate([rng.permutation(part) for _ in range(often)])[:sixes])
    examples = np.stack(columns, axis=1)
    others = [np.setdiff1d(mixed, six) for six in examples]
    return examples, np.stack([rng.choice(rest, WATCHED, replace=False) for rest in others])


def hair_of(labels: Array, attributes: Sequence[str]) -> Array:
    """The first hair colour of each row of labels (n, k), as an index of `HAIR`; 4 without any: (n,)."""
    colours = labels[:, [list(attributes).index(name) for name in HAIR]] > 0
    return np.where(colours.any(axis=1), colours.argmax(axis=1), len(HAIR))


def optimizers_at(checkpoint: Checkpoint, settings: Settings, dtype: type) -> dict[str, tuple[Optimizer, int]]:
    """The optimizers whose steps are swapped beside plain ones, and the order in ε of what a swap changes.

    Before the first step, Adam has no preconditioner.
    """
    adam = checkpoint.adam(settings.betas, dtype)
    fixed = {"preconditioned": (FixedPreconditioner(adam.preconditioner()), 2)} if checkpoint.step else {}
    return {**fixed, "momentum": (adam, 1)}


def sample(settings: Settings, model: Model, dataset: Dataset, checkpoint: Checkpoint, views: Sequence[str]) -> Arrays:
    """The arrays of a sample file, in float32: for each six its swaps, plain ones and those of these `views`.

    `examples` (s, 6) and `watched` (s, 16) are row numbers, `targets` (s, 6, k) the attributes of the examples.  For
    each view, `rms_gradient/VIEW` (s, 6, t) and `rms_bracket/VIEW` (s, 15, t) are the sizes by tensor, and
    `moved/VIEW` (s, 15, k) the mean |change| of the watched logits.  `rms_bracket/shuffled` belongs to shuffled
    directions, and `moved_probability` (s, 15, k) to plain swaps.
    """
    rows, rng = dataset.indices("test"), settings.rng("sixes")
    examples, watched = (rows[some] for some in draw(rng, hair_of(dataset.labels[rows], dataset.attributes)))
    weights, loss = checkpoint.weights(model, np.float32), settings.loss(dataset.attributes)
    exclusive, optimizers = settings.exclusive(dataset.attributes), optimizers_at(checkpoint, settings, np.float32)
    found: dict[str, list[Array]] = defaultdict(list)
    for number, (six, others) in enumerate(zip(examples, watched, strict=True)):
        x, y = dataset.batch(six)
        seen = dataset.batch(others)[0]
        solution = Solution(Problem(model, weights.params, weights.buffers, x, y, PAIRS, seen, loss), engine)
        swaps = {"plain": plain_swaps(solution)}
        swaps |= {view: optimizer_swaps(solution, *optimizers[view]) for view in views}
        for view, of in swaps.items():
            found[f"rms_gradient/{view}"].append(of.rms_gradient)
            found[f"rms_bracket/{view}"].append(of.rms_bracket)
            found[f"moved/{view}"].append(np.abs(of.logit_delta).mean(axis=1))
        found["rms_bracket/shuffled"].append(shuffled_rms(solution, settings.rng("shuffled", number)))
        z = Dual(engine.logits(solution.problem, seen), swaps["plain"].logit_delta)
        found["moved_probability"].append(np.abs(attribute_probabilities(z, exclusive).tangent).mean(axis=1))
    arrays = {name: np.stack(each).astype(np.float32) for name, each in found.items()}
    return arrays | {
        "examples": examples,
        "watched": watched,
        "targets": dataset.labels[examples] > 0,
        "attributes": np.array(dataset.attributes),
        "format": np.array(SAMPLE),
        "step": np.array(checkpoint.step),
    }
