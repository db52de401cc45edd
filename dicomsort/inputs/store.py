"""What fetches files from another machine: an object store or a PACS."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol, runtime_checkable

from dicomsort.outcome import Failure, FileStamp, Reason, SourceFile

Excludes = Callable[[Mapping[str, str]], Failure | None]
"""Takes what a PACS says of an instance, by keyword; returns why it is no radiograph, or None."""


class FetchError(Exception):
    """A file that cannot be fetched, after all tries: the run goes on, and its row tells why.

    reason: VANISHED if it is not there any more, REMOTE for anything else. Its message is never shown.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class RemoteSettings:
    """How other machines are asked.

    connections: how many requests at a time. timeout: seconds that one may take. tries: of each request, with
    growing pauses between them. query: what a PACS is asked for, attributes by keyword. authorization: what
    is sent as `Authorization` (RFC 9110 11.6.2) to a PACS; never to be written anywhere. excludes: of a PACS,
    what need not be fetched, see `dicom.queried`.
    """

    connections: int = 64
    timeout: float = 30.0
    tries: int = 5
    query: Mapping[str, str] = field(default_factory=dict)
    authorization: str = field(default="", repr=False, compare=False)
    excludes: Excludes | None = field(default=None, repr=False, compare=False)


@runtime_checkable
class Stoppable(Protocol):
    """A store whose requests can be given up while they are under way."""

    def stop(self) -> None:
        """Give up what is being asked, whichever thread does; nothing more is asked."""


class Store(Protocol):
    """Files on another machine. `fetch` is called from many threads at a time.

    in_parts: whether parts of a file can be asked for; if not, `fetch` is always asked for the whole.
    """

    in_parts: bool

    def find(self) -> Iterator[SourceFile]:
        """Yield every file below the root, with a stamp that has an etag; page by page, never all at once.

        Raises UsageError, in words that say what to do, if the store cannot be reached or refuses.
        """

    def fetch(self, path: str, start: int, stop: int | None, into: BinaryIO) -> FileStamp:
        """Write bytes `start` to `stop` (None: to the end) of a file into `into`, at its present position.

        Fewer only if the file ends before. Returns the stamp of the file as it is now, with its whole size.
        Raises FetchError, or OSError of `into`.
        """

    def close(self) -> None:
        """Let go of connections."""
