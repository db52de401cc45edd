"""One row of the manifest, and what its header states, into one finding for each check."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

from dicomsort.audit import checks, tags
from dicomsort.audit.answers import Answer, decided_answer, is_overruled
from dicomsort.audit.head_columns import anatomy_heads, view_columns
from dicomsort.audit.headers import Headers
from dicomsort.audit.tags import Cells, Tags
from dicomsort.audit.terms import Terms
from dicomsort.audit.verdicts import Check, Finding, Severity, Verdict, Why, not_judged, overall
from dicomsort.dicom.stated import Stated
from dicomsort.manifest.columns import answers_of, renewed, split_reasons
from dicomsort.manifest.reading import labels_by_head
from dicomsort.model.anatomy import Anatomy, Region, agreed
from dicomsort.outcome import EXCLUDED, UNSURE, Reason, Status
from dicomsort.system.escaping import uncell

_LABEL, _CONFIDENCE = ".label", "confidence"
_MOST_CASES = 50_000
_KEY = (
    *("status", "reason", "label", "reviewed_label", "pixel_label", "evidence"),
    *("modality", "body_part_examined", "view_position", "photometric_interpretation", "age_group"),
)


@dataclass(frozen=True, slots=True)
class Rule:
    """When a tag is wrong. least: confidence, 0..1. severity: the least that counts for an image."""

    least: float = 0.9
    severity: Severity = Severity.MEDIUM


class Shown(NamedTuple):
    """What an image shows, by all answers together. label: of the head that names it."""

    label: str
    region: Region | None


@dataclass(frozen=True, slots=True)
class Case:
    """What many images have in common, worked out once.

    why: for which models have no say; NONE if they do. label: whose age counts. view: which it shows.
    chosen: by head, which labels it gives. fixed: what is found whatever the scores are, of laterality,
    display and modality. sure: the column that tells how sure `shown` is.
    """

    tags: Tags
    stated: Stated | None
    why: Why
    label: str
    view: str
    chosen: tuple[tuple[int, ...], ...]
    decided: Answer | None
    shown: Shown
    sure: int
    fixed: tuple[Finding, Finding, Finding]


class Judged(NamedTuple):
    """What an audit says of an image.

    findings: of each check, in the order of `Check`. check: which one decides, None if none does; `verdict`
    is its. sure: whether it is sure what is shown.
    """

    findings: tuple[Finding, ...]
    check: Check | None
    verdict: Finding
    sure: bool
    case: Case


class Judge:
    """Judges the rows of one manifest.

    names: its columns. sample: some of its rows. anatomy: what its labels mean, see `RunFile`.
    """

    def __init__(
        self,
        names: Sequence[str],
        sample: Sequence[Sequence[str]],
        anatomy: Anatomy,
        terms: Terms,
        rule: Rule,
    ) -> None:
        self._terms, self._rule, self._anatomy = terms, rule, anatomy
        self._place = {name: at for at, name in enumerate(names)}
        self._nowhere = len(names)
        labels = labels_by_head(answers_of(renewed(names)))
        self._heads = anatomy_heads(labels, sample, self._place, anatomy)
        self._view_head, self._views = view_columns(labels, self._place)
        self._further = [name for name in names if name.endswith(_LABEL)]
        self._key = itemgetter(*map(self._at, (*_KEY, *self._further)))
        self._pixel, self._confidence = self._at("pixel_confidence"), self._at(_CONFIDENCE)
        self._cases: dict[tuple[object, ...], Case] = {}

    def _at(self, name: str) -> int:
        """Return the place of a column; behind all others, where nothing stands, if it is not there."""
        return self._place.get(name, self._nowhere)

    def judge(self, cells: list[str], number: int, headers: Headers | None) -> Judged:
        """Judge a row. cells: with an empty one behind them. number: of its header, see `Headers`.

        Raises ValueError for a score that is none.
        """
        key = (number, *self._key(cells))
        case = self._cases.get(key)
        if case is None:
            if len(self._cases) >= _MOST_CASES:
                self._cases.clear()
            case = self._cases[key] = self._case(key, headers)
        if case.why is Why.DUPLICATE:
            return Judged((not_judged(Why.DUPLICATE),) * len(Check), None, not_judged(case.why), False, case)
        laterality, display, modality = case.fixed
        seen = self._body_part(case, cells), self._view(case, cells)
        findings = (*seen, laterality, self._age(case, cells), display, modality)
        check, verdict = overall(findings, self._rule.severity)
        return Judged(findings, check, verdict, self._is_sure(case, cells), case)

    def _body_part(self, case: Case, cells: Sequence[str]) -> Finding:
        regions = case.tags.regions
        if case.why is Why.UNLIKE:
            return self._of_unlike(case, self._answers(case, cells))
        answers = self._answers(case, cells) if regions and not case.why else ()
        found = checks.body_part(regions, answers, case.shown.label, self._rule.least)
        return found._replace(why=case.why) if case.why and found.why is Why.NO_ANSWER else found

    def _of_unlike(self, case: Case, answers: Sequence[Answer]) -> Finding:
        """Judge an image that is unlike the training data: it contradicts a tag only if all heads say so."""
        regions, label = case.tags.regions, case.shown.label
        each = [checks.body_part(regions, (one,), label, self._rule.least) for one in answers]
        found = checks.body_part(regions, answers, label, self._rule.least)
        if found.verdict in (Verdict.MISSING, Verdict.UNKNOWN):
            return found
        if len(each) > 1 and all(one.verdict is Verdict.CONTRADICTS for one in each):
            return found
        return not_judged(Why.UNLIKE, found.tag)

    def _view(self, case: Case, cells: Sequence[str]) -> Finding:
        if case.why:
            return not_judged(case.why, case.tags.views[0].text if case.tags.views else "")
        scores = {label: cells[at] for label, at in self._views.items() if cells[at]}
        return checks.view(case.tags.views, scores, case.view, self._rule.least)

    def _age(self, case: Case, cells: Sequence[str]) -> Finding:
        if case.why:
            return not_judged(case.why, case.tags.age)
        sure = 1.0 if case.decided else float(cells[self._pixel] or cells[self._confidence] or 0)
        return checks.age(case.tags.age, case.label, sure, self._rule.least)

    def _is_sure(self, case: Case, cells: Sequence[str]) -> bool:
        if case.decided or case.why:
            return bool(case.decided)
        return float(cells[case.sure] or 0) >= self._rule.least

    def _answers(self, case: Case, cells: Sequence[str]) -> list[Answer]:
        found = [
            Answer(head, scores, chosen)
            for (head, get), chosen in zip(self._heads, case.chosen, strict=True)
            if (scores := get(cells))[0]
        ]
        if case.decided is None:
            return found
        further = [one for one in found if one.head.name and not is_overruled(one, case.decided)]
        return [case.decided, *further]

    def _case(self, key: tuple[Any, ...], headers: Headers | None) -> Case:
        number, *texts = key
        status, reason, label, reviewed, pixel, evidence, *header = map(uncell, texts[: len(_KEY)])
        further = {
            name.removesuffix(_LABEL): uncell(text)
            for name, text in zip(self._further, texts[len(_KEY) :], strict=True)
        }
        stated = headers.stated(number) if headers else None
        told = self._tags(stated, header, evidence)
        decided, reasons = self._decided(reviewed), split_reasons(reason)
        final = reviewed if decided else label
        shown, sure = self._shown(final, further)
        fixed = (
            checks.laterality(told.laterality, shown.region),
            checks.display(told.photometric, reasons),
            checks.modality(told.modality, told.sop_class),
        )
        aged = reviewed if decided else pixel or label
        why = _why(status, reasons, decided)
        view = label if self._view_head == "" else further.get(self._view_head, "")
        return Case(told, stated, why, aged, view, self._chosen(label, further), decided, shown, sure, fixed)

    def _chosen(self, label: str, further: Mapping[str, str]) -> tuple[tuple[int, ...], ...]:
        said = {"": label, **further}
        heads = [head for head, _ in self._heads]
        return tuple(
            tuple(
                head.labels.index(part) for part in said.get(head.name, "").split("|") if part in head.labels
            )
            for head in heads
        )

    def _tags(self, stated: Stated | None, header: Sequence[str], evidence: str) -> Tags:
        if stated is not None:
            return tags.told_by_header(stated, self._terms)
        modality, part, view, photometric, age = header
        cells = Cells(part, view, photometric, modality, age, split_reasons(evidence))
        return tags.told_by_manifest(cells, self._terms)

    def _decided(self, reviewed: str) -> Answer | None:
        """Return what a person decided, if that is a class that a head could have named."""
        if reviewed in ("", EXCLUDED, UNSURE) or not self._heads or self._heads[0][0].name:
            return None
        return decided_answer(reviewed, self._heads[0][0])

    def _shown(self, label: str, further: Mapping[str, str]) -> tuple[Shown, int]:
        """Return what is shown, and in which column stands how sure that is."""
        region = agreed(self._anatomy, {"": label, **further})
        if region is not None and region != agreed(self._anatomy, {"": label}):
            for name, text in further.items():
                if agreed(self._anatomy, {"": "", name: text}) == region:
                    return Shown(text, region), self._at(f"{name}.{_CONFIDENCE}")
        return Shown(label, region), self._confidence


def _why(status: str, reasons: Sequence[str], decided: Answer | None) -> Why:
    if status == Status.DUPLICATE:
        return Why.DUPLICATE
    return Why.UNLIKE if Reason.UNLIKE in reasons and not decided else Why.NONE
