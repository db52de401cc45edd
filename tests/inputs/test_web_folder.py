"""Listings of web servers: every file below the address, none outside of it, and all its bytes."""

import http.server
import io
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
from object_server import Proxy, in_turn
from web_server import serving

from dicomsort.errors import UsageError
from dicomsort.inputs import transfer, web_folder
from dicomsort.inputs.remotes import Remotes, relative_to
from dicomsort.inputs.store import FetchError, RemoteSettings
from dicomsort.inputs.walk import Root, roots_of
from dicomsort.inputs.web_folder import WebFolder
from dicomsort.outcome import Failure, Reason, SourceFile, Status

QUICK = RemoteSettings(connections=4, timeout=60, tries=3)
HASTY = RemoteSettings(connections=4, timeout=0.5, tries=60)
NGINX = """<html><head><title>Index of /x/</title></head><body>
<h1>Index of /x/</h1><hr><pre><a href="../">../</a>
<a href="sub/">sub/</a>          29-Nov-2026 09:00       -
<a href="a%26b.dcm">a&amp;b.dcm</a>  29-Nov-2026 09:00      33
</pre><hr></body></html>"""
APACHE = """<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN"><html><body><table>
<tr><th><a href="?C=N;O=D">Name</a></th><th><a href="?C=M;O=A">Last modified</a></th></tr>
<tr><td><img src="/icons/back.gif"></td><td><a href="/">Parent Directory</a></td></tr>
<tr><td><a href="a%26b.dcm"><img src="/icons/unknown.gif"></a></td>
<td><a href="a%26b.dcm">a&amp;b.dcm</a></td></tr>
<tr><td><a href="sub/">sub/</a></td></tr></table></body></html>"""
BY_HAND = """<A HREF='http://elsewhere.invalid/x.dcm'>1</a><a href=//elsewhere.invalid/y.dcm>2</a>
<a href="/outside.dcm">3</a><a href="../outside.dcm">4</a><a href="%2e%2e/outside.dcm">5</a>
<a href="..%2Foutside.dcm">6</a><a href="mailto:a@b.c">7</a><a href="javascript:x()">8</a><a href="#top">9</a>
<a href="http://[bad">10</a><a name=z>11</a><a href="sub/c.dcm">12</a>
<a href="/x/a%26b.dcm#page">13</a><a href="."></a>"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Python's own server: it knows no ranges and no etags."""

    def log_message(self, *words: object) -> None: ...


