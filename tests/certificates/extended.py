"""Computes every output of a test vector twice in extended precision: by sweeps and by autograd, reverse over reverse.

The two share neither differentiation code nor the derivatives of any layer or loss.  Both round to 64 bits, so the
number of digits to which they agree bounds rounding errors and mistakes in either.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np

from lie_ref.core.engine import Autograd
from lie_ref.core.fields import hvp_reverse_over_reverse
from lie_ref.fast import engine
from lie_ref.oracle.answers import Answers
from lie_ref.oracle.tolerance import ROWS, row_norms
from lie_ref.oracle.vectors import read_vector

from .multiprecision import Certificate

AVAILABLE = np.finfo(np.longdouble).nmant >= 63


def certify(path: str | PathLike[str]) -> Certificate:
    """The agreement of the two computations, and the error of the file's values relative to the sweeps."""
    vector = read_vector(Path(path))
    problem = vector.astype(np.longdouble)
    found, other = (Answers(problem, by).outputs() for by in (engine, Autograd(hvp_reverse_over_reverse)))
    return Certificate(
        values={key: a.astype(np.float64) for key, a in found.items()},
        agreement={key: float(-np.log10(max(_relative(key, other[key], a), 1e-30))) for key, a in found.items()},
        ulps={key: 2.0**53 * _relative(key, vector.outputs[key], a) for key, a in found.items()},
    )


def _relative(key: str, a: np.ndarray, b: np.ndarray) -> float:
    """The largest ‖a − b‖ / ‖b‖ of any row; 0 for a row in which both are 0."""
    lead = ROWS[key.partition("/")[0]]
    error, size = row_norms(a - b, lead), row_norms(b, lead)
    return float(np.divide(error, size, out=np.where(error > 0, np.inf, 0.0), where=size > 0).max())
