"""The program that serves the review page: how it begins, how it ends, and that all is written then."""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import ports
import pytest
from desks import begin_review, reviewing
from outputs import rows, settings
from program import inside, without
from sort_once import Predictor
from written import picture, write_dicom

from dicomsort.errors import ExitCode
from dicomsort.sorting.pipeline import sort

_OFF_LINE = """
import socket

def unreachable(*_):
    raise OSError("CANARY: somebody looks for the network")

socket.getaddrinfo = socket.gethostbyname = socket.getfqdn = unreachable
"""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An output of eight files."""
    for number in range(8):
        write_dicom(tmp_path / "in" / f"{number}.dcm", picture(number))
    sort(settings(tmp_path / "in", tmp_path / "out"), Predictor())
    return tmp_path / "out"


def ids(running: Any) -> list[int]:
    return list(running.browser.get("/api/ids?sort=path").json["ids"])


def test_decisions_are_written_when_the_program_is_ended(out: Path, tmp_path: Path) -> None:
    """Also off-line, without PyTorch, and without a warning."""
    env = without(tmp_path, "torch", "torchvision", "timm", "sklearn", "matplotlib", "openvino")
    with (tmp_path / "sitecustomize.py").open("a") as file:
        file.write(_OFF_LINE)
    env |= {"PYTHONWARNINGS": "error"}
    with reviewing(out, "--by", "Ann", "--sample", "4", "--label", "hip", env=env) as running:
        browser = running.browser
        assert running.entered.status == 303
        assert running.told.count("\n") == 1
        assert browser.get("/").headers["content-type"] == "text/html; charset=utf-8"
        all_ids = ids(running)
        assert len(all_ids) == 8
        sampled = browser.get("/api/ids?sample=1").json["ids"]
        assert len(sampled) == 4
        for number in sampled:
            label = browser.get(f"/api/items?ids={number}").json["items"][0]["label"]
            assert browser.post("/api/decisions", {"ids": [number], "label": label}).json["refused"] == []
        others = [number for number in all_ids if number not in sampled]
        assert browser.post("/api/decisions", {"ids": others, "label": "hip"}).json["refused"] == []
        assert browser.get("/thumbnail/0").body.startswith(b"\xff\xd8")
        code, said = running.end()
    assert code == ExitCode.DONE, said
    assert said.splitlines()[:2] == [
        "dicomsort: 8 decisions made; all are written",
        "dicomsort: spot check: 4 of 4 files answered",
    ]
    assert said.splitlines()[2].startswith("dicomsort: precision 1.000 (0.3")
    found = rows(out)
    assert {row["reviewed_by"] for row in found.values()} == {"Ann"}
    assert [row["reviewed_label"] for row in found.values()].count("hip") == 4
    for path, row in found.items():
        assert row["destination"] == f"{row['reviewed_label']}/{Path(path).name}"
        assert (out / row["destination"]).read_bytes() == Path(path).read_bytes()
    assert json.loads((out / "review.json").read_text())["sample"]["right"] == 4
    assert oct((out / ".dicomsort").stat().st_mode & 0o777) == "0o700"
    assert (out / ".dicomsort" / "thumbnails").is_dir()


def test_what_the_page_shows_first_is_drawn_before_anybody_asks(out: Path) -> None:
    with reviewing(out, "--sample", "5") as running:
        deadline = time.monotonic() + 60
        while len(list(out.glob(".dicomsort/thumbnails/*.jpg"))) < 5 and time.monotonic() < deadline:
            time.sleep(0.02)
        running.end()
    assert len(list(out.glob(".dicomsort/thumbnails/*.jpg"))) == 5


def test_ctrl_c_is_the_usual_end_and_without_a_cache_nothing_is_left(out: Path) -> None:
    before = set(os.listdir(out))
    with reviewing(out, "--no-cache", "--quiet") as running:
        assert running.browser.get("/thumbnail/0").status == 200
        code, said = running.end(signal.SIGINT)
    assert (code, said) == (ExitCode.DONE, "")
    assert set(os.listdir(out)) - before <= {"decisions.csv"}


def test_of_two_the_second_may_only_look(out: Path) -> None:
    with reviewing(out) as first, reviewing(out) as second:
        assert second.told.count("\n") == 2
        state = second.browser.get("/api/state").json
        assert state["read_only"]
        assert state["read_only"] in second.told
        number = ids(second)[0]
        assert second.browser.post("/api/decisions", {"ids": [number], "label": "spine"}).status == 409
        assert second.browser.get(f"/thumbnail/{number}").status == 200
        assert first.browser.post("/api/decisions", {"ids": [number], "label": "spine"}).status == 200
        assert second.browser.get("/", Cookie=first.browser.cookie).status == 403, "each has its own cookie"
        assert second.end()[0] == ExitCode.DONE
        assert first.end()[0] == ExitCode.DONE
    assert [row["reviewed_label"] for row in rows(out).values()].count("spine") == 1


def test_a_slow_request_does_not_keep_it_from_ending(out: Path) -> None:
    """Nor one that never comes to its end."""
    with reviewing(out) as running, socket.create_connection(("127.0.0.1", running.browser.port)) as half:
        half.sendall(b"POST /api/undo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n")
        assert running.browser.get("/api/state").status == 200
        assert running.end()[0] == ExitCode.DONE


def test_what_cannot_be_served_ends_with_one_line(
    out: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = inside(capfd, "review", out, "--no-browser", "--port", port)
    assert (ran.code, ran.err.count("\n")) == (ExitCode.USAGE, 1)
    assert f"--port {port} cannot be used: Address already in use; leave it out" in ran.err
    ran = inside(capfd, "review", tmp_path / "in", "--no-browser")
    assert (ran.code, ran.err.count("\n")) == (ExitCode.USAGE, 1)


def test_the_page_is_on_this_machine_alone_at_the_port_that_was_asked_for(out: Path) -> None:
    with ports.reserved() as (port,):
        running = begin_review(out, "--port", str(port))
        assert running.browser.port == port
        if sys.platform == "linux":
            lines = [
                line.split()
                for name in ("tcp", "tcp6")
                for line in Path("/proc/net", name).read_text().splitlines()
            ]
            places = [line[1] for line in lines if line[3] == "0A"]
            assert [place for place in places if place.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]
        assert running.end()[0] == ExitCode.DONE


def test_a_browser_that_would_take_the_terminal_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    import webbrowser

    from dicomsort.review import serve

    opened: list[str] = []

    class Known(webbrowser.GenericBrowser):
        def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:
            opened.append(f"{self.name} {url} {new} {autoraise}")
            return True

    for name in ("w3m", "firefox"):
        monkeypatch.setattr(webbrowser, "get", lambda name=name: Known(name))
        serve._open("http://x")
    assert opened == ["firefox http://x 0 True"]

    def nowhere() -> None:
        raise webbrowser.Error("none")

    monkeypatch.setattr(webbrowser, "get", nowhere)
    serve._open("http://x")
