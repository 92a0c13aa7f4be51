"""The oracle accepts an independent implementation, rejects it with any one or two bugs, and names a single bug."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from itertools import combinations

import numpy as np
import pytest

from lie_ref import oracle
from lie_ref.oracle.comparison import compared

torch = pytest.importorskip("torch")

from . import Arrays, planted  # noqa: E402

# In forward mode, torch 2.13 warns of its own use of torch.jit.script.
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")]

ENOUGH = 30  # a bug is diagnosed on at most this number of vectors that reject it

vector = cache(oracle.load)


def work(name: str) -> int:
    """A number that grows with the time that a vector takes."""
    v = vector(name)
    return v.x.size * sum(p.size for p in v.params.values()) * len(v.pairs)


VECTORS = sorted(oracle.names(), key=work)


@cache
def right_answers(name: str) -> Arrays:
    return planted.answers(vector(name))


def planted_answers(bugs: Collection[str]) -> Iterator[tuple[str, Arrays]]:
    """(vector, answers with these bugs) for each vector on which they can be made."""
    for name in VECTORS:
        try:
            yield name, planted.answers(vector(name), bugs)
        except planted.NotApplicable:
            continue


def first_wrong_stage(answers: Arrays, name: str) -> str | None:
    """The first stage in which any bit differs from the right answers."""
    right = right_answers(name)
    wrong = {key.split("/")[0] for key, value in answers.items() if not np.array_equal(value, right[key])}
    return next((stage for stage in planted.STAGES if stage in wrong), None)


def gives(bug: str, answers: Arrays, name: str) -> bool:
    """Whether the bug gives these answers, up to rounding."""
    try:
        others = planted.answers(vector(name), [bug])
    except planted.NotApplicable:
        return False
    return all(np.linalg.norm(others[key] - a) <= 1e-10 * np.linalg.norm(a) for key, a in answers.items())


def is_named(bug: str, names: list[str], answers: Arrays, name: str) -> bool:
    """Whether a diagnosis has the bug's name, or that of a bug that gives the same answers on this vector.

    Of answers that are all zero it says just that, because many bugs make zeros.
    """
    if names == ["all-zero"]:
        stage = first_wrong_stage(answers, name)
        return not any(a.any() for key, a in answers.items() if key.split("/")[0] == stage)
    suspects = [other for other in planted.PLANTED if other.split(":")[0] in names]
    return bug in suspects or any(gives(other, answers, name) for other in suspects)


@pytest.mark.parametrize("name", VECTORS)
def test_without_bugs_the_implementation_agrees(name: str) -> None:
    verdict = oracle.verify(vector(name), right_answers(name))
    assert verdict.agrees is True, str(verdict)


@pytest.mark.parametrize("bug", planted.PLANTED)
def test_a_bug_is_rejected_and_named(bug: str) -> None:
    rejected, unnamed = 0, {}
    for name, answers in planted_answers([bug]):
        verdict = oracle.verify(vector(name), answers)
        if verdict.agrees is False:
            rejected += 1
            names = [explanation.name for explanation in verdict.diagnosis]
            if not is_named(bug, names, answers, name):
                unnamed[name] = names
        if rejected == ENOUGH:
            break
    assert rejected
    assert len(unnamed) <= rejected / 10, f"{len(unnamed)} of {rejected}: {unnamed}"


@pytest.mark.parametrize("bug", planted.PLANTED)
def test_a_bug_changes_no_stage_before_its_own(bug: str) -> None:
    stages = {first_wrong_stage(answers, name) for name, answers in planted_answers([bug])}
    order = [*planted.STAGES, None]
    assert min(stages, key=order.index) == planted.stage(bug)


@pytest.mark.parametrize("pair", list(combinations(planted.PLANTED, 2)), ids=" and ".join)
def test_two_bugs_at_once_are_rejected(pair: tuple[str, str]) -> None:
    tried = []
    for name, answers in planted_answers(pair):
        tried.append(name)
        if compared(vector(name), answers).disagreeing:  # the verdict of `verify` without its search for a diagnosis
            return
    if not tried:
        pytest.skip("both bugs cannot be made on the same vector")
    pytest.fail(f"accepted on {', '.join(tried)}")
