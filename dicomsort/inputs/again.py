"""Files of other machines fetched once more, one at a time for each thread that asks."""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from dicomsort.inputs.archive_file import MemberDamagedError
from dicomsort.inputs.incoming import Incoming
from dicomsort.inputs.sources import Here
from dicomsort.inputs.store import FetchError, Store


class _Kept(NamedTuple):
    path: str
    here: Here


class Again:
    """Fetches what has been let go of, such as an archive when a member of it gets its place.

    A thread keeps what it fetched last, so members of one archive that are wanted in turn cost one fetch.
    What is here lies in the folder for incoming files, and goes with it.
    """

    def __init__(self, store_for: Callable[[str], Store], incoming: Incoming) -> None:
        self._store_for, self._incoming = store_for, incoming
        self._mine = threading.local()

    def __call__(self, path: str) -> Here:
        """Return a file of another machine as one here. Raises OSError, MemberDamagedError if it is refused.

        Valid until the same thread asks for another one.
        """
        kept: _Kept | None = getattr(self._mine, "kept", None)
        if kept is not None and kept.path == path and os.path.exists(kept.here.file):
            return kept.here
        if kept is not None:
            with suppress(OSError):
                os.unlink(kept.here.file)
        here = self._fetched(path)
        self._mine.kept = _Kept(path, here)
        return here

    def _fetched(self, path: str) -> Here:
        target = self._incoming.new()
        try:
            with open(target, "xb") as file:
                return Here(target, self._store_for(path).fetch(path, 0, None, file))
        except FetchError as error:
            with suppress(OSError):
                os.unlink(target)
            raise MemberDamagedError(error.reason) from error
