"""A SNOMED CT identifier is told from the other numbers that may stand where a code should."""

import pytest
from pydicom.sr._snomed_dict import mapping

from dicomsort.system.snomed import is_concept


def test_every_code_of_the_standard_is_one() -> None:
    assert len(mapping["SCT"]) > 5000
    assert all(map(is_concept, mapping["SCT"]))


@pytest.mark.parametrize(
    "text", ["", "19390817", "7714553", "816094008", "861094009", "0816094009", "T-D3000"]
)
def test_other_numbers_are_none(text: str) -> None:
    assert not is_concept(text)
