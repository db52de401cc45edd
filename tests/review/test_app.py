"""Who may ask the review page for what, and what is answered: no stranger, and no name that becomes HTML."""

import asyncio
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from desks import Answered, Browser, MemoryDesk, Served, item, served
from written import write_dicom

from dicomsort.outcome import Reason
from dicomsort.review.guard import MOST_BYTES
from dicomsort.review.index import Filter

EVIL = "</script><img src=x onerror=alert(1)>&\u2028.dcm"
PAGES = ("/", "/page/style.css", "/api/state", "/api/ids", "/api/items?ids=0", "/thumbnail/0", "/picture/0")
POSTS = ("/api/decisions", "/api/undo", "/api/ahead")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_dicom(folder / "0.dcm")
    (folder / "1.dcm").write_text("CANARY^NAME")
    return folder


@pytest.fixture(scope="module")
def desk(files: Path) -> MemoryDesk:
    paths = {0: str(files / "0.dcm"), 1: str(files / "1.dcm"), 2: str(files / "gone.dcm")}
    labels = {"label": "<b>", "scores": {"<b>": 0.5}}
    return MemoryDesk([item(0, EVIL, **labels), item(1, "b.dcm"), item(2, "c.dcm")], paths)


@pytest.fixture(scope="module")
def page(desk: MemoryDesk) -> Iterator[Served]:
    with served(desk) as running:
        yield running


@pytest.fixture
def browser(page: Served) -> Browser:
    """One that was let in."""
    if not page.browser.cookie:
        assert page.browser.enter(page.token).status == 303
    return page.browser


@pytest.fixture
def stranger(page: Served, browser: Browser) -> Iterator[Browser]:
    """One that comes after the first was let in."""
    made = Browser(page.browser.port)
    yield made
    made.close()


def is_sealed(answer: Answered) -> bool:
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'")
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert "server" not in answer.headers
    return answer.headers["cache-control"] in ("no-store", "private, max-age=0, must-revalidate")


def test_the_token_lets_one_browser_in_and_no_second(page: Served, desk: MemoryDesk) -> None:
    with served(desk) as running:
        first, second = running.browser, Browser(running.browser.port)
        answer = first.enter(running.token)
        assert (answer.status, answer.headers["location"]) == (303, "/")
        assert re.fullmatch(
            rf"dicomsort-{first.port}=[\w-]{{43}}; Path=/; HttpOnly; SameSite=Strict",
            answer.headers["set-cookie"],
        )
        assert is_sealed(answer)
        assert second.enter(running.token).status == 403
        assert second.cookie == ""
        assert first.get("/").status == 200
        again = first.get(f"/?token={running.token}")
        assert (again.status, "set-cookie" in again.headers) == (303, False)
        second.close()


@pytest.mark.parametrize("path", PAGES)
def test_without_the_cookie_there_is_nothing(path: str, stranger: Browser, browser: Browser) -> None:
    mine = browser.cookie.partition("=")[2]
    for cookie in ("", "x", f"dicomsort-1={mine}", f"{browser.cookie}x", browser.cookie[:-1], "é=ü"):
        answer = stranger.get(path, Cookie=cookie)
        assert answer.status == 403
        assert is_sealed(answer)
        assert b"dcm" not in answer.body
    token = path + ("&" if "?" in path else "?") + "token=" + "x" * 43
    assert stranger.get(token).status == 403
    assert stranger.get(path, Cookie=f"a=b; {browser.cookie}; c=d").status in (200, 404)


@pytest.mark.parametrize("path", POSTS)
def test_without_the_cookie_nothing_can_be_done(path: str, stranger: Browser, desk: MemoryDesk) -> None:
    before = list(desk.decided)
    assert stranger.post(path, {"ids": [1], "label": "chest"}).status == 403
    assert desk.decided == before


