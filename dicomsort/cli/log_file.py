"""`--log-file`: what a run says, with times, in a file of its own; those of earlier runs are kept beside it.

Nothing of a header is ever written there: lines are those of the console, paths, counts and reasons.
"""

import logging
import os
import re
import shlex
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Annotated

import typer

from dicomsort import __version__
from dicomsort.cli import console
from dicomsort.cli.shown import MESSAGES
from dicomsort.errors import TargetError, UsageError
from dicomsort.inputs.names import is_remote, without_secrets
from dicomsort.inputs.walk import lies_under
from dicomsort.manifest.names import OWN
from dicomsort.system.escaping import escape

LogFile = Annotated[
    str | None,
    typer.Option(
        "--log-file",
        metavar="FILE",
        rich_help_panel=MESSAGES,
        help="Write what is told there too, with times; earlier runs go to FILE.1 to FILE.9.",
    ),
]

_TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} ")
_TIME_LENGTH = len("2026-11-29T02:00:01+0100 ")
_KEPT, _LARGEST = 9, 10 << 20  # files of earlier runs; bytes, for a run with --watch may go on for months


def begin(file: str | None, inputs: Iterable[str] | None = None, out: str = "") -> None:
    """Write what follows into a log, if one is asked for.

    Raises UsageError if the next run would take it for a file to sort, or if there is something else than a
    log, which would be renamed; TargetError if it cannot be written.
    """
    if file is None:
        return
    real = check_place("--log-file", file, inputs or (), out)  # earlier logs stay beside what a link leads to
    try:
        _check_what_is_there(file, real)
        handler = _Handler(str(real))
    except OSError as error:
        raise TargetError(f"--log-file '{escape(file)}' cannot be written: {error.strerror}") from error
    console.LOG.handlers[:] = [handler]
    console.LOG.setLevel(logging.INFO)
    console.LOG.info("dicomsort %s (version %s)", shlex.join(map(_told, sys.argv[1:])), __version__)


def check_place(option: str, file: str, inputs: Iterable[str], out: str) -> Path:
    """Return where a file really is that an option names.

    Raises UsageError if the next run would take it for a file to sort, or it is one of the output's own.
    """
    real, whole = Path(os.path.realpath(file)), os.path.realpath(out)
    if out and str(real.parent) == whole and real.name in OWN:
        raise UsageError(f"{option} '{escape(file)}' is the name of a file of the output: choose another")
    for root in (each for each in inputs if not is_remote(each)):
        if lies_under(str(real), os.path.realpath(root)) and not lies_under(str(real), whole):
            raise UsageError(
                f"{option} '{escape(file)}' lies in what is sorted: choose a place outside '{escape(root)}'"
            )
    return real


def _check_what_is_there(file: str, real: Path) -> None:
    """Raise UsageError unless it is a log, or a device such as /dev/null; OSError if it cannot be read."""
    if real.is_fifo():
        raise UsageError(f"--log-file '{escape(file)}' is a pipe: give the name of a file")
    if real.is_file():
        with real.open("rb") as there:
            beginning = there.read(_TIME_LENGTH).strip(b"\0")
        if beginning and not _TIME.match(beginning):
            raise UsageError(
                f"--log-file '{escape(file)}' is no log of dicomsort and is left alone: choose another"
            )


def _told(word: str) -> str:
    return console.plain(without_secrets(word))


class _Handler(RotatingFileHandler):
    """Writes lines with ISO 8601 times into a new file; says once on stderr if it can write no more."""

    def __init__(self, file: str) -> None:
        super().__init__(file, maxBytes=_LARGEST, backupCount=_KEPT, encoding="utf-8", delay=False)
        self.setFormatter(_Formatter("%(asctime)s %(message)s"))
        self._failed = False
        if Path(file).stat().st_size:
            self.doRollover()

    def handleError(self, _: logging.LogRecord) -> None:  # noqa: N802  (logging's own name)
        """Tell that the log cannot be written; a run does not end for that."""
        if not self._failed:
            self._failed = True
            print("dicomsort: warning: the log file cannot be written any more", file=sys.stderr)  # noqa: T201

    def close(self) -> None:
        """Close the file; what a full disk does not take is let go."""
        with suppress(OSError):
            super().close()


class _Formatter(logging.Formatter):
    def formatTime(self, record: logging.LogRecord, _datefmt: str | None = None) -> str:  # noqa: N802
        """Return the local time with its distance from UTC, such as 2026-11-29T02:00:01+0100."""
        return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(record.created))
