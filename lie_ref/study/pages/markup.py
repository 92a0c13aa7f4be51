"""Pieces of HTML that both pages use: the security policy, rows and cells of tables, and thumbnails."""

import base64
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files as package_files
from typing import Any

import numpy as np
from PIL import Image

from ..folder import with_versions

THUMBNAIL = 64  # pixels: sharp even where a pair is shown large, and 32 faces take at most half a MiB
WORDS = ' class="words"'


def source(package: str, name: str) -> str:
    """The text of a file that belongs to this package."""
    return (package_files(package) / name).read_text(encoding="utf-8")


def content_policy(style: str, script: str = "") -> str:
    """The content security policy of a page with this inline style and script, which loads nothing else."""
    names = (f"'sha256-{to_base64(hashlib.sha256(text.encode()).digest())}'" for text in (style, script))
    rules = "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; style-src {}; script-src {}"
    return rules.format(*names)


def to_base64(data: bytes) -> str:
    """Bytes as base64 text."""
    return base64.b64encode(data).decode("ascii")


def thumbnails(x: np.ndarray) -> list[str]:
    """PNG data URIs of images (n, 3, height, width), whose values are pixel/127.5 − 1."""
    found = []
    for pixels in np.rint((np.clip(x, -1, 1) + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1):
        picture, file = Image.fromarray(pixels), io.BytesIO()
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        picture.save(file, "PNG", optimize=True)
        found.append("data:image/png;base64," + to_base64(file.getvalue()))
    return found


def number(value: float | None, form: str = ".3g") -> str:
    """A number in this format, or a dash if it is undefined."""
    return "–" if value is None else format(value, form).replace("%", "\u00a0%")


def percent(share: float | None, digits: int = 0) -> str:
    """A share in per cent: 0.25 as 25 %."""
    return number(share, f".{digits}%")


def interval(found: Mapping[str, Any], form: str = ".3g") -> str:
    """The interval from `low` to `high` in this format, or a dash if it is undefined."""
    return "–" if found["low"] is None else f"{found['low']:{form}} … {found['high']:{form}}"


def cells(texts: Iterable[str], kind: str = "") -> str:
    """Cells of a table; the texts are markup already."""
    return "".join(f"<td{kind}>{text}</td>" for text in texts)


def row(head: str, *rest: str, kind: str = "") -> str:
    """A row of a table: the text of its head, which is markup already, and its cells."""
    return f'<tr><th scope="row"{kind}>{head}</th>{"".join(rest)}</tr>'


def heads(names: Iterable[str]) -> str:
    """Heads of columns; the names are plain text."""
    return "".join(f'<th scope="col">{escape(name)}</th>' for name in names)


def claim_row(finding: Mapping[str, Any]) -> str:
    """The row of a finding.  Claim and verdict come first, so that they fit on a phone."""
    words = {key: escape(finding[key]) for key in ("id", "claim", "statistic", "condition", "verdict", "note")}
    note = f'<br><span class="note">{words["note"]}</span>' if words["note"] else ""
    return row(
        words["id"],
        cells([words["claim"] + note], WORDS),
        cells([words["verdict"]], f' class="verdict {words["verdict"]}"'),
        cells([number(finding["value"]), interval(finding), words["condition"], number(finding["detectable"], ".2g")]),
        cells([words["statistic"]], WORDS),
        cells([str(finding["runs"])]),
    )


def footer(command: str, celeba: bool, title: str, address: str) -> str:
    """The end of a page: what made it, which work it repeats, and that faces of CelebA may not be passed on."""
    tools = ", ".join(f"{name} {number}" for name, number in with_versions({})["versions"].items())
    warning = "<b>It shows faces of CelebA, which may be used for research and not passed on.</b> " * celeba
    made = f"This page was made by <code>{escape(command)}</code> and drawn with {tools}. "
    return f'<footer><p>{made}{warning}It repeats the work in <a href="{address}">{escape(title)}</a>.</p></footer>'


def settings_rows(settings: Mapping[str, Any]) -> str:
    """A row for each setting."""
    texts = {key: escape(json.dumps(value, ensure_ascii=False)) for key, value in settings.items()}
    return "".join(row(escape(key), cells([text])) for key, text in texts.items())
