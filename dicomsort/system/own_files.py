"""Files of ours that may be replaced: they are known by what stands near their beginning."""

import os

from dicomsort.errors import TargetError, UsageError
from dicomsort.system.escaping import escape

_BEGINNING = 4096


def check_replaceable(path: str, mark: str, advice: str = "choose another --out") -> None:
    """Raise UsageError if a file is there that is none of ours, and TargetError if it cannot be read.

    mark: what stands in the first 4096 characters of ours. advice: what to do otherwise.
    """
    if not os.path.lexists(path):
        return
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            if mark in file.read(_BEGINNING):
                return
    except FileNotFoundError:  # a link that leads nowhere
        pass
    except OSError as error:
        raise TargetError(f"'{escape(path)}' cannot be written: {error.strerror}") from error
    raise UsageError(f"'{escape(path)}' was not written by dicomsort and is left alone: {advice}")
