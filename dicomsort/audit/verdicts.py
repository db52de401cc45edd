"""What an audit says: of one tag, of an image, of a study."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple


class Text(StrEnum):
    """One text of a fixed set, that is looked up as quickly as any text."""

    __hash__ = str.__hash__


class Verdict(Text):
    """What is said of a tag, the worst first."""

    CONTRADICTS = "contradicts"
    UNKNOWN = "unknown term"
    MISSING = "missing"
    AGREES = "agrees"
    NOT_JUDGED = "not judged"


FAILING = {"contradicts": Verdict.CONTRADICTS, "missing": Verdict.MISSING, "unknown": Verdict.UNKNOWN}
"""What may make an audit fail, by the word for it."""


class Severity(Text):
    """How much a wrong tag matters, the worst first."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Check(Text):
    """What is held against the answers, in this order."""

    BODY_PART = "body_part"
    VIEW = "view"
    LATERALITY = "laterality"
    AGE = "age"
    DISPLAY = "display"
    MODALITY = "modality"


class Why(Text):
    """Why something was not judged: a fixed set of texts."""

    NONE = ""
    NO_ANSWER = "no answer of a model"
    UNLIKE = "unlike the training data"
    UNSURE = "the answer is not sure enough"
    NO_PLACE = "the tag names no part of the body"
    NO_REGION = "the tag's region is not in the table"
    NO_LABEL = "no label of a model for the tag"
    NO_HEADER = "the header was not read"
    DUPLICATE = "judged with the file that it repeats"
    NOT_PAIRED = "the part shown is not one of a pair"
    NO_BAND = "no label of a model for an age"
    TEENAGER = "a teenager may look like either"
    OTHER_VIEW = "a view that the model does not tell apart"
    NO_SOP_CLASS = "the SOP class goes with any modality"


_WORST = (Severity.HIGH, Severity.MEDIUM, Severity.LOW, Severity.MEDIUM, Severity.LOW, Severity.LOW)
"""How severe a finding of each check can be at most, in the order of `Check`."""

_RANK: dict[str, int] = {verdict.value: at for at, verdict in enumerate(Verdict)}
_WEIGHT: dict[str, int] = {severity.value: at for at, severity in enumerate(Severity)}


class Finding(NamedTuple):
    """What a check says of a tag.

    tag, answer: what stood there, and what the pixels say. confidence: 0..1, that the tag is wrong where it
    contradicts, that it is right where it agrees; else None. severity: None where nothing is wrong. why: it
    was not judged.
    """

    verdict: Verdict
    severity: Severity | None = None
    confidence: float | None = None
    tag: str = ""
    answer: str = ""
    why: Why = Why.NONE


NOTHING = Finding(Verdict.NOT_JUDGED)


def not_judged(why: Why, tag: str = "", answer: str = "") -> Finding:
    """Return the finding that a check has nothing to say."""
    return Finding(Verdict.NOT_JUDGED, tag=tag, answer=answer, why=why)


def worst_of(findings: Iterable[Finding]) -> Finding:
    """Return the worst finding: by verdict, severity, confidence; of equal ones the first."""
    return min(findings, key=badness, default=NOTHING)


def badness(one: Finding) -> tuple[int, int, float]:
    """Return what findings are ordered by, the worst first; where nothing is wrong, confidence is nothing."""
    if one.severity is None:
        return _RANK[one.verdict], 0, 0.0
    return _RANK[one.verdict], _WEIGHT[one.severity], -(one.confidence or 0.0)


def overall(findings: Sequence[Finding], least: Severity) -> tuple[Check | None, Finding]:
    """Return what is said of an image, and by which check: the worst of what is severe enough.

    findings: of all checks, in their order. least: checks that cannot find anything so severe do not count,
    nor do milder findings. None, and nothing, if none is left.
    """
    limit = _WEIGHT[least]
    check, worst, so_far = None, NOTHING, _NOTHING_YET
    for at in _COUNTED[least]:
        one = findings[at]
        if one.severity is None or _WEIGHT[one.severity] <= limit:
            bad = badness(one)
            if bad < so_far:
                check, worst, so_far = _CHECKS[at], one, bad
    return check, worst


_CHECKS = tuple(Check)
_COUNTED = {
    least: [at for at, most in enumerate(_WORST) if _WEIGHT[most] <= _WEIGHT[least]] for least in Severity
}
_NOTHING_YET = (len(_RANK), 0, 0.0)
