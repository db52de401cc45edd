"""Who may talk to the review page: the browser that was let in once, from this machine, and no other page."""

import json
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from dicomsort.errors import internal

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

MOST_BYTES = 1 << 20
"""Of the body of a request."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
_OUTSIDE = (
    "This page needs the address that `dicomsort review` has printed; each works once. If you have just "
    "followed it from another page, reload this one; else end the program with Ctrl-C and start it again."
)


class Session:
    """The secrets of one run: a token that lets one browser in, once, and the cookie it gets for it."""

    def __init__(self, port: int) -> None:
        self.token: str = secrets.token_urlsafe(32)
        self.name = f"dicomsort-{port}"
        self._secret = secrets.token_urlsafe(32)
        self._used = False

    @property
    def cookie(self) -> str:
        """The header that gives the cookie."""
        return f"{self.name}={self._secret}; Path=/; HttpOnly; SameSite=Strict"

    def redeem(self, token: str) -> bool:
        """Return whether this is the token and it has not been used; it has been then."""
        if self._used or not secrets.compare_digest(token.encode(), self.token.encode()):
            return False
        self._used = True
        return True

    def admits(self, cookies: str) -> bool:
        """Return whether the cookie of this run is among those of a request."""
        pairs = (each.strip().partition("=") for each in cookies.split(";"))
        return any(
            name == self.name and secrets.compare_digest(value.encode(), self._secret.encode())
            for name, _, value in pairs
        )


@dataclass(frozen=True, slots=True)
class _Request:
    """What the guard looks at. headers: by name in lower case; one that comes twice is joined by commas."""

    method: str
    path: str
    query: str
    headers: dict[str, str]

    @classmethod
    def of(cls, scope: Scope) -> "_Request":
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            between = "; " if key == "cookie" else ", "
            headers[key] = f"{headers[key]}{between}{text}" if key in headers else text
        return cls(scope["method"], scope["path"], scope["query_string"].decode("latin-1"), headers)

    @property
    def enters(self) -> bool:
        """Whether a person opens the page, and no page asks for something."""
        return self.path == "/" and self.method == "GET"

    @property
    def token(self) -> str | None:
        found = parse_qs(self.query, errors="replace").get("token") if self.enters else None
        return found[0] if found else None


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the guard says itself."""

    status: int
    line: str
    location: str = ""
    cookie: str = ""

    def headers(self) -> list[tuple[bytes, bytes]]:
        more = {"location": self.location, "set-cookie": self.cookie}
        return [(name.encode(), value.encode()) for name, value in more.items() if value]


class _Sealed:
    """An answer on its way, which gets the headers that all have; how far it has come."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = self.ended = False

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            message["headers"] = _sealed(message.get("headers", ()))
        else:
            self.ended = not message.get("more_body", False)
        await self._send(message)


class Guard:
    """Lets through only who may ask, seals every answer with headers, and never tells more than it should."""

    def __init__(self, application: Application, session: Session) -> None:
        self._application, self._session = application, session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        request, answer = _Request.of(scope), _Sealed(send)
        if (refusal := self._judge(request)) is not None:
            await _say(refusal, request, answer.send)
            return
        try:
            await self._application(scope, receive, answer.send)
        except Exception as error:
            if answer.begun and not answer.ended:
                raise  # the connection is closed, and nothing said
            if not answer.begun:
                await _say(_Answer(500, internal(error)), request, answer.send)

    def _judge(self, request: _Request) -> _Answer | None:
        """Answer a request that may not pass, or that comes to be let in; None for all others."""
        if not _is_here(request.headers.get("host", "")):
            return _Answer(400, "This host is not served: use 127.0.0.1 or localhost.")
        if not request.enters and not _is_of_this_page(request.headers):
            return _Answer(403, "This page answers only itself.")
        if (token := request.token) is not None and self._session.redeem(token):
            return _Answer(303, "Come in.", "/", self._session.cookie)
        if not self._session.admits(request.headers.get("cookie", "")):
            return _Answer(403, _OUTSIDE)
        if token is not None:
            return _Answer(303, "Come in.", "/")  # its own address again
        return _judge_body(request) if request.method == "POST" else None


def _judge_body(request: _Request) -> _Answer | None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        return _Answer(403, "Content-Type must be application/json.")
    length = request.headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()) or int(length) > MOST_BYTES:
        return _Answer(413, f"A request may have {MOST_BYTES} bytes.")
    return None


def _is_here(host: str) -> bool:
    """Return whether a Host header names this machine, at any port; other names may be rebound."""
    try:
        found = urlsplit(f"//{host}")
        return (found.port or 0) >= 0 and found.hostname in _HOSTS and not set(host) & set("@/?#, ")
    except ValueError:  # no port
        return False


def _is_of_this_page(headers: dict[str, str]) -> bool:
    """Return whether a request comes from the page itself, as far as the browser says where it comes from."""
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return False
    return headers.get("origin", f"http://{headers.get('host')}") == f"http://{headers.get('host')}"


def _sealed(headers: Any) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer with those that all have; nothing is kept unless it says so itself."""
    given = list(headers)
    kept = any(name.lower() == b"cache-control" for name, _ in given)
    return [*given, *_HEADERS, *([] if kept else [(b"cache-control", b"no-store")])]


async def _say(answer: _Answer, request: _Request, send: Send) -> None:
    for_program = request.path.startswith("/api/")
    text = json.dumps({"error": answer.line}) if for_program else f"{answer.line}\n"
    kind = b"application/json" if for_program else b"text/plain; charset=utf-8"
    body = b"" if request.method == "HEAD" else text.encode()
    headers = [(b"content-type", kind), (b"content-length", str(len(text.encode())).encode())]
    start = {"type": "http.response.start", "status": answer.status, "headers": headers + answer.headers()}
    await send(start)
    await send({"type": "http.response.body", "body": body})
