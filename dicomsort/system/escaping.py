r"""File names as text that survives: on one line, in UTF-8, in a spreadsheet, and back again."""

import os
import unicodedata

_GUARDED = ("=", "+", "-", "@", "\t", "\r", "'")
_LINE_BREAKING = frozenset({0x85, 0x2028, 0x2029})

SEPARATORS = {";": "semicolons", "\t": "tabs"}
"""What spreadsheets put between cells instead of commas."""


def escape(name: str) -> str:
    r"""Write a path as UTF-8 on one line: other bytes, control characters and `\` as reversible `\xNN`.

    What is written depends on the bytes of the name alone, not on the locale.
    """
    if name.isascii() and name.isprintable() and "\\" not in name:
        return name
    return "".join(_escaped(char) for char in os.fsencode(name).decode("utf-8", "surrogateescape"))


def _escaped(char: str) -> str:
    code = ord(char)
    odd = char == "\\" or unicodedata.category(char) in ("Cc", "Cs") or code in _LINE_BREAKING
    if not odd:
        return char
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))


def unescape(text: str) -> str:
    """Turn an escaped path back into the name that the system knows; the inverse of `escape`."""
    if "\\" not in text:
        return os.fsdecode(text.encode())
    out, at = bytearray(), 0
    while at < len(text):
        if text.startswith("\\x", at):
            out.append(int(text[at + 2 : at + 4], 16))
            at += 4
        else:
            out += text[at].encode()
            at += 1
    return os.fsdecode(bytes(out))


def cell(text: str) -> str:
    """Keep a spreadsheet from running a cell as a formula."""
    return f"'{text}" if text.startswith(_GUARDED) else text


def uncell(text: str) -> str:
    """Take away what `cell` has put in front; its inverse."""
    return text.removeprefix("'")
