"""Spellings are compared as a person would, and a term is found in a few words without inventing one."""

import pickle

import pytest

from dicomsort.dicom import wording
from dicomsort.dicom.wording import Wording, words_of

CHEST, SHOULDER, LUMBAR, HEAD, ABDOMEN, HIP = ("C",), ("S",), ("L",), ("H",), ("A",), ("P",)
TERMS = Wording.of(
    [
        ("CHEST", CHEST),
        ("Thorax", CHEST),
        ("CHESTABDOMEN", (*CHEST, *ABDOMEN)),
        ("ABDOMEN", ABDOMEN),
        ("SHOULDER", SHOULDER),
        ("L SPINE", LUMBAR),
        ("LSPINE", LUMBAR),
        ("LENDENWIRBELSAULE", LUMBAR),
        ("SCHADEL", HEAD),
        ("胸部", CHEST),
        ("HIP", HIP),
        ("FACE", HEAD),
        ("CS", HEAD),
        ("PORTABLE", ()),
        ("AP", ()),
        ("DEFAULT", ()),
    ],
    sides=["L", "R", "LEFT"],
    telling=["CHEST", "THORAX", "HIP", "SHOULDER", "胸 部"],
    weak=["FACE"],
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Lenden-Wirbelsäule", ["LENDEN", "WIRBELSAULE"]),
        ("  c_spine/(AP) ", ["C", "SPINE", "AP"]),
        ("Fuß, Œsophage", ["FUSS", "OESOPHAGE"]),
        ("ｶﾀ 胸部XP", ["カ", "タ", "胸", "部", "XP"]),
        ("B?cken\ufffd?", ["B?CKEN"]),
        ("??", []),
        ("", []),
    ],
)
def test_words_are_compared_without_case_accents_and_what_stands_between(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("chest", CHEST),
        ("Chest_Abdomen", (*CHEST, *ABDOMEN)),
        ("ABDOMEN/CHEST", (*ABDOMEN, *CHEST)),
        ("LEFT SHOULDER", SHOULDER),
        ("SHOULDER L", SHOULDER),
        ("L-SPINE", LUMBAR),
        ("L SPINE L", LUMBAR),
        ("Lendenwirbels?ule", LUMBAR),
        ("SCH??DEL", HEAD),
        ("胸部正面", CHEST),
        ("PORTABLE CHEST AP", CHEST),
        ("CHEST 5MM XYZ", CHEST),
        ("CS", HEAD),
        ("CS AP", HEAD),
        ("FACE AP", HEAD),
        ("CHEST FACE", CHEST),
        ("AP L PORTABLE", ()),
        ("Default", ()),
        ("", ()),
        ("L", ()),
    ],
)
def test_a_value_names_a_place_or_rightly_none(text: str, codes: tuple[str, ...]) -> None:
    assert TERMS.codes_of(text) == codes


@pytest.mark.parametrize("text", ["SOMETHING", "PORTABLE SOMETHING", "CS SOMETHING", "CHESTS", "????"])
def test_what_is_not_known_is_not_guessed(text: str) -> None:
    assert TERMS.codes_of(text) in (None, ())
    assert (TERMS.codes_of(text) == ()) == (text == "????")


def test_a_lost_letter_that_could_be_several_things_is_not_guessed() -> None:
    terms = Wording.of([("HAND", ("1",)), ("HEND", ("2",)), ("BAND", ("1",))])
    assert terms.codes_of("H?ND") is None
    assert terms.codes_of("?AND") is None
    assert Wording.of([("HAND", ("1",)), ("HUND", ("1",))]).codes_of("H?ND") == ("1",)


def test_in_a_text_on_anything_only_telling_terms_count() -> None:
    assert TERMS.found_in("Dr. Chester: Thorax ap, Hip CS") == (*CHEST, *HIP)
    assert TERMS.found_in("Dr. Chester: Thorax ap, Hip CS") == (*CHEST, *HIP)
    assert TERMS.found_in("胸部") == CHEST
    assert TERMS.found_in("nothing of that kind, but face") == ()


def test_what_was_looked_up_is_remembered_and_never_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wording, "_MOST_SEEN", 10)
    for number in range(50):
        assert TERMS.codes_of(f"CHEST {number}") == CHEST
        assert TERMS.found_in(f"CHEST {number}") == CHEST
    assert "CHEST 49" not in repr(TERMS)
    assert len(pickle.dumps(TERMS)) < 2000


def test_it_travels_to_workers() -> None:
    assert pickle.loads(pickle.dumps(TERMS)) == TERMS  # noqa: S301


def test_only_short_texts_are_remembered() -> None:
    wording = Wording.of([("HAND", ("85562004",))])
    assert wording.codes_of("HAND " * 10_000) == wording.codes_of("HAND") == ("85562004",)
    assert [text for _, text in wording._seen] == ["HAND"]


def test_a_text_of_terms_sides_and_single_letters_consists_of_terms() -> None:
    wording = Wording.of([("HAND", ("85562004",)), ("C SPINE", ("122494005",)), ("AP", ())], sides=["LEFT"])
    for text in ("HAND", "left hand AP", "C-SPINE", "hand x", ""):
        assert wording.consists_of_terms(text)
    for text in ("HAND MILLER", "HANDX", "4711", "ACC9981233"):
        assert not wording.consists_of_terms(text)
