"""Test vectors and references, the files that implementations are verified against: a problem and its exact answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..core.networks import Model, mlp, mxresnet
from ..core.problem import Problem
from ..core.types import Array, Arrays, Shapes
from ..fast.arguments import checked_problem
from ..machine.errors import InputError
from ..machine.files import first_line, read_npz, write_npz
from .answers import QUANTITIES, Answers

FORMAT = "lie-ref-vector/1"
MODELS: dict[str, Callable[..., Model]] = {"mlp": mlp, "mxresnet": mxresnet}


@dataclass(frozen=True)
class Vector(Problem):
    """A problem with its answers, `outputs`, under the keys of its file: `loss`, `logits`, `grad/NAME`, …, float64."""

    outputs: Arrays = field(default_factory=dict)
    name: str = ""
    flags: tuple[str, ...] = ()
    notes: str = ""


def answered(problem: Problem, **about: Any) -> Vector:
    """The problem with its answers, in float64; computed in extended precision if its arrays are.

    Answers that are rounded from extended precision have the same bits on every machine that has it.  Raises ValueError
    where they are not finite.
    """
    with np.errstate(all="ignore"):  # what overflows is said below
        outputs = {key: a.astype(np.float64) for key, a in Answers(problem).outputs().items()}
    _check_finite(outputs)
    double = problem.astype(np.float64)
    return Vector(**{f.name: getattr(double, f.name) for f in fields(Problem)}, outputs=outputs, **about)


def write_vector(path: Path, vector: Vector) -> None:
    """Write a vector's `.npz`: `param/…`, `buffer/…`, `x`, `y`, `pairs`, `x_eval`, the outputs, and `meta`, JSON."""
    meta = {
        "format": FORMAT,
        "name": vector.name,
        "model": vector.model.spec,
        "loss": vector.loss,
        "fields": "batches" if vector.batches else "examples",
        "training": vector.training,
        "flags": list(vector.flags),
        "notes": vector.notes,
    }
    state = {f"param/{k}": p for k, p in vector.params.items()} | {f"buffer/{k}": b for k, b in vector.buffers.items()}
    inputs = {"x": vector.x, "y": vector.y, "pairs": vector.pairs.astype(np.int64), "x_eval": vector.x_eval}
    write_npz(path, state | inputs | vector.outputs | {"meta": np.array(json.dumps(meta))})


def read_vector(path: Path) -> Vector:
    """The vector in a file; `InputError` naming the file if it is not one, or not whole."""
    arrays = read_npz(path)
    try:
        meta = json.loads(str(arrays["meta"]))
        if meta["format"] != FORMAT:
            raise ValueError(f"expected format {FORMAT!r}, got {meta['format']!r}")
        problem = checked_problem(
            model_of(meta["model"]),
            part(arrays, "param"),
            part(arrays, "buffer"),
            arrays["x"],
            arrays["y"],
            arrays["pairs"],
            arrays["x_eval"],
            meta["loss"],
            meta["training"],
        )
        vector = Vector(
            **{f.name: getattr(problem, f.name) for f in fields(Problem)},
            outputs={key: a for key, a in arrays.items() if key.partition("/")[0] in QUANTITIES},
            name=meta["name"],
            flags=tuple(meta["flags"]),
            notes=meta["notes"],
        )
        _check_outputs(vector)
    except KeyError as error:
        raise InputError(f"{path}: not a test vector or reference, it lacks {error}") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a test vector or reference ({first_line(error)})") from error
    return vector


def output_shapes(problem: Problem) -> Shapes:
    """The keys that an answer may have, and the shape of each."""
    pairs, fields = len(problem.pairs), len(problem.x)
    shapes: Shapes = {
        "logits": (*problem.x.shape[: 1 + problem.batches], problem.model.n_out),
        "loss": (fields,),
    }
    for quantity, lead in (("grad", (fields,)), ("hvp", (pairs, 2)), ("bracket", (pairs,))):
        shapes |= {f"{quantity}/{name}": (*lead, *p.shape) for name, p in problem.params.items()}
    return shapes | {"logit_delta": (pairs, len(problem.x_eval), problem.model.n_out)}


def model_of(spec: Any) -> Model:
    """The network of a specification, a dict of `mlp`'s or `mxresnet`'s keywords and their "kind"; ValueError if none.

    >>> model_of({"kind": "mlp", "sizes": [2, 3, 1], "activation": "tanh"}).parameter_count
    13
    """
    if not isinstance(spec, Mapping) or spec.get("kind") not in tuple(MODELS):
        raise ValueError(f'model: expected an object with "kind" one of {", ".join(MODELS)}, got {spec!r}')
    keywords = {key: value for key, value in spec.items() if key != "kind"}
    try:
        return MODELS[spec["kind"]](**keywords)
    except TypeError as error:  # a keyword that it lacks or does not know
        raise ValueError(f"model: {first_line(error)}") from error


def part(arrays: Mapping[str, Array], prefix: str) -> Arrays:
    """The arrays whose names begin with `prefix/`, without it."""
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
