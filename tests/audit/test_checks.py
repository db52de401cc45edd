"""Each check: a tag, what the models say, and what follows."""

import pytest

from dicomsort.audit import checks
from dicomsort.audit.answers import AnatomyHead, Answer, anatomy_head
from dicomsort.audit.tags import RegionTag, ViewTag
from dicomsort.audit.verdicts import Check, Finding, Severity, Verdict, Why, overall
from dicomsort.model.anatomy import WHOLE, region_of
from dicomsort.outcome import Reason

GROUPS = ("abdominal", "adult_chest", "others", "pediatric_chest", "spine")
PARTS = (
    "chest",
    "clavicle",
    "elbow",
    "forearm",
    "hand",
    "knee",
    "lumbar_spine",
    "other",
    "shoulder",
    "wrist",
)


def head(labels: tuple[str, ...], many: bool = False) -> AnatomyHead:
    found = anatomy_head("", labels, many=many)
    assert found is not None
    return found


GROUP, PART = head(GROUPS), head(PARTS, many=True)


def coarse(**scores: float) -> Answer:
    """What the model of five groups says; labels that are left out share the rest."""
    rest = (1 - sum(scores.values())) / max(1, len(GROUPS) - len(scores))
    said = [scores.get(label, rest) for label in GROUPS]
    return Answer(GROUP, said, (said.index(max(said)),))


def fine(chosen: str = "", **scores: float) -> Answer:
    """What the model of many parts says; each has a score of its own."""
    said = [scores.get(label, 0.01) for label in PARTS]
    names = chosen.split("|") if chosen else [label for label in PARTS if scores.get(label, 0) >= 0.5]
    return Answer(PART, said, tuple(PARTS.index(name) for name in names))


def tag(*labels: str) -> RegionTag:
    """A tag that names these regions, told by labels that mean them."""
    regions = [region_of(label) for label in labels]
    return RegionTag("TAG", tuple(region.code for region in regions if region))


def judged(one: RegionTag, *answers: Answer, least: float = 0.9) -> Finding:
    return checks.body_part([one], answers, "shown", least)


def test_a_hand_that_is_a_chest_is_contradicted_for_sure() -> None:
    found = judged(tag("hand"), coarse(adult_chest=0.97))
    assert (found.verdict, found.severity, found.answer) == (
        Verdict.CONTRADICTS,
        Severity.HIGH,
        "adult_chest",
    )
    assert found.confidence == pytest.approx(1 - 0.03 / 4)  # what is not `others`


def test_a_model_that_is_unsure_between_two_labels_may_be_sure_that_the_tag_is_neither() -> None:
    found = judged(tag("hand"), coarse(adult_chest=0.5, pediatric_chest=0.48))
    assert found.verdict is Verdict.CONTRADICTS


def test_adult_and_pediatric_chests_are_chests() -> None:
    found = judged(tag("chest"), coarse(adult_chest=0.5, pediatric_chest=0.48))
    assert found.verdict is Verdict.AGREES
    assert found.confidence == pytest.approx(0.98)


def test_below_the_confidence_that_is_asked_for_nothing_is_contradicted() -> None:
    answers = coarse(adult_chest=0.8, others=0.2)
    assert judged(tag("hand"), answers).why is Why.UNSURE
    assert judged(tag("hand"), answers, least=0.75).verdict is Verdict.CONTRADICTS


def test_others_agrees_with_no_tag_for_it_names_no_part() -> None:
    found = judged(tag("hand"), coarse(others=0.999))
    assert (found.verdict, found.why) == (Verdict.NOT_JUDGED, Why.UNSURE)


def test_others_contradicts_what_would_have_been_named() -> None:
    found = judged(tag("lumbar_spine"), coarse(others=0.99))
    assert (found.verdict, found.severity) == (Verdict.CONTRADICTS, Severity.HIGH)


def test_a_clavicle_may_be_called_a_chest_and_is_none_of_the_groups() -> None:
    for answer in (coarse(others=0.99), coarse(adult_chest=0.99)):
        assert judged(tag("clavicle"), answer).verdict is not Verdict.CONTRADICTS


def test_a_chest_is_no_shoulder_although_it_shows_two() -> None:
    assert judged(tag("shoulder"), coarse(adult_chest=0.99)).verdict is Verdict.CONTRADICTS
    assert judged(tag("shoulder"), coarse(others=0.99)).verdict is not Verdict.CONTRADICTS


def test_the_finer_model_contradicts_by_itself() -> None:
    found = judged(tag("knee"), coarse(others=0.999), fine(hand=0.99))
    assert (found.verdict, found.severity, found.answer) == (Verdict.CONTRADICTS, Severity.HIGH, "hand")
    assert found.confidence == pytest.approx(0.99 * 0.99 / (0.99 + 0.01))


