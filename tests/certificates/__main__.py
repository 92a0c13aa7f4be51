"""`make certify`: recomputes the certificate of every shipped test vector and compares it with the index's claim.

`make certify EVERY=5` does so for every fifth vector.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from . import extended, multiprecision

VECTORS = Path(__file__).parents[2] / "data" / "vectors"
ULPS = 4.0  # allowed error of the float64 values in a file, in units of 2⁻⁵³ of a row's norm
HEADER = f"{'vector':<28} {'certified by':<18} {'claimed':>7} {'digits':>7} {'worst':<36} {'ulps':>6} {'seconds':>8}"


def line(entry: dict[str, Any]) -> tuple[bool, str]:
    """Whether a vector's claim holds, and its line of the table."""
    start = time.perf_counter()
    method = multiprecision if "mpmath" in entry["certified_by"] else extended
    name, claimed = entry["name"], entry["certified_digits"]
    by = "mpmath" if method is multiprecision else "long double (x87)"
    if method is extended and not extended.AVAILABLE:
        return True, f"{name:<28} {by:<18} {claimed:>7}  not recomputed: this platform has no 80-bit long double"
    certificate = method.certify(VECTORS / entry["file"])
    ulps = max(certificate.ulps.values())
    holds = certificate.digits >= claimed and ulps <= ULPS
    figures = f"{claimed:>7} {certificate.digits:>7.1f} {certificate.worst:<36} {ulps:>6.2f}"
    text = f"{name:<28} {by:<18} {figures} {time.perf_counter() - start:>8.1f}{'' if holds else '  DOES NOT HOLD'}"
    return holds, text


def main() -> int:
    """Print the table; the exit status is 0 if every claim holds, otherwise 1."""
    every = int(sys.argv[1]) if sys.argv[1:] else 1
    entries = json.loads((VECTORS / "index.json").read_text(encoding="utf-8"))["vectors"][::every]
    print(HEADER)
    all_hold = True
    with ProcessPoolExecutor(2) as pool:
        for holds, text in pool.map(line, entries):
            print(text, flush=True)
            all_hold &= holds
    return 0 if all_hold else 1


if __name__ == "__main__":
    sys.exit(main())
