"""What a file is that is not DICOM: an archive, a picture, a video, or something else; by its bytes alone."""

import re
from typing import BinaryIO

from dicomsort.dicom.archives import is_archive
from dicomsort.outcome import Reason

READ_PICTURE = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|RIFF.{4}WEBP|II[*+]\0|MM\0[*+]|BM.{4}\0{4}.{2}\0\0",
    re.DOTALL,
)
"""How pictures begin that are read: PNG, JPEG, WebP, TIFF and BMP."""
_OTHER_PICTURE = re.compile(
    rb"GIF8[79]a|\0\0\0\x0cjP  \r\n|\xffO\xffQ|\xff\n|\0\0\0\x0cJXL |.{4}ftyp(?:avi|hei|hev|mif|msf)"
    rb"|P[1-6]\s+(?:#[^\n]*\n)?[0-9]+\s+[0-9]|P7\s|8BPS|\0\0\x01\0[\x01-\x40]\0|\n[\x00-\x05]\x01[\x01\x02\x04\x08]"
    rb"|v/1\x01|qoif|.\0[\x02\x03\x0a\x0b]\0{5}.{8}[\x08\x0f\x10\x18\x20]",
    re.DOTALL,
)
"""How GIF, JPEG 2000, JPEG XL, AVIF, HEIC, PNM, PSD, ICO, PCX, OpenEXR, QOI and TGA begin."""
_VIDEO = re.compile(
    rb".{4}ftyp(?!M4[AB])|.{4}(?:moov|mdat|wide|skip)|RIFF.{4}AVI |\x1a\x45\xdf\xa3|\0\0\x01[\xb3\xba]"
    rb"|\x30\x26\xb2\x75\x8e\x66\xcf\x11|FLV\x01|\0\0\0\x01[\x27\x67]",
    re.DOTALL,
)
"""How MP4 and MOV, but for audio, AVI, Matroska and WebM, MPEG, WMV, FLV and H.264 begin."""
_PACKET = 188  # bytes of an MPEG transport stream, each of which begins with 0x47 (ISO 13818-1 2.4.3.2)
_START = 3 * _PACKET


def reason_for(file: BinaryIO) -> Reason:
    """Return why an open file that is not DICOM was not read: ARCHIVE, PICTURE, VIDEO or NO_DICOM.

    Of pictures and videos only the start is read, which is what comes first from another machine.
    """
    file.seek(0)
    start = file.read(_START)
    if READ_PICTURE.match(start) or _OTHER_PICTURE.match(start):
        return Reason.PICTURE
    if _VIDEO.match(start) or _is_transport_stream(start):
        return Reason.VIDEO
    file.seek(0)
    return Reason.ARCHIVE if is_archive(file) else Reason.NO_DICOM


def _is_transport_stream(start: bytes) -> bool:
    return len(start) == _START and set(start[::_PACKET]) == {0x47}
