"""The command line, `lie-ref COMMAND` or `python -m lie_ref COMMAND`: it parses options, calls, and prints.

Exit status: 0 done, or the answers agree; 1 the answers disagree; 2 input that cannot be used, output that cannot be
written, or not enough memory, with one line on standard error that says which; 3 too little is decided to tell; 130,
143 and 141 stopped by Ctrl-C, by SIGTERM, and by a closed pipe (without a line).
"""

import errno
import io
import os
import signal
import sys
from collections.abc import Sequence

from ..machine.errors import InputError, one_line
from ..machine.process import interrupt_on_sigterm, keep_freed_memory
from .parser import check_outputs, command_parser

SCARCE = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)  # processes, memory and open files


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115 -- closed by the caller, who wants no messages
    try:
        return _run(arguments)
    except BrokenPipeError:  # the reader of the output has seen enough
        _forget_output()
        return 141
    except MemoryError as error:
        said = f"not enough memory ({one_line(str(error) or 'MemoryError')})"
    except InputError as error:
        said = str(error)
    except OSError as error:  # it names its file, such as a folder that may not be read; what is printed has no name
        said = one_line(str(error))
        if error.filename is None and error.errno not in SCARCE:
            said = f"standard output: cannot be written ({error.strerror})"
            _forget_output()
    except KeyboardInterrupt as stop:
        remedy = "continue an experiment with --resume, anything else with the same command"
        print(f"lie-ref: stopped ({remedy})", file=sys.stderr)
        return 128 + (stop.args or (signal.SIGINT,))[0]
    print(f"lie-ref: {said}", file=sys.stderr)
    return 2


def _run(arguments: Sequence[str] | None) -> int:
    interrupt_on_sigterm()
    if sys.stdout is None:
        raise InputError("standard output: is closed")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # not every encoding has − and ×
    keep_freed_memory()
    try:
        options = command_parser().parse_args(arguments)
        check_outputs(options)
        status: int = options.command(options) or 0
    except SystemExit:  # after --help
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return status


def _forget_output() -> None:
    """Drop what is printed and cannot be written, or Python complains of it when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
