"""Bytes of files on web servers, by HTTP requests over connections that are kept."""

import netrc
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import partial
from types import MappingProxyType
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError

from dicomsort.inputs.store import FetchError, RemoteSettings
from dicomsort.inputs.transfer import (
    Answer,
    Ask,
    ChangedError,
    PassingError,
    condition,
    stamp_of,
    time_for_piece,
)
from dicomsort.outcome import FileStamp, Reason

Response = urllib3.BaseHTTPResponse
_CHUNK = 256 << 10
_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]+/([0-9]{1,18})")
_LENGTH = re.compile(r"[0-9]{1,18}")
_GONE = (404, 410)
_PASSING = (408, 425, 429)
_PART, _CHANGED, _BEYOND_END = 206, 412, 416
_ELSEWHERE = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
_AS_IT_IS = {"Accept-Encoding": "identity"}


class Web:
    """Requests to web servers. Thread-safe.

    Who has a password for a host in ~/.netrc is signed in there, and nowhere else; proxies are those of the
    system.
    certificates: a file of those that are trusted; None for the system's.
    """

    def __init__(self, settings: RemoteSettings, certificates: str | None = None) -> None:
        self._settings = settings
        self._certificates = certificates
        self._pools: dict[str, urllib3.PoolManager] = {}
        self._lock = threading.Lock()
        self._signing = _netrc()

    def ask(self, url: str) -> Ask:
        """Return what asks for bytes of the file at an address; a server that knows no ranges sends all."""
        return partial(self._ask, url)

    def _ask(self, url: str, start: int, stop: int, etag: str) -> Answer:
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        if match := condition(etag):
            headers["If-Match"] = match
        begun = time.monotonic()
        got, _ = self.request("GET", url, headers)
        if got.status == _BEYOND_END:
            got.close()
            return Answer(self._stamp(url), iter(()))
        begin, stamp = _described(got)
        if begin > start:
            got.close()
            raise FetchError(Reason.REMOTE)
        end = begun + time_for_piece(self._settings, min(stop, stamp.size) - begin)
        return Answer(stamp, _chunks(got, start - begin, stop - start, end), got.status == _PART)

    def stamp(self, url: str) -> FileStamp:
        """Return what is known of a file without its bytes. Raises PassingError or FetchError."""
        got, _ = self.request("HEAD", url)
        got.release_conn()
        known = got.status in _GONE or (got.status == 200 and "Content-Length" in got.headers)
        return _described(got)[1] if known else self._stamp(url)

    def _stamp(self, url: str) -> FileStamp:
        """Begin to get a file, for servers that answer nothing else."""
        got, _ = self.request("GET", url)
        stamp = _described(got)[1]
        got.close()
        return stamp

    def request(
        self, method: str, url: str, headers: Mapping[str, str] = MappingProxyType({})
    ) -> tuple[urllib3.BaseHTTPResponse, str]:
        """Return an answer and the address that has given it. Raises PassingError or FetchError."""
        first = url
        for _ in range(_MOST_REDIRECTS):
            signed = self._signed(url) if url == first or _is_as_safe(url, first) else {}
            with passing():
                got = self._pool(url).urlopen(
                    method,
                    _target(url),
                    headers={**_AS_IT_IS, **headers, **signed},
                    redirect=False,
                    retries=False,
                    preload_content=False,
                )
            if got.status not in _ELSEWHERE or "Location" not in got.headers:
                return got, url
            got.close()
            url = _joined(url, got.headers["Location"])
        raise FetchError(Reason.REMOTE)

    def _pool(self, url: str) -> urllib3.HTTPConnectionPool:
        parts = urlsplit(url)
        proxy = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
        with self._lock:
            manager = self._manager(proxy or "")
        return manager.connection_from_url(f"{parts.scheme}://{parts.netloc}")

    def _manager(self, proxy: str) -> urllib3.PoolManager:
        if proxy not in self._pools:
            made: Callable[..., urllib3.PoolManager] = (
                partial(urllib3.ProxyManager, proxy) if proxy else urllib3.PoolManager
            )
            limit = self._settings.timeout
            self._pools[proxy] = made(
                maxsize=self._settings.connections,
                timeout=urllib3.Timeout(connect=limit, read=limit),
                ca_certs=self._certificates,
            )
        return self._pools[proxy]

    def _signed(self, url: str) -> dict[str, str]:
        known = self._signing.hosts.get(urlsplit(url).hostname or "") if self._signing else None
        if not known:
            return {}
        return urllib3.make_headers(basic_auth=f"{known[0]}:{known[2]}")

    def close(self) -> None:
        """Let go of connections."""
        for pool in self._pools.values():
            pool.clear()


