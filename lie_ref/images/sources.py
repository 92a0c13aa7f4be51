"""Finds CelebA's files in folders and zips, and reads them up to a limit of bytes."""

import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from ..machine.errors import InputError
from ..machine.files import first_line

ROOTS = ("", "celeba", "CelebA")  # torchvision is given the folder above
PLACES = ("", "Anno", "Eval", "Img")  # the sub-folders of the official distribution
IMAGES = ("img_align_celeba", "img_align_celeba_png")
ARCHIVES = ("archive.zip", "celeba-dataset.zip")  # all of Kaggle's CelebA, as a browser and its own program name it
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")


class Source(NamedTuple):
    """Where images are: a folder, or a zip with a prefix; the `files` have a name, size and (in a zip) check sum."""

    path: Path
    prefix: str | None
    files: Sequence[tuple[str, int] | tuple[str, int, int]]


def places(given: Path) -> tuple[list[Path], list[Path]]:
    """The folders that may hold the lists and the images, and the zips; InputError for what is no part of CelebA."""
    if given.is_file() and given.suffix == ".zip" and given.stem not in IMAGES:
        return [], [given]
    if given.is_file() and not given.name.startswith(("list_", *IMAGES)):
        raise InputError(f"{given}: expected a folder, CelebA's list_attr_celeba.txt or .csv, or Kaggle's archive.zip")
    home = given.parent if given.is_file() else given
    if not home.is_dir():
        raise InputError(f"{home}: no such folder")
    roots = [home / name for name in ROOTS] + [home.parent] * (home.name in (*PLACES[1:], *IMAGES))
    folders = [folder for root in roots for place in PLACES if (folder := root / place).is_dir()]
    names = (*(f"{name}.zip" for name in IMAGES), *ARCHIVES)
    return folders, [path for folder in folders for name in names if (path := folder / name).is_file()]


def open_zips(paths: Iterable[Path]) -> tuple[list[zipfile.ZipFile], list[str]]:
    """The archives, and what is wrong with those that cannot be opened, such as half a download beside a folder."""
    opened, damaged = [], []
    for path in paths:
        try:
            opened.append(zipfile.ZipFile(path))
        except Exception as error:  # zipfile raises almost anything for a damaged archive
            damaged.append(shown(f"{path}: damaged or not a zip ({first_line(error)})", 1000))
    return opened, damaged


def image_sources(folders: Iterable[Path], archives: Iterable[zipfile.ZipFile]) -> Iterator[Source]:
    """Everything that holds images.  The largest is taken, as a folder may be half unpacked beside its zip."""
    for path in (folder / inner for folder in folders for name in IMAGES for inner in (name, f"{name}/{name}")):
        if path.is_dir():
            with os.scandir(path) as entries:
                files = sorted((e.name, e.stat().st_size) for e in entries if is_image(e.name) and e.is_file())
            if files:
                yield Source(path, None, files)
    for archive in archives:
        inside: dict[str, list[tuple[str, int, int]]] = {}
        for member in archive.infolist():
            prefix, slash, name = member.filename.rpartition("/")
            if is_image(name) and prefix.rpartition("/")[2] in ("", *IMAGES):
                inside.setdefault(prefix + slash, []).append((name, member.file_size, member.CRC))
        for prefix, members in inside.items():
            yield Source(Path(str(archive.filename)), prefix, members)


def is_image(name: str) -> bool:
    """Whether a file is an image by its name; macOS keeps metadata of NAME in `._NAME`."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def read_bytes(home: Path | zipfile.ZipFile, name: str, most: int) -> bytes:
    """The bytes of a file in a folder or a zip; ValueError if there are more than `most`."""
    if isinstance(home, Path):
        file: IO[bytes] = (home / name).open("rb")
        size = os.fstat(file.fileno()).st_size
    else:
        member = home.getinfo(name)
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # of others, zipfile reads too much
            raise ValueError("compressed in another way than by deflating")
        file, size = home.open(member), member.file_size
    with file:
        if size > most:
            raise ValueError(f"{size:,} bytes, expected at most {most:,}")
        return file.read(size)  # a zip whose directory understates the size would otherwise be unpacked whole


def shown(text: str, most: int = 64) -> str:
    """Text from a file, fit for one line on a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text[:most])
