"""What was read of studies until they are answered, on disk: nobody knows before the end which are whole."""

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from enum import IntEnum
from typing import Any, NamedTuple

from dicomsort.errors import TargetError
from dicomsort.imaging.canvas import NOTHING, Canvas, Preprocessing
from dicomsort.imaging.packing import packed, unpacked
from dicomsort.outcome import (
    Failure,
    FileStamp,
    Header,
    Part,
    Placement,
    ReadImage,
    Reason,
    SourceFile,
    Status,
)
from dicomsort.system.escaping import escape

_TABLES = """
CREATE TABLE IF NOT EXISTS about (made_for TEXT);
CREATE TABLE IF NOT EXISTS images (
    path BLOB UNIQUE NOT NULL, study TEXT NOT NULL, place TEXT NOT NULL, role INTEGER NOT NULL,
    found TEXT NOT NULL, reading TEXT NOT NULL, stamp TEXT NOT NULL, pixels BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS by_study ON images (study, role, place, path);
CREATE TABLE IF NOT EXISTS firsts (study TEXT UNIQUE NOT NULL);
CREATE TABLE IF NOT EXISTS archives (found TEXT NOT NULL, failure TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS told (
    path BLOB PRIMARY KEY, study TEXT NOT NULL, view TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS moves (path BLOB NOT NULL, old BLOB NOT NULL, new BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS places (path BLOB NOT NULL, place BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS by_place ON places (place);
"""
_QUIETLY = ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = NORMAL", "secure_delete = OFF")
_TOGETHER = 256  # images a transaction: what a kill costs at most
_AT_A_TIME = 256  # rows that are in memory at a time
_SHOWN_AT_A_TIME = 64  # the same, with pixels


class Role(IntEnum):
    """What an image is to this run. LEFT: of a run that was killed, and not met yet. NEW: to get its row.

    AGAIN: has a row, which is to follow its study. SHOWN: has a row, which a person has decided on.
    """

    LEFT = 0
    NEW = 1
    AGAIN = 2
    SHOWN = 3


class Image(NamedTuple):
    """One image of a study, without its pixels."""

    found: SourceFile
    reading: ReadImage
    role: Role


class Move(NamedTuple):
    """A placed file that has two places, until the row that names the new one is on the disk."""

    path: str
    old: str
    new: str


class Place(NamedTuple):
    """Where a file is about to be placed; relative to the output."""

    path: str
    place: str


