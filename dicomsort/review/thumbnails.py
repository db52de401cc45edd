"""Pictures for the review page, drawn by isolated workers: what is looked at first, then what comes next."""

import hashlib
import os
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

from dicomsort.dicom import isolation
from dicomsort.dicom.sop_classes import READING, ReadSettings
from dicomsort.errors import DicomsortError
from dicomsort.inputs.sources import stamp_of
from dicomsort.outcome import Failure, Reason, Status
from dicomsort.review.picture_cache import Answer, RecentPictures, ThumbnailFolder
from dicomsort.system.inbox import Inbox
from dicomsort.system.pool_settings import PoolSettings

SIDE, QUALITY = 256, 85
"""Pixels of a thumbnail's longer side, and quality of its JPEG."""

FOLDER = os.path.join(".dicomsort", "thumbnails")
"""Where thumbnails are kept in an output folder."""

_MOST_WAITING = 1000
_THUMBNAIL_BYTES = 24 << 20
_FULL_BYTES = 40 << 20
_JOIN_SECONDS = 10
_DIED = Failure(Status.CRASH, Reason.WORKER_DIED)


@dataclass(frozen=True, slots=True)
class Subject:
    """A file that is looked at. name: what it is known by, wherever it lies; path: where it lies now."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A picture to be drawn, and what it is kept under."""

    key: str
    path: str
    full: bool = False


class Pictures:
    """Thumbnails and whole pictures of files, each read once; thread-safe.

    An answer is an image, or the failure of its file as the manifest would tell it: a file that crashes or
    hangs its decoder costs nothing else. None if more is asked for than can wait.
    """

    def __init__(self, read: ReadSettings, pool: PoolSettings, folder: ThumbnailFolder | None = None) -> None:
        """Start the workers. folder: where thumbnails are kept; None: in memory, as many as fit."""
        self._read, self._folder = read, folder
        self._inbox: Inbox[_Wanted] = Inbox(_MOST_WAITING)
        self._coming: dict[_Wanted, Future[Answer | None]] = {}
        self._thumbnails, self._full = RecentPictures(_THUMBNAIL_BYTES), RecentPictures(_FULL_BYTES)
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._ended = False
        self._last: Answer | None = None
        self._drawer = threading.Thread(target=self._draw_all, args=(replace(pool, ahead=1),), daemon=True)
        self._drawer.start()

    def thumbnail(self, subject: Subject) -> "Future[Answer | None]":
        """Return what will be the thumbnail: JPEG, gray, SIDE pixels at the longer side."""
        wanted = self._thumbnail_of(subject)
        if isinstance(wanted, Failure):
            return _known(wanted)
        with self._lock:
            known = self._thumbnails.get(wanted.key)
        if known is None and self._folder is not None:
            known = self._folder.get(wanted.key)
        return self._want(wanted) if known is None else _known(known)

    def full(self, subject: Subject) -> "Future[Answer | None]":
        """Return what will be the whole picture: PNG, gray."""
        wanted = self._wanted(subject, "full", full=True)
        if isinstance(wanted, Failure):
            return _known(wanted)
        with self._lock:
            known = self._full.get(wanted.key)
        return self._want(wanted) if known is None else _known(known)

    def ahead(self, subjects: Iterable[Subject]) -> None:
        """Draw these thumbnails next, in this order, while nobody waits for others; forget what was to be."""
        wanted = [each for each in map(self._thumbnail_of, subjects) if isinstance(each, _Wanted)]
        missing = [each for each in wanted if self._folder is None or not self._folder.has(each.key)]
        with self._lock:
            for gone in self._inbox.expect(()):
                self._answer(gone, None)
            new = [each for each in missing if not (each in self._coming or self._thumbnails.get(each.key))]
            self._expect([] if self._ended else list(dict.fromkeys(new))[:_MOST_WAITING])

    def _expect(self, wanted: list[_Wanted]) -> None:
        self._coming |= {each: _coming() for each in wanted}
        self._inbox.expect(wanted)

    def close(self) -> None:
        """End the workers; whoever still waits gets None."""
        self._stop.set()
        self._inbox.close()
        self._drawer.join(_JOIN_SECONDS)

    def _thumbnail_of(self, subject: Subject) -> _Wanted | Failure:
        return self._wanted(subject, f"{SIDE} {QUALITY}")

    def _wanted(self, subject: Subject, kind: str, full: bool = False) -> _Wanted | Failure:
        """Name a picture by all that it depends on; what was decided of a file may move, not change it."""
        try:
            found = stamp_of(subject.path)
        except FileNotFoundError:
            return Failure(Status.IO_ERROR, Reason.VANISHED)
        except (OSError, ValueError):
            return Failure(Status.IO_ERROR, Reason.UNREADABLE)
        facts = (subject.name, found.size, found.mtime_ns, READING, kind, self._read)
        digest = hashlib.blake2b(repr(facts).encode("utf-8", "backslashreplace"), digest_size=16)
        return _Wanted(digest.hexdigest(), subject.path, full)

    def _want(self, wanted: _Wanted) -> "Future[Answer | None]":
        with self._lock:
            if self._ended:
                return _known(self._last)
            if (coming := self._coming.get(wanted)) is not None:
                self._inbox.hurry(wanted)
                return coming
            coming = self._coming[wanted] = _coming()
            if (gone := self._inbox.want(wanted)) is not None:
                self._answer(gone, None)
            return coming

    def _draw_all(self, pool: PoolSettings) -> None:
        """Take what workers have drawn until the end; if they cannot run at all, nothing can be drawn."""
        draw = partial(_draw, settings=self._read)
        try:
            with closing(isolation.read_all(draw, self._inbox, pool, self._stop)) as drawn:
                for wanted, answer in drawn:
                    self._keep(wanted, answer)
        except DicomsortError:
            self._last = _DIED
        finally:
            with self._lock:
                self._ended = True
                for wanted in list(self._coming):
                    self._answer(wanted, self._last)

    def _keep(self, wanted: _Wanted, answer: Answer) -> None:
        kept = isinstance(answer, bytes) and not wanted.full and self._keep_in_folder(wanted.key, answer)
        passing = isinstance(answer, Failure) and answer.status is Status.IO_ERROR  # may be there next time
        with self._lock:
            if not kept and not passing:
                (self._full if wanted.full else self._thumbnails).put(wanted.key, answer)
            self._answer(wanted, answer)

    def _keep_in_folder(self, key: str, thumbnail: bytes) -> bool:
        return self._folder is not None and self._folder.put(key, thumbnail)

    def _answer(self, wanted: _Wanted, answer: Answer | None) -> None:
        if (coming := self._coming.pop(wanted, None)) is not None:
            coming.set_result(answer)


def _draw(wanted: _Wanted, settings: ReadSettings) -> Answer:
    from dicomsort.dicom import render  # noqa: PLC0415  (in a worker; the server loads nothing of it)

    if wanted.full:
        return render.full_size(wanted.path, settings)
    return render.thumbnail(wanted.path, SIDE, QUALITY, settings)


def _coming() -> "Future[Answer | None]":
    """Return what will have a result; nobody who stops to wait for it can cancel it for the others."""
    future: Future[Answer | None] = Future()
    future.set_running_or_notify_cancel()
    return future


def _known(answer: Answer | None) -> "Future[Answer | None]":
    future = _coming()
    future.set_result(answer)
    return future
