"""What ends a run, and the exit code each end has."""

import traceback
from enum import IntEnum
from pathlib import Path

from dicomsort import __version__


class ExitCode(IntEnum):
    """Exit codes of every command; see docs/reference/statuses-and-exit-codes.md."""

    DONE = 0
    INTERNAL = 1
    USAGE = 2
    SOME_FAILED = 3
    NOTHING_FOUND = 4
    TARGET = 5
    MODEL = 6
    INTERRUPTED = 130


class DicomsortError(Exception):
    """An end with one clear line that says what to do. Subclasses fix the exit code."""

    exit_code = ExitCode.INTERNAL


class InternalError(DicomsortError):
    """Our fault or the machine's: a worker that cannot start, sums that do not add up."""


class UsageError(DicomsortError):
    """The command line or the training data cannot be used as given."""

    exit_code = ExitCode.USAGE


class NothingFoundError(DicomsortError):
    """There is no file under the given folders."""

    exit_code = ExitCode.NOTHING_FOUND


class TargetError(DicomsortError):
    """The output folder is not writable, or it is full."""

    exit_code = ExitCode.TARGET


class ModelError(DicomsortError):
    """The model bundle is missing, damaged, or of an unknown format."""

    exit_code = ExitCode.MODEL


def internal(error: Exception) -> str:
    """Say where an unforeseen error has come from, and no more: its message may quote a header."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{type(error).__name__} in {Path(place.filename).name}:{place.lineno}"
    return f"internal error, please report it: {where} (version {__version__})"
