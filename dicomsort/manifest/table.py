"""The CSV: one line, one file; append, resume, compact."""

import csv
import io
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import IO, BinaryIO, NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from dicomsort.errors import TargetError, UsageError
from dicomsort.manifest import history, lines, parquet, spill
from dicomsort.manifest.columns import FIRST, TOLD, answers_of, columns, renewed
from dicomsort.manifest.history import DAMAGE, History, IsThere
from dicomsort.manifest.mending import check_separator, cut_lone_names, cut_torn_line, mend_line_ends
from dicomsort.manifest.names import MANIFEST, PARQUET, RUN
from dicomsort.manifest.records import Record
from dicomsort.manifest.rows import Row
from dicomsort.manifest.run_file import RunFacts, RunFile
from dicomsort.system import locks
from dicomsort.system.atomic import forget_part, replacing
from dicomsort.system.escaping import escape


class Told(NamedTuple):
    """Whether the models give a reject score, tell how pictures are turned, and answer whole studies.

    digests: whether rows tell the digest of the pixels.
    """

    rejects: bool = False
    rotates: bool = False
    studies: bool = False
    digests: bool = False


_NOTHING = Told()
_CHUNK = 1 << 20


class Opening(NamedTuple):
    """How to open a manifest. begins: whether the run begins at once; else it is only checked that it may.

    wait: how many seconds to wait for another run that has the folder.
    """

    begins: bool = True
    wait: float = 0.0


_AT_ONCE = Opening()


