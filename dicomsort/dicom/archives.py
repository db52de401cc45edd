"""Archives and packed files, recognized by their first bytes: what is in them has not been looked at."""

import re
from typing import BinaryIO

from dicomsort.inputs.archive_file import is_document, kind_of

_MAGIC = re.compile(
    b"|".join([
        rb"LZIP\x01",
        rb"[\x50-\x5f]\x2a\x4d\x18", rb"\x04\x22\x4d\x18",  # lz4, with a frame to skip first and without
        rb"\x1f\x9d[\x89-\x90]",  # compress
        rb"7z\xbc\xaf\x27\x1c", rb"Rar!\x1a\x07", rb"MSCF\0\0\0\0", rb".{2}-lh[0-9d]-",
    ]),
    re.DOTALL,
)  # fmt: skip
_BLOCK = 512
_ISO, _ISO_AT = b"CD001", 0x8001


def is_archive(file: BinaryIO) -> bool:
    """Return whether an open file, at its start, holds other files: zip, tar, gz, xz, zst, 7z, rar, iso ...

    Documents that are zip files inside (docx, odt, epub, jar) hold no studies, and are none.
    """
    start = file.read(_BLOCK)
    if is_document(start):
        return False
    return bool(kind_of(start, file) or _MAGIC.match(start)) or _is_disc(file)


def _is_disc(file: BinaryIO) -> bool:
    """Return whether a file is the image of a CD or DVD (ECMA-119 8.1)."""
    file.seek(_ISO_AT)
    return file.read(len(_ISO)) == _ISO
