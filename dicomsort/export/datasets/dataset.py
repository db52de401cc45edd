"""An output in, a data set out: images as files or in shards, one table, patients never in two parts."""

import os
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from dicomsort.dicom import isolation
from dicomsort.dicom.sop_classes import ReadSettings
from dicomsort.errors import ExitCode, NothingFoundError, TargetError, UsageError, check_installed
from dicomsort.export.annotate import check_folder
from dicomsort.export.datasets import tables
from dicomsort.export.datasets.choosing import Choice, Chosen, choose, columns_of
from dicomsort.export.datasets.columns import columns_for
from dicomsort.export.datasets.drawing import Drawn, draw
from dicomsort.export.datasets.journal import Journal, agree, opened
from dicomsort.export.datasets.settings import OWN, PARTS, DatasetSettings, Picture, Target
from dicomsort.export.datasets.shards import Shards
from dicomsort.manifest.names import manifest_in
from dicomsort.manifest.run_file import RunFile
from dicomsort.manifest.salt import salt_of
from dicomsort.outcome import Failure, Reason
from dicomsort.sorting.shards import check_merged
from dicomsort.system.escaping import escape
from dicomsort.system.keys import hashed, salt_in
from dicomsort.system.reporting import Count
from dicomsort.system.telling import counted

_One = tuple[Chosen, Drawn | Failure]
_Drawing = Generator[_One, None, None]
_MOST_HELD, _ROW_BYTES = 256 << 20, 2000


