"""Files that were found elsewhere, and can be gone through once."""

from collections.abc import Iterator

from dicomsort.inputs.named import Files
from dicomsort.inputs.remotes import Remotes
from dicomsort.outcome import SourceFile


class Once:
    """Some of the files of a source, as a source of their own; see `named.Files`."""

    repeats = False

    def __init__(self, files: Iterator[SourceFile], source: Files) -> None:
        self._files, self._source = files, source

    @property
    def remotes(self) -> Remotes:
        """The stores from which files have to be fetched."""
        return self._source.remotes

    @property
    def empty_folders(self) -> int:
        """How many folders without anything in them were met."""
        return self._source.empty_folders

    @property
    def number(self) -> int | None:
        """None: that is known only once all have come."""
        return None

    def find(self) -> Iterator[SourceFile]:
        """Yield every file once."""
        return self._files
