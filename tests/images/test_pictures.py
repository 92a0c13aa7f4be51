"""One picture of any kind is read right, or refused in one line before it takes much time or memory."""

from __future__ import annotations

import io
import time
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from made_up_pictures import HUGE, SMALL, png, saved, tiff
from PIL import Image, ImageOps

from lie_ref.images import pictures
from lie_ref.machine.errors import InputError

SIZE = 16  # more than half of the pictures' sides, so that a JPEG is not decoded at a smaller scale
RAMP = np.linspace(0, 65_535, 20 * 26).round().reshape(26, 20)


@pytest.fixture(autouse=True)
def pillow_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)


def read(folder: Path, content: bytes) -> np.ndarray:
    (folder / "a.jpg").write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return pictures.read_picture(folder, None, SIZE, "a.jpg")


def refusal(folder: Path, content: bytes) -> str:
    with pytest.raises(InputError) as caught:
        read(folder, content)
    message = str(caught.value)
    assert message.isprintable()
    return message.removeprefix(f"{folder / 'a.jpg'}: ")


def plainly(image: Image.Image) -> np.ndarray:
    """What `convert("RGB")` and then the central square give."""
    return pictures.centre_square(image.convert("RGB"), SIZE)


@pytest.mark.parametrize("form", HUGE)
def test_a_header_that_claims_too_much_is_refused_before_room_is_made(tmp_path, form):
    begun = time.process_time()
    tracemalloc.start()
    assert refusal(tmp_path, HUGE[form]) == "more than 33,554,432 pixels"
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2**20
    assert time.process_time() - begun < 2


def test_the_limit_on_pixels_is_exact(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "PIXELS", 520)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)  # the user's own, which does not count
    assert read(tmp_path, saved(SMALL, "PNG")).shape == (SIZE, SIZE, 3)
    for width, height in ((27, 20), (521, 1), (1041, 1)):  # Pillow itself warns of 521 to 1040, and refuses more
        assert refusal(tmp_path, png(width, height)) == "more than 520 pixels"


@pytest.mark.parametrize("prefix", [None, "img_align_celeba/"])
def test_a_file_that_is_too_long_is_refused_before_it_is_read(tmp_path, prefix, monkeypatch):
    monkeypatch.setattr(pictures, "IMAGE_BYTES", 10_000)
    (tmp_path / "a.jpg").write_bytes(bytes(10_001))
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "a.jpg", "img_align_celeba/a.jpg")
    with pytest.raises(InputError, match=r"a\.jpg: cannot be read: 10,001 bytes, expected at most 10,000$"):
        pictures.read_picture(tmp_path if prefix is None else tmp_path / "a.zip", prefix, SIZE, "a.jpg")


def test_a_zip_whose_directory_says_too_little_is_not_unpacked_whole(tmp_path):
    path, length = tmp_path / "a.zip", 2**26
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", bytes(length))
    path.write_bytes(path.read_bytes().replace(length.to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    tracemalloc.start()
    with pytest.raises(InputError, match="cannot be read: Bad CRC-32"):
        pictures.read_picture(path, "", SIZE, "a.jpg")
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


# fmt: off
GREY_16 = {
    "PNG": saved(Image.fromarray(RAMP.astype(np.uint16)), "PNG"),
    "TIFF": saved(Image.fromarray(RAMP.astype(np.uint16)), "TIFF"),
    "TIFF, packed": saved(Image.fromarray(RAMP.astype(np.uint16)), "TIFF", compression="tiff_lzw"),
    "TIFF, big-endian": tiff(RAMP.astype(">u2")),
}
NO_WHITE = {
    "F": saved(Image.fromarray((RAMP / 65_535).astype(np.float32)), "TIFF"),
    "I": saved(Image.fromarray(RAMP.astype(np.int32)), "TIFF"),
    "I;16": tiff(RAMP.astype("<u2"), white=0),
    "I;16, 12 bits": tiff(np.zeros((20, 15), "<u2"), bits=12),
}
# fmt: on


@pytest.mark.parametrize("form", GREY_16)
def test_16_bits_of_grey_become_the_higher_8(tmp_path, form):
    eight_bits = Image.fromarray((RAMP.astype(np.uint16) >> 8).astype(np.uint8))
    np.testing.assert_array_equal(read(tmp_path, GREY_16[form]), plainly(eight_bits))


@pytest.mark.parametrize("form", NO_WHITE)
def test_numbers_without_a_known_white_are_refused(tmp_path, form):
    mode = form.partition(",")[0]
    said = f"cannot be read: its numbers (mode {mode}) have no known white, expected 8 or 16 bits a channel"
    assert refusal(tmp_path, NO_WHITE[form]) == said


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_upright_as_its_exif_says(tmp_path, form, orientation):
    y, x = np.mgrid[:26, :20]
    image = Image.fromarray(np.stack([9 * y, 12 * x, 0 * x], axis=-1).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if form == "WEBP" else {"quality": 100, "subsampling": 0} if form == "JPEG" else {}
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(saved(image, "PNG", exif=exif))))
    difference = read(tmp_path, saved(image, form, exif=exif, **options)) - plainly(upright).astype(int)
    assert np.abs(difference).max() <= (3 if form == "JPEG" else 0)


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + bytes(range(99))])
def test_a_damaged_exif_block_does_not_matter(tmp_path, exif):
    np.testing.assert_array_equal(read(tmp_path, saved(SMALL, "PNG", exif=exif)), plainly(SMALL))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
@pytest.mark.parametrize("form", ["PNG", "TIFF", "GIF", "WEBP", "BMP", "JPEG"])
def test_palettes_alpha_cmyk_and_bits_are_what_pillow_makes_of_them(tmp_path, mode, form):
    colours = np.random.default_rng(0).integers(0, 256, (26, 20, 4), np.uint8)
    try:
        content = saved(Image.fromarray(colours, "RGBA").convert("RGB").convert(mode), form)
    except (OSError, ValueError):
        pytest.skip(f"{form} has no mode {mode}")
    with Image.open(io.BytesIO(content)) as image:
        expected = plainly(image)
    np.testing.assert_array_equal(read(tmp_path, content), expected)


@pytest.mark.parametrize("form", ["EPS", "PCX", "SGI", "ICO"])
def test_other_formats_are_refused_among_them_what_runs_a_program(tmp_path, form):
    said = "not an image (JPEG, PNG, BMP, GIF, TIFF, WEBP)"
    assert refusal(tmp_path, saved(SMALL.convert("RGB"), form)) == said


def test_transparency_that_pillow_warns_of_is_read_without_a_warning(tmp_path):
    picture = SMALL.quantize(16)
    content = saved(picture, "PNG", transparency=bytes(range(16)))
    np.testing.assert_array_equal(read(tmp_path, content), plainly(SMALL))
