"""One small question for each tag, whether it goes with what the pixels say."""

from collections.abc import Mapping, Sequence

from dicomsort.audit.answers import Answer, Weighed, band_of, best_of
from dicomsort.audit.compatible import named, severity_of
from dicomsort.audit.tags import RegionTag, ViewTag
from dicomsort.audit.verdicts import Finding, Severity, Verdict, Why, not_judged, worst_of
from dicomsort.dicom.sop_classes import meant_modality
from dicomsort.model.anatomy import WHOLE, Region, is_paired
from dicomsort.outcome import Reason

_AGREES = 0.5  # from which the labels that go with a tag win
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_FITTING = {
    **dict.fromkeys([_STORAGE + "1"], ("CR",)),
    **dict.fromkeys([_STORAGE + "1.1", _STORAGE + "1.1.1"], ("DX", "PX")),
    **dict.fromkeys([_STORAGE + "1.3", _STORAGE + "1.3.1"], ("IO",)),
    **dict.fromkeys([_STORAGE + "12.1", _STORAGE + "12.1.1", _STORAGE + "12.3"], ("XA",)),
    **dict.fromkeys([_STORAGE + "12.2", _STORAGE + "12.2.1"], ("RF",)),
}
"""The modalities of an SOP class (PS3.3 C.8.1.1, C.8.11.1, C.8.11.7, C.8.7.1)."""

_WINDOW = (Reason.PERCENTILE_WINDOW, Reason.SHAPE_IGNORED, Reason.POLARITY)
_PHOTOMETRIC = (Reason.PHOTOMETRIC_UNKNOWN, Reason.PHOTOMETRIC_MEANT)


def body_part(tags: Sequence[RegionTag], answers: Sequence[Answer], shown: str, least: float) -> Finding:
    """Hold what names a part of the body against what all heads show; the worst counts.

    shown: the label of the image. least: confidence, 0..1, from which a tag is contradicted.
    """
    if not tags:
        return Finding(Verdict.MISSING, Severity.MEDIUM, answer=shown)
    return worst_of([_of_region(tag, answers, shown, least) for tag in tags])


def _of_region(tag: RegionTag, answers: Sequence[Answer], shown: str, least: float) -> Finding:
    if tag.codes is None:
        return Finding(Verdict.UNKNOWN, Severity.MEDIUM, tag=tag.text, answer=shown)
    if not tag.codes or WHOLE in tag.codes:
        return not_judged(Why.NO_PLACE, tag.text)
    if not answers:
        return not_judged(Why.NO_ANSWER, tag.text)
    if not named(tag.codes):
        return not_judged(Why.NO_REGION, tag.text)
    weighed = [(one, said) for one in answers if (said := one.head.weigh(*one[1:], tag.codes))]
    if not weighed:
        return not_judged(Why.NO_LABEL, tag.text, shown)
    return _weighed(tag, weighed, shown, least)


def _weighed(tag: RegionTag, weighed: Sequence[tuple[Answer, Weighed]], shown: str, least: float) -> Finding:
    """Put together what several heads say; `others` counts only where no head names the tag."""
    agreeing = [each for each in weighed if each[1].agrees]
    heard = [each for each in weighed if not (agreeing and _region(*each) is None)]
    if against := [each for each in heard if each[1].wrong >= least]:
        return _contradiction(tag, against)
    if agreeing and all(said.wrong < _AGREES for _, said in heard):
        one, said = max(agreeing, key=lambda each: each[1].right)
        return Finding(Verdict.AGREES, None, said.right, tag.text, _label(one))
    return not_judged(Why.UNSURE, tag.text, shown)


def _contradiction(tag: RegionTag, against: Sequence[tuple[Answer, Weighed]]) -> Finding:
    """Return the finding that heads contradict a tag: told is a label that names a part, the surest."""
    one, said = max(against, key=lambda each: (_region(*each) is not None, each[1].wrong))
    region = _region(one, said)
    severity = severity_of(named(tag.codes or ()), [region] if region else [])
    sure = max(each.wrong for _, each in against)
    return Finding(Verdict.CONTRADICTS, severity, sure, tag.text, one.head.labels[said.against])


def _region(one: Answer, said: Weighed) -> Region | None:
    return one.head.regions[said.against]


def _label(answer: Answer) -> str:
    """Return what a head says: all that it gives, with `|` between them, else what it finds likeliest."""
    labels, scores = answer.head.labels, answer.scores
    return "|".join([labels[at] for at in answer.chosen or [best_of(scores, range(len(scores)))]])


