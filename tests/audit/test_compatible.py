"""Which regions go together: by the tree, and by what one film may rightly show."""

import csv
from pathlib import Path

import pytest

from dicomsort.audit import compatible
from dicomsort.audit.compatible import holders, is_compatible, overlaps, severity_of
from dicomsort.audit.verdicts import Severity
from dicomsort.model.anatomy import WHOLE, Region, region_of, regions


def region(label: str) -> Region:
    found = region_of(label)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("tag", "shown"),
    [
        ("chest", "adult_chest"), ("thoracic_spine", "spine"), ("spine", "lumbar_spine"), ("finger", "hand"),
        ("hand", "finger"), ("ribs", "chest"), ("clavicle", "chest"),
        ("hip", "pelvis"), ("thigh", "hip"), ("femur", "hip"), ("hand", "wrist"), ("orbit", "skull"),
        ("dental", "skull"), ("abdomen", "pelvis"), ("sacrum", "pelvis"), ("extremity", "hand"),
        ("ribs", "abdomen"), ("orbit", "sinus"), ("facial_bones", "sinus"), ("coccyx", "lumbar_spine"),
    ],
)  # fmt: skip
def test_what_one_film_may_rightly_show(tag: str, shown: str) -> None:
    assert is_compatible(region(tag), region(shown))
    assert is_compatible(region(shown), region(tag))


@pytest.mark.parametrize(
    ("tag", "shown"),
    [
        ("hand", "foot"), ("hand", "elbow"), ("chest", "abdomen"), ("chest", "thoracic_spine"),
        ("shoulder", "chest"), ("cervical_spine", "dental"),
        ("lumbar_spine", "abdomen"), ("lumbar_spine", "cervical_spine"), ("skull", "chest"), ("knee", "hip"),
        ("extremity", "chest"), ("wrist", "ankle"),
    ],
)  # fmt: skip
def test_what_no_one_film_is_called(tag: str, shown: str) -> None:
    assert not is_compatible(region(tag), region(shown))


def test_the_entire_body_holds_everything_and_joins_nothing() -> None:
    assert holders(regions()[WHOLE]) == ()
    assert all(WHOLE not in holders(one) for one in regions().values())


def test_a_region_of_a_bundle_counts_by_its_parent() -> None:
    own = Region("123456789", "Left index finger", region("finger").code)
    assert is_compatible(own, region("hand"))
    assert not is_compatible(own, region("foot"))


def test_the_table_names_known_regions_each_pair_once_and_says_why() -> None:
    with (Path(compatible.__file__).parent / "compatible.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 40
    assert len(overlaps()) == 2 * len(rows)
    known = regions()
    for row in rows:
        assert row["why"]
        assert {row["one"], row["other"]} <= set(known)


def test_neighbors_share_an_anatomical_region_of_mado() -> None:
    assert severity_of([region("hand")], [region("elbow")]) is Severity.MEDIUM
    assert severity_of([region("hand")], [region("foot")]) is Severity.HIGH
    assert severity_of([region("hand")], []) is Severity.HIGH
