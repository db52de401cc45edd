"""One door to the bytes of any source by its name alone, for commands that come after the sorting."""

import errno
import os
import shutil
import tempfile
import threading
import uuid
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import BinaryIO

from dicomsort.errors import DicomsortError
from dicomsort.inputs import names
from dicomsort.inputs.archive_file import (
    LISTED,
    Ended,
    Listing,
    Member,
    Streamed,
    kind_of,
    list_members,
    stream_members,
)
from dicomsort.inputs.opened import opened
from dicomsort.inputs.store import FetchError, RemoteSettings
from dicomsort.inputs.stores import store_of
from dicomsort.inputs.work import member_of
from dicomsort.outcome import FileStamp, Part, SourceFile

_START, _CHUNK = 512, 1 << 20
_MOST_CURSORS = _MOST_INDEXES = 16
_MOST_KEPT_ARCHIVES = 4
_DESCRIPTORS = "/proc/self/fd"
_MOST_KEPT = 50_000
"""Of archives with more members the list is gone through again for each that is asked for."""


@dataclass(frozen=True, slots=True)
class Here:
    """A source on this disk. file: holds its bytes and nothing else. stamp: None for a plain file."""

    file: str
    stamp: FileStamp | None = None

    @property
    def part(self) -> Part:
        """The same as a part."""
        return Part(self.file)


Fetch = Callable[[str], Here]
"""Brings a file of another machine here, where it stays long enough; see `again`."""


@contextmanager
def local(path: str, fetch: Fetch | None = None) -> Iterator[Here]:
    """Have a source as a file on this disk while the block runs: the file itself, or a temporary one.

    fetch: brings what is on another machine; None to ask as anybody may. Raises FileNotFoundError if there is
    none of that name any more, or OSError if it cannot be read.
    """
    if names.is_plain(path) or os.path.exists(path):
        yield Here(path)
        return
    with tempfile.TemporaryDirectory(prefix="dicomsort-") as folder:
        yield _Search(folder, fetch).bring(path)


@contextmanager
def bytes_of(path: str, held: Part | BinaryIO | None = None) -> Iterator[BinaryIO]:
    """Open any source for reading. held: where its bytes are, or what gives them, if that is known.

    Raises as `local` and `opened` do.
    """
    if held is not None and not isinstance(held, Part):
        held.seek(0)
        yield held
    elif held is not None or names.is_plain(path):
        with opened(path, held) as file:
            yield file
    else:
        with ExitStack() as stack:
            with local(path) as here:  # a copy goes as soon as it is open: this process may be killed
                file = stack.enter_context(opened(here.file))
            yield file


def exists(path: str) -> bool:
    """Return whether there is a source of that name; what cannot be asked counts as gone."""
    try:
        return os.path.exists(path) if names.is_plain(path) else bool(stamp_of(path))
    except (OSError, DicomsortError):
        return False


def stamp_of(path: str) -> FileStamp:
    """Return the stamp of a source as it is now. Raises OSError, FileNotFoundError if it is gone."""
    if names.is_plain(path) or os.path.exists(path):
        return _stamp(os.stat(path))
    with tempfile.TemporaryDirectory(prefix="dicomsort-") as folder:
        stamp = _Search(folder).find(path).stamp
    if stamp is None:
        raise _gone(path)
    return stamp


