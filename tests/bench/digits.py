"""`python -m tests.bench.digits`: how many digits `lie_ref.check` decides, by kind of network and precision.

Products and brackets are computed by PyTorch, by double backward, at seeds 0 to 9; none of them should be rejected.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch

from lie_ref import check
from lie_ref.oracle import Verdict

from ..peers import zoo

SEEDS = range(10)
HEAD = "| problem | float64: agree | digits decided | float32: agree | cannot tell | digits decided |"


def main() -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    print(HEAD, "| --- " * 6 + "|", sep="\n")
    for kind in zoo.KINDS:
        print(row(kind), flush=True)


def row(kind: str) -> str:
    """The table's line for one kind of problem: counts of verdicts, and the range of digits over the seeds."""
    cells = [kind if zoo.case(kind, 0).smooth else f"{kind} (kinks)"]
    for dtype in (torch.float64, torch.float32):
        verdicts = [verdict(zoo.case(kind, seed, dtype)) for seed in SEEDS]
        digits = [v.decided for v in verdicts]
        agree, unknown = (str(sum(v.agrees is said for v in verdicts)) for said in (True, None))
        cells += [agree] if dtype == torch.float64 else [agree, unknown]
        cells.append(f"{min(digits):.1f}–{max(digits):.1f}")
    return f"| {' | '.join(cells)} |"


def verdict(case: zoo.Case) -> Verdict:
    with np.errstate(all="ignore"):
        return check(case.gradient, case.theta, {"hvp": case.hvp, "bracket": case.bracket}, [(0, 1), (2, 0)])


if __name__ == "__main__":
    main()
