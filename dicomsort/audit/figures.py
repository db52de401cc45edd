"""What an audit counts, in little memory whatever it reads."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dicomsort.audit.judge import Judged
from dicomsort.audit.verdicts import Check, Finding, Severity, Verdict
from dicomsort.dicom.stated import Stated
from dicomsort.report.counts import REST, Best, Cross, Shown
from dicomsort.report.gather import UNKNOWN

_MOST_WAYS = 20_000
_MOST_DEVICES = 2_000
_MOST_CONFLICTS = 500
_MOST_TERMS = 2_000
_SHOWN = 100  # of each table, in JSON

Device = tuple[str, str, str]
"""Manufacturer, model, and the hash of the station."""

Conflict = tuple[str, str, str]
"""Check, tag, and answer."""


@dataclass(frozen=True, slots=True)
class Limits:
    """From which confidence, 0..1, an image with a verdict makes an audit fail; 0 for any."""

    least: Mapping[str, float] = field(default_factory=dict)

    def is_reached(self, one: Finding) -> bool:
        """Return whether an image fails by what decides of it."""
        return self.reaches(one.verdict, one.confidence or 0.0)

    def reaches(self, verdict: str, confidence: float) -> bool:
        """Return whether an image with this verdict fails."""
        least = self.least.get(verdict)
        return least is not None and confidence >= least


@dataclass(frozen=True, slots=True)
class Alarm:
    """What makes an audit fail. known: hashes of the paths, as rows write them, that do not count again."""

    limits: Limits = field(default_factory=Limits)
    known: frozenset[int] = frozenset()

    def rings(self, path: str, one: Finding) -> bool:
        """Return whether an image makes the audit fail."""
        return self.limits.is_reached(one) and hash(path) not in self.known


@dataclass(slots=True)
class DeviceTally:
    """The images of one device: how many, by verdict, and what its tags contradict."""

    images: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    conflicts: Counter[Conflict] = field(default_factory=Counter)


@dataclass(slots=True)
class StudyTally:
    """How many studies, by verdict. odd: with one image that does not go with the others.

    unshared: images that show what no other does. regions: how many show each anatomical region of MADO.
    """

    studies: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    odd: int = 0
    unshared: int = 0
    regions: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Figures:
    """What an audit tells. checks: verdicts of each. confusion: tag against answer, of parts of the body.

    unknown: what images show that have a term nobody knows, by check and term. worst: the surest of each
    conflict. headers: how many were to be read, None if none; unread: of these, how many could not. failing:
    how many images reach `Limits`.
    """

    images: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    severities: Counter[str] = field(default_factory=Counter)
    checks: dict[str, Counter[str]] = field(
        default_factory=lambda: {check.value: Counter() for check in Check}
    )
    confusion: Cross = field(default_factory=Cross)
    views: Cross = field(default_factory=lambda: Cross(1000, 10))
    conflicts: Counter[Conflict] = field(default_factory=Counter)
    unknown: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    why: Counter[str] = field(default_factory=Counter)
    devices: dict[Device, DeviceTally] = field(default_factory=dict)
    studies: StudyTally = field(default_factory=StudyTally)
    worst: dict[Conflict, Best] = field(default_factory=dict)
    headers: int | None = None
    unread: int = 0
    failing: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values; paths are in the tables and on the page alone."""
        studies = self.studies
        return {
            "images": self.images,
            "verdicts": {verdict.value: self.verdicts[verdict] for verdict in Verdict},
            "contradicts": {severity.value: self.severities[severity] for severity in Severity},
            "checks": {check: dict(counts) for check, counts in self.checks.items()},
            "conflicts": [
                {"check": check, "tag": tag, "answer": answer, "images": count}
                for (check, tag, answer), count in self.conflicts.most_common(_SHOWN)
            ],
            "unknown_terms": [
                {"check": one.check, "term": one.term, "images": one.images, "shows": one.shows}
                for one in unknown_terms(self)[:_SHOWN]
            ],
            "not_judged": dict(self.why),
            "devices": [_device(name, tally) for name, tally in worst_devices(self.devices)[:_SHOWN]],
            "studies": {
                "studies": studies.studies,
                "verdicts": {verdict.value: studies.verdicts[verdict] for verdict in Verdict},
                "odd_one_out": studies.odd,
                "unshared_images": studies.unshared,
                "mado_regions": dict(studies.regions.most_common()),
            },
            "headers": {"asked": self.headers, "unread": self.unread},
            "failing": self.failing,
        }


class UnknownTerm(NamedTuple):
    """A term that nobody knows: on how many images, and what more than half of them show, if anything."""

    check: str
    term: str
    images: int
    shows: str


