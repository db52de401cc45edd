"""Labelled images: which files, and what is known of each."""

import errno
import hashlib
import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from dicomsort.data import folders, reviewed, studies
from dicomsort.data.folders import PARTS, TEST, TRAIN, VALIDATION
from dicomsort.data.studies import Row
from dicomsort.data.table import EVIDENCE, FILE, NONE, Columns, Table, made, names_people, opened
from dicomsort.data.table import read as read_table
from dicomsort.dicom import isolation, reader
from dicomsort.dicom.facts import facts_told
from dicomsort.errors import UsageError
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.model.bundle import read_split
from dicomsort.model.studies import StudyRule, View
from dicomsort.outcome import Facts, Failure, ReadImage, Reason, Status
from dicomsort.system.escaping import escape
from dicomsort.system.pool_settings import PoolSettings

__all__ = ["PARTS", "TEST", "TRAIN", "VALIDATION", "Columns", "names_people"]
# Part of what a data set is asked for, wherever they live.

_ABSENT = Failure(Status.IO_ERROR, Reason.UNREADABLE)


@dataclass(frozen=True, slots=True)
class Sample:
    """A labeled image, called `name` in its data set.

    file: its path, as text, since a `Path` takes six times the memory of its name.
    targets: what the target columns say of it, empty where unknown; several labels have `|` between them.
    group: what no split may divide (a patient). sha256: first 16 hex digits of the content's hash. source:
    where it comes from, such as a hospital; empty if that is not told. part: of a split that the data bring
    with them, or empty. metadata: other columns that were asked for. views: further files of the same
    study, which are shown with the first. contents: of several files their hashes. auxiliary: what the
    auxiliary columns say, as targets do; empty where the files of a study differ. facts: what the data say of
    what a header would tell as evidence. rule: how files of a study become one image. told: by file what the
    data say of its view, and its name. arrangement: another one where the same files are shown otherwise.
    """

    file: str
    name: str
    targets: tuple[str, ...]
    group: str
    sha256: str
    source: str = ""
    part: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    views: tuple[str, ...] = ()
    contents: tuple[str, ...] = ()
    auxiliary: tuple[str, ...] = ()
    facts: Facts = ()
    rule: StudyRule | None = None
    told: tuple[tuple[str, str], ...] = ()
    arrangement: str = ""

    @property
    def path(self) -> Path:
        """Where its file lies; of a study the first one."""
        return Path(self.file)

    @property
    def label(self) -> str:
        """What the first target column says."""
        return self.targets[0]

    @property
    def learned(self) -> tuple[str, ...]:
        """What a training depends on: contents, how they are shown, and labels."""
        shown = (self.arrangement,) if self.arrangement else ()
        return (self.sha256, *shown, *self.targets, *self.auxiliary)


Unread = tuple[Sample, Failure]
Remarked = tuple[Sample, str]


@dataclass(frozen=True, slots=True)
class Data:
    """A data set: its samples, those whose file cannot be read, and whether it tells patients apart.

    whole: the label columns of whole numbers alone. remarks: what a person should know of how it was read.
    """

    samples: tuple[Sample, ...]
    unread: tuple[Unread, ...]
    has_patients: bool
    whole: frozenset[str] = frozenset()
    remarks: tuple[str, ...] = ()


def content_hash(path: Path) -> str:
    """Return the first 16 hex digits of a file's sha256. Raises OSError if it cannot be read."""
    if not path.is_file():  # a pipe would never end
        raise OSError(errno.EINVAL, "not a regular file")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def load(
    data: Path,
    columns: Columns,
    hash_of: Callable[[Path], str] = content_hash,
    *,
    unlabeled: bool = False,
    pool: PoolSettings | None = None,
) -> Data:
    """Read a data set: a CSV with a `file` column, or a folder of class folders, for each part or for all.

    Or an output folder of `classify`: what persons decided there, as columns of `reviewed.TOLD`. The label is
    the only target, and patients are told apart by salted keys, which `pool` reads from the headers.

    A row without any label is left out, unless `unlabeled` ones are wanted and it is of no labeled study.
    The column of patients groups files; without one each file stands alone.
    Raises UsageError with one line that says what is wrong and where.
    """
    try:
        rows, read = _rows_of(data, meant(data, columns), pool or PoolSettings())
    except OSError as error:
        raise UsageError(
            f"'{escape(str(error.filename or data))}' cannot be read: {error.strerror}"
        ) from error
    except ValueError as error:
        raise UsageError(f"no data at '{escape(str(data))}': no file has such a name") from error
    labeled = {row.study or row.name for row in rows if any(row.targets)}
    rows = [row for row in rows if any(row.targets) or (unlabeled and (row.study or row.name) not in labeled)]
    if not rows:
        raise UsageError(f"'{data}' holds no labelled file")
    grouped = studies.gathered(rows, columns.study) if columns.study else [[row] for row in rows]
    found = [_sample(study, columns.study, hash_of) for study in grouped]
    samples = tuple(sample for sample in found if sample.sha256)
    if not samples:
        raise UsageError(f"'{data}' names no file that can be read, such as '{rows[0].path}'")
    lost = {row.name: row.lost for row in rows}
    unread = tuple((sample, lost[sample.name] or _ABSENT) for sample in found if not sample.sha256)
    remarks, alone = read.remarks, sum(row.alone for row in rows)
    if read.patient is not None and 0 < alone < len(rows):
        has, stand = ("has", "stands") if alone == 1 else ("have", "stand")
        told = f"{alone} of {len(rows)} files {has} no patient in column '{read.patient}' and {stand} alone"
        remarks = (*remarks, f"warning: {told}")
    return Data(samples, unread, alone < len(rows), read.whole, remarks)


