"""What a run found, how it ended, and where the time went."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dicomsort.errors import ExitCode
from dicomsort.manifest.columns import join_reasons
from dicomsort.manifest.records import Record, status_when_placed
from dicomsort.manifest.rows import Row
from dicomsort.outcome import HINTS, TROUBLE, Reason, Status
from dicomsort.sorting.removal import Removed
from dicomsort.system.escaping import escape

PLANNED_REVIEW = "planned_review"
"""Where a radiograph counts that a dry run has planned for review."""
PLACES = (Status.SORTED.value, Status.REVIEW.value, Status.PLANNED.value, PLANNED_REVIEW)
"""Where radiographs of a label are, or would be: their folder or review."""

MOST_NAMED = 10
"""So many files in trouble are named at the end of a run."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A file that ended in trouble: its (escaped) path, status, and why."""

    path: str
    status: Status
    reason: str

    def as_dict(self) -> dict[str, str]:
        """Return it as JSON values."""
        return {"path": self.path, "status": self.status.value, "reason": self.reason}


def note_trouble(troubles: list[Trouble], path: str, status: Status, reasons: Iterable[str]) -> None:
    """Remember a file in trouble, if it is one of the first. path: as the system knows it."""
    if len(troubles) < MOST_NAMED:
        troubles.append(Trouble(escape(path), status, join_reasons(reasons)))


Radiographs = dict[str, Counter[str]]
"""How many radiographs of each label are in each of PLACES."""


@dataclass(slots=True)
class SortSummary:
    """What was found and how it ended. The statuses of files done before are counted in `statuses` too.

    before: the statuses of these alone. untold: of those in trouble, what a killed run could not tell of, and
    which counts as of this run. troubles: the first files of this run that ended in trouble. strict: whether
    trouble of earlier runs counts for the exit code; lenient: whether none does. total: files, once all
    are counted. missing_bytes: how much more space the copies will probably need than there is. inside: how
    many of the files found are members of archives. hints: what may hold radiographs and was not read, see
    `outcome.HINTS`, and folders without any file. older_hints: those of files done before alone. shards,
    shards_done: where a run is divided among nodes. labels, radiographs: in the end those of the whole
    output. spent: processor seconds by stage, and by the clock `network`, of all its lanes, and `wait`,
    without a file that had been read. by_hand: files that somebody had moved within the output, which is
    taken for a decision. astray: those in folders that are no classes, by folder. taken_back: decisions of
    persons that could not be carried out. honored: files that went where a person had said. removed: sources
    that are gone, or would be. collected: images that were read and wait until their studies are whole.
    waiting: what is waited for before there are any files.
    """

    found: int = 0
    inside: int = 0
    already_done: int = 0
    statuses: Counter[Status] = field(default_factory=Counter)
    before: Counter[Status] = field(default_factory=Counter)
    untold: Counter[Status] = field(default_factory=Counter)
    troubles: list[Trouble] = field(default_factory=list)
    strict: bool = False
    lenient: bool = False
    labels: Counter[str] = field(default_factory=Counter)
    radiographs: Radiographs = field(default_factory=dict)
    total: int | None = None
    missing_bytes: int = 0
    hints: Counter[Reason] = field(default_factory=Counter)
    older_hints: Counter[Reason] = field(default_factory=Counter)
    by_hand: int = 0
    astray: dict[str, int] = field(default_factory=dict)
    taken_back: int = 0
    honored: int = 0
    removed: Removed = field(default_factory=Removed)
    collected: int = 0
    waiting: str = ""
    shards: int = 0
    shards_done: int = 0
    seconds: float = 0.0
    spent: dict[str, float] = field(default_factory=dict)

    @property
    def ended(self) -> int:
        """Files that have a row."""
        return self.statuses.total()

    def of_all(self, files: int | None) -> int | None:
        """Return how many files there are with those in archives, as far as these have been opened."""
        return None if files is None else files + self.inside

    @property
    def new(self) -> Counter[Status]:
        """How the files of this run ended."""
        return self.statuses - self.before

    @property
    def new_troubles(self) -> int:
        """Files of this run that ended in trouble."""
        return sum(self.new[status] + self.untold[status] for status in TROUBLE)

    @property
    def older_troubles(self) -> int:
        """Files that ended in trouble in earlier runs, and were not tried again."""
        return max(0, sum(self.before[status] - self.untold[status] for status in TROUBLE))

    @property
    def exit_code(self) -> ExitCode:
        """DONE, or SOME_FAILED if a file of this run ended in trouble; with `strict`, any file found.

        With `lenient`, DONE all the same.
        """
        failed = self.new_troubles + (self.older_troubles if self.strict else 0)
        return ExitCode.SOME_FAILED if failed and not self.lenient else ExitCode.DONE

    def note_untold(self, statuses: Counter[Status], troubles: Iterable[Trouble]) -> None:
        """Count files in trouble of a run that was killed before it could tell of them as of this one."""
        self.untold += statuses
        self.troubles += troubles

    def count(self, row: Row) -> None:
        """Count a file of this run."""
        self.statuses[row.status] += 1
        self.note(*row.reasons)
        self.honored += row.reviewed is not None
        if row.label:
            self.labels[row.label] += 1
        if row.status in TROUBLE:
            note_trouble(self.troubles, row.path, row.status, row.reasons)

    def count_done(self, status: Status, hint: Reason) -> None:
        """Count a file that was done before."""
        self.already_done += 1
        self.statuses[status] += 1
        self.before[status] += 1
        if hint:
            self.note(hint)
            self.older_hints[hint] += 1

    def count_all_done(self, statuses: Counter[Status], hints: Counter[Reason]) -> None:
        """Count many files that were done before."""
        self.already_done += statuses.total()
        self.statuses += statuses
        self.before += statuses
        self.hints += hints
        self.older_hints += hints

    @property
    def new_hints(self) -> Counter[Reason]:
        """The hints of the files of this run; folders were empty before where files were done before."""
        found = self.hints - self.older_hints
        if self.already_done:
            del found[Reason.EMPTY_FOLDER]
        return found

    @property
    def archives(self) -> int:
        """Files that hold others, and were not opened."""
        return self.hints[Reason.ARCHIVE]

    def note(self, *reasons: Reason | str) -> None:
        """Count what a person should be told of."""
        for hint in HINTS:
            self.hints[hint] += hint in reasons

    def note_folders(self, empty: int) -> None:
        """Note how many folders have no file."""
        self.hints[Reason.EMPTY_FOLDER] = empty

    @property
    def took(self) -> dict[str, Any]:
        """What the run took, as `RunFile.add_time` wants it."""
        return {
            "files": self.ended - self.already_done,
            "seconds": round(self.seconds, 3),
            "runs": 1,
            "spent": self.spent,
        }

    def move(self, before: Status, after: Status, is_old: bool = False) -> None:
        """Note that a file that was counted has another status now. is_old: whether it was done before."""
        all_counted = (self.statuses, self.before) if is_old else (self.statuses,)
        if before is not after and all(counted[before] for counted in all_counted):
            for counted in all_counted:
                counted[before] -= 1
                counted[after] += 1

    def as_dict(self) -> dict[str, Any]:
        """Return the tally as JSON values."""
        return {
            "found": self.found,
            "in_archives": self.inside,
            "already_done": self.already_done,
            "statuses": {status.value: self.statuses[status] for status in Status},
            "new_statuses": {status.value: self.new[status] for status in Status},
            "older_troubles": self.older_troubles,
            "troubles": [trouble.as_dict() for trouble in self.troubles],
            "labels": dict(sorted(self.labels.items())),
            "radiographs": radiographs_as_dict(self.radiographs),
            **hints_as_dict(self.hints),
            "moved_by_hand": self.by_hand,
            "moved_elsewhere": self.astray,
            "decisions_taken_back": self.taken_back,
            **self.removed.as_dict(),
            "seconds": round(self.seconds, 3),
            "spent": self.spent,
            "exit_code": int(self.exit_code),
        }


