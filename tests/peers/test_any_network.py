"""`check` decides the sound answers of PyTorch to 14 kinds of problems, and rejects none of them.

`SEEDS=10 pytest tests/peers/test_any_network.py` tries ten problems of each kind in place of three.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from lie_ref import check
from lie_ref.blackbox.question import Question
from lie_ref.oracle.comparison import compared

torch = pytest.importorskip("torch")
from . import zoo  # noqa: E402 -- it imports torch

pytestmark = pytest.mark.torch
SEEDS = range(int(os.environ.get("SEEDS", "3")))


def answers(case: zoo.Case) -> dict[str, object]:
    def changes(theta: zoo.Theta, i: int, j: int) -> torch.Tensor:
        return torch.func.jvp(case.logits, (theta,), (case.bracket(theta, i, j),))[1]

    return {"grad": case.gradient, "hvp": case.hvp, "bracket": case.bracket, "logit_delta": changes}


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_in_float64_sound_answers_agree_and_many_digits_are_decided(kind: str) -> None:
    for seed in SEEDS:
        case = zoo.case(kind, seed)
        verdict = check(case.gradient, case.theta, answers(case), [(0, 1), (2, 0)], case.logits)
        assert verdict.agrees, (seed, str(verdict))
        assert verdict.decided >= (9 if case.smooth else 6), (seed, str(verdict))


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_in_float32_sound_answers_are_never_rejected(kind: str) -> None:
    agree = 0
    for seed in SEEDS:
        case = zoo.case(kind, seed, torch.float32)
        verdict = check(case.gradient, case.theta, answers(case), [(0, 1), (2, 0)], case.logits)
        assert verdict.agrees is not False, (seed, str(verdict))
        assert verdict.agrees is None or verdict.decided >= 2
        assert verdict.agrees or "CANNOT TELL" in str(verdict)
        agree += verdict.agrees is True
    assert agree >= len(SEEDS) / 2 or not zoo.case(kind, 0).smooth


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_a_change_of_1e_8_in_any_one_tensor_is_rejected_wherever_9_digits_are_decided(kind: str) -> None:
    changed = 0
    for seed in SEEDS[:3]:
        case = zoo.case(kind, seed)
        question, pairs = Question(case.gradient, case.theta), np.array([[0, 1]])
        right = question._answers({"hvp": case.hvp, "bracket": case.bracket}, pairs)
        fields = question._solved(pairs, {"hvp", "bracket"})
        for key, a in right.items():
            quantity = key.partition("/")[0]
            if compared(fields, right).decided(quantity)[0] < 9 or np.linalg.norm(a) < 1e-6 * total(right, quantity):
                continue
            wrong = right | {key: a * (1 + 1e-8)}
            assert compared(fields, wrong).disagreeing == [quantity], (seed, key)
            changed += 1
    assert changed > 2 * len(SEEDS[:3]) or not zoo.case(kind, 0).smooth


def total(arrays: dict[str, np.ndarray], quantity: str) -> float:
    return float(np.linalg.norm([np.linalg.norm(a) for key, a in arrays.items() if key.startswith(quantity)]))
