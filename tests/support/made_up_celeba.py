"""Makes up a small CelebA of 400 images, and says how it should be read or refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lie_ref.images.celeba import celeba_dataset
from lie_ref.images.dataset import Dataset
from lie_ref.images.labels import ATTRIBUTES
from lie_ref.machine.errors import InputError

N = 400
NAMES = [f"{number:06}.jpg" for number in range(1, N + 1)]
LABELS = (np.random.default_rng(0).random((N, 40)) < 0.3).astype(np.uint8)
SPLIT = np.random.default_rng(1).permutation(np.repeat([0, 1, 2], (240, 60, 100)))
ALL, IMAGES, SIZE = np.arange(N), "img_align_celeba", 8
ZIP, ATTR, PARTITION = f"{IMAGES}.zip", "list_attr_celeba.txt", "list_eval_partition.txt"
ATTRIBUTE_ROWS = [" ".join([NAMES[row], *(f"{2 * int(value) - 1:2}" for value in LABELS[row])]) for row in range(N)]
CSV_HEADER = "image_id," + ",".join(ATTRIBUTES)
PARTITION_ROWS = [f"{name} {value}" for name, value in zip(NAMES, SPLIT, strict=True)]


def jpeg(number: int) -> bytes:
    """A picture of 20 x 26 pixels whose grey level encodes its number."""
    file = io.BytesIO()
    Image.new("RGB", (20, 26), (number % 251,) * 3).save(file, "JPEG", quality=95)
    return file.getvalue()


PICTURES = {name: jpeg(number) for number, name in enumerate(NAMES, 1)}


def text(rows: list[str]) -> str:
    return "\n".join([*rows, ""])


def attributes(rows: list[str] = ATTRIBUTE_ROWS, count: int = N, names: tuple[str, ...] = ATTRIBUTES) -> str:
    return text([str(count), " ".join(names) + " ", *rows])


def csv(header: str, rows: list[str]) -> str:
    return "\r\n".join([header, *(",".join(row.split()) for row in rows), ""])


def put(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def put_images(path: Path, pictures: dict[str, bytes] = PICTURES, prefix: str = f"{IMAGES}/") -> None:
    """Put these pictures into a zip or a folder, and remove the zip beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / ZIP).unlink(missing_ok=True)
    if path.suffix != ".zip":
        path.mkdir()
        for name, picture in pictures.items():
            put(path / name, picture)
        return
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("__MACOSX/._img", prefix)[: 2 if prefix else 1]:
            archive.writestr(name, b"")
        for name, picture in pictures.items():
            archive.writestr(prefix + name, picture)


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


def check(dataset: Dataset, rows: np.ndarray = ALL) -> None:
    """The data set has the given rows of the made-up CelebA, with their pixels and splits."""
    assert dataset.attributes == ATTRIBUTES
    np.testing.assert_array_equal(dataset.files, np.array(NAMES)[rows])
    np.testing.assert_array_equal(dataset.labels, LABELS[rows], strict=True)
    np.testing.assert_array_equal(dataset.split, SPLIT[rows])
    grey = np.load(dataset.images).astype(int)
    assert grey.shape == (len(rows), SIZE, SIZE, 3)
    assert np.abs(grey - ((rows + 1) % 251)[:, None, None, None]).max() <= 1


def put_lists(folder: Path, **lists: str) -> None:
    """Put these lists in place of the official ones."""
    for name in (ATTR, PARTITION):
        (folder / name).unlink()
    for name, content in lists.items():
        put(folder / name, content)
