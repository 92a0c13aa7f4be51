"""The settings of the process take effect where they can and do no harm elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from lie_ref.machine import process

WORK = """
from pathlib import Path
import numpy as np
import lie_ref

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


EVERY_ENTRY = """
import hashlib
import numpy as np
import lie_ref

rng = np.random.default_rng(0)
model = lie_ref.mlp([300, 400, 200])
params, buffers = model.init(0)
x, y, pairs = rng.random((2, 25, 300)), rng.random((2, 25, 200)), [(0, 1)]
given, batches = (model, params, buffers, x[0], y[0]), (model, params, buffers, x, y, pairs)
digest = hashlib.sha256()
for found in (
    lie_ref.gradients(*given),
    lie_ref.hvps(*given, {name: p[None] for name, p in params.items()}),
    lie_ref.brackets(*given, pairs),
    lie_ref.batch_brackets(*batches),
    lie_ref.oracle.reference(*given, pairs).outputs,
    lie_ref.oracle.reference(*batches).outputs,
    {"": lie_ref.bracket_norms(*given, partners=[0, 1])},
    {"": lie_ref.evaluate(*given, examples=2).logit_delta},
    {"": model.apply(params, buffers, x[0])},
):
    for array in found.values():
        digest.update(np.ascontiguousarray(array))
print(digest.hexdigest())
"""


def test_every_entry_gives_the_same_bits_for_1_and_2_threads_of_blas():
    def printed(count):
        command, environment = [sys.executable, "-c", EVERY_ENTRY], os.environ | {"OPENBLAS_NUM_THREADS": count}
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout

    assert printed("1") == printed("2")


def test_settings_do_nothing_with_other_libraries(monkeypatch):
    monkeypatch.setattr(process.ctypes, "CDLL", Mock(side_effect=OSError("no such library")))
    monkeypatch.setattr(
        process.Path, "read_text", lambda self: "7f00-7f01 r-xp 00000000 00:00 0 /usr/lib/libopenblas.so\n"
    )
    process.use_one_blas_thread()
    process.keep_freed_memory()


def test_blas_is_found_in_a_folder_whose_name_has_spaces(monkeypatch):
    loaded = Mock()
    monkeypatch.setattr(process.ctypes, "CDLL", loaded)
    line = "7f00-7f01 r-xp 00000000 00:00 12      /my own/lib openblas.so"
    monkeypatch.setattr(process.Path, "read_text", lambda self: f"{line}\n")
    process.use_one_blas_thread()
    loaded.assert_called_once_with("/my own/lib openblas.so")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_what_the_machine_and_the_container_leave() -> None:
    free = process.available_memory()
    assert free is not None
    assert 2**28 < free <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
