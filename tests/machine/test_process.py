"""The settings of the process take effect where they can and do no harm elsewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from lie_ref.machine import process

WORK = """
from pathlib import Path
import numpy as np
from lie_ref.machine.process import use_one_blas_thread

use_one_blas_thread()
a = np.random.default_rng(0).random((1000, 1000))
for _ in range(20):
    a @ a
stats = [path.read_text().rsplit(")", 1)[1].split() for path in Path("/proc/self/task").glob("*/stat")]
print(*sorted(int(stat[11]) for stat in stats))  # user time of each thread, in hundredths of a second
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads the times of threads from Linux's /proc")
def test_large_products_are_computed_in_one_thread():
    printed = subprocess.run([sys.executable, "-c", WORK], capture_output=True, text=True, check=True).stdout
    *others, busiest = map(int, printed.split())
    assert busiest > 10
    assert sum(others) < busiest / 4


def test_settings_do_nothing_with_other_libraries(monkeypatch):
    monkeypatch.setattr(process.ctypes, "CDLL", Mock(side_effect=OSError("no such library")))
    monkeypatch.setattr(process.Path, "read_text", lambda self: "7f00-7f01 r-xp 00000000 00:00 0 /usr/lib/libblas.so\n")
    process.use_one_blas_thread()
    process.keep_freed_memory()
