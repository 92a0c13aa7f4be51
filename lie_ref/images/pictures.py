"""One picture of any kind as a small square of pixels, or the reason why it cannot be read."""

import functools
import io
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from ..machine.errors import InputError
from ..machine.files import first_line
from .sources import read_bytes, shown

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP")  # Pillow knows some that run other programs
PIXELS = 2**25  # of a picture: a worker needs up to 16 bytes for each
IMAGE_BYTES = 2**27  # of an image file: enough for the largest picture, uncompressed


def read_picture(path: Path, prefix: str | None, size: int, name: str) -> np.ndarray:
    """The picture (size, size, 3) uint8 of an image file, in a worker; InputError, which names it, if that fails."""
    place = f"{path / name}" if prefix is None else f"{path}: {prefix}{name}"
    Image.MAX_IMAGE_PIXELS = PIXELS  # Pillow warns of more when it has read the header, and before it makes room
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            home = path if prefix is None else open_zip(path)
            file = io.BytesIO(read_bytes(home, f"{prefix or ''}{name}", IMAGE_BYTES))
            with Image.open(file, formats=FORMATS) as image:
                return centre_square(image, size)
    except UnidentifiedImageError:  # its own message shows the object that was opened
        reason = f"not an image ({', '.join(FORMATS)})"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        reason = f"more than {PIXELS:,} pixels"
    except Exception as error:  # Pillow and zipfile raise almost anything for a damaged file
        reason = f"cannot be read: {first_line(error)}"
    raise InputError(shown(f"{place}: {reason}", 1000))


@functools.lru_cache(maxsize=1)
def open_zip(path: Path) -> zipfile.ZipFile:
    """The archive, opened once in each worker process."""
    return zipfile.ZipFile(path)


def centre_square(image: Image.Image, size: int) -> np.ndarray:
    """The central square of a picture, upright as its EXIF says, resized: (size, size, 3) uint8.

    Colours are what Pillow's `convert("RGB")` makes of them, which drops transparency; 16-bit grey keeps its
    higher 8 bits, as Pillow does for colours.  ValueError if the brightness of the numbers is unknown.

    >>> centre_square(Image.new("L", (89, 109), 128), 2).tolist()
    [[[128, 128, 128], [128, 128, 128]], [[128, 128, 128], [128, 128, 128]]]
    """
    image.draft(None, (size, size))  # a JPEG decodes faster at a half or a quarter, if that is still large enough
    image.load()
    if not isinstance(image, TiffImageFile):  # which Pillow has turned as it loaded it
        with suppress(Exception):  # a damaged EXIF block, which does not matter to viewers either
            ImageOps.exif_transpose(image, in_place=True)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    if _is_16_bit_grey(image):
        square = Image.fromarray((np.asarray(square) >> 8).astype(np.uint8))
    elif image.mode[0] in "IF":
        raise ValueError(f"its numbers (mode {image.mode}) have no known white, expected 8 or 16 bits a channel")
    return np.asarray(square.convert("RGB").resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0))


def _is_16_bit_grey(image: Image.Image) -> bool:
    if isinstance(image, TiffImageFile):  # 12 bits have the same mode, and so has grey whose 0 is white
        return image.mode.startswith("I;16") and (image.tag_v2.get(258), image.tag_v2.get(262)) == ((16,), 1)
    return image.mode.startswith("I;16") or (image.mode, image.format) == ("I", "PNG")
