"""What names a person is found again in other values, however it is written there."""

import pytest

from dicomsort.dicom.naming import Naming

MILLER = Naming.of(
    "MÜLLER^Hildegund 19390817 ACC9981233 ID-4711".encode("latin-1"),
    "MÜLLER^Hildegund 19390817 ACC9981233 ID-4711",
    b"19390817",
)


@pytest.mark.parametrize(
    "value",
    [
        *("Muller", "MUELLER X", "xhildegundx", "HILDE GUND", "Hildeg", "ACC 9981233", "CR-4711"),
        *("1939-08-17", "17.08.1939", "08/17/1939", "170839", "17-08-39 A"),
    ],
)
def test_a_name_is_found_in_a_value(value: str) -> None:
    assert MILLER.is_in(value.encode())


@pytest.mark.parametrize("value", ["", "SIEMENS", "DX 7000", "CHEST", "Maker Inc. 47 11", "08 39"])
def test_other_values_hold_none(value: str) -> None:
    assert not MILLER.is_in(value.encode())


def test_who_has_no_name_is_in_nothing() -> None:
    nobody = Naming.of(b"", "", b"")
    assert not nobody.is_in(b"CHEST")
    assert not nobody.is_in(b"")
