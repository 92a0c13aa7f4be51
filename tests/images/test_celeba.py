"""All layouts of CelebA give the same data set, and every fault of a download is reported in one line."""

from __future__ import annotations

import io
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_up_celeba import (
    ATTR,
    ATTRIBUTE_ROWS,
    CSV_HEADER,
    IMAGES,
    NAMES,
    PARTITION,
    PARTITION_ROWS,
    PICTURES,
    SIZE,
    SPLIT,
    ZIP,
    N,
    attributes,
    check,
    csv,
    jpeg,
    load,
    put,
    put_images,
    put_lists,
    refusal,
    text,
)
from PIL import Image

from lie_ref.images import celeba
from lie_ref.images.celeba import celeba_dataset
from lie_ref.images.labels import ATTRIBUTES
from lie_ref.images.pictures import centre_square

# --- layouts


PREFIXES = (f"{IMAGES}/", f"{IMAGES}/{IMAGES}/", "")  # the doubled one is Kaggle's
ZIPS = [(f"{place}{ZIP}", prefix) for place in ("", "Img/") for prefix in PREFIXES]
FOLDERS = [(path, "") for path in (IMAGES, f"{IMAGES}/{IMAGES}", f"Img/{IMAGES}")]


@pytest.mark.parametrize(("images", "prefix"), ZIPS + FOLDERS)
def test_images_are_found_in_a_zip_or_a_folder(folder, images, prefix):
    """A folder that holds less does not hide a zip beside it."""
    (folder / ZIP).unlink()
    put_images(folder / images, prefix=prefix)
    put(folder / IMAGES / ".DS_Store", b"")
    dataset = load(folder)
    check(dataset)
    assert dataset.notes == ("400 of the 400 listed images taken", "split read from list_eval_partition.txt")
    assert (dataset.listed, dataset.skipped, dataset.size) == (N, 0, SIZE)


def test_kaggles_lists_give_the_same_data_set(folder):
    """They have the line ends, byte order mark and blank last lines of a Windows editor."""
    kaggle = "\ufeff" + csv(CSV_HEADER, ATTRIBUTE_ROWS) + "\r\n\r\n", csv("image_id,partition", PARTITION_ROWS)
    put_lists(folder, **{"list_attr_celeba.csv": kaggle[0], "list_eval_partition.csv": kaggle[1]})
    check(load(folder))


def test_lists_are_found_in_the_official_sub_folders_with_rows_and_columns_in_any_order(folder):
    rows = [" ".join([name, *reversed(values)]) for name, *values in map(str.split, ATTRIBUTE_ROWS)]
    turned = attributes(rows, names=ATTRIBUTES[::-1]), text(PARTITION_ROWS[::-1])
    put_lists(folder, **{f"Anno/{ATTR}": turned[0], f"Eval/{PARTITION}": turned[1]})
    check(load(folder))


def test_without_a_partition_the_split_is_80_10_10_in_list_order_and_a_note_tells_it(folder):
    (folder / PARTITION).unlink()
    dataset = load(folder)
    np.testing.assert_array_equal(dataset.split, np.repeat([0, 1, 2], (320, 40, 40)))
    assert "no partition file, so the first 80 % train" in dataset.notes[1]


# --- pictures


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_becomes_rgb(mode):
    pixels = centre_square(Image.new("RGB", (30, 20), "white").convert(mode), 8)
    assert (pixels.shape, pixels.dtype) == ((8, 8, 3), np.uint8)
    assert pixels.min() >= 254


