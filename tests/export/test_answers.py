"""What is sure of an image, from a row of the manifest."""

from dataclasses import replace
from typing import Any

import pytest

from dicomsort.export.answers import Answer, answer_of
from dicomsort.manifest.reading import Answer as Said
from dicomsort.manifest.reading import ManifestRow
from dicomsort.model.anatomy import region_of
from dicomsort.outcome import Reason, Status

FINE = {"bodypart": Said("hand", 0.95, {}), "view": Said("lateral", 0.97, {})}
ROW = ManifestRow("/a.dcm", Status.SORTED, label="upper_limb", confidence=0.99, further=FINE, model="m@1")


def of(least: float = 0.9, **changes: Any) -> Answer:
    found = answer_of(replace(ROW, **changes), {}, least)
    assert found is not None
    return found


def test_the_finest_region_that_the_models_agree_on_counts() -> None:
    found = of()
    assert (found.region, found.region_confidence) == (region_of("hand"), 0.95)
    assert (found.view, found.view_confidence) == ("lateral", 0.97)
    assert (found.region_by_person, found.decided_by) == (False, "m@1")


def test_what_is_less_sure_than_asked_does_not_count() -> None:
    assert (of(0.96).region, of(0.96).view) == (region_of("upper_limb"), "lateral")
    assert of(0.98).view == ""
    assert answer_of(ROW, {}, 0.995) is None


def test_where_two_sure_models_contradict_each_other_none_is_believed() -> None:
    found = of(label="chest")
    assert (found.region, found.view) == (None, "lateral")


def test_a_person_is_believed_whatever_the_model_thought_of_it() -> None:
    found = of(0.96, label="chest", confidence=0.2, reviewed_label="hand", reasons=(Reason.BELOW_THRESHOLD,))
    assert (found.region, found.region_confidence, found.region_by_person) == (
        region_of("hand"),
        1.0,
        True,
    )


def test_a_person_is_believed_against_models_that_are_sure_of_something_else() -> None:
    found = of(reviewed_label="chest")
    assert (found.region, found.region_confidence) == (region_of("chest"), 1.0)
    assert found.decided_by == "a person, the view by m@1"
    split = {"bodypart": Said("hand", 0.99, {}), "other": Said("elbow", 0.99, {})}
    assert of(reviewed_label="upper_limb", further=split).region == region_of("upper_limb")


def test_what_a_model_says_beyond_a_persons_decision_is_not_told_as_the_persons() -> None:
    finer = of(reviewed_label="upper_limb")
    assert (finer.region, finer.region_confidence) == (region_of("hand"), 0.95)
    assert (finer.region_by_person, finer.decided_by) == (False, "m@1")
    beside = of(reviewed_label="frontal", further={"bodypart": Said("hand", 0.95, {})})
    assert (beside.region, beside.region_by_person) == (region_of("hand"), False)
    assert (beside.view, beside.view_by_person) == ("frontal", True)
    assert beside.decided_by == "m@1, the view by a person"
    assert of(reviewed_label="frontal").view == "frontal"  # though a model says lateral


@pytest.mark.parametrize(
    "changes",
    [
        {"reasons": (Reason.UNLIKE.value,), "status": Status.REVIEW},
        {"reasons": (Reason.CONTRADICTION.value, Reason.BELOW_THRESHOLD.value)},
        {"status": Status.DUPLICATE},
        {"status": Status.EXCLUDED, "reviewed_label": "excluded"},
        {"status": Status.REVIEW, "reviewed_label": "unsure"},
        {"label": "others", "further": {}},
        {"confidence": None, "further": {}},
    ],
    ids=str,
)
def test_what_waits_for_a_person_or_is_no_region_says_nothing(changes: dict[str, Any]) -> None:
    assert answer_of(replace(ROW, **changes), {}, 0.5) is None


def test_of_models_counts_what_they_see_not_what_the_header_has_made_of_it() -> None:
    said: dict[str, Any] = {
        "label": "chest",
        "confidence": 0.99,
        "pixel_label": "upper_limb",
        "pixel_confidence": 0.93,
    }
    found = of(status=Status.REVIEW, reasons=(Reason.CONTRADICTION.value,), **said)
    assert found.region == region_of("hand")
    assert of(0.94, **said).region == region_of("hand")  # by the other model alone
    assert of(0.96, further={"view": Said("lateral", 0.97, {})}, **said).region is None


def test_two_heads_with_different_views_say_none() -> None:
    two = {**FINE, "other": Said("frontal", 0.99, {})}
    assert of(further=two).view == ""


def test_several_labels_mean_what_holds_them_all() -> None:
    assert of(label="", further={"bodypart": Said("hand|wrist", 0.99, {})}).region == region_of("upper_limb")
