"""Which tags are corrected, from what is sure and what the header says."""

import pytest

from dicomsort.audit.terms import Terms
from dicomsort.dicom.elements import Code, Tags, Value
from dicomsort.export.answers import Answer
from dicomsort.export.corrections import corrections
from dicomsort.export.kinds import Flaw
from dicomsort.model.anatomy import region_of

CR, DX, IO, XA = (f"1.2.840.10008.5.1.4.1.1.{suffix}" for suffix in ("1", "1.1", "1.3", "12.1"))
CHEST, HAND = region_of("chest"), region_of("hand")
CHEST_CODE, HAND_CODE = ("SCT", "816094009"), ("SCT", "85562004")
TERMS = Terms.load()


def flaws(answer: Answer, **stated: object) -> dict[str, Flaw]:
    return dict(corrections(answer, Tags(**{"sop_class": CR, **stated}), TERMS).flaws)  # type: ignore[arg-type]


def changes(answer: Answer, **stated: object) -> dict[str, Value]:
    return dict(corrections(answer, Tags(**{"sop_class": CR, **stated}), TERMS).changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body_part", "codes", "flaw"),
    [
        ("CHEST", (), None),
        ("chest", (), None),
        ("", (CHEST_CODE,), None),
        ("CHEST", (CHEST_CODE,), None),
        ("", (), Flaw.MISSING),
        ("QUUX", (), Flaw.UNKNOWN),
        ("QUUX", (CHEST_CODE,), None),
        ("HAND", (), Flaw.WRONG),
        ("HAND", (CHEST_CODE,), Flaw.WRONG),
        ("CHEST", (HAND_CODE,), Flaw.WRONG),
        ("RIB", (), None),  # held by the chest
        ("Thorax", (), None),
        ("", (("SRT", "T-D3000"),), None),
        ("", (("99ABC", "17"),), Flaw.UNKNOWN),
        ("WHOLEBODY", (), None),
        ("MISC", (), Flaw.MISSING),
    ],
)
def test_anatomy_is_corrected_where_neither_place_is_right_or_one_is_wrong(
    body_part: str, codes: tuple[tuple[str, str], ...], flaw: Flaw | None
) -> None:
    found = flaws(Answer(CHEST), body_part=body_part, region_codes=codes)
    assert found == ({} if flaw is None else {"anatomy": flaw})


def test_what_is_right_in_one_place_stays_and_the_other_is_put_right() -> None:
    assert changes(Answer(CHEST), body_part="HAND", region_codes=(CHEST_CODE,)) == {
        "BodyPartExamined": "CHEST"
    }
    assert changes(Answer(CHEST), body_part="CHEST", region_codes=(HAND_CODE,)) == {
        "AnatomicRegionSequence": Code("816094009", "Chest")
    }


def test_a_region_without_a_term_of_its_own_gets_that_of_the_nearest_that_holds_it() -> None:
    assert changes(Answer(region_of("facial_bones")))["BodyPartExamined"] == "HEAD"


def test_a_side_goes_with_the_hand_that_had_one_and_room_is_left_for_one_that_is_needed() -> None:
    for sop_class, side in ((CR, None), (DX, "U")):
        words = {"body_part": "HAND", "laterality": "L", "image_laterality": "R", "sop_class": sop_class}
        chest = changes(Answer(CHEST), **words)
        assert (chest["Laterality"], chest["ImageLaterality"]) == (None, side)
    assert changes(Answer(CHEST), body_part="HAND", laterality="")["Laterality"] is None
    assert "Laterality" not in changes(Answer(CHEST), body_part="HAND")
    assert "ImageLaterality" not in changes(
        Answer(CHEST), body_part="HAND", image_laterality="R", sop_class=IO
    )
    assert changes(Answer(HAND), body_part="CHEST")["Laterality"] == ""
    assert "Laterality" not in changes(Answer(HAND), body_part="CHEST", image_laterality="R")
    assert "Laterality" not in changes(Answer(HAND), body_part="CHEST", laterality="R")


@pytest.mark.parametrize(
    ("view", "position", "codes", "flaw"),
    [
        ("frontal", "PA", (), None),
        ("frontal", "", (("SCT", "399348003"),), None),
        ("frontal", "LL", (), Flaw.WRONG),
        ("lateral", "AP", (), Flaw.WRONG),
        ("lateral", "LL", (("SCT", "399033003"),), Flaw.WRONG),
        ("lateral", "", (), Flaw.MISSING),
        ("lateral", "ZZ", (), Flaw.UNKNOWN),
        ("frontal", "RLO", (), None),
        ("oblique", "AP", (), None),
    ],
)
def test_a_view_is_wrong_only_where_frontal_stands_against_lateral(
    view: str, position: str, codes: tuple[tuple[str, str], ...], flaw: Flaw | None
) -> None:
    found = flaws(Answer(view=view), view_position=position, view_codes=codes)
    assert found == ({} if flaw is None else {"view": flaw})


def test_a_view_becomes_a_code_for_no_direction_is_known() -> None:
    assert changes(Answer(view="lateral"), view_position="AP") == {
        "ViewPosition": "",
        "ViewCodeSequence": Code("399067008", "lateral"),
    }


def test_a_view_code_brings_what_its_module_asks_for() -> None:
    assert changes(Answer(view="lateral"), sop_class=DX)["PositionerType"] == ""
    assert "PositionerType" not in changes(Answer(view="lateral"), sop_class=DX, positioner=True)
    assert "PositionerType" not in changes(Answer(view="lateral"), sop_class=CR)


def test_only_objects_that_have_a_view_get_one() -> None:
    assert flaws(Answer(view="lateral"), sop_class=DX) == {"view": Flaw.MISSING}
    assert flaws(Answer(view="lateral"), sop_class=XA) == {}


def test_only_the_flaws_that_are_asked_for_are_corrected() -> None:
    tags = Tags(sop_class=CR, body_part="HAND")
    found = corrections(Answer(CHEST, view="frontal"), tags, TERMS, (Flaw.WRONG,))
    assert found.flaws == {"anatomy": Flaw.WRONG}
    assert set(found.changes) == {"BodyPartExamined", "AnatomicRegionSequence"}


def test_what_is_not_sure_changes_nothing() -> None:
    assert not corrections(Answer(), Tags(sop_class=CR, body_part="HAND"), TERMS)