@pytest.mark.parametrize(
    "host",
    ["example.org", "127.0.0.1.example.org", "evil@127.0.0.1", "127.0.0.1, example.org", "localhost:x",
     "192.168.0.1", "127.0.0.1/", "[::2]", "", "2130706433"],
)  # fmt: skip
def test_another_host_is_refused(host: str, browser: Browser) -> None:
    """DNS rebinding: a page elsewhere whose name leads here."""
    answer = raw(browser, f"GET /api/state HTTP/1.1\r\nHost: {host}\r\nCookie: {browser.cookie}\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"router5" not in answer


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1", "[::1]:8080", "LOCALHOST"])
def test_a_tunnel_may_have_another_port(host: str, browser: Browser) -> None:
    assert browser.get("/api/state", Host=host).status == 200
    assert browser.post("/api/ahead", {"ids": []}, Host=host, Origin=f"http://{host}").status == 204


def raw(browser: Browser, request: str | bytes) -> bytes:
    """Send bytes as they are, and return the answer until the server ends or waits for more."""
    with socket.create_connection(("127.0.0.1", browser.port), timeout=60) as connection:
        connection.sendall(request.encode() if isinstance(request, str) else request)
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
                connection.settimeout(0.3)
        except TimeoutError:
            pass
        return answer


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Content_Type": "text/plain"},
        {"Content_Type": "application/x-www-form-urlencoded"},
        {"Content_Type": ""},
    ],
)
def test_another_page_can_do_nothing_in_the_name_of_this_one(
    headers: dict[str, str], browser: Browser, desk: MemoryDesk
) -> None:
    before = list(desk.decided)
    answer = browser.post("/api/decisions", {"ids": [1], "label": "chest"}, **headers)
    assert answer.status == 403
    assert answer.json["error"]
    assert is_sealed(answer)
    assert desk.decided == before
    if "Content_Type" not in headers:
        assert browser.get("/thumbnail/0", **headers).status == 403


def test_a_person_may_come_from_anywhere(browser: Browser) -> None:
    assert browser.get("/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate").status == 200
    same = {"Origin": f"http://127.0.0.1:{browser.port}", "Sec_Fetch_Site": "same-origin"}
    assert browser.post("/api/ahead", {"ids": [0]}, **same).status == 204


@pytest.mark.parametrize(
    "path",
    ["/page/..%2fapp.py", "/page/../app.py", "/page/%2e%2e/app.py", "/page/..", "/page/", "/page/app.py",
     "/page/index.html%00", "/page//etc/passwd", "/page/%2fetc%2fpasswd", "/page/style.css/", "//etc/passwd",
     "/thumbnail/../../etc/passwd", "/thumbnail/-1", "/thumbnail/1e0", "/thumbnail/9", "/picture/" + "9" * 20,
     "/thumbnail/%2e%2e", "/api/items?ids=7", "/api/items?ids=0,8", "/favicon.ico", "/api", "/api/undo/x"],
)  # fmt: skip
def test_odd_paths_lead_nowhere(path: str, browser: Browser) -> None:
    answer = browser.get(path)
    assert answer.status == 404
    assert answer.json["error"]
    assert is_sealed(answer)


@pytest.mark.parametrize(
    "path",
    ["/api/items", "/api/items?ids=", "/api/items?ids=x", "/api/items?ids=-1", "/api/items?ids=²",
     "/api/items?ids=1,,2", f"/api/items?ids={'1,' * 500}1", "/api/ids?order=up", "/api/ids?sort=<b>"],
)  # fmt: skip
def test_questions_that_mean_nothing_get_one_line(path: str, browser: Browser) -> None:
    answer = browser.get(path.replace("²", "%C2%B2").replace("<b>", "%3Cb%3E"))
    assert answer.status == 400
    assert len(answer.json["error"].splitlines()) == 1
    assert b"<" not in answer.body


@pytest.mark.parametrize(
    "body",
    ["", "[]", "1", "{", '{"ids": 1, "label": "chest"}', '{"ids": ["1"], "label": "chest"}', "[" * 100_000,
     '{"ids": [true], "label": "chest"}', '{"ids": [1.0], "label": "chest"}', '{"ids": [1]}',
     '{"label": "chest"}', '{"ids": [1], "label": ["chest"]}', '{"ids": [1], "label": "nowhere"}', "\udcff"],
    ids=range(14),
)  # fmt: skip
def test_decisions_that_mean_nothing_are_refused(body: str, browser: Browser, desk: MemoryDesk) -> None:
    before = list(desk.decided)
    answer = browser.ask("POST", "/api/decisions", body.encode("utf-8", "surrogateescape"))
    assert answer.status == 400
    assert answer.json["error"]
    assert desk.decided == before