class Ranged(Quiet):
    """A server that knows ranges (one, `bytes=a-b`) and etags."""

    @property
    def etag(self) -> str:
        facts = os.stat(path) if os.path.exists(path := self.translate_path(self.path)) else None
        return f'"{facts.st_size}-{facts.st_mtime_ns}"' if facts else '"none"'

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        path = self.translate_path(self.path)
        if not wanted or os.path.isdir(path) or not os.path.exists(path):
            return super().do_GET()
        if self.headers.get("If-Match", self.etag) != self.etag:
            return self.send_error(412)
        body = Path(path).read_bytes()
        start, stop = map(int, wanted.removeprefix("bytes=").split("-"))
        if start >= len(body):
            return self.send_error(416)
        part = body[start : stop + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Last-Modified", self.date_time_string(int(os.stat(path).st_mtime)))
        self.end_headers()
        self.wfile.write(part)
        return None

    def end_headers(self) -> None:
        self.send_header("ETag", self.etag)
        super().end_headers()


@pytest.fixture(params=[Quiet, Ranged])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a server of `tmp_path / "www"`; nobody waits between two tries."""
    (tmp_path / "www").mkdir()
    with serving(partial(request.param, directory=str(tmp_path / "www"))) as address:
        yield address


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(transfer, "_FIRST_PAUSE", 0.001)


def written(tmp_path: Path, files: dict[str, bytes]) -> None:
    for name, body in files.items():
        path = tmp_path / "www" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)


def fetched(store: WebFolder, path: str, start: int = 0, stop: int | None = None) -> bytes:
    into = io.BytesIO()
    store.fetch(path, start, stop, into)
    return into.getvalue()


def test_every_file_below_an_address_is_found_with_its_bytes(site: str, tmp_path: Path) -> None:
    files = {"a.dcm": b"a", "x/b #?ü.dcm": b"bb", "x/y z/c%41.dcm": b"", "x/y z/d;e&f.dcm": bytes(300)}
    written(tmp_path, files | {"xx/no.dcm": b"1"})
    store = WebFolder(f"{site}/x", QUICK)
    found = {file.relpath: file for file in store.find()}
    assert found.keys() == {name.removeprefix("x/") for name in files if name.startswith("x/")}
    for name, file in found.items():
        into = io.BytesIO()
        assert store.fetch(file.path, 0, None, into) == file.stamp
        assert into.getvalue() == files[f"x/{name}"]
    assert {file.relpath for file in WebFolder(site, QUICK).find()} == {*files, "xx/no.dcm"}
    store.close()


def test_one_file_is_a_root_too_and_an_address_without_anything_ends_with_one_line(
    site: str, tmp_path: Path
) -> None:
    written(tmp_path, {"x/a b.dcm": b"1"})
    (file,) = WebFolder(f"{site}/x/a%20b.dcm", QUICK).find()
    assert (file.path, file.relpath) == (f"{site}/x/a%20b.dcm", "a b.dcm")
    with pytest.raises(UsageError, match=r"/none: there is nothing at this address$"):
        list(WebFolder(f"{site}/none", QUICK).find())


@pytest.mark.parametrize("page", [NGINX, APACHE, BY_HAND], ids=["nginx", "apache", "by hand"])
def test_links_to_elsewhere_are_not_followed_whatever_writes_the_page(
    page: str, site: str, tmp_path: Path
) -> None:
    written(
        tmp_path, {"x/index.html": page.encode(), "x/a&b.dcm": b"1", "x/sub/c.dcm": b"2", "outside.dcm": b"3"}
    )
    with Proxy(site) as proxy:
        found = sorted(file.relpath for file in WebFolder(f"{proxy.address}/x/", QUICK).find())
        assert found == ["a&b.dcm", "sub/c.dcm"]
        assert all(path.startswith("/x/") for path in proxy.asked)


def test_any_bytes_can_be_asked_for_of_a_server_with_ranges_or_without(
    site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = bytes(range(256)) * 4000
    written(tmp_path, {"a.dcm": body, "empty": b""})
    monkeypatch.setattr(transfer, "PIECE", 600_000)
    store = WebFolder(site, QUICK)
    for start, stop in [
        (0, 10),
        (0, None),
        (9, 700_001),
        (1_000_000, None),
        (1_023_999, 2_000_000),
        (2_000_000, None),
    ]:
        assert fetched(store, f"{site}/a.dcm", start, stop) == body[start:stop]
    assert fetched(store, f"{site}/empty", 0, 100) == b""


def test_a_file_that_changes_has_another_etag(site: str, tmp_path: Path) -> None:
    stamps = []
    for body in (b"1", b"1", b"22"):
        written(tmp_path, {"a.dcm": body})
        (file,) = WebFolder(site, QUICK).find()
        stamps.append(file.stamp.etag if file.stamp else "")
        time.sleep(0.01)
    assert stamps[0]
    assert stamps[0] != stamps[2]


@pytest.mark.parametrize("fault", ["503", "reset", "cut", "hang"])
def test_what_fails_now_and_then_is_asked_for_again(fault: str, site: str, tmp_path: Path) -> None:
    written(tmp_path, {"x/a.dcm": b"0123456789" * 5})
    with Proxy(site, faults=in_turn({"/x/": [fault], "a.dcm": [fault, "", fault]})) as proxy:
        store = WebFolder(f"{proxy.address}/x/", HASTY if fault == "hang" else QUICK)
        (file,) = store.find()
        assert fetched(store, file.path) == b"0123456789" * 5


def test_what_the_server_does_not_give_out_has_a_row_and_the_rest_goes_on(site: str, tmp_path: Path) -> None:
    written(tmp_path, {"a.dcm": b"1", "b.dcm": b"2", "c.dcm": b"3", "sub/d.dcm": b"4", "z/e.dcm": b"5"})
    refused = {"a.dcm": ["403"] * 9, "b.dcm": ["404"] * 9, "/sub/": ["500"] * 9}
    with Proxy(site, faults=in_turn(refused)) as proxy:
        files = {file.relpath: file for file in WebFolder(proxy.address, QUICK).find()}
    assert {name: reason(file) for name, file in files.items()} == {
        "a.dcm": Reason.REMOTE,
        "b.dcm": Reason.VANISHED,
        "c.dcm": None,
        "sub": Reason.UNREADABLE_FOLDER,
        "z/e.dcm": None,
    }


def reason(file: SourceFile) -> Reason | None:
    assert file.failure is None or file.failure.status is Status.IO_ERROR
    return file.failure.reason if isinstance(file.failure, Failure) else None


def test_a_file_that_vanishes_and_one_that_is_refused_say_so(site: str) -> None:
    with Proxy(site, faults=in_turn({"no.dcm": ["403"] * 9})) as proxy:
        store = WebFolder(proxy.address, QUICK)
        for name, why in {"gone.dcm": Reason.VANISHED, "no.dcm": Reason.REMOTE}.items():
            with pytest.raises(FetchError) as error:
                fetched(store, f"{proxy.address}/{name}")
            assert error.value.reason is why


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://user:canary@host/x/", "the address 'http://host/x/' holds a user or a password"),
        ("http://host/x/?token=canary", "'http://host/x/' with a query"),
        ("http:///x", "'http:///x' with a query or without a host"),
        ("http://127.0.0.1:1/", "http://127.0.0.1:1/: the server cannot be reached"),
    ],
)
def test_an_address_that_cannot_be_used_ends_with_one_line_without_secrets(url: str, says: str) -> None:
    with pytest.raises(UsageError) as error:
        list(WebFolder(url, QUICK).find())
    assert str(error.value).startswith(says)
    assert "canary" not in str(error.value)


def test_a_password_lies_in_netrc_and_goes_to_its_host_only(site: str, tmp_path: Path) -> None:
    written(tmp_path, {"a.dcm": b"1"})
    with Proxy(site) as proxy:
        for host, signed in {
            "machine 127.0.0.1": True,
            "machine elsewhere.invalid": False,
            "default": False,
        }.items():
            (tmp_path / ".netrc").write_text(f"{host} login me password canary\n")
            (tmp_path / ".netrc").chmod(0o600)
            proxy.heads.clear()
            (file,) = WebFolder(proxy.address, QUICK).find()
            assert fetched(WebFolder(proxy.address, QUICK), file.path) == b"1"
            assert all(("basic bWU6Y2FuYXJ5".lower() in head.lower()) is signed for head in proxy.heads)


def test_a_file_that_changes_between_two_pieces_comes_in_one_version(
    site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, {"a.dcm": b"old" * 100})
    monkeypatch.setattr(transfer, "PIECE", 100)

    def change(path: str, number: int) -> str:
        if number == 2:
            written(tmp_path, {"a.dcm": b"newer" * 50})
        return ""

    with Proxy(site, faults=change) as proxy:
        assert fetched(WebFolder(proxy.address, QUICK), f"{proxy.address}/a.dcm") == b"newer" * 50


def test_a_server_that_sends_elsewhere_is_followed_and_told_no_password(site: str, tmp_path: Path) -> None:
    """`localhost` stands for another host; the first one signs in."""
    written(tmp_path, {"a.dcm": b"0123456789"})
    (tmp_path / ".netrc").write_text(
        "machine 127.0.0.1 login me password canary\nmachine localhost login me password canary\n"
    )
    (tmp_path / ".netrc").chmod(0o600)
    there = site.replace("127.0.0.1", "localhost")

    class Sends(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(307)
            self.send_header("Location", f"{elsewhere}{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *words: object) -> None: ...

    with Proxy(there) as proxy, serving(Sends) as address:
        elsewhere = proxy.address.replace("127.0.0.1", "localhost")
        assert fetched(WebFolder(address, QUICK), f"{address}/a.dcm", 3, 7) == b"3456"
        assert proxy.heads
        assert not [head for head in proxy.heads if "authorization" in head.lower()]


def test_where_a_server_sends_elsewhere_for_all_there_is_one_store_for_all(site: str, tmp_path: Path) -> None:
    """A connection for each file would end the run after a thousand."""
    written(tmp_path, {f"{number}.dcm": b"1" for number in range(9)})

    class Sends(Quiet):
        def do_GET(self) -> None:
            self.send_response(301)
            self.send_header("Location", f"{site.replace('127.0.0.1', 'localhost')}{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815

    with serving(Sends) as address:
        remotes = Remotes(roots_of((address,)), QUICK)
        assert len({id(remotes.store_for(file.path)) for file in remotes.find()}) == 1
        remotes.close()


def test_a_file_that_is_named_has_the_place_of_one_that_is_found(site: str, tmp_path: Path) -> None:
    """As in a list of files, in shards, and when a person has decided."""
    written(tmp_path, {"x/a b&c.dcm": b"1", "x/ü%/d.dcm": b"2"})
    for address in (f"{site}/x", f"{site}/x/a%20b%26c.dcm"):
        for file in WebFolder(address, QUICK).find():
            assert relative_to(Root(address, "in"), file.path) == f"in/{file.relpath}"


@pytest.mark.parametrize(("handler", "requests"), [(Quiet, 2), (Ranged, 10)])
def test_a_server_without_ranges_does_not_send_a_file_anew_for_each_piece(
    handler: type[Quiet], requests: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = os.urandom(1000)
    written(tmp_path, {"a.dcm": body})
    monkeypatch.setattr(transfer, "PIECE", 100)
    with serving(partial(handler, directory=str(tmp_path / "www"))) as site, Proxy(site) as proxy:
        assert fetched(WebFolder(proxy.address, QUICK), f"{proxy.address}/a.dcm") == body
        assert proxy.asked["/a.dcm"] == requests


class Wrong(http.server.BaseHTTPRequestHandler):
    """Lists `a.dcm`, and answers for that with the headers of `said`."""

    said: tuple[int, dict[str, str]] = (200, {})

    def do_GET(self) -> None:
        code, headers = (200, {"Content-Type": "text/html"}) if self.path == "/" else self.said
        body = b'<a href="a.dcm">a</a>' if self.path == "/" else b"0123456789"
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body if self.command == "GET" else b"")

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *words: object) -> None: ...


@pytest.mark.parametrize(
    "said",
    [
        (302, {"Location": "http://[bad"}),
        (302, {"Location": "http://host:99999/"}),
        (302, {"Location": "file:///etc/hostname"}),
        (200, {"Content-Length": "9" * 5000, "Connection": "close"}),
        (206, {"Content-Range": f"bytes 0-9/{'9' * 5000}"}),
    ],
)
def test_headers_that_mean_nothing_cost_one_file_and_not_the_run(said: tuple[int, dict[str, str]]) -> None:
    with serving(type("Says", (Wrong,), {"said": said})) as address:
        (file,) = WebFolder(address, QUICK).find()
    assert file.failure == Failure(Status.IO_ERROR, Reason.REMOTE)


def test_bytes_that_were_not_asked_for_are_not_taken_for_those_that_were() -> None:
    said = (206, {"Content-Range": "bytes 10-19/30"})
    with serving(type("Says", (Wrong,), {"said": said})) as address:
        store = WebFolder(address, QUICK)
        assert fetched(store, f"{address}/a.dcm", 12, 18) == b"234567"
        with pytest.raises(FetchError):
            fetched(store, f"{address}/a.dcm", 5, 15)


def _without_end(chunk: bytes, pause: float = 0.0) -> type[http.server.BaseHTTPRequestHandler]:
    class Endless(Quiet):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(b'<a href="')
                while True:
                    self.wfile.write(chunk)
                    time.sleep(pause)

    return Endless


@pytest.mark.parametrize(
    ("endless", "tick"),
    [
        (_without_end(b"x" * 5000), 0.0),
        (_without_end(b'x">a</a><a href="' * 99), 0.0),
        (_without_end(b" ", 0.05), 20.0),
    ],
)
def test_a_page_without_end_is_a_folder_that_cannot_be_listed(
    endless: type[http.server.BaseHTTPRequestHandler], tick: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tick: seconds that pass, by the clock of this test, between one piece of it and the next."""
    monkeypatch.setattr(web_folder, "_MOST_PAGE", 1 << 18)
    monkeypatch.setattr(web_folder, "time", SimpleNamespace(monotonic=count(0.0, tick).__next__))
    with serving(endless) as address:
        (file,) = WebFolder(address, RemoteSettings(connections=4, timeout=60, tries=1)).find()
    assert file.failure == Failure(Status.IO_ERROR, Reason.UNREADABLE_FOLDER)
