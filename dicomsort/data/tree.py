"""Labelled images as a tree of pictures: parts, in each a folder for each class, and one table."""

import csv
import errno
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from dicomsort.data import splits
from dicomsort.data.dataset import PARTS, Data, Sample, Unread, data_hash
from dicomsort.data.splits import Split
from dicomsort.dicom import isolation
from dicomsort.dicom.sop_classes import ReadSettings
from dicomsort.errors import ExitCode, TargetError, UsageError
from dicomsort.imaging.canvas import Fitted
from dicomsort.model.heads import Head
from dicomsort.outcome import Failure, Reason, Status
from dicomsort.system.atomic import replacing, write_new
from dicomsort.system.escaping import escape
from dicomsort.system.pool_settings import PoolSettings
from dicomsort.system.reporting import Count

TABLE, SETTINGS = "labels.csv", ".dicomsort-tree.json"
SIZE = 512

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES})
_NOT_WRITTEN = frozenset({Reason.TARGET_DONE, Reason.NOT_PLACED})


@dataclass(frozen=True, slots=True)
class TreeSettings:
    """What a tree is to be. size: longer side of a picture in pixels, never enlarged; None for all."""

    folder: Path
    size: int | None = SIZE
    dry_run: bool = False
    pool: PoolSettings = field(default_factory=PoolSettings)


@dataclass(frozen=True, slots=True)
class Tree:
    """What became of it. counts: pictures by (part, class), those of earlier runs included. there: of these.

    repeated: rows whose picture is that of another one. unread: samples that could not be read. crossing: how
    many patients a given split has on two sides.
    """

    counts: Mapping[tuple[str, str], int]
    written: int
    there: int
    repeated: int
    unread: tuple[Unread, ...]
    crossing: int

    @property
    def exit_code(self) -> ExitCode:
        """DONE, or SOME_FAILED if a sample could not be read."""
        return ExitCode.SOME_FAILED if self.unread else ExitCode.DONE

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "written": self.written,
            "already_there": self.there,
            "repeated": self.repeated,
            "patients_on_two_sides": self.crossing,
            "parts": {
                part: {label: count for (of, label), count in sorted(self.counts.items()) if of == part}
                for part in PARTS
            },
            "unread": [{"file": escape(one.name), "reason": failure.reason} for one, failure in self.unread],
            "exit_code": int(self.exit_code),
        }


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A file, and where its picture goes."""

    path: str
    target: str


def export(
    found: Data, head: Head, split: Split, settings: TreeSettings, progress: Count | None = None
) -> Tree:
    """Write a PNG (8-bit gray) of each sample to PART/CLASS/SHA256.png, in worker processes, and the table.

    SHA256: the first 16 hex digits of the content's hash, so that no name of a file gets out. What is there
    already stays: the same call goes on where one was killed. Raises UsageError for a folder of anything
    else, TargetError if nothing more can be written.
    """
    places = _places(found.samples, head, split)
    crossing, repeated = splits.across(found.samples, split), len(found.samples) - len(places)
    if settings.dry_run:
        return Tree(_counted(places, split, head), len(places), 0, repeated, found.unread, crossing)
    _begin(settings, data_hash(found.samples), split)
    missing = {file: one for file, one in places.items() if not (settings.folder / file).exists()}
    if progress is not None:
        progress(len(places) - len(missing))
    lost = dict(_drawn(missing, settings, progress))
    done = {file: one for file, one in places.items() if file not in lost}
    _write_table(done, found, head, split, settings.folder)
    unread = (*found.unread, *((places[file], failure) for file, failure in sorted(lost.items())))
    written, there = len(missing) - len(lost), len(places) - len(missing)
    return Tree(_counted(done, split, head), written, there, repeated, unread, crossing)


def class_of(sample: Sample, head: Head) -> str:
    """Return the folder of a sample: its label, several with `+` between; of a yes or no the head's word."""
    return head.labels[int(sample.label)] if head.kind == "binary" else sample.label.replace("|", "+")


def _places(samples: Sequence[Sample], head: Head, split: Split) -> dict[str, Sample]:
    """Return by file, relative to the tree, the first of the samples whose picture it is."""
    places: dict[str, Sample] = {}
    for one in samples:
        places.setdefault(f"{split[one.sha256]}/{class_of(one, head)}/{one.sha256}.png", one)
    return places


def _counted(places: Mapping[str, Sample], split: Split, head: Head) -> Counter[tuple[str, str]]:
    return Counter((split[one.sha256], class_of(one, head)) for one in places.values())


def _begin(settings: TreeSettings, data: str, split: Split) -> None:
    """Make the folder, or see that it is one of the same tree."""
    sides = hashlib.sha256(json.dumps(sorted(split.items())).encode()).hexdigest()
    facts = {"format": 1, "size": settings.size, "data_sha256": data, "split_sha256": sides}
    note, folder = settings.folder / SETTINGS, escape(str(settings.folder))
    try:
        settings.folder.mkdir(parents=True, exist_ok=True)
        if note.exists():
            if json.loads(note.read_bytes()) != facts:
                raise UsageError(
                    f"--out '{folder}' holds a tree of other data, another split or size: take another folder"
                )
        elif any(settings.folder.iterdir()):
            raise UsageError(f"--out '{folder}' is not empty: take a new folder")
        else:
            with replacing(note) as file:
                file.write(json.dumps(facts) + "\n")
    except OSError as error:
        raise TargetError(f"'{folder}' cannot be written: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"--out '{folder}': {SETTINGS} is damaged: take another folder") from error


def _drawn(
    missing: Mapping[str, Sample], settings: TreeSettings, progress: Count | None
) -> Iterator[tuple[str, Failure]]:
    """Write pictures; yield the files that could not be made. Raises TargetError."""
    wanted = {_Wanted(one.file, str(settings.folder / file)): file for file, one in missing.items()}
    for each, failure in isolation.read_all(partial(_draw, size=settings.size), wanted, settings.pool):
        if progress is not None:
            progress(1)
        if failure is not None and failure.reason in _NOT_WRITTEN:
            raise TargetError(
                f"'{escape(str(settings.folder))}' cannot be written: free some space, or allow it, and run "
                "the same command again"
            )
        if failure is not None:
            yield wanted[each], failure


def _draw(wanted: _Wanted, size: int | None) -> Failure | None:
    from dicomsort.dicom import render  # noqa: PLC0415  (in a worker, which has it loaded)

    drawn = render.png(wanted.path, Fitted(size), ReadSettings(pictures=True))
    if isinstance(drawn, Failure):
        return drawn
    try:
        Path(wanted.target).parent.mkdir(parents=True, exist_ok=True)
        write_new(wanted.target, drawn.content)
    except FileExistsError:
        return None
    except OSError as error:
        return Failure(Status.IO_ERROR, Reason.TARGET_DONE if error.errno in _FULL else Reason.NOT_PLACED)
    return None


def _write_table(done: Mapping[str, Sample], found: Data, head: Head, split: Split, folder: Path) -> None:
    """Write labels.csv: file, label and part, and a number for each patient if these are known."""
    numbers: dict[str, int] = {}
    for one in found.samples:
        numbers.setdefault(one.group, len(numbers) + 1)
    names = ["file", head.name, "part", *(["patient"] * found.has_patients)]
    try:
        with replacing(folder / TABLE) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(names)
            for name, one in done.items():
                cells = (name, one.label, split[one.sha256], numbers[one.group])
                writer.writerow(cells[: len(names)])
    except OSError as error:
        raise TargetError(f"'{escape(str(folder))}' cannot be written: {error.strerror}") from error
