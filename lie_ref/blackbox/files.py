"""Runs a user's Python file that defines a gradient and what should be checked: the files of `lie-ref check`."""

from __future__ import annotations

import runpy
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..machine.errors import InputError, nearest
from ..oracle.verdict import Verdict
from .api import check
from .candidates import QUANTITIES

ARGUMENTS = ("gradient", "theta", "candidate", "pairs", "logits", "tensors")  # of `check`


def check_file(file: str) -> Verdict:
    """The verdict on `FILE.py`, which defines arguments of `check` by their names, or on `FILE.py:NAME`.

    NAME is a dict of these arguments, or a function without arguments that returns one.  The candidate may also be
    given as functions named `grad`, `hvp`, `bracket` and `logit_delta`.  Raises `InputError`, which names the file and
    line, for an exception in the user's code.
    """
    path, _, name = file.partition(".py:")
    source = Path(f"{path}.py" if name else file)
    if not source.is_file():
        raise InputError(f"{source}: expected a Python file, found none")
    sys.path.insert(0, str(source.parent))  # as `python FILE.py` does
    given = _run(source, lambda: runpy.run_path(str(source)))
    if name:
        if name not in given:
            raise InputError(f"{source}: has no {name!r}; {nearest(name, [n for n in given if n[0] != '_'])}")
        given = _run(source, given[name]) if callable(given[name]) else given[name]
        if not isinstance(given, Mapping):
            came = type(given).__name__
            raise InputError(f"{source}: {name}: expected a dict of {', '.join(ARGUMENTS)}, got {came}")
    arguments = {key: given[key] for key in ARGUMENTS if key in given}
    arguments.setdefault("candidate", {key: given[key] for key in QUANTITIES if key in given})
    for key in ("gradient", "theta"):
        if key not in arguments:
            hint = "; grad is what is checked, not what it is checked against" * (key == "gradient" and "grad" in given)
            raise InputError(f"{source}: expected it to define {key!r}{hint}")
    return _run(source, lambda: check(**arguments))


def _run(source: Path, function: Callable[[], Any]) -> Any:
    """The result of a user's code.  Raises InputError, with the last line of the file that was at work."""
    try:
        return function()
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    except Exception as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == source]
        if isinstance(error, SyntaxError):
            lines = [error.lineno]
        where = f"{source}:{lines[-1]}" if lines else f"{source}"
        said = " ".join(str(error).split())
        raise InputError(
            f"{where}: {type(error).__name__}: {said if len(said) <= 300 else said[:299] + '…'}"
        ) from error
    except SystemExit as stop:
        raise InputError(f"{source}: it ended by sys.exit({stop.code!r}) before there was a verdict") from stop