class Manifest:
    """The journal of an output folder. A file done again appends a row; the last row of a file counts.

    Use `open`, `open_existing` or `open_like`: context managers that lock the folder, check run.json, cut off
    a torn last line, compact, and in the end close and unlock. What a spreadsheet has saved, with other line
    ends or a byte order mark, is written again as it was. All of them raise TargetError if the folder cannot
    be written, UsageError if another run is busy there or the folder was filled with another model or other
    settings that change results. Rows that change take manifest.parquet away; a block that ends well writes
    it again, if it is wanted: see `parquet`.

    is_compact: whether each file is known to have one row; then rows: how many there are. changes: how often
    rows were added or changed. fresh: the number of a row, which stays that of the same one when rows in
    front of it go.
    """

    def __init__(
        self, folder: str, answers: Sequence[str], model: str, told: Told, run_file: RunFile
    ) -> None:
        self._folder, self._model, self.run_file = folder, model, run_file
        self._answers, self._told = tuple(answers), told
        self._columns = columns(answers, *told)
        self._path = os.path.join(folder, MANIFEST)
        self.is_compact, self.changes = False, 0
        self.rows = 0
        self.fresh: int | None = None
        self._mend()
        self._file = self._for_appending()

    @classmethod
    @contextmanager
    def open(
        cls,
        folder: str,
        answers: Sequence[str],
        model: str,
        run: RunFacts | None,
        told: Told = _NOTHING,
        opening: Opening = _AT_ONCE,
    ) -> Iterator["Manifest"]:
        """Yield the manifest of a folder, for a new run or, without one, to work on its rows.

        answers: see `columns`. model: the column of that name.
        """
        with ExitStack() as stack:
            try:
                os.makedirs(folder, exist_ok=True)
                stack.callback(_close, locks.take(folder, wait=opening.wait, beats=True))
                for name in (MANIFEST, PARQUET, RUN):
                    forget_part(os.path.join(folder, name))
                run_file = RunFile(folder)
                if run is not None:
                    run_file.add(run) if opening.begins else run_file.check(run)
                manifest = cls(folder, answers, model, told, run_file)
                stack.callback(lambda: _close(manifest._file))
                manifest._begin()
                manifest.compact()
            except OSError as error:
                raise TargetError(f"'{escape(folder)}' cannot be written: {error.strerror}") from error
            yield manifest
            parquet.renew(folder, run_file)

    @classmethod
    def open_existing(cls, path: str, wait: float = 0.0) -> AbstractContextManager["Manifest"]:
        """Open the manifest at `path`, to work on its rows without a new run. wait: see `Opening`.

        Raises UsageError if there is none, or it is no manifest.
        """
        try:
            names = _names_in(path)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UsageError(
                f"there is no manifest at '{escape(path)}': name the --out folder of a run"
            ) from error
        return cls._open_with(path, os.path.dirname(os.path.realpath(path)), renewed(names), None, wait)

    @classmethod
    def open_like(
        cls, path: str, folder: str, run: RunFacts, wait: float = 0.0
    ) -> AbstractContextManager["Manifest"]:
        """Open a manifest in another folder, with the columns of the one at `path`. wait: see `Opening`."""
        return cls._open_with(path, folder, renewed(_names_in(path)), run, wait)

    @classmethod
    def _open_with(
        cls, path: str, folder: str, names: list[str], run: RunFacts | None, wait: float
    ) -> AbstractContextManager["Manifest"]:
        told, answers = Told(*(name in names for name in TOLD)), answers_of(names)
        check_separator(path, names)
        if names != columns(answers, *told) or os.path.basename(path) != MANIFEST:
            raise UsageError(f"'{escape(path)}' is no {MANIFEST} of this version")
        return cls.open(folder, answers, "", run, told, Opening(wait=wait))

    def _mend(self) -> None:
        mend_line_ends(self._path)
        cut_torn_line(self._path)
        cut_lone_names(self._path)
        _add_columns(self._path)
        if os.path.exists(self._path):
            with open(self._path, "rb") as old:
                self._check_columns(self._path, old.readline())

    def _begin(self) -> None:
        """Write the names of the columns, if there is nothing yet."""
        if self._file.tell() == 0:
            csv.writer(self._file, lineterminator="\n").writerow(self._columns)
            self._file.flush()

    def _for_appending(self) -> TextIO:
        return open(self._path, "a", encoding="utf-8", newline="")

    def _check_columns(self, path: str, header: bytes) -> None:
        names = next(csv.reader([header.decode("utf-8", "replace")]), []) if header else self._columns
        check_separator(path, names)
        if names != self._columns:
            raise UsageError(f"'{escape(path)}' has other columns than this run; use another --out")

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns, in their order."""
        return tuple(self._columns)

    @property
    def answers(self) -> tuple[str, ...]:
        """The columns of the models' answers."""
        return self._answers

    def append(self, rows: Iterable[Row]) -> None:
        """Append rows and wait until the disk holds them. Raises TargetError if they cannot be written.

        Those that they keep are written with them: a program that is killed leaves both, or none.
        """
        self._append(line for row in rows for line in self._lines(row))

    def _lines(self, row: Row) -> Iterator[Iterable[str]]:
        if row.kept is not None:
            yield row.kept.values()
        rejects, *others = self._told
        yield row.cells(len(self._answers), rejects, self._model, *others)

    def append_records(self, records: Iterable[Record]) -> None:
        """Append rows that have been read from here and changed. Raises as `append` does."""
        self._append(record.values() for record in records)

    def append_manifest(self, path: str) -> int:
        """Append all rows of another one with the same columns; returns how many. Half a line is cut off.

        Raises UsageError if the columns differ or a line is no row, before any is appended; TargetError.
        """
        self._will_change()
        try:
            mend_line_ends(path)
            cut_torn_line(path)
            _add_columns(path)
            with open(path, "rb") as file:
                self._check_columns(path, file.readline())
                rows = history.count_rows(path)
                self._file.flush()
                shutil.copyfileobj(file, self._file.buffer, _CHUNK)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise TargetError(f"'{escape(self._path)}' cannot be written: {error.strerror}") from error
        return rows

    def _will_change(self) -> None:
        self.run_file.settled = self.is_compact = False
        self.changes += 1
        parquet.drop(self._folder)

    def _append(self, lines: Iterable[Iterable[str]]) -> None:
        self._will_change()
        try:
            csv.writer(self._file, lineterminator="\n").writerows(lines)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise TargetError(f"'{escape(self._path)}' cannot be written: {error.strerror}") from error

    def records(self) -> Iterator[Record]:
        """Yield every line, older ones of the same file included."""
        return history.records(self._path)

    def history(
        self,
        retry_failed: bool = False,
        is_there: IsThere = lambda _: True,
        earlier: History | None = None,
        look: history.Look = lambda _: None,
    ) -> History:
        """Collect what need not be done again; see `history.held`."""
        self.compact()
        return history.held(self._path, retry_failed, is_there, earlier, look, is_compact=True)

    def compact(
        self,
        replace_row: Callable[[Record], Record] | None = None,
        before_rename: Callable[[], None] = lambda: None,
    ) -> None:
        """Keep the last row of each file by atomic rename, if there is anything to drop or to change.

        `replace_row` may change a record on the way. Raises TargetError if there is no space for the copy.
        """
        if replace_row is None and self.is_compact:
            return
        last = self._last_rows()
        if replace_row is None and last.all():
            self.is_compact, self.rows = True, len(last)
            return
        parquet.drop(self._folder)
        self.changes += 1
        try:
            with replacing(self._path, "wb") as file:
                file.write(_line(self._columns))
                file.writelines(self._kept(last, replace_row))
                before_rename()
            self._reopen()
            self._note_compact(last)
        except DAMAGE as error:
            raise history.damaged(self._path) from error
        except OSError as error:
            raise TargetError(f"'{escape(self._path)}' cannot be rewritten: {error.strerror}") from error

    def _last_rows(self) -> NDArray[np.bool_]:
        try:
            with spill.scratch(self._folder) as scratch:
                return history.last_rows(self._path, scratch)
        except DAMAGE as error:
            raise history.damaged(self._path) from error

    def _kept(
        self, which: NDArray[np.bool_], replace_row: Callable[[Record], Record] | None
    ) -> Iterator[bytes]:
        """Yield some of the rows; as they are, many at a time, if none is replaced. Raises one of DAMAGE."""
        if replace_row is None:
            for block in lines.blocks(self._path):
                yield block.some(which[block.first : block.first + len(block)])
            return
        for counts, record in zip(which, self.records(), strict=True):
            if counts:
                yield self.line(replace_row(record))

    def _note_compact(self, last: NDArray[np.bool_]) -> None:
        self.is_compact, self.rows = True, int(last.sum())
        if self.run_file.told is not None:
            self.run_file.told = int(last[: self.run_file.told].sum())
        if self.fresh is not None:
            self.fresh = int(last[: self.fresh].sum())

    def scratch(self) -> AbstractContextManager[str]:
        """Yield the name of a temporary folder, see `spill.scratch`."""
        return spill.scratch(self._folder)

    @property
    def size(self) -> int:
        """How long the file is, in bytes: where the next line will begin."""
        return os.path.getsize(self._path)

    def blocks(self, end: int | None = None) -> Iterator[lines.Block]:
        """Yield all lines, see `lines.blocks`. Raises UsageError at one that is none."""
        try:
            yield from lines.blocks(self._path, end)
        except DAMAGE as error:
            raise history.damaged(self._path) from error

    def line(self, record: Record) -> bytes:
        """Return a row as it is written."""
        return _line(record.values())

    def append_lines(self, found: Iterable[bytes]) -> None:
        """Append rows that are lines already. Raises as `append` does."""
        self._will_change()
        try:
            self._file.flush()
            self._file.buffer.writelines(found)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise TargetError(f"'{escape(self._path)}' cannot be written: {error.strerror}") from error

    def change(self, found: Iterable[tuple[int, bytes]], end: int) -> None:
        """Put lines in the place of others, by atomic rename; all that is between them is copied as bytes.

        found: where in the file a line begins, in ascending order, and what stands there then. end: what
        begins there or behind is left out: it has been appended to say the same until now. Raises
        TargetError.
        """
        self._will_change()
        try:
            with open(self._path, "rb") as old, replacing(self._path, "wb") as new:
                for at, line in found:
                    _copy(old, new, at - old.tell())
                    old.readline()
                    new.write(line)
                _copy(old, new, end - old.tell())
            self._reopen()
            self.is_compact = True
        except OSError as error:
            raise TargetError(f"'{escape(self._path)}' cannot be rewritten: {error.strerror}") from error

    def _reopen(self) -> None:
        self._file.close()
        self._file = self._for_appending()


def _close(file: TextIO | locks.Lock) -> None:
    with suppress(OSError):
        file.close()


def _copy(old: BinaryIO, new: IO[bytes], size: int) -> None:
    while size > 0 and (data := old.read(min(size, _CHUNK))):
        new.write(data)
        size -= len(data)


def _line(cells: Iterable[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _names_in(path: str) -> list[str]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        return next(csv.reader(file), [])


def _add_columns(path: str) -> None:
    """Give a manifest of an earlier version the columns of this one, empty, by atomic rename."""
    if not os.path.exists(path):
        return
    with open(path, "rb") as old:
        names = next(csv.reader([old.readline().decode("utf-8", "replace")]), [])
    if names[:1] != [FIRST] or (wanted := renewed(names)) == names:
        return
    with replacing(path) as file:
        writer = csv.DictWriter(file, wanted, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(history.records(path))
