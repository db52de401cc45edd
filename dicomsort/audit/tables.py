"""The audit as rows of text: one for every image, one for every study."""

from collections.abc import Iterator
from functools import lru_cache

from dicomsort.audit.judge import Judged
from dicomsort.audit.studies import Content, Study
from dicomsort.audit.verdicts import Check, Finding, Severity, Verdict
from dicomsort.system.escaping import cell

_OF_CHECK = ("tag", "answer", "verdict", "confidence", "severity")
_DEVICE = ("manufacturer", "device_model", "station")

_BETWEEN = "; "

IMAGES = (
    *("path", "study_instance_uid", "verdict", "severity", "confidence", "check", "reason"),
    *(f"{check}_{name}" for check in Check for name in _OF_CHECK),
    *("described", "accession", *_DEVICE),
)
"""Columns of audit.csv."""

STUDIES = (
    *("study_instance_uid", "accession", "images", "verdict", "severity", "confidence", "labels"),
    *("region_codes", "region_meanings", "mado_codes", "mado_meanings", "odd_one_out", "unshared_images"),
)
"""Columns of studies.csv."""


def image_cells(path: str, uid: str, judged: Judged, accession: str) -> list[str]:
    """Return the row of an image. path, uid: as the manifest writes them."""
    verdict = judged.verdict
    why = judged.findings[0].why if verdict.verdict is Verdict.NOT_JUDGED else ""
    cells = [path, uid, *_outcome(verdict), judged.check or "", why]
    for one in judged.findings:
        tag, answer, said, severity = _words(one.tag, one.answer, one.verdict, one.severity)
        cells += (tag, answer, said, "" if one.confidence is None else f"{one.confidence:.6f}", severity)
    stated = judged.case.stated
    if stated is None:
        return [*cells, "", accession, "", "", ""]
    devices = (cell(stated.manufacturer), cell(stated.device_model), stated.station)
    return [*cells, _BETWEEN.join(judged.case.tags.described), accession, *devices]


@lru_cache(maxsize=20_000)
def _words(tag: str, answer: str, verdict: Verdict, severity: Severity | None) -> tuple[str, str, str, str]:
    return cell(tag), cell(answer), verdict.value, severity.value if severity else ""


def study_cells(study: Study, accession: str, odd: str) -> list[str]:
    """Return the row of a study. odd: the path of the odd one out, as the manifest writes it."""
    return [
        *(cell(study.uid), accession, str(study.images), *_outcome(study.verdict)),
        *(*_content_cells(study.content), odd, str(study.unshared)),
    ]


def _content_cells(content: Content) -> Iterator[str]:
    yield cell("; ".join(f"{label} {count}" for label, count in content.labels))
    for regions in (content.regions, content.mado):
        yield _BETWEEN.join([one.code for one in regions])
        yield cell(_BETWEEN.join([one.meaning for one in regions]))


def _outcome(one: Finding) -> tuple[str, str, str]:
    sure = "" if one.confidence is None else f"{one.confidence:.6f}"
    return one.verdict.value, one.severity.value if one.severity else "", sure
