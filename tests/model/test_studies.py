"""The rule of a model of whole studies: in which order views stand, and that it is part of the bundle."""

import csv
import json
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

import dicomsort
from dicomsort.errors import ModelError
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.imaging.montage import ROW, laid_out
from dicomsort.model import bundle as bundles
from dicomsort.model.bundle import Bundle
from dicomsort.model.heads import Head
from dicomsort.model.spec import NetworkSpec
from dicomsort.model.studies import KINDS, StudyRule, View, by_name, kind_of

WORDS = {
    "frontal": [
        "AP",
        "pa",
        "AP|PA",
        "LLD",
        "decubitus",
        "LEFT LATERAL DECUBITUS",
        "AP erect",
        "antero-posterior",
    ],
    "lateral": ["LL", "RL", "lateral", "Lat.", "LEFT LATERAL", "ML"],
    "oblique": ["RLO", "LLO", "oblique", "LATERAL OBLIQUE", "AP oblique", "rao"],
    "other": ["AP/LAT", "axial", "sunrise", "frog leg", "Ansicht"],
    "unknown": ["", "  ", "UNKNOWN", "none", "-"],
}
RULE = StudyRule("study")


@pytest.mark.parametrize(("kind", "word"), [(kind, word) for kind, words in WORDS.items() for word in words])
def test_headers_and_tables_name_views_by_many_words(kind: str, word: str) -> None:
    assert kind_of(word) == kind


def test_words_of_the_standard_and_of_english_mean_what_the_audit_takes_them_for() -> None:
    table = Path(dicomsort.__file__).parent / "audit" / "terms_views.csv"
    with table.open(encoding="utf-8", newline="") as file:
        terms = {row["term"]: row["view"] for row in csv.DictReader(file) if row["language"] in ("std", "en")}
    assert terms["AP"] == "frontal"
    ours = {term: kind_of(term) for term in terms}
    known = {term for term, kind in ours.items() if kind not in ("other", "unknown")}
    assert {term for term in known if terms[term] != ours[term]} <= {
        "AXIAL LATERAL",
        "FROG LATERAL",
        "XTABLE AXIAL",
    }
    assert {kind for term, kind in ours.items() if terms[term] in ("lateral", "oblique")} == {
        "lateral",
        "oblique",
    }


def test_a_study_is_ordered_by_the_kind_of_view_and_then_by_name() -> None:
    files = [("", "a"), ("axial", "b"), ("RLO", "c"), ("LL", "d"), ("PA", "f"), ("AP", "e")]
    ordered = sorted(files, key=lambda file: RULE.order(*file))
    assert [name for _, name in ordered] == ["e", "f", "d", "c", "b", "a"]
    assert RULE.order("AP", "x.png") == (0, "x.png")
    assert sorted(files, key=lambda file: by_name("study").order(*file)) == sorted(
        files, key=lambda one: one[1]
    )


def test_the_order_of_views_can_be_another_one() -> None:
    rule = StudyRule("study", views=tuple(reversed(KINDS)))
    assert rule.order("AP", "x") == (4, "x")
    for wrong in (("frontal",), (*KINDS, "frontal"), ("face", *KINDS[1:])):
        with pytest.raises(ValueError, match="must hold each of frontal"):
            StudyRule("study", views=wrong)


def pictures() -> list[View]:
    grays = (("LAT", "1.png", 50), ("AP", "2.png", 100), ("", "0.png", 150))
    return [View(view, name, np.full((64, 64), gray, np.uint8)) for view, name, gray in grays]


def test_the_picture_of_a_study_is_the_same_in_whichever_order_its_images_come() -> None:
    canvas = Preprocessing(size=64)
    wanted = laid_out([pictures()[at].image for at in (1, 0, 2)], canvas)
    for order in permutations(pictures()):
        assert np.array_equal(RULE.joined(order, canvas), wanted)
    lonely = pictures()[0]
    assert RULE.joined([lonely], canvas) is lonely.image


def bundle(study: StudyRule | None, training: dict[str, object]) -> Bundle:
    return Bundle(
        "m", NetworkSpec("x"), Preprocessing(size=32), Head("h", ("a", "b")), {"w": np.zeros(1, np.float32)},
        training=training, study=study,
    )  # fmt: skip


def test_a_bundle_keeps_its_rule_and_another_rule_is_another_model(tmp_path: Path) -> None:
    rule = StudyRule("study", view_column="projection")
    made = bundle(rule, {"recipe": {"concat_by": "study"}})
    made.save(tmp_path / "m")
    told = json.loads((tmp_path / "m" / "config.json").read_text())["study"]
    assert told == {"column": "study", "views": list(KINDS), "view_column": "projection", "layout": "grid"}
    loaded = bundles.load(tmp_path / "m")
    assert (loaded.study, loaded.digest, loaded.concat_by) == (rule, made.digest, "study")
    other = replace(made, study=replace(rule, views=tuple(reversed(KINDS))))
    assert other.digest != made.digest


def test_a_bundle_of_before_is_read_by_name_in_one_row_and_keeps_its_digest(tmp_path: Path) -> None:
    made = bundle(None, {"recipe": {"concat_by": "accession"}})
    made.save(tmp_path / "m")
    assert "study" not in json.loads((tmp_path / "m" / "config.json").read_text())
    loaded = bundles.load(tmp_path / "m")
    assert loaded.study == StudyRule("accession", views=(), layout=ROW)
    assert loaded.digest == made.digest
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again" / "config.json").read_bytes() == (tmp_path / "m" / "config.json").read_bytes()
    bundle(None, {}).save(tmp_path / "single")
    assert bundles.load(tmp_path / "single").study is None


@pytest.mark.parametrize(
    "study",
    [{"column": "s", "views": ["frontal"]}, {"column": "s"}, {"column": "s", "views": [], "x": 1}, ["s"]],
)
def test_what_is_no_rule_is_a_damaged_model(study: object, tmp_path: Path) -> None:
    bundle(RULE, {}).save(tmp_path / "m")
    config = tmp_path / "m" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"study": study}))
    with pytest.raises(ModelError, match="is damaged"):
        bundles.load(tmp_path / "m")
