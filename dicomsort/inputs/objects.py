"""Files in an object store: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage."""

import re
from collections.abc import Iterator
from typing import BinaryIO

from dicomsort.errors import UsageError
from dicomsort.inputs.buckets import bucket_of
from dicomsort.inputs.names import base_name, clean, without_secrets
from dicomsort.inputs.store import RemoteSettings
from dicomsort.inputs.transfer import Entry, Patience, stamp_of, transfer
from dicomsort.outcome import FileStamp, SourceFile
from dicomsort.system.escaping import escape

_SECRET = re.compile(
    r"[?&](sig|signature|(access_?)?token|x-(amz|goog)-[a-z-]+|awsaccesskeyid)=", re.IGNORECASE
)


class ObjectStore:
    """What lies below a bucket or a folder in it, or one object; see `Store`.

    A key may be any text: empty parts, `.` and `..` in it too. Folders' own markers are no files.
    """

    in_parts = True

    def __init__(self, url: str, settings: RemoteSettings) -> None:
        """Find out who asks, and where. Raises UsageError."""
        self._patience = Patience(settings)
        self._scheme, _, rest = url.partition("://")
        self._name, _, self._below = rest.partition("/")
        if not self._name:
            raise UsageError(f"'{escape(url)}' names no bucket: give {self._scheme}://bucket/folder")
        if "@" in self._name or _SECRET.search(self._below):
            shown = escape(without_secrets(url))
            raise UsageError(f"the address '{shown}' holds credentials, which belong in the environment")
        self._bucket = bucket_of(self._scheme, self._name, settings)

    def find(self) -> Iterator[SourceFile]:
        """Yield every object below the root, and the one that it names, in the order of the keys."""
        below = self._below
        if below and not below.endswith("/"):
            yield from (self._file(entry, base_name(entry.key)) for entry in self._bucket.at(below))
            below += "/"
        for entry in self._bucket.below(below):
            if entry.size or not entry.key.endswith("/"):
                yield self._file(entry, entry.key[len(below) :])

    def _file(self, entry: Entry, relative: str) -> SourceFile:
        stamp = stamp_of(entry.size, entry.seconds, entry.etag)
        return SourceFile(f"{self._scheme}://{self._name}/{entry.key}", clean(relative), stamp=stamp)

    def fetch(self, path: str, start: int, stop: int | None, into: BinaryIO) -> FileStamp:
        """Write bytes of an object into a file, see `Store`."""
        key = path.partition("://")[2].partition("/")[2]
        return transfer(self._bucket.ask(key), start, stop, into, self._patience)

    def stop(self) -> None:
        """Give up what is being asked at its next byte, or once it has taken too long; see `Stoppable`."""
        self._patience.stop()

    def close(self) -> None:
        """Let go of connections."""
        self._bucket.close()