def test_a_body_that_is_too_large_is_not_read(browser: Browser) -> None:
    large = b'{"ids": [], "more": "' + b"x" * MOST_BYTES + b'"}'
    answer = raw(browser, post_head(browser) + f"Content-Length: {len(large)}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 413 ")
    chunked = b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%s\r\n0\r\n\r\n" % (len(large), large)
    assert raw(browser, post_head(browser) + chunked).startswith(b"HTTP/1.1 413 ")
    assert raw(browser, post_head(browser) + b"Content-Length: -1\r\n\r\n").startswith(b"HTTP/1.1 4")


def post_head(browser: Browser) -> bytes:
    lines = ["POST /api/decisions HTTP/1.1", f"Host: 127.0.0.1:{browser.port}", f"Cookie: {browser.cookie}"]
    return "".join(f"{line}\r\n" for line in [*lines, "Content-Type: application/json"]).encode()


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "POST"])
def test_other_methods_are_refused(method: str, browser: Browser) -> None:
    answer = browser.ask(method, "/api/state", b"{}")
    assert answer.status in (403, 405)
    assert is_sealed(answer)
    assert "access-control-allow-origin" not in answer.headers


def test_names_and_labels_come_back_only_as_json_without_a_sign_of_html(browser: Browser) -> None:
    answer = browser.get("/api/items?ids=0")
    assert answer.json["items"][0]["path"] == EVIL
    assert answer.json["items"][0]["scores"] == {"<b>": 0.5}
    assert not {b"<", b">", b"&", "\u2028".encode()} & {bytes([byte]) for byte in answer.body}
    assert answer.headers["content-type"] == "application/json"
    told = browser.post("/api/decisions", {"ids": [1], "label": "<i>"})
    assert told.status == 400
    assert b"<" not in told.body


