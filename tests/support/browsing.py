"""A real Chromium on the review page, and the program that serves it."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import needed

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response

_ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)/\?token=\S+")
_NO_NETWORK = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


@contextmanager
def chromium() -> Iterator["Browser"]:
    """Start the system's Chromium, which can resolve no name."""
    program = needed.program("chromium", "chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        needed.missing("playwright", "pip install '.[test]'")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", _NO_NETWORK])
        yield browser
        browser.close()


@dataclass
class Served:
    """The program while it serves the page of an output folder."""

    process: "subprocess.Popen[str]"
    address: str
    port: int

    def close(self) -> int:
        """End it as Ctrl-C does; returns its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(60)


@contextmanager
def served(out: Path, *options: str) -> Iterator[Served]:
    """Serve an output folder by the installed program, as a user would."""
    words = [
        sys.executable,
        "-m",
        "dicomsort",
        "review",
        str(out),
        "--no-browser",
        "--by",
        "Dr. A",
        "--workers",
        "1",
    ]
    with subprocess.Popen(
        [*words, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            said = ""
            while (found := _ADDRESS.search(said)) is None:
                line = process.stdout.readline() if process.stdout else ""
                assert line, f"the program ended: {said}"
                said += line
            yield Served(process, found[0], int(found[1]))
        finally:
            if process.poll() is None:
                process.kill()


@dataclass
class Watched:
    """Requests of a page to elsewhere, requests that failed, and errors, those of the content policy too.

    422 is no failure: it says why a file has no picture. The console repeats failures: left out.
    """

    own: str
    outside: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def asks(self, request: "Request") -> None:
        if not request.url.startswith(self.own):
            self.outside.append(request.url)

    def fails(self, request: "Request") -> None:
        if request.failure != "net::ERR_ABORTED":  # a thumbnail that has scrolled away
            self.failed.append(f"{request.url}: {request.failure}")

    def answers(self, reply: "Response") -> None:
        if reply.status >= 400 and reply.status != 422:
            self.failed.append(f"{reply.url}: {reply.status}")

    def says(self, line: "ConsoleMessage") -> None:
        if line.type == "error" and "Failed to load resource" not in line.text:
            self.errors.append(line.text)

    def breaks(self, error: Exception) -> None:
        self.errors.append(str(error))


def watch(page: "Page", port: int) -> Watched:
    """Note what a page does from now on."""
    seen = Watched(f"http://127.0.0.1:{port}/")
    page.on("request", seen.asks)
    page.on("requestfailed", seen.fails)
    page.on("response", seen.answers)
    page.on("console", seen.says)
    page.on("pageerror", seen.breaks)
    return seen


def press(page: "Page", keys: Sequence[str]) -> None:
    """Press keys as fast as they come, without waiting for anything."""
    for key in keys:
        page.keyboard.press(key)