def test_a_finer_model_that_names_the_tag_outweighs_others() -> None:
    found = judged(tag("chest"), coarse(others=0.99), fine(chest=0.97))
    assert found.verdict is Verdict.AGREES


def test_what_the_finer_model_says_instead_is_told_before_others() -> None:
    found = judged(tag("chest"), coarse(others=0.999), fine(knee=0.95))
    assert found.answer == "knee"
    assert found.confidence == pytest.approx(0.9995)


def test_a_coarse_model_does_not_agree_where_a_finer_one_doubts() -> None:
    found = judged(tag("lumbar_spine"), coarse(spine=0.999), fine(lumbar_spine=0.2, wrist=0.7))
    assert found.verdict is Verdict.NOT_JUDGED


def test_nothing_is_said_where_no_label_stands_out() -> None:
    assert judged(tag("knee"), fine()).verdict is Verdict.NOT_JUDGED
    assert judged(tag("knee"), fine(knee=0.3, hand=0.4)).verdict is Verdict.NOT_JUDGED


def test_a_neighbor_in_the_same_limb_is_a_medium_fault() -> None:
    found = judged(tag("elbow"), fine(hand=0.99))
    assert (found.verdict, found.severity) == (Verdict.CONTRADICTS, Severity.MEDIUM)
    assert judged(tag("knee"), fine(hand=0.99)).severity is Severity.HIGH


def test_one_of_several_labels_is_enough_to_agree() -> None:
    assert judged(tag("hand"), fine(hand=0.9, wrist=0.9)).verdict is Verdict.AGREES
    assert judged(tag("wrist"), fine(hand=0.9, wrist=0.9)).verdict is Verdict.AGREES
    assert judged(tag("chest", "abdomen"), coarse(abdominal=0.95)).verdict is Verdict.AGREES


def test_a_label_that_is_chosen_below_half_agrees_too() -> None:
    assert judged(tag("knee"), fine(chosen="knee", knee=0.4)).verdict is Verdict.AGREES


def test_the_worst_of_several_tags_counts() -> None:
    answers = [coarse(adult_chest=0.99)]
    unknown = RegionTag("XYZ", None)
    both = checks.body_part([tag("chest"), unknown], answers, "adult_chest", 0.9)
    assert both == Finding(Verdict.UNKNOWN, Severity.MEDIUM, None, "XYZ", "adult_chest")
    worse = checks.body_part([unknown, tag("hand"), tag("chest")], answers, "adult_chest", 0.9)
    assert worse.verdict is Verdict.CONTRADICTS


def test_no_tag_is_missing_and_one_that_names_no_place_is_not_judged() -> None:
    answers = [coarse(adult_chest=0.99)]
    assert checks.body_part([], answers, "adult_chest", 0.9).verdict is Verdict.MISSING
    for codes in ((), (WHOLE,)):
        assert judged(RegionTag("WHOLEBODY", codes), *answers).why is Why.NO_PLACE
    assert judged(RegionTag("X", ("999999999",)), *answers).why is Why.NO_REGION
    assert judged(tag("chest")).why is Why.NO_ANSWER


def view(stated: str | None, least: float = 0.9, **scores: float) -> Finding:
    return checks.view([ViewTag("TAG", stated)], scores, max(scores, key=scores.__getitem__), least)


@pytest.mark.parametrize(
    ("stated", "shown", "verdict", "severity"),
    [
        ("frontal", "lateral", Verdict.CONTRADICTS, Severity.MEDIUM),
        ("lateral", "frontal", Verdict.CONTRADICTS, Severity.MEDIUM),
        ("oblique", "frontal", Verdict.CONTRADICTS, Severity.LOW),
        ("frontal", "oblique", Verdict.CONTRADICTS, Severity.LOW),
        ("lateral", "lateral", Verdict.AGREES, None),
        ("other", "lateral", Verdict.NOT_JUDGED, None),
        (None, "lateral", Verdict.UNKNOWN, Severity.LOW),
    ],
)
def test_views(stated: str | None, shown: str, verdict: Verdict, severity: Severity | None) -> None:
    scores = dict.fromkeys(("frontal", "lateral", "oblique"), 0.01) | {shown: 0.98}
    found = view(stated, **scores)
    assert (found.verdict, found.severity) == (verdict, severity)


def test_a_view_that_is_missing_or_that_no_model_tells() -> None:
    assert checks.view([], {"frontal": 1.0, "lateral": 0.0}, "frontal", 0.9).verdict is Verdict.MISSING
    assert checks.view([ViewTag("AP", "frontal")], {}, "", 0.9).why is Why.NO_ANSWER
    assert view("frontal", frontal=0.3, lateral=0.7, oblique=0.0).why is Why.UNSURE


