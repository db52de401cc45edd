"""What the header of a file states of its picture, for the audit; nothing of it names a person."""

import errno
import os
import re
import stat
import warnings
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicomsort.dicom.age import age_of, band_of
from dicomsort.dicom.flat_scan import Elements, Wanted, scan
from dicomsort.dicom.header import cleaned, first_value, is_cut, looks_dicom, read_header
from dicomsort.dicom.naming import Naming
from dicomsort.dicom.other_files import reason_for
from dicomsort.dicom.sop_classes import KNOWN_MODALITIES
from dicomsort.dicom.wording import Codes, Wording
from dicomsort.inputs.names import is_plain
from dicomsort.inputs.sources import local
from dicomsort.outcome import Failure, Reason, Status
from dicomsort.system.keys import hashed
from dicomsort.system.retry import retry_transient
from dicomsort.system.snomed import is_concept

Code = tuple[str, str]
"""Coding Scheme Designator and Code Value (PS3.3 8.8); both empty if they are none that can be shown."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What to look for. salt: of the hashes. descriptions: whether free text may be searched for terms."""

    salt: bytes
    terms: Wording = field(default_factory=Wording)
    descriptions: bool = False


@dataclass(frozen=True, slots=True)
class Stated:
    """What a header states, cleaned as `Header` is; empty where it states nothing.

    body_part, view_position: empty too if they hold something of what names a person there.
    body_part_filled, view_filled: whether they have any value; body_part_codes: what it names, of one that
    cannot be shown, or of several; None if that is not known. region_codes, view_codes, view_modifiers: the
    items of Anatomic Region, View Code and View Modifier Code Sequence. laterality: R, L, U, B, or ? for
    another value. age: child, teenager, adult, or ? if Patient's Age cannot be read; age_filled: whether
    there is one, else it was reckoned. manufacturer, device_model: as they stand there, if they hold
    nothing that may be somebody's. station, accession: hashes. described: what
    Study Description, Series Description and Protocol Name name, if that was asked for.
    """

    sop_instance_uid: str = ""
    sop_class: str = ""
    modality: str = ""
    body_part: str = ""
    body_part_filled: bool = False
    body_part_codes: Codes | None = None
    region_codes: tuple[Code, ...] = ()
    view_position: str = ""
    view_filled: bool = False
    view_codes: tuple[Code, ...] = ()
    view_modifiers: tuple[Code, ...] = ()
    laterality: str = ""
    age: str = ""
    age_filled: bool = False
    photometric: str = ""
    manufacturer: str = ""
    device_model: str = ""
    station: str = ""
    accession: str = ""
    described: Codes = ()

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Travel between processes by the fields alone."""
        return Stated, tuple(getattr(self, name) for name in Stated.__slots__)


_SOP_CLASS, _META_CLASS, _SOP_INSTANCE = 0x00080016, 0x00020002, 0x00080018
_CHARSET, _ACCESSION, _MODALITY = 0x00080005, 0x00080050, 0x00080060
_DATES = (0x00080020, 0x00080022, 0x00080023)
_MANUFACTURER, _MODEL, _STATION, _SERIAL = 0x00080070, 0x00081090, 0x00081010, 0x00181000
_BODY_PART, _VIEW, _PHOTOMETRIC = 0x00180015, 0x00185101, 0x00280004
_BIRTH, _AGE = 0x00100030, 0x00101010
_LATERALITIES = (0x00200062, 0x00200060)  # of the image, of the series
_DESCRIPTIONS = (0x00081030, 0x0008103E, 0x00181030)
_REGIONS, _VIEWS, _MODIFIERS = 0x00082218, 0x00540220, 0x00540222
_CODE_VALUE, _SCHEME = 0x00080100, 0x00080102
_NAMING = (  # persons, and what is theirs
    *(0x00080050, 0x00080090, 0x0008009C, 0x00081048, 0x00081050, 0x00081060, 0x00081070),
    *(0x00100010, 0x00100020, 0x00100030, 0x00101000, 0x00101001, 0x00101005, 0x00101040, 0x00101060),
    *(0x00102154, 0x00102297, 0x00200010, 0x00321032),
)
_SHOWN_TERMS = (_BODY_PART, _VIEW, _MODALITY, _PHOTOMETRIC)
_SHOWN = (*_SHOWN_TERMS, _MANUFACTURER, _MODEL)
_SEQUENCES = frozenset({_REGIONS, _VIEWS, _MODIFIERS})
TAGS = frozenset({
    *(_SOP_CLASS, _SOP_INSTANCE, _CHARSET, _ACCESSION, _MODALITY, _MANUFACTURER, _MODEL, _STATION, _SERIAL),
    *(_BODY_PART, _VIEW, _PHOTOMETRIC, _BIRTH, _AGE, _CODE_VALUE, _SCHEME),
    *(*_DATES, *_LATERALITIES, *_DESCRIPTIONS, *_NAMING, *_SEQUENCES),
})  # fmt: skip
"""What is read of a header."""
_WANTED = Wanted(TAGS, _SEQUENCES, last=_MODIFIERS, least=_PHOTOMETRIC)
_TAG_LIST = [Tag(tag) for tag in sorted(TAGS)]

_SCHEMES = frozenset({"SCT", "SRT", "SNM3", "99SDM", "DCM"})
_CODE = re.compile(r"[AFGRT]-[0-9A-F]{4,5}")  # axes of SNOMED RT
_DCM_CODE = re.compile(r"1[0-9]{5}")
_COLORS = re.compile("(MONOCHROME|PALETTE COLOR|RGB|YBR_|XYB|HSV|ARGB|CMYK)[0-9A-Z_]{0,16}")
_DEVICE = re.compile(r"[A-Za-z0-9 .,/_+()-]{1,64}")
_NOWHERE = ("", b"")


def read_stated(path: str, asked: Asked) -> Stated | Failure:
    """Read what the header of a DICOM file states; any file, radiograph or not. Made for worker processes.

    A header that is cut off states nothing: Status.DECODE_ERROR. Raises MemoryError.
    """
    try:
        return retry_transient(lambda: _stated(path, asked))
    except MemoryError:
        raise
    except OSError as error:
        return _unreadable(error)
    except Exception:  # noqa: BLE001  (pydicom raises nearly everything there is)
        return Failure(Status.DECODE_ERROR, Reason.HEADER_DAMAGED)


def _unreadable(error: OSError) -> Failure:
    """Say what an error means; a parser's has no number, or EINVAL."""
    if error.errno in (None, errno.EINVAL):
        return Failure(Status.DECODE_ERROR, Reason.HEADER_DAMAGED)
    return Failure(Status.IO_ERROR, Reason.VANISHED if error.errno == errno.ENOENT else Reason.UNREADABLE)


