"""Instances of a PACS that speaks DICOMweb: found by queries (QIDO-RS), fetched as they are stored (WADO-RS).

dicomweb-client is not used: it parses what it fetches with pydicom, so what it gives are not the stored
bytes, it holds each instance in memory, and it tries a dead server for minutes.
"""

import json
import re
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any, BinaryIO
from urllib.parse import quote, unquote, urlencode, urlsplit

from dicomsort.errors import UsageError
from dicomsort.inputs.multipart import NoPartError, boundary_of, first_part, media_type
from dicomsort.inputs.names import place_in_pacs, without_secrets
from dicomsort.inputs.pacs_requests import NO_ANSWER, NO_TRUST, TOO_SLOW, CutOffError, Response, Web, WebError
from dicomsort.inputs.store import FetchError, RemoteSettings
from dicomsort.outcome import Failure, FileStamp, Reason, SourceFile, Status
from dicomsort.system.escaping import escape

SCHEME = "dicomweb+"
PAGE = 500
"""Studies or instances a page."""

_ADDRESS = re.compile(
    r"(?P<base>.*?)(?:/studies(?:/(?P<study>[^/]+)(?:/series/(?P<series>[^/]+)(?:/instances/(?P<instance>[^/]+))?)?)?)?"
)
_JSON = {"Accept": "application/dicom+json"}
_AS_STORED = {
    "Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*',
    "Accept-Encoding": "identity",  # Orthanc deflates for several times as long as it sends
}
_LISTS, _FEWEST_TRIES = 8, 2
_MOST_JSON = 1 << 26
_ROUND = 10  # what a server gives at most is a round number: a page of 37 is the last

_SOP_CLASS, _INSTANCE, _MODALITY = "00080016", "00080018", "00080060"
_STUDY, _SERIES = "0020000D", "0020000E"
_RETURNED = {"SOPClassUID": _SOP_CLASS, "SOPInstanceUID": _INSTANCE, "Modality": _MODALITY,
             "StudyInstanceUID": _STUDY, "SeriesInstanceUID": _SERIES}  # fmt: skip
_OF_STUDIES = frozenset(
    {
        *("StudyDate", "StudyTime", "AccessionNumber", "ModalitiesInStudy", "ReferringPhysicianName"),
        *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyID"),
        *("StudyInstanceUID", "StudyDescription", "PatientComments", "OtherPatientIDs"),
        *("SOPClassesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"),
    }
)
"""What only a search for studies knows (PS3.18 table 10.6.1-5); all else is asked of series and instances."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a DICOMweb service is, and perhaps one study, series or instance of it.

    base: the http address of the service. study, series, instance: UIDs; empty if all are meant.
    """

    base: str
    study: str = ""
    series: str = ""
    instance: str = ""

    @classmethod
    def parse(cls, name: str) -> "Address":
        """Take a name such as `dicomweb+http://host/dicom-web/studies/1.2` apart. Raises UsageError."""
        try:
            parts = urlsplit(name.removeprefix(SCHEME))
            _ = parts.port
        except ValueError:
            raise UsageError(f"'{_shown(name)}' is no address: check it") from None
        if parts.username is not None or parts.password is not None:
            raise UsageError(
                f"'{_shown(name)}': leave user and password out of the address, they would stay in lists of "
                "processes; put them into ~/.netrc (see docs/how-to/pacs.md)"
            )
        if parts.query or parts.fragment:
            raise UsageError(
                f"'{_shown(name)}': an address has no ? and no #; queries go to --query Key=Value"
            )
        found = _ADDRESS.fullmatch(parts.path.rstrip("/"))
        if not parts.hostname or found is None:
            raise UsageError(
                f"'{_shown(name)}' is no address: give one such as dicomweb+http://host:8042/dicom-web"
            )
        uids = (unquote(found[part] or "") for part in ("study", "series", "instance"))
        return cls(f"{parts.scheme}://{parts.netloc}{found['base']}", *uids)

    @property
    def url(self) -> str:
        """The http address of the study, series or instance."""
        url = self.base
        for kind, uid in (("studies", self.study), ("series", self.series), ("instances", self.instance)):
            url += f"/{kind}/{quote(uid, safe='')}" if uid else ""
        return url

    @property
    def name(self) -> str:
        """Its name for good."""
        return SCHEME + self.url


Attributes = Mapping[str, str]


