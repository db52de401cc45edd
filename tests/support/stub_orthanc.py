"""A few lines of an Orthanc of a version that has labels, which Debian's has not."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, cast

from web_server import WebServer, answering


@dataclass
class StubOrthanc:
    """labels: by `/instances/NAME` or `/studies/NAME`, which are called as their UIDs are."""

    labels: dict[str, set[str]] = field(default_factory=dict)
    refuses: str = ""
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    @property
    def orthanc(self) -> StubOrthanc:
        return cast("_Server", self.server).orthanc

    def _answer(self, status: int, content: Any = None) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        if self.path == "/system":
            self._answer(200, {"ApiVersion": 21, "Version": "1.12.1", "HasLabels": True})
        elif self.path.endswith("/labels"):
            self._answer(200, sorted(self.orthanc.labels[self.path.removesuffix("/labels")]))
        else:
            self._answer(404)

    def do_POST(self) -> None:
        uid = self.rfile.read(int(self.headers["Content-Length"])).decode()
        kinds = {"Instance": f"/instances/{uid}", "Study": f"/studies/{uid}"}
        self._answer(
            200, [{"Type": kind, "ID": uid} for kind, path in kinds.items() if path in self.orthanc.labels]
        )

    def do_PUT(self) -> None:
        self._change(True)

    def do_DELETE(self) -> None:
        self._change(False)

    def _change(self, put: bool) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        path, _, label = self.path.partition("/labels/")
        if label == self.orthanc.refuses:
            self._answer(400)
            return
        labels = self.orthanc.labels[path]
        (labels.add if put else labels.discard)(label)
        self._answer(200)


class _Server(WebServer):
    orthanc: StubOrthanc


@contextmanager
def running(orthanc: StubOrthanc) -> Iterator[StubOrthanc]:
    """Let it answer on a free port of this machine while the block runs."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.orthanc, orthanc.port = orthanc, server.server_address[1]
    with answering(server):
        yield orthanc