def unknown_terms(figures: Figures) -> list[UnknownTerm]:
    """Return the terms that nobody knows, the most frequent first."""
    found = [UnknownTerm(*key, shown.total(), _most_of(shown)) for key, shown in figures.unknown.items()]
    return sorted(found, key=lambda one: (-one.images, one.check, one.term))


def _most_of(shown: Counter[str]) -> str:
    answer, count = shown.most_common(1)[0]
    return answer if 2 * count > shown.total() else ""


def worst_devices(devices: dict[Device, DeviceTally]) -> list[tuple[Device, DeviceTally]]:
    """Return devices by how many of their images contradict, the most first."""
    return sorted(
        devices.items(), key=lambda each: (-each[1].verdicts["contradicts"], -each[1].images, each[0])
    )


def _device(name: Device, tally: DeviceTally) -> dict[str, Any]:
    told = dict(zip(("manufacturer", "device_model", "station"), name, strict=True))
    conflicts = [
        {"check": check, "tag": tag, "answer": answer, "images": count}
        for (check, tag, answer), count in tally.conflicts.most_common(3)
    ]
    return {**told, "images": tally.images, "verdicts": dict(tally.verdicts), "conflicts": conflicts}


class Counting:
    """Counts judged images: what many have in common once, spread over the tables now and then.

    pictures: how many to show of each conflict.
    """

    def __init__(self, figures: Figures, pictures: int) -> None:
        self._figures, self._pictures = figures, pictures
        self._ways: dict[tuple[object, ...], list[Any]] = {}

    def add(self, judged: Judged) -> None:
        """Count an image."""
        key = (id(judged.case), judged.check, *(one[:2] + one[3:] for one in judged.findings))
        found = self._ways.get(key)
        if found is None:
            if len(self._ways) >= _MOST_WAYS:
                self.finish()
            found = self._ways[key] = [judged, 0]
        found[1] += 1

    def show(self, judged: Judged, one: Shown) -> None:
        """Keep an image that contradicts for its picture, if it is one of the surest of its kind."""
        if judged.check is None or not self._pictures:
            return
        worst = self._figures.worst
        conflict = conflict_of(judged.check, judged.verdict)
        if conflict not in worst:
            if len(worst) >= _MOST_CONFLICTS:
                return
            worst[conflict] = Best(self._pictures, lowest=False)
        worst[conflict].offer(one)

    def finish(self) -> None:
        """Spread what was counted over the tables."""
        for judged, count in self._ways.values():
            self._spread(judged, count)
        self._ways.clear()

    def _spread(self, judged: Judged, count: int) -> None:
        figures, verdict = self._figures, judged.verdict
        figures.images += count
        figures.verdicts[verdict.verdict] += count
        if verdict.verdict is Verdict.NOT_JUDGED:
            figures.why[judged.findings[0].why.value] += count
        if verdict.verdict is Verdict.CONTRADICTS and verdict.severity is not None:
            figures.severities[verdict.severity] += count
        for check, one in zip(Check, judged.findings, strict=True):
            self._check(check, one, count)
        part, view = judged.findings[:2]
        figures.confusion.add(part.tag or UNKNOWN, judged.case.shown.label or UNKNOWN, count)
        if view.answer:
            figures.views.add(view.tag or UNKNOWN, view.answer, count)
        if judged.case.stated is not None:
            self._device(judged.case.stated, judged, count)

    def _check(self, check: Check, one: Finding, count: int) -> None:
        figures = self._figures
        figures.checks[check.value][one.verdict.value] += count
        if one.verdict is Verdict.CONTRADICTS:
            _count(figures.conflicts, conflict_of(check, one), count, _MOST_CONFLICTS)
        elif one.verdict is Verdict.UNKNOWN:
            key = check.value, one.tag
            if key in figures.unknown or len(figures.unknown) < _MOST_TERMS:
                figures.unknown.setdefault(key, Counter())[one.answer] += count

    def _device(self, stated: Stated, judged: Judged, count: int) -> None:
        devices = self._figures.devices
        name = stated.manufacturer, stated.device_model, stated.station
        if name not in devices and len(devices) >= _MOST_DEVICES:
            name = REST, "", ""
        tally = devices.setdefault(name, DeviceTally())
        tally.images += count
        tally.verdicts[judged.verdict.verdict.value] += count
        if judged.check is not None and judged.verdict.verdict is Verdict.CONTRADICTS:
            _count(tally.conflicts, conflict_of(judged.check, judged.verdict), count, _MOST_CONFLICTS)


def conflict_of(check: Check, one: Finding) -> Conflict:
    """Return what contradicts what."""
    return check.value, one.tag, one.answer


def _count(counts: Counter[Any], key: object, count: int, most: int) -> None:
    """Count something, unless there are too many kinds of it."""
    if key in counts or len(counts) < most:
        counts[key] += count
