"""CelebA's layouts all give the same data set, and each way in which a download can be wrong gives one line."""

from __future__ import annotations

import functools
import io
import os
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lie_ref.images import celeba
from lie_ref.images.celeba import celeba_dataset, centre_square
from lie_ref.images.dataset import Dataset
from lie_ref.images.labels import ATTRIBUTES
from lie_ref.machine.errors import InputError

N = 400
NAMES = [f"{number:06}.jpg" for number in range(1, N + 1)]
LABELS = (np.random.default_rng(0).random((N, 40)) < 0.3).astype(np.uint8)
SPLIT = np.random.default_rng(1).permutation(np.repeat([0, 1, 2], (240, 60, 100)))
IMAGES = "img_align_celeba"
SIZE = 8


@functools.cache
def jpeg(number: int) -> bytes:
    """A picture of 20 x 26 pixels whose grey level tells its number."""
    file = io.BytesIO()
    Image.new("RGB", (20, 26), (number % 251,) * 3).save(file, "JPEG", quality=95)
    return file.getvalue()


def attribute_rows() -> list[str]:
    return [f"{name} " + " ".join(f"{2 * int(v) - 1:2}" for v in row) for name, row in zip(NAMES, LABELS, strict=True)]


def attribute_text(rows: list[str] | None = None, count: int = N, names: tuple[str, ...] = ATTRIBUTES) -> str:
    return "\n".join([str(count), " ".join(names) + " ", *(attribute_rows() if rows is None else rows), ""])


def partition_rows() -> list[str]:
    return [f"{name} {value}" for name, value in zip(NAMES, SPLIT, strict=True)]


