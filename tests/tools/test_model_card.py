"""The measured parts of a card: whose figures, whose pictures, and that nothing else changes."""

import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import card_failures
import model_card
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from predictors import ROUTER_LABELS, FixedPredictor

from dicomsort.data.dataset import Sample, content_hash
from dicomsort.errors import ExitCode, UsageError
from dicomsort.imaging.contact_sheet import Tile
from dicomsort.model import load
from dicomsort.model.bundle import Bundle
from dicomsort.model.evidence import Evidence, Rule
from dicomsort.model.heads import Head

MARKS = "\n".join(
    f"<!-- BEGIN {block} -->\nold\n<!-- END {block} -->\nmy words" for block in model_card.BLOCKS
)
LICENCES = ("CC BY 4.0", "CC BY-NC 4.0", "CC BY 4.0 (unverified)", "unstated or research use", "")
HEADS = {
    "group": Head("label", ROUTER_LABELS, review_below=0.6),
    "signs": Head("signs", ("x", "y"), kind="multilabel", thresholds=(0.3, 0.4)),
    "ill": Head("ill", ("no_ill", "ill"), kind="binary"),
    "tree": Head("tree", ROUTER_LABELS, parents={"abdominal": "others"}, rare=("abdominal",)),
}
AGE = Rule("age=child", {"adult_chest": -9.0, "pediatric_chest": 0.0}, "stated: for this test")


