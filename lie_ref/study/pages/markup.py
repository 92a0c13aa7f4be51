"""Pieces of the pages: cells of tables, rows of findings, small pictures, and the policy that nothing is loaded by."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from html import escape
from importlib.resources import files as package_files
from typing import Any

import numpy as np
from PIL import Image

THUMBNAIL = 64  # pixels: sharp where a pair is shown large, yet 32 faces weigh half a MiB at most
WORDS = ' class="words"'


def source(package: str, name: str) -> str:
    """The text of a file beside a page's code, in this package."""
    return (package_files(package) / name).read_text(encoding="utf-8")


def content_policy(style: str, script: str | None = None) -> str:
    """The content security policy of a page with this inline style and, if any, script: it loads nothing else."""
    scripts = "'none'" if script is None else _hash(script)
    return (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {scripts}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    """What a content security policy calls an inline script or style by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


def _data_uri(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def thumbnails(x: np.ndarray) -> list[str]:
    """PNG data URIs of images (n, 3, height, width) with values pixel/127.5 − 1."""
    pixels = np.rint((np.clip(x, -1, 1) + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)
    pictures = [Image.fromarray(image) for image in pixels]
    for picture in pictures:
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
    return [_data_uri(picture) for picture in pictures]


def number(value: float | None, form: str = ".3g") -> str:
    """A number in this format, and a dash for what is undefined."""
    return "–" if value is None else format(value, form)


def cells(texts: Sequence[str], kind: str = "") -> str:
    """Cells of a table; the texts are markup already."""
    return "".join(f"<td{kind}>{text}</td>" for text in texts)


def claim_row(finding: dict[str, Any]) -> str:
    """The row of a finding: id, claim, verdict, value, interval, statistic, runs, note; first what fits on a phone."""
    words = {key: escape(finding[key]) for key in ("id", "claim", "statistic", "verdict", "note")}
    low, high = number(finding["low"]), number(finding["high"])
    interval = f"{low} … {high}" if (low, high) != ("–", "–") else "–"
    return (
        f'<tr><th scope="row">{words["id"]}</th>{cells([words["claim"]], WORDS)}'
        f'<td class="verdict {words["verdict"]}">{words["verdict"]}</td>'
        f"{cells([number(finding['value']), interval])}{cells([words['statistic']], WORDS)}"
        f"{cells([str(finding['runs'])])}{cells([words['note']], WORDS)}</tr>"
    )
