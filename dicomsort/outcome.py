"""What can become of a file: statuses, reasons, and the values that carry them along the road."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np


class Status(StrEnum):
    """The `status` column of the manifest."""

    SORTED = "sorted"
    REVIEW = "review"
    EXCLUDED = "excluded"
    PLANNED = "planned"
    DUPLICATE = "duplicate"
    NOT_DICOM = "not_dicom"
    NOT_XRAY = "not_xray"
    NO_PIXELS = "no_pixels"
    UNSUPPORTED = "unsupported"
    DECODE_ERROR = "decode_error"
    CRASH = "crash"
    TIMEOUT = "timeout"
    IO_ERROR = "io_error"


TROUBLE = frozenset({Status.UNSUPPORTED, Status.DECODE_ERROR, Status.CRASH, Status.TIMEOUT, Status.IO_ERROR})
"""Statuses that make a run end with exit code 3."""


class Reason(StrEnum):
    """The `reason` column: a fixed set of texts, never an exception's message or a header value.

    Behind OTHER_FRAME stands the frame's number, see `frame_remark`.
    """

    NONE = ""
    UNLIKE = "unlike the training data"
    BELOW_THRESHOLD = "confidence below the review threshold"
    NO_LABEL = "no label reaches its threshold"
    CONTRADICTION = "header contradicts the picture"
    MANY_IMAGES = "study of more images than are looked at together, judged by the first of them"
    DECIDED_BEFORE = "a person decided on this file, and it has changed since: decide again"
    SAME_IMAGE = "same SOP Instance UID and same Pixel Data as the file in duplicate_of"
    ORIGINAL_GONE = "the file it repeated has changed, the next run places it"
    SAME_UID = "same SOP Instance UID as another file, but another image or transfer syntax"
    EMPTY_FILE = "empty file"
    NO_DICOM = "not a DICOM file"
    ARCHIVE = "archive: not opened"
    ARCHIVE_READ = "archive: each file in it has a row of its own"
    ARCHIVE_DAMAGED = "archive is damaged or cut off: what could be found in it has rows of its own"
    NESTED = "archive in an archive in an archive: not opened"
    ENCRYPTED = "encrypted in its archive: unpack it with its password"
    PACKING = "packed in its archive in a way that is not read: unpack it"
    MEMBER_DAMAGED = "damaged or cut off in its archive"
    INFLATES = "unpacks to more than an archive may hold (see the limits in the docs)"
    LINK_IN_ARCHIVE = "link within an archive: the file that it names has a row of its own"
    PICTURE = "picture, not DICOM (see --pictures)"
    VIDEO = "video, not an image"
    REMOTE = "store or PACS does not give this file out (permission, or errors until the last try)"
    EMPTY_FOLDER = "folder without any file"
    SPECIAL_FILE = "not a regular file (pipe, socket or device)"
    DICOMDIR = "DICOMDIR index, not an image"
    OTHER_SOP_CLASS = "SOP class is not a projection radiograph"
    OTHER_MODALITY = "modality is not a projection radiograph"
    MAMMOGRAPHY = "mammography is not sorted"
    TOMOSYNTHESIS = "tomosynthesis is not sorted"
    VOLUME = "3D X-ray is not sorted"
    CAPTURE = "capture without an X-ray modality (see --include-secondary-capture)"
    NO_TYPE = "neither a known SOP class nor an X-ray modality (see --include-secondary-capture)"
    PRIVATE = "private SOP class without an X-ray modality (see --include-secondary-capture)"
    NO_PIXEL_DATA = "X-ray object without pixel data"
    TRANSFER_SYNTAX = "transfer syntax cannot be decoded"
    TOO_LARGE = "image has more pixels than --max-pixels, or inflates without end"
    PIXEL_FORMAT = "pixel format is not an 8 to 16 bit image"
    PALETTE = "colour palette is missing, too short or segmented"
    HEADER_DAMAGED = "header is damaged or cut off"
    PIXELS_MISSING = "pixel data is cut off or shorter than the header says"
    PIXELS_DAMAGED = "pixel data cannot be decoded"
    CONSTANT_IMAGE = "image is one constant grey"
    PICTURE_DAMAGED = "picture file cannot be decoded"
    PICTURE_FORMAT = "picture format is not read (PNG, JPEG, WebP, TIFF or BMP of 8 or 16 bits are)"
    WORKER_DIED = "reading this file ended its process (crash or out of memory)"
    TOO_SLOW = "reading took longer than the time limit"
    UNREADABLE = "file cannot be read (permission or device error)"
    NOT_UNDER = "listed, but under none of the given folders"
    IN_OUTPUT = "listed, but lies in the output folder"
    NO_SUCH_FILE = "there is no such file"
    VANISHED = "file vanished while the run was going on"
    UNREADABLE_FOLDER = "folder cannot be listed (permission or device error)"
    DANGLING_LINK = "link to a file that does not exist"
    LINK_LOOP = "link that leads back to itself"
    CHANGED = "file changed between reading and placing"
    LAST_COPY = "source is gone, this may be the last copy"
    CHANGED_COPY = "placed file has changed since, or cannot be removed"
    DESTINATION_TAKEN = "another file already has the destination's name"
    NOT_PLACED = "file could not be placed (see the output folder's permissions and name limits)"
    SOURCE_TAKEN = "another file has come to where it was moved from"
    NOT_BACK = "cannot be moved back (see permissions and free space there)"
    DIFFERENT = "copy differs from its source when read again (--verify)"
    OTHER_DEVICE = "hard links cannot cross file systems (use another --action)"
    TARGET_DONE = "output is full or cannot be written"
    PERCENTILE_WINDOW = "window unusable, percentile window used"
    SHALLOW = "16-bit picture uses less than a quarter of its range"
    OTHER_DECODER = "damaged or unusual pixel data, decoded by another installed plug-in"
    POLARITY = "polarity in doubt"
    BY_MODALITY = "private SOP class, judged by its modality"
    MODALITY_MEANT = "modality misspelled or retired, read as meant"
    PHOTOMETRIC_MEANT = "photometric interpretation misspelled, read as meant"
    PHOTOMETRIC_UNKNOWN = "photometric interpretation unknown"
    SHAPE_IGNORED = "Presentation LUT Shape contradicts the photometric interpretation, which decides"
    STREAM_DECIDES = "code stream and header name different colour spaces, the code stream decides"
    RETIRED_SYNTAX = "retired transfer syntax"
    OFFSET_TABLE = "offset table is wrong, frames found without it"
    DECIMAL_COMMA = "number with a decimal comma, read as meant"
    NUMBER_UNREADABLE = "number that cannot be read, left out"
    TABLE_UNREADABLE = "look-up table that cannot be read, left out"
    PADDING_MEANT = "padding value outside the range of the pixels, read as meant"
    OTHER_FRAME = "middle frame is blank, damaged or missing, read instead: frame"


FOR_REVIEW = frozenset(
    {
        *(Reason.UNLIKE, Reason.BELOW_THRESHOLD, Reason.NO_LABEL, Reason.CONTRADICTION, Reason.POLARITY),
        *(Reason.MANY_IMAGES, Reason.DECIDED_BEFORE),
    }
)
"""Reasons for which a person should look."""


HINTS = (Reason.ARCHIVE, Reason.NESTED, Reason.PICTURE, Reason.VIDEO)
"""Reasons of what is not DICOM, but may hold radiographs: a person is told how many there are."""


def frame_remark(number: int) -> str:
    """Return the remark that another frame than the middle one was read; number counts from 1."""
    return f"{Reason.OTHER_FRAME} {number}"


REVIEW = "review"
"""Folder and status of what a person should look at; no label may have this name."""

EXCLUDED, UNSURE = "excluded", "unsure"
"""What a person may decide instead of a label: no radiograph, or not to be used; and not to be told."""


class Action(StrEnum):
    """What is done with a sorted file; NONE leaves all files where they are, MOVE removes them in the end."""

    NONE = "none"
    COPY = "copy"
    MOVE = "move"
    SYMLINK = "symlink"
    HARDLINK = "hardlink"
    REFLINK = "reflink"


COPIES = (Action.COPY, Action.REFLINK, Action.MOVE)
"""Actions whose result has bytes of its own, or will have them in the end."""


class _Lean:
    """Travels between processes by its fields alone, several times quicker than a dataclass does."""

    __slots__: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), tuple(getattr(self, name) for name in self.__slots__)


@dataclass(frozen=True, slots=True)
class Header(_Lean):
    """The DICOM attributes that the manifest tells, as text cleaned by `dicom`; empty where missing.

    None of them names a person. UIDs are kept only if they are made of digits and dots, code strings
    only if they are made of the characters the standard allows for CS plus lower case (PS3.5 6.2).
    age_group: child (under 18 at the study) or adult; the age itself stays in `dicom`.
    """

    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    modality: str = ""
    body_part_examined: str = ""
    view_position: str = ""
    photometric_interpretation: str = ""
    transfer_syntax: str = ""
    rows: int | None = None
    columns: int | None = None
    frames: int | None = None
    age_group: str = ""


Facts = tuple[str, ...]
"""Some of FACTS."""

FACTS = (
    "age=child", "age=teenager", "age=adult",
    "sop_class=intra-oral", "sop_class=angiography", "sop_class=radiofluoroscopy",
    "modality=IO", "modality=PX", "modality=XA", "modality=RF",
)  # fmt: skip
"""All that a header can say as evidence of what a picture shows; see `dicom.facts`."""


def age_group_of(facts: Facts) -> str:
    """Return the age group that facts tell: who is under 18 at the study is a child; empty if unknown."""
    if "age=adult" in facts:
        return "adult"
    return "child" if {"age=child", "age=teenager"} & set(facts) else ""


@dataclass(frozen=True, slots=True)
class FileStamp(_Lean):
    """Size in bytes and modification time in ns; what tells a changed file from an unchanged one.

    Of a file in an archive: its own unpacked size, and the archive's time. etag: what a store or a PACS says
    in their place (RFC 9110 8.8.3); if there is one it alone counts, and size and time are what was met.
    """

    size: int
    mtime_ns: int
    etag: str = ""

    def is_of(self, other: "FileStamp") -> bool:
        """Return whether both are of the same bytes, as far as stamps tell."""
        return self.etag == other.etag if self.etag or other.etag else self == other


@dataclass(frozen=True, slots=True)
class Placement(_Lean):
    """What was placed: its path relative to the output, how, and the source's stamp at that time.

    sha256: of its bytes in hex, if they were verified.
    """

    destination: str
    action: str
    stamp: FileStamp
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Reviewed(_Lean):
    """What a person has decided of a file.

    label: a class, several of a multilabel model with `|` between them; EXCLUDED or UNSURE. by: who. at:
    when, in UTC (ISO 8601, to the second).
    """

    label: str
    by: str
    at: str

    @property
    def status(self) -> Status:
        """How the file ends; what a person is unsure of stays in review."""
        return {EXCLUDED: Status.EXCLUDED, UNSURE: Status.REVIEW}.get(self.label, Status.SORTED)

    @property
    def folder(self) -> str:
        """The folder for the file, as `Decision.folder`."""
        return REVIEW if self.label == UNSURE else self.label.replace("|", "+")


@dataclass(frozen=True, slots=True)
class Part(_Lean):
    """Where the bytes of a source lie on this disk, if they are not the file that its path names.

    file: the absolute path of the file that holds them. start, length: where in it, in bytes; length None is
    to the end. packing: how they are packed there, `deflate` (RFC 1951) or not at all. size: in bytes,
    unpacked. crc: CRC-32 unpacked, None if it is not known. held: of a file that was fetched in part, the
    (start, stop) that are there; None for all.
    """

    file: str
    start: int = 0
    length: int | None = None
    packing: str = ""
    size: int | None = None
    crc: int | None = None
    held: tuple[tuple[int, int], ...] | None = None


@dataclass(frozen=True, slots=True)
class SourceFile(_Lean):
    """A file under one of the roots, in an archive there, in an object store or in a PACS.

    path: its name for good, see `inputs.names`. relpath: relative to its root, with the root's name in front
    if there are several. failure: set when it is known already that the file cannot be read. previous: what
    an earlier run placed of this file, before it changed. part: where its bytes are; None for a plain file,
    and for one that has not been fetched yet. stamp: what is known of it without reading; None for a plain
    file, which is asked when it is opened. study: to which study a table says that it belongs, if one does.
    """

    path: str
    relpath: str
    failure: "Failure | None" = None
    previous: Placement | None = None
    part: Part | None = None
    stamp: FileStamp | None = None
    study: str = ""


class Cost(NamedTuple):
    """Processor seconds that reading a file took: up to the decision what it is, and its pixels."""

    header: float = 0.0
    pixels: float = 0.0


_FREE = Cost()


@dataclass(frozen=True, slots=True)
class ReadImage(_Lean):
    """A file that was read. `image`: uint8, (size, size), the canvas the network sees.

    remarks: what a person should know of how it was read. further: the same frame on the canvases of other
    models, where these see another one. facts: what the header says as evidence. pixel_digest: see
    `pixel_source.pixel_digest`; empty if it was not asked for.
    """

    image: "np.ndarray"
    header: Header = field(default_factory=Header)
    stamp: FileStamp | None = None
    remarks: tuple[str, ...] = ()
    cost: Cost = field(default=_FREE, compare=False)
    further: "tuple[np.ndarray, ...]" = ()
    facts: Facts = ()
    pixel_digest: str = ""


@dataclass(frozen=True, slots=True)
class Failure(_Lean):
    """A file that was not read, or cannot be, and why."""

    status: Status
    reason: Reason
    header: Header = field(default_factory=Header)
    stamp: FileStamp | None = None
    cost: Cost = field(default=_FREE, compare=False)
