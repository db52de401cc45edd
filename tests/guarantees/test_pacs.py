"""A real Orthanc as a source and as a target, also one that is killed in the middle."""

import csv
import hashlib
import io
import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from committed import ARCHIVE
from dicom_tools import Orthanc, orthanc
from dicomweb_client import DICOMwebClient
from outputs import rows, tree
from program import command
from stub_pacs import Fault, StubPacs, running, some
from written import picture, write_dicom

from dicomsort.dicom.whole import Whole, whole
from dicomsort.inputs.dicomweb import DicomWeb
from dicomsort.inputs.store import RemoteSettings

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

MODEL = ("--model", "router5", "--device", "cpu", "--quiet")
COLUMNS = (
    "status",
    "reason",
    "label",
    "confidence",
    "sop_instance_uid",
    "modality",
    "rows",
    "transfer_syntax",
)


def digest(content: bytes | None) -> str:
    return hashlib.sha256(content or b"").hexdigest()


def address(server: Orthanc) -> str:
    return f"dicomweb+http://127.0.0.1:{server.web}/dicom-web"


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that an Orthanc keeps: all whole ones of the archive, and some of other kinds.

    Each SOP Instance UID once: what it holds in two studies Orthanc 1.10.1 lists, and does not give out.
    """
    folder, seen = tmp_path_factory.mktemp("held"), set[str]()
    for path in sorted(path for path in ARCHIVE.rglob("*") if path.is_file()):
        name = path.relative_to(ARCHIVE).as_posix().replace("/", "_")
        dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        is_kept = isinstance(whole(str(path)), Whole) or dataset.get("Modality") in ("CT", "MR", "MG")
        if is_kept and dataset.get("SOPInstanceUID") not in seen:
            seen.add(dataset.SOPInstanceUID)
            shutil.copy(path, folder / name)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, held: Path) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("orthanc"), dicomweb=True) as running:
        for path in held.iterdir():
            running.ask("/instances", path.read_bytes())
        yield running


def by_uid(out: Path) -> dict[str, tuple[str, ...]]:
    return {row["sop_instance_uid"]: tuple(row[name] for name in COLUMNS) for row in rows(out).values()}


class TestSource:
    def test_it_finds_what_dicomweb_client_finds(self, server: Orthanc) -> None:
        store = DicomWeb(address(server), RemoteSettings())
        found = sorted(file.path.rpartition("/")[2] for file in store.find())
        client = DICOMwebClient(f"http://127.0.0.1:{server.web}/dicom-web")
        assert found == sorted(each["00080018"]["Value"][0] for each in client.search_for_instances())
        assert len(found) == server.count() > 40

    def test_instances_come_byte_by_byte_as_orthanc_keeps_them(self, server: Orthanc) -> None:
        store = DicomWeb(address(server), RemoteSettings())
        for file in store.find():
            into = io.BytesIO()
            store.fetch(file.path, 0, None, into)
            assert into.getvalue() == server.fetch(file.path.rpartition("/")[2])

    def test_the_same_rows_and_the_same_copies_as_from_a_folder(
        self, server: Orthanc, held: Path, tmp_path: Path
    ) -> None:
        command("classify", held, "--out", tmp_path / "files", *MODEL, "--keep-duplicates")
        command("classify", address(server), "--out", tmp_path / "pacs", *MODEL, "--keep-duplicates")
        of_files, of_pacs = by_uid(tmp_path / "files"), by_uid(tmp_path / "pacs")
        assert of_pacs.keys() == of_files.keys()
        for uid, row in of_files.items():
            if row[0] == "not_xray":  # known without fetching
                assert of_pacs[uid][:5] == row[:5]
            else:
                assert of_pacs[uid] == row
        placed = [
            Counter(digest(content) for name, content in tree(tmp_path / out).items() if "/" in name)
            for out in ("files", "pacs")
        ]
        assert placed[0] == placed[1]
        assert sum(placed[0].values()) > 25

    def test_a_query_and_what_is_no_attribute(self, server: Orthanc, tmp_path: Path) -> None:
        words = ("--action", "none", "--query", "Modality=DX", "--query", "00080060=CR")
        ran = command("classify", address(server), "--out", tmp_path / "a", *MODEL, *words)
        assert ran.code in (0, 3)
        assert {row["modality"] for row in rows(tmp_path / "a").values()} == {"DX", "CR"}
        assert not list((tmp_path / "a").rglob("*.dcm"))
        ran = command("classify", address(server), "--out", tmp_path / "b", *MODEL, "--query", "Modalty=DX")
        assert (ran.code, ran.err) == (
            2, "dicomsort: --query 'Modalty' is no attribute of DICOM: is Modality meant?\n"
        )  # fmt: skip

    def test_the_second_run_fetches_nothing(self, server: Orthanc, tmp_path: Path) -> None:
        words = ("classify", address(server), "--out", tmp_path, *MODEL, "--query", "Modality=CR")
        command(*words)
        before = (tmp_path / "manifest.csv").read_bytes()
        ran = command(*(word for word in words if word != "--quiet"), "--json")
        assert ran.json["already_done"] == ran.json["found"] > 3
        assert (tmp_path / "manifest.csv").read_bytes() == before

    def test_no_patient_is_named_anywhere(self, server: Orthanc, tmp_path: Path) -> None:
        ran = command("classify", address(server), "--out", tmp_path, *MODEL, "--verbose")
        texts = [path.read_text() for path in tmp_path.iterdir() if path.is_file()]
        assert not any("CANARY" in text for text in (ran.out, ran.err, *texts))


def test_killed_in_the_middle_each_instance_has_one_row_and_the_same_command_goes_on(tmp_path: Path) -> None:
    """The PACS is killed while it is read, then the run, then both are there again."""
    with orthanc(tmp_path / "orthanc", dicomweb=True) as server:
        for number in range(300):
            uids = {"StudyInstanceUID": f"1.2.{number // 3}", "SeriesInstanceUID": f"1.2.{number // 3}.1"}
            path = write_dicom(
                tmp_path / f"{number}.dcm", picture(number), SOPInstanceUID=f"1.2.9.{number}", **uids
            )
            server.ask("/instances", path.read_bytes())
        out = tmp_path / "out"
        words: list[str | Path] = [
            "classify",
            address(server),
            "--out",
            out,
            *MODEL,
            "--action",
            "none",
            "--retry-failed",
        ]
        begun = subprocess.Popen(
            [sys.executable, "-m", "dicomsort", *map(str, words)], stderr=subprocess.PIPE
        )
        _wait_for_rows(out, 5)
        server.kill()
        said = begun.communicate(timeout=120)[1].decode()
        assert begun.returncode in (2, 3)
        assert "Traceback" not in said
        server.start()
        begun = subprocess.Popen(
            [sys.executable, "-m", "dicomsort", *map(str, words)], stderr=subprocess.PIPE
        )
        time.sleep(2)
        begun.kill()
        begun.wait()
        ran = command(*words)
        assert ran.code == 0, ran.err
        found = rows(out)
    assert len(found) == 300
    assert len({row["sop_instance_uid"] for row in found.values()}) == 300
    assert {row["status"] for row in found.values()} <= {"sorted", "review"}


def _wait_for_rows(out: Path, count: int) -> None:
    for _ in range(600):
        manifest = out / "manifest.csv"
        if manifest.exists() and manifest.read_bytes().count(b"\n") > count:
            return
        time.sleep(0.02)
    pytest.fail("no rows")


@pytest.fixture(scope="module")
def output(held: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("output") / "out"
    command("classify", held, "--out", out, *MODEL)
    return out


def sent(out: Path) -> list[dict[str, str]]:
    with (out / "sent.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class TestTarget:
    @pytest.mark.parametrize("way", ["stow", "c-store"])
    def test_what_was_sent_is_there_as_it_is_and_once(self, way: str, output: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        shutil.copytree(output, out)
        with orthanc(tmp_path / "orthanc", dicomweb=True) as server:
            to = address(server) if way == "stow" else f"ORTHANC@127.0.0.1:{server.dicom}"
            ran = command("send", out, "--to", to, "--json")
            stored = [row for row in sent(out) if row["outcome"] == "stored"]
            assert ran.json["sent"] == len(stored) == server.count() > 20
            for row in stored:
                path = Path(row["file"]) if row["file"].startswith("/") else out / row["file"]
                kept = pydicom.dcmread(io.BytesIO(server.fetch(row["sop_instance_uid"]) or b""))
                assert kept == pydicom.dcmread(path)
                if way == "stow":
                    assert server.fetch(row["sop_instance_uid"]) == path.read_bytes()
            again = command("send", out, "--to", to, "--json")
            assert again.json["sent"] == 0
            assert again.json["already_sent"] == len(stored)
            assert "CANARY" not in (out / "sent.csv").read_text() + ran.err + ran.out

    def test_only_a_class(self, output: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        shutil.copytree(output, out)
        labels = Counter(row["label"] for row in rows(out).values() if row["status"] == "sorted")
        (label, count), *_ = labels.most_common()
        with orthanc(tmp_path / "orthanc", dicomweb=True) as server:
            ran = command("send", out, "--to", address(server), "--label", label, "--json")
            assert ran.json["sent"] == server.count() <= count

    def test_what_annotate_has_written(self, output: Path, tmp_path: Path) -> None:
        words = ("--as", "sr", "--out", tmp_path / "reports", "--min-confidence", "0.5")
        command("annotate", output, *words)
        with orthanc(tmp_path / "orthanc", dicomweb=True) as server:
            ran = command("send", tmp_path / "reports", "--to", address(server), "--json")
            assert ran.code == 0, ran.err
            assert ran.json["sent"] == server.count() == len(list((tmp_path / "reports").rglob("*.dcm"))) > 5

    @pytest.mark.parametrize("way", ["stow", "c-store"])
    def test_a_pacs_that_dies_in_between_ends_the_run_and_the_same_command_goes_on(
        self, way: str, output: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        shutil.copytree(output, out)
        with orthanc(tmp_path / "orthanc", dicomweb=True) as server:
            to = address(server) if way == "stow" else f"ORTHANC@127.0.0.1:{server.dicom}"
            words = ["send", str(out), "--to", to, "--connections", "1"]
            begun = subprocess.Popen([sys.executable, "-m", "dicomsort", *words], stderr=subprocess.PIPE)
            for _ in range(600):
                if (out / "sent.csv").exists() and (out / "sent.csv").read_bytes().count(b"\n") > 3:
                    break
                time.sleep(0.01)
            server.kill()
            said = begun.communicate(timeout=120)[1].decode()
            assert begun.returncode == 5, said
            assert "run the same command again" in said
            server.start()
            ran = command(*words, "--json")
            assert ran.json["already_sent"] >= 1
            stored = [row["file"] for row in sent(out) if row["outcome"] == "stored"]
            assert len(stored) == len(set(stored)) == server.count()

    def test_of_everything_broken_orthanc_gets_only_what_it_survives(self, tmp_path: Path) -> None:
        """Of some of these, sent as they are, Orthanc 1.10.1 dies."""
        for path in sorted(path for path in ARCHIVE.parent.joinpath("data/broken").iterdir()):
            shutil.copy(path, tmp_path / path.name)
        good = [path for path in tmp_path.glob("*.dcm") if isinstance(whole(str(path)), Whole)]
        assert not any(path.name.startswith(("nested", "ct_nesting", "cut")) for path in good)
        with orthanc(tmp_path / "orthanc", dicomweb=True) as server:
            from dicomsort.transfer.peer import peer_of

            peer = peer_of(address(server), RemoteSettings(), "TEST")
            for path in good:
                what = whole(str(path))
                assert isinstance(what, Whole)
                peer.send(str(path), what)
            peer.close()
            assert 0 < server.count() <= len(good)


def test_a_version_without_labels_gets_metadata_and_gives_it_up_again(tmp_path: Path, held: Path) -> None:
    with orthanc(tmp_path / "orthanc", dicomweb=True) as server:
        for path in held.iterdir():
            server.ask("/instances", path.read_bytes())
        out = tmp_path / "out"
        words = ("--query", "Modality=CR", "--action", "none", "--write-back", "labels")
        ran = command("classify", address(server), "--out", out, *MODEL, *words)
        assert ran.code in (0, 3), ran.err
        sorted_ones = {
            row["sop_instance_uid"]: row["label"] for row in rows(out).values() if row["status"] == "sorted"
        }
        assert len(sorted_ones) > 3
        metadata = {uid: _metadata(server, uid) for uid in by_uid(out)}
        assert {uid: mark for uid, mark in metadata.items() if mark} == {
            uid: f"dicomsort-{label}" for uid, label in sorted_ones.items()
        }
        assert command("label", out, "--undo", "--json").json["labeled"] == len(sorted_ones)
        assert not any(_metadata(server, uid) for uid in by_uid(out))


def _metadata(server: Orthanc, uid: str) -> str:
    name = json.loads(server.ask("/tools/lookup", uid.encode()))[0]["ID"]
    numbers = json.loads(server.ask(f"/instances/{name}/metadata"))
    return server.ask(f"/instances/{name}/metadata/7310").decode() if "7310" in numbers else ""


@pytest.mark.parametrize("hangs", ["/studies", "/instances", "instance"])
def test_ctrl_c_ends_a_run_at_once_though_the_pacs_hangs(hangs: str, tmp_path: Path) -> None:
    def fault(path: str, time: int) -> Fault:
        is_instance = "/instances/" in path
        return "hang" if path.endswith(hangs) or (is_instance and hangs == "instance") else None

    with running(StubPacs(some(30), fault=fault)) as pacs:
        words = [sys.executable, "-m", "dicomsort", "classify", pacs.url, "--out", tmp_path / "out", *MODEL]
        begun = subprocess.Popen(list(map(str, words)), stderr=subprocess.PIPE)
        for _ in range(2400):
            if any(path.partition("?")[0].endswith(hangs) or "/instances/" in path for path in pacs.asked):
                break
            time.sleep(0.05)
        time.sleep(0.5)
        started = time.monotonic()
        begun.send_signal(signal.SIGINT)
        said = begun.communicate(timeout=100)[1].decode()
        assert time.monotonic() - started < 25, "less than a single time limit"
    assert begun.returncode == 130, said
