"""Answers that are combinations of what an implementation has at hand: gradients, products, parameters, other rows.

Many bugs in the derivation of a bracket leave such a combination: a wrong sign, a missing term, a factor, weight decay,
damping, gradients that add up, rows that belong to another example.  The combination is fitted to the first quantity
that disagrees, and its formula says what was computed.
"""

from collections.abc import Iterator
from functools import cached_property
from itertools import combinations, permutations
from typing import Any

import numpy as np

from ...core.types import Array, Arrays
from ..answers import gradient_norms, keyed
from ..comparison import BEST, Comparison
from ..tolerance import ROWS
from .products import own_products

Found = tuple[str, str, float]  # the name of a bug, a sentence, the digits that match
Formula = dict[str, float]  # the factor of each term

FEW = 8  # numbers
CANCELLED = 1e-13  # relative size of what rounding leaves of terms that cancel
CLOSE = 1e-4  # relative error of a combination that is worth an exact check
ALIKE = 1e-2  # relative error of its factors in a low precision
CORRECT: dict[str, Formula] = {
    "logits": {"z": 1},
    "loss": {"L_i": 1},
    "grad": {"g_i": 1},
    "hvp": {"H_j g_i": 1},
    "bracket": {"H_j g_i": 1, "H_i g_j": -1},
    "logit_delta": {"Δz": 1},
}
# What some combinations are called; None is any factor.  In the second product of a pair, i and j change places.
# fmt: off
NAMES: dict[str, tuple[tuple[dict[str, float | None], str, str], ...]] = {
    "logits": (
        ({"z of x_eval": 1}, "logits-of-x-eval", "logits are those of x_eval, not of x"),
    ),
    "loss": (),
    "grad": (
        ({"g_i": 1, "θ": None}, "weight-decay", "a multiple of the parameters is added, as by weight decay"),
    ),
    "hvp": (
        ({"H_i g_j": 1}, "pair-order-swapped", "pairs (i, j) are taken as (j, i)"),
        ({"H_j g_j": 1}, "own-gradient", "each Hessian is multiplied by its own example's gradient"),
        ({"H_i g_i": 1}, "own-hessian", "each gradient is multiplied by its own example's Hessian"),
        ({"H_j g_i": 1, "H_i g_j": 1}, "direction-not-detached", "the direction is differentiated, too"),
        ({"H_j g_i": 1, "g_i": None}, "damping", "products have a multiple of the direction added, as by damping"),
        ({"H_j g_i": 1, "g_j": 1}, "gradients-add-up", "products are added to a gradient that nobody zeroed"),
        ({"H_j g_i": 1, "θ": None}, "weight-decay", "products have a multiple of the parameters added"),
        ({"H_j g_i": 0.5, "H_i g_i": 0.5}, "hessian-of-mean", "Hessians are of the mean loss of both examples"),
        ({"⟨g_i, g_j⟩ g_j": 1}, "empirical-fisher", "the Hessian is taken to be g gᵀ"),
        ({"H_j g_i / ‖g_i‖": 1}, "normalised-direction", "directions are normalised"),
    ),
    "bracket": (
        ({"H_j g_i": -1, "H_i g_j": 1}, "pair-order-swapped", "pairs (i, j) are taken as (j, i)"),
        ({"H_j g_i": -1, "H_i g_j": 1}, "sign-swapped", "the bracket has the wrong sign: H_i g_j − H_j g_i"),
        ({"H_j g_i": 1, "H_i g_j": 1}, "plus-for-minus", "the terms are added: H_j g_i + H_i g_j"),
        ({"H_j g_i": 1}, "first-term-only", "the bracket is its first term alone, H_j g_i"),
        ({"H_i g_j": -1}, "second-term-only", "the bracket is its second term alone, −H_i g_j"),
        ({"H_j g_j": 1, "H_i g_i": -1}, "own-gradient", "each Hessian is multiplied by its own example's gradient"),
        ({"H_i g_i": 1, "H_j g_j": -1}, "own-hessian", "each gradient is multiplied by its own example's Hessian"),
        ({"H_j g_i": 0.5, "H_i g_j": -0.5, "H_i g_i": 0.5, "H_j g_j": -0.5}, "hessian-of-mean",
         "Hessians are of the mean loss of both examples"),
        ({"H_j g_i": 1, "H_i g_j": -1, "g_i": -1, "g_j": 1}, "gradients-add-up",
         "products are added to a gradient that nobody zeroed"),
        ({"H_j g_i": 1, "H_i g_j": -1, "g_i": None, "g_j": None}, "damping",
         "products have a multiple of the direction added, as by damping or weight decay"),
        ({"⟨g_i, g_j⟩ g_j": 1, "⟨g_i, g_j⟩ g_i": -1}, "empirical-fisher", "Hessians are taken to be g gᵀ"),
        ({"H_j g_i / ‖g_i‖": 1, "H_i g_j / ‖g_j‖": -1}, "normalised-direction", "directions are normalised"),
        ({"bracket / (‖g_i‖ ‖g_j‖)": 1}, "normalised-bracket", "the bracket is divided by the norms of both gradients"),
    ),
    "logit_delta": (),
}
# fmt: on

