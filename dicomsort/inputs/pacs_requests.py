"""Requests to a web server that end: each in time, after a few tries, and without showing credentials."""

import contextlib
import random
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from dicomsort.inputs.store import RemoteSettings

Result = TypeVar("Result")
Body = bytes | Iterator[bytes]
Response = requests.Response

_CHUNK = 1 << 18
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONNECT = 10.0  # seconds; a server that is there accepts at once
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 10.0
_PER_TIMEOUT = 1 << 20  # bytes that must come in `timeout` seconds at least

NO_ANSWER, TOO_SLOW, NO_TRUST = 0, -1, -2
"""In place of a status code: nothing answers there, it answers too slowly, its certificate is not trusted."""


class WebError(Exception):
    """A request that has failed after all tries.

    status: of the HTTP answer (RFC 9110 15), or NO_ANSWER, TOO_SLOW or NO_TRUST. Says nothing of the answer's
    text, which may quote a header.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class CutOffError(Exception):
    """An answer that ends too early, or is no answer to what was asked; it is asked for again."""


class Web:
    """One web server. Thread-safe. Credentials are sent to this server only, and to where it lies.

    Without `authorization` in the settings, user and password come from netrc; proxies and authorities of
    certificates from where `requests` looks for them.
    """

    def __init__(self, settings: RemoteSettings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._session = requests.Session()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        adapter = _Adapter(self._sockets, settings.connections)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, adapter)
        if settings.authorization:
            self._session.auth = self._authorized

    def _authorized(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._settings.authorization
        return request

    def stop(self) -> None:
        """Give up what is being asked, whichever thread does; nothing more is asked."""
        self._stop.set()
        for each in tuple(self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of connections, and try nothing again."""
        self._stop.set()
        self._session.close()

    def get(
        self,
        url: str,
        headers: Mapping[str, str],
        take: Callable[[Response], Result],
        tries: int | None = None,
    ) -> Result:
        """Return what `take` makes of the answer; both again, with growing pauses, if it fails for now.

        take: may raise CutOffError, and be called again after it has taken a part. tries: in place of the
        settings'. Raises WebError.
        """
        return self._tried(lambda: self._send("GET", url, headers, None, take), tries or self._settings.tries)

    def post(
        self,
        url: str,
        headers: Mapping[str, str],
        body: Callable[[], Body],
        take: Callable[[Response], Result],
    ) -> Result:
        """Send a body and return what `take` makes of the answer; `body` is called for each try.

        Only for what may be sent twice without harm. Raises WebError.
        """
        return self._tried(lambda: self._send("POST", url, headers, body(), take), self._settings.tries)

    def change(self, method: str, url: str, body: bytes = b"") -> int:
        """Send a PUT or DELETE and return the status code of the answer, which is not looked at."""
        return self._tried(lambda: self._send(method, url, {}, body, _status), self._settings.tries)

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | None,
        take: Callable[[Response], Result],
    ) -> Result:
        timeout = self._settings.timeout
        try:
            with self._session.request(
                method,
                url,
                headers=dict(headers),
                data=body,
                stream=True,
                timeout=(min(timeout, _CONNECT), timeout),
            ) as response:
                if response.status_code in _PASSING:
                    raise _Again(response.status_code, _asked_pause(response))
                return take(response)
        except requests.exceptions.SSLError as error:
            if "CERTIFICATE" in str(error):
                raise WebError(NO_TRUST) from None
            raise _Again(NO_ANSWER) from None
        except requests.Timeout:
            raise _Again(TOO_SLOW) from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, CutOffError):
            raise _Again(NO_ANSWER) from None

    def _tried(self, work: Callable[[], Result], tries: int) -> Result:
        pause = _FIRST_PAUSE
        if self._stop.is_set():
            raise WebError(NO_ANSWER)
        for left in reversed(range(tries)):
            try:
                return work()
            except _Again as again:
                longest = max(pause, min(again.pause, self._settings.timeout))
                if not left or self._stop.wait(longest * random.uniform(0.5, 1.5)):  # noqa: S311
                    raise WebError(again.status) from None
            pause = min(2 * pause, _LONGEST_PAUSE)
        raise AssertionError  # tries is at least 1

    def chunks(self, response: Response) -> Iterator[bytes]:
        """Yield an answer's bytes as they come. Raises CutOffError if they come too slowly, or not all."""
        begun, taken = time.monotonic(), 0
        with _cut_off():
            while chunk := response.raw.read1(_CHUNK, decode_content=True):  # what there is: see the time
                yield chunk
                taken += len(chunk)
                allowed = self._settings.timeout * (1 + taken // _PER_TIMEOUT)
                if self._stop.is_set() or time.monotonic() - begun > allowed:
                    raise CutOffError

    def whole(self, response: Response, most: int) -> bytes:
        """Return an answer's bytes. Raises CutOffError as `chunks`, and if there are more than `most`."""
        content = bytearray()
        for chunk in self.chunks(response):
            content += chunk
            if len(content) > most:
                raise CutOffError
        return bytes(content)


class _Adapter(HTTPAdapter):
    """Keeps an eye on the sockets of all connections, so that they can be shut from another thread."""

    def __init__(self, sockets: "weakref.WeakSet[socket.socket]", connections: int) -> None:
        self._sockets = sockets
        super().__init__(pool_maxsize=connections)

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        """See `HTTPAdapter`."""
        super().init_poolmanager(*arguments, **named)
        sockets = self._sockets

        class Plain(HTTPConnection):
            def connect(self) -> None:
                super().connect()
                sockets.add(self.sock)

        class Secure(HTTPSConnection):
            def connect(self) -> None:
                super().connect()
                sockets.add(self.sock)

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(HTTPSConnectionPool):
            ConnectionCls = Secure

        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}


class _Again(Exception):  # noqa: N818  (not the end yet)
    """A try that has failed; pause: seconds that the server asks for (RFC 9110 10.2.3)."""

    def __init__(self, status: int, pause: float = 0.0) -> None:
        super().__init__(status)
        self.status, self.pause = status, pause


@contextlib.contextmanager
def _cut_off() -> Iterator[None]:
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError):
        raise CutOffError from None


def _asked_pause(response: Response) -> float:
    asked = response.headers.get("Retry-After", "")
    return float(asked) if asked.isascii() and asked.isdigit() and len(asked) < 6 else 0.0


def _status(response: Response) -> int:
    return response.status_code
