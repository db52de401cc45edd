"""The CSV: one line, one file; append, resume, compact."""

import csv
import errno
import fcntl
import hashlib
import json
import os
import unicodedata
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import Any, TextIO, TypedDict

from dicomsort import __version__
from dicomsort.errors import TargetError, UsageError
from dicomsort.outcome import TROUBLE, Header, Placement, Reason, Stamp, Status

MANIFEST, RUN = "manifest.csv", "run.json"

_HEADER_COLUMNS = tuple(field_.name for field_ in fields(Header))
_LEADING = ("path", "status", "reason", "label", "confidence", "action", "destination", "duplicate_of")
_TRAILING = ("model", "size", "mtime_ns", "dicomsort_version")
_FORMULA = ("=", "+", "-", "@")
_LINE_BREAKING = frozenset({0x85, 0x2028, 0x2029})
_STATUSES = tuple(Status)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the manifest. `destination` is relative to the output folder; `scores` one per label."""

    path: str
    status: Status
    reasons: tuple[Reason, ...] = ()
    label: str = ""
    confidence: float | None = None
    action: str = ""
    destination: str = ""
    duplicate_of: str = ""
    header: Header = field(default_factory=Header)
    scores: tuple[float, ...] = ()
    stamp: Stamp | None = None


Record = dict[str, str]
"""A line of the manifest by column, names still escaped."""


class RunFile(TypedDict):
    """What run.json holds. settled: duplicates have been judged since the last row was written."""

    fixed: dict[str, Any]
    settled: bool
    runs: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a run is. fixed: what must not differ between the runs into one folder; facts: the rest."""

    fixed: dict[str, Any]
    facts: dict[str, Any]


def columns(labels: Sequence[str]) -> list[str]:
    """Return the manifest's columns for a model with these labels."""
    return [*_LEADING, *_HEADER_COLUMNS, *(f"score_{label}" for label in labels), *_TRAILING]


def joined(reasons: Iterable[Reason]) -> str:
    """Write several reasons in one cell."""
    return "; ".join(dict.fromkeys(reason.value for reason in reasons if reason))


def escape(name: str) -> str:
    r"""Write a path as UTF-8 on one line: other bytes, control characters and `\` as reversible `\xNN`."""
    return "".join(_escaped(char) for char in name)


def _escaped(char: str) -> str:
    code = ord(char)
    odd = char == "\\" or unicodedata.category(char) in ("Cc", "Cs") or code in _LINE_BREAKING
    if not odd:
        return char
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(char))


def unescape(text: str) -> str:
    """Turn an escaped path back into the name that the system knows; the inverse of `escape`."""
    out, at = bytearray(), 0
    while at < len(text):
        if text.startswith("\\x", at):
            out.append(int(text[at + 2 : at + 4], 16))
            at += 4
        else:
            out += text[at].encode()
            at += 1
    return os.fsdecode(bytes(out))