COMBINATION = "linear-combination"  # the name of a formula that has no other
# What is said only if no bug of the catalogue explains the candidate.
UNSPECIFIC = (COMBINATION, "rows-mixed", "factor-for-each-row", "factor-for-each-tensor", "tensors-left-out")
FIXED = ("⟨", "‖")  # terms with these signs have no other factor


def combined(comparison: Comparison) -> list[Found]:
    """What the first quantity that disagrees is, if it is a combination of terms, other rows or tensors in disorder."""
    quantity = comparison.disagreeing[0]
    fit = _Fit(comparison, quantity)
    found = fit.zero() or fit.everywhere() or fit.by_row() or fit.adding_up() or fit.by_tensor()
    if found and comparison.explained_by(fit.solution, zeros=True) is None:
        return [(name, f"{sentence}{another_bug(quantity)}", digits) for name, sentence, digits in found]
    return found


class _Fit:
    """One quantity of a candidate as rows, key → (rows, numbers), with the right ones and the terms as rows, too."""

    def __init__(self, comparison: Comparison, quantity: str) -> None:
        self.comparison, self.quantity = comparison, quantity
        self.shapes = {key: comparison.candidate[key].shape for key in comparison.keys(quantity)}
        lead = -1 if quantity == "logits" else ROWS[quantity]  # the logits of the members of a mini-batch are rows, too
        self.count = int(np.prod(next(iter(self.shapes.values()))[:lead]))
        self.candidate = self._rows(comparison.candidate)
        self.right = self._rows(keyed(quantity, comparison.exact[quantity]))

    def _rows(self, arrays: Arrays) -> Arrays:
        return {key: arrays[key].reshape(self.count, -1).astype(np.float64) for key in self.shapes}

    @cached_property
    def terms(self) -> dict[str, Arrays]:
        """What may be combined to the candidate."""
        exact, problem = self.comparison.exact, self.comparison.vector
        g, pairs = exact.grad, problem.pairs

        def of(rows: Any, arrays: Arrays, *more: int) -> Arrays:
            return {name: a[(rows, *more)] for name, a in arrays.items()}

        if self.quantity == "logits":
            same = problem.x.shape == problem.x_eval.shape
            others = {"z of x_eval": exact.engine.logits(problem, problem.x_eval)} if same else {}
            return {"z": self.right} | {text: self._rows({"logits": z}) for text, z in others.items()}
        if self.quantity in ("loss", "logit_delta"):
            return {next(iter(CORRECT[self.quantity])): self.right}
        theta = {name: np.broadcast_to(p, (self.count, *p.shape)) for name, p in problem.params.items()}
        if self.quantity == "grad":
            return {"g_i": self.right, "θ": self._rows(keyed("grad", theta))}
        rows = (pairs[:, : exact.sides], pairs[:, ::-1][:, : exact.sides]) if self.quantity == "hvp" else pairs.T
        i, j = (a.ravel() for a in rows)
        inner = sum((a[i] * a[j]).reshape(self.count, -1).sum(axis=1) for a in g.values())
        sizes, alone = gradient_norms(g), own_products(exact)
        unit = 1 / np.where(sizes > 0, sizes, 1)
        scale = np.prod(unit[pairs], axis=1)
        if self.quantity == "hvp":
            found = {"H_j g_i": exact.hvp}
            if exact.sides == 2:
                found["H_i g_j"] = {name: h[:, ::-1] for name, h in exact.hvp.items()}
        else:
            found = {text: of(slice(None), exact.hvp, side) for side, text in enumerate(("H_j g_i", "H_i g_j"))}
            found["bracket / (‖g_i‖ ‖g_j‖)"] = {name: (a.T * scale).T for name, a in exact.bracket.items()}
        for text, k in (("H_j g_i", i), ("H_i g_j", j)):
            if text in found:
                flat = {name: a.reshape(self.count, -1) for name, a in found[text].items()}
                found[f"{text} / ‖{text[-3:]}‖"] = {name: (a.T * unit[k]).T for name, a in flat.items()}
        for text, k in (("⟨g_i, g_j⟩ g_i", i), ("⟨g_i, g_j⟩ g_j", j)):
            found[text] = {name: (inner * a[k].T).T for name, a in g.items()}
        found |= {"g_i": of(i, g), "g_j": of(j, g), "θ": theta, "H_i g_i": of(i, alone), "H_j g_j": of(j, alone)}
        return {text: self._rows(keyed(self.quantity, arrays)) for text, arrays in found.items()}

    def zero(self) -> list[Found]:
        """Zeros alone, up to rounding errors, as two terms leave that cancel."""
        some, right = (sum(float(np.vdot(a, a)) for a in of.values()) for of in (self.candidate, self.right))
        if some > CANCELLED**2 * right or self.digits(self.candidate) is None:
            return []
        why = ", as it is where directions are not detached" * (self.quantity == "bracket")
        return [("all-zero", f"{self.quantity} is zero everywhere{why}", BEST)]

    def everywhere(self) -> list[Found]:
        """One formula for all rows and tensors, with as few terms as possible."""
        everything = [self.candidate, *self.terms.values()]
        gram = np.array([[sum(float(np.vdot(a[k], b[k])) for k in a) for b in everything] for a in everything])
        unnamed: list[Found] = []
        most = 4
        for support in (s for count in range(1, 5) for s in combinations(range(len(self.terms)), count)):
            factors = _factors(gram, support) if len(support) <= most else None
            if factors is None:
                continue
            formula = {list(self.terms)[k]: c for k, c in zip(support, factors.tolist(), strict=True)}
            digits = self.digits({k: sum(c * self.terms[t][k] for t, c in formula.items()) for k in self.shapes})
            if digits is not None and self._is_multiple(formula, digits):
                most = len(support)  # other bugs explain it, or formulas with no more terms
                continue
            found = [] if digits is None else self._named(formula, digits)
            if found and found[0][0] != COMBINATION:
                return found
            unnamed = unnamed or found
        return unnamed

    def _is_multiple(self, formula: Formula, digits: float) -> bool:
        """Whether a formula is a multiple of the right one, but for a bracket with the wrong sign, which has a name."""
        correct = CORRECT[self.quantity]
        if formula.keys() != correct.keys():
            return False
        multiple = np.ptp([formula[t] / correct[t] for t in formula]) < _close(digits)
        return bool(multiple) and formula.get("H_i g_j", -1) < 0

    def _named(self, formula: Formula, digits: float) -> list[Found]:
        written = " + ".join(f"{_factor(c)}{text}" for text, c in formula.items()).replace("+ −", "− ")
        known = [
            (name, sentence, None in factors.values())
            for factors, name, sentence in NAMES[self.quantity]
            if factors.keys() == formula.keys()
            and all(c is None or abs(formula[text] / c - 1) < _close(digits) for text, c in factors.items())
            and not (
                self.quantity == "bracket" and name == "pair-order-swapped" and "hvp" in self.comparison.quantities
            )
        ]
        exact = [(name, sentence) for name, sentence, any_factor in known if not any_factor]
        names = exact or [(name, sentence) for name, sentence, _ in known]
        if not names and any(sign in text for text in formula for sign in FIXED):
            return []
        names = names or [(COMBINATION, "the answer is a combination of other terms")]
        return [(name, f"{sentence}: {self.quantity} = {written}", digits) for name, sentence in names]

    def by_row(self) -> list[Found]:
        """A multiple of one term, or of the right answer to another row, for each row."""
        members = self.count // self.comparison.errors[next(iter(self.shapes))].size
        place = [self.comparison.vector.place(self.quantity, r, members) for r in range(self.count)]
        predicted = {key: a.copy() for key, a in self.right.items()}
        terms = {text: a for text, a in self.terms.items() if text not in CORRECT[self.quantity]}
        if self.quantity == "hvp" and "H_i g_j" in self.terms:
            terms["H_j g_i − H_i g_j"] = {k: a - self.terms["H_i g_j"][k] for k, a in self.right.items()}
        notes = []
        for r in range(self.count):
            row = {key: a[r] for key, a in self.candidate.items()}
            if not any(a[r].any() for a in (*self.right.values(), *self.candidate.values())):
                continue
            others = [r, *(s for s in range(self.count) if s != r)]
            options = [(place[s], {key: a[s] for key, a in self.right.items()}) for s in others]
            options.append(("the sum of all", {key: a.sum(axis=0) for key, a in self.right.items()}))
            options += [(text, {key: a[r] for key, a in term.items()}) for text, term in terms.items()]
            fits = ((text, option, _multiple(row, option)) for text, option in options)
            text, option, c = next((fit for fit in fits if fit[2] is not None), ("", row, None))
            if c is None:
                return []
            if text != place[r] or abs(c - 1) > CLOSE:
                notes.append((r, text, c))
                for key in self.shapes:
                    predicted[key][r] = c * option[key]
        digits = self.digits(predicted) if notes else None
        scaled = all(text == place[r] for r, text, _ in notes)
        if digits is None or (scaled and len(notes) == self.count and np.ptp([c for *_, c in notes]) < CLOSE):
            return []
        written = [f"{place[r]} is {f'{_factor(c)}{text}' if c else 'zero'}" for r, text, c in notes]
        sentence = f"{'; '.join(written[:4])}{'; …' * (len(written) > 4)}"
        if scaled:
            return [("factor-for-each-row", f"rows have factors of their own: {sentence}", digits)]
        return [("rows-mixed", f"some rows hold something else: {sentence}", digits)]

    def adding_up(self) -> list[Found]:
        """Rows to which the row before is added, or, as by momentum, a part of it."""
        if self.quantity not in ("grad", "bracket") or self.count < 2:
            return []
        second = {key: a[1] - self.right[key][1] for key, a in self.candidate.items()}
        part = _multiple(second, {key: a[0] for key, a in self.right.items()})
        predicted = {key: a.copy() for key, a in self.right.items()}
        for a in predicted.values() if part else ():
            for r in range(1, self.count):
                a[r] += part * a[r - 1]
        digits = self.digits(predicted) if part else None
        if digits is None:
            return []
        name = f"{'gradients' if self.quantity == 'grad' else 'brackets'}-add-up"
        sentence = f"the one before is added to each, times {part:.6g}, as by momentum or where nobody zeroes them"
        return [(name, sentence, digits)]

    def by_tensor(self) -> list[Found]:
        """A multiple of the right answer, 0, or its numbers in another order, for each tensor that is wrong."""
        predicted = dict(self.right)
        wrong: dict[tuple[str, float], list[str]] = {}
        for key, shape in self.shapes.items():
            turned = shape if self.quantity == "logit_delta" else shape[ROWS[self.quantity] :]
            row, options = {key: self.candidate[key]}, _orders(self.right[key], turned)
            fits = ((text, option, _multiple(row, {key: option})) for text, option in options)
            text, option, c = next((fit for fit in fits if fit[2] is not None), ("", row[key], None))
            if c is None:
                return []
            if text or abs(c - 1) > CLOSE:
                predicted[key] = c * option
                wrong.setdefault((text, round(c, 6)), []).append(key.partition("/")[2] or key)
        digits = self.digits(predicted) if wrong else None
        factors = [c for text, c in wrong if not text]
        alike = len(factors) == len(wrong) > 0 and np.ptp(factors) <= ALIKE * abs(factors[0])
        scaled = alike and sum(map(len, wrong.values())) == len(self.shapes)
        if digits is None or scaled:  # other bugs explain a multiple of the right answer
            return []
        found = []
        for (text, c), names in wrong.items():
            which = self.comparison.group(names)
            name, sentence = ("factor-for-each-tensor", f"some tensors have a factor of their own: {which} × {c:.6g}")
            if c == 0:
                name, sentence = "tensors-left-out", f"some tensors are zero: {which}"
            elif text:
                name, sentence = "tensors-reordered", f"numbers are in another order: those of {which}, {text}"
            found.append((name, sentence, digits))
        return found

    def digits(self, predicted: Arrays) -> float | None:
        """The digits to which these rows are the candidate's, or None if they are not."""
        arrays = {key: predicted[key].reshape(shape) for key, shape in self.shapes.items()}
        whole = {key.partition("/")[2]: a for key, a in arrays.items()}
        self.solution = self.comparison.exact.replaced(**{self.quantity: lambda _: whole.get("", whole)})
        return self.comparison.beginning.explained_by(self.solution, zeros=True)


