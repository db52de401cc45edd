"""What a training makes of a split: counted, explained, and with classes that are too rare for it."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from program import inside
from trainings import SMALL, table

from dicomsort.data.dataset import PARTS, TEST, TRAIN, VALIDATION, Sample
from dicomsort.data.division import division_of
from dicomsort.data.rare import RareClassError, RareRule, applied, chained
from dicomsort.data.targets import heads_of
from dicomsort.errors import UsageError
from dicomsort.training.dividing import Divided, SplitOptions, divide, fold


def samples_of(classes: dict[str, list[int]]) -> list[Sample]:
    """Images of patients of one class each: how many every patient has, by class."""
    made: list[Sample] = []
    for label, sizes in classes.items():
        for patient, size in enumerate(sizes):
            for _ in range(size):
                name = str(len(made))
                made.append(Sample(name, name, (label,), f"{label} {patient}", f"{len(made):016x}"))
    return made


def divided(samples: list[Sample], rule: RareRule | None = None, hold_out: tuple[str, ...] = ()) -> Divided:
    how = SplitOptions(None, None, hold_out, None, rule or RareRule())
    return divide(samples, heads_of(samples, ()), how, seed=0)


def test_a_split_is_counted_by_class() -> None:
    found = divided(samples_of({"a": [1] * 20, "b": [2] * 20}))
    assert found.division.images == {"train": 42, "validation": 9, "test": 9}
    assert {label: sum(counts.values()) for label, counts in found.division.labels["label"].items()} == {
        "a": 20,
        "b": 40,
    }
    assert found.division.labels["label"]["b"] == {"train": 28, "validation": 6, "test": 6}
    assert found.division.labels["label"]["a"] == {"train": 14, "validation": 3, "test": 3}
    assert list(found.division.lines()) == []


@pytest.mark.parametrize(
    ("classes", "line"),
    [
        (
            {"a": [100] + [1] * 20, "b": [1] * 200},
            "split: of 'a', 0.83 are for train instead of 0.70: one patient has 100 of 120 images",
        ),
        (
            {"a": [1] * 4, "b": [1] * 200},
            "split: of 'a', 0.50 are for train instead of 0.70: there are only 4 images",
        ),
        (
            {"a": [3] * 3, "b": [1] * 200},
            "split: of 'a', 0.33 are for train instead of 0.70: its 9 images are of only 3 patients",
        ),
    ],
)
def test_what_is_off_by_more_than_two_in_a_hundred_is_told_with_its_cause(
    classes: dict[str, list[int]], line: str
) -> None:
    """Ten of 'a' in each of the other parts, say, are 0.083: the least that one hundred leave."""
    assert line in list(divided(samples_of(classes)).division.lines())


def test_many_rare_classes_are_told_in_a_few_lines() -> None:
    samples = samples_of({f"c{n}": [1] * 3 for n in range(12)})
    lines = list(divided(samples).division.lines())
    assert len(lines) == 6
    assert lines[-1] == "split: 8 more classes are off by more than 0.02"


def test_a_split_that_is_given_is_counted_and_not_blamed() -> None:
    samples = [
        replace(one, part=PARTS[at % 3]) for at, one in enumerate(samples_of({"a": [1] * 9, "b": [1] * 9}))
    ]
    found = divided(samples)
    assert found.division.labels["label"]["a"] == {"train": 3, "validation": 3, "test": 3}
    assert (found.division.drifts, found.made) == ((), ())


def test_of_what_is_not_held_out_a_share_is_validated_with() -> None:
    samples = [
        replace(one, metadata={"site": "x" if at % 4 == 0 else "y"})
        for at, one in enumerate(samples_of({"a": [1] * 80, "b": [1] * 80}))
    ]
    found = divided(samples, hold_out=("site=x",))
    assert found.division.images == {"train": 102, "validation": 18, "test": 40}
    assert found.division.drifts == ()


RARE = {"a": [1] * 20, "b": [1] * 20, "x": [5], "y": [1, 1]}


def test_rare_classes_are_refused_unless_said_otherwise() -> None:
    with pytest.raises(
        RareClassError, match=r"class 'y' \(2 files\) in every part.*--rare leave-out"
    ) as told:
        divided(samples_of(RARE))
    assert set(told.value.labels) == {("label", "x"), ("label", "y")}


def test_rare_classes_are_left_out_and_told() -> None:
    found = divided(samples_of(RARE), RareRule.of("leave-out", None))
    assert found.heads[0].labels == ("a", "b")
    assert Counter(sample.label for sample in found.samples) == {"a": 20, "b": 20}
    assert list(found.warnings()) == [
        "class 'x' of 'label' is too rare for the split (5 images): left out",
        "class 'y' of 'label' is too rare for the split (2 images): left out",
    ]
    assert found.renamed == {"label": {"x": "", "y": ""}}


def test_rare_classes_are_merged_into_one_that_is_there_or_new() -> None:
    found = divided(samples_of(RARE), RareRule.of(None, "rest"))
    assert Counter(sample.label for sample in found.samples) == {"a": 20, "b": 20, "rest": 7}
    assert found.division.labels["label"]["rest"] == {"train": 5, "validation": 1, "test": 1}
    into = divided(samples_of(RARE), RareRule.of("merge", "b"))
    assert Counter(sample.label for sample in into.samples) == {"a": 20, "b": 27}


def test_what_stays_too_rare_when_merged_is_refused() -> None:
    with pytest.raises(RareClassError, match="class 'rest'"):
        divided(samples_of({"a": [1] * 20, "b": [1] * 20, "y": [1, 1]}), RareRule.of(None, "rest"))
    with pytest.raises(UsageError, match="fewer than two classes"):
        divided(samples_of({"a": [1] * 20, "y": [1, 1]}), RareRule.of("leave-out", None))


def test_several_labels_lose_the_rare_one_and_numbers_of_a_binary_head_none() -> None:
    samples = samples_of({"a": [1] * 20, "b": [1] * 20, "a|x": [1, 1]})
    found = divided(samples, RareRule.of("leave-out", None))
    assert Counter(sample.label for sample in found.samples) == {"a": 22, "b": 20}
    assert (found.heads[0].kind, found.heads[0].labels) == ("multilabel", ("a", "b"))
    with pytest.raises(RareClassError, match="class '1'"):
        divided(samples_of({"0": [1] * 20, "1": [1]}), RareRule.of("leave-out", None))


def test_a_given_split_without_a_class_to_validate_with_counts_as_too_rare() -> None:
    samples = [
        replace(one, part=TRAIN if one.label == "x" else PARTS[at % 3])
        for at, one in enumerate(samples_of({"a": [1] * 9, "b": [1] * 9, "x": [1] * 9}))
    ]
    assert divided(samples).heads[0].labels == ("a", "b", "x")
    assert divided(samples, RareRule.of("leave-out", None)).heads[0].labels == ("a", "b")


def test_folds_leave_rare_classes_out_too() -> None:
    samples = samples_of(RARE)
    how = SplitOptions(None, None, (), "5", RareRule.of("leave-out", None))
    found = fold(samples, heads_of(samples, ()), how, seed=0)
    assert len(found.folds) == 5
    assert {sample.label for sample in found.samples} == {"a", "b"}


@pytest.mark.parametrize(
    ("how", "name", "message"),
    [
        ("merge", None, "say into which class, with --merge-rare NAME"),
        ("leave-out", "rest", "--merge-rare and --rare leave-out exclude each other"),
        ("drop", None, "--rare 'drop' is unknown"),
        (None, "../x", "--merge-rare: "),
        (None, "", "--merge-rare: "),
    ],
)
def test_a_rule_that_is_none_is_refused(how: str | None, name: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RareRule.of(how, name)


def test_rare_classes_are_not_merged_into_what_looks_like_another_class() -> None:
    samples = samples_of(RARE)
    how = SplitOptions(None, None, (), None, RareRule.of(None, "A"))
    with pytest.raises(UsageError, match="a and A count as one"):
        divide(samples, heads_of(samples, ()), how, seed=0)


def test_two_renamings_are_one_after_the_other() -> None:
    assert chained({"h": {"x": "rest"}}, {"h": {"rest": "", "y": "z"}}) == {
        "h": {"x": "", "rest": "", "y": "z"}
    }
    samples = samples_of({"x": [1], "y": [1], "k": [1]})
    assert [one.label for one in applied(samples, ["h"], {"h": {"x": "", "y": "z"}})] == ["z", "k"]


def test_labels_of_a_binary_head_are_counted_by_name() -> None:
    samples = [replace(one, targets=(str(at % 2),)) for at, one in enumerate(samples_of({"a": [1] * 4}))]
    split = dict(zip((one.sha256 for one in samples), (TRAIN, VALIDATION, TEST, TEST), strict=True))
    found = division_of(samples, heads_of(samples, ("metal",)), split)
    assert found.labels == {
        "metal": {
            "no_metal": {"train": 1, "validation": 0, "test": 1},
            "metal": {"train": 0, "validation": 1, "test": 1},
        }
    }


def test_the_program_prints_the_split_and_measures_what_it_left_out_the_same_way(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = table(tmp_path / "data", 26, patient=[f"p{n}" for n in range(26)])
    lines = data.read_text().splitlines()
    data.write_text(
        "\n".join(
            [*lines[:-2], *(line.replace("bright", "rare").replace("dark", "rare") for line in lines[-2:])]
        )
        + "\n"
    )
    words = ("train", data, "--target", "light", *SMALL, "--epochs", "1")
    refused = inside(capfd, *words, "--out", tmp_path / "m")
    assert (refused.code, "no split has class 'rare' (2 files) in every part" in refused.err) == (2, True)
    ran = inside(capfd, *words, "--out", tmp_path / "m", "--rare", "leave-out")
    assert ran.code == 0, ran.err
    shown = [line.split() for line in ran.out.splitlines()]
    assert ["light", "images", "train", "validation", "test"] in shown
    assert ["all", "24", "16", "4", "4"] in shown
    assert ["bright", "12", "8", "2", "2"] in shown
    assert "class 'rare' of 'light' is too rare for the split (2 images): left out" in ran.err
    assert "split: of all images, 0.67 are for train instead of 0.70: there are only 24 images" in ran.err
    again = inside(capfd, *words, "--out", tmp_path / "m", "--rare", "leave-out", "--resume", "--json")
    assert again.json["split"]["labels"]["light"]["dark"] == {"train": 8, "validation": 2, "test": 2}
    assert again.json["rare"] == {"light": {"rare": ""}}
    asked = ("--model", tmp_path / "m", "--bootstrap", "0", "--part", "all", "--workers", "1", "--json")
    measured = inside(capfd, "eval", data, "--target", "light", *asked)
    assert measured.code == 0, measured.err
    assert measured.json["images"] == 24
    assert "class 'rare' of 'light' is too rare for the split (2 images): left out" in measured.err