def _netrc() -> netrc.netrc | None:
    try:
        return netrc.netrc()
    except (OSError, netrc.NetrcParseError):
        return None


def _is_as_safe(url: str, first: str) -> bool:
    """Return whether what another address was told may be told to this one, to which it has sent us."""
    return url.startswith("https://") and urlsplit(url).hostname == urlsplit(first).hostname


def _joined(url: str, further: str) -> str:
    try:
        return urljoin(url, further)
    except ValueError:
        raise FetchError(Reason.REMOTE) from None


def _target(url: str) -> str:
    """Return what stands behind the host, as it is: a part of a key may be `..`."""
    return f"/{url.partition('://')[2].partition('/')[2].partition('#')[0]}"


@contextmanager
def passing() -> Iterator[None]:
    """Raise PassingError for what befell a connection."""
    try:
        yield
    except (HTTPError, OSError):
        raise PassingError from None


def _described(got: urllib3.BaseHTTPResponse) -> tuple[int, FileStamp]:
    """Return from which byte on the file comes, and its stamp. Raises as `Ask` does."""
    try:
        check(got.status)
        begin, size = _extent(got)
    except Exception:
        got.close()
        raise
    return begin, stamp_of(size, _seconds(got), got.headers.get("ETag"))


def check(status: int) -> None:
    """Raise what a status means for a file, as `Ask` does; nothing if it is there."""
    if status in _GONE:
        raise FetchError(Reason.VANISHED)
    if status == _CHANGED:
        raise ChangedError
    if status >= 500 or status in _PASSING:
        raise PassingError
    if status >= 400:
        raise FetchError(Reason.REMOTE)


def _extent(got: urllib3.BaseHTTPResponse) -> tuple[int, int]:
    """Return the first byte that comes and the size of the whole (RFC 9110 14.4)."""
    told = _RANGE.fullmatch(got.headers.get("Content-Range", ""))
    if told and got.status == _PART:
        return int(told[1]), int(told[2])
    length = _LENGTH.fullmatch(got.headers.get("Content-Length", ""))
    if got.status != 200 or not length:
        raise FetchError(Reason.REMOTE)
    return 0, int(length[0])


def _seconds(got: urllib3.BaseHTTPResponse) -> float:
    """Return when the file was changed last, in seconds since 1970; 0 if it is not told."""
    try:
        return parsedate_to_datetime(got.headers.get("Last-Modified", "")).timestamp()
    except ValueError:
        return 0.0


def _chunks(got: urllib3.BaseHTTPResponse, skip: int, most: int, end: float) -> Iterator[bytes]:
    """Yield what was asked for of what comes. end: when that must be done."""
    try:
        while most > 0:
            with passing():
                chunk = got.read1(_CHUNK, decode_content=False)
            if not chunk:
                break
            kept = chunk[skip : skip + most]
            skip, most = max(0, skip - len(chunk)), most - len(kept)
            yield kept
            if time.monotonic() > end and most > 0:
                raise PassingError
    finally:
        _let_go(got)


def _let_go(got: urllib3.BaseHTTPResponse) -> None:
    """Keep the connection only if nothing more comes over it."""
    if got.length_remaining == 0:
        got.release_conn()
    got.close()