@pytest.mark.parametrize("shape", [(8, 8), (30, 10), (10, 30), (89, 109), (178, 218), (1, 1), (3, 200), (1001, 700)])
def test_square_is_the_middle_of_the_picture(shape):
    """The central square is green, everything outside it red, and no red reaches the result."""
    image, side = Image.new("RGB", shape, "red"), min(shape)
    left, top = ((length - side) // 2 for length in shape)
    image.paste((0, 200, 0), (left, top, left + side, top + side))
    np.testing.assert_array_equal(centre_square(image, 8), np.broadcast_to([0, 200, 0], (8, 8, 3)))


def test_large_jpeg_decoded_at_reduced_scale_looks_like_the_whole_one():
    ramp = np.linspace(0, 255, 512)
    picture = np.stack([np.tile(ramp, (640, 1)), np.tile(ramp[::-1], (640, 1)), np.full((640, 512), 90)], axis=-1)
    file = io.BytesIO()
    Image.fromarray(picture.round().astype(np.uint8)).save(file, "JPEG", quality=95)
    with Image.open(file) as image:
        reduced = centre_square(image, 64).astype(int)
        assert image.size == (64, 80)  # decoded at an eighth
    whole = centre_square(Image.fromarray(picture.round().astype(np.uint8)), 64).astype(int)
    assert np.abs(reduced - whole).max() <= 3


# --- some of the images


def test_subset_takes_the_listed_images_that_exist_and_counts_them(folder):
    put_images(folder / ZIP, {name: PICTURES[name] for name in NAMES[::-2]} | {"999999.jpg": jpeg(1)})
    dataset = load(folder, subset=True)
    check(dataset, np.arange(1, N, 2))
    assert dataset.listed == N
    assert dataset.notes[0] == "200 of the 400 listed images taken"


def test_subset_accepts_a_list_cut_short_between_rows(folder):
    put(folder / ATTR, attributes(ATTRIBUTE_ROWS[:350]))
    dataset = load(folder, subset=True)
    check(dataset, np.arange(350))
    assert dataset.listed == N


# --- the cache


# fmt: off
CHANGES: dict[str, Callable[[Path], object]] = {
    "label": lambda folder: put(folder / ATTR, attributes().replace("-1", " 1", 1)),
    "partition": lambda folder: put(folder / PARTITION, text(PARTITION_ROWS[::-1])),
    "no partition": lambda folder: (folder / PARTITION).unlink(),
    "resolution of a picture, not its length": lambda folder: put_images(
        folder / ZIP, PICTURES | {NAMES[7]: jpeg(8)[:15] + b"\7" + jpeg(8)[16:]}),
    "picture in a folder": lambda folder: put(folder / IMAGES / NAMES[7], jpeg(200) + b"\0"),
}
# fmt: on


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_source_gets_a_new_cache(folder, change):
    if change == "picture in a folder":
        put_images(folder / IMAGES)
    before = load(folder).images
    CHANGES[change](folder)
    assert load(folder).images != before


@pytest.mark.parametrize("images", [ZIP, IMAGES])
def test_a_source_and_its_copies_are_decoded_once(folder, images, monkeypatch):
    put_images(folder / images)
    before = load(folder).images
    monkeypatch.setattr(celeba, "build_cache", None)
    check(load(folder))
    copy = shutil.copytree(folder, folder.parent / "copy", copy_function=shutil.copyfile)
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
    assert load(copy).images == before


def test_each_size_and_option_has_its_own_cache(folder):
    cache, options = folder.parent / "cache", ({"size": 4}, {"size": 5}, {"size": 4, "subset": True})
    sets = [celeba_dataset(folder, cache, **some) for some in options]
    assert len({dataset.images for dataset in sets}) == 3
    assert [np.load(dataset.images).shape[1] for dataset in sets] == [4, 5, 4]


# --- faults of the folder and the images

# fmt: off
FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "celeba: no such folder"),
    "no attributes": (lambda folder: (folder / ATTR).unlink(), "celeba: no list_attr_celeba.txt or .csv in it"),
    "no images": (lambda folder: (folder / ZIP).unlink(), "celeba: no images, expected a folder img_align_celeba or"),
    "empty folder": (lambda folder: put_images(folder / IMAGES, {}), "celeba: no images, expected a folder"),
    "other images": (lambda folder: put_images(folder / IMAGES, {"holiday.jpg": jpeg(1)}),
                     "img_align_celeba: 400 of the 400 images named in list_attr_celeba.txt are missing, the first: "),
    "three missing": (lambda folder: put_images(folder / ZIP, {name: PICTURES[name] for name in NAMES[3:]}),
                      f"{ZIP}: 3 of the 400 images named in list_attr_celeba.txt are missing, the first: 000001.jpg "
                      "(--subset takes those that are there)"),
    "empty zip": (lambda folder: put(folder / ZIP, b""), f"{ZIP}: damaged or not a zip"),
    "damaged member": (lambda folder: put(folder / ZIP, (folder / ZIP).read_bytes().replace(jpeg(77), jpeg(78), 1)),
                       f"{ZIP}: {IMAGES}/000077.jpg: cannot be read: Bad CRC-32"),
    "cut zip": (lambda folder: put(folder / ZIP, (folder / ZIP).read_bytes()[:-9]), f"{ZIP}: damaged or not a zip"),
}
# fmt: on


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_the_folder_are_named(folder, fault):
    """Also with `subset`, unless the message suggests it."""
    change, said = FAULTS[fault]
    change(folder)
    for subset in (False, True)[: 1 if "--subset" in said else 2]:
        assert said in refusal(folder, subset=subset)