def another_bug(quantity: str) -> str:
    return f"; this explains {quantity}, and there is another bug in what follows"


def _close(digits: float) -> float:
    """How far the factors of a formula may be from others if it matches to these digits."""
    return float(np.clip(10.0 ** (1 - digits), CLOSE, ALIKE))


def _factors(gram: Array, support: tuple[int, ...]) -> Array | None:
    """The factors that combine these vectors to the first, from inner products, or None if the rest is not small."""
    k = [0, *(1 + s for s in support)]
    sizes = np.sqrt(np.diag(gram))[k]
    if not sizes.all():
        return None
    cosines = gram[np.ix_(k, k)] / np.outer(sizes, sizes)
    inside, along = cosines[1:, 1:], cosines[1:, 0]
    factors = np.linalg.lstsq(inside, along, rcond=1e-12)[0]
    rest = 1 - 2 * factors @ along + factors @ inside @ factors
    unfit = rest > CLOSE**2 or np.abs(factors).min() < 1e-9  # a part of no size has no place in a formula
    return None if unfit else factors * sizes[0] / sizes[1:]


def _multiple(a: Arrays, b: Arrays) -> float | None:
    """c with a ≈ c b, or None; 0 if a is zero.  Few numbers are taken for a multiple only if c is ±1."""
    if not any(v.any() for v in a.values()):
        return 0.0
    aa, ab, bb = (sum(float(np.vdot(u[n], v[n])) for n in a) for u, v in ((a, a), (a, b), (b, b)))
    if not (bb > 0 and ab**2 >= (1 - CLOSE**2) * aa * bb):
        return None
    few = sum(v.size for v in a.values()) < FEW
    return None if few and abs(abs(ab / bb) - 1) > CLOSE else ab / bb


def _orders(rows: Array, shape: tuple[int, ...]) -> Iterator[tuple[str, Array]]:
    """Rows of a tensor of this shape with its numbers in the right order, and in others."""
    yield "", rows
    if len(shape) < 2:
        return
    for axes in list(permutations(range(len(shape))))[1:]:
        moved = rows.reshape(-1, *shape).transpose(0, *(a + 1 for a in axes))
        yield f"with the axes in the order {axes}", moved.reshape(rows.shape)
    for axis in range(len(shape)):
        yield f"with axis {axis} turned round", np.flip(rows.reshape(-1, *shape), axis + 1).reshape(rows.shape)


def _factor(c: float) -> str:
    return "−" * (c < 0) + ("" if abs(abs(c) - 1) < CLOSE else f"{abs(c):.6g} ")
