"""The one exception for input that cannot be used, which the command line prints as one line, and words for errors."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class InputError(ValueError):
    """A file, folder or option that cannot be used; the message is one line naming what, where and what was expected.

    Whatever a file or its name puts into the message, it stays one line that a terminal can show.

    >>> str(InputError("list_attr_celeba\\n.txt:7: expected 40 values, found 39"))
    'list_attr_celeba\\\\n.txt:7: expected 40 values, found 39'
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """The text with its control characters escaped, as Python writes them, and words longer than any path cut.

    >>> len(one_line("a" + chr(10) + "b")), len(one_line(5000 * "a"))
    (4, 100)
    """
    text = re.sub(r"(\S{99})\S{1000,}", r"\1…", text)
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def nearest(name: Any, known: Iterable[str]) -> str:
    """Which of the known names is most like this one, for the end of an error.

    >>> nearest("fc1.bias", ["0.weight", "0.bias"])
    "the nearest to 'fc1.bias' is '0.bias'"
    >>> nearest("conv", ["0.weight", "0.bias"])
    "none is like 'conv'"
    """
    matches = get_close_matches(str(name)[:100], list(known), n=1, cutoff=0.39)
    return f"the nearest to {shortened(name)} is {matches[0]!r}" if matches else f"none is like {shortened(name)}"


def shortened(value: Any) -> str:
    """How Python writes a value, on one line and cut to 100 characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 100 else text[:99] + "…"
