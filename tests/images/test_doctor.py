"""The doctor sees what the reader would use or refuse, and opens only a few pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from made_up_celeba import (
    ATTR,
    ATTRIBUTE_ROWS,
    IMAGES,
    NAMES,
    PARTITION,
    PARTITION_ROWS,
    PICTURES,
    ZIP,
    N,
    attributes,
    put,
    put_images,
    text,
)

from lie_ref.cli import main
from lie_ref.images import doctor
from lie_ref.images.doctor import MISSING, PROBLEM, diagnosis
from lie_ref.machine.errors import InputError


@pytest.fixture
def celeba(tmp_path: Path) -> Path:
    put_images(tmp_path / "celeba" / IMAGES)
    put(tmp_path / "celeba" / ATTR, attributes())
    put(tmp_path / "celeba" / PARTITION, text(PARTITION_ROWS))
    return tmp_path / "celeba"


def test_a_whole_celeba_is_ready(celeba: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = dict(diagnosis(celeba))
    assert list(seen) == ["attributes", "images", "partition"]
    assert seen["attributes"] == f"{celeba / ATTR}: 40 attributes of 400 images"
    assert seen["images"].startswith(f"{celeba / IMAGES}: 400 files, ")
    assert seen["partition"] == f"{celeba / PARTITION}: 240 train, 60 validation, 100 test"
    assert main(["doctor", str(celeba)]) == 0
    assert capsys.readouterr().out.endswith(f'ready: make experiment CELEBA="{celeba}"\n')


def test_only_three_pictures_are_opened(celeba: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(doctor, "read_picture", lambda path, prefix, size, name: opened.append(name))
    assert PROBLEM not in dict(diagnosis(celeba))
    assert opened == [NAMES[0], NAMES[N // 2], NAMES[-1]]


def without_attributes(celeba: Path) -> None:
    (celeba / ATTR).unlink()


def without_images(celeba: Path) -> None:
    for path in (celeba / IMAGES).iterdir():
        path.unlink()


def other_images(celeba: Path) -> None:
    without_images(celeba)
    put(celeba / IMAGES / "holiday.jpg", PICTURES[NAMES[0]])


def damaged_attributes(celeba: Path) -> None:
    put(celeba / ATTR, attributes([*ATTRIBUTE_ROWS[:-1], "nothing"]))


def damaged_partition(celeba: Path) -> None:
    put(celeba / PARTITION, text(PARTITION_ROWS[:9]))


def no_training_images(celeba: Path) -> None:
    put(celeba / PARTITION, text([f"{name} 2" for name in NAMES]))


def damaged_picture(celeba: Path) -> None:
    put(celeba / IMAGES / NAMES[-1], b"not a picture")


PROBLEMS: dict[str, tuple[Callable[[Path], None], str]] = {
    "no attributes": (without_attributes, "no list_attr_celeba.txt or .csv in it"),
    "no images": (without_images, "no images, expected a folder img_align_celeba"),
    "other images": (other_images, "no listed image is there"),
    "damaged attributes": (damaged_attributes, f"{ATTR}:402: nothing: expected 40 values, found 0"),
    "damaged partition": (damaged_partition, f"{PARTITION}: no row for 391 images"),
    "no training images": (no_training_images, f"{PARTITION}: "),
    "a damaged picture": (damaged_picture, f"{NAMES[-1]}: not an image"),
}


@pytest.mark.parametrize(("damage", "message"), PROBLEMS.values(), ids=PROBLEMS)
def test_what_stands_in_the_way_is_said_and_the_status_is_2(
    celeba: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None], message: str
) -> None:
    damage(celeba)
    problems = [found for what, found in diagnosis(celeba) if what == PROBLEM]
    assert len(problems) == 1
    assert message in problems[0]
    assert main(["doctor", str(celeba)]) == 2
    assert "ready" not in capsys.readouterr().out


def test_missing_images_need_an_option(celeba: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (celeba / IMAGES / NAMES[7]).unlink()
    assert dict(diagnosis(celeba))[MISSING].startswith(f"1 listed images, the first: {NAMES[7]}")
    assert main(["doctor", str(celeba)]) == 0
    assert capsys.readouterr().out.endswith("ARGS=--subset\n")


@pytest.mark.parametrize("announced", [399, 401])
def test_a_list_of_another_length_than_it_announces_needs_an_option(
    celeba: Path, announced: int, capsys: pytest.CaptureFixture[str]
) -> None:
    put(celeba / ATTR, attributes().replace("400", str(announced), 1))
    assert f"{announced} images announced, 400 listed" in dict(diagnosis(celeba))[MISSING]
    assert main(["doctor", str(celeba)]) == 0
    assert capsys.readouterr().out.endswith("ARGS=--subset\n")


def test_without_a_partition_it_says_how_images_are_split(celeba: Path) -> None:
    (celeba / PARTITION).unlink()
    assert dict(diagnosis(celeba))["partition"].endswith("follows the list's order: 320 train, 40 validation, 40 test")


def test_half_a_zip_beside_the_folder_is_seen(celeba: Path) -> None:
    put(celeba / ZIP, b"PK\x03\x04 half a download")
    seen = [*diagnosis(celeba)]
    assert seen[0][0] == "damaged"
    assert ZIP in seen[0][1]
    assert PROBLEM not in dict(seen)


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such folder"):
        list(diagnosis(tmp_path / "nowhere"))