def is_class_folder(data: Path) -> bool:
    """Return whether data are a folder with a sub-folder for each class."""
    return data.is_dir() and not reviewed.is_output(data)


def places_of(data: Path) -> tuple[Path, ...]:
    """Return the folders into which no figures belong: that of a CSV of data, or an output folder."""
    here = data.resolve()
    return (*([here.parent] * (here.suffix == ".csv")), *([here] * reviewed.is_output(data)))


def asked(data: Path, targets: Sequence[str]) -> tuple[str, ...]:
    """Return the targets that must be named: none for an output folder, of which only the label is known.

    Raises UsageError if another one is named there.
    """
    if not targets or not reviewed.is_output(data):
        return tuple(targets)
    if odd := [name for name in targets if name != reviewed.LABEL]:
        raise UsageError(
            f"'{data}' is an output folder: what persons decided there is '{reviewed.LABEL}', not '{odd[0]}'"
        )
    return ()


def meant(data: Path, columns: Columns) -> Columns:
    """Return columns with the only target of an output folder, which need not be named. Raises UsageError."""
    if not reviewed.is_output(data):
        return columns
    asked(data, columns.targets)
    return replace(columns, targets=(reviewed.LABEL,))


def _rows_of(data: Path, columns: Columns, pool: PoolSettings) -> tuple[list[Row], Table]:
    if reviewed.is_output(data):
        return _from_output(data, columns, pool)
    if data.is_dir():
        asked = [*columns.used, *({columns.patient} - {None, NONE})]
        if asked:
            raise UsageError(f"'{data}' is a folder of classes; '{asked[0]}' names a column of a CSV")
        found = folders.read(data)
        rows = [Row(str(one.path), one.name, (one.label,), one.name, part=one.part) for one in found.files]
        return rows, Table((), {}, None, remarks=found.remarks)
    if data.is_file():
        table = read_table(data, columns)
        return list(_from_table(data, table, columns)), table
    raise UsageError(f"no data at '{data}': give a CSV file, or a folder with one sub-folder per class")


def _from_output(data: Path, columns: Columns, pool: PoolSettings) -> tuple[list[Row], Table]:
    found = reviewed.decided(data, pool, hashed=reviewed.SEEN in columns.used)
    table = made(data, reviewed.TOLD, enumerate(reviewed.rows_of(found), 2), columns)
    lost = {row.path: failure for row, failure in found.left}
    return [row._replace(lost=lost.get(row.name)) for row in _from_table(data, table, columns)], table


def _sample(study: Sequence[Row], rule: StudyRule | None, hash_of: Callable[[Path], str]) -> Sample:
    """Make one sample of the files of a study; the hash of several is that of their hashes."""
    first, hashes = study[0], []
    for row in study:
        hashes.append(_hash(row, hash_of))
        if not hashes[-1]:
            first, hashes = row, [""]
            break
    others = zip(*(row.auxiliary for row in study), strict=True)
    auxiliary = tuple(cells[0] if len(set(cells)) == 1 else "" for cells in others)
    return Sample(
        first.path, first.name, first.targets, first.group, studies.identity(hashes, rule), first.source,
        first.part, first.metadata, tuple(row.path for row in study[1:]),
        tuple(hashes) if len(hashes) > 1 else (), auxiliary,
        studies.facts_of([row.facts for row in study]), rule,
        tuple((row.view, row.name) for row in study) if rule else (),
        "" if "" in hashes else studies.arrangement(study, hashes, rule),
    )  # fmt: skip


def _hash(row: Row, hash_of: Callable[[Path], str]) -> str:
    """Return the hash of a file's content; empty if it cannot be read, or is no longer what it was."""
    try:
        return hash_of(Path(row.path)) if row.lost is None else ""
    except (OSError, ValueError):  # ValueError: a name that no file system takes
        return ""


