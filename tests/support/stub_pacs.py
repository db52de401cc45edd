"""A few lines of a PACS with DICOMweb: lists in pages, instances as parts, and whatever fault is wanted."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

from web_server import WebServer, answering

Fault = int | str | None
"""A status code, or `hang`, `drip`, `cut`, `reset`, `html`; None for a right answer."""

CR, CT, CAPTURE = (f"1.2.840.10008.5.1.4.1.1.{suffix}" for suffix in ("1", "2", "7"))
_TAGS = {"SOPClassUID": "00080016", "SOPInstanceUID": "00080018", "Modality": "00080060",
         "StudyInstanceUID": "0020000D", "SeriesInstanceUID": "0020000E"}  # fmt: skip


@dataclass
class Held:
    """An instance that the PACS holds."""

    study: str
    series: str
    uid: str
    content: bytes = b"whatever is stored"
    sop_class: str = CR
    modality: str = "DX"

    def attributes(self) -> dict[str, str]:
        return {
            "SOPClassUID": self.sop_class, "SOPInstanceUID": self.uid, "Modality": self.modality,
            "StudyInstanceUID": self.study, "SeriesInstanceUID": self.series,
        }  # fmt: skip


def some(count: int, each: int = 1) -> list[Held]:
    """So many studies, each of so many instances."""
    return [
        Held(f"1.2.{study}", f"1.2.{study}.1", f"1.2.{study}.1.{number}", f"{study} {number}".encode() * 99)
        for study in range(count)
        for number in range(each)
    ]


@dataclass
class StubPacs:
    """What it holds, how it behaves, and what it was asked.

    most: of a page, whatever is asked for. says_more: whether a page that is not all says so. fault: of a
    path at its n-th time (from 0).
    """

    held: list[Held]
    most: int = 1000
    says_more: bool = True
    knows_offset: bool = True
    multipart: bool = True
    fault: Callable[[str, int], Fault] = lambda path, time: None
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)
    answers: Callable[[bytes], tuple[int, Any]] = lambda body: (200, {})
    port: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"dicomweb+http://127.0.0.1:{self.port}/dicom-web"

    def times(self, path: str) -> int:
        return [urlsplit(each).path for each in self.asked].count(path)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def pacs(self) -> StubPacs:
        return cast("_Server", self.server).pacs

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self._body()
        with self.pacs.lock:
            self.pacs.asked.append(self.path)
            self.pacs.headers.append(dict(self.headers))
            self.pacs.received.append(body)
        status, answer = self.pacs.answers(body)
        self._answer(status, "application/dicom+json", json.dumps(answer).encode())

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        fault = self.pacs.fault(path, self.pacs.times(path))
        self.pacs.asked.append(self.path)
        self.pacs.headers.append(dict(self.headers))
        if isinstance(fault, int):
            self._answer(fault, "text/plain", b"CANARY^NAME")
        elif fault == "hang":
            self.pacs.over.wait(120)
            self.close_connection = True
        elif fault == "reset":
            self.close_connection = True
        elif fault == "html":
            self._answer(200, "text/html", b"<html>log in, please</html>")
        else:
            self._right(path, fault)

    def _right(self, path: str, fault: Fault) -> None:
        parts = [unquote(part) for part in path.removeprefix("/dicom-web/").split("/")]
        if not path.startswith("/dicom-web/"):
            self._answer(404, "text/plain", b"")
        elif parts[-1] == "studies" or parts[-1] == "instances":
            self._answer(200, "application/dicom+json", *self._page(parts))
        else:
            found = [each for each in self.pacs.held if [each.study, each.series, each.uid] == parts[1::2]]
            if not found:
                self._answer(404, "text/plain", b"")
            else:
                self._instance(found[0], fault)

    def _page(self, parts: list[str]) -> tuple[bytes, dict[str, str]]:
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        matches = [each.attributes() for each in self.pacs.held]
        if len(parts) > 1:
            matches = [each for each in matches if each["StudyInstanceUID"] == parts[1]]
        if len(parts) > 3:
            matches = [each for each in matches if each["SeriesInstanceUID"] == parts[3]]
        if "ModalitiesInStudy" in query:
            matches = [each for each in matches if each["Modality"] == query["ModalitiesInStudy"]]
        if "Modality" in query:
            matches = [each for each in matches if each["Modality"] == query["Modality"]]
        if parts[-1] == "studies":
            uids = dict.fromkeys(each["StudyInstanceUID"] for each in matches)
            matches = [{"StudyInstanceUID": uid} for uid in uids]
        start = int(query.get("offset", 0)) if self.pacs.knows_offset else 0
        stop = start + min(int(query.get("limit", 1000)), self.pacs.most)
        page = [
            {_TAGS[key]: {"vr": "UI", "Value": [value]} for key, value in each.items()}
            for each in matches[start:stop]
        ]
        more = {"Warning": '299 PACS: "more"'} if self.pacs.says_more and stop < len(matches) else {}
        return json.dumps(page).encode(), more

    def _instance(self, held: Held, fault: Fault) -> None:
        if not self.pacs.multipart:
            self._answer(200, "application/dicom", held.content)
            return
        content = b"\r\n".join([
            b"--edge", b"Content-Type: application/dicom", b"", held.content, b"--edge--", b"",
        ])  # fmt: skip
        kind = 'multipart/related; type="application/dicom"; boundary="edge"'
        if fault == "cut":
            self._head(200, kind, {})  # no length: only the missing edge tells
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        elif fault == "drip":
            self._head(200, kind, {"Content-Length": str(len(content))})
            for byte in content:
                self.wfile.write(bytes([byte]))
                if self.pacs.over.wait(0.05):
                    break
            self.close_connection = True
        else:
            self._answer(200, kind, content)

    def _answer(self, status: int, kind: str, content: bytes, more: dict[str, str] | None = None) -> None:
        self._head(status, kind, {"Content-Length": str(len(content)), **(more or {})})
        self.wfile.write(content)

    def _head(self, status: int, kind: str, more: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in more.items():
            self.send_header(name, value)
        if "Content-Length" not in more:
            self.send_header("Connection", "close")
        self.end_headers()


class _Server(WebServer):
    pacs: StubPacs


@contextmanager
def running(pacs: StubPacs) -> Iterator[StubPacs]:
    """Let it answer on a free port of this machine while the block runs."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.pacs, pacs.port = pacs, server.server_address[1]
    with answering(server):
        try:
            yield pacs
        finally:
            pacs.over.set()
