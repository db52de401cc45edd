"""The columns of a data set's table, and what their values are."""

from collections.abc import Sequence
from typing import Any

from dicomsort.export.datasets.settings import DatasetSettings, Picture

_PIXELS = ("rows", "columns")
DECIDED = "decided_by_person"


def columns_for(settings: DatasetSettings, facts: Sequence[str]) -> list[str]:
    """Return the columns of the table. facts: those that the manifest tells."""
    pixels = () if settings.picture is Picture.DICOM else _PIXELS
    return ["file_name", "label", "part", "sample", "patient", *pixels, *facts]


def is_confidence(name: str) -> bool:
    """Return whether a column holds a confidence, 0..1."""
    return name == "confidence" or name.endswith(".confidence")


def is_number(name: str) -> bool:
    """Return whether a column holds numbers."""
    return is_confidence(name) or name in _PIXELS


def typed(name: str, value: Any) -> Any:
    """Return a value as it is: a float, a whole number, a boolean or a text; None for a number not known."""
    if is_number(name):
        return None if value in ("", None) else float(value) if is_confidence(name) else int(value)
    return value == "true" if name == DECIDED else str(value or "")
