"""What a PACS is asked for, and how mistakes of it are told."""

import pytest

from dicomsort.dicom.query import parse_query
from dicomsort.errors import UsageError


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["Modality=DX"], {"Modality": "DX"}),
        (["modality=dx"], {"Modality": "DX"}),
        (["00080060=DX", "Modality=CR"], {"Modality": "DX\\CR"}),
        (["Modality=DX,CR,DX"], {"Modality": "DX\\CR"}),
        (["(0020,000D)=1.2.3"], {"StudyInstanceUID": "1.2.3"}),
        (["StudyDate=20240229", "StudyTime=0800-1200"], {"StudyDate": "20240229", "StudyTime": "0800-1200"}),
        (["StudyDate=20260101-20260131"], {"StudyDate": "20260101-20260131"}),
        (["StudyDate=20260101-"], {"StudyDate": "20260101-"}),
        (["StudyDate=-20260101"], {"StudyDate": "-20260101"}),
        (["StudyDescription=Thorax, p.a. = 1"], {"StudyDescription": "Thorax, p.a. = 1"}),
        ([], {}),
    ],
)
def test_an_attribute_is_named_by_keyword_or_tag(words: list[str], meant: dict[str, str]) -> None:
    assert parse_query(words) == meant


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("Modalty=DX", "is Modality meant"),
        ("xyzzyxyzzy=1", "no attribute"),
        ("00091001=1", "no attribute"),
        ("=1", "no attribute"),
        ("Modality", "an attribute and a value"),
        ("Modality=", "no value"),
        ("Modality=DX,,CR", "no value"),
        ("PixelData=1", "cannot be asked for"),
        ("ReferencedStudySequence=1", "cannot be asked for"),
        ("StudyDate=2026-01-31", "20260131"),
        ("StudyDate=20260230", "20260131"),
        ("StudyDate=20260131-20260101", "20260131"),
        ("StudyDate=-", "20260131"),
        ("StudyTime=noon", "1430"),
        ("StudyInstanceUID=abc", "digits and dots"),
    ],
)
def test_a_mistake_is_told_in_a_line(word: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        parse_query([word])
    assert "\n" not in str(raised.value)


def test_no_value_is_quoted() -> None:
    for word in ("PatientName2=CANARY^NAME", "PatientBirthDate=CANARY", "CANARY^NAME"):
        with pytest.raises(UsageError) as raised:
            parse_query([word])
        assert "CANARY" not in str(raised.value)
