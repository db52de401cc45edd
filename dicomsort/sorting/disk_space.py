"""Count what is still to come while a run goes on, to show how much time and space it still needs."""

import os
import shutil
import threading
from collections.abc import Iterable
from contextlib import suppress

from dicomsort.errors import DicomsortError
from dicomsort.manifest.rows import Row
from dicomsort.outcome import Action, SourceFile

_LOOK_EVERY = 100


class Forecast:
    """Counts files, and the bytes of those that may be copied, in a thread of its own.

    Used as a context manager around the run. files: how many there are, None until all are counted.
    missing_bytes: how much more space the copies will probably need than there is. found: None if they cannot
    be gone through twice; then nothing is forecast. number: of files, if it is known beforehand.
    """

    def __init__(
        self, found: Iterable[SourceFile] | None, out: str, copies: bool, number: int | None = None
    ) -> None:
        self._found, self._out, self._copies = found, out, copies
        self._is_known = number is not None and not copies
        self._stop = threading.Event()
        self._bytes, self._seen, self._placed, self._rows = 0, 0, 0, 0
        self._thread = threading.Thread(target=self._count, name="forecast", daemon=True)
        self.files = number
        self._has_all = False
        self.missing_bytes = 0

    def __enter__(self) -> "Forecast":
        """Start to count."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop counting."""
        self._stop.set()
        self._thread.join()

    def _count(self) -> None:
        if self._found is None or self._is_known:
            return
        with suppress(DicomsortError, FileNotFoundError):  # the run itself meets it too, and tells
            files = 0
            for files, file in enumerate(self._found, start=1):  # noqa: B007
                if self._stop.is_set():
                    return
                if self._copies:
                    self._bytes += file.stamp.size if file.stamp else _size(file.path)
            self.files, self._has_all = files, True

    def look_at(self, row: Row) -> None:
        """Take a row into account; compare, every now and then, what the rest will need with what is free."""
        size = row.stamp.size if row.stamp else 0
        self._seen += size
        self._placed += size if _takes_space(row, self._out) else 0
        self._rows += 1
        if self._copies and self._has_all and self._rows % _LOOK_EVERY == 0:
            needed = self._placed / max(self._seen, 1) * (self._bytes - self._seen)
            self.missing_bytes = max(0, int(needed) - shutil.disk_usage(self._out).free)


def _takes_space(row: Row, out: str) -> bool:
    """Return whether a copy was made; what is moved within a file system has two names for a while."""
    if row.action != Action.MOVE:
        return row.action == Action.COPY
    try:
        return not os.path.samefile(row.path, os.path.join(out, row.destination))
    except OSError:
        return True


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
