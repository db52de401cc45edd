"""Sorting from an object store: the same rows and pictures as from files here, whatever befalls a request."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from zlib import crc32

import numpy as np
import pydicom
import pytest
from clusters import read_to_compare
from object_server import CANARY, SECRET, Proxy, be_user, in_turn, put, s3_server
from outputs import rows, settings, tree
from predictors import FixedPredictor
from program import command, inside
from web_server import serving
from written import picture, write_dicom

from dicomsort.errors import ExitCode
from dicomsort.inputs import transfer
from dicomsort.inputs.store import RemoteSettings
from dicomsort.manifest.reading import read_manifest
from dicomsort.outcome import Action, FileStamp, Reason, Status
from dicomsort.sorting.pipeline import sort
from dicomsort.sorting.place import PlacementSettings
from dicomsort.sorting.summary import SortSummary

PLACE_AND_TIME = ("path", "mtime_ns", "etag", "duplicate_of")
NONE = PlacementSettings(Action.NONE)
CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture(autouse=True)
def user(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    be_user(monkeypatch, tmp_path, server)
    monkeypatch.setattr(transfer, "_FIRST_PAUSE", 0.001)


def run(
    root: str, out: Path, predictor: FixedPredictor, timeout: float = 60, tries: int = 4, **changes: Any
) -> SortSummary:
    remote = RemoteSettings(connections=8, timeout=timeout, tries=tries)
    changed = replace(settings(Path(), out, remote=remote), roots=(root,))
    return sort(replace(changed, **changes), predictor)


class Silent(SimpleHTTPRequestHandler):
    """Python's own, which knows no ranges and no etags."""

    def log_message(self, *words: object) -> None: ...


def told(out: Path, root: str) -> dict[str, dict[str, str]]:
    """What rows tell beside place and time, by the way from the root."""
    return {
        path.removeprefix(root).lstrip("/"): {key: row[key] for key in row if key not in PLACE_AND_TIME}
        for path, row in rows(out).items()
    }


def test_a_bucket_gives_the_same_rows_and_copies_as_its_files_here(
    archive: Path, broken: Path, server: str, tmp_path: Path, predictor: FixedPredictor
) -> None:
    inbox = tmp_path / "in"
    for number, path in enumerate(sorted([*archive.rglob("*"), *broken.rglob("*")])):
        if path.is_file() and number % 4 == 0:
            target = inbox / f"{number % 3}" / f"{number} {path.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    put(server, "archive", tree(inbox))
    run(str(inbox), tmp_path / "here", predictor)
    run("s3://archive", tmp_path / "there", predictor)
    run("s3://archive", tmp_path / "none", predictor, placing=NONE)
    here, there = told(tmp_path / "here", str(inbox)), told(tmp_path / "there", "s3://archive")
    assert here == there
    assert len({row["status"] for row in here.values()}) > 4
    bare = {name: {**row, "action": "", "destination": ""} for name, row in here.items()}
    none = told(tmp_path / "none", "s3://archive")
    assert {name: {**row, "action": "", "destination": ""} for name, row in none.items()} == bare
    own = ("manifest.csv", "run.json")
    copies = [
        {n: b for n, b in tree(tmp_path / o).items() if n not in own} for o in ("here", "there", "none")
    ]
    assert copies[0] == copies[1]
    assert copies[2] == {}


