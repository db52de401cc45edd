"""Whose image a file is, as a key that tells patients apart and names nobody."""

import hashlib
import warnings
from dataclasses import dataclass

from pydicom import dcmread
from pydicom.dataset import Dataset

from dicomsort.inputs.sources import local
from dicomsort.system.keys import hashed

_TAGS = {"PatientID": 0x00100020, "IssuerOfPatientID": 0x00100021, "StudyInstanceUID": 0x0020000D}
_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Origin:
    """What an export tells of a file. patient: the key. sha256: first 16 hex digits of the content's hash."""

    patient: str
    sha256: str


def origin_of(path: str, salt: bytes) -> Origin | None:
    """Return whose image a file is, and the hash of its content; None if it cannot be read.

    The key is that of Patient ID and Issuer of Patient ID (PS3.3 C.7.1.1), keyed by `salt` (HMAC, RFC 2104);
    without them that of the study, else that of the content, so that no two patients ever share one.
    """
    try:
        with local(path) as here:
            content = _content(here.file)
            identity = _identity(here.file) or f"content\n{content}".encode()
    except OSError:
        return None
    return Origin(hashed(identity, salt, "p"), content[:_DIGITS])


def key_of(path: str, salt: bytes) -> str | None:
    """Return the key of the patient alone, as `origin_of` makes it, without reading the pixels.

    None if the file cannot be read.
    """
    try:
        with local(path) as here:
            identity = _identity(here.file) or f"content\n{_content(here.file)}".encode()
    except OSError:
        return None
    return hashed(identity, salt, "p")


def _content(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _identity(path: str) -> bytes:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's quote header values
            dataset = dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS), force=True)
            patient, issuer, study = (_bytes(dataset, tag) for tag in _TAGS.values())
    except OSError:
        raise
    except Exception:  # noqa: BLE001  (pydicom raises nearly everything there is)
        return b""
    if patient:
        return b"patient\n" + issuer + b"\n" + patient
    return b"study\n" + study if study else b""


def _bytes(dataset: Dataset, tag: int) -> bytes:
    """Return an element as it stands in the file, without padding."""
    value = getattr(dataset.get_item(tag), "value", None)
    raw = value if isinstance(value, bytes) else str(value or "").encode()
    return raw.strip(b" \0")
