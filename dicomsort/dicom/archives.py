"""Archives and packed files, recognised by their first bytes: what is in them has not been looked at."""

import re
from typing import BinaryIO

_MAGIC = re.compile(
    b"|".join([
        rb"PK\x03\x04", rb"PK\x05\x06", rb"PK\x07\x08", rb"PK00PK",  # zip: full, empty, several volumes
        rb"\x1f\x8b\x08",  # gzip
        rb"BZh[1-9](?:1AY&SY|\x17\x72\x45\x38\x50\x90)",  # bzip2, with blocks and without
        rb"\xfd7zXZ\0", rb"LZIP\x01",
        rb"\x28\xb5\x2f\xfd", rb"[\x50-\x5f]\x2a\x4d\x18",  # zstd, and with a frame to skip first
        rb"\x04\x22\x4d\x18",  # lz4
        rb"\x1f\x9d[\x89-\x90]",  # compress
        rb"7z\xbc\xaf\x27\x1c", rb"Rar!\x1a\x07", rb"MSCF\0\0\0\0", rb".{2}-lh[0-9d]-",
    ]),
    re.DOTALL,
)  # fmt: skip
_DOCUMENTS = (
    b"[Content_Types].xml", b"_rels/.rels", b"docProps/",
    b"word/document.xml", b"xl/work", b"ppt/presentation.xml", b"mimetype", b"META-INF/MANIFEST.MF",
)  # fmt: skip
"""What the first member of a zip is called that is an office document, a book or a program."""

_BLOCK = 512
_ISO, _ISO_AT = b"CD001", 0x8001


def is_archive(file: BinaryIO) -> bool:
    """Return whether an open file, at its start, holds other files: zip, tar, gz, xz, zst, 7z, rar, iso ...

    Documents that are zip files inside (docx, odt, epub, jar) hold no studies, and are none.
    """
    start = file.read(_BLOCK)
    if _MAGIC.match(start):
        return not _is_document(start)
    return _is_tar(start) or _is_disc(file)


def _is_document(start: bytes) -> bool:
    """Return whether the name in the first local file header is that of a document (APPNOTE 4.3.7)."""
    return start.startswith(b"PK\x03\x04") and start[30:].startswith(_DOCUMENTS)


def _is_tar(block: bytes) -> bool:
    """Return whether a block is a tar header: ustar by its mark, an older one by its checksum (POSIX pax)."""
    if block[257:262] == b"ustar":
        return True
    stated = re.fullmatch(rb"[ 0]*([0-7]{1,6})[ \0]+", block[148:156])
    if len(block) < _BLOCK or not block[0] or not stated:
        return False
    return sum(block[:148]) + 8 * ord(" ") + sum(block[156:]) == int(stated[1], 8)


def _is_disc(file: BinaryIO) -> bool:
    """Return whether a file is the image of a CD or DVD (ECMA-119 8.1)."""
    file.seek(_ISO_AT)
    return file.read(len(_ISO)) == _ISO