class DicomWeb:
    """The instances of a DICOMweb service; a `Store`."""

    in_parts = False

    def __init__(self, url: str, settings: RemoteSettings) -> None:
        self._root, self._settings = Address.parse(url), settings
        self._web = Web(settings)

    def stop(self) -> None:
        """Give up what is being asked; see `Stoppable`."""
        self._web.stop()

    def close(self) -> None:
        """Let go of connections."""
        self._web.close()

    # Finding

    def find(self) -> Iterator[SourceFile]:
        """Yield every instance that the query matches, study by study; see `Store`.

        What the server says of an instance's SOP class and modality may show that it is no radiograph: then
        it has a failure already, and is not fetched. A study that cannot be listed comes as one failure.
        """
        seen = set[int]()
        with closing(self._listings()) as listings:
            for listing in listings:
                for source in listing:
                    key = hash(source.path)
                    if key not in seen:
                        seen.add(key)
                        yield source

    def _listings(self) -> Generator[list[SourceFile], None, None]:
        """Yield the instances of each study, in order, of which several are asked for at a time."""
        if self._root.study:
            yield self._listed(self._root, first=True)
            return
        lists = min(_LISTS, self._settings.connections)
        pool, waiting = ThreadPoolExecutor(lists, "dicomweb"), deque[Future[list[SourceFile]]]()
        try:
            for study in self._studies():
                waiting.append(pool.submit(self._listed, study))
                if len(waiting) > 2 * lists:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _studies(self) -> Iterator[Address]:
        query = {key: value for key, value in self._settings.query.items() if key in _OF_STUDIES}
        if "Modality" in self._settings.query:
            query.setdefault("ModalitiesInStudy", self._settings.query["Modality"])
        url, seen = f"{self._root.base}/studies", set[int]()
        for asked in _each(query):
            for found in self._pages(url, asked, _FEWEST_TRIES):
                uid = found["StudyInstanceUID"]
                if uid and hash(uid) not in seen:
                    seen.add(hash(uid))
                    yield Address(self._root.base, uid)

    def _listed(self, place: Address, first: bool = False) -> list[SourceFile]:
        query = {key: value for key, value in self._settings.query.items() if first or key not in _OF_STUDIES}
        alone = place.instance
        if alone:
            query, place = {"SOPInstanceUID": alone}, replace(place, instance="")
        query["includefield"] = ",".join(_RETURNED.values())
        url, tries = f"{place.url}/instances", _FEWEST_TRIES if first else None
        try:
            return [
                self._found(place, found)
                for asked in _each(query)
                for found in self._pages(url, asked, tries)
                if alone in ("", found["SOPInstanceUID"])
            ]
        except _ListingError as error:
            if first or error.status <= NO_ANSWER:
                raise
            failure = Failure(Status.IO_ERROR, Reason.REMOTE)
            return [SourceFile(place.name, place_in_pacs(place.name), failure)]

    def _pages(self, url: str, query: Mapping[str, str], tries: int | None = None) -> Iterator[Attributes]:
        """Yield what matches, page by page. Raises UsageError if the server gives no list.

        A server may give fewer than it was asked for, and need not say so; it need not know `offset` either.
        """
        offset, before = 0, list[Attributes]()
        while True:
            asked = urlencode({**query, "limit": PAGE, "offset": offset})
            page, more = self._page(f"{url}?{asked}", tries)
            if page == before:
                return
            yield from page
            if not more and len(page) % _ROUND:
                return
            offset, before = offset + len(page), page

    def _page(self, url: str, tries: int | None) -> tuple[list[Attributes], bool]:
        """Return a page, and whether the server says that there is more (PS3.18 8.3.4.4)."""
        try:
            return self._web.get(url, _JSON, self._taken_page, tries)
        except WebError as error:
            raise _ListingError(self._root.name, error.status, self._settings.timeout) from None

    def _taken_page(self, response: Response) -> tuple[list[Attributes], bool]:
        if response.status_code == 204:
            return [], False
        if response.status_code not in (200, 206):
            raise WebError(response.status_code)
        content = self._web.whole(response, _MOST_JSON)
        return _attributes(content), "299" in response.headers.get("Warning", "")

    def _found(self, place: Address, found: Attributes) -> SourceFile:
        series, instance = found.get("SeriesInstanceUID", ""), found.get("SOPInstanceUID", "")
        address = Address(place.base, place.study, series or place.series or "unknown", instance or "unknown")
        excluded = self._settings.excludes
        return self._source(address, excluded(found) if excluded else None)

    @staticmethod
    def _source(address: Address, failure: Failure | None = None) -> SourceFile:
        return SourceFile(address.name, place_in_pacs(address.name), failure, stamp=_stamp(address))

    # Fetching

    def fetch(self, path: str, start: int, stop: int | None, into: BinaryIO) -> FileStamp:
        """Write an instance into `into` as it is stored, never transcoded; see `Store`.

        Raises FetchError, OSError of `into`, ValueError if not the whole is asked for.
        """
        if start or stop is not None:
            raise ValueError("instances come as a whole")
        try:
            address = Address.parse(path)
        except UsageError:
            raise FetchError(Reason.REMOTE) from None
        if address.base != self._root.base or not address.instance:
            raise FetchError(Reason.REMOTE)
        at = into.tell()
        try:
            size = self._web.get(address.url, _AS_STORED, partial(self._written, into, at))
        except WebError as error:
            raise FetchError(Reason.VANISHED if error.status in (404, 410) else Reason.REMOTE) from None
        return _stamp(address, size)

    def _written(self, into: BinaryIO, at: int, response: Response) -> int:
        """Write the instance at `at`, in place of what an earlier try has left there; returns its size."""
        if response.status_code != 200:
            raise WebError(response.status_code)
        into.seek(at)
        into.truncate()
        size = 0
        for chunk in self._instance(response):
            into.write(chunk)
            size += len(chunk)
        return size

    def _instance(self, response: Response) -> Iterator[bytes]:
        content_type = response.headers.get("Content-Type", "")
        kind = media_type(content_type)
        if kind == "application/dicom":  # against PS3.18 10.4.3.1, but some servers do so
            yield from self._web.chunks(response)
        elif kind == "multipart/related":
            try:
                yield from first_part(self._web.chunks(response), boundary_of(content_type))
            except NoPartError:
                raise CutOffError from None
        else:
            raise WebError(406)


