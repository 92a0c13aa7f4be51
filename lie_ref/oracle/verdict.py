"""The verdict on a candidate: agreement in digits, quantity by quantity, and the bug that a wrong answer looks like."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .answers import QUANTITIES
from .bugs.catalogue import CATALOGUE, ESTIMATED, OF_FIELDS, ROUNDING, Bug
from .bugs.combinations import UNSPECIFIC, another_bug, combined
from .comparison import ENOUGH, Comparison, tensor

DIAGNOSED = 1 << 24  # numbers of one quantity; with those from which it may be made, they take 2 GiB
SINGLE = (6.0, 8.5)  # the digits that float64 answers keep if something on the way is float32
WORDS = {True: "agrees", False: "DISAGREES", None: "CANNOT TELL"}


@dataclass(frozen=True)
class Agreement:
    """How one quantity compares, in the row and tensor whose error exceeds the allowed one by the largest factor.

    `digits` and `required_digits` are −log10(‖a − b‖ / ‖b‖) of the candidate's error and of the allowed error; `place`
    says in words which row it is.  `decided` are the digits that the comparison decides in every row that matters,
    `undecided` says which row has the fewest, and `because` what leaves so few; `agrees` is None if nothing is wrong
    but fewer than `ENOUGH` are decided.
    """

    agrees: bool | None
    digits: float
    required_digits: float
    worst_tensor: str
    place: str
    finite: bool
    dtype: np.dtype[Any]
    decided: float
    undecided: str
    because: str


@dataclass(frozen=True)
class Explanation:
    """A bug whose answers match the candidate's to this many digits; `explains` includes what was estimated."""

    name: str
    explains: str
    digits: float


@dataclass(frozen=True)
class Verdict:
    """Whether a candidate agrees with a vector, how far each quantity does, and what would explain it if not.

    `agrees` is False if a quantity disagrees, else None, *cannot tell*, if too little of one is decided, else True.
    `layer` says which layer's output differs first, if the candidate has outputs of layers; `located` says in which
    tensors and rows the first quantity that disagrees is wrong, `advice` what would decide more, and `unnamed` why a
    diagnosis is empty.
    """

    vector: str
    agrees: bool | None
    quantities: dict[str, Agreement]
    diagnosis: tuple[Explanation, ...]
    layer: str = ""
    located: str = ""
    advice: str = ""
    unnamed: str = "No bug of the catalogue explains it."

    @property
    def decided(self) -> float:
        """The digits that are decided in every quantity that the candidate has."""
        return min(q.decided for q in self.quantities.values())

    def to_dict(self) -> dict[str, Any]:
        """The verdict as the command line writes it in JSON."""
        keys = ("agrees", "digits", "required_digits", "worst_tensor", "decided")
        quantities = {name: _rounded(agreement, keys) for name, agreement in self.quantities.items()}
        diagnosis = [_rounded(explanation, ("name", "explains", "digits")) for explanation in self.diagnosis]
        whole = _rounded(self, ("agrees", "decided"))
        where = {"layer": self.layer, "located": self.located}
        return whole | {"quantities": quantities, "diagnosis": diagnosis} | where

    def __str__(self) -> str:
        lines = [f"{self.vector}: {WORDS[self.agrees]} (decided: at least {self.decided:.1f} digits)"]
        lines += [_line(name, q) for name, q in self.quantities.items()]
        if self.diagnosis:
            lines.append("It looks like:")
            lines += [f"  {e.name}: {e.explains} (matches to {e.digits:.1f} digits)" for e in self.diagnosis]
        elif self.agrees is False:
            finite = all(q.finite for q in self.quantities.values())
            lines.append(self.unnamed if finite else NOT_FINITE)
        lines += [f"{text[0].upper()}{text[1:]}." for text in (self.layer, self.located) if text]
        if any(q.agrees is None for q in self.quantities.values()):
            few = f"With fewer than {ENOUGH:g} digits decided, wrong answers may agree as well."
            lines.append(f"{few} To decide more, use {self.advice}.")
        return "\n".join(lines)