def _from_table(data: Path, table: Table, columns: Columns) -> Iterator[Row]:
    nothing = [""] * len(table.lines)

    def column(name: str | None) -> Sequence[str]:
        return nothing if name is None else table.cells[name]

    targets = _across(map(column, columns.targets), nothing)
    auxiliary = _across(map(column, columns.auxiliary), nothing)
    metadata = _across(map(column, columns.metadata), nothing)
    known = {cells: dict(zip(columns.metadata, cells, strict=True)) for cells in set(metadata)}
    told = _across((column(name if name in columns.evidence else None) for name in EVIDENCE), nothing)
    named = map(column, (FILE, table.patient, columns.source, columns.part, columns.concat, columns.view))
    for at, (name, patient, source, part, study, view) in enumerate(zip(*named, strict=True)):
        if columns.part and any(targets[at]) and part.casefold() not in folders.PART_NAMES:
            where = f"'{data}' line {table.lines[at]}"
            raise UsageError(f"{where}: '{part}' in column '{columns.part}' is not train, validation or test")
        yield Row(
            str(data.parent / name), name, targets[at], patient or name, source,
            folders.PART_NAMES.get(part.casefold(), ""), study,
            known[metadata[at]], auxiliary[at],
            facts_told(*told[at]), not patient, view,
        )  # fmt: skip


def _across(columns: Iterable[Sequence[str]], rows: Sequence[str]) -> list[tuple[str, ...]]:
    """Turn columns into rows, as many as there are, even without any column; rows that are alike are one."""
    known: dict[tuple[str, ...], tuple[str, ...]] = {}
    return [known.setdefault(row[1:], row[1:]) for row in zip(rows, *columns, strict=True)]


def load_split(path: Path) -> dict[str, str]:
    """Read a split file (`sha256,part`). Raises UsageError if it is none."""
    with opened(path, f"split '{path}'") as file:
        try:
            return read_split(file)
        except ValueError as error:
            raise UsageError(f"split '{path}': {error}") from error


def in_part(samples: Iterable[Sample], split: Mapping[str, str], part: str) -> list[Sample]:
    """Select the samples of a part; `all` selects every one. Files that are in no split count as test."""
    if part == "all":
        return list(samples)
    return [sample for sample in samples if split.get(sample.sha256, TEST) == part]


def listed(samples: Iterable[Sample], split: Mapping[str, str], part: str) -> list[Sample]:
    """Select the samples that a split names as of a part."""
    return [sample for sample in samples if split.get(sample.sha256) == part]


def data_hash(samples: Iterable[Sample]) -> str:
    """Hash contents and labels of a data set, whatever its files are called."""
    content = json.dumps(sorted(sample.learned for sample in samples))
    return hashlib.sha256(content.encode()).hexdigest()


def read_all(
    samples: Iterable[Sample],
    preprocessing: Preprocessing,
    pool: PoolSettings,
    remarked: list[Remarked] | None = None,
) -> Generator[tuple[Sample, ReadImage | Failure], None, None]:
    """Read samples in worker processes, in the order of completion.

    remarked: gets what a person should know of how pictures were read.
    """
    read = partial(_read_sample, preprocessing=preprocessing)
    for sample, reading in isolation.read_all(read, samples, pool):
        if remarked is not None and isinstance(reading, ReadImage):
            remarked.extend((sample, remark) for remark in reading.remarks)
        yield sample, reading


def read_facts(
    samples: Iterable[Sample], pool: PoolSettings
) -> Generator[tuple[Sample, Facts | Failure], None, None]:
    """Yield what is known of samples as evidence: what the data say, else the headers of DICOM files."""
    silent = []
    for sample in samples:
        if sample.facts:
            yield sample, sample.facts
        else:
            silent.append(sample)
    for sample, reading in isolation.read_all(_read_header, silent, pool):
        if isinstance(reading, ReadImage):
            yield sample, reading.facts
        else:
            yield sample, () if reading.status is Status.NOT_DICOM else reading


def _read_header(sample: Sample) -> ReadImage | Failure:
    readings = []
    for path in (sample.file, *sample.views):
        reading = reader.read_dicom(path, Preprocessing(size=32))
        if isinstance(reading, Failure):
            return reading
        readings.append(reading)
    return replace(readings[0], facts=studies.facts_of([each.facts for each in readings]))


def _read_sample(sample: Sample, preprocessing: Preprocessing) -> ReadImage | Failure:
    """Read a sample; of a study all files, whose views the data tell, or else their headers."""
    if sample.rule is None or not sample.views:
        return reader.read_any(sample.file, preprocessing)
    views, remarks, facts = [], dict[str, None](), []
    for path, (told, name) in zip((sample.file, *sample.views), sample.told, strict=True):
        reading = reader.read_any(path, preprocessing)
        if isinstance(reading, Failure):
            return reading
        views.append(View(told or reading.header.view_position, name, reading.image))
        remarks.update(dict.fromkeys(reading.remarks))
        facts.append(reading.facts)
    picture = sample.rule.joined(views, preprocessing)
    return ReadImage(picture, remarks=tuple(remarks), facts=studies.facts_of(facts))
