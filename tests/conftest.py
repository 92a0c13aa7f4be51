"""What several test modules share, made once a session: a small set of faces, a small finished run, a browser."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import examples, generic_state
from small import SMALL

from lie_ref.all_pairs import Source
from lie_ref.core.networks import mlp
from lie_ref.experiment.run import run_experiment
from lie_ref.images.dataset import Dataset
from lie_ref.images.synthetic import faces_dataset
from lie_ref.machine.lock import locked

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for programs in its background

SWITCHES = (  # options of Chromium
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def faces(cache: Path) -> Dataset:
    return faces_dataset(cache, SMALL.faces, SMALL.seed, SMALL.size)


@pytest.fixture(scope="session")
def small_run(cache: Path, faces: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of `SMALL`, which no test may change.  Processes that share the tests share it."""
    together = tmp_path_factory.getbasetemp()
    together = together.parent if "PYTEST_XDIST_WORKER" in os.environ else together
    out = together / "small"
    with locked(together / "small.lock", "the small run"):
        if not (out / "report.html").exists():
            run_experiment(SMALL, out, cache)
    return out


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """The files of a small network and of 150 examples: three blocks of rows, and the last is short."""
    folder, model = tmp_path_factory.mktemp("source"), mlp([5, 6, 2], "tanh")
    params, buffers = generic_state(model, seed=0)
    x, y = examples(model, (150, 5), seed=0)
    np.savez(folder / "W.npz", **params, **buffers)
    np.savez(folder / "XY.npz", x=x, y=y)
    spec = '{"kind": "mlp", "sizes": [5, 6, 2], "activation": "tanh"}'
    return Source(spec, folder / "W.npz", folder / "XY.npz", "bce")


@pytest.fixture
def run_copy(small_run: Path, tmp_path: Path) -> Path:
    """A copy of that run, which a test may damage."""
    return shutil.copytree(small_run, tmp_path / "copy")


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium, driven by selenium."""
    from selenium import webdriver  # without it, the tests are skipped before they ask for a browser

    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    assert all(programs.values()), f"missing of {list(programs)}: see make test-browser"
    options = webdriver.ChromeOptions()
    options.binary_location = programs["chromium"]
    for switch in (*SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(programs["chromedriver"]))
    yield driver
    driver.quit()
