"""Who is at work here."""

import getpass
import os


def user_name() -> str:
    """Return the login of whoever runs the program; their number where the system knows no name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return str(os.getuid())
