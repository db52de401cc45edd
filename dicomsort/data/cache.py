"""Pictures that have been read once, on disk, for every further pass over them."""

import os
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicomsort import __version__
from dicomsort.data.dataset import Remarked, Sample, Unread, content_hash, read_all
from dicomsort.dicom.sop_classes import READING
from dicomsort.errors import TargetError
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.outcome import Facts, Failure, ReadImage
from dicomsort.system.escaping import escape
from dicomsort.system.pool_settings import PoolSettings
from dicomsort.system.reporting import Count

NAME = "pixels.sqlite"

_TABLES = """
CREATE TABLE IF NOT EXISTS pixels (key TEXT PRIMARY KEY, image BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS remarks (key TEXT, remark TEXT, PRIMARY KEY (key, remark)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (key TEXT, fact TEXT, PRIMARY KEY (key, fact)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS arranged (key TEXT PRIMARY KEY, how TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hashes (stamp TEXT PRIMARY KEY, sha256 TEXT NOT NULL) WITHOUT ROWID;
"""
_TOGETHER = 256  # rows a transaction
_AHEAD = 1024  # samples that are read before they are asked for
_PATIENCE = 600.0  # seconds to wait for another training that writes


class Cache:
    """A file of pictures by content hash and preprocessing; several trainings may use one at a time.

    It holds what the network sees, and where each file lies, so it is as confidential as the images; only its
    owner may read it. Raises TargetError where it cannot be used.
    """

    def __init__(self, folder: Path, preprocessing: Preprocessing) -> None:
        self.preprocessing = preprocessing
        self._folder = folder
        settings = (preprocessing.size, preprocessing.fill, preprocessing.smooth, __version__, READING)
        self._suffix = " ".join(map(str, settings))
        self._new_hashes: list[tuple[str, str]] = []
        self._file, self._owner = sqlite3.connect(":memory:"), 0
        with self._complaints():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / NAME).touch(mode=0o600)
            self._connection().executescript(_TABLES)

    def __getstate__(self) -> tuple[Path, Preprocessing]:
        return self._folder, self.preprocessing

    def __setstate__(self, state: tuple[Path, Preprocessing]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def hash_of(self, path: Path) -> str:
        """Return a file's content hash, from memory if size and time are still the same. Raises OSError."""
        status = path.stat()
        stamp = f"{escape(str(path.absolute()))} {status.st_size} {status.st_mtime_ns}"
        with self._complaints():
            known = (
                self._connection().execute("SELECT sha256 FROM hashes WHERE stamp = ?", (stamp,)).fetchone()
            )
        if known is not None:
            return str(known[0])
        self._new_hashes.append((stamp, content_hash(path)))
        return self._new_hashes[-1][1]

    def keep_hashes(self) -> None:
        """Write down the content hashes that were asked for and were not known."""
        with self._complaints():
            self._insert("hashes", self._new_hashes)
            self._new_hashes = []

    def fill(
        self, samples: Sequence[Sample], pool: PoolSettings, progress: Count | None = None
    ) -> list[Unread]:
        """Read the samples that are not there yet, in worker processes; return those that cannot be read.

        A study that is there in another arrangement is read anew.
        """
        with self._complaints():
            missing = {sample.sha256: sample for sample in samples if not self._holds(sample)}
        if progress is not None:
            progress(len(samples) - len(missing))
        unread: list[Unread] = []
        remarked: list[Remarked] = []
        told: list[Remarked] = []
        self.keep_hashes()
        with self._complaints():
            rows = self._read(missing.values(), pool, unread, remarked, told, progress)
            shown = {self._key(sample.sha256): sample.arrangement for sample in missing.values()}
            self._write(rows, remarked, told, shown)
        bad = {sample.sha256: failure for sample, failure in unread}
        return [(sample, bad[sample.sha256]) for sample in samples if sample.sha256 in bad]

    def remarks(self, samples: Iterable[Sample]) -> list[Remarked]:
        """Return what was odd about samples when they were read, now or for an earlier training."""
        query = "SELECT remark FROM remarks WHERE key = ? ORDER BY remark"
        with self._complaints():
            file = self._connection()
            found = ((one, file.execute(query, (self._key(one.sha256),)).fetchall()) for one in samples)
            return [(one, remark) for one, rows in found for (remark,) in rows]

    def facts(self, sha256: str) -> Facts:
        """Return what the header of a sample said as evidence when it was read; nothing of a picture."""
        query = "SELECT fact FROM facts WHERE key = ? ORDER BY fact"
        with self._complaints():
            rows = self._connection().execute(query, (self._key(sha256),)).fetchall()
        return tuple(str(fact) for (fact,) in rows)

    def pixels(self, sha256: str) -> NDArray[np.uint8]:
        """Return one picture, uint8 (size, size). Raises KeyError if it is not there."""
        query = "SELECT image FROM pixels WHERE key = ?"
        with self._complaints():
            row = self._connection().execute(query, (self._key(sha256),)).fetchone()
        if row is None:
            raise KeyError(sha256)
        size = self.preprocessing.size
        with self._complaints():
            if len(row[0]) != size * size:
                raise sqlite3.DatabaseError("a picture is cut short")
        return np.frombuffer(row[0], np.uint8).reshape(size, size)

    def read_all(
        self, samples: Sequence[Sample], pool: PoolSettings, remarked: list[Remarked]
    ) -> Generator[tuple[Sample, ReadImage | Failure], None, None]:
        """Yield every sample in order, some thousand at a time, reading those that are not there yet.

        remarked: gets what was odd about them when they were read. Their headers are not known.
        """
        for start in range(0, len(samples), _AHEAD):
            some = samples[start : start + _AHEAD]
            failed = {id(sample): failure for sample, failure in self.fill(some, pool)}
            remarked.extend(self.remarks(some))
            for sample in some:
                failure = failed.get(id(sample))
                yield (
                    sample,
                    failure or ReadImage(self.pixels(sample.sha256), facts=self.facts(sample.sha256)),
                )

    def _read(
        self,
        samples: Iterable[Sample],
        pool: PoolSettings,
        unread: list[Unread],
        remarked: list[Remarked],
        told: list[Remarked],
        progress: Count | None,
    ) -> Iterator[tuple[str, bytes]]:
        for sample, reading in read_all(samples, self.preprocessing, pool, remarked):
            if progress is not None:
                progress(1)
            if isinstance(reading, Failure):
                unread.append((sample, reading))
            else:
                told.extend((sample, fact) for fact in reading.facts)
                yield self._key(sample.sha256), reading.image.tobytes()

    def _write(
        self,
        rows: Iterator[tuple[str, bytes]],
        remarked: list[Remarked],
        told: list[Remarked],
        shown: Mapping[str, str],
    ) -> None:
        """Write pictures as they come; what was odd about them, and their facts, come first.

        shown: by key how the files of a study are shown, which is only true once the picture is there.
        """
        waiting: list[tuple[str, bytes]] = []

        def write() -> None:
            for table, found in (("remarks", remarked), ("facts", told)):
                self._insert(table, [(self._key(sample.sha256), str(text)) for sample, text in found])
                found.clear()
            self._insert("pixels", waiting)
            self._insert("arranged", [(key, shown[key]) for key, _ in waiting if shown[key]])
            waiting.clear()

        for row in rows:
            waiting.append(row)
            if len(waiting) == _TOGETHER:
                write()
        write()

    def _insert(self, table: str, rows: Sequence[tuple[str, bytes | str]]) -> None:
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", rows)  # noqa: S608

    def _holds(self, sample: Sample) -> bool:
        """Return whether a sample is there; of a study, whether its files are shown as is wanted."""
        query = "SELECT IFNULL(how, '') FROM pixels LEFT JOIN arranged USING (key) WHERE key = ?"
        row = self._connection().execute(query, (self._key(sample.sha256),)).fetchone()
        return row is not None and row[0] == sample.arrangement

    def _key(self, sha256: str) -> str:
        return f"{sha256} {self._suffix}"

    def _connection(self) -> sqlite3.Connection:
        """Return this process's own connection; one that was inherited must not be used."""
        if self._owner != os.getpid():
            self._file = sqlite3.connect(self._folder / NAME, timeout=_PATIENCE, isolation_level=None)
            self._owner = os.getpid()
        return self._file

    @contextmanager
    def _complaints(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise TargetError(
                f"cache '{self._folder / NAME}' cannot be used: {error}; free some space, or if it is "
                "damaged remove it, or give another --cache"
            ) from error
        except OSError as error:
            raise TargetError(f"cache '{self._folder}' cannot be written: {error.strerror}") from error


def forget_empty(folder: Path) -> None:
    """Remove the cache of a folder if it holds no picture, and nobody else is using it."""
    with suppress(OSError, sqlite3.DatabaseError):
        file = sqlite3.connect(f"{(folder / NAME).absolute().as_uri()}?mode=rw", uri=True, timeout=0)
        try:
            file.execute("BEGIN EXCLUSIVE")
            if file.execute("SELECT 1 FROM pixels LIMIT 1").fetchone() is None:
                (folder / NAME).unlink()
        finally:
            file.close()
