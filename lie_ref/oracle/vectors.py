"""Test vectors and references: a problem with its exact answers, and the file that holds them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..core.losses import LOSSES
from ..core.networks import Model, mlp, mxresnet
from ..core.problem import Problem
from ..core.types import Array, Arrays, Shapes
from ..fast.arguments import checked_problem
from ..machine.errors import InputError, shortened
from ..machine.files import first_line, from_json, read_npz, write_npz
from .answers import QUANTITIES, Answers, quantity_of
from .tolerance import allowed_errors

FORMAT = "lie-ref-vector/1"
INPUTS = ("x", "y", "pairs", "x_eval")
DEEPEST = 1000  # layers or blocks: a few bytes of a file must not ask for more of them than there is memory
MODELS: dict[str, Callable[..., Model]] = {"mlp": mlp, "mxresnet": mxresnet}


@dataclass(frozen=True)
class Vector(Problem):
    """A problem with its answers, in float64 and under the keys of its file: `loss`, `logits`, `grad/NAME`, …"""

    outputs: Arrays = field(default_factory=dict)
    name: str = ""
    flags: tuple[str, ...] = ()
    notes: str = ""

    @classmethod
    def of(cls, problem: Problem, outputs: Arrays, **about: Any) -> Vector:
        """The problem with these answers, and with a name, flags and notes."""
        return cls(**{f.name: getattr(problem, f.name) for f in fields(Problem)}, outputs=outputs, **about)

    @cached_property
    def exact(self) -> Answers:
        """The answers, ready to have quantities replaced."""
        return Answers(self).known(self.answers)

    @property
    def answers(self) -> dict[str, Any]:
        """The outputs by quantity."""
        found = self.outputs
        return {q: found[q] if q in found else part(found, q) for q in dict.fromkeys(map(quantity_of, found))}

    def allowed(self, quantities: Iterable[str], dtype: Any, bits: int | None = None) -> Arrays:
        """The errors that a correct implementation may have, as in `tolerance.allowed_errors`."""
        return allowed_errors(self.exact, quantities, dtype, bits)

    def because(self, quantity: str, row: tuple[int, ...], dtype: Any) -> str:
        """What leaves few digits of a row, in words."""
        return f"of rounding in {dtype}"

    def advice(self, narrow: bool) -> str:
        """What would decide more, in words, for answers that are narrower than float64 or not."""
        return (
            "answers in float64, or " * narrow + "oracle.reference at weights or inputs where less is lost to rounding"
        )

    def unused(self) -> list[str]:
        """Tensors that seem to be constants in the gradients."""
        return []

    @property
    def has_network(self) -> bool:
        """Whether the network is known, and not only its gradients."""
        return bool(self.model.network.layers)

    def quick(self) -> tuple[Vector, Arrays] | None:
        """The same with faulty answers that cost less, if there are any, and the errors of their rows for each key."""
        return None

    def place(self, quantity: str, row: int, members: int = 1) -> str:
        """A row of a quantity in words: an example, a Hessian times a gradient, a pair.  A field may have more rows."""
        if quantity in ("logits", "loss", "grad"):
            member = f"member {row % members} of " * (members > 1)
            return f"{member}{'mini-batch' if self.batches else 'example'} {row // members}"
        if quantity == "hvp":
            i, j = self.pairs[row // 2][:: 1 - 2 * (row % 2)]
            return f"H_{j} g_{i}"
        i, j = self.pairs[row]
        return f"pair ({i}, {j})"


def answered(problem: Problem, **about: Any) -> Vector:
    """The problem with its answers, computed in the dtype of its arrays and rounded to float64.

    Answers rounded from extended precision have the same bits on every machine that has it.  Raises ValueError if an
    answer is not finite.
    """
    with np.errstate(all="ignore"):  # the check below tells of an overflow
        outputs = {key: a.astype(np.float64) for key, a in Answers(problem).outputs().items()}
    _check_finite(outputs)
    return Vector.of(problem.astype(np.float64), outputs, **about)


def write_vector(path: Path, vector: Vector) -> None:
    """Write the `.npz` of a vector: `param/…`, `buffer/…`, the inputs, the outputs, and `meta`, a JSON string.

    Raises ValueError for a loss without a name in `LOSSES`, whose definition a file cannot hold.
    """
    if LOSSES.get(loss := vector.loss_function.name) != vector.loss_function:
        raise ValueError(f"loss: a file can hold {', '.join(LOSSES)} without weight decay, got another one, {loss!r}")
    kind = {"fields": "batches" if vector.batches else "examples", "training": vector.training}
    about = {"format": FORMAT, "name": vector.name, "model": vector.model.spec, "loss": loss}
    meta = about | kind | {"flags": list(vector.flags), "notes": vector.notes}
    state = {f"param/{k}": p for k, p in vector.params.items()} | {f"buffer/{k}": b for k, b in vector.buffers.items()}
    inputs = {key: getattr(vector, key) for key in INPUTS} | {"pairs": vector.pairs.astype(np.int64)}
    write_npz(path, state | inputs | vector.outputs | {"meta": np.array(json.dumps(meta))})


def read_vector(path: Path) -> Vector:
    """The vector in a file.  Raises InputError, which names the file, unless it holds a whole vector."""
    arrays = read_npz(path)
    try:
        meta = from_json(str(arrays["meta"]), "meta")
        if meta["format"] != FORMAT:
            raise ValueError(f"expected format {FORMAT!r}, got {meta['format']!r}")
        model, params, buffers = model_of(meta["model"]), part(arrays, "param"), part(arrays, "buffer")
        x, y, pairs, x_eval = (arrays[key] for key in INPUTS)
        problem = checked_problem(model, params, buffers, x, y, pairs, x_eval, meta["loss"], meta["training"])
        outputs = {key: a for key, a in arrays.items() if key.partition("/")[0] in QUANTITIES}
        vector = Vector.of(problem, outputs, name=meta["name"], flags=tuple(meta["flags"]), notes=meta["notes"])
        _check_outputs(vector)
    except KeyError as error:
        raise InputError(f"{path}: not a test vector or reference, it lacks {error}") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a test vector or reference ({first_line(error)})") from error
    return vector


def output_shapes(problem: Problem) -> Shapes:
    """The keys of all outputs, and their shapes."""
    pairs, fields = len(problem.pairs), len(problem.x)
    shapes: Shapes = {"logits": (*problem.x.shape[: 1 + problem.batches], problem.model.n_out), "loss": (fields,)}
    for quantity, lead in (("grad", (fields,)), ("hvp", (pairs, 2)), ("bracket", (pairs,))):
        shapes |= {f"{quantity}/{name}": (*lead, *p.shape) for name, p in problem.params.items()}
    return shapes | {"logit_delta": (pairs, len(problem.x_eval), problem.model.n_out)}


def model_of(spec: Any) -> Model:
    """The network of a specification: a dict of its "kind" and the keywords of `mlp` or `mxresnet`; else ValueError.

    >>> model_of({"kind": "mlp", "sizes": [2, 3, 1], "activation": "tanh"}).parameter_count
    13
    """
    if not isinstance(spec, Mapping) or spec.get("kind") not in tuple(MODELS):
        raise ValueError(f'model: expected an object with "kind" one of {", ".join(MODELS)}, got {shortened(spec)}')
    keywords = {key: value for key, value in spec.items() if key != "kind"}
    try:
        depth = len(spec.get("sizes", ())) + sum(spec.get("layers", ()))
        if depth > DEEPEST:
            raise ValueError(f"model: expected at most {DEEPEST} layers or blocks, got {depth}")
        return MODELS[spec["kind"]](**keywords)
    except TypeError as error:  # a keyword is missing, unknown or no list
        raise ValueError(f"model: {first_line(error)}") from error


def part(arrays: Mapping[str, Array], prefix: str) -> Arrays:
    """The arrays whose names start with `prefix/`, under the rest of their names."""
    return {key.removeprefix(f"{prefix}/"): a for key, a in arrays.items() if key.startswith(f"{prefix}/")}


def _check_outputs(vector: Vector) -> None:
    shapes = output_shapes(vector)
    for key in (*shapes, *vector.outputs):
        if key not in shapes or key not in vector.outputs:
            raise ValueError(f"{key!r} is {'missing' if key in shapes else 'unknown'}")
        found = vector.outputs[key]
        if found.shape != shapes[key] or found.dtype != np.float64:
            raise ValueError(f"{key!r}: expected float64 {shapes[key]}, got {found.dtype} {found.shape}")
    _check_finite(vector.outputs)


def _check_finite(outputs: Arrays) -> None:
    wrong = [key for key, a in outputs.items() if not np.isfinite(a).all()]
    if wrong:
        others = f" and {len(wrong) - 1} others" if len(wrong) > 1 else ""
        raise ValueError(f"answers: expected finite numbers, got nan or inf in {wrong[0]!r}{others}")
