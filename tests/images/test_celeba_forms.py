"""CelebA is read in the forms in which it comes from people's disks, or its form is named in one line."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_up_celeba import (
    ALL,
    ATTR,
    ATTRIBUTE_ROWS,
    CSV_HEADER,
    IMAGES,
    NAMES,
    PARTITION_ROWS,
    PICTURES,
    SPLIT,
    ZIP,
    N,
    attributes,
    check,
    csv,
    load,
    put,
    put_images,
    refusal,
    text,
)
from PIL import Image

from lie_ref.images import celeba, lists
from lie_ref.machine.errors import InputError

CSV, PARTITION_CSV = csv(CSV_HEADER, ATTRIBUTE_ROWS), csv("image_id,partition", PARTITION_ROWS)


def numbered(list_: str) -> str:
    """As pandas writes a table with its own row numbers."""
    header, *rows = list_.split()
    return text([f",{header}", *(f"{number},{row}" for number, row in enumerate(rows))])


def quoted(list_: str) -> str:
    return text([",".join(f'"{cell}"' for cell in row.split(",")) for row in list_.split()])


ATTRIBUTE_FORMS = {
    "no name over the images' names": CSV.removeprefix("image_id"),
    "a count above the header of a csv": f"{N}\n{CSV}",
    "a count alone on a line of commas": f"{N}{',' * 40}\n{CSV}",
    "semicolons": CSV.replace(",", ";"),
    "tabs": CSV.replace(",", "\t"),
    "quotes": quoted(CSV),
    "row numbers": numbered(CSV),
    "a byte order mark before the count": "\ufeff" + attributes(),
    "two byte order marks": "\ufeff\ufeff" + attributes(),
    "a blank line first": "\n" + attributes(),
    "no count": attributes().partition("\n")[2],
    "line ends of an old Macintosh": attributes().replace("\n", "\r"),
    "labels 0 and 1": attributes().replace("-1", "0"),
    "names in capitals": attributes().replace(".jpg", ".JPG"),
    "names without suffix": attributes().replace(".jpg", ""),
}
PARTITION_FORMS = {
    "no names": PARTITION_CSV.removeprefix("image_id,partition\r\n"),
    "no name over the images' names": PARTITION_CSV.removeprefix("image_id"),
    "a header in a text file": text(["image_id partition", *PARTITION_ROWS]),
    "a count": text([str(N), *PARTITION_ROWS]),
    "semicolons and quotes": quoted(PARTITION_CSV).replace(",", ";"),
    "row numbers": numbered(PARTITION_CSV),
    "names of the png": text(PARTITION_ROWS).replace(".jpg", ".png"),
}


@pytest.mark.parametrize("form", ATTRIBUTE_FORMS)
@pytest.mark.parametrize("suffix", [".txt", ".csv"])
def test_the_attributes_are_read_in_every_clear_form(folder, form, suffix):
    path = folder / f"list_attr_celeba{suffix}"
    put(path, ATTRIBUTE_FORMS[form])
    rows, listed = lists.read_attributes(lists.read_list(folder, path.name), subset=False)
    expected, _ = lists.read_attributes(lists.read_list(folder, ATTR), subset=False)
    assert list(rows.values()) == list(expected.values())
    assert [Path(name).stem for name in rows] == [Path(name).stem for name in NAMES]
    assert listed == N


@pytest.mark.parametrize("form", PARTITION_FORMS)
@pytest.mark.parametrize("suffix", [".txt", ".csv"])
def test_the_partition_is_read_in_every_clear_form(folder, form, suffix):
    path = folder / f"list_eval_partition{suffix}"
    put(path, PARTITION_FORMS[form])
    found = lists.read_partition(lists.read_list(folder, path.name), NAMES)
    np.testing.assert_array_equal(found, SPLIT)


def png(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (20, 26), number % 251).save(file, "PNG")
    return file.getvalue()


PNGS = {name.replace(".jpg", ".png"): png(number) for number, name in enumerate(NAMES, 1)}
CAPITALS = {name.replace(".jpg", ".JPG"): picture for name, picture in PICTURES.items()}
TWINS = {f"._{name}": b"\0\5\x16\7" for name in NAMES}


def unopened(folder: Path, name: str = "archive.zip") -> Path:
    """Kaggle's zip of everything, in place of the folder's content."""
    for path in list(folder.iterdir()):
        path.unlink()
    put_images(folder / name, PICTURES, f"{IMAGES}/{IMAGES}/")
    with zipfile.ZipFile(folder / name, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("list_attr_celeba.csv", CSV)
        archive.writestr("list_bbox_celeba.csv", "image_id,x_1,y_1,width,height\n")
        archive.writestr("list_eval_partition.csv", PARTITION_CSV)
    return folder / name


def as_root(folder: Path, name: str = "celeba") -> Path:
    (root := folder.parent / "data").mkdir()
    return folder.rename(root / name).parent


def unpacked(folder: Path, pictures: dict[str, bytes] = PICTURES, name: str = IMAGES) -> Path:
    put_images(folder / name, pictures)
    return folder


def beside_a_bad_zip(folder: Path, pictures: dict[str, bytes] = PICTURES) -> Path:
    content = (folder / ZIP).read_bytes()[:-9]
    unpacked(folder, pictures)
    put(folder / ZIP, content)
    return folder


def kaggles_zip_in(folder: Path) -> Path:
    return unopened(folder).parent


def zipped(folder: Path, pictures: dict[str, bytes]) -> Path:
    put_images(folder / ZIP, pictures)
    return folder


ARRANGEMENTS: dict[str, Callable[[Path], Path]] = {
    "torchvision's root": as_root,
    "torchvision's root, in capitals": lambda folder: as_root(folder, "CelebA"),
    "Kaggle's zip, unopened": unopened,
    "Kaggle's zip under another name": lambda folder: unopened(folder, "faces.zip"),
    "a folder with Kaggle's zip": kaggles_zip_in,
    "the list itself": lambda folder: folder / ATTR,
    "the zip of the images": lambda folder: folder / ZIP,
    "the folder of the images": lambda folder: unpacked(folder) / IMAGES,
    "a folder of png": lambda folder: unpacked(folder, PNGS, f"{IMAGES}_png"),
    "a zip of png": lambda folder: zipped(folder, PNGS),
    "suffixes in capitals": lambda folder: unpacked(folder, CAPITALS),
    "twins of macOS in a folder": lambda folder: unpacked(folder, PICTURES | TWINS),
    "twins of macOS in a zip": lambda folder: zipped(folder, TWINS | PICTURES),
    "a whole folder beside a bad zip": beside_a_bad_zip,
}


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_celeba_is_found_in_every_clear_arrangement(folder, arrangement):
    given = ARRANGEMENTS[arrangement](folder)
    dataset = celeba.celeba_dataset(given, folder.parent / "cache", size=8)
    check(dataset, ALL)
    assert any("not used: " in note and "damaged" in note for note in dataset.notes) == ("bad zip" in arrangement)


def test_twins_of_macos_do_not_make_half_a_folder_the_larger_source(folder):
    for name in NAMES[:300]:
        put(folder / IMAGES / name, PICTURES[name])
        put(folder / IMAGES / f"._{name}", b"")
    check(load(folder))


# fmt: off
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "two candidates": (lambda folder: unpacked(folder, {NAMES[0].replace("jpg", s): b"" for s in ("png", "JPG")}),
                       f"{IMAGES}: 400 of the 400 images named in {ATTR} are missing, the first: 000001.jpg (found 00"),
    "names with a folder": (lambda folder: put(folder / ATTR, attributes().replace("\n000", "\nx/000")),
                            f"{ZIP}: 400 of the 400 images named in {ATTR} are missing, the first: x/000001.jpg (fo"),
    "half a folder and a bad zip": (lambda folder: beside_a_bad_zip(folder, dict(list(PICTURES.items())[:9])),
                                    f"{IMAGES}: 391 of the 400 images named in {ATTR} are missing, the first: 000010.j"
                                    "pg (--subset takes those that are there); "),
    "a bad Kaggle zip": (lambda folder: put(unopened(folder), b"PK\3\4"), "archive.zip: damaged or not a zip"),
    "a Kaggle zip without lists": (lambda folder: put_images(unopened(folder)), "celeba: no list_attr_celeba.txt or"),
    "a list in bzip2": (lambda folder: packed(unopened(folder), zipfile.ZIP_BZIP2),
                        "archive.zip/list_attr_celeba.csv: cannot be read: compressed in another way"),
    "a list too long": (lambda folder: packed(unopened(folder), zipfile.ZIP_DEFLATED, b"\n" * (lists.LIST_BYTES + 1)),
                        "archive.zip/list_attr_celeba.csv: cannot be read: 134,217,729 bytes, expected at most 134"),
}
# fmt: on


def packed(path: Path, way: int, content: str | bytes = CSV) -> None:
    put_images(path)
    with zipfile.ZipFile(path, "a", way) as archive:
        archive.writestr("list_attr_celeba.csv", content)


@pytest.mark.parametrize("form", REFUSED)
def test_other_arrangements_are_named_without_advice_that_cannot_help(folder, form):
    change, said = REFUSED[form]
    change(folder)
    message = refusal(folder)
    assert message.startswith(said) or said in message
    if "--subset" not in said:
        assert "--subset" not in message
        assert refusal(folder, subset=True) == message


def test_a_path_that_is_no_part_of_celeba_is_named(folder):
    put(folder / "notes.txt", "")
    for path, said in (
        (folder / "notes.txt", "expected a folder, CelebA's list"),
        (folder / "a.zip", "no such folder"),
    ):
        with pytest.raises(InputError, match=f"^{path}: {said}"):
            load(path)
