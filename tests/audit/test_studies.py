"""What a study shows, and which of its images does not belong."""

import pytest

from dicomsort.audit.judge import Case, Judged, Shown
from dicomsort.audit.studies import Studies, Study
from dicomsort.audit.tags import Tags
from dicomsort.audit.verdicts import Finding, Severity, Verdict, Why
from dicomsort.model.anatomy import region_of

AGREES = Finding(Verdict.AGREES)


def seen(label: str, verdict: Finding = AGREES, sure: bool = True) -> Judged:
    case = Case(Tags(), None, Why.NONE, label, "", (), None, Shown(label, region_of(label)), 0, (AGREES,) * 3)
    return Judged((AGREES,) * 6, None, verdict, sure, case)


def studies(*images: tuple[str, int, Judged]) -> list[Study]:
    found = Studies()
    for image in images:
        found.add(*image)
    return list(found.all())


def one_study(*labels: str, accession: int = 0) -> Study:
    (found,) = studies(*(("1.2", accession, seen(label)) for label in labels))
    return found


@pytest.mark.parametrize(
    ("labels", "odd"),
    [
        (("chest", "chest", "hand"), 2),
        (("hand", "chest", "adult_chest", "clavicle"), 0),
        (("chest", "hand"), None),  # which of two cannot be told
        (("chest", "hand", "knee"), None),
        (("chest", "chest", "hand", "hand"), None),
        (("chest", "chest", "clavicle"), None),
        (("hip", "pelvis", "thigh"), None),
        (("others", "chest", "chest", "hand"), None),  # not all are known
    ],
)
def test_the_odd_one_out(labels: tuple[str, ...], odd: int | None) -> None:
    assert one_study(*labels).odd == odd


def test_an_image_that_is_not_sure_makes_none_odd() -> None:
    (found,) = studies(("1", 0, seen("chest")), ("1", 0, seen("chest")), ("1", 0, seen("hand", sure=False)))
    assert (found.odd, found.unshared) == (None, 0)


def test_images_that_share_their_anatomy_with_none_of_the_same_accession() -> None:
    images = [
        ("1", 7, seen("hand")),
        ("1", 7, seen("chest")),
        ("2", 7, seen("clavicle")),
        ("3", 8, seen("knee")),
    ]
    assert [one.unshared for one in studies(*images)] == [1, 0, 0]
    assert one_study("hand", "chest").unshared == 2
    assert one_study("hand", "finger").unshared == 0
    assert one_study("hand").unshared == 0


def test_a_study_is_as_bad_as_its_worst_image() -> None:
    wrong = Finding(Verdict.CONTRADICTS, Severity.MEDIUM, 0.96875)
    worse = Finding(Verdict.CONTRADICTS, Severity.HIGH, 0.9375)
    (found,) = studies(("1", 0, seen("hand", wrong)), ("1", 0, seen("hand", worse)), ("1", 0, seen("hand")))
    assert found.verdict == worse
    assert found.images == 3


def test_what_a_study_shows_and_where_that_lies_the_most_frequent_first() -> None:
    content = one_study("hand", "chest", "hand", "others").content
    assert content.labels == (("hand", 2), ("chest", 1), ("others", 1))
    assert [region.meaning for region in content.regions] == ["Hand", "Chest"]
    assert [region.meaning for region in content.mado] == ["Upper limb", "Upper trunk"]


def test_images_without_the_uid_of_a_study_make_none_together() -> None:
    assert [
        one.uid for one in studies(("", 0, seen("hand")), ("1", 0, seen("knee")), ("", 0, seen("hand")))
    ] == ["1"]


def test_the_images_of_a_study_need_not_stand_together() -> None:
    found = studies(
        ("1", 0, seen("hand")), ("2", 0, seen("knee")), ("1", 0, seen("hand")), ("1", 0, seen("knee"))
    )
    assert [(one.uid, one.images, one.odd) for one in found] == [("1", 3, 3), ("2", 1, None)]
