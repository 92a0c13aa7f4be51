"""An independent implementation agrees; with a bug planted it is rejected and the bug named; so it is with two."""

from __future__ import annotations

from functools import cache
from itertools import combinations

import numpy as np
import pytest

from lie_ref import oracle
from lie_ref.oracle.comparison import compared

torch = pytest.importorskip("torch")

from . import Arrays, planted  # noqa: E402

# torch 2.13 warns of its own use of torch.jit.script in forward mode.
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")]

ENOUGH = 30  # vectors that reject a bug: all of the multilayer perceptrons, and of the convolutional networks, or some

vector = cache(oracle.load)


def work(name: str) -> int:
    """Grows with the time that a vector takes."""
    v = vector(name)
    return v.x.size * sum(p.size for p in v.params.values()) * len(v.pairs)


VECTORS = sorted(oracle.names(), key=work)


@cache
def right_answers(name: str) -> Arrays:
    return planted.answers(vector(name))


def first_wrong_stage(answers: Arrays, name: str) -> str | None:
    """The first stage of which any bit differs from the right answers."""
    right = right_answers(name)
    wrong = {key.split("/")[0] for key, value in answers.items() if not np.array_equal(value, right[key])}
    return next((stage for stage in planted.STAGES if stage in wrong), None)


def answers_the_same(bug: str, answers: Arrays, name: str) -> bool:
    """Whether a bug has these answers too, up to rounding."""
    try:
        others = planted.answers(vector(name), [bug])
    except planted.NotApplicable:
        return False
    return all(np.linalg.norm(others[key] - a) <= 1e-10 * np.linalg.norm(a) for key, a in answers.items())


def is_named(bug: str, names: list[str], answers: Arrays, name: str) -> bool:
    """Whether a diagnosis of these names has the bug, or one that nobody could tell from it here."""
    if bug.split(":")[0] in names:
        return True
    suspects = [other for other in planted.PLANTED if other.split(":")[0] in names]
    return any(answers_the_same(other, answers, name) for other in suspects)


@pytest.mark.parametrize("name", VECTORS)
def test_without_bugs_it_agrees(name: str) -> None:
    verdict = oracle.verify(vector(name), right_answers(name))
    assert verdict.agrees, str(verdict)


@pytest.mark.parametrize("bug", planted.PLANTED)
def test_a_bug_is_rejected_and_named(bug: str) -> None:
    rejected, unnamed = 0, {}
    for name in VECTORS:
        try:
            answers = planted.answers(vector(name), [bug])
        except planted.NotApplicable:
            continue
        verdict = oracle.verify(vector(name), answers)
        if not verdict.agrees:
            rejected += 1
            names = [explanation.name for explanation in verdict.diagnosis]
            if not is_named(bug, names, answers, name):
                unnamed[name] = names
        if rejected == ENOUGH:
            break
    assert rejected
    assert len(unnamed) <= rejected / 10, f"{len(unnamed)} of {rejected}: {unnamed}"


@pytest.mark.parametrize("bug", planted.PLANTED)
def test_a_bug_leaves_the_stages_before_it_as_they_are(bug: str) -> None:
    stages = set()
    for name in VECTORS:
        try:
            stages.add(first_wrong_stage(planted.answers(vector(name), [bug]), name))
        except planted.NotApplicable:
            continue
    order = [*planted.STAGES, None]
    assert min(stages, key=order.index) == planted.stage(bug)


@pytest.mark.parametrize("pair", list(combinations(planted.PLANTED, 2)), ids=" and ".join)
def test_two_bugs_at_once_are_rejected(pair: tuple[str, str]) -> None:
    """Skipped where no vector has room for both."""
    tried = []
    for name in VECTORS:
        try:
            answers = planted.answers(vector(name), pair)
        except planted.NotApplicable:
            continue
        tried.append(name)
        if compared(vector(name), answers).disagreeing:  # what `verify` says, without the search for a diagnosis
            return
    if not tried:
        pytest.skip("no vector has room for both")
    pytest.fail(f"accepted on {', '.join(tried)}")
