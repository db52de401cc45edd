"""What a changed file is told: codes, texts, and who has changed it."""

from dataclasses import dataclass
from datetime import UTC, datetime

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from dicomsort import __version__

SOFTWARE = "dicomsort"


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept (PS3.3 8.8), by default of SNOMED CT."""

    value: str
    meaning: str
    scheme: str = "SCT"


Value = str | Code | None
"""What an element is to hold: a text, or a code in the only item of a sequence; None if it is to go."""


@dataclass(frozen=True, slots=True)
class Tags:
    """What a header says of anatomy and view, as it stands there; for the eyes of worker processes alone.

    region_codes, view_codes: (scheme, value) of each item of Anatomic Region and View Code Sequence.
    laterality: None where the element is missing, not only empty. positioner: whether there is a Positioner
    Type, empty or not.
    """

    sop_class: str = ""
    body_part: str = ""
    region_codes: tuple[tuple[str, str], ...] = ()
    view_position: str = ""
    view_codes: tuple[tuple[str, str], ...] = ()
    laterality: str | None = None
    image_laterality: str = ""
    positioner: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """Who has changed a file, and when.

    at: with a time zone. what: one line of at most 1024 ASCII characters for the Contribution
    Description.
    """

    at: datetime
    what: str

    @property
    def utc(self) -> str:
        """When, as a DT in UTC."""
        return self.at.astimezone(UTC).strftime("%Y%m%d%H%M%S+0000")


def new_element(keyword: str, value: str | Code) -> DataElement:
    """Return an element: a text with the VR of the dictionary, or a sequence with one code."""
    tag = Tag(keyword)
    if isinstance(value, str):
        return DataElement(tag, dictionary_VR(tag), value)
    return DataElement(tag, "SQ", Sequence([_coded(value)]))


def _coded(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme, code.meaning
    return item


def equipment(note: Note) -> Dataset:
    """Return an item of the Contributing Equipment Sequence (PS3.3 C.12.1)."""
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = Sequence([_coded(Code("109103", "Modifying Equipment", "DCM"))])
    item.Manufacturer = SOFTWARE
    item.ManufacturerModelName = SOFTWARE
    item.SoftwareVersions = __version__
    item.ContributionDateTime = note.utc
    item.ContributionDescription = note.what
    return item
