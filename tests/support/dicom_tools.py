"""Programs of others that judge and keep what is written: dciodvfy, storescu, and an Orthanc."""

import json
import os
import subprocess
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import needed
import ports
import pytest

_PROPOSED = {
    "1.2.840.10008.1.2": "-xi",
    "1.2.840.10008.1.2.1": "-xe",
    "1.2.840.10008.1.2.2": "-xb",
    "1.2.840.10008.1.2.1.99": "-xd",
    "1.2.840.10008.1.2.4.50": "-xy",
    "1.2.840.10008.1.2.4.51": "-xx",
    "1.2.840.10008.1.2.4.57": "-xs",
    "1.2.840.10008.1.2.4.70": "-xs",
    "1.2.840.10008.1.2.4.80": "-xt",
    "1.2.840.10008.1.2.4.81": "-xu",
    "1.2.840.10008.1.2.4.90": "-xv",
    "1.2.840.10008.1.2.4.91": "-xw",
    "1.2.840.10008.1.2.5": "-xr",
}
"""How storescu is told to propose a transfer syntax. It knows no High-Throughput JPEG 2000."""
_DEFLATED = b"1.2.840.10008.1.2.1.99"


def tool(name: str) -> str:
    """Return where a program of DICOM is; skips, or in CI fails, without it."""
    return needed.program(name, "dcmtk, dicom3tools, orthanc")


def errors_in(path: Path) -> Counter[str]:
    """What dciodvfy finds wrong in a file, each with how often. It cannot inflate, so dcmconv does."""
    if _DEFLATED in path.read_bytes()[:1000]:
        with tempfile.TemporaryDirectory() as folder:
            inflated = Path(folder, "inflated.dcm")
            subprocess.run([tool("dcmconv"), "+te", path, inflated], check=True, timeout=60)
            return errors_in(inflated)
    done = subprocess.run([tool("dciodvfy"), path], capture_output=True, check=False, timeout=60)
    said = (done.stdout + done.stderr).decode("latin-1")
    return Counter(line for line in said.splitlines() if line.startswith("Error"))


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc that takes everything."""

    web: int
    dicom: int
    folder: Path

    def start(self) -> None:
        """Let it run, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            words = [tool("Orthanc"), str(self.folder / "orthanc.json")]
            process = subprocess.Popen(words, stdout=log, stderr=log)
        _RUNNING[self.web] = process
        _wait_for(self)

    def kill(self) -> None:
        """End it as a power cut would; it may be started again."""
        process = _RUNNING.pop(self.web)
        process.kill()
        process.wait(30)

    def stop(self) -> None:
        """End it."""
        if process := _RUNNING.pop(self.web, None):
            process.terminate()
            process.wait(30)

    def ask(self, path: str, data: bytes | None = None) -> bytes:
        """Return what the REST API answers. data: to be posted."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.web}{path}", data)
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            content: bytes = answer.read()
            return content

    def store(self, path: Path, syntax: str) -> None:
        """Send a file by storescu, in its own transfer syntax and no other; by the web if it has none."""
        if syntax not in _PROPOSED:
            self.ask("/instances", path.read_bytes())
            return
        words = [tool("storescu"), "-R", _PROPOSED[syntax], "127.0.0.1", str(self.dicom), str(path)]
        subprocess.run(words, check=True, capture_output=True, timeout=60)

    def fetch(self, uid: str) -> bytes | None:
        """Return the instance as a file, or None if it is not there."""
        found: list[dict[str, Any]] = json.loads(self.ask("/tools/lookup", uid.encode()))
        return self.ask(f"/instances/{found[0]['ID']}/file") if found else None

    def count(self) -> int:
        """Return how many instances it holds."""
        return int(json.loads(self.ask("/statistics"))["CountInstances"])


_RUNNING: dict[int, "subprocess.Popen[bytes]"] = {}
"""By the port of the web server."""

_DICOMWEB = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"


@contextmanager
def orthanc(folder: Path, dicomweb: bool = False) -> Iterator[Orthanc]:
    """Run an Orthanc on free ports of this machine while the block runs. dicomweb: with that plug-in."""
    if dicomweb and not os.path.exists(_DICOMWEB):
        needed.missing("Orthanc's plug-in for DICOMweb", "Debian: orthanc-dicomweb")
    with ports.reserved(2) as (web, dicom):
        server = Orthanc(web, dicom, folder)
        settings = {
            "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"),
            "Plugins": [_DICOMWEB] * dicomweb,
            "HttpPort": web, "DicomPort": dicom, "DicomAlwaysAllowStore": True,
            "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
        }  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "orthanc.json").write_text(json.dumps(settings))
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _wait_for(server: Orthanc) -> None:
    for _ in range(300):
        with suppress(OSError):
            server.ask("/system")
            return
        time.sleep(0.1)
    pytest.fail("Orthanc does not answer")