def _cell(text: str) -> str:
    """Keep a spreadsheet from running a cell as a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _uncell(text: str) -> str:
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text


class History:
    """What a manifest already holds, in 24 bytes a file.

    Sorted arrays: of hashes of path, size and modification time (the lower 4 bits hold the status), and of
    hashes of the paths with the offset of their last line.
    """

    def __init__(self, path: str, keys: Iterable[int] = (), lines: Iterable[tuple[int, int]] = ()) -> None:
        self._path, self._keys = path, array("Q", sorted(keys))
        pairs = sorted(lines)
        self._hashes, self._offsets = (array("q", (pair[index] for pair in pairs)) for index in (0, 1))

    def __len__(self) -> int:
        return len(self._keys)

    def status(self, path: str, stamp: Stamp) -> Status | None:
        """Return how this file ended before, or None if it has not been done or has changed since."""
        key = _key(path, stamp)
        at = bisect_left(self._keys, key)
        if at < len(self._keys) and self._keys[at] ^ key < 16:
            return _STATUSES[self._keys[at] & 15]
        return None

    def placement(self, path: str) -> Placement | None:
        """Return what was placed of a file, changed or not, or None."""
        name = escape(path)
        at = bisect_left(self._hashes, hash(name))
        while at < len(self._hashes) and self._hashes[at] == hash(name):
            record = self._record(self._offsets[at])
            if record["path"] == name and record["action"] and record["destination"]:
                return placement_of(record)
            at += 1
        return None

    def _record(self, offset: int) -> Record:
        with open(self._path, "rb") as file:
            header = file.readline().decode("utf-8")
            file.seek(offset)
            return next(csv.DictReader([header, file.readline().decode("utf-8")]))


def _key_of(record: Record) -> int:
    if not record["mtime_ns"]:  # never seen on the disk: never done
        return _STATUSES.index(Status.PLANNED)
    stamp = Stamp(int(record["size"]), int(record["mtime_ns"]))
    return _key(unescape(_uncell(record["path"])), stamp) | _STATUSES.index(Status(record["status"]))


def placement_of(record: Record) -> Placement:
    """Return what a row says was placed. Raises UsageError if that lies outside the output folder."""
    stamp = Stamp(int(record["size"]), int(record["mtime_ns"]))
    destination = unescape(record["destination"])
    if os.path.isabs(destination) or os.pardir in destination.split(os.sep):
        raise UsageError(f"the manifest has been changed: '{record['destination']}' lies outside the output")
    return Placement(destination, record["action"], stamp)


def _key(path: str, stamp: Stamp) -> int:
    text = f"{escape(path)}\n{stamp.size}\n{stamp.mtime_ns}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") & ~15


class Manifest:
    """The journal of an output folder. A file done again appends a row; the last row of a file counts."""

    def __init__(self, folder: str, labels: Sequence[str], model: str, run: RunFacts) -> None:
        self._folder, self._labels, self._model, self._run = folder, tuple(labels), model, run
        self._path = os.path.join(folder, MANIFEST)
        self._file: TextIO | None = None
        self._run_file: RunFile | None = None
        self._lock: TextIO | None = None

    def __enter__(self) -> "Manifest":
        """Lock the output folder, check run.json, cut a torn last line and open the manifest for appending.

        Raises TargetError if the folder cannot be written, UsageError if another run is busy there or the
        folder was filled with another model or other settings that change results.
        """
        try:
            os.makedirs(self._folder, exist_ok=True)
            self._lock = open(os.path.join(self._folder, ".dicomsort.lock"), "w", encoding="utf-8")
            _lock(self._lock, self._folder)
            self._run_file = _check_run(self._folder, self._run)
            self._open()
        except OSError as error:
            self._close()
            raise TargetError(f"'{escape(self._folder)}' cannot be written: {error.strerror}") from error
        except UsageError:
            self._close()
            raise
        return self

    def _open(self) -> None:
        _cut_torn_line(self._path)
        self._file = open(self._path, "a", encoding="utf-8", newline="")  # noqa: SIM115
        if self._file.tell() == 0:
            csv.writer(self._file, lineterminator="\n").writerow(columns(self._labels))
            self._file.flush()
        else:
            self._check_columns()

    def _check_columns(self) -> None:
        with open(self._path, "rb") as file:
            header = file.readline()
        if header.decode("utf-8", "replace").rstrip("\n").split(",") != columns(self._labels):
            raise UsageError(f"'{escape(self._path)}' has other columns than this run; use another --out")

    def __exit__(self, *_: object) -> None:
        """Close and unlock."""
        self._close()

    def _close(self) -> None:
        for file in (self._file, self._lock):
            if file is not None:
                with suppress(OSError):
                    file.close()

    def write(self, row: Row) -> None:
        """Append a row and hand it to the operating system. Raises TargetError if it cannot be written."""
        assert self._file is not None  # noqa: S101  (entered)
        if self.settled:
            self.mark_settled(False)
        try:
            csv.writer(self._file, lineterminator="\n").writerow(self._cells(row))
            self._file.flush()
        except OSError as error:
            raise TargetError(f"'{escape(self._path)}' cannot be written: {error.strerror}") from error

    @property
    def settled(self) -> bool:
        """Whether duplicates have been judged since the last row was written."""
        return self._run_file is not None and self._run_file["settled"]

    def mark_settled(self, settled: bool) -> None:
        """Keep in run.json whether duplicates have been judged."""
        assert self._run_file is not None  # noqa: S101  (entered)
        self._run_file["settled"] = settled
        _write_run(os.path.join(self._folder, RUN), self._run_file)

    def _cells(self, row: Row) -> list[str]:
        scores = [f"{score:.6f}" for score in row.scores] or [""] * len(self._labels)
        values = (getattr(row.header, name) for name in _HEADER_COLUMNS)
        header = ["" if value is None else str(value) for value in values]
        stamp = [str(row.stamp.size), str(row.stamp.mtime_ns)] if row.stamp else ["", ""]
        confidence = "" if row.confidence is None else f"{row.confidence:.6f}"
        places = [escape(row.destination), escape(row.duplicate_of)]
        leading = [
            escape(row.path),
            row.status.value,
            joined(row.reasons),
            row.label,
            confidence,
            row.action,
            *places,
        ]
        return [_cell(text) for text in [*leading, *header, *scores, self._model, *stamp, __version__]]

    def records(self) -> Iterator[Record]:
        """Yield every line as text by column, names still escaped."""
        with open(self._path, encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)

    def history(self, retry_failed: bool = False) -> History:
        """Collect what need not be done again: the last row of each file, but `planned` and what to retry.

        Raises UsageError if the manifest holds anything but rows.
        """
        again = {_STATUSES.index(Status.PLANNED)}
        if retry_failed:
            again |= {_STATUSES.index(status) for status in TROUBLE}
        latest: dict[int, tuple[int, int]] = {}
        try:
            for offset, record in self._records_with_offsets():
                latest[hash(record["path"])] = _key_of(record), offset
        except (ValueError, KeyError, csv.Error) as error:
            raise UsageError(
                f"'{escape(self._path)}' is damaged; restore it, or use another --out"
            ) from error
        keys = (key for key, _ in latest.values() if key & 15 not in again)
        return History(self._path, keys, ((path, offset) for path, (_, offset) in latest.items()))

    def _records_with_offsets(self) -> Iterator[tuple[int, Record]]:
        with open(self._path, "rb") as file:
            names = next(csv.reader([file.readline().decode("utf-8")]))
            while line := file.readline():
                values = next(csv.reader([line.decode("utf-8")]), [])
                yield file.tell() - len(line), dict(zip(names, values, strict=True))

    def compact(self, replace_row: Callable[[Record], Record] | None = None) -> None:
        """Keep the last row of each file, in the order of their paths' first rows, by atomic rename.

        `replace_row` may change a record on the way. Raises TargetError if there is no space for the copy.
        """
        last = {hash(record["path"]): number for number, record in enumerate(self.records())}
        temporary = f"{self._path}.part"
        try:
            with open(temporary, "w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, columns(self._labels), lineterminator="\n")
                writer.writeheader()
                for number, record in enumerate(self.records()):
                    if last[hash(record["path"])] == number:
                        writer.writerow(replace_row(record) if replace_row else record)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
            self._reopen()
        except OSError as error:
            with suppress(OSError):
                os.unlink(temporary)
            raise TargetError(f"'{escape(self._path)}' cannot be rewritten: {error.strerror}") from error

    def _reopen(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = open(self._path, "a", encoding="utf-8", newline="")  # noqa: SIM115


def _lock(file: TextIO, folder: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(
            f"another dicomsort is writing into '{escape(folder)}'; wait for it, or use another --out"
        ) from error
    except OSError as error:  # a file system without locks: go on without
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
            raise


def _cut_torn_line(path: str) -> None:
    """Cut what stands after the last line end: a power cut may leave half a line."""
    if not os.path.exists(path):
        return
    with open(path, "r+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            at = file.read(end - start).rfind(b"\n")
            if at >= 0:
                file.truncate(start + at + 1)
                return
            end = start
        file.truncate(0)


def _check_run(folder: str, run: RunFacts) -> RunFile:
    """Read run.json, compare it with this run, and add this run to it.

    A folder is never filled by two models, with two ways to decide, from two sets of roots, or with a plan
    after the deed. Raises UsageError with advice.
    """
    path = os.path.join(folder, RUN)
    before = _read_run(path)
    if before is None:
        before = {"fixed": run.fixed, "settled": False, "runs": []}
    for name, value in run.fixed.items():
        if (was := before["fixed"].get(name)) != value:
            raise UsageError(
                f"'{escape(folder)}' was filled with another {name} ({was}, now {value}); "
                "use another --out, or the same settings"
            )
    if run.facts["dry_run"] and any(not earlier.get("dry_run") for earlier in before["runs"]):
        raise UsageError(f"'{escape(folder)}' holds sorted files; give a dry run an --out of its own")
    if run.facts not in before["runs"]:
        before["runs"].append(run.facts)
    _write_run(path, before)
    return before


def _read_run(path: str) -> RunFile | None:
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        if isinstance(found["fixed"], dict) and isinstance(found["runs"], list):
            return {"fixed": found["fixed"], "settled": found.get("settled") is True, "runs": found["runs"]}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError):
        pass
    raise UsageError(f"'{escape(path)}' is damaged; use another --out, or restore the file")


def _write_run(path: str, run: RunFile) -> None:
    _write_atomically(path, json.dumps(run, indent=2) + "\n")


def _write_atomically(path: str, text: str) -> None:
    temporary = f"{path}.part"
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError as error:
        raise TargetError(f"'{escape(path)}' cannot be written: {error.strerror}") from error