@pytest.mark.parametrize(
    ("stated", "label", "verdict"),
    [
        ("", "hand", Verdict.MISSING),
        ("L", "hand", Verdict.AGREES),
        ("?", "hand", Verdict.UNKNOWN),
        ("", "chest", Verdict.NOT_JUDGED),
        (None, "hand", Verdict.NOT_JUDGED),
    ],
)
def test_a_side_is_asked_for_where_there_are_two(stated: str | None, label: str, verdict: Verdict) -> None:
    assert checks.laterality(stated, region_of(label)).verdict is verdict


@pytest.mark.parametrize(
    ("stated", "label", "verdict"),
    [
        ("adult", "adult_chest", Verdict.AGREES),
        ("child", "pediatric_chest", Verdict.AGREES),
        ("minor", "pediatric_chest", Verdict.AGREES),
        ("child", "adult_chest", Verdict.CONTRADICTS),
        ("adult", "pediatric_chest", Verdict.CONTRADICTS),
        ("minor", "adult_chest", Verdict.NOT_JUDGED),
        ("teenager", "pediatric_chest", Verdict.NOT_JUDGED),
        ("", "adult_chest", Verdict.MISSING),
        ("?", "adult_chest", Verdict.UNKNOWN),
        ("adult", "spine", Verdict.NOT_JUDGED),
    ],
)
def test_ages(stated: str, label: str, verdict: Verdict) -> None:
    assert checks.age(stated, label, 0.97, 0.9).verdict is verdict


def test_an_age_is_not_contradicted_by_a_doubtful_label() -> None:
    assert checks.age("child", "adult_chest", 0.8, 0.9).why is Why.UNSURE


@pytest.mark.parametrize(
    ("photometric", "reason", "verdict"),
    [
        ("MONOCHROME2", Reason.NONE, Verdict.AGREES),
        ("", Reason.NONE, Verdict.MISSING),
        ("MONOCHROME1", Reason.PERCENTILE_WINDOW, Verdict.CONTRADICTS),
        ("MONOCHROME1", Reason.POLARITY, Verdict.CONTRADICTS),
        ("MONO2", Reason.PHOTOMETRIC_MEANT, Verdict.UNKNOWN),
    ],
)
def test_display(photometric: str, reason: Reason, verdict: Verdict) -> None:
    assert checks.display(photometric, [reason.value]).verdict is verdict


@pytest.mark.parametrize(
    ("stated", "sop_class", "verdict"),
    [
        ("DX", "1.2.840.10008.5.1.4.1.1.1.1", Verdict.AGREES),
        ("CR", "1.2.840.10008.5.1.4.1.1.1", Verdict.AGREES),
        ("CR", "1.2.840.10008.5.1.4.1.1.1.1", Verdict.CONTRADICTS),
        ("DX", "1.2.840.10008.5.1.4.1.1.7", Verdict.NOT_JUDGED),
        ("DR", "1.2.840.10008.5.1.4.1.1.1.1", Verdict.UNKNOWN),
        ("", "1.2.840.10008.5.1.4.1.1.1.1", Verdict.MISSING),
        ("DX", None, Verdict.NOT_JUDGED),
    ],
)
def test_modality(stated: str, sop_class: str | None, verdict: Verdict) -> None:
    assert checks.modality(stated, sop_class).verdict is verdict


def findings(**found: Finding) -> tuple[Finding, ...]:
    return tuple(found.get(check.value, Finding(Verdict.AGREES)) for check in Check)


def test_only_what_is_severe_enough_decides_of_an_image() -> None:
    oblique = Finding(Verdict.CONTRADICTS, Severity.LOW, 0.99)
    said = findings(view=oblique, modality=Finding(Verdict.MISSING, Severity.LOW))
    assert overall(said, Severity.LOW) == (Check.VIEW, oblique)
    check, verdict = overall(said, Severity.MEDIUM)
    assert (check, verdict.verdict) == (Check.BODY_PART, Verdict.AGREES)


def test_of_checks_that_agree_the_first_decides() -> None:
    part, view = Finding(Verdict.AGREES, None, 0.8), Finding(Verdict.AGREES, None, 0.99)
    assert overall(findings(body_part=part, view=view), Severity.MEDIUM) == (Check.BODY_PART, part)


def test_the_worst_check_decides_of_an_image() -> None:
    missing, wrong = Finding(Verdict.MISSING, Severity.MEDIUM), Finding(Verdict.CONTRADICTS, Severity.MEDIUM)
    assert overall(findings(body_part=missing, age=wrong), Severity.MEDIUM) == (Check.AGE, wrong)
    check, verdict = overall(findings(body_part=missing), Severity.HIGH)
    assert (check, verdict.verdict) == (None, Verdict.NOT_JUDGED)
