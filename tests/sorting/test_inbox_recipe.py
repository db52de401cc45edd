"""The recipe of docs/how-to/inbox.md: its units are sound, and what a device sends is sorted."""

import configparser
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import ports
import pytest
from committed import ROOT
from dicom_tools import tool
from outputs import rows
from written import picture

from dicomsort.sorting import health

Write = Callable[..., Path]
PAGE = (ROOT / "docs" / "how-to" / "inbox.md").read_text(encoding="utf-8")
UNITS = dict(re.findall(r"^```ini\n# /etc/systemd/system/(\S+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))


def started_by(unit: str) -> list[str]:
    """The words of the ExecStart of a unit, as systemd takes them apart."""
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(UNITS[unit])
    return shlex.split(parser["Service"]["ExecStart"])


def test_the_units_are_what_systemd_understands(tmp_path: Path) -> None:
    analyze = tool("systemd-analyze")
    assert len(UNITS) == 4
    for name, text in UNITS.items():
        there = re.sub(r"/opt/dicomsort/bin/dicomsort|/usr/bin/\w+", sys.executable, text)
        (tmp_path / name).write_text(there)
    words = [analyze, "verify", "--man=no", *(str(tmp_path / name) for name in UNITS)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    ours = [line for line in done.stderr.splitlines() if any(name in line for name in UNITS)]
    assert ours == []


@contextmanager
def running(*words: str) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(words)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)


def wait_for(what: Callable[[], object]) -> None:
    for _ in range(600):
        with suppress(Exception):
            if what():
                return
        time.sleep(0.1)
    pytest.fail("it does not come")


@pytest.mark.slow
def test_what_a_device_sends_is_sorted_study_by_study(
    tmp_path: Path, small_model: Path, write_dicom: Write
) -> None:
    """The very words of the units, on folders and a port of this test, and with a shorter time."""
    spool, inbox, out = tmp_path / "spool", tmp_path / "inbox", tmp_path / "out"
    for folder in (spool, inbox):
        folder.mkdir()
    sent = []
    for study in range(3):
        for number in range(4):
            uids = {"StudyInstanceUID": f"2.25.{study + 1}", "SOPInstanceUID": f"2.25.{study}{number}"}
            path = tmp_path / "device" / f"{study}-{number}.dcm"
            sent.append(write_dicom(path, picture(10 * study + number), **uids))
    with ports.reserved() as (port,):
        changes = {"11112": str(port), "/srv/spool": str(spool)}
        changes |= {"/srv/inbox": str(inbox), "/srv/sorted": str(out)}
        _send_and_sort(sent, changes, small_model, out)
    found = rows(out)
    assert len(found) == 12
    assert {row["status"] for row in found.values()} <= {"sorted", "review"}
    arrived = sorted(row["sop_instance_uid"] for row in found.values())
    assert arrived == sorted(f"2.25.{study}{number}" for study in range(3) for number in range(4))
    assert not list(spool.rglob("DX.*")), "every study was moved"


def _send_and_sort(sent: list[Path], changes: dict[str, str], model: Path, out: Path) -> None:
    """Run both units until all is sorted. changes: of the words of the units."""
    receiver = [_replaced(word, changes) for word in started_by("dicom-receiver.service")]
    receiver[receiver.index("--eostudy-timeout") + 1] = "2"
    sorter = [_replaced(word, changes) for word in started_by("dicomsort.service")][1:]
    sorter[sorter.index("--watch") + 1] = "1"
    sorting = [sys.executable, "-m", "dicomsort", *sorter, "--model", str(model), "--device", "cpu"]
    with running(tool("storescp"), *receiver[1:]), running(*sorting) as watch:
        wait_for(lambda: health.read(str(out)).state == "watching")
        send = [tool("storescu"), "127.0.0.1", changes["11112"]]
        subprocess.run([*send, *map(str, [sent[at] for at in (0, 1, 4, 5, 2, 8)])], check=True, timeout=60)
        subprocess.run([*send, *map(str, [sent[at] for at in (3, 6, 7, 9, 10, 11)])], check=True, timeout=60)
        wait_for(lambda: health.read(str(out)).files == 12)
        watch.send_signal(signal.SIGTERM)
        assert watch.wait(60) == 0


def _replaced(word: str, changes: dict[str, str]) -> str:
    for was, is_ in changes.items():
        word = word.replace(was, is_)
    return word
