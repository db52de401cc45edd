"""What is no DICOM file is told by its bytes: pictures, videos, and what is neither."""

import io

import pytest

from dicomsort.dicom.other_files import reason_for
from dicomsort.outcome import Reason

# The first bytes that the formats' own descriptions give.
VIDEOS = {
    "mp4": b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41",
    "mov": b"\0\0\0\x14ftypqt  \0\0\0\0qt  ",
    "old mov": b"\0\x01\x02\x03moov\0\0\0lmvhd",
    "avi": b"RIFF\x24\0\1\0AVI LIST",
    "mkv": b"\x1a\x45\xdf\xa3\xa3\x42\x86\x81\x01",
    "mpeg program stream": b"\0\0\x01\xba\x44\0\x04\0\x04\x01",
    "mpeg video": b"\0\0\x01\xb3\x14\0\xf0\x13",
    "mpeg transport stream": (b"\x47\x40\0\x10" + bytes(184)) * 4,
    "wmv": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\0\xaa",
    "flv": b"FLV\x01\x05\0\0\0\x09",
}
PICTURES = {
    "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "pgm with a comment": b"P5\n# made by hand\n64 64\n255\n",
    "jpeg xl": b"\0\0\0\x0cJXL \r\n\x87\n",
    "openexr": b"v/1\x01\x02\0\0\0",
}
OTHERS = {
    "text": b"P1 and P2 are patients, BM is their hospital" * 20,
    "music": b"\0\0\0\x20ftypM4A \0\0\0\0",
    "wav": b"RIFF\x24\0\1\0WAVEfmt ",
    "short": b"G",
    "G only": b"G" * 188,
    "nearly a stream": b"\x47" + bytes(187) + b"\x48" + bytes(500),
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
}


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        *((start, Reason.VIDEO) for start in VIDEOS.values()),
        *((start, Reason.PICTURE) for start in PICTURES.values()),
        *((start, Reason.NO_DICOM) for start in OTHERS.values()),
    ],
    ids=[*VIDEOS, *PICTURES, *OTHERS],
)
def test_files_are_known_by_their_content(start: bytes, reason: Reason) -> None:
    file = io.BytesIO(start + bytes(40) if reason is not Reason.NO_DICOM else start)
    file.seek(3)
    assert reason_for(file) is reason
