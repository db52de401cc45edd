"""Evidence: what a header may do to a label, what it may not, and what a bundle may hold of it."""

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from predictors import ROUTER_LABELS

from dicomsort.errors import ModelError, UsageError
from dicomsort.model import bundle as bundles
from dicomsort.model.bundle import Bundle
from dicomsort.model.evidence import Evidence, Rule, check_source, decide_with
from dicomsort.model.heads import Decision, Head, decide
from dicomsort.outcome import Facts, Reason

HEAD = Head(
    "group", ROUTER_LABELS, review_below=0.9
)  # abdominal, adult_chest, others, pediatric_chest, spine
EVIDENCE = Evidence(
    (
        Rule("age=adult", {"adult_chest": 0, "pediatric_chest": math.log(1 / 40)}, "fitted", 300),
        Rule("age=child", {"adult_chest": math.log(1 / 40), "pediatric_chest": 0}, "fitted", 300),
        Rule("modality=IO", {**dict.fromkeys(ROUTER_LABELS, math.log(1 / 1000)), "others": 0}, "stated"),
        Rule("modality=XA", {"spine": math.log(1 / 5), "others": 0, "abdominal": 0}, "stated"),
    )
)


def decided(scores: Sequence[float], *facts: str, review_below: float | None = None) -> Decision:
    pixels = decide(np.asarray(scores), HEAD, review_below)
    return decide_with(EVIDENCE, pixels, facts, HEAD, review_below)


def test_the_age_decides_where_the_pixels_do_not() -> None:
    one = decided([0, 0.2, 0, 0.8, 0], "age=adult")
    # by hand: 0.2 against 0.8 / 40 = 0.02, of a sum of 1
    assert one.scores == pytest.approx([0, 0.2 / 0.22, 0, 0.02 / 0.22, 0])
    assert (one.label, one.pixel_label, one.pixel_confidence) == ("adult_chest", "pediatric_chest", 0.8)
    assert one.evidence == ("age=adult",)
    assert not one.review


def test_labels_that_the_pixels_find_impossible_stay_where_they_are() -> None:
    one = decided([0.3, 0.009, 0.091, 0.6, 0], "modality=IO")
    # 0.3, 0.091 and 0.6 are possible, 0.991 together; 0.009 is not, and stays
    left = 0.3 / 1000 + 0.091 + 0.6 / 1000
    wanted = [0.0003 * 0.991 / left, 0.009, 0.091 * 0.991 / left, 0.0006 * 0.991 / left, 0]
    assert one.scores == pytest.approx(wanted)
    assert sum(one.scores) == pytest.approx(1)


def test_an_age_moves_nothing_to_labels_that_it_says_nothing_of() -> None:
    one = decided([0.04, 0.8, 0.1, 0.05, 0.01], "age=child")
    # by hand: 0.8 / 40 = 0.02 against 0.05, of 0.85 together
    assert one.scores == pytest.approx([0.04, 0.02 * 0.85 / 0.07, 0.1, 0.05 * 0.85 / 0.07, 0.01])
    stays = decided([0.04, 0.8, 0.15, 0.005, 0.005], "age=child")
    assert stays.scores == (0.04, 0.8, 0.15, 0.005, 0.005)
    assert stays.why == (Reason.BELOW_THRESHOLD, Reason.CONTRADICTION)


def test_sure_pixels_are_never_overridden_a_person_looks() -> None:
    for scores in ([0, 0.97, 0, 0.03, 0], [0, 1.0, 0, 0, 0]):
        one = decided(scores, "age=child")
        assert (one.label, one.confidence, one.scores) == ("adult_chest", scores[1], tuple(scores))
        assert one.why == (Reason.CONTRADICTION,)
        assert one.evidence == ("age=child",)
    assert decided([0, 0.97, 0, 0.03, 0], "age=adult").why == ()


def test_a_label_that_the_header_rules_against_and_that_stays_goes_to_review_whatever_the_threshold() -> None:
    alone = decided([0.0, 0.994, 0, 0.006, 0.0], "age=child", review_below=0.999)
    assert alone.label == "adult_chest"
    assert Reason.CONTRADICTION in alone.why
    assert Reason.CONTRADICTION in decided([0, 1, 0, 0, 0], "age=child", review_below=0).why


def test_a_weak_rule_tips_but_contradicts_nothing() -> None:
    assert decided([0, 0, 0.05, 0, 0.95], "modality=XA").why == ()
    assert decided([0, 0, 0.4, 0, 0.6], "modality=XA").label == "others"


def test_facts_multiply_and_those_without_a_rule_change_nothing() -> None:
    both = decided([0, 0.3, 0.1, 0.6, 0], "age=child", "modality=IO")
    # by hand: first 0.3 / 40 = 0.0075 against 0.6, of 0.9; then these against 0.1
    chests = (0.0075 + 0.6) * 0.9 / 0.6075 / 1000
    assert both.scores[2] == pytest.approx(0.1 / (0.1 + chests))
    assert both.evidence == ("age=child", "modality=IO")
    plain = decide(np.array([0, 0.3, 0.1, 0.6, 0]), HEAD)
    assert decide_with(EVIDENCE, plain, ("age=teenager",), HEAD) is plain
    assert (plain.pixel_label, plain.evidence) == ("pediatric_chest", ())


