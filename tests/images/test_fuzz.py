"""Whatever bytes a picture, a list, a zip or a cache has, it is read or refused in one line, soon and in little memory.

`FUZZ=20000 pytest tests/images/test_fuzz.py` tries as many cases in place of some hundred.
"""

from __future__ import annotations

import io
import os
import resource
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_up_celeba import ATTRIBUTE_ROWS, CSV_HEADER, IMAGES, PARTITION_ROWS, attributes, csv, text
from made_up_pictures import HUGE, saved, tiff
from PIL import Image

from lie_ref.images import lists, pictures, sources
from lie_ref.images.dataset import Dataset, build_cache, load_cache, split_in_order
from lie_ref.machine.errors import InputError

CASES = int(os.environ.get("FUZZ", "600")) // 4  # of each kind of file
SECONDS, KILOBYTES = 5, 2**20
NUMBERS = [
    bytes([0]),
    bytes([255]),
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\xff\xff",
    bytes(4),
    b"\x80\0\0\0",
    b"-1",
]
EXIF = Image.Exif()
EXIF[0x0112] = 6


def some_pictures() -> list[bytes]:
    """Small pictures of every format, several modes and compressions, upright and not."""
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (26, 20, 4), np.uint8), "RGBA")
    colours, grey = image.convert("RGB"), Image.fromarray(rng.integers(0, 65_536, (26, 20)).astype(np.uint16))
    exif = {"exif": EXIF}
    plain = [saved(colours, form) for form in ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP")]
    turned = [saved(colours, form, **exif) for form in ("JPEG", "PNG", "TIFF", "WEBP")]
    modes = [saved(image.convert(mode), form) for mode in ("1", "P", "L", "LA", "RGBA") for form in ("PNG", "TIFF")]
    packed = [saved(colours, "TIFF", compression=f"tiff_{way}") for way in ("lzw", "adobe_deflate", "jpeg")]
    others = [
        *(saved(grey, form) for form in ("PNG", "TIFF")),
        *(saved(colours.convert("CMYK"), form) for form in ("JPEG", "TIFF")),
        saved(colours, "JPEG", progressive=True),
        saved(image, "WEBP", lossless=True),
        saved(image.convert("1"), "TIFF", compression="group4"),
        saved(colours, "GIF", save_all=True, append_images=[colours.rotate(90)], disposal=2),
        saved(colours, "PNG", save_all=True, append_images=[colours.rotate(180)]),
        tiff(np.zeros((8, 8), ">u2")),
    ]
    return [*plain, *turned, *modes, *packed, *others, *HUGE.values()]


def some_lists() -> list[bytes]:
    whole = attributes(ATTRIBUTE_ROWS[:9], count=9)
    forms = [whole, csv(CSV_HEADER, ATTRIBUTE_ROWS[:9]), text(PARTITION_ROWS[:9])]
    return [form.encode() for form in (*forms, "\ufeff" + whole, whole.replace("-1", "0"))]


def some_zips() -> list[bytes]:
    found = []
    for way in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", way) as archive:
            archive.writestr(f"{IMAGES}/000001.jpg", some_pictures()[0])
            archive.writestr("list_attr_celeba.csv", csv(CSV_HEADER, ATTRIBUTE_ROWS[:9]))
        found.append(file.getvalue())
    return found


def changed(content: bytes, rng: np.random.Generator) -> bytes:
    """The content with one to four changes: bytes, numbers at the ends of their range, parts removed or repeated."""
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(len(content) + 1)) if rng.random() < 0.5 else int(rng.integers(min(len(content), 64) + 1))
        end = at + int(rng.integers(1, 40))
        number = NUMBERS[rng.integers(len(NUMBERS))]
        ways = (
            content[:at] + bytes(rng.integers(0, 256, 1).tolist()) + content[at + 1 :],
            content[:at] + number + content[at + len(number) :],
            content[:at] + number + content[at:],
            content[:at] + content[end:],
            content[:end] + content[at:],
            content[:at],
        )
        content = ways[rng.choice(len(ways), p=(0.35, 0.35, 0.1, 0.08, 0.07, 0.05))]
    return content


def read_picture(folder: Path, content: bytes) -> None:
    (folder / "000001.jpg").write_bytes(content)
    assert pictures.read_picture(folder, None, 8, "000001.jpg").shape == (8, 8, 3)


def read_list(folder: Path, content: bytes) -> None:
    (folder / "list").write_bytes(content)
    found = lists.read_list(folder, "list")
    if b"Young" in content:
        rows, count = lists.read_attributes(found, subset=len(content) % 2 == 0)
        assert set(b"".join(rows.values())) <= {0, 1}
        assert count >= len(rows)
    else:
        assert lists.read_partition(found, ["000001.jpg"]).max() <= 2


def read_zip(folder: Path, content: bytes) -> None:
    (folder / "archive.zip").write_bytes(content)
    folders, paths = sources.places(folder)
    archives, damaged = sources.open_zips(paths)
    assert all(problem.isprintable() for problem in damaged)
    lists.find_list(folders, archives, "list_attr_celeba")
    pictures.open_zip.cache_clear()
    for source in sources.image_sources(folders, archives):
        pictures.read_picture(source.path, source.prefix, 8, source.files[0][0])


def read_cache(folder: Path, content: bytes) -> None:
    (folder / "cache" / "table.npz").write_bytes(content)
    dataset = load_cache(folder / "cache", ("a", "b"))
    assert (len(dataset), dataset.labels.max(), dataset.split.max()) == (400, 1, 2)


def cache(folder: Path) -> bytes:
    files, labels = np.array([f"{row}.jpg" for row in range(400)]), np.eye(400, 2, dtype=np.uint8)
    images = folder / "cache" / "images.npy"
    planned = Dataset("faces", ("a", "b"), files, labels, split_in_order(400), images, size=1, listed=400)
    build_cache(planned, black, range(400))
    return (folder / "cache" / "table.npz").read_bytes()


def black(row: int) -> np.ndarray:
    return np.zeros((1, 1, 3), np.uint8)


READERS: dict[str, tuple[Callable[[Path], list[bytes]], Callable[[Path, bytes], None]]] = {
    "picture": (lambda folder: some_pictures(), read_picture),
    "list": (lambda folder: some_lists(), read_list),
    "zip": (lambda folder: some_zips(), read_zip),
    "cache": (lambda folder: [cache(folder)], read_cache),
}


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.filterwarnings("ignore")  # zipfile warns of names that are there twice
def test_damaged_files_are_read_or_refused_in_one_line_soon_and_in_little_memory(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    make, read = READERS[kind]
    seeds, refused, longest = make(tmp_path), 0, 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for case in range(CASES):
        rng = np.random.default_rng([17, case])
        content = changed(seeds[case % len(seeds)], rng)
        begun = time.process_time()
        try:
            read(tmp_path, content)
        except Exception as error:
            refused += 1
            if not isinstance(error, InputError) or not str(error).isprintable():
                raise AssertionError(f"case {case}: {str(error)!r}") from error
        longest = max(longest, time.process_time() - begun)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{kind}: {CASES:,} cases, {refused:,} refused, longest {longest:.2f} s, memory grew by {grown:,} kB")
    assert longest < SECONDS
    assert grown < KILOBYTES
    assert 0 < refused < CASES
