"""What is new in a folder that fills, and still: nobody has written to it for a while."""

import os
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator

from dicomsort.outcome import Reason, SourceFile


class QuietFiles:
    """Hands out each file once, after its size and time have been the same for `quiet_for` seconds.

    One that has changed is handed out again. What was handed out is kept in 8 bytes a file, and what waits in
    a tenth of a kilobyte; of files that are gone nothing is kept. waiting: how many were not quiet yet at the
    last look. clock: seconds, as `time.monotonic`.
    """

    def __init__(self, quiet_for: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._quiet_for, self._clock = quiet_for, clock
        self._done = array("q")
        self._since: dict[int, float] = {}
        self._taken: list[int] = []
        self.waiting = 0

    def look(self, found: Iterable[SourceFile]) -> Iterator[SourceFile]:
        """Yield what is new and quiet, of all that is there now; call `confirm` once it has been dealt with.

        What was moved away since it was found is left out. Only a look that comes to its end forgets files
        that are gone; one that is not confirmed is as if it had not been, but for the time that has passed.
        """
        since, self._taken, met = dict[int, float](), [], array("q")
        for file in found:
            key = _key(file)
            if key is None:
                continue
            if self._is_done(key):
                met.append(key)
                continue
            now = self._clock()
            since[key] = self._since.setdefault(key, now)
            if now - since[key] >= self._quiet_for:
                self._taken.append(key)
                yield file
        self._since, self.waiting = since, len(since) - len(self._taken)
        if 2 * len(met) < len(self._done):
            self._done = array("q", sorted(met))

    def confirm(self) -> None:
        """Never hand out again, unchanged, what the last look has."""
        if self._taken:
            self._done = array("q", sorted({*self._done, *self._taken}))
        for key in self._taken:
            self._since.pop(key, None)
        self._taken = []

    def _is_done(self, key: int) -> bool:
        at = bisect_left(self._done, key)
        return at < len(self._done) and self._done[at] == key


def _key(file: SourceFile) -> int | None:
    """Return what is another number once a file has changed; None if it is not there any more."""
    if file.failure is not None:
        return None if file.failure.reason is Reason.VANISHED else hash((file.path, file.failure.reason))
    if file.stamp is not None:
        return hash((file.path, file.stamp.size, file.stamp.mtime_ns, file.stamp.etag))
    try:
        facts = os.stat(file.path)
    except FileNotFoundError:
        return None
    except OSError as error:
        return hash((file.path, error.errno))
    return hash((file.path, facts.st_size, facts.st_mtime_ns))
