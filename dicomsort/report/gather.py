"""What a manifest tells: counts and the files to show, in one pass and little memory."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from operator import itemgetter
from typing import Any

from dicomsort.manifest.columns import split_reasons
from dicomsort.manifest.records import status_when_placed
from dicomsort.manifest.standing import standing
from dicomsort.outcome import EXCLUDED, TROUBLE, UNSURE, Reason, Reviewed, Status
from dicomsort.report.counts import Best, Cross, Examples, Shown, Spread
from dicomsort.system.escaping import uncell

UNKNOWN = "(none)"
_MOST_WAYS = 20_000
_MOST_LABELS = 2_000
_MOST_REASONS = 200
_PATHS = 5
_LABEL = ".label"
_KEY = (
    *("status", "reason", "label", "reviewed_label", "reviewed_by"),
    *("modality", "transfer_syntax", "age_group"),
)
_TABLES = ("modality", "transfer_syntax", "age_group")


class Group(StrEnum):
    """How a file ended, as the tables of a report tell it apart."""

    SORTED = "sorted"
    REVIEW = "in review"
    PLANNED = "planned"
    PLANNED_REVIEW = "planned for review"
    EXCLUDED = "excluded"
    DUPLICATE = "duplicate"
    OTHER = "no radiograph"
    TROUBLE = "trouble"


RADIOGRAPHS = frozenset({Group.SORTED, Group.REVIEW, Group.PLANNED, Group.PLANNED_REVIEW})
IN_REVIEW = frozenset({Group.REVIEW, Group.PLANNED_REVIEW})

_GROUPS: dict[str, Group] = {
    **dict.fromkeys(TROUBLE, Group.TROUBLE),
    **dict.fromkeys((Status.NOT_DICOM, Status.NOT_XRAY, Status.NO_PIXELS), Group.OTHER),
    Status.SORTED: Group.SORTED,
    Status.REVIEW: Group.REVIEW,
    Status.DUPLICATE: Group.DUPLICATE,
    Status.EXCLUDED: Group.EXCLUDED,
}
_PLANS = {Status.SORTED: Group.PLANNED, Status.REVIEW: Group.PLANNED_REVIEW, Status.EXCLUDED: Group.EXCLUDED}


def group_of(status: str, reasons: str, decided: str = "") -> Group:
    """Return how a row ended, or is to end. Raises KeyError for a status that is none of ours.

    decided: what a person has decided.
    """
    if status == Status.PLANNED:
        reviewed = Reviewed(decided, "", "") if decided else None
        return _PLANS[status_when_placed(split_reasons(reasons), reviewed)]
    return _GROUPS[status]


class Shelf:
    """The radiographs of one label: how sure the model is of them, and which to show.

    placed, review: of those in its folder and of those in review, or planned for either. decided: on how many
    of the former a person has said the same as the model. moved: those of which the model has said another
    label; its confidence is of that one, so they are nowhere else.
    """

    def __init__(self, pictures: int) -> None:
        self.decided = self.moved_count = 0
        self.moved = Best(pictures, lowest=False)
        self.placed, self.review = Spread(), Spread()
        self.surest, self.least_sure = Best(pictures, lowest=False), Best(pictures, lowest=True)
        self.doubtful = Best(pictures, lowest=True)

    def put(self, one: Shown, for_review: bool, decided: bool = False) -> None:
        """Count a radiograph. decided: whether a person has said what it is."""
        if one.label:
            self.moved_count += 1
            self.moved.offer(one)
        elif for_review:
            self.review.add(one.confidence)
            self.doubtful.offer(one)
        else:
            self.placed.add(one.confidence)
            self.surest.offer(one)
            self.decided += decided
            if not decided:
                self.least_sure.offer(one)


@dataclass(slots=True)
class Decisions:
    """What people have decided. changed: where that was not the model's label. labels: the model's by theirs.

    first, last: when, ISO 8601 in UTC.
    """

    count: int = 0
    unsure: int = 0
    changed: int = 0
    by: Cross = field(default_factory=lambda: Cross(1000, 50))
    labels: Cross = field(default_factory=lambda: Cross(_MOST_LABELS, 500))
    first: str = ""
    last: str = ""


@dataclass(slots=True)
class Figures:
    """What a manifest tells. size: bytes of all files. tables: by what, value by `Group`, see `names_of`.

    body_parts, further: value by label; further of each further head or model. shelves: by label, of no more
    than 2000. troubles: by status and reason.
    """

    files: int = 0
    size: int = 0
    groups: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    tables: dict[str, Cross] = field(default_factory=dict)
    body_parts: Cross = field(default_factory=lambda: Cross(5000, _MOST_LABELS))
    further: dict[str, Cross] = field(default_factory=dict)
    shelves: dict[str, Shelf] = field(default_factory=dict)
    troubles: dict[tuple[str, str], Examples] = field(default_factory=dict)
    decisions: Decisions = field(default_factory=Decisions)

    @property
    def radiographs(self) -> int:
        """How many radiographs are in the output, or would be."""
        return sum(self.groups[group] for group in RADIOGRAPHS)

    @property
    def in_review(self) -> int:
        """How many of them are in review, or would be."""
        return sum(self.groups[group] for group in IN_REVIEW)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values; paths are in the page alone."""
        decided = self.decisions
        return {
            "files": self.files,
            "bytes": self.size,
            "groups": {group.value: self.groups[group] for group in Group},
            "statuses": dict(sorted(self.statuses.items())),
            "tables": {name: table.as_dict() for name, table in self.tables.items()},
            "body_part_examined": self.body_parts.as_dict(),
            "further": {name: table.as_dict() for name, table in self.further.items()},
            "troubles": [
                {"status": status, "reason": reason, "files": one.count}
                for (status, reason), one in self.troubles.items()
            ],
            "decisions": {
                "decided": decided.count,
                "unsure": decided.unsure,
                "changed": decided.changed,
                "by": dict(decided.by.rows),
                "labels": decided.labels.as_dict(),
            },
        }


