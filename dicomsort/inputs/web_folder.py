"""Files below a folder of a web server, as its pages list them (Apache, nginx, `python -m http.server`)."""

import time
from codecs import getincrementaldecoder
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from typing import BinaryIO, TypeVar
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from dicomsort.errors import UsageError
from dicomsort.inputs.names import base_name, clean, without_secrets
from dicomsort.inputs.store import FetchError, RemoteSettings
from dicomsort.inputs.transfer import SLOWEST, PassingError, Patience, transfer
from dicomsort.inputs.web import Response, Web, check, passing
from dicomsort.outcome import Failure, FileStamp, Reason, SourceFile, Status
from dicomsort.system.escaping import escape

_CHUNK = 256 << 10
_DEEPEST = 64
"""Folders within folders; deeper ones come from links that lead back to a folder above."""

_MOST_PAGE, _MOST_TAG = 1 << 28, 1 << 20
"""Bytes of a page, and letters of one tag, that are read at most."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class WebFolder:
    """What lies below an address, or one file; see `Store`. Nothing outside of it is ever asked for.

    A listing tells no etags, so each file is asked for its stamp (HEAD), many at a time.
    """

    in_parts = True

    def __init__(self, url: str, settings: RemoteSettings) -> None:
        """Connect to nothing yet. Raises UsageError for an address that holds a password or a query."""
        parts, shown = urlsplit(url), escape(without_secrets(url))
        if "@" in parts.netloc:
            raise UsageError(f"the address '{shown}' holds a user or a password: put them into ~/.netrc")
        if parts.query or not parts.hostname:
            raise UsageError(f"'{shown}' with a query or without a host is no address of a folder or a file")
        self._url = urldefrag(url).url if parts.path else f"{url}/"
        self._shown, self._connections, self._timeout = shown, settings.connections, settings.timeout
        self._web, self._patience = Web(settings), Patience(settings)

    def find(self) -> Iterator[SourceFile]:
        """Yield every file below the address, folder by folder in the order of their pages."""
        root = self._root()
        if not root.endswith("/"):
            yield self._stamped(SourceFile(root, clean(unquote(base_name(root)))))
            return
        threads = ThreadPoolExecutor(self._connections, "stamps")
        try:
            yield from _ahead(threads, self._stamped, self._walk(root), 4 * self._connections)
        finally:
            threads.shutdown(cancel_futures=True)

    def _root(self) -> str:
        """Return the address to begin with: servers add the `/` of a folder. Raises UsageError."""
        try:
            return self._patience(self._answering)
        except PassingError:
            raise UsageError(
                f"{self._shown}: the server cannot be reached: check address and network"
            ) from None
        except FetchError as error:
            told = {Reason.VANISHED: "there is nothing at this address"}
            why = told.get(error.reason, "the server refuses: check address and permission")
            raise UsageError(f"{self._shown}: {why}") from None

    def _answering(self) -> str:
        got, url = self._web.request("GET", self._url)
        got.close()
        check(got.status)
        return url if url.endswith("/") or not _is_page(got.headers) else f"{url}/"

    def _walk(self, root: str) -> Iterator[SourceFile]:
        folders = [root]
        while folders:
            folder = folders.pop()
            try:
                links = self._patience(partial(self._links, folder))
            except (FetchError, PassingError):
                yield _unreadable(folder, root)
                continue
            yield from (_file(link, root) for link in links if not link.endswith("/"))
            folders += reversed([link for link in links if link.endswith("/")])

    def _links(self, folder: str) -> list[str]:
        """Return the addresses of what lies in a folder; folders end in `/`."""
        if folder.count("/") > _DEEPEST:
            raise FetchError(Reason.REMOTE)
        got, _ = self._web.request("GET", folder)
        try:
            check(got.status)
            if not _is_page(got.headers):
                raise FetchError(Reason.REMOTE)
            page = _Page(folder)
            with passing():
                for chunk in self._chunks(got):
                    page.take(chunk)
        finally:
            got.close()
        return list(page.children)

    def _chunks(self, got: Response) -> Iterator[bytes]:
        """Yield what comes of a page. Raises PassingError if too slowly, FetchError if it does not end."""
        begun, taken = time.monotonic(), 0
        while chunk := got.read1(_CHUNK, decode_content=True):
            yield chunk
            taken += len(chunk)
            if taken > _MOST_PAGE:
                raise FetchError(Reason.REMOTE)
            if time.monotonic() - begun > self._timeout + taken / SLOWEST:
                raise PassingError

    def _stamped(self, file: SourceFile) -> SourceFile:
        if file.failure is not None:
            return file
        try:
            stamp = self._patience(partial(self._web.stamp, file.path))
        except FetchError as error:
            return replace(file, failure=Failure(Status.IO_ERROR, error.reason))
        except PassingError:
            return replace(file, failure=Failure(Status.IO_ERROR, Reason.REMOTE))
        return replace(file, stamp=stamp)

    def fetch(self, path: str, start: int, stop: int | None, into: BinaryIO) -> FileStamp:
        """Write bytes of a file into a file, see `Store`."""
        return transfer(self._web.ask(path), start, stop, into, self._patience)

    def stop(self) -> None:
        """Give up what is being asked at its next byte, or once it has taken too long; see `Stoppable`."""
        self._patience.stop()

    def close(self) -> None:
        """Let go of connections."""
        self._web.close()


def _is_page(headers: Mapping[str, str]) -> bool:
    return "html" in headers.get("Content-Type", "")


class _Page(HTMLParser):
    """Gathers what a page links to below its folder, each address once."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._folder, self._text = folder, getincrementaldecoder("utf-8")("replace")
        self.children: dict[str, None] = {}

    def take(self, chunk: bytes) -> None:
        """Go through some more of the page. Raises FetchError for a tag without an end."""
        self.feed(self._text.decode(chunk))
        if len(self.rawdata) > _MOST_TAG:
            raise FetchError(Reason.REMOTE)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the address of a link."""
        if tag == "a":
            links = (value for name, value in attrs if name == "href" and value)
            self.children |= dict.fromkeys(child for link in links if (child := _child(self._folder, link)))


def _child(folder: str, link: str) -> str:
    """Return what a link says of what lies in a folder: the file, or the folder there on the way to it.

    Empty for links to elsewhere, and for those that sort the page (`?C=N;O=D`).
    """
    try:
        url = urljoin(folder, urldefrag(link).url)
    except ValueError:
        return ""
    name, slash, _ = url.removeprefix(folder).partition("/")
    inside = url.startswith(folder) and "?" not in name
    climbs = {"", ".", ".."} & set(unquote(name).split("/"))
    return f"{folder}{name}{slash}" if inside and not climbs else ""


def _relative(url: str, root: str) -> str:
    return clean(unquote(url.removeprefix(root)))


def _file(url: str, root: str) -> SourceFile:
    return SourceFile(url, _relative(url, root))


def _unreadable(folder: str, root: str) -> SourceFile:
    return SourceFile(folder, _relative(folder, root), Failure(Status.IO_ERROR, Reason.UNREADABLE_FOLDER))


def _ahead(
    threads: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], most: int
) -> Iterator[Result]:
    """Yield results in the order of the items, of which at most so many are worked on or wait."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(threads.submit(work, item))
        if len(waiting) >= most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
