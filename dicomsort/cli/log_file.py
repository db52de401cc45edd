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

_BEGINS, _LONGEST_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}[+-][0-9]{4} "), 32
_KEPT, _LARGEST = 9, 10 << 20  # files of earlier runs; bytes, for a run with --watch may go on for months


def begin(file: str | None, inputs: Iterable[str] | None = None, out: str = "") -> None:
    """Write what follows into a log, if one is asked for.

    Raises UsageError if the next run would take it for a file to sort, or another file has that name,
    TargetError if it cannot be written.
    """
    if file is None:
        return
    _check(file, inputs or (), out)
    _check_name(file)
    try:
        handler = _Handler(file)
    except OSError as error:
        raise TargetError(f"--log-file '{escape(file)}' cannot be written: {error.strerror}") from error
    console.LOG.handlers[:] = [handler]
    console.LOG.setLevel(logging.INFO)
    console.LOG.info("dicomsort %s (version %s)", shlex.join(map(_told, sys.argv[1:])), __version__)


def _check(file: str, inputs: Iterable[str], out: str) -> None:
    real = os.path.realpath(file)
    for root in (each for each in inputs if not is_remote(each)):
        if lies_under(real, os.path.realpath(root)) and not lies_under(real, os.path.realpath(out)):
            raise UsageError(
                f"--log-file '{escape(file)}' lies in what is sorted: choose a place outside '{escape(root)}'"
            )


def _check_name(file: str) -> None:
    """Raise UsageError for a file that is no log: it would go to FILE.1, and be gone after nine runs."""
    if Path(file).name in OWN or not _is_log(file):
        raise UsageError(f"--log-file '{escape(file)}' is no log of this program: choose another name")


def _is_log(file: str) -> bool:
    try:
        with Path(file).open("rb") as found:
            line = found.read(_LONGEST_TIME).decode("ascii", "replace")
    except OSError:
        return True  # it is not there, or the handler says what is wrong
    return not line or _BEGINS.match(line) is not None


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


class _Formatter(logging.Formatter):
    def formatTime(self, record: logging.LogRecord, _datefmt: str | None = None) -> str:  # noqa: N802
        """Return the local time with its distance from UTC, such as 2026-11-29T02:00:01+0100."""
        return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(record.created))
