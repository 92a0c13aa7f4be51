"""What several test modules share: one small set of faces and one small finished run, made once a session."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from lie_ref.dataset import Dataset
from lie_ref.experiment import run_experiment
from lie_ref.process import use_one_blas_thread
from lie_ref.settings import Settings
from lie_ref.synthetic import faces_dataset

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in whose background the tests run has it ignored

SMALL = Settings(faces=400, size=16, steps=12)
SMALL_OPTIONS = ("--faces", "400", "--size", "16", "--steps", "12")  # the same for the command line


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def faces(cache: Path) -> Dataset:
    return faces_dataset(cache, SMALL.faces, SMALL.seed, SMALL.size)


@pytest.fixture(scope="session")
def small_run(cache: Path, faces: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of `SMALL`; not to be changed.

    It has the bits of the command line, which computes in one BLAS thread; the tests that compare with it go on so.
    """
    use_one_blas_thread()
    out = tmp_path_factory.mktemp("runs") / "small"
    run_experiment(SMALL, out, cache)
    return out


@pytest.fixture
def run_copy(small_run: Path, tmp_path: Path) -> Path:
    """A copy of that run, to be damaged."""
    return shutil.copytree(small_run, tmp_path / "copy")