def _gone(path: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def _stamp(facts: os.stat_result) -> FileStamp:
    return FileStamp(facts.st_size, facts.st_mtime_ns)


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class _Kept:
    """An archive that was unpacked from another one.

    stays: whether it lies in a file without a name, which goes when nobody holds this any more; else it goes
    with the folder of its search.
    """

    found: SourceFile
    stays: bool = False


_kept: dict[tuple[object, ...], _Kept] = {}
"""Those that were unpacked last, for who asks for one member after the other."""
_keeping = threading.RLock()


class _Search:
    """The search for one source. folder: for what has to be fetched or unpacked on the way."""

    def __init__(self, folder: str, fetch: Fetch | None = None) -> None:
        self._folder, self._fetch = folder, fetch
        self._using: list[_Kept] = []

    def bring(self, path: str) -> Here:
        """Have the source as a file of its own."""
        found = self.find(path)
        if self._fetch is not None and found.part == Part(found.part.file if found.part else ""):
            return Here(found.part.file, found.stamp)
        if names.is_remote(path) and found.part is None:
            return Here(self._fetched(path).file, found.stamp)
        assert found.part is not None  # noqa: S101
        if os.path.dirname(found.part.file) == self._folder and found.part.length is None:
            return Here(found.part.file, found.stamp)
        with opened("", found.part) as data:
            return Here(self._written(data), found.stamp)

    def find(self, path: str) -> SourceFile:
        """Find a source. Raises FileNotFoundError."""
        for archive, name, number in names.splits(path):
            outer = self._outer(archive)
            if outer is not None and (found := self._in(outer, name, number)) is not None:
                return found
        if names.is_remote(path) and self._fetch is not None:
            here = self._fetch(path)
            return SourceFile(path, "", part=here.part, stamp=here.stamp)
        if names.is_remote(path):
            return SourceFile(path, "", stamp=self._asked(path))
        raise _gone(path)

    def _outer(self, path: str) -> SourceFile | None:
        if names.is_remote(path):
            try:
                here = self._fetched(path)
            except FileNotFoundError:
                return None
            return SourceFile(path, "", part=here.part, stamp=here.stamp)
        if not os.path.isfile(path):
            return None
        return SourceFile(path, "", stamp=_stamp(os.stat(path)))

    def _in(self, archive: SourceFile, name: str, number: int) -> SourceFile | None:
        """Find a member, or a member of an archive that is a member."""
        number -= os.path.lexists(names.member(archive.path, name))  # see ArchiveRows.named
        if (found := self._member(archive, name, number)) is not None:
            return found
        for inner, below, its_number in names.splits(name):
            held = self._inner(archive, inner, number)
            if held is not None and (found := self._in(held, below, its_number)) is not None:
                return found
        return None

    def _inner(self, archive: SourceFile, name: str, number: int) -> SourceFile | None:
        """Find an archive in an archive; one that lies packed there is kept unpacked for a while."""
        key = archive.path, archive.stamp, name, number
        with _keeping:
            kept = _kept.pop(key, None)
            if kept is None:
                held = self._member(archive, name, number)
                if held is None or held.part is None or self._is_in_place(held.part):
                    return held
                kept = self._unpacked(held, held.part)
            if kept.stays:
                _kept[key] = kept
            if len(_kept) > _MOST_KEPT_ARCHIVES:
                del _kept[next(iter(_kept))]
        self._using.append(kept)
        return kept.found

    def _is_in_place(self, part: Part) -> bool:
        return not part.packing and os.path.dirname(part.file) != self._folder

    def _unpacked(self, archive: SourceFile, part: Part) -> "_Kept":
        """Have an archive as a file of its own: one without a name, where the system can open that again."""
        with opened("", part) as data:
            if not os.path.isdir(_DESCRIPTORS):
                return _Kept(replace(archive, part=Part(self._written(data))))
            with tempfile.TemporaryFile() as file:
                shutil.copyfileobj(data, file, _CHUNK)
                file.flush()
                descriptor = os.dup(file.fileno())
        kept = _Kept(replace(archive, part=Part(f"{_DESCRIPTORS}/{descriptor}")), stays=True)
        weakref.finalize(kept, os.close, descriptor)
        return kept

    def _member(self, archive: SourceFile, name: str, number: int) -> SourceFile | None:
        part = archive.part or Part(archive.path)
        with opened(archive.path, archive.part) as file:
            kind = kind_of(file.read(_START), file)
        if kind in LISTED:
            facts = os.stat(part.file)
            member = _listed(part.file, kind, part.start, part.length, facts.st_mtime_ns).get((name, number))
            return None if member is None else member_of(archive, member)
        return self._streamed(archive, part, kind, (name, number)) if kind else None

    def _streamed(
        self, archive: SourceFile, part: Part, kind: str, wanted: tuple[str, int]
    ) -> SourceFile | None:
        with _lock:
            one = _cursor_for((archive.path, part, archive.stamp), archive, kind, wanted).go_to(wanted)
            if one is None:
                return None
            file = self._written(one.data)
        found = member_of(archive, replace(one.member, size=os.path.getsize(file)))
        return replace(found, part=Part(file))

    def _written(self, data: BinaryIO) -> str:
        data.seek(0)
        target = self._new()
        with open(target, "xb") as file:
            shutil.copyfileobj(data, file, _CHUNK)
        return target

    def _new(self) -> str:
        return os.path.join(self._folder, uuid.uuid4().hex)

    def _fetched(self, path: str) -> Here:
        if self._fetch is not None:
            return self._fetch(path)
        store = store_of(path, RemoteSettings())
        try:
            target = self._new()
            with open(target, "xb") as file:
                return Here(target, store.fetch(path, 0, None, file))
        except FetchError as error:
            raise _gone(path) from error
        finally:
            store.close()

    def _asked(self, path: str) -> FileStamp:
        store = store_of(path, RemoteSettings())
        try:
            with tempfile.TemporaryFile(dir=self._folder) as nowhere:
                return store.fetch(path, 0, 1 if store.in_parts else None, nowhere)
        except FetchError as error:
            raise _gone(path) from error
        finally:
            store.close()


class _Cursor:
    """A stream that is being gone through. passed: hashes of name and number of what has come by."""

    def __init__(self, key: object, archive: SourceFile, kind: str) -> None:
        self.key = key
        self.passed: set[int] = set()
        self._numbers: Counter[int] = Counter()
        self._stack = ExitStack()
        file = self._stack.enter_context(opened(archive.path, archive.part))
        self._members = stream_members(file, kind, archive.path)

    def go_to(self, wanted: tuple[str, int]) -> Streamed | None:
        """Return the member if it comes by from here on."""
        for one in self._members:
            if isinstance(one, Streamed):
                name = one.member.name
                self._numbers[hash(name)] += 1
                here = name, self._numbers[hash(name)]
                self.passed.add(hash(here))
                if here == wanted:
                    return None if one.member.failure else one
            elif isinstance(one, Ended):
                break
        return None

    def close(self) -> None:
        """Let go of the file."""
        self._stack.close()


_cursors: list[_Cursor] = []
"""Those in use, the latest last: several who ask in turn each go through their archive once."""
_lock = threading.Lock()


def _cursor_for(key: object, archive: SourceFile, kind: str, wanted: tuple[str, int]) -> _Cursor:
    """Return the cursor of a stream that is nearest before a member, or a new one; with the lock."""
    before = [one for one in _cursors if one.key == key and hash(wanted) not in one.passed]
    cursor = max(before, key=lambda one: len(one.passed), default=None)
    if cursor is None:
        cursor = _Cursor(key, archive, kind)
        if len(_cursors) >= _MOST_CURSORS:
            _cursors.pop(0).close()
    else:
        _cursors.remove(cursor)
    _cursors.append(cursor)
    return cursor


class _Index:
    """The members of an archive by name and number, kept if they are not too many."""

    def __init__(self, file: str, kind: str, start: int, length: int | None) -> None:
        self._place = (file, kind, start, length)
        members = list(_up_to(self._numbered(), _MOST_KEPT + 1))
        self._kept = dict(members) if len(members) <= _MOST_KEPT else None

    def get(self, wanted: tuple[str, int]) -> Member | None:
        """Return a member, None if there is none of that name."""
        if self._kept is not None:
            return self._kept.get(wanted)
        return next((member for key, member in self._numbered() if key == wanted), None)

    def _numbered(self) -> Iterator[tuple[tuple[str, int], Member]]:
        numbers: Counter[str] = Counter()
        file, kind, start, length = self._place
        since: int | None = 0
        while since is not None:
            listing: Listing = list_members(file, kind, since, start, length)
            for member in listing.members:
                numbers[member.name] += 1
                yield (member.name, numbers[member.name]), member
            since = listing.rest


def _up_to(
    members: Iterator[tuple[tuple[str, int], Member]], most: int
) -> Iterator[tuple[tuple[str, int], Member]]:
    return islice(members, most)


@lru_cache(maxsize=_MOST_INDEXES)
def _listed(file: str, kind: str, start: int, length: int | None, _time: int) -> _Index:
    return _Index(file, kind, start, length)