def _stated(path: str, asked: Asked) -> Stated | Failure:
    if is_plain(path):
        return _stated_in(path, asked)
    with local(path) as here:
        return _stated_in(here.file, asked)


def _stated_in(path: str, asked: Asked) -> Stated | Failure:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            return Failure(Status.NOT_DICOM, Reason.SPECIAL_FILE)
        found = scan(descriptor, facts.st_size, _WANTED) or _parsed(path, facts.st_size)
    finally:
        os.close(descriptor)
    return found if isinstance(found, Failure) else _told(found, asked)


def _parsed(path: str, size: int) -> Elements | Failure:
    """Read by pydicom what is not plain."""
    with open(path, "rb") as file:
        if not size:
            return Failure(Status.NOT_DICOM, Reason.EMPTY_FILE)
        if not looks_dicom(file, size):
            return Failure(Status.NOT_DICOM, reason_for(file))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's quote header values
            return _by_pydicom(file)


def _by_pydicom(file: BinaryIO) -> Elements | Failure:
    dataset, stream = read_header(file, _TAG_LIST)
    if not dataset or is_cut(dataset, stream):
        return Failure(Status.DECODE_ERROR, Reason.HEADER_DAMAGED)
    found = _elements(dataset)
    meta: Any = getattr(dataset, "file_meta", None) or Dataset()
    found.values.update({tag: one for tag, one in _elements(meta).values.items() if tag == _META_CLASS})
    return found


def _elements(dataset: Dataset) -> Elements:
    """Take what is wanted out of a data set of pydicom's, as `scan` would have found it."""
    found = Elements()
    for tag in (*_TAG_LIST, Tag(_META_CLASS)):
        element: Any = dataset.get_item(tag)
        if element is None:
            continue
        if int(tag) in _SEQUENCES:
            found.items[int(tag)] = [_elements(item) for item in dataset[tag].value]
        else:
            found.values[int(tag)] = (element.VR or "", _bytes(element.value))
    return found


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str("" if value is None else value).encode()


def _told(found: Elements, asked: Asked) -> Stated:
    """Turn elements into what may be known of them."""
    naming = _naming(found)
    private = _private(found, naming, asked.terms)
    texts = {tag: "" if tag in private else _text(found, tag, "CS") for tag in _SHOWN_TERMS}
    part = _value(found, _BODY_PART)
    shown = "" if b"\\" in part else texts[_BODY_PART]
    age, stated = _age(found)
    views = found.items.get(_VIEWS, [])
    return Stated(
        sop_instance_uid=_text(found, _SOP_INSTANCE, "UI"),
        sop_class=_text(found, _SOP_CLASS, "UI") or _text(found, _META_CLASS, "UI"),
        modality=texts[_MODALITY] or _term(found, _MODALITY),
        body_part=shown,
        body_part_filled=bool(part),
        body_part_codes=asked.terms.codes_of(_decoded(found, part)) if part and not shown else None,
        region_codes=_codes(found.items.get(_REGIONS, []), naming),
        view_position=texts[_VIEW],
        view_filled=bool(_value(found, _VIEW)),
        view_codes=_codes(views, naming),
        view_modifiers=_codes((one for view in views for one in view.items.get(_MODIFIERS, [])), naming),
        laterality=_laterality(found),
        age=age,
        age_filled=stated,
        photometric=texts[_PHOTOMETRIC],
        manufacturer=_device(found, _MANUFACTURER, private),
        device_model=_device(found, _MODEL, private),
        station=_hash(_value(found, _STATION) or _value(found, _SERIAL), asked.salt, "s"),
        accession=_hash(_value(found, _ACCESSION), asked.salt, "a"),
        described=_described(found, asked),
    )


