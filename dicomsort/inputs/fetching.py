"""Files of another machine brought to this disk, many at a time, as far as they are needed."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from multiprocessing import connection

from dicomsort.inputs.incoming import Incoming
from dicomsort.inputs.opened import Span
from dicomsort.inputs.store import FetchError, Store
from dicomsort.inputs.work import Work
from dicomsort.outcome import Failure, FileStamp, Part, Reason, SourceFile, Status

_HEAD = 1 << 18
_AHEAD = 1 << 20
_MOST_SPANS = 8
_READY_FOR_EACH = 2


class Fetching:
    """Threads that fetch; what they bring is taken by `done`.

    bell: readable once there is something to take. waiting: how many files are on their way, or lie here
    untaken; `is_full` tells when no more may be begun.
    """

    def __init__(self, store_for: Callable[[str], Store], incoming: Incoming, connections: int) -> None:
        self._store_for, self._incoming, self._most = store_for, incoming, connections
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix="fetch")
        self._lock = threading.Lock()
        self._done: deque[Work] = deque()
        self._running = 0
        self._closed = False
        self.bell, self._rope = connection.Pipe(duplex=False)

    @property
    def waiting(self) -> int:
        """How many files are on their way or have come."""
        with self._lock:
            return self._running + len(self._done)

    @property
    def is_full(self) -> bool:
        """Whether enough files are on their way or have come."""
        return self.waiting >= _READY_FOR_EACH * self._most

    def done(self) -> Iterator[Work]:
        """Take what has come."""
        with self._lock:
            if self.bell.poll():
                self.bell.recv_bytes()
            come, self._done = self._done, deque()
        return iter(come)

    def begin(self, found: SourceFile) -> None:
        """Fetch a file: its head, where parts can be asked for, else the whole."""
        self._submit(found, lambda: self._begun(found))

    def more(self, found: SourceFile, span: Span | None, then: Work) -> None:
        """Fetch more of a file, None for all of it, for some work that is to be done with it then."""
        self._submit(found, lambda: self._continued(found, span, then))

    def close(self) -> None:
        """Wait for what is on its way, and begin nothing more."""
        self._closed = True
        self._threads.shutdown(cancel_futures=True)

    def _submit(self, found: SourceFile, task: Callable[[], Work]) -> None:
        with self._lock:
            self._running += 1
        self._threads.submit(self._run, found, task)

    def _run(self, found: SourceFile, task: Callable[[], Work]) -> None:
        try:
            work = task()
        except Exception:  # noqa: BLE001  (whatever a library raises: one file must not stop the run)
            work = self._failed(found, Failure(Status.IO_ERROR, Reason.REMOTE))
        with self._lock:
            self._running -= 1
            self._done.append(work)
            if not self.bell.poll():
                self._rope.send_bytes(b"")

    def _begun(self, found: SourceFile) -> SourceFile:
        try:
            file = self._incoming.new()
        except OSError:
            return replace(found, failure=_FULL)
        size = found.stamp.size if found.stamp else 0
        head = _HEAD if self._store_for(found.path).in_parts and not 0 < size <= _HEAD else None
        return self._brought(replace(found, part=Part(file, held=())), (0, head))

    def completed(self, found: SourceFile) -> SourceFile:
        """Fetch all that is missing of a file, now; with a failure if that cannot be done."""
        done = self._continued(found, None, found)
        assert isinstance(done, SourceFile)  # noqa: S101
        return done

    def _continued(self, found: SourceFile, span: Span | None, then: Work) -> Work:
        for gap in _missing(found, span):
            found = self._brought(found, gap)
            if found.failure:
                break
        if found.failure or isinstance(then, SourceFile):
            return found
        return replace(then, found=found)

    def _brought(self, found: SourceFile, span: tuple[int, int | None]) -> SourceFile:
        """Fetch a span into the file's place here; a changed etag or an error becomes a failure."""
        part = found.part
        assert part is not None  # noqa: S101
        try:
            with open(part.file, "r+b" if os.path.exists(part.file) else "xb") as file:
                file.seek(span[0])
                stamp = self._store_for(found.path).fetch(found.path, span[0], span[1], file)
                end = file.tell()
                file.truncate(max(stamp.size, end))
        except FetchError as error:
            return self._failed(found, Failure(Status.IO_ERROR, error.reason))
        except OSError:
            return self._failed(found, _FULL)
        if part.held and found.stamp and stamp.etag not in ("", found.stamp.etag):
            return self._failed(found, Failure(Status.IO_ERROR, Reason.CHANGED))
        held = _joined((*(part.held or ()), (span[0], end)))
        whole = held == ((0, stamp.size),) or span == (0, None)
        known = _stamp(found.stamp, stamp)
        return replace(found, part=replace(part, held=None if whole else held), stamp=known)

    def _failed(self, found: SourceFile, failure: Failure) -> SourceFile:
        if found.part is not None:
            with suppress(OSError):
                os.unlink(found.part.file)
        return replace(found, failure=replace(failure, stamp=found.stamp), part=None)


_FULL = Failure(Status.IO_ERROR, Reason.TARGET_DONE)


def _stamp(listed: FileStamp | None, met: FileStamp) -> FileStamp:
    """Return the stamp of a file as it was fetched; its etag is that of the list, if that told one."""
    etag = met.etag or (listed.etag if listed else "")
    return FileStamp(met.size, met.mtime_ns or time.time_ns(), etag)


def _joined(spans: tuple[Span, ...]) -> tuple[Span, ...]:
    """Return spans in order, those that touch as one."""
    found: list[Span] = []
    for start, stop in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(stop, found[-1][1])
        else:
            found.append((start, stop))
    return tuple(found)


def _missing(found: SourceFile, span: Span | None) -> list[Span]:
    """Return what to fetch for a span: somewhat more than that, and all after too many spans."""
    held = found.part.held if found.part else None
    if held is None or found.stamp is None:
        return []
    if span is None or len(held) >= _MOST_SPANS:
        return _gaps(held, found.stamp.size)
    return _gaps(held, min(max(span[1], span[0] + _AHEAD), found.stamp.size), span[0])


def _gaps(held: tuple[Span, ...], stop: int, start: int = 0) -> list[Span]:
    """Return what is not held of the bytes from `start` to `stop`."""
    gaps: list[Span] = []
    for begin, end in held:
        if end <= start or begin >= stop:
            continue
        if begin > start:
            gaps.append((start, begin))
        start = max(start, end)
    return [*gaps, (start, stop)] if start < stop else gaps
