"""What the command line does first: Ctrl-C while modules are imported ends it with one line and status 130."""

import os
import sys
from pathlib import Path
from types import TracebackType


def _stopped(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        return sys.__excepthook__(kind, error, trace)
    print("lie-ref: stopped", file=sys.stderr, flush=True)
    os._exit(130)


if Path(sys.argv[0]).stem == "lie-ref" or (sys.argv[0] == "-m" and "lie_ref" in sys.orig_argv):
    sys.excepthook = _stopped
