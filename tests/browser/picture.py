"""Makes the README's picture: `python -m tests.browser.picture RUN OUT.png` photographs the page of a finished run."""

from __future__ import annotations

import base64
import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from selenium import webdriver

WIDTH, HEIGHT, SCALE = 1280, 1000, 1.5  # of the window in CSS pixels; device pixels per CSS pixel
LARGEST = 300_000  # bytes of the file
SORTED = "#sort=both"  # opens the page on the largest bracket of the last checkpoint, strongest effects first
POINT = "document.querySelector('.heat td').dispatchEvent(new Event('pointerover', {bubbles: true}))"
BOX = """
  const boxes = ["#bar", "#colours"].map((name) => document.querySelector(name).getBoundingClientRect());
  return [boxes[0].top + scrollY, boxes[1].bottom + scrollY];
"""


def photograph(page: Path) -> Image.Image:
    """The explorer of the page: the slider, the square, the matrix of brackets, and the heat map of logit changes."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for switch in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(switch)
    with webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver") or "")) as driver:
        window = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": SCALE, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", window)
        driver.get(page.resolve().as_uri() + SORTED)
        driver.execute_script(POINT)
        top, bottom = driver.execute_script(BOX)
        clip = {"x": 0, "y": top, "width": WIDTH, "height": bottom - top + 6, "scale": 1}
        shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    return Image.open(io.BytesIO(base64.b64decode(shot["data"])))


def main(run: str, out: str) -> None:
    """Write the picture of the page of `run` to the file `out`, with at most 256 colours."""
    picture = photograph(Path(run) / "report.html").convert("RGB").quantize(256, kmeans=1, dither=Image.Dither.NONE)
    picture.save(out, optimize=True)
    size = Path(out).stat().st_size
    assert size < LARGEST, f"{out}: expected less than {LARGEST:,} bytes, got {size:,}"
    print(f"{out}: {picture.width} × {picture.height}, {size:,} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