def test_an_error_nobody_foresaw_tells_neither_its_text_nor_its_trace(
    browser: Browser, desk: MemoryDesk, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("CANARY^NAME")

    monkeypatch.setattr(desk, "counts", fail)
    answer = browser.get("/api/state")
    assert answer.status == 500
    assert re.search(
        r"internal error, please report it: RuntimeError in test_app.py:\d+ ", answer.json["error"]
    )
    assert is_sealed(answer)
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")


def test_a_filter_arrives_as_it_was_asked(browser: Browser, desk: MemoryDesk) -> None:
    asked = "status=review&status=sorted&label=a%26b&reason=r&further=view:lateral&further=x:y:z&folder=%2Fé"
    answer = browser.get(
        f"/api/ids?{asked}&study=1.2&text=T&undecided=1&sample=1&sort=label&order=desc&decided=1&reviewed=é".replace(
            "é", "%C3%A9"
        )
    )
    assert answer.json == {"ids": [0, 1, 2], "studies": True}
    further = (("view", "lateral"), ("x", "y:z"))
    assert desk.filter == Filter(
        ("review", "sorted"), "a&b", "r", further, "/é", "1.2", "T", True, True, "label", True, True, "é"
    )
    browser.get("/api/ids")
    assert desk.filter == Filter()


def test_decisions_are_taken_refused_counted_and_undone(
    page: Served, browser: Browser, desk: MemoryDesk
) -> None:
    before = page.app.decided
    answer = browser.post("/api/decisions", {"ids": [0, 1, 2], "label": "spine"}).json
    assert [each["id"] for each in answer["items"]] == [0, 1, 2]
    assert answer["refused"] == [{"id": 0, "reason": "it is the first"}]
    assert set(answer) == {"items", "refused", "counts", "sample", "notices"}
    assert page.app.decided == before + 2
    answer = browser.post("/api/undo", {}).json
    assert [each["id"] for each in answer["items"]] == [1, 2]
    assert page.app.decided == before
    assert browser.post("/api/decisions", {"ids": [9], "label": "spine"}).status == 404


def test_the_second_one_may_only_look(files: Path) -> None:
    desk = MemoryDesk([item(1, "b.dcm")], read_only="somebody else is here")
    with served(desk) as running:
        running.browser.enter(running.token)
        for path, asked in (("/api/decisions", {"ids": [1], "label": "chest"}), ("/api/undo", {})):
            answer = running.browser.post(path, asked)
            assert (answer.status, answer.json) == (409, {"error": "somebody else is here"})
        assert running.browser.get("/api/state").json["read_only"] == "somebody else is here"
    assert desk.decided == []


def test_pictures_come_as_pictures_and_a_bad_file_says_why(browser: Browser) -> None:
    thumbnail, picture = browser.get("/thumbnail/0"), browser.get("/picture/0")
    assert (thumbnail.status, thumbnail.headers["content-type"]) == (200, "image/jpeg")
    assert thumbnail.body.startswith(b"\xff\xd8\xff")
    assert (picture.status, picture.headers["content-type"]) == (200, "image/png")
    assert picture.body.startswith(b"\x89PNG")
    assert is_sealed(thumbnail)
    assert is_sealed(picture)
    for kind in ("thumbnail", "picture"):
        bad = browser.get(f"/{kind}/1")
        assert (bad.status, bad.body.decode()) == (422, f"not_dicom: {Reason.NO_DICOM}")
        assert bad.headers["content-type"].startswith("text/plain")
        assert browser.get(f"/{kind}/2").body.decode() == f"io_error: {Reason.VANISHED}"


def test_a_thumbnail_that_the_browser_has_is_not_sent_again(browser: Browser) -> None:
    """But it asks, for after another start the same address may be another file's."""
    first = browser.get("/thumbnail/0")
    again = browser.get("/thumbnail/0", If_None_Match=first.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    assert browser.get("/thumbnail/0", If_None_Match='"other"').status == 200


def test_a_file_that_a_decision_moves_meanwhile_is_drawn_where_it_went(files: Path, tmp_path: Path) -> None:
    there, gone = shutil.copy(files / "0.dcm", tmp_path), tmp_path / "gone.dcm"
    asked: list[str] = []

    class Moving(MemoryDesk):
        def picture_of(self, number: int) -> str:
            asked.append(str(number))
            return str(gone if len(asked) == 1 else there)

    with served(Moving([item(0, "a.dcm")])) as running:
        running.browser.enter(running.token)
        assert running.browser.get("/thumbnail/0").status == 200


def test_state_tells_what_the_page_needs(browser: Browser) -> None:
    state = browser.get("/api/state").json
    assert (state["out"], state["by"], state["model"], state["labels"]) == (
        "/out", "tester", "router5", ["chest", "spine"],
    )  # fmt: skip
    assert {"read_only", "version", "multilabel", "further", "counts", "sample", "notices"} < set(state)


def test_a_head_request_has_no_body(browser: Browser, stranger: Browser) -> None:
    assert browser.ask("HEAD", "/api/state").body == b""
    assert (stranger.ask("HEAD", "/").status, stranger.ask("HEAD", "/").body) == (403, b"")


def test_a_small_answer_is_sent_at_once(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """Held back until the one before it is confirmed (Nagle's algorithm), each would take 40 ms."""
    at_once: list[int] = []
    made = asyncio.SelectorEventLoop._make_socket_transport  # type: ignore[attr-defined]

    def noting(loop: object, sock: socket.socket, *words: Any, **more: Any) -> Any:
        transport = made(loop, sock, *words, **more)
        at_once.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        return transport

    monkeypatch.setattr(asyncio.SelectorEventLoop, "_make_socket_transport", noting)
    again = Browser(browser.port, browser.cookie)
    assert again.get("/page/style.css").status == 200
    again.close()
    assert at_once
    assert all(at_once)


def test_many_may_ask_at_a_time(browser: Browser) -> None:
    found: list[int] = []

    def ask() -> None:
        own = Browser(browser.port, browser.cookie)
        for _ in range(10):
            found.append(own.get("/thumbnail/0").status)
            found.append(own.post("/api/ahead", {"ids": [0, 1, 2]}).status)
        own.close()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(set(found)) == [200, 204]
    assert len(found) == 160


def test_what_is_no_http_gets_no_traceback(browser: Browser, capfd: pytest.CaptureFixture[str]) -> None:
    for request in (
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 100_000,
        b"\0" * 1000,
    ):
        answer = raw(browser, request)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    upgrade = f"GET /api/state HTTP/1.1\r\nHost: localhost\r\nCookie: {browser.cookie}\r\n"
    raw(browser, upgrade + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")