BAD = {"truncated": jpeg(77)[:-200], "text": b"<html>", "empty": b"", "cut png": b"\x89PNG\r\n\x1a\n\0\0"}


@pytest.mark.parametrize(
    ("content", "images"), [*((content, ZIP) for content in BAD.values()), (BAD["truncated"], IMAGES)]
)
def test_bad_image_is_named_or_skipped_and_counted(folder, content, images):
    put_images(folder / images, PICTURES | {NAMES[76]: content})
    message = refusal(folder)
    assert message.startswith(f"{ZIP}: {IMAGES}/000077.jpg: " if images == ZIP else f"{IMAGES}/000077.jpg: ")
    assert message.endswith("(--skip-bad leaves such images out)")
    assert "0x" not in message  # no address of an object
    dataset = load(folder, skip_bad=True)
    check(dataset, np.delete(np.arange(N), 76))
    assert dataset.skipped == 1
    assert "1 of 400 images skipped" in dataset.notes[-1]


# --- faults of the lists


def changed(line: int, change: Callable[[str], str]) -> str:
    """The attribute list with one changed line."""
    rows = list(ATTRIBUTE_ROWS)
    rows[line - 3] = change(rows[line - 3])
    return attributes(rows)


def partition(line: int, row: str) -> str:
    return text([*PARTITION_ROWS[: line - 1], *([row] if row else []), *PARTITION_ROWS[line:]])


CSV = csv(CSV_HEADER, ATTRIBUTE_ROWS)
# fmt: off
BAD_LISTS: dict[str, tuple[str, str | bytes, str]] = {
    "fewer rows": (ATTR, attributes(ATTRIBUTE_ROWS[:-7]), ":1: 400 images announced, 393 listed (--subset"),
    "more rows": (ATTR, attributes(count=398), ":1: 398 images announced, 400 listed (--subset"),
    "cut within a row": (ATTR, attributes()[:-60], ":402: 000400.jpg: expected 40 values, found 20"),
    "39 values": (ATTR, changed(9, lambda row: row[:-3]), ":9: 000007.jpg: expected 40 values, found 39"),
    "41 values": (ATTR, changed(402, lambda row: row + " 1"), ":402: 000400.jpg: expected 40 values, found 41"),
    "a 2": (ATTR, changed(9, lambda row: row[:-2] + " 2"), ":9: 000007.jpg: expected -1 or 0 or 1, found 2"),
    "a blank line": (ATTR, changed(9, lambda row: ""), ":1: 400 images announced, 399 listed (--subset"),
    "twice the same": (ATTR, changed(9, lambda row: row.replace("07", "03", 1)), ":9: 000003.jpg: listed twice"),
    "missing attribute": (ATTR, attributes(names=ATTRIBUTES[1:]), ":2: attribute 5_o_Clock_Shadow appears 0 times"),
    "unknown attribute": (ATTR, attributes(names=(*ATTRIBUTES[:-1], "Old")), ":2: attribute Old appears 1 times"),
    "one twice": (ATTR, attributes(names=(*ATTRIBUTES, "Male")), ":2: attribute Male appears 2 times, expected 1"),
    "no rows": (ATTR, attributes([]), ": no rows"),
    "empty": (ATTR, "", ": no rows"),
    "count alone": (ATTR, "400", ": no rows"),
    "a 0 among the -1": (ATTR, changed(9, lambda row: row[:-2] + " 0"), ":9: 000007.jpg: both -1 and 0 are there"),
    "a count of 4,000 digits": (ATTR, attributes(count=10**4000), ":1: 1000"),
    "UTF-16": (ATTR, attributes().encode("utf-16"), ":"),
    "binary": (ATTR, attributes([]).encode() + bytes(range(127, 256)), ":3: ???"),
    "an escape": (ATTR, changed(9, lambda row: row[:-2] + " \x1b["), ":9: 000007.jpg: expected -1 or 0 or 1, found ?["),
    "csv without header": ("list_attr_celeba.csv", CSV.partition("\n")[2], ":1: attribute "),
    "csv with an empty value": ("list_attr_celeba.csv", CSV.replace(",1,", ",,", 1), ":2: 000001.jpg: expected 40"),
    "partition with a 3": (PARTITION, partition(5, "000005.jpg 3"), ":5: 000005.jpg: expected 0 or 1 or 2, found 3"),
    "missing image": (PARTITION, partition(5, ""), ": no row for 1 images, the first: 000005.jpg (without this file"),
    "partition cut within a row": (PARTITION, partition(400, "0004")[:-1], ":400: 0004: expected 1 values, found 0"),
    "empty partition": (PARTITION, "", ": no rows"),
    "no test": (PARTITION, text([f"{name} {row % 2}" for row, name in enumerate(NAMES)]), ": no image of 400 is in "),
}
# fmt: on