def view(tags: Sequence[ViewTag], scores: Mapping[str, float | str], shown: str, least: float) -> Finding:
    """Hold what names a view against the scores of frontal, lateral and oblique; the worst counts.

    scores: by label; see `Scores`. shown: which of them it is.
    """
    if not scores:
        return not_judged(Why.NO_ANSWER, tags[0].text if tags else "")
    if not tags:
        return Finding(Verdict.MISSING, Severity.LOW, answer=shown)
    return worst_of([_of_view(tag, scores, shown, least) for tag in tags])


def _of_view(tag: ViewTag, scores: Mapping[str, float | str], shown: str, least: float) -> Finding:
    if tag.view is None:
        return Finding(Verdict.UNKNOWN, Severity.LOW, tag=tag.text, answer=shown)
    if tag.view not in scores:
        return not_judged(Why.OTHER_VIEW, tag.text, shown)
    right = float(scores[tag.view])
    if 1.0 - right >= least:
        severity = Severity.LOW if "oblique" in (tag.view, shown) else Severity.MEDIUM
        return Finding(Verdict.CONTRADICTS, severity, 1.0 - right, tag.text, shown)
    if right >= _AGREES:
        return Finding(Verdict.AGREES, None, right, tag.text, shown)
    return not_judged(Why.UNSURE, tag.text, shown)


def laterality(stated: str | None, shown: Region | None) -> Finding:
    """Tell whether the side is stated where there are two of what is shown; which side cannot be seen."""
    if stated is None:
        return not_judged(Why.NO_HEADER)
    if stated == "?":
        return Finding(Verdict.UNKNOWN, Severity.LOW, tag=stated)
    if shown is None or not is_paired(shown.code):
        return not_judged(Why.NOT_PAIRED if shown else Why.NO_ANSWER, stated)
    if not stated:
        return Finding(Verdict.MISSING, Severity.LOW, answer=shown.meaning)
    return Finding(Verdict.AGREES, tag=stated, answer=shown.meaning)


def age(stated: str, label: str, confidence: float, least: float) -> Finding:
    """Hold the age against a label that names one. stated: see `Tags`. confidence: of the label, 0..1."""
    shown = band_of(label)
    if stated == "?":
        return Finding(Verdict.UNKNOWN, Severity.LOW, tag=stated, answer=shown)
    if not shown:
        return not_judged(Why.NO_BAND, stated)
    if not stated:
        return Finding(Verdict.MISSING, Severity.LOW, answer=shown)
    return _of_age(stated, shown, confidence, least)


def _of_age(stated: str, shown: str, confidence: float, least: float) -> Finding:
    if stated == shown or (stated == "minor" and shown == "child"):
        return Finding(Verdict.AGREES, None, confidence, stated, shown)
    if stated in ("teenager", "minor"):
        return not_judged(Why.TEENAGER, stated, shown)
    if confidence >= least:
        return Finding(Verdict.CONTRADICTS, Severity.MEDIUM, confidence, stated, shown)
    return not_judged(Why.UNSURE, stated, shown)


def display(photometric: str, reasons: Sequence[str]) -> Finding:
    """Tell whether an image shows as its header says, by what reading it has found."""
    if found := next((reason.value for reason in _WINDOW if reason in reasons), ""):
        sure = None if found == Reason.POLARITY else 1.0
        return Finding(Verdict.CONTRADICTS, Severity.LOW, sure, photometric, found)
    if found := next((reason.value for reason in _PHOTOMETRIC if reason in reasons), ""):
        return Finding(Verdict.UNKNOWN, Severity.LOW, tag=photometric, answer=found)
    if not photometric:
        return Finding(Verdict.MISSING, Severity.LOW)
    return Finding(Verdict.AGREES, tag=photometric)


def modality(stated: str, sop_class: str | None) -> Finding:
    """Hold Modality against the SOP class. sop_class: UID; None if the header was not read."""
    if not stated:
        return Finding(Verdict.MISSING, Severity.LOW)
    meant = meant_modality(stated)
    if meant != stated:
        return Finding(Verdict.UNKNOWN, Severity.LOW, tag=stated, answer=meant)
    if sop_class is None:
        return not_judged(Why.NO_HEADER, stated)
    fitting = _FITTING.get(sop_class)
    if fitting is None:
        return not_judged(Why.NO_SOP_CLASS, stated)
    if stated in fitting:
        return Finding(Verdict.AGREES, None, None, stated, fitting[0])
    return Finding(Verdict.CONTRADICTS, Severity.LOW, 1.0, stated, fitting[0])