def _value(found: Elements, tag: int) -> bytes:
    """Return a value as it stands in the file, without padding."""
    return found.values.get(tag, _NOWHERE)[1].strip(b" \0\t\r\n")


def _text(found: Elements, tag: int, vr: str) -> str:
    """Return the first value of an element if it has that VR and only its characters; see `header.text`."""
    stands, value = found.values.get(tag, _NOWHERE)
    return cleaned(first_value(value), vr) if value and stands in (vr, "", "UN") else ""


def _term(found: Elements, tag: int) -> str:
    """Return a modality whatever its VR says; see `header.term`."""
    value = first_value(_value(found, tag)).upper()
    return value if value in KNOWN_MODALITIES else ""


def _naming(found: Elements) -> Naming:
    """Return what names persons in the header."""
    values = b" ".join([found.values[tag][1] for tag in _NAMING if tag in found.values])
    plain = values.isascii() and b"\x1b" not in values
    return Naming.of(values, "" if plain else _decoded(found, values), _value(found, _BIRTH))


def _private(found: Elements, naming: Naming, terms: Wording) -> frozenset[int]:
    """Return which of the shown elements hold something of what names a person, beside what are terms."""
    values = {tag: found.values[tag][1] for tag in _SHOWN if tag in found.values}
    if not naming.is_in(b" ".join(values.values())):
        return frozenset()
    return frozenset(
        tag for tag, value in values.items() if naming.is_in(value) and not _is_term(tag, value, terms)
    )


def _is_term(tag: int, value: bytes, terms: Wording) -> bool:
    """Return whether a value consists of terms, which may be somebody's name and tell nobody's."""
    text = first_value(value)
    if tag in (_BODY_PART, _VIEW):
        return terms.consists_of_terms(text)
    return tag == _PHOTOMETRIC and _COLORS.fullmatch(text) is not None


def _codes(items: Iterable[Elements], naming: Naming) -> tuple[Code, ...]:
    """Return the codes of the items; an item with neither code nor scheme states nothing."""
    return tuple(_code(item, naming) for item in items if _value(item, _CODE_VALUE) or _value(item, _SCHEME))


def _code(item: Elements, naming: Naming) -> Code:
    """Return a code of which no other number could be taken for it: that of a person may stand there."""
    scheme, value = first_value(_value(item, _SCHEME)).upper(), first_value(_value(item, _CODE_VALUE))
    known = _DCM_CODE.fullmatch(value) if scheme == "DCM" else _CODE.fullmatch(value) or is_concept(value)
    shown = scheme in _SCHEMES and known and not naming.has_word_in(value.encode())
    return (scheme, value) if shown else ("", "")


def _laterality(found: Elements) -> str:
    value = next(filter(None, (first_value(_value(found, tag)) for tag in _LATERALITIES)), "")
    return value if value in ("", "R", "L", "U", "B") else "?"


def _age(found: Elements) -> tuple[str, bool]:
    """Return the band of the age, as `facts_of` finds it, and whether Patient's Age has a value."""
    stated, birth = first_value(_value(found, _AGE)), first_value(_value(found, _BIRTH))
    dates = [first_value(_value(found, tag)) for tag in _DATES] if birth else []
    return band_of(age_of(stated, birth, dates)) or ("?" if stated else ""), bool(stated)


def _device(found: Elements, tag: int, private: frozenset[int]) -> str:
    text = _value(found, tag).decode("ascii", "replace")
    return text if tag not in private and _DEVICE.fullmatch(text) else ""


def _hash(value: bytes, salt: bytes, letter: str) -> str:
    return hashed(value, salt, letter) if value else ""


def _described(found: Elements, asked: Asked) -> Codes:
    if not asked.descriptions:
        return ()
    texts = (_decoded(found, _value(found, tag)) for tag in _DESCRIPTIONS)
    return tuple(dict.fromkeys(code for text in texts if text for code in asked.terms.found_in(text)))


def _decoded(found: Elements, value: bytes) -> str:
    """Decode a text: as UTF-8 if it is, whatever Specific Character Set says (PS3.5 6.1), else by that."""
    if b"\x1b" not in value:
        with suppress(ValueError):
            return value.decode("utf-8")
    charset = _value(found, _CHARSET).decode("ascii", "replace")
    with warnings.catch_warnings(), suppress(LookupError, ValueError):
        warnings.simplefilter("ignore")  # pydicom's quote values
        return decode_bytes(value, convert_encodings(charset.split("\\")), set())
    return value.decode("cp1252", "replace")
