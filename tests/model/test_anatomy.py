"""Labels as regions of the body: codes of the standard, what holds what, and what answers mean together."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from program import inside
from pydicom.sr.codedict import codes

from dicomsort.errors import ModelError
from dicomsort.model import anatomy, bundle
from dicomsort.model.anatomy import MADO, Region, agreed, chain, looked_up, mado_of, region_of, regions
from dicomsort.model.model_set import anatomy_of

BODY_PARTS = bundle.load(bundle.locate("bodypart"))
ROUTER = bundle.load(bundle.locate("router5"))
ANATOMY = anatomy_of([ROUTER, BODY_PARTS])


def cid(number: int) -> dict[str, str]:
    """The SNOMED CT codes of a context group as pydicom has it (PS3.16), with their meanings."""
    group = getattr(codes, f"cid{number}")
    found = [getattr(group, name) for name in group.dir()]
    return {code.value: code.meaning for code in found if code.scheme_designator == "SCT"}


def test_the_table_holds_every_region_that_the_standard_names_for_radiographs() -> None:
    for number in (4009, 4031):
        told = cid(number)
        del told["706342009"]  # a phantom is no region of the body
        assert len(told) > 100
        assert {code: regions()[code].meaning for code in told} == told


def test_what_the_standard_does_not_name_there_it_names_elsewhere_or_mado_does() -> None:
    others = set(regions()) - set(cid(4009)) - set(cid(4031)) - set(cid(4)) - set(cid(4028))
    assert others <= set(MADO) | {"38199008", "64033007", "12611008"}


def test_every_region_is_held_by_others_up_to_the_entire_body() -> None:
    for code in regions():
        assert chain(code)[-1] == anatomy.WHOLE, code
        assert len(set(chain(code))) == len(chain(code))


@pytest.mark.parametrize(
    ("label", "code", "mado"),
    [
        ("chest", "816094009", "67734004"),  # upper trunk
        ("abdomen", "818981001", "63337009"),  # lower trunk
        ("pelvis", "816092008", "63337009"),
        ("lumbar_spine", "122496007", "1141981001"),
        ("finger", "7569003", "53120007"),
        ("shoulder", "16982005", "53120007"),
        ("hip", "29836001", "61685007"),
        ("sinus", "2095001", "774007"),
        ("dental", "661005", "774007"),
    ],
)
def test_a_label_has_its_code_and_its_region_in_a_study_manifest(label: str, code: str, mado: str) -> None:
    region = region_of(label)
    assert region is not None
    assert region.code == code
    held = mado_of(region)
    assert held is not None
    assert held.code == mado


def test_the_codes_of_chest_abdomen_and_pelvis_are_todays_and_not_what_pydicom_takes_for_equal() -> None:
    """pydicom 3.0 takes T-D3000 for 51185008, T-D4000 for 113345001, T-D6000 for 12921003: all replaced."""
    assert {"51185008", "113345001", "12921003"}.isdisjoint(regions())
    assert codes.cid4031.Chest.value == "816094009" in regions()


def test_the_ten_regions_of_a_study_manifest_are_those_of_ihe() -> None:
    """https://profiles.ihe.net/RAD/MADO/ValueSet/im-anatomical-region-valueset, version 0.1.0."""
    assert len(set(MADO)) == 10
    assert set(MADO) <= set(regions())
    assert all(mado_of(region) is not None for region in regions().values())


def test_shipped_bundles_tell_what_each_of_their_labels_means() -> None:
    for model, left_out in ((ROUTER, {"others"}), (BODY_PARTS, {"other"})):
        config = json.loads((bundle.locate(model.name) / bundle.CONFIG).read_text())
        told = config["anatomy"][model.head.name]
        assert set(told) == set(model.head.labels) - left_out
        assert all(set(one) == {"code", "meaning", "parent"} for one in told.values())


def test_the_tree_of_labels_is_that_of_the_regions() -> None:
    """But for the hip, which the tree counts as pelvis where it is rare: it belongs to the leg."""
    coded = BODY_PARTS.coded(BODY_PARTS.head)
    for label, parent in BODY_PARTS.head.parents.items():
        same = coded[parent].code in chain(coded[label].code)
        above = set(chain(coded[label].code)) & set(chain(coded[parent].code)) - {anatomy.WHOLE}
        assert same or above or label == "hip", (label, parent)


def test_what_labels_mean_is_kept_with_a_bundle_and_changes_no_name(tmp_path: Path) -> None:
    own = Region("71854001", "Colon", "818981001")
    changed = replace(ROUTER, anatomy={ROUTER.head.name: {"abdominal": own}})
    changed.save(tmp_path / "own")
    again = bundle.load(tmp_path / "own")
    assert again.tag == ROUTER.tag
    assert dict(again.coded(again.head)) == {"abdominal": own}
    changed = replace(again, anatomy={ROUTER.head.name: {"spine": own}})
    changed.save_anatomy(tmp_path / "own")
    assert dict(bundle.load(tmp_path / "own").coded(again.head)) == {"spine": own}


