"""The review page without a browser: a desk in memory behind it, or the program as it is."""

import http.client
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import uvicorn

from dicomsort.dicom.sop_classes import ReadSettings
from dicomsort.errors import UsageError
from dicomsort.review import serve
from dicomsort.review.app import ReviewApp, page_files
from dicomsort.review.desk import Desk
from dicomsort.review.guard import Session
from dicomsort.review.index import Filter
from dicomsort.review.items import Item, Refusal
from dicomsort.review.picture_cache import ThumbnailFolder
from dicomsort.review.thumbnails import Pictures
from dicomsort.system.pool_settings import PoolSettings


def item(number: int, path: str, **changes: Any) -> Item:
    facts = {"folder": "", "destination": "", "status": "review", "label": "chest", "confidence": 0.5}
    facts |= {"reject_score": None, "reasons": (), "study": "", "scores": {"chest": 0.5}, "further": {}}
    facts |= {"modality": "DX", "body_part_examined": "", "view_position": "", "rotation": None}
    facts |= {"reviewed_label": "", "reviewed_by": "", "reviewed_at": "", "in_sample": False}
    return Item(number, path, **{**facts, **changes})


@dataclass
class MemoryDesk:
    """Files by their number, and what was decided of them; remembers the filter that was asked for last."""

    files: Sequence[Item]
    paths: Mapping[int, str] = field(default_factory=dict)
    read_only: str = ""
    out: str = "/out"
    by: str = "tester"
    labels: tuple[str, ...] = ("chest", "spine")
    model: str = "router5"
    multilabel: bool = False
    further: dict[str, tuple[str, ...]] = field(default_factory=dict)
    reading: ReadSettings = field(default_factory=ReadSettings)
    filter: Filter | None = None
    decided: list[tuple[int, ...]] = field(default_factory=list)

    def find(self, wanted: Filter) -> list[int]:
        if wanted.sort not in ("confidence", "label"):
            raise UsageError(f"there is no order '{wanted.sort}'")
        self.filter = wanted
        return [each.id for each in self.files]

    def items(self, ids: Sequence[int]) -> list[Item]:
        known = {each.id: each for each in self.files}
        return [known[number] for number in ids]

    def has_studies(self, ids: Sequence[int]) -> bool:
        return len({each.study for each in self.items(ids)} - {""}) < len(ids)

    def counts(self) -> dict[str, Any]:
        return {"rows": len(self.files)}

    def decide(self, ids: Sequence[int], label: str) -> tuple[Refusal, ...]:
        if label not in self.labels:
            raise UsageError(f"there is no class '{label}'")
        self.items(ids)
        self.decided.append(tuple(number for number in ids if number))
        return tuple(Refusal(0, "it is the first") for number in ids if not number)

    def undo(self) -> tuple[int, ...]:
        return self.decided.pop() if self.decided else ()

    def picture_of(self, number: int) -> str:
        return self.paths[number]

    def notices(self) -> list[str]:
        return []

    def spot_check(self) -> dict[str, Any] | None:
        return None


@dataclass(frozen=True)
class Answered:
    """What a server has answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)


@dataclass
class Browser:
    """Asks a server as a browser does; one connection for each thread. cookie: what it was given."""

    port: int
    cookie: str = ""
    held: threading.local = field(default_factory=threading.local)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answered:
        """Send a request; headers with `_` for `-` go with it, or in place of the usual ones."""
        sent = {"Cookie": self.cookie} if self.cookie else {}
        sent |= {"Content-Type": "application/json"} if method == "POST" else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection = self.held.__dict__.setdefault("connection", connection)
        try:
            connection.request(method, path, body, {name: value for name, value in sent.items() if value})
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return Answered(answer.status, told, answer.read())
        except BaseException:
            self.held.__dict__.pop("connection").close()
            raise

    def get(self, path: str, **headers: str) -> Answered:
        return self.ask("GET", path, None, **headers)

    def post(self, path: str, value: Any, **headers: str) -> Answered:
        return self.ask("POST", path, json.dumps(value).encode(), **headers)

    def enter(self, token: str) -> Answered:
        """Open the address that was printed, and keep the cookie."""
        answer = self.get(f"/?token={token}")
        self.cookie = answer.headers.get("set-cookie", "").partition(";")[0]
        return answer

    def close(self) -> None:
        if connection := self.held.__dict__.pop("connection", None):
            connection.close()


@dataclass
class Served:
    """A page that is served. browser: one that was let in; token: what it was let in with."""

    browser: Browser
    token: str
    app: ReviewApp


@contextmanager
def served(desk: MemoryDesk, folder: ThumbnailFolder | None = None) -> Iterator[Served]:
    """Serve a page in this process."""
    pictures = Pictures(desk.reading, PoolSettings(1), folder)
    app = ReviewApp(cast(Desk, desk), pictures, page_files())
    with serve._listening(0) as listener:
        port = int(listener.getsockname()[1])
        session = Session(port)
        server = uvicorn.Server(serve._config(app, session))
        running = threading.Thread(target=server.run, args=([listener],))
        running.start()
        browser = Browser(port)
        try:
            yield Served(browser, session.token, app)
        finally:
            browser.close()
            server.should_exit = True
            running.join(60)
            pictures.close()
    assert not running.is_alive()


@dataclass
class Reviewing:
    """`dicomsort review` as a program of its own. told: what it has said until its page was there."""

    program: "subprocess.Popen[str]"
    told: str
    browser: Browser
    entered: Answered

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal; returns the exit code, and what was said from then on."""
        self.browser.close()
        self.program.send_signal(number)
        _, said = self.program.communicate(timeout=60)
        return self.program.returncode, said


def begin_review(out: Path, *words: str, env: Mapping[str, str] | None = None) -> Reviewing:
    """Start the program, and open the address that it prints."""
    words = (sys.executable, "-m", "dicomsort", "review", str(out), "--no-browser", "--workers", "1", *words)
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    program = subprocess.Popen(words, text=True, env=env, **streams)  # type: ignore[call-overload]
    told = ""
    for line in program.stderr:
        told += line
        if found := re.search(r"http://127\.0\.0\.1:(\d+)/\?token=([\w-]+)", line):
            browser = Browser(int(found[1]))
            return Reviewing(program, told, browser, browser.enter(found[2]))
    raise AssertionError(told)


@contextmanager
def reviewing(out: Path, *words: str, env: Mapping[str, str] | None = None) -> Iterator[Reviewing]:
    """Run the program for as long as the block runs."""
    running = begin_review(out, *words, env=env)
    try:
        yield running
    finally:
        if running.program.poll() is None:
            running.end(signal.SIGKILL)