def gather(path: str, pictures: int = 8) -> Figures:
    """Read a manifest.csv once; of a file that was done again only the last row counts.

    It may be written to meanwhile: what counts is what stood there in whole lines at the beginning. pictures:
    how many files of a label to name at each end. Raises UsageError if it cannot be read, or is none.
    """
    with standing(path) as manifest:
        tally = _Tally(manifest.names, pictures)
        for cells in manifest.rows():
            tally.take(cells)
        return tally.figures()


class _Tally:
    """Counts rows. What many rows have in common is counted once, and spread over the tables now and then."""

    def __init__(self, names: Sequence[str], pictures: int) -> None:
        self._width, self._pictures, self._at = len(names), pictures, 0
        self._further = [name for name in names if name.endswith(_LABEL)]
        place = {name: at for at, name in enumerate(names)}
        wanted = [place.get(name, self._width) for name in (*_KEY, *self._further)]
        self._key = itemgetter(*wanted)
        self._ways: Counter[tuple[str, ...]] = Counter()
        self._body_parts: Counter[tuple[str, str]] = Counter()
        single = (
            *("size", "confidence", "path", "destination", "action"),
            *("reviewed_at", "body_part_examined"),
        )
        self._size, self._confidence, self._path, self._destination, self._action, self._when, self._part = (
            place.get(name, self._width) for name in single
        )
        self._figures = Figures(
            tables={name: Cross() for name in ("label", "reason", *_TABLES)},
            further={name.removesuffix(_LABEL): Cross(200, _MOST_LABELS) for name in self._further},
        )
        self._groups: dict[tuple[str, ...], Group] = {}

    def take(self, cells: list[str]) -> None:
        """Count a row. Raises one of DAMAGE."""
        cells.append("")  # stands for every column that is not there
        key = self._key(cells)
        self._ways[key] += 1
        self._at += 1
        if size := cells[self._size]:
            self._figures.size += int(size)
        status, reason, label, decided, *_ = key
        group = self._group(status, reason, decided)
        if group is Group.TROUBLE:
            self._trouble(status, reason, cells)
        elif group in RADIOGRAPHS:
            self._shelve(_shelf(label, decided), group, cells, (label, decided))
        if len(self._ways) > _MOST_WAYS or len(self._body_parts) > _MOST_WAYS:
            self._spread()
        if when := cells[self._when]:
            decided = self._figures.decisions
            decided.first, decided.last = min(decided.first or when, when), max(decided.last, when)

    def _group(self, *ended: str) -> Group:
        """Return the group of a row, see `group_of`; the answers are kept."""
        group = self._groups.get(ended)
        if group is None:
            group = group_of(*ended)
            if len(self._groups) < _MOST_WAYS:
                self._groups[ended] = group
        return group

    def _trouble(self, status: str, reason: str, cells: Sequence[str]) -> None:
        troubles = self._figures.troubles
        why = next(iter(split_reasons(reason)), "")
        if (status, why) not in troubles and len(troubles) >= _MOST_REASONS:
            return
        troubles.setdefault((status, why), Examples()).add(uncell(cells[self._path]), _PATHS)

    def _shelve(self, label: str, group: Group, cells: Sequence[str], said: tuple[str, str]) -> None:
        """Count a radiograph under its label. said: by the model, and by a person, as cells."""
        self._body_parts[cells[self._part], label] += 1
        if not label or not cells[self._confidence]:
            return
        shelves = self._figures.shelves
        shelf = shelves.get(label)
        if shelf is None:
            if len(shelves) >= _MOST_LABELS:
                return
            shelf = shelves[label] = Shelf(self._pictures)
        model, person = map(uncell, said)
        places = cells[self._path], cells[self._destination], cells[self._action]
        one = Shown(
            float(cells[self._confidence]), self._at, *places, (model or UNKNOWN) if model != label else ""
        )
        shelf.put(one, group in IN_REVIEW, bool(person))

    def figures(self) -> Figures:
        """Return what was counted."""
        self._spread()
        return self._figures

    def _spread(self) -> None:
        for key, count in self._ways.items():
            self._count(key, count)
        for (part, label), count in self._body_parts.items():
            self._figures.body_parts.add(uncell(part) or UNKNOWN, label or UNKNOWN, count)
        self._ways.clear()
        self._body_parts.clear()

    def _count(self, key: tuple[str, ...], count: int) -> None:
        """Count rows that have all this in common."""
        status, reason, label, decided, by, modality, syntax, age, *further = map(uncell, key)
        found, group = self._figures, self._group(status, reason, decided)
        found.files += count
        found.groups[group] += count
        found.statuses[status] += count
        for name, value in zip(_TABLES, (modality, syntax, age), strict=True):
            self._by(name, value, group, count)
        for why in split_reasons(reason):
            found.tables["reason"].add(_general(why), group, count)
        if decided:
            _decide(found.decisions, (label, decided, by), count)
        if group not in RADIOGRAPHS:
            return
        shelf = _shelf(label, decided)
        found.tables["label"].add(shelf or UNKNOWN, group, count)
        for table, answer in zip(found.further.values(), further, strict=True):
            table.add(answer or UNKNOWN, shelf or UNKNOWN, count)

    def _by(self, name: str, value: str, group: Group, count: int) -> None:
        """Count by a value of the header; what is no radiograph need not have one."""
        if value or group in RADIOGRAPHS:
            self._figures.tables[name].add(value or UNKNOWN, group, count)


def _shelf(label: str, decided: str) -> str:
    """Return the label under which a radiograph stands: a person's, else the model's."""
    return uncell(decided) if decided and decided not in (EXCLUDED, UNSURE) else uncell(label)


def _general(reason: str) -> str:
    """Return a reason without the number of a frame."""
    return Reason.OTHER_FRAME.value if reason.startswith(Reason.OTHER_FRAME) else reason


def _decide(decisions: Decisions, decided: tuple[str, str, str], count: int) -> None:
    """Count decisions. decided: the model's label, the person's, and who that was."""
    was, becomes, by = decided
    decisions.by.add(by or UNKNOWN, UNSURE if becomes == UNSURE else "decided", count)
    if becomes == UNSURE:
        decisions.unsure += count
        return
    decisions.count += count
    decisions.changed += count * (was != becomes)
    decisions.labels.add(was or UNKNOWN, becomes, count)