_HINTS = {
    Reason.ARCHIVE: "archives",
    Reason.NESTED: "nested_archives",
    Reason.PICTURE: "pictures",
    Reason.VIDEO: "videos",
    Reason.EMPTY_FOLDER: "empty_folders",
}


def hints_as_dict(hints: Mapping[Reason, int]) -> dict[str, int]:
    """Return the counts as JSON values."""
    return {name: hints.get(reason, 0) for reason, name in _HINTS.items()}


def place_of(record: Record) -> str:
    """Return which of PLACES a row's radiograph is in, or is planned for; empty if it is in none."""
    status = record.status
    if status is not Status.PLANNED:
        return status.value if status.value in PLACES else ""
    planned = {Status.SORTED: status.value, Status.REVIEW: PLANNED_REVIEW}
    return planned.get(status_when_placed(record.reasons, record.reviewed), "")


def count_radiograph(record: Record, found: Radiographs, number: int = 1) -> None:
    """Count a row, if it is of a radiograph: by what a person has decided, else by the model's label.

    number: of rows like this one.
    """
    if not record["label"] and not record["reviewed_label"]:
        return
    label, place = record.final_label, place_of(record)
    if label and place:
        found.setdefault(label, Counter())[place] += number


def labels_of(found: Radiographs) -> Counter[str]:
    """Count radiographs by label, wherever they are."""
    return Counter({label: counts.total() for label, counts in found.items()})


def radiographs_as_dict(found: Radiographs) -> dict[str, dict[str, int]]:
    """Return the counts as JSON values."""
    return {label: {place: counts[place] for place in PLACES} for label, counts in sorted(found.items())}


Watch = Callable[[SortSummary], None]