class _ListingError(UsageError):
    """A server that gives no list; in words that say what to do. status: see WebError."""

    def __init__(self, name: str, status: int, timeout: float) -> None:
        super().__init__(f"'{_shown(name)}' {_why(status, timeout)}")
        self.status = status


def _why(status: int, timeout: float) -> str:
    if status in _WORDS:
        return _WORDS[status].format(timeout=f"{timeout:g}")
    if status >= 500:
        return f"fails to answer queries (HTTP {status}), also when asked again: see its own log"
    return f"gives no list (HTTP {status}): see its own log"


_ROOT = "that this is the root of the service, such as dicomweb+http://host:8042/dicom-web"
_NO_SERVICE = f"answers no DICOMweb query: see {_ROOT}"
_CREDENTIALS = "put user and password into ~/.netrc, or a token into DICOMSORT_PACS_TOKEN"
_WORDS = {
    NO_ANSWER: "does not answer: check the address, and that the server runs; the same command goes on",
    TOO_SLOW: "did not answer within {timeout} seconds: is the server busy? The same command goes on",
    NO_TRUST: "has a certificate that is not trusted: name its authority's file in REQUESTS_CA_BUNDLE",
    **dict.fromkeys((404, 405, 406, 415, 501), _NO_SERVICE),
    400: f"does not understand the query: check --query, and {_ROOT}",
    401: f"refuses access (HTTP 401): {_CREDENTIALS}",
    403: f"refuses access (HTTP 403): {_CREDENTIALS}",
    413: "finds too much at a time: ask for less, such as --query StudyDate=20260101-20260131",
}


def _each(query: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Yield a query for each choice of values, where several are asked for; servers match one at a time."""
    choices = [[(key, value) for value in values.split("\\")] for key, values in query.items()]
    return (dict(chosen) for chosen in product(*choices))


def _attributes(content: bytes) -> list[Attributes]:
    """Read a page (DICOM JSON, PS3.18 F.2): of each match the first values of what was asked for, as text.

    Raises WebError if it is none: a page for people, say.
    """
    try:
        found = json.loads(content) if content.strip() else []
        matches = [found] if isinstance(found, dict) else found
        return [{keyword: _first(match, tag) for keyword, tag in _RETURNED.items()} for match in matches]
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise WebError(406) from None


def _first(match: Mapping[str, Any], tag: str) -> str:
    values = match.get(tag, {}).get("Value") or [""]
    text = str(values[0]) if isinstance(values, list) else ""
    return text.encode(errors="replace").decode().strip(" \0")  # JSON may hold halves of letters


def _stamp(address: Address, size: int = 0) -> FileStamp:
    """Return a stamp whose etag is the UID: an instance that is changed gets another one (PS3.3 C.7.6.1)."""
    return FileStamp(size, 0, address.instance)


def _shown(name: str) -> str:
    return escape(without_secrets(name))
