"""Keys that tell things apart and name none: hashes with a salt that is kept in a file."""

import hmac
import os
import re
import secrets
from contextlib import suppress
from functools import partial

from dicomsort.errors import TargetError, UsageError
from dicomsort.system.atomic import publish, temporary_for
from dicomsort.system.escaping import escape

_BYTES = 32
_SALT = re.compile(rb"[0-9a-f]{64}")
_DIGITS = 16


def salt_in(path: str) -> bytes:
    """Return the salt in a file, which is made if there is none.

    It appears whole or not at all: half a one, or none, would let patients be guessed. Raises UsageError if
    it is damaged, TargetError if it cannot be made or read.
    """
    try:
        if not os.path.exists(path):
            _make(path)
        with open(path, "rb") as file:
            salt = file.read(1 << 16).strip()
    except OSError as error:
        raise TargetError(f"'{escape(path)}' cannot be written: {error.strerror}") from error
    if not _SALT.fullmatch(salt):
        raise UsageError(
            f"'{escape(path)}' is damaged, or no salt: restore it, or name a new file to get other keys"
        )
    return salt


def _make(path: str) -> None:
    os.makedirs(os.path.dirname(path) or os.curdir, mode=0o700, exist_ok=True)
    fresh = temporary_for(path)
    with open(fresh, "xb", opener=partial(os.open, mode=0o600)) as file:
        file.write(secrets.token_hex(_BYTES).encode())
    with suppress(FileExistsError):
        publish(fresh, path)
    temporary_for(path)  # removes it


def hashed(text: bytes, salt: bytes, letter: str) -> str:
    """Return the key of a text by HMAC-SHA256 (RFC 2104): 16 hex digits behind a letter.

    It begins with a letter: a spreadsheet would round sixteen digits, or read 12e45 as a number.
    """
    return letter + hmac.digest(salt, text, "sha256").hex()[:_DIGITS]
