"""Files sent to a DICOMweb service, one a request, byte by byte as they are (STOW-RS: PS3.18 10.5)."""

import io
import json
import os
import uuid
from typing import Any, BinaryIO

from dicomsort.dicom.whole import Whole
from dicomsort.errors import UsageError
from dicomsort.inputs.dicomweb import Address
from dicomsort.inputs.pacs_requests import NO_TRUST, Response, Web, WebError
from dicomsort.inputs.store import RemoteSettings
from dicomsort.transfer.answers import Answer, Left
from dicomsort.transfer.peer import PeerLostError

_FAILED, _REASON = "00081198", "00081197"
_MOST_JSON = 1 << 22
_STATUSES_OF_FILES = frozenset({200, 202, 409})
_NOT_FOR_US = {
    401: "refuses access (HTTP 401): user and password go into ~/.netrc, a token into DICOMSORT_PACS_TOKEN",
    403: "refuses access (HTTP 403): this user may not store there",
    404: "takes no files (HTTP 404): give the root of its DICOMweb service",
    405: "takes no files (HTTP 405): it has no STOW-RS",
    NO_TRUST: "has a certificate that is not trusted: name its authority's file in REQUESTS_CA_BUNDLE",
}


class Stow:
    """A DICOMweb service that takes files; a `Peer`."""

    def __init__(self, to: str, settings: RemoteSettings) -> None:
        address = Address.parse(to)
        if address.study:
            raise UsageError("--to: give the root of the DICOMweb service, without a study")
        self._url, self.name = f"{address.base}/studies", address.name
        self._web = Web(settings)

    def stop(self) -> None:
        """Give up what is being sent, whichever thread does."""
        self._web.stop()

    def close(self) -> None:
        """Let go of connections."""
        self._web.close()

    def send(self, path: str, what: Whole) -> Answer | Left:  # noqa: ARG002  (it is all in the file)
        """Send a file as it is; see `Peer`."""
        edge = uuid.uuid4().hex
        headers = {
            "Accept": "application/dicom+json",
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={edge}',
        }
        with open(path, "rb") as file:
            body = _Body(file, edge)
            try:
                return self._web.post(self._url, headers, body.again, self._answer)
            except WebError as error:
                if error.status in _NOT_FOR_US:
                    raise PeerLostError(f"'{self.name}' {_NOT_FOR_US[error.status]}") from None
                if error.status > 0:
                    return Answer(http=error.status)
                raise PeerLostError(
                    f"'{self.name}' does not answer any more: see to it, and run the same command again"
                ) from None

    def _answer(self, response: Response) -> Answer:
        if response.status_code not in _STATUSES_OF_FILES:
            raise WebError(response.status_code)
        content = self._web.whole(response, _MOST_JSON)
        code = _failure_in(content)
        if code is None and response.status_code == 409:
            return Answer(http=409)
        return Answer(code or 0)


def _failure_in(content: bytes) -> int | None:
    """Return why the one instance of a request was not stored; None if the answer tells of no failure."""
    try:
        told: Any = json.loads(content) if content.strip() else {}
        told = told[0] if isinstance(told, list) and told else told
        failed = told.get(_FAILED, {}).get("Value") or []
        return int(failed[0].get(_REASON, {}).get("Value", [0x0110])[0]) if failed else None
    except (ValueError, TypeError, AttributeError, IndexError, RecursionError):
        return None


class _Body(io.RawIOBase):
    """The one part of a request, read from a file as it is sent."""

    def __init__(self, file: BinaryIO, edge: str) -> None:
        head = f"--{edge}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        self._file, self._head, self._tail = file, head, f"\r\n--{edge}--\r\n".encode()
        self._size = os.fstat(file.fileno()).st_size
        self._pieces = [io.BytesIO(), io.BytesIO()]

    def again(self) -> "_Body":
        """Return itself, to be read from its beginning."""
        self._file.seek(0)
        self._pieces = [io.BytesIO(self._head), io.BytesIO(self._tail)]
        return self

    def __len__(self) -> int:
        return len(self._head) + self._size + len(self._tail)

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        return self._pieces[0].read(size) or self._file.read(size) or self._pieces[1].read(size)