def test_scores_add_up_to_one_and_order_only_changes_as_the_ratios_say() -> None:
    generator = np.random.default_rng(0)
    facts: list[Facts] = [("age=adult",), ("age=child",), ("modality=IO",), ("age=child", "modality=XA")]
    for number in range(400):
        scores = generator.dirichlet([0.3] * 5)
        said = facts[number % 4]
        one = decided(list(scores), *said)
        assert sum(one.scores) == pytest.approx(1)
        assert min(one.scores) >= 0
        if one.label != one.pixel_label:
            assert one.pixel_confidence < HEAD.review_below
            told = [rule.log_ratios for rule in EVIDENCE.rules if rule.fact in said]
            stays = scores[HEAD.labels.index(one.label)] == pytest.approx(one.confidence)
            assert stays or any(ratios.get(one.label) == 0 for ratios in told)


def test_a_bundle_keeps_its_evidence_which_is_part_of_its_name(small_bundle: Bundle, tmp_path: Path) -> None:
    with_it = replace(small_bundle, evidence=EVIDENCE)
    with_it.save(tmp_path / "m")
    loaded = bundles.load(tmp_path / "m")
    assert loaded.evidence == EVIDENCE
    assert loaded.digest == with_it.digest != small_bundle.digest
    stronger = replace(EVIDENCE, possible=0.2)
    assert replace(small_bundle, evidence=stronger).digest != with_it.digest


def test_a_bundle_without_evidence_looks_at_pixels_alone(small_bundle: Bundle) -> None:
    outputs = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    facts: list[Facts] = [("age=child", "modality=IO")] * 6
    assert small_bundle.decisions(outputs, 0.5, facts) == small_bundle.decisions(outputs, 0.5)
    weighing = replace(small_bundle, evidence=EVIDENCE)
    assert weighing.decisions(outputs, 0.5) == small_bundle.decisions(outputs, 0.5)
    assert weighing.decisions(outputs, 0.5, facts) != small_bundle.decisions(outputs, 0.5)


RULE: dict[str, Any] = {
    "fact": "age=adult",
    "log_ratios": {"spine": -1.0, "others": 0},
    "basis": "x",
    "images": 3,
}
HOSTILE: list[tuple[Any, str]] = [
    ({"rules": [{**RULE, "log_ratios": {"spine": math.nan, "others": 0}}]}, "not numbers from -20 to 0"),
    ({"rules": [{**RULE, "log_ratios": {"spine": -math.inf, "others": 0}}]}, "not numbers from -20 to 0"),
    ({"rules": [{**RULE, "log_ratios": {"spine": 3, "others": 0}}]}, "not numbers from -20 to 0"),
    ({"rules": [{**RULE, "log_ratios": {"spine": -(10**400), "others": 0}}]}, "is damaged"),
    ({"rules": [{**RULE, "log_ratios": {"spine": "-1", "others": 0}}]}, "not numbers from -20 to 0"),
    ({"rules": [{**RULE, "log_ratios": {"spine": True, "others": 0}}]}, "not numbers from -20 to 0"),
    ({"rules": [{**RULE, "log_ratios": {"spine": -1, "others": -2}}]}, "and 0 for one"),
    ({"rules": [{**RULE, "log_ratios": {}}]}, "not numbers from -20 to 0"),
    (
        {"rules": [{**RULE, "log_ratios": {"hand": -1, "others": 0}}]},
        "a label that head 'label' does not have",
    ),
    ({"rules": [{**RULE, "fact": "body_part_examined=CHEST"}]}, "unknown fact"),
    ({"rules": [{**RULE, "fact": ["age=adult"]}]}, "is damaged"),
    ({"rules": [RULE, RULE]}, "two rules are for one fact"),
    ({"rules": [{**RULE, "images": -1}]}, "no whole number"),
    ({"rules": [{**RULE, "basis": "a\nb"}]}, "no text"),
    ({"rules": [{**RULE, "more": 1}]}, "is damaged"),
    ({"rules": [{"fact": "age=adult"}]}, "is damaged"),
    ({"rules": [RULE], "possible": 0}, "between 0 and 1"),
    ({"rules": [RULE], "possible": math.nan}, "between 0 and 1"),
    ({"rules": [RULE], "possible": "0.1"}, "between 0 and 1"),
    ({"rules": [RULE], "surprise": 1}, "is damaged"),
    ({"rules": 3}, "is damaged"),
    ({}, "is damaged"),
    ([], "is damaged"),
    ("header", "is damaged"),
    (7, "is damaged"),
]


@pytest.mark.parametrize(("evidence", "line"), HOSTILE)
def test_hostile_evidence_is_refused_in_one_line(
    evidence: Any, line: str, small_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "m"
    shutil.copytree(small_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "evidence": evidence}))
    with pytest.raises(ModelError) as caught:
        bundles.load(folder)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_evidence_is_for_a_multiclass_head(small_bundle: Bundle) -> None:
    several = replace(small_bundle.head, kind="multilabel")
    with pytest.raises(ValueError, match="not multiclass"):
        replace(small_bundle, head=several, evidence=EVIDENCE)


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(UsageError, match="use header, pixels"):
        check_source("tags")
