"""What a UID of the standard is called (PS3.6 annex A)."""

from pydicom._uid_dict import UID_dictionary


def name_of(uid: str) -> str:
    """Return the name of a UID of the standard, such as `JPEG 2000 Image Compression`, else the UID."""
    known = UID_dictionary.get(uid)
    return known[0] if known else uid
