"""Who is at work here."""

import getpass
import os
import unicodedata

from dicomsort.errors import UsageError
from dicomsort.system.escaping import escape

_LONGEST = 200
_UNREADABLE = ("Cc", "Cs", "Zl", "Zp")


def user_name() -> str:
    """Return the login of whoever runs the program; their number where the system knows no name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return str(os.getuid())


def is_name(text: str) -> bool:
    """Return whether a text can stand in a table as the name of a person: one line, of readable text."""
    return len(text) <= _LONGEST and not any(unicodedata.category(char) in _UNREADABLE for char in text)


def check_name(by: str) -> None:
    """Raise UsageError if this cannot stand in a table as the name of a person."""
    if not is_name(by):
        raise UsageError(f"--by '{escape(by[:_LONGEST])}' is no name: give one line of readable text")