@dataclass(slots=True)
class Exported:
    """How it went. counts: images by (part, label), those of earlier runs included. there: of these.

    repeated: images left out because they repeat another one's SOP Instance UID. left: files that could not
    be read, with the reason. patients: how many, in all parts.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    written: int = 0
    there: int = 0
    repeated: int = 0
    patients: int = 0
    left: list[tuple[str, str]] = field(default_factory=list)

    @property
    def exit_code(self) -> ExitCode:
        """DONE, or SOME_FAILED if anything was left."""
        return ExitCode.SOME_FAILED if self.left else ExitCode.DONE

    @property
    def images(self) -> int:
        """How many images are in the data set, or would be."""
        return sum(self.counts.values())

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        labels = sorted({label for _, label in self.counts})
        return {
            "images": self.images,
            "written": self.written,
            "already_there": self.there,
            "patients": self.patients,
            "repeated": self.repeated,
            "parts": {
                part: {label: self.counts[part, label] for label in labels if self.counts[part, label]}
                for part in PARTS
            },
            "left": [{"path": escape(path), "reason": reason} for path, reason in self.left],
            "exit_code": int(self.exit_code),
        }


def export(
    out: str,
    settings: DatasetSettings,
    count: Count = lambda _: None,
    total: Callable[[int], None] = lambda _: None,
) -> Exported:
    """Make a data set of an output; the same call again does only what is missing.

    out: an output folder, or its manifest.csv. count: told of each image that was done. total: told how many
    there are to be done. Raises UsageError if there is no manifest, the filter or a label is none, or the
    folder holds anything else; NothingFoundError if no image is chosen, TargetError, MissingLibraryError.
    """
    manifest = manifest_in(out)
    home = os.path.dirname(os.path.abspath(manifest))
    check_merged(home)
    run = RunFile(home)
    if not os.path.exists(manifest):
        raise UsageError(f"there is no manifest at '{escape(manifest)}': name the --out folder of a run")
    check_folder(settings.folder, home, run)
    if settings.target is Target.CROISSANT and settings.picture is not Picture.PNG8:
        raise UsageError(
            f"--to croissant goes with --image png8: readers of it make 8 bits of every picture, and cannot "
            f"use {settings.picture}; take --to imagefolder or webdataset"
        )
    if settings.target is Target.PARQUET:
        check_installed("--to parquet", "pyarrow")
    salt = salt_of(home) if settings.key is None else salt_in(settings.key)
    settings = replace(settings, read=_read_as(run, settings.read), folder=os.path.abspath(settings.folder))
    settings = replace(settings, key=hashed(b"data set", salt, "k"))
    exporting = _Exporting(manifest, home, settings, salt, count, total)
    exporting.check_choice()
    if settings.dry_run:
        return exporting.foreseen()
    with opened(settings) as journal:
        return exporting.run(journal)


def _read_as(run: RunFile, given: ReadSettings) -> ReadSettings:
    """Return how files are read: as the run that filled the output has."""
    names = {"max_pixels": "max_pixels", "secondary_capture": "include_secondary_capture"}
    names |= {"pictures": "pictures"}
    return replace(given, **{name: run.fixed[key] for name, key in names.items() if key in run.fixed})


def _noting(todo: Iterable[Chosen], sent: deque[str]) -> Iterator[Chosen]:
    for chosen in todo:
        sent.append(chosen.sample)
        yield chosen


def _in_order(drawing: Iterable[_One], sent: deque[str]) -> Iterator[_One]:
    """Yield images in the order in which they were sent, so that a data set comes out the same each time.

    One that others of more than `_MOST_HELD` bytes wait for comes when it is done.
    """
    waiting: dict[str, _One] = {}
    late: set[str] = set()
    held = 0
    for chosen, drawn in drawing:
        if chosen.sample in late:
            yield chosen, drawn
            continue
        waiting[chosen.sample] = chosen, drawn
        held += _weight(drawn)
        while sent and (sent[0] in waiting or held > _MOST_HELD):
            sample = sent.popleft()
            if sample in waiting:
                found = waiting.pop(sample)
                held -= _weight(found[1])
                yield found
            else:
                late.add(sample)


def _weight(drawn: Drawn | Failure) -> int:
    return _ROW_BYTES + (len(drawn.content or b"") if isinstance(drawn, Drawn) else 0)


class _Exporting:
    """Goes over the manifest to see that all fits, and again to do it."""

    def __init__(
        self,
        manifest: str,
        home: str,
        settings: DatasetSettings,
        salt: bytes,
        count: Count,
        total: Callable[[int], None],
    ) -> None:
        self._settings, self._salt, self._count, self._total = settings, salt, count, total
        self._choose = partial(choose, manifest, home, settings, salt)
        self._columns = columns_for(settings, columns_of(manifest, settings.uids))
        self._done, self._chosen = Exported(), 0
        self._patients: set[str] = set()

    def check_choice(self) -> None:
        """Raise before anything is made if no image is chosen, or the filter is none."""
        self._chosen = sum(1 for _ in self._all())
        if not self._chosen:
            raise NothingFoundError(
                "no image of this output is chosen: look at --labels, --where and --status"
            )

    def _all(self) -> Iterator[Chosen]:
        return self._choose(Choice())

    def foreseen(self) -> Exported:
        """Return what would be done; writes nothing, and reads headers only."""
        there: set[str] = set()
        if os.path.isdir(os.path.join(self._settings.folder, OWN)):
            agree(self._settings)
            there = {entry["sample"] for entry in Journal(self._settings.folder).entries()}
        for chosen, drawn in self._drawn(there=frozenset()):
            if isinstance(drawn, Drawn):
                self._note(drawn.part, chosen.label, drawn.patient)
                self._done.there += chosen.sample in there
        self._done.written = self._done.images - self._done.there
        return self._done

    def run(self, journal: Journal) -> Exported:
        """Do what is missing, and write the tables."""
        there = self._there(journal)
        with ExitStack() as stack:
            shards = Shards(self._settings, self._columns, journal)
            if self._settings.target.has_shards:
                stack.enter_context(shards)
            for chosen, drawn in self._drawn(there):
                if isinstance(drawn, Drawn):
                    entry = drawn.facts(chosen)
                    if drawn.content is None:
                        journal.add(entry)
                    else:
                        shards.add(drawn.part, entry, drawn.content)
                    self._note(drawn.part, chosen.label, drawn.patient)
                    self._done.written += 1
        journal.write()
        tables.write(self._settings, self._columns, journal)
        return self._done

    def _there(self, journal: Journal) -> frozenset[str]:
        """Return the samples that are done. Raises UsageError if they are not what is chosen any more."""
        labels: dict[str, str] = {}
        for entry in journal.entries():
            labels[entry["sample"]] = entry["label"]
            self._note(entry["part"], entry["label"], entry["patient"])
        there = frozenset(labels)
        self._done.there = len(there)
        as_before = sum(labels.get(chosen.sample) == chosen.label for chosen in self._all()) if there else 0
        if as_before < len(there):
            others = counted(len(there) - as_before, "image", "images")
            raise UsageError(
                f"{others} of '{escape(self._settings.folder)}' would now have another label, or would be "
                "left out: export into another folder"
            )
        return there

    def _note(self, part: str, label: str, patient: str) -> None:
        self._done.counts[part, label] += 1
        self._patients.add(patient)
        self._done.patients = len(self._patients)

    def _drawn(self, there: frozenset[str]) -> Iterator[_One]:
        """Yield what becomes of every image that is not there yet; what fails is written down, too."""
        choice = Choice()
        self._total(self._chosen - len(there))
        todo = (chosen for chosen in self._choose(choice) if chosen.sample not in there)
        work = partial(draw, settings=self._settings, salt=self._salt)
        sent: deque[str] = deque()
        drawing: _Drawing = isolation.read_all(work, _noting(todo, sent), self._settings.pool)
        with closing(drawing):
            for chosen, one in _in_order(drawing, sent):
                self._count(1)
                if isinstance(one, Failure):
                    self._leave(chosen, one)
                yield chosen, one
        self._done.repeated = choice.repeated

    def _leave(self, chosen: Chosen, failure: Failure) -> None:
        if failure.reason is Reason.TARGET_DONE:
            folder = escape(self._settings.folder)
            raise TargetError(f"'{folder}' is full or cannot be written: the same command goes on")
        self._done.left.append((chosen.path, failure.reason.value))