def test_what_was_read_is_not_fetched_again_unless_it_has_changed(
    server: str, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        write_dicom(tmp_path / "in" / f"{number}.dcm", picture(number))
    put(server, "again", tree(tmp_path / "in"))
    with Proxy(server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        for placing in (PlacementSettings(), NONE):
            out = tmp_path / placing.action
            assert run("s3://again", out, predictor, placing=placing).found == 5
            proxy.asked.clear()
            run("s3://again", out, predictor, placing=placing)
            assert not [path for path in proxy.asked if path.endswith(".dcm")]
        other = write_dicom(tmp_path / "3.dcm", picture(9)).read_bytes()
        put(server, "again", {"3.dcm": other})
        run("s3://again", tmp_path / "copy", predictor)
        assert {path for path in proxy.asked if path.endswith(".dcm")} == {"/again/3.dcm"}
        row = rows(tmp_path / "copy")["s3://again/3.dcm"]
        assert (tmp_path / "copy" / row["destination"]).read_bytes() == other
        stamps = {one.path: one.stamp for one in read_manifest(tmp_path / "copy")}
        assert stamps["s3://again/3.dcm"] == FileStamp(len(other), int(row["mtime_ns"]), row["etag"])


def test_objects_that_a_list_names_are_gone_on_with_by_their_etags(
    server: str, tmp_path: Path, predictor: FixedPredictor
) -> None:
    for number in range(3):
        write_dicom(tmp_path / "in" / f"{number}.dcm", picture(number))
    put(server, "listed", tree(tmp_path / "in"))
    (tmp_path / "list").write_text("s3://listed/0.dcm\ns3://listed/2.dcm\ns3://listed/nowhere.dcm\n")
    first = run("s3://listed", tmp_path / "out", predictor, from_list=str(tmp_path / "list"))
    assert (first.found, first.statuses[Status.SORTED], first.statuses[Status.IO_ERROR]) == (3, 2, 1)
    assert rows(tmp_path / "out")["s3://listed/nowhere.dcm"]["reason"] == Reason.VANISHED
    assert run("s3://listed", tmp_path / "out", predictor, from_list=str(tmp_path / "list")).already_done == 2


def test_of_what_is_no_radiograph_only_the_head_is_fetched(
    server: str, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    slices = write_dicom(tmp_path / "ct", np.zeros((1500, 1000), np.uint16), SOPClassUID=CT, Modality="CT")
    frames = write_dicom(tmp_path / "xa", np.tile(picture(1), (30, 30)), NumberOfFrames=1)
    put(server, "heads", {"ct": slices.read_bytes(), "text": b"text" * 10**6, "xa": frames.read_bytes()})
    with Proxy(server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        run("s3://heads", tmp_path / "out", predictor)
        spans: dict[str, list[str]] = {"ct": [], "text": []}
        for head in (head for head in proxy.heads if "range: " in head and " /heads/xa" not in head):
            spans[head.split(" ")[1].removeprefix("/heads/")] += re.findall("range: bytes=([0-9-]+)", head)
    assert spans["ct"] == ["0-262143"]
    assert spans["text"][0] == "0-262143"
    ends = [span.split("-") for span in spans["text"][1:]]  # to know whether it is an archive
    assert sum(int(stop) - int(start) + 1 for start, stop in ends) <= 1 << 16
    statuses = {path: row["status"] for path, row in rows(tmp_path / "out").items()}
    assert statuses["s3://heads/xa"] in ("sorted", "review")


def test_every_object_has_one_row_though_requests_fail_and_objects_vanish(
    server: str, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        write_dicom(tmp_path / "in" / f"{number}.dcm", picture(number))
    put(server, "faulty", tree(tmp_path / "in"))
    monkeypatch.setattr(transfer, "_LONGEST_PAUSE", 0.01)
    plan = {"/0.dcm": ["500", "reset"], "/1.dcm": ["cut", "503"], "/2.dcm": ["hang"], "/3.dcm": ["404"] * 99}
    plan |= {"/4.dcm": ["403"] * 99, "/5.dcm": ["500"] * 99}
    with Proxy(server, faults=in_turn(plan)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        summary = run("s3://faulty", tmp_path / "out", predictor, timeout=1, tries=30)
        assert summary.exit_code == 3
        failed = {
            path[-5:]: row["reason"] for path, row in rows(tmp_path / "out").items() if "io_" in row["status"]
        }
        assert {name: reason.split(" ")[0] for name, reason in failed.items()} == {
            "3.dcm": "file",
            "4.dcm": "store",
            "5.dcm": "store",
        }
        proxy.faults = in_turn({})
        summary = run("s3://faulty", tmp_path / "out", predictor, retry_failed=True)
    assert summary.exit_code == 0
    assert not os.path.exists(tmp_path / "out" / ".dicomsort")
    run(str(tmp_path / "in"), tmp_path / "here", predictor)
    assert told(tmp_path / "out", "s3://faulty") == told(tmp_path / "here", str(tmp_path / "in"))


def test_credentials_are_in_no_file_and_no_line(
    server: str,
    tmp_path: Path,
    small_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    write_dicom(tmp_path / "in" / "a.dcm", picture(1))
    put(server, "canary", {**tree(tmp_path / "in"), "odd//key.dcm": b"no", "b.dcm": b"no"})
    with Proxy(server, faults=in_turn({"b.dcm": ["403"] * 9})) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        words = ("--out", tmp_path / "out", "--model", small_model, "-v", "--report")
        ran = inside(capfd, "classify", "s3://canary", *words)
        assert (ran.code, len(rows(tmp_path / "out"))) == (3, 3), ran.err
        assert len({head.split(" ")[1] for head in proxy.heads}) > 3
        refused = inside(capfd, "classify", "s3://none", *words[:-2])
    assert refused.code == 2
    everywhere = [ran.out, ran.err, refused.out, refused.err, *map(repr, tree(tmp_path / "out").values())]
    assert not [text for text in everywhere for secret in (CANARY, SECRET, "Signature") if secret in text]


@pytest.mark.slow
def test_two_thousand_objects_with_faults_and_a_kill_in_the_middle(
    server: str, tmp_path: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of requests with 50 ms latency, one in twenty fails; it is killed, and the same command goes on."""
    for number in range(40):
        write_dicom(tmp_path / "in" / f"{number}.dcm", picture(number))
    bodies = list(tree(tmp_path / "in").values())
    objects = {f"{number % 7}/{number:04}.dcm": bodies[number % 40] for number in range(2000)}
    put(server, "many", objects)
    faults = ("500", "503", "reset", "cut")

    def sometimes(path: str, number: int) -> str:
        lot = crc32(f"{path} {number}".encode()) % 80
        return faults[lot] if lot < 4 and "list-type" not in path else ""

    with Proxy(server, 0.05, sometimes) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        words = ["classify", "s3://many", "--out", str(tmp_path / "out"), "--model", str(small_model), "-q"]
        words += ["--keep-duplicates"]
        killed = subprocess.Popen([sys.executable, "-m", "dicomsort", *words], start_new_session=True)
        journal = tmp_path / "out" / "manifest.csv"
        for _ in range(1200):
            time.sleep(0.1)
            if journal.exists() and journal.read_bytes().count(b"\n") > 300:
                break
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
        before = journal.read_bytes().count(b"\n")
        ran = command(*words)
    assert 300 < before < 2000
    assert ran.code == 0, ran.err
    table = rows(tmp_path / "out")
    assert table.keys() == {f"s3://many/{key}" for key in objects}
    for path, row in table.items():
        assert row["status"] in (Status.SORTED, Status.REVIEW)
        copy = (tmp_path / "out" / row["destination"]).read_bytes()
        assert copy == objects[path.removeprefix("s3://many/")]
    assert not os.path.exists(tmp_path / "out" / ".dicomsort")
    assert len(tree(tmp_path / "out")) == 2002


FEW = """
import sys
if "dicomsort" in sys.orig_argv:
    from dicomsort.cluster import comparing
    comparing.FEWEST = 1
"""


@pytest.mark.slow
def test_nodes_sort_and_compare_what_lies_in_a_bucket(
    server: str, tmp_path: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of thirty objects six come twice, and a seventh comes again with other pixels."""
    for number in range(30):
        write_dicom(tmp_path / "in" / f"{number}.dcm", picture(number))
    for number in range(6):
        shutil.copy(tmp_path / "in" / f"{number}.dcm", tmp_path / "in" / f"again{number}.dcm")
    uid = str(pydicom.dcmread(tmp_path / "in" / "7.dcm").SOPInstanceUID)
    write_dicom(tmp_path / "in" / "other.dcm", picture(99), SOPInstanceUID=uid)
    put(server, "nodes", tree(tmp_path / "in"))
    words = (
        "classify",
        "s3://nodes",
        "--model",
        small_model,
        "--device",
        "cpu",
        "--workers",
        "1",
        "-q",
        "--out",
    )
    alone = command(*words, tmp_path / "one")
    assert alone.code == ExitCode.DONE, alone.err
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(FEW)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), *sys.path[1:]]))
    done = command(*words, tmp_path / "out", "--backend", "loky", "--tasks", "2", "--shard-size", "5")
    assert done.code == ExitCode.DONE, done.err
    assert rows(tmp_path / "out") == rows(tmp_path / "one")
    assert sum(row["status"] == "duplicate" for row in rows(tmp_path / "out").values()) == 6
    assert sum(read_to_compare(tmp_path / "out")) == 14
    own = ("manifest.csv", "run.json", "parts.log")
    copies = [{n: b for n, b in tree(tmp_path / o).items() if n not in own} for o in ("one", "out")]
    assert copies[0] == copies[1]


def test_a_web_server_gives_the_same_rows_and_copies_and_goes_on_without_etags(
    tmp_path: Path, predictor: FixedPredictor
) -> None:
    for number in range(4):
        write_dicom(tmp_path / "in" / "a b" / f"{number}%#ü.dcm", picture(number))
    (tmp_path / "in" / "text.txt").write_text("no radiograph")
    run(str(tmp_path / "in"), tmp_path / "here", predictor)
    with serving(partial(Silent, directory=str(tmp_path / "in"))) as address, Proxy(address) as proxy:
        run(proxy.address, tmp_path / "there", predictor)
        rows_there = rows(tmp_path / "there")
        assert all(row["etag"].startswith("W/") for row in rows_there.values())
        proxy.heads.clear()
        run(proxy.address, tmp_path / "there", predictor)
        assert not [head for head in proxy.heads if head.startswith("GET ") and ".dcm" in head]
    relative = {unquote(path.removeprefix(f"{proxy.address}/")): row for path, row in rows_there.items()}
    here = told(tmp_path / "here", str(tmp_path / "in"))
    assert {name: row["status"] for name, row in relative.items()} == {
        n: r["status"] for n, r in here.items()
    }
    own = ("manifest.csv", "run.json")
    copies = [{n: b for n, b in tree(tmp_path / o).items() if n not in own} for o in ("here", "there")]
    assert copies[0] == copies[1]
