"""What a spreadsheet or a power cut has done to a CSV of ours is put right, by atomic rename, or told."""

import codecs
import os
from collections.abc import Sequence
from functools import partial

from dicomsort.errors import UsageError
from dicomsort.system.atomic import replacing
from dicomsort.system.escaping import SEPARATORS, escape

_CHUNK = 1 << 20
_FIRST = "path"


def mend_line_ends(path: str) -> None:
    """Write a file again that has line ends of Windows or a byte order mark, by atomic rename.

    No cell of ours holds a carriage return: names have it escaped.
    """
    if not os.path.exists(path) or not _is_foreign(path):
        return
    with (
        open(path, encoding="utf-8-sig", errors="surrogateescape", newline=None) as file,
        replacing(path, "wb") as mended,
    ):
        for block in iter(partial(file.read, _CHUNK), ""):
            mended.write(block.encode("utf-8", "surrogateescape"))


def check_separator(path: str, names: Sequence[str]) -> None:
    """Raise UsageError if a spreadsheet has put something else between the cells than commas."""
    for mark, called in SEPARATORS.items():
        if names and names[0].startswith(f"{_FIRST}{mark}"):
            raise UsageError(
                f"'{escape(path)}' has {called} between its cells: save it with commas, as it was"
            )


def _is_foreign(path: str) -> bool:
    with open(path, "rb") as file:
        if file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8:
            return True
        file.seek(0)
        return any(b"\r" in block for block in iter(partial(file.read, _CHUNK), b""))


def cut_torn_line(path: str) -> None:
    """Cut what stands after the last line end: a power cut may leave half a line."""
    if not os.path.exists(path):
        return
    with open(path, "r+b") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            at = file.read(end - start).rfind(b"\n")
            if at >= 0:
                if start + at + 1 < size:  # a file that is whole keeps its time
                    file.truncate(start + at + 1)
                return
            end = start
        file.truncate(0)


def cut_lone_names(path: str) -> None:
    """Empty a file that has the names of its columns and no row: its run may never have begun."""
    if not os.path.exists(path):
        return
    with open(path, "r+b") as file:
        file.readline()
        if not file.read(1):
            file.truncate(0)