@pytest.mark.parametrize(
    "told",
    [
        {"code": "T-D3000", "meaning": "Chest"},
        {"code": "816094009", "meaning": ""},
        {"code": "816094009", "meaning": "Chest", "parent": "chest"},
        {"code": "816094009"},
        {"code": "816094009", "meaning": "a\nb"},
        "816094009",
    ],
)
def test_a_bundle_with_codes_that_are_none_is_refused(told: object, tmp_path: Path) -> None:
    ROUTER.save(tmp_path)
    config = json.loads((tmp_path / bundle.CONFIG).read_text())
    config["anatomy"] = {"group": {"spine": told}}
    (tmp_path / bundle.CONFIG).write_text(json.dumps(config))
    with pytest.raises(ModelError):
        bundle.load(tmp_path)


@pytest.mark.parametrize(
    ("label", "meaning"),
    [
        ("hand", "Hand"),
        ("hand|wrist", "Upper limb"),
        ("finger|hand", "Hand"),
        ("thoracic_spine|lumbar_spine", "Spine"),
        ("pelvis|abdomen", "Lower trunk"),
        ("chest|finger", None),  # the entire body says nothing
        ("pelvis|other", "Pelvis"),
        ("other", None),
        ("", None),
    ],
)
def test_several_labels_mean_what_holds_them_all(label: str, meaning: str | None) -> None:
    region = looked_up(ANATOMY, "bodypart", label)
    assert (region.meaning if region else None) == meaning


@pytest.mark.parametrize(
    ("group", "part", "meaning"),
    [
        ("spine", "lumbar_spine", "Lumbar spine"),  # more exact
        ("spine", "abdomen", "Spine"),  # contradicts what decides
        ("others", "knee", "Knee"),
        ("others", "other", None),
        ("adult_chest", "chest", "Chest"),
        ("pediatric_chest", "", "Chest"),
    ],
)
def test_the_deciding_label_counts_and_another_may_be_more_exact(
    group: str, part: str, meaning: str | None
) -> None:
    region = agreed(ANATOMY, {"": group, "bodypart": part})
    assert (region.meaning if region else None) == meaning


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "codes.csv"
    path.write_text(text)
    return path


def test_a_table_codes_labels_and_leaves_the_others(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ROUTER.save(tmp_path / "own")
    lines = "label,code,meaning,parent\nothers,66019005,Extremity,38266002\nspine,,,\nadult_chest,122495006\n"
    ran = inside(capfd, "model", "anatomy", tmp_path / "own", table(tmp_path, lines), "--json")
    told = json.loads(ran.out)["anatomy"]["group"]
    assert ran.code == 0
    assert told["others"] == {"code": "66019005", "meaning": "Extremity", "parent": "38266002"}
    assert told["adult_chest"] == {
        "code": "122495006", "meaning": "Thoracic spine", "parent": "421060004",
    }  # fmt: skip
    assert "spine" not in told
    assert told["abdominal"]["code"] == "818981001"
    assert bundle.load(tmp_path / "own").told_anatomy["group"] == told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("label,code,meaning\nspine,421060004,Spine\n", "it needs the columns label,code,meaning,parent"),
        ("label,code,meaning,parent\nwing,421060004,Spine,\n", "no label 'wing'"),
        ("label,code,meaning,parent\nspine,T-D3000,Chest,\n", "SNOMED CT identifier"),
        ("label,code,meaning,parent\nspine,816094009,Spine,\n", "816094009 is 'Chest' and not 'Spine'"),
        ("label,code,meaning,parent\nspine,123037004\n", "a meaning must be"),
        ("label,code,meaning,parent\nspine,421060005,Spine,\n", "the check digit of 421060005 is wrong"),
        ("label,code,meaning,parent\nspine,421060004,Spine,138875005\n", "the parent 138875005"),
    ],
)
def test_a_table_that_is_none_is_refused_in_one_line_and_nothing_changes(
    text: str, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ROUTER.save(tmp_path / "own")
    before = (tmp_path / "own" / bundle.CONFIG).read_bytes()
    ran = inside(capfd, "model", "anatomy", tmp_path / "own", table(tmp_path, text))
    assert ran.code == 2
    assert said in ran.err
    assert len(ran.err.strip().splitlines()) == 1
    assert (tmp_path / "own" / bundle.CONFIG).read_bytes() == before


def test_a_shipped_model_is_shown_and_not_changed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ran = inside(capfd, "model", "anatomy", "router5")
    assert ran.code == 0
    assert "816094009" in ran.out + ran.err
    lines = "label,code,meaning,parent\nspine,,,\n"
    assert inside(capfd, "model", "anatomy", "router5", table(tmp_path, lines)).code == 2


def test_regions_of_a_bundle_s_own_that_the_table_does_not_have_are_held_by_themselves() -> None:
    """Two labels of one code of their own, in other words, raised KeyError."""
    child, adult = (Region("123037004", meaning, "816094009") for meaning in ("Child's", "Adult's"))
    own = {"": {"a": child, "b": adult, "c": regions()["816094009"]}}
    assert getattr(looked_up(own, "", "a|b"), "code", "") == "123037004"
    assert looked_up(own, "", "a|c") == regions()["816094009"]
