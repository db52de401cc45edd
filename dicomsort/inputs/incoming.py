"""Files that had to be unpacked or fetched, until they have their place: one folder below the output."""

import os
import shutil
import threading
import uuid
from contextlib import suppress

from dicomsort.outcome import Part, SourceFile


class Incoming:
    """A folder of files of ours, each of which goes when nobody needs it any more. Thread-safe.

    folder: absolute, made when it is first needed.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._kept: dict[str, str] = {}
        self._lock = threading.Lock()

    def new(self) -> str:
        """Return a name in the folder that nobody has. Raises OSError."""
        os.makedirs(self.folder, exist_ok=True)
        return os.path.join(self.folder, uuid.uuid4().hex)

    def _of(self, part: Part | None) -> str | None:
        """Return the file in this folder that holds a source and nothing else, if that is where it lies."""
        is_whole = part is not None and part.start == 0 and part.length is None
        return part.file if part and is_whole and os.path.dirname(part.file) == self.folder else None

    def keep(self, found: SourceFile) -> None:
        """Keep what is here of a file until its row has been written: see `ended`."""
        if file := self._of(found.part):
            with self._lock:
                self._kept[found.path] = file

    def drop(self, part: Part | None) -> None:
        """Remove what is here of a file, unless others lie in it."""
        if file := self._of(part):
            with suppress(OSError):
                os.unlink(file)

    def ended(self, path: str) -> None:
        """Remove what was kept of a file that has its row."""
        if self._kept:
            with self._lock:
                file = self._kept.pop(path, None)
            if file is not None:
                with suppress(OSError):
                    os.unlink(file)

    def close(self) -> None:
        """Remove the folder with all that is in it, and those above it that were made for it alone."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            above = os.path.dirname(self.folder)
            os.rmdir(above)
            os.rmdir(os.path.dirname(above))