@pytest.mark.parametrize(("file", "content", "said"), BAD_LISTS.values(), ids=BAD_LISTS)
def test_faults_of_the_lists_are_named(folder, file, content, said):
    """Also with `subset`, unless the message suggests it."""
    (folder / file).with_suffix(".txt").unlink()
    put(folder / file, content)
    for subset in (False, True)[: 1 if "--subset" in said else 2]:
        assert refusal(folder, subset=subset).startswith(f"{file}{said}")


def test_a_subset_without_test_images_gets_the_hint_to_remove_the_partition(folder):
    put_images(folder / ZIP, {NAMES[number]: jpeg(number + 1) for number in np.flatnonzero(SPLIT < 2)})
    hint = "without this file the split follows the list's order"
    said = "list_eval_partition.txt: no image of 300 is in the test split (2)"
    assert refusal(folder, subset=True) == f"{said}; {hint}"


# --- full size, and real images


def test_full_size_list_with_some_of_the_images_takes_seconds(folder):
    """202,599 rows and 400 images; this process takes about a fifth of the processor time allowed."""
    names = [f"{number:06}.jpg" for number in range(1, 202_600)]
    rows = [name + ATTRIBUTE_ROWS[row % N][10:] for row, name in enumerate(names)]
    put(folder / ATTR, attributes(rows, count=len(names)))
    put(folder / PARTITION, text([f"{name} {SPLIT[row % N]}" for row, name in enumerate(names)]))
    start = time.process_time()
    dataset = load(folder, subset=True)
    assert time.process_time() - start < 20
    check(dataset)
    assert dataset.listed == len(names)


@pytest.mark.celeba
def test_real_images_look_like_faces_with_the_labelled_hair(tmp_path):
    if "CELEBA" not in os.environ:
        pytest.skip("CELEBA does not name a folder of real images")
    dataset = celeba_dataset(Path(os.environ["CELEBA"]), tmp_path, subset=True)
    assert len(dataset) == len(dataset.files) == len(np.unique(dataset.files))
    x, y = dataset.batch(np.arange(256))
    assert 0.4 < x.std() < 0.8  # natural pictures: neither flat nor noise
    top, bottom = x[:, :, :8].mean(), x[:, :, 24:40, 24:40].mean()
    assert bottom > top  # the face in the middle is lighter than hair and background above it
    black, blond = (y[:, ATTRIBUTES.index(name)] == 1 for name in ("Black_Hair", "Blond_Hair"))
    assert x[blond][:, :, 4:16].mean() > x[black][:, :, 4:16].mean() + 0.2