class Stub(FixedPredictor):
    """Answers by brightness, with as many outputs as the bundle has."""

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        said = super().logits(images)[:, : self.bundle.outputs]
        return np.pad(said, ((0, 0), (0, self.bundle.outputs - said.shape[1])))


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Thirty pictures as bright as their group wants, but for every fourth; five licences, three parts."""
    levels, rows = np.linspace(20, 200, len(ROUTER_LABELS)), []
    for number in range(30):
        group = number % 5
        gray = np.random.default_rng(number).normal(levels[(group + (number % 4 == 0)) % 5], 5, (40, 40))
        Image.fromarray(np.clip(gray, 0, 255).astype(np.uint8)).save(tmp_path / f"secret{number}.png")
        rows.append({
            "file": f"secret{number}.png", "group": ROUTER_LABELS[group],
            "tree": ROUTER_LABELS[group], "age": "5" if group == 3 else "",
            "signs": ("x", "x|y", "")[number % 3], "ill": number % 2,
            "patient": f"P{number // 2}", "dataset": f"set{number % 5}", "view": "AP",
            "licence": LICENCES[(number // 4) % 5], "ambiguous": int(number == 7), "source_repo": "a/b",
        })  # fmt: skip
    with (tmp_path / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path / "labels.csv"


def written(
    target: str, labels: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, *more: str
) -> tuple[str, Path]:
    """Run the tool for a bundle whose test part are the first twenty pictures."""
    hashes = [content_hash(labels.parent / f"secret{number}.png") for number in range(28)]
    parts = ["test"] * 20 + ["train"] * 5 + ["validation"] * 3
    folder = labels.parent / target
    made = replace(bundle, name=target, head=HEADS[target], split=dict(zip(hashes, parts, strict=True)))
    made.save(folder)
    (folder / "README.md").write_text(f"before\n{MARKS}\nafter\n")

    @contextmanager
    def stub(bundle: Bundle, *_: str) -> Iterator[FixedPredictor]:
        yield Stub(bundle)

    monkeypatch.setattr(load, "predictor_for", stub)
    words = [str(labels), "--model", str(folder), "--target", target, "--bootstrap", "40", "--workers", "1"]
    monkeypatch.setattr("sys.argv", ["model_card.py", *words, *more])
    model_card.main()
    return (folder / "README.md").read_text(), folder


def test_only_what_is_between_the_marks_changes(
    labels: Path, small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, folder = written("group", labels, small_bundle, monkeypatch)
    for block in model_card.BLOCKS:
        text = model_card.put(text, block, "old")
    assert text == f"before\n{MARKS}\nafter\n"
    again, _ = written("group", labels, small_bundle, monkeypatch)
    assert again == (folder / "README.md").read_text()


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("group", (
            "on the 20 images of the test part", "of the 10 patients", "| **macro** | 0.750",
            "Accuracy 0.750", "| **macro, without ambiguous images** |", "5 of 20 images are wrong",
            "balanced accuracy over the 8 images of either", "Review threshold 0.6000",
            "| set0 | 4 | 1 |", "| set0 | abdominal | adult_chest | 1 | 1 |",
        )),
        ("signs", ("on the 14 images", "Macro F1", "subset accuracy", "| x | 0.300 |", "| y | 0.400 |")),
        ("ill", ("10 images with `ill`, 10 without", "| ROC AUC |", "| sensitivity |", "| specificity |",
                 "| truth \\ answer | no_ill | ill |", "| data set | images | with ill | wrong | ROC AUC |")),
    ],
)  # fmt: skip
def test_figures_of_each_kind(
    target: str,
    expected: tuple[str, ...],
    labels: Path,
    small_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text, _ = written(target, labels, small_bundle, monkeypatch)
    plain = " ".join(text.split())
    for words in expected:
        assert words in plain
    assert "secret" not in text
    assert "P1" not in text
    assert str(labels.parent) not in text
    assert "nan" not in text


def test_a_guarantee_is_told_for_each_head(
    labels: Path, small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = {"images": 600, "right": 600, "patients": 600, "lower_bound": 0.99502, "enough": True}
    promise = {
        "target": 0.995, "confidence": 0.95, "guaranteed": True, "threshold": 0.6, "images": 600, "wrong": 0,
        "patients": 600, "patients_wrong": 0, "lower_bound": 0.99502, "coverage": 0.9,
        "by_label": {"spine": bound, "others": {**bound, "enough": False}},
    }  # fmt: skip
    told = replace(small_bundle, metrics={"validation": [{"head": "label", "guarantee": promise}]})
    text = " ".join(written("group", labels, told, monkeypatch)[0].split())
    assert "* 'label', review threshold 0.6000: with 95% confidence at least 99.5%" in text
    assert "each of these labels alone: others" in text


def test_labels_with_few_training_images_are_listed_with_what_is_answered(
    labels: Path, small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, _ = written("tree", labels, small_bundle, monkeypatch)
    assert "| label | training images | answered as |" in text
    assert "| abdominal | 1 | others |" in text
    assert "| spine | 1 | itself |" in text


def test_the_header_stands_beside_the_pixels_and_moves_no_other_figure(
    labels: Path, small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, _ = written("group", labels, small_bundle, monkeypatch)
    ruled = replace(small_bundle, evidence=Evidence((AGE,)))
    text, _ = written("group", labels, ruled, monkeypatch)
    before, section = text.split("### With the header's evidence")
    texts = (" ".join(each.split()) for each in (before, plain.split("### Wrong answers")[0]))
    ours, theirs = (re.sub(r"`group@\w+`", "", each) for each in texts)
    assert ours == theirs
    assert "for 4 of the 20 images" in " ".join(section.split()).casefold()
    assert "`age=child` 4" in section
    assert "| `age=child` | adult_chest 1 in 8,103 | stated: for this test |" in section
    assert "| with a fact: accuracy | 4 | 0.750" in section


def test_a_rotation_head_is_shown_all_of_the_test_part(
    labels: Path, small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = Head("rotation", ("0", "90", "180", "270"), review_below=0.9)
    text, _ = written("signs", labels, replace(small_bundle, further=(head,)), monkeypatch)
    plain = " ".join(text.split())
    assert "on the 14 images of the test part" in plain, "the others have no sign"
    assert "All 20 images of the test part" in plain
    assert "| 0° | 20 | 1.000 | 0.000 | - | 1.000 | 0 |" in plain, "it says 0, and is never sure"
    assert "| 90° | 20 | 0.000 | 0.000 | - | 0.000 | 0 |" in plain


def test_sources_are_counted_in_the_parts_of_the_split(
    labels: Path, small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, _ = written("ill", labels, small_bundle, monkeypatch)
    assert "| data set | licence | train | validation | test | images | with ill |" in text
    assert "| **all** |  | 5 | 3 | 20 | 28 | 14 |" in text
    assert "2 more labelled images are in no part" in text
    assert "**CC BY-NC 4.0, non-commercial**" in text


def test_only_pictures_with_a_free_licence_are_shown(
    labels: Path, small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, folder = written("group", labels, small_bundle, monkeypatch)
    assert "shows 1 of them" in text, "0, 4, 8, 12 and 16 are wrong; only 0 is free"
    assert "* set0 (1): copied from a/b; CC BY 4.0\n" in text
    with Image.open(folder / card_failures.PICTURE) as picture:
        assert picture.width < 200
    text, folder = written("group", labels, small_bundle, monkeypatch, "--most", "0")
    assert card_failures.PICTURE not in text
    assert not (folder / card_failures.PICTURE).exists()


@pytest.mark.parametrize(
    ("licence", "free"),
    [
        ("CC BY 3.0", True), ("CC BY 4.0 (as stated by the data source)", True), ("CC BY-NC 4.0", False),
        ("CC BY 4.0 (unverified)", False), ("PDDL 1.0 (unverified)", False), ("", False),
        ("NIH terms: free use with attribution", False), ("unstated or research use", False),
    ],
)  # fmt: skip
def test_free_licences(licence: str, free: bool) -> None:
    sample = Sample("a.png", "a.png", ("x",), "a.png", "0" * 16, metadata={"licence": licence})
    assert card_failures.may_be_shown(sample) == free
    assert not card_failures.may_be_shown(replace(sample, views=("b.png",)))


def test_the_picture_stays_small() -> None:
    chance = np.random.default_rng(0)
    tiles = [
        Tile(chance.integers(0, 256, (224, 224), np.uint8), ("a", "b")) for _ in range(card_failures.MOST)
    ]
    content = card_failures.drawn(tiles)
    assert len(content) <= card_failures.LARGEST == 40_000
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.width > 8 * 48
    assert card_failures.drawn([]) == b""


@pytest.mark.parametrize("text", ["", "<!-- BEGIN data -->", "<!-- END data --><!-- BEGIN data -->"])
def test_missing_marks_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="needs the marks"):
        model_card.put(text, "data", "new")


def test_a_card_without_marks_is_refused_before_anything_is_read(
    small_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["nowhere.csv", "--model", str(small_model), "--target", "group"]
    monkeypatch.setattr("sys.argv", ["model_card.py", *words])
    with pytest.raises(SystemExit) as ended:
        model_card.main()
    assert ended.value.code == ExitCode.USAGE
    assert "README.md" in capsys.readouterr().err