def put(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def put_images(folder: Path, names: list[str] = NAMES) -> None:
    for name in names:
        put(folder / name, jpeg(int(name[:6])))


def put_zip(path: Path, prefix: str, names: list[str] = NAMES) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("__MACOSX/._img", b"")
        if prefix:
            archive.writestr(prefix, b"")
        for name in names:
            archive.writestr(prefix + name, jpeg(int(name[:6])))


def csv(rows: list[str], header: str) -> str:
    return "\r\n".join([header, *(",".join(row.split()) for row in rows), ""])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole and right CelebA of 400 images, in one folder and one zip."""
    home = tmp_path / "celeba"
    put(home / "list_attr_celeba.txt", attribute_text())
    put(home / "list_eval_partition.txt", "\n".join([*partition_rows(), ""]))
    put_zip(home / f"{IMAGES}.zip", f"{IMAGES}/")
    return home


def load(folder: Path, **options: bool) -> Dataset:
    return celeba_dataset(folder, folder.parent / "cache", size=SIZE, **options)


def refusal(folder: Path, **options: bool) -> str:
    with pytest.raises(InputError) as caught:
        load(folder, **options)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith(str(folder))
    cache = folder.parent / "cache"
    assert not cache.exists() or not list(cache.iterdir())
    return message.removeprefix(f"{folder}/")


def check(dataset: Dataset, rows: np.ndarray | None = None) -> None:
    """The data set is the given rows of the made-up CelebA, pixels included."""
    rows = np.arange(N) if rows is None else rows
    assert dataset.attributes == ATTRIBUTES
    np.testing.assert_array_equal(dataset.files, np.array(NAMES)[rows])
    np.testing.assert_array_equal(dataset.labels, LABELS[rows], strict=True)
    grey = np.load(dataset.images).astype(int)
    assert grey.shape == (len(rows), SIZE, SIZE, 3)
    assert np.abs(grey - ((rows + 1) % 251)[:, None, None, None]).max() <= 1


# --- layouts


def test_official_files_beside_a_zip(folder: Path) -> None:
    dataset = load(folder)
    check(dataset)
    np.testing.assert_array_equal(dataset.split, SPLIT)
    assert dataset.notes == ("400 of the 400 listed images taken", "split read from list_eval_partition.txt")
    assert (dataset.listed, dataset.skipped, dataset.size) == (N, 0, SIZE)


@pytest.mark.parametrize("images", [f"{IMAGES}.zip", f"Img/{IMAGES}.zip"])
@pytest.mark.parametrize("prefix", [f"{IMAGES}/", f"{IMAGES}/{IMAGES}/", ""])
def test_zip_may_lie_in_img_and_double_its_prefix(folder: Path, images: str, prefix: str) -> None:
    (folder / f"{IMAGES}.zip").unlink()
    put_zip(folder / images, prefix)
    check(load(folder))


@pytest.mark.parametrize("images", [IMAGES, f"{IMAGES}/{IMAGES}", f"Img/{IMAGES}"])
def test_images_may_lie_in_a_folder(folder: Path, images: str) -> None:
    (folder / f"{IMAGES}.zip").unlink()
    put_images(folder / images)
    put(folder / IMAGES / ".DS_Store", b"")
    check(load(folder))


def test_unfinished_unpacking_does_not_hide_the_zip(folder: Path) -> None:
    put_images(folder / IMAGES, NAMES[:3])
    check(load(folder))


def test_kaggle_csv_files_give_the_same_as_the_official_ones(folder: Path) -> None:
    expected = load(folder)
    for name in ("list_attr_celeba", "list_eval_partition"):
        (folder / f"{name}.txt").unlink()
    put(folder / "list_attr_celeba.csv", csv(attribute_rows(), "image_id," + ",".join(ATTRIBUTES)))
    put(folder / "list_eval_partition.csv", csv(partition_rows(), "image_id,partition"))
    dataset = load(folder)
    check(dataset)
    np.testing.assert_array_equal(dataset.split, expected.split)
    assert dataset.images != expected.images


def test_official_sub_folders(folder: Path) -> None:
    for place, name in (("Anno", "list_attr_celeba.txt"), ("Eval", "list_eval_partition.txt")):
        (folder / place).mkdir()
        (folder / name).rename(folder / place / name)
    dataset = load(folder)
    check(dataset)
    np.testing.assert_array_equal(dataset.split, SPLIT)


def test_missing_partition_gives_80_10_10_in_list_order_and_says_so(folder: Path) -> None:
    (folder / "list_eval_partition.txt").unlink()
    dataset = load(folder)
    np.testing.assert_array_equal(dataset.split, np.repeat([0, 1, 2], (320, 40, 40)))
    assert "no partition file, so the first 80 % train" in dataset.notes[1]


def test_partition_in_another_order_is_matched_by_name(folder: Path) -> None:
    put(folder / "list_eval_partition.txt", "\n".join(reversed(partition_rows())))
    np.testing.assert_array_equal(load(folder).split, SPLIT)


def test_columns_in_another_order_are_matched_by_name(folder: Path) -> None:
    rows = [" ".join([name, *reversed(values)]) for name, *values in map(str.split, attribute_rows())]
    put(folder / "list_attr_celeba.txt", attribute_text(rows, names=ATTRIBUTES[::-1]))
    check(load(folder))


def test_windows_line_ends_byte_order_mark_and_blank_end_change_nothing(folder: Path) -> None:
    text = csv(attribute_rows(), "image_id," + ",".join(ATTRIBUTES)) + "\r\n\r\n"
    (folder / "list_attr_celeba.txt").unlink()
    put(folder / "list_attr_celeba.csv", b"\xef\xbb\xbf" + text.encode())
    check(load(folder))


# --- pictures


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "F"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    pixels = centre_square(Image.new("RGB", (30, 20), "white").convert(mode), 8)
    assert (pixels.shape, pixels.dtype) == ((8, 8, 3), np.uint8)
    assert pixels.min() >= 254


@pytest.mark.parametrize("shape", [(8, 8), (30, 10), (10, 30), (89, 109), (178, 218), (1, 1), (3, 200), (1001, 700)])
def test_square_is_the_middle_of_the_picture(shape: tuple[int, int]) -> None:
    """Outside the central square all is red: next to nothing of it may reach the result."""
    width, height = shape
    side = min(shape)
    image = Image.new("RGB", shape, "red")
    left, top = (width - side) // 2, (height - side) // 2
    image.paste((0, 200, 0), (left, top, left + side, top + side))
    np.testing.assert_array_equal(centre_square(image, 8), np.broadcast_to([0, 200, 0], (8, 8, 3)))


def test_large_jpeg_decoded_at_reduced_scale_looks_like_the_whole_one() -> None:
    ramp = np.linspace(0, 255, 512)
    picture = np.stack([np.tile(ramp, (640, 1)), np.tile(ramp[::-1], (640, 1)), np.full((640, 512), 90)], axis=-1)
    file = io.BytesIO()
    Image.fromarray(picture.round().astype(np.uint8)).save(file, "JPEG", quality=95)
    with Image.open(file) as image:
        reduced = centre_square(image, 64).astype(int)
        assert image.size == (64, 80)  # decoded at an eighth
    whole = centre_square(Image.fromarray(picture.round().astype(np.uint8)), 64).astype(int)
    assert np.abs(reduced - whole).max() <= 3


# --- some of the images only


def test_subset_takes_the_listed_images_that_are_there_and_says_how_many(folder: Path) -> None:
    (folder / f"{IMAGES}.zip").unlink()
    put_zip(folder / f"{IMAGES}.zip", f"{IMAGES}/", [*NAMES[::-2], "999999.jpg"])
    dataset = load(folder, subset=True)
    check(dataset, np.arange(1, N, 2))
    np.testing.assert_array_equal(dataset.split, SPLIT[1::2])
    assert (len(dataset), dataset.listed) == (200, 400)
    assert dataset.notes[0] == "200 of the 400 listed images taken"


@pytest.mark.parametrize("cut", [-1, -5, -119, -121, -130, -4000])
def test_subset_takes_the_whole_rows_of_a_list_cut_short(folder: Path, cut: int) -> None:
    text = attribute_text()[:cut]
    whole = text.count("\n") - 2 + (cut == -1)
    put(folder / "list_attr_celeba.txt", text)
    (folder / "list_eval_partition.txt").unlink()
    dataset = load(folder, subset=True)
    check(dataset, np.arange(whole))
    assert dataset.listed == N


def test_subset_accepts_a_partition_that_names_more_than_a_list_cut_short(folder: Path) -> None:
    put(folder / "list_attr_celeba.txt", attribute_text(attribute_rows()[:350]))
    np.testing.assert_array_equal(load(folder, subset=True).split, SPLIT[:350])


# --- the cache


def test_second_call_decodes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(folder)
    monkeypatch.setattr(celeba, "build_cache", None)
    check(load(folder))
    assert load(folder).images == first.images


def rewrite_labels(folder: Path) -> None:
    put(folder / "list_attr_celeba.txt", attribute_text().replace("-1", " 1", 1))


def rewrite_partition(folder: Path) -> None:
    put(folder / "list_eval_partition.txt", "\n".join(reversed(partition_rows())))


def drop_partition(folder: Path) -> None:
    (folder / "list_eval_partition.txt").unlink()


def change_a_picture_in_the_zip(folder: Path) -> None:
    """It keeps its length and place, and only the resolution in its header is another."""
    pictures = {name: jpeg(int(name[:6])) for name in NAMES} | {NAMES[7]: jpeg(8)[:15] + b"\7" + jpeg(8)[16:]}
    (folder / f"{IMAGES}.zip").unlink()
    with zipfile.ZipFile(folder / f"{IMAGES}.zip", "w") as archive:
        archive.writestr("__MACOSX/._img", b"")
        archive.writestr(f"{IMAGES}/", b"")
        for name, picture in pictures.items():
            archive.writestr(f"{IMAGES}/{name}", picture)


@pytest.mark.parametrize("change", [rewrite_labels, rewrite_partition, drop_partition, change_a_picture_in_the_zip])
def test_changed_source_gets_a_cache_of_its_own(folder: Path, change: Callable[[Path], None]) -> None:
    before = load(folder).images
    change(folder)
    assert load(folder).images != before


@pytest.mark.parametrize("unpacked", [False, True])
def test_same_source_copied_elsewhere_finds_its_cache(folder: Path, unpacked: bool) -> None:
    if unpacked:
        (folder / f"{IMAGES}.zip").unlink()
        put_images(folder / IMAGES)
    before = load(folder).images
    copy = shutil.copytree(folder, folder.parent / "copy", copy_function=shutil.copyfile)
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
    assert load(copy).images == before


def test_image_replaced_in_a_folder_gets_a_cache_of_its_own(folder: Path) -> None:
    (folder / f"{IMAGES}.zip").unlink()
    put_images(folder / IMAGES)
    before = load(folder).images
    put(folder / IMAGES / NAMES[7], jpeg(200) + b"\0")
    assert load(folder).images != before


def test_size_and_options_do_not_share_a_cache(folder: Path) -> None:
    cache = folder.parent / "cache"
    sets = [
        celeba_dataset(folder, cache, **options) for options in ({"size": 4}, {"size": 5}, {"size": 4, "subset": True})
    ]
    assert len({dataset.images for dataset in sets}) == 3
    assert [np.load(dataset.images).shape[1] for dataset in sets] == [4, 5, 4]


def test_damaged_cache_is_refused(folder: Path) -> None:
    images = load(folder).images
    os.truncate(images, 1000)
    with pytest.raises(InputError, match=r"images\.npy: cut short .*; delete .* and it is built anew"):
        load(folder)


# --- what is refused: folders and images


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such folder"):
        load(tmp_path / "nowhere")


def test_no_attribute_file(folder: Path) -> None:
    (folder / "list_attr_celeba.txt").unlink()
    assert "no list_attr_celeba.txt or .csv in it" in refusal(folder)


@pytest.mark.parametrize("empty_folder", [False, True])
def test_no_images_at_all(folder: Path, empty_folder: bool) -> None:
    (folder / f"{IMAGES}.zip").unlink()
    if empty_folder:
        (folder / IMAGES).mkdir()
    for subset in (False, True):
        assert "no images, expected a folder img_align_celeba or img_align_celeba.zip" in refusal(folder, subset=subset)


def test_none_of_the_listed_images_is_there(folder: Path) -> None:
    (folder / f"{IMAGES}.zip").unlink()
    put(folder / IMAGES / "holiday.jpg", jpeg(1))
    assert "400 of the 400 images named in list_attr_celeba.txt are missing" in refusal(folder, subset=True)


def test_missing_images_are_counted_and_the_first_is_named(folder: Path) -> None:
    (folder / f"{IMAGES}.zip").unlink()
    put_zip(folder / f"{IMAGES}.zip", f"{IMAGES}/", [*NAMES[:10], *NAMES[13:]])
    assert refusal(folder) == (
        "img_align_celeba.zip: 3 of the 400 images named in list_attr_celeba.txt are missing, "
        "the first: 000011.jpg (--subset takes those that are there)"
    )


BAD_IMAGES = {
    "truncated": jpeg(77)[:-200],
    "text": b"<html>404</html>",
    "empty": b"",
    "cut_png": b"\x89PNG\r\n\x1a\n\0\0",
}


@pytest.mark.parametrize("content", BAD_IMAGES.values(), ids=BAD_IMAGES.keys())
@pytest.mark.parametrize("zipped", [False, True])
def test_bad_image_is_named_or_skipped_and_counted(folder: Path, content: bytes, zipped: bool) -> None:
    put_images(folder / IMAGES)
    put(folder / IMAGES / NAMES[76], content)
    archive = folder / f"{IMAGES}.zip"
    archive.unlink()
    if zipped:
        with zipfile.ZipFile(archive, "w") as file:
            for name in NAMES:
                file.write(folder / IMAGES / name, f"{IMAGES}/{name}")
        shutil.rmtree(folder / IMAGES)
    message = refusal(folder)
    assert message.startswith(
        "img_align_celeba.zip: img_align_celeba/000077.jpg: " if zipped else f"{IMAGES}/000077.jpg: "
    )
    assert message.endswith("(--skip-bad leaves such images out)")
    assert "0x" not in message
    dataset = load(folder, skip_bad=True)
    check(dataset, np.delete(np.arange(N), 76))
    assert dataset.skipped == 1
    assert "1 of 400 images skipped" in dataset.notes[-1]


def test_damaged_member_of_a_zip_is_named_or_skipped(folder: Path) -> None:
    archive = folder / f"{IMAGES}.zip"
    content = archive.read_bytes().replace(jpeg(77), jpeg(77)[:-1] + b"?", 1)
    archive.write_bytes(content)
    assert refusal(folder).startswith("img_align_celeba.zip: img_align_celeba/000077.jpg: cannot be read: Bad CRC-32")
    assert load(folder, skip_bad=True).skipped == 1


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_damaged_zip(folder: Path, share: float) -> None:
    archive = folder / f"{IMAGES}.zip"
    content = archive.read_bytes()
    archive.write_bytes(content[: int(share * len(content))])
    assert refusal(folder).startswith("img_align_celeba.zip: damaged or not a zip")


# --- what is refused: the attribute list


def changed_row(line: int, change: Callable[[str], str]) -> str:
    rows = attribute_rows()
    rows[line - 3] = change(rows[line - 3])
    return attribute_text(rows)


def last_value(value: str) -> Callable[[str], str]:
    return lambda row: " ".join([*row.split()[:-1], value])


BAD_LISTS = {
    "fewer rows": (
        attribute_text(attribute_rows()[:-7]),
        ":395: the list is cut short after 393 rows of 400 (--subset",
    ),
    "cut within a row": (attribute_text()[:-60], ":402: the list is cut short after 399 rows of 400 (--subset"),
    "more rows": (attribute_text(count=398), ":401: 400 rows, where line 1 says 398"),
    "39 values": (changed_row(9, lambda row: row[:-3]), ":9: 000007.jpg: expected 40 values, found 39"),
    "41 values": (changed_row(9, lambda row: row + " 1"), ":9: 000007.jpg: expected 40 values, found 41"),
    "39 values at the end": (changed_row(402, lambda row: row[:-3]), ":402: 000400.jpg: expected 40 values, found 39"),
    "a 2": (changed_row(9, last_value("2")), ":9: 000007.jpg: expected -1 or 1, found 2"),
    "a 0": (changed_row(402, last_value("0")), ":402: 000400.jpg: expected -1 or 1, found 0"),
    "a word": (changed_row(3, last_value("yes")), ":3: 000001.jpg: expected -1 or 1, found yes"),
    "a lone minus": (changed_row(9, last_value("-")), ":9: 000007.jpg: expected -1 or 1, found -"),
    "a blank line": (changed_row(9, lambda row: ""), ":9: blank line among the rows"),
    "twice the same": (changed_row(9, lambda row: row.replace("07", "03", 1)), ":9: 000003.jpg is listed twice"),
    "39 attributes": (attribute_text(names=ATTRIBUTES[1:]), ":2: expected 40 attributes, found 39 (39 different)"),
    "one attribute twice": (
        attribute_text(names=(*ATTRIBUTES[:-1], "Male")),
        ":2: expected 40 attributes, found 40 (39 different)",
    ),
    "unknown attribute": (attribute_text(names=(*ATTRIBUTES[:-1], "Old")), ":2: unknown attribute Old"),
    "no count": (attribute_text().partition("\n")[2], ":1: expected the number of images, found 5_o_Clock_Shadow"),
    "no rows": (attribute_text([]), ": no rows"),
    "empty": ("", ":1: expected the number of images, found "),
    "binary": (attribute_text([]).encode() + bytes(range(127, 256)) + b"\n", ":3: expected the name of an image"),
    "control characters": (changed_row(9, last_value("\x85\x1b[2J")), ":9: 000007.jpg: expected -1 or 1, found ??[2J"),
}


@pytest.mark.parametrize(("content", "said"), BAD_LISTS.values(), ids=BAD_LISTS.keys())
def test_bad_attribute_list_is_refused_by_file_and_line(folder: Path, content: str | bytes, said: str) -> None:
    put(folder / "list_attr_celeba.txt", content)
    assert refusal(folder).startswith(f"list_attr_celeba.txt{said}")


@pytest.mark.parametrize(
    "case", ["more rows", "39 values", "a 2", "a lone minus", "39 values at the end", "twice the same"]
)
def test_subset_does_not_excuse_a_wrong_row(folder: Path, case: str) -> None:
    content, said = BAD_LISTS[case]
    put(folder / "list_attr_celeba.txt", content)
    assert refusal(folder, subset=True).startswith(f"list_attr_celeba.txt{said}")


CSV_HEADER = "image_id," + ",".join(ATTRIBUTES)
BAD_CSVS = {
    "cut within a row": (
        csv(attribute_rows(), CSV_HEADER)[:-30],
        ":401: the list is cut short after 399 rows (--subset",
    ),
    "no header": (csv(attribute_rows()[1:], attribute_rows()[0].replace(" ", ",")), ":1: unknown attribute "),
    "empty value": (
        csv(attribute_rows(), CSV_HEADER).replace(",1,", ",,", 1),
        ":2: 000001.jpg: expected 40 values, found 39",
    ),
}


@pytest.mark.parametrize(("content", "said"), BAD_CSVS.values(), ids=BAD_CSVS.keys())
def test_bad_attribute_csv_is_refused_by_file_and_line(folder: Path, content: str, said: str) -> None:
    (folder / "list_attr_celeba.txt").unlink()
    put(folder / "list_attr_celeba.csv", content)
    assert refusal(folder).startswith(f"list_attr_celeba.csv{said}")


# --- what is refused: the partition


def partition(line: int, row: str) -> str:
    rows = partition_rows()
    rows[line - 1 : line] = [row] if row else []
    return "\n".join([*rows, ""])


BAD_PARTITIONS = {
    "unknown image": (partition(5, "holiday.jpg 0"), ":5: holiday.jpg is not in the attribute list (--subset"),
    "a 3": (partition(5, "000005.jpg 3"), ":5: 000005.jpg: expected 0 or 1 or 2, found 3"),
    "a word": (partition(400, "000400.jpg test"), ":400: 000400.jpg: expected 0 or 1 or 2, found test"),
    "no value": (partition(5, "000005.jpg"), ":5: 000005.jpg: expected 1 values, found 0"),
    "two values": (partition(5, "000005.jpg 0 1"), ":5: 000005.jpg: expected 1 values, found 2"),
    "missing image": (partition(5, ""), ": no row for 1 images, the first: 000005.jpg"),
    "twice the same": (partition(5, "000004.jpg 0"), ":5: 000004.jpg is listed twice"),
    "cut within a row": (partition(400, "0004")[:-1], ":400: cut short within a row"),
    "empty": ("", ": no rows"),
    "no train": (
        "".join(f"{name} {1 + row % 2}\n" for row, name in enumerate(NAMES)),
        ": no image of 400 is in the train",
    ),
    "no validation": (
        "".join(f"{name} {row % 2 * 2}\n" for row, name in enumerate(NAMES)),
        ": no image of 400 is in the val",
    ),
    "no test": ("".join(f"{name} {row % 2}\n" for row, name in enumerate(NAMES)), ": no image of 400 is in the test"),
    "31 test images": (
        "".join(f"{name} {2 if row < 31 else row % 2}\n" for row, name in enumerate(NAMES)),
        ": the test split has 31 images, expected at least 32",
    ),
}


@pytest.mark.parametrize(("content", "said"), BAD_PARTITIONS.values(), ids=BAD_PARTITIONS.keys())
def test_bad_partition_is_refused_by_file_and_line(folder: Path, content: str, said: str) -> None:
    put(folder / "list_eval_partition.txt", content)
    assert refusal(folder).startswith(f"list_eval_partition.txt{said}")


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        (np.flatnonzero(SPLIT < 2), "no image of 300 is in the test split (2)"),
        (np.arange(50), f"the test split has {np.sum(SPLIT[:50] == 2)} images, expected at least 32"),
    ],
)
def test_partition_that_leaves_a_subset_without_a_split_may_be_left_out(
    folder: Path, numbers: np.ndarray, said: str
) -> None:
    (folder / f"{IMAGES}.zip").unlink()
    put_zip(folder / f"{IMAGES}.zip", f"{IMAGES}/", [NAMES[number] for number in numbers])
    hint = "without this file the split follows the list's order"
    assert refusal(folder, subset=True) == f"list_eval_partition.txt: {said}; {hint}"


def test_partition_csv_without_its_header_is_refused(folder: Path) -> None:
    (folder / "list_eval_partition.txt").unlink()
    put(folder / "list_eval_partition.csv", csv(partition_rows()[1:], partition_rows()[0].replace(" ", ",")))
    assert refusal(folder).startswith(
        "list_eval_partition.csv:1: expected the header image_id,partition, found 000001.jpg,"
    )


def test_too_small_a_set_without_partition_names_the_list(folder: Path) -> None:
    (folder / "list_eval_partition.txt").unlink()
    put(folder / "list_attr_celeba.txt", attribute_text(attribute_rows()[:300], count=300))
    assert refusal(folder) == "list_attr_celeba.txt: the test split has 30 images, expected at least 32"


# --- full size, and the real thing


def test_full_size_list_with_some_of_the_images_takes_seconds(folder: Path) -> None:
    """202,599 rows, of which 400 images are there; the bound is some five times what two busy cores take."""
    n = 202_599
    names = [f"{number:06}.jpg" for number in range(1, n + 1)]
    tails = [row[10:] for row in attribute_rows()]
    rows = [name + tails[row % N] for row, name in enumerate(names)]
    put(folder / "list_attr_celeba.txt", attribute_text(rows, count=n))
    put(folder / "list_eval_partition.txt", "".join(f"{name} {SPLIT[row % N]}\n" for row, name in enumerate(names)))
    start = time.monotonic()
    dataset = load(folder, subset=True)
    assert time.monotonic() - start < 20
    check(dataset)
    np.testing.assert_array_equal(dataset.split, SPLIT)
    assert dataset.listed == n


@pytest.mark.celeba
def test_real_images_are_those_of_the_statistics(tmp_path: Path) -> None:
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
