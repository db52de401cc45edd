"""Rows on their way to the manifest: first what was placed is on the disk, then the row that says so."""

import os
import threading
from collections.abc import Sequence

from dicomsort.manifest.rows import Row
from dicomsort.manifest.table import Manifest
from dicomsort.outcome import COPIES
from dicomsort.system import durable

_SECONDS = 1.0
_MOST_WAITING = 20_000


class Journal:
    """Writes rows in groups, at most a second after they came, from a thread of its own.

    A power cut loses at most the rows of that second, and never leaves a row without its file. Used as a
    context manager; whatever ends the block, the rows that have come are written. Trouble of the thread
    (TargetError) is raised by the next `write`, or at the end.
    """

    def __init__(self, manifest: Manifest, folder: str) -> None:
        self._manifest, self._folder = manifest, folder
        self._waiting: list[Row] = []
        self._changed = threading.Condition()
        self._closing = False
        self._trouble: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)

    def __enter__(self) -> "Journal":
        """Start the thread."""
        self._thread.start()
        return self

    def write(self, row: Row) -> None:
        """Take a row; waits only if the disk is far behind."""
        with self._changed:
            self._changed.wait_for(lambda: self._trouble or len(self._waiting) < _MOST_WAITING)
            if self._trouble is not None:
                raise self._trouble
            self._waiting.append(row)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Write what is left. Raises the thread's trouble, unless the block ends with its own."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        if self._trouble is not None and kind is None:
            raise self._trouble

    def _work(self) -> None:
        closing = False
        while not closing and self._trouble is None:
            with self._changed:
                closing = self._changed.wait_for(lambda: self._closing, timeout=_SECONDS)
                rows, self._waiting = self._waiting, []
                self._changed.notify_all()
            try:
                self._commit(rows)
            except BaseException as error:  # noqa: BLE001  (raised again where rows are written)
                with self._changed:
                    self._trouble = error
                    self._changed.notify_all()

    def _commit(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        placed = [row for row in rows if row.action]
        names = [os.path.join(self._folder, row.destination) for row in placed]
        copies = [name for name, row in zip(names, placed, strict=True) if row.action in COPIES]
        durable.sync(copies, names, self._folder)
        self._manifest.append(rows)
