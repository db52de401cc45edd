"""What a PACS answers to a file that it is sent, and why one is not sent at all."""

from dataclasses import dataclass
from enum import StrEnum

_DUPLICATE = 0x0111
_MEANINGS = {
    0x0110: "processing failure",
    0x0117: "invalid SOP instance",
    0x0122: "SOP class not supported",
    0x0124: "not authorized",
    0x0211: "unrecognized operation",
}
_BY_FIRST = {
    0xA7: "out of resources",
    0xA8: "processing failure",
    0xA9: "data set does not match its SOP class",
}


class Left(StrEnum):
    """Why a file was not sent; a fixed set of texts."""

    NOT_WHOLE = "not whole: header or pixels are damaged, or it lacks its meta group or UIDs"
    NOT_HERE = "file is not here: it is gone, or was never copied"
    CHANGED = "file changed since it was sorted: sort it again"
    SAME_UID = "same SOP Instance UID as another file"
    NO_CONTEXT = "PACS does not take this SOP class in this transfer syntax"
    WORKER_DIED = "reading this file ended its process (crash or out of memory)"
    TOO_SLOW = "reading took longer than the time limit"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a PACS says of a file.

    code: a status of a C-STORE (PS3.7 annex C, PS3.4 table B.2-1), which are those of STOW-RS too (PS3.18
    10.5.3.1). http: an HTTP status in its place.
    """

    code: int = 0
    http: int = 0

    @property
    def is_stored(self) -> bool:
        """Whether it has the file now: as it was sent, coerced, or from before."""
        return not self.http and (self.code in (0, _DUPLICATE) or self.code >> 12 == 0xB)

    @property
    def text(self) -> str:
        """Why it has not, of a fixed set of texts but for the code."""
        if self.http:
            return f"refused by the PACS: HTTP {self.http}"
        return f"refused by the PACS: {self._meaning} ({self.code:04X})"

    @property
    def _meaning(self) -> str:
        if self.code >> 12 == 0xC:
            return "it cannot understand the data set"
        return _MEANINGS.get(self.code) or _BY_FIRST.get(self.code >> 8, "failure")