NOT_FINITE = (
    "Numbers that are not finite are not diagnosed. Look for log 0, √0 and 0/0 in derivatives, and for PyTorch's Mish, "
    "whose second derivative is nan for inputs beyond 89 in float32 and 710 in float64."
)


def judge(comparison: Comparison, layer: str = "") -> Verdict:
    """The verdict on a comparison.  A candidate that disagrees is diagnosed if it is finite."""
    quantities = {}
    for quantity in comparison.quantities:
        (key, row), (digits, required) = comparison.worst(quantity), comparison.digits(quantity)
        worst_tensor = key.partition("/")[2] or quantity
        finite = all(np.isfinite(comparison.candidate[k]).all() for k in comparison.keys(quantity))
        theta = [] if comparison.vector.has_network else [p.dtype for p in comparison.vector.params.values()]
        dtype = min([comparison.candidate[key].dtype, *theta], key=lambda d: np.finfo(d).nmant)
        place = _place(comparison, quantity, key, row)
        decided, key, row = comparison.decided(quantity)
        decided = math.floor(10 * decided) / 10  # a bound, which must not be rounded up
        undecided = _place(comparison, quantity, key, row)
        agrees = comparison.agrees(quantity) and (True if decided >= ENOUGH else None)
        worst = digits, required, worst_tensor, place, finite, dtype
        because = comparison.vector.because(quantity, row, dtype)
        quantities[quantity] = Agreement(agrees, *worst, decided, undecided, because)
    each = [q.agrees for q in quantities.values()]
    agrees = False if False in each else None if None in each else True
    narrow = any(q.agrees is None and q.dtype.itemsize < 8 for q in quantities.values())
    verdict = Verdict(comparison.vector.name, agrees, quantities, (), layer, advice=comparison.vector.advice(narrow))
    if agrees is not False:
        return verdict
    verdict = replace(verdict, located=located(comparison))
    count = sum(comparison.candidate[key].size for key in comparison.keys(comparison.disagreeing[0]))
    if count > DIAGNOSED:
        unnamed = f"{count:,} numbers are too many to name the bug. Compare fewer tensors or pairs."
        return replace(verdict, unnamed=unnamed)
    verdict = replace(verdict, diagnosis=diagnose(comparison) if comparison.finite else ())
    hint = ""
    if SINGLE[0] < comparison.digits(comparison.disagreeing[0])[0] < SINGLE[1]:
        hint = " Float32 numbers make errors of this size: is something cast to float32 on the way?"
    elif not verdict.diagnosis and (unused := comparison.vector.unused()):
        hint = f" The gradient does not change with {', '.join(map(tensor, unused))}: is another copy of it in use?"
    return replace(verdict, unnamed=verdict.unnamed + hint)


def located(comparison: Comparison) -> str:
    """In which tensors and rows the first quantity that disagrees is wrong, and what is right, in words."""
    first = comparison.disagreeing[0]
    tensors, rows = comparison.wrong(first)
    keys, count = comparison.keys(first), comparison.errors[comparison.keys(first)[0]].size
    text = f"the first quantity that disagrees is {first}"
    if len(keys) > 1:
        others = len(keys) - len(tensors)
        text += f", in {comparison.group(tensors)}"
        text += f"; the other {others} are right" if others > 1 else "; the other tensor is right" * others
    if len(rows) < count:
        right_rows = [comparison.vector.place(first, r) for r in range(count) if r not in rows]
        wrong_rows = [comparison.vector.place(first, r) for r in rows]
        text += f"; wrong: {_some(wrong_rows)}; right: {_some(right_rows)}"
    before = [q for q in comparison.quantities[: comparison.quantities.index(first)] if comparison.agrees(q)]
    start = "logits" if comparison.vector.has_network else "grad" if comparison.exact.sides == 2 else first
    possible = QUANTITIES[QUANTITIES.index(start) :]
    missing = [q for q in possible if q not in comparison.quantities and QUANTITIES.index(q) < QUANTITIES.index(first)]
    if before:
        text += f"; {', '.join(before)} agree{'s' if len(before) == 1 else ''}"
    if missing:
        text += f"; the candidate lacks {', '.join(missing)}, which would tell more"
    return text


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + f" and {len(names) - 4} more" * (len(names) > 4)


