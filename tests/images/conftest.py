"""A small CelebA for the tests of what reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_up_celeba import ATTR, PARTITION, PARTITION_ROWS, ZIP, attributes, put, put_images, text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A complete and correct CelebA of 400 images."""
    home = tmp_path / "celeba"
    put(home / ATTR, attributes())
    put(home / PARTITION, text(PARTITION_ROWS))
    put_images(home / ZIP)
    return home