class Spool:
    """The images of studies that are not answered yet, in a file that only its owner may read.

    It holds what the network sees, and UIDs, so it is as confidential as the images. It outlives a kill: what
    is in it with the same size and time need not be read again. Closed by `end` it is gone. Thread-safe.
    Raises TargetError where it cannot be written.

    has_left: whether a killed run has left anything. canvases: of the models. made_for: what else the pixels
    depend on; what was made for anything else is forgotten.
    """

    def __init__(self, path: str, canvases: Sequence[Preprocessing], made_for: str) -> None:
        self._path, self._canvases = path, tuple(canvases)
        self._lock = threading.RLock()
        self._waiting = 0
        about = json.dumps([[each.as_dict() for each in canvases], made_for])
        with self._complaints():
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self._file = _opened(path)
            self._begin(about)
        self.has_left = bool(self._one("SELECT 1 FROM images LIMIT 1"))
        (self._places,) = self._one("SELECT max(rowid) FROM places") or (None,)

    def _begin(self, about: str) -> None:
        with self._file:
            was = self._file.execute("SELECT made_for FROM about").fetchone()
            if was != (about,):
                self._file.execute("DELETE FROM images")
                self._file.execute("DELETE FROM about")
                self._file.execute("INSERT INTO about VALUES (?)", (about,))
            for table in ("archives", "told", "firsts"):
                self._file.execute(f"DELETE FROM {table}")  # noqa: S608  (names of our own)
            self._file.execute("UPDATE images SET role = ?", (Role.LEFT,))

    @contextmanager
    def _complaints(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except (sqlite3.Error, OSError) as error:
                told = getattr(error, "strerror", None) or "full, or not writable"
                raise TargetError(f"'{escape(self._path)}' cannot be written: {told}") from error

    def _one(self, query: str, *values: object) -> tuple[Any, ...] | None:
        with self._complaints():
            found: tuple[Any, ...] | None = self._file.execute(query, values).fetchone()
            return found

    def _write(self, query: str, *values: object) -> None:
        """Change something; it is on the disk with the next `keep`, or after some more."""
        with self._complaints():
            self._file.execute(query, values)
            self._waiting += 1
            if self._waiting >= _TOGETHER:
                self.keep()

    def keep(self) -> None:
        """Have all that was written outlive a kill."""
        with self._complaints():
            self._file.commit()
            self._waiting = 0

    def put(self, found: SourceFile, reading: ReadImage, study: str, place: str, role: Role) -> None:
        """Take an image that was read. study: its key. place: where in the study it stands, by its order."""
        pixels = packed([reading.image, *reading.further])
        told: dict[str, Any] = {
            "header": asdict(reading.header),
            "remarks": reading.remarks,
            "facts": reading.facts,
            "pixel_digest": reading.pixel_digest,
        }
        stamp = found.stamp or reading.stamp
        told["stamp"] = None if stamp is None else asdict(stamp)
        self._write(
            "INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            os.fsencode(found.path), study, place, role, _text(found), json.dumps(told), _mark(stamp), pixels,
        )  # fmt: skip

    def take(self, found: SourceFile, stamp: FileStamp | None, role: Role) -> bool:
        """Return whether a file is here as it is now, from before a kill; then it plays its role again."""
        if not self.has_left or stamp is None:
            return False
        path = os.fsencode(found.path)
        known = self._one("SELECT stamp FROM images WHERE path = ?", path)
        if known is None or known[0] != _mark(stamp):
            return False
        self._write("UPDATE images SET role = ?, found = ? WHERE path = ?", role, _text(found), path)
        return True

    def role_of(self, path: str) -> Role | None:
        """Return what an image is to this run, None if it is not here."""
        found = self._one("SELECT role FROM images WHERE path = ?", os.fsencode(path))
        return None if found is None else Role(found[0])

    def has_new(self, study: str) -> bool:
        """Return whether an image of a study is to get its row."""
        return self._one(
            "SELECT 1 FROM images WHERE study = ? AND role = ? LIMIT 1", study, Role.NEW
        ) is not None  # fmt: skip

    def studies(self) -> Iterator[str]:
        """Yield the key of each study with a new image, in the order in which their first ones were read."""
        self._write("DELETE FROM firsts")
        self._write(
            "INSERT OR IGNORE INTO firsts SELECT study FROM images WHERE role = ? ORDER BY rowid", Role.NEW
        )
        self.keep()
        last = 0
        query = "SELECT rowid, study FROM firsts WHERE rowid > ? ORDER BY rowid LIMIT ?"
        while rows := self._rows(query, last, _AT_A_TIME):
            last = rows[-1][0]
            yield from (study for _, study in rows)

    def shown(self, study: str, most: int) -> tuple[list[ReadImage], int]:
        """Return what is seen of a study, in its order, `most` images of it, and how many it has.

        Its images have their pixels. Those that are stored twice (same SOP Instance UID, same pixels) count
        once.
        """
        query = (
            "SELECT found, reading, pixels, role FROM images WHERE study = ? AND role > 0 "
            "ORDER BY place, path LIMIT ? OFFSET ?"
        )
        images, seen, offset = list[ReadImage](), set[tuple[str, bytes]](), 0
        while rows := self._rows(query, study, _SHOWN_AT_A_TIME, offset):
            offset += len(rows)
            for found, reading, pixels, role in rows:
                image = _image(found, reading, role).reading
                key = image.header.sop_instance_uid, pixels
                if key[0] and key in seen:
                    continue
                if len(images) == most:
                    return images, most + 1
                seen.add(key)
                first, *further = self._unpacked(pixels)
                images.append(replace(image, image=first, further=tuple(further)))
        return images, len(images)

    def _unpacked(self, pixels: bytes) -> tuple[Canvas, ...]:
        try:
            return unpacked(pixels, self._canvases)
        except ValueError as error:
            raise TargetError(
                f"'{escape(self._path)}' is damaged: remove it, and run the same command again"
            ) from error

    def images(self, study: str) -> Iterator[Image]:
        """Yield the images of a study that get a row, those that have one first.

        So while a new image has none, wherever a run is killed, the next run answers all of them again.
        """
        query = (
            "SELECT place, path, found, reading, role FROM images WHERE study = ? AND role = ? "
            "AND (place, path) > (?, ?) ORDER BY place, path LIMIT ?"
        )
        for role in (Role.AGAIN, Role.NEW):
            last: tuple[str, bytes] = ("", b"")
            while rows := self._rows(query, study, role, *last, _AT_A_TIME):
                last = rows[-1][0], rows[-1][1]
                yield from (_image(*row) for _, _, *row in rows)

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._complaints():
            return self._file.execute(query, values).fetchall()

    def hold(self, archive: SourceFile, failure: Failure) -> None:
        """Keep the row of an archive until its members have theirs."""
        told = [failure.status, failure.reason, None if failure.stamp is None else asdict(failure.stamp)]
        self._write("INSERT INTO archives VALUES (?, ?)", _text(archive), json.dumps(told))

    def archives(self) -> Iterator[tuple[SourceFile, Failure]]:
        """Yield the archives whose rows were kept."""
        last = 0
        query = "SELECT rowid, found, failure FROM archives WHERE rowid > ? ORDER BY rowid LIMIT ?"
        while rows := self._rows(query, last, _AT_A_TIME):
            last = rows[-1][0]
            for _, found, failure in rows:
                status, reason, stamp = json.loads(failure)
                yield (
                    _found(found),
                    Failure(Status(status), Reason(reason), stamp=stamp and FileStamp(**stamp)),
                )

    def tell(self, path: str, study: str, view: str) -> bool:
        """Take what a table says of a file. Returns whether it has not said that it is of another study."""
        known = self.told(path)
        if known is None:
            self._write("INSERT INTO told VALUES (?, ?, ?)", os.fsencode(path), study, view)
        return known is None or known[0] == study

    def told(self, path: str) -> tuple[str, str] | None:
        """Return the study of a file, and its view or nothing, if a table names it."""
        return self._one("SELECT study, view FROM told WHERE path = ?", os.fsencode(path))

    def note_move(self, move: Move) -> None:
        """Write down that a placed file gets a second place; on the disk when this returns."""
        self._write("INSERT INTO moves VALUES (?, ?, ?)", *map(os.fsencode, move))
        self.keep()

    def moves(self) -> Iterator[Move]:
        """Yield the files that may have two places."""
        last = 0
        query = "SELECT rowid, path, old, new FROM moves WHERE rowid > ? ORDER BY rowid LIMIT ?"
        while rows := self._rows(query, last, _AT_A_TIME):
            last = rows[-1][0]
            yield from (Move(*map(os.fsdecode, names)) for _, *names in rows)

    def forget_moves(self) -> None:
        """Forget them: each has one place again."""
        self._write("DELETE FROM moves")
        self.keep()

    @property
    def has_places(self) -> bool:
        """Whether a killed run has left places."""
        return self._places is not None

    def note_place(self, place: Place) -> None:
        """Write down that a file is about to be placed; outlives a kill when this returns."""
        self._write("INSERT INTO places VALUES (?, ?)", *map(os.fsencode, place))
        self.keep()

    def forget_place(self, place: str) -> None:
        """Forget a place that a row tells of."""
        self._write("DELETE FROM places WHERE place = ?", os.fsencode(place))

    def places(self) -> Iterator[Place]:
        """Yield the places that killed runs have noted and that are not forgotten."""
        last = 0
        query = "SELECT rowid, path, place FROM places WHERE rowid > ? AND rowid <= ? ORDER BY rowid LIMIT ?"
        while rows := self._rows(query, last, self._places, _AT_A_TIME):
            last = rows[-1][0]
            yield from (Place(*map(os.fsdecode, names)) for _, *names in rows)

    def close(self) -> None:
        """Leave the file for the next run."""
        with suppress(TargetError):
            self.keep()
        self._file.close()

    def end(self) -> None:
        """Remove the file, with the folders that become empty."""
        self._file.close()
        _remove(self._path)


def _opened(path: str) -> sqlite3.Connection:
    """Open the file; one that is damaged is begun anew. Raises sqlite3.Error or OSError."""
    try:
        return _connected(path)
    except sqlite3.DatabaseError:
        _remove(path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return _connected(path)


def _connected(path: str) -> sqlite3.Connection:
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # what sqlite puts beside it gets the same mode
    os.chmod(path, 0o600)
    file = sqlite3.connect(path, check_same_thread=False)
    try:
        for setting in _QUIETLY:
            file.execute(f"PRAGMA {setting}").fetchall()
        file.executescript(_TABLES)
    except sqlite3.Error:
        file.close()
        raise
    return file


def _remove(path: str) -> None:
    for ending in ("", "-wal", "-shm", "-journal"):
        with suppress(FileNotFoundError):
            os.unlink(path + ending)
    with suppress(OSError):
        os.removedirs(os.path.dirname(path))


def _mark(stamp: FileStamp | None) -> str:
    """Return what two stamps have in common if they are of the same bytes; see `FileStamp.is_of`."""
    if stamp is None:
        return ""
    return json.dumps(stamp.etag or [stamp.size, stamp.mtime_ns])


def _text(found: SourceFile) -> str:
    return json.dumps(asdict(replace(found, failure=None)))


def _found(text: str) -> SourceFile:
    values = json.loads(text)
    previous, part, stamp = values["previous"], values["part"], values["stamp"]
    return SourceFile(
        values["path"],
        values["relpath"],
        previous=previous and Placement(**{**previous, "stamp": FileStamp(**previous["stamp"])}),
        part=part and Part(**part),
        stamp=stamp and FileStamp(**stamp),
        study=values["study"],
    )


def _image(found: str, reading: str, role: int) -> Image:
    told = json.loads(reading)
    stamp = told["stamp"] and FileStamp(**told["stamp"])
    header = Header(**told["header"])
    remarks, facts = tuple(told["remarks"]), tuple(told["facts"])
    digest = told.get("pixel_digest", "")
    read = ReadImage(NOTHING, header, stamp, remarks, facts=facts, pixel_digest=digest)
    return Image(_found(found), read, Role(role))