def diagnose(comparison: Comparison) -> tuple[Explanation, ...]:
    """The bugs that explain a candidate, the best match first.

    Bugs with a parameter to estimate are tried one after the other, and only if no other bug explains the candidate.
    If a bug explains the first quantity that disagrees but not the later ones, the candidate has another bug as well.
    """
    with np.errstate(all="ignore"):
        fitted = tuple(Explanation(*found) for found in combined(comparison))
        if fitted and fitted[0].name not in UNSPECIFIC:
            return fitted
        known = comparison.vector.has_network
        bugs = dict.fromkeys(bug for s in comparison.stages for bug in CATALOGUE[s] if known or bug.name in OF_FIELDS)
        beginning = comparison.beginning
        suspects = _suspects(bugs, beginning, beginning.screen)
        if fitted and not suspects:
            return fitted
        if not suspects:
            screen = beginning.worst_pair if known else beginning.screen
            estimates = (_suspects([bug], beginning, screen) for bug in ESTIMATED)
            suspects = next((found for found in estimates if found), [])
        if not suspects and (rounding := ROUNDING.explain(comparison)):
            whole = suspects = [(ROUNDING, rounding)]
        elif len(beginning.candidate) == len(comparison.candidate):
            whole = suspects
        else:
            whole = [(bug, explained) for bug, _ in suspects if (explained := bug.explain(comparison))]
    note = "" if whole else another_bug(comparison.disagreeing[0])
    found = [
        Explanation(bug.name, bug.sentence + (f": {detail}" if detail else "") + note, digits)
        for bug, (digits, detail) in whole or suspects
    ]
    return tuple(sorted(found, key=lambda e: -e.digits))


def _suspects(bugs: Iterable[Bug], comparison: Comparison, screen: Comparison) -> list[tuple[Bug, tuple[float, str]]]:
    """The bugs that explain a comparison, and how well.  The screen rejects most bugs, which costs less."""
    bugs = [bug for bug in bugs if bug.explain(screen)]
    return [(bug, explained) for bug in bugs if (explained := bug.explain(comparison))]


def _place(comparison: Comparison, quantity: str, key: str, row: tuple[int, ...]) -> str:
    number = int(np.ravel_multi_index(row, comparison.errors[comparison.keys(quantity)[0]].shape))
    return f"{tensor(key.partition('/')[2])} of {comparison.vector.place(quantity, number)}".removeprefix(" of ")


def _line(name: str, q: Agreement) -> str:
    if not q.finite:
        return f"  {name:<12} has nan or inf, in {q.place}"
    if q.agrees is None:
        few = f"{q.decided:.1f} digits are decided in {q.undecided}, because {q.because}"
        return f"  {name:<12} CANNOT TELL: {few}"
    said = "agrees to" if q.agrees else "DISAGREES:"
    required = f"{q.required_digits:.1f} required" + f" in {q.dtype}" * (q.dtype.itemsize < 8)
    if q.required_digits == 0:
        required = "none required" if q.agrees else "where it should be 0 up to rounding errors"
    if q.required_digits < np.finfo(q.dtype).precision / 3 and (q.agrees or q.required_digits > 0):
        required += f" (rounding leaves {'few' if q.required_digits > 0 else 'none'} here)"
    return f"  {name:<12} {said} {q.digits:.1f} digits, {required}, worst in {q.place}"


def _rounded(found: Verdict | Agreement | Explanation, names: Iterable[str]) -> dict[str, Any]:
    values = {name: getattr(found, name) for name in names}
    return {name: round(value, 2) if isinstance(value, float) else value for name, value in values.items()}
