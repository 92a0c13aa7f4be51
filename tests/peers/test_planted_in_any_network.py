"""`check` rejects 28 kinds of mistakes in four networks of PyTorch, names most of them, and none wrongly.

`SEEDS=10 pytest tests/peers/test_planted_in_any_network.py` tries each network in both precisions, not in one.
"""

from __future__ import annotations

import os

import pytest

from lie_ref import check

torch = pytest.importorskip("torch")
from . import zoo  # noqa: E402 -- it imports torch
from .planted_anywhere import PAIRS, bugs, norm, total  # noqa: E402

pytestmark = pytest.mark.torch
NETWORKS = ("transformer", "resnet-silu", "recurrent", "contrastive")
SLOW = NETWORKS[:2]  # only candidates with brackets alone, which are the hardest


SHARES = {torch.float64: 0.9, torch.float32: 0.8}  # of the rejected candidates that are named
EVERY = [(kind, dtype) for dtype in SHARES for kind in NETWORKS]


@pytest.mark.parametrize(("kind", "dtype"), EVERY if "SEEDS" in os.environ else EVERY[::3] + EVERY[5:6])
def test_mistakes_are_rejected_and_named_and_none_wrongly(kind: str, dtype: torch.dtype) -> None:
    case = zoo.case(kind, 0, dtype)
    right = [case.bracket(case.theta, i, j) for i, j in PAIRS]
    rejected, named, kinds = 0, 0, set()
    for bug in bugs(case):
        for candidate in bug.candidates[-1:] if kind in SLOW else bug.candidates:
            verdict = check(case.gradient, case.theta, candidate, PAIRS)
            off = max(norm(total((1, a), (-1, b))) / norm(b) for a, b in zip(candidate["bracket"], right, strict=True))
            said = f"{bug.mistake}, {' and '.join(candidate)}\n{verdict}"
            assert verdict.agrees is False or off < 2 * 10.0**-verdict.decided, said
            if verdict.agrees is False:
                names = {explanation.name for explanation in verdict.diagnosis}
                assert not names or names & bug.names, said
                rejected, named = rejected + 1, named + bool(names)
                kinds.add(bug.mistake)
    assert len(kinds) >= 25
    assert named >= SHARES[dtype] * rejected, (named, rejected)
