"""Pictures that Pillow does not write: with a header that claims too much, or numbers of an unusual kind."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    """A grey PNG of 8 bits whose header claims this size."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(rows, 9))]
    packed = (
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in (*chunks, (b"IEND", b""))
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def tiff(pixels: np.ndarray, bits: int = 16, white: int = 1, size: tuple[int, int] | None = None) -> bytes:
    """A grey TIFF of these numbers; `white` 0 means that 0 is white, and `size` what it claims in place of theirs."""
    end, data = (">" if pixels.dtype.byteorder == ">" else "<"), pixels.tobytes()
    width, height = size or pixels.shape[::-1]
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: white, 273: 8, 277: 1, 278: height, 279: len(data)}
    fields = (struct.pack(f"{end}HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = (b"II*\0" if end == "<" else b"MM\0*") + struct.pack(f"{end}I", 8 + len(data))
    return head + data + struct.pack(f"{end}H", len(tags)) + b"".join(fields) + bytes(4)


def patched(content: bytes, at: int, layout: str, *values: int) -> bytes:
    new = struct.pack(layout, *values)
    return content[:at] + new + content[at + len(new) :]


SMALL = Image.new("RGB", (20, 26), "red")
_JPEG = saved(SMALL, "JPEG")
HUGE = {  # a few bytes that claim thousands of millions of pixels
    "PNG": png(60_000, 60_000),
    "PNG with the largest size": png(2**31 - 1, 2**31 - 1),
    "JPEG": patched(_JPEG, _JPEG.index(b"\xff\xc0") + 5, ">HH", 65_000, 65_000),
    "GIF": patched(saved(SMALL, "GIF"), 6, "<HH", 65_000, 65_000),
    "BMP": patched(saved(SMALL, "BMP"), 18, "<ii", 60_000, 60_000),
    "TIFF": tiff(np.zeros((8, 8), "<u2"), size=(60_000, 60_000)),
    "TIFF with a long side": tiff(np.zeros((8, 8), "<u2"), size=(2**31 - 1, 1)),
    "WEBP": patched(saved(SMALL, "WEBP", lossless=True), 21, "<I", 0x0FFFFFFF),
}
