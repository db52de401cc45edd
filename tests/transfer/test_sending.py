"""Files sent to a PACS of a few lines, by STOW-RS and by C-STORE: as they are, whole, and once."""

import csv
import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from outputs import rows, settings
from predictors import FixedPredictor
from program import inside
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from stub_pacs import StubPacs, running
from written import picture, write_dicom

from dicomsort.errors import UsageError
from dicomsort.inputs.store import RemoteSettings
from dicomsort.model.bundle import Bundle
from dicomsort.sorting.pipeline import sort
from dicomsort.system.pool_settings import PoolSettings
from dicomsort.transfer.answers import Left
from dicomsort.transfer.candidates import Chosen
from dicomsort.transfer.peer import PeerLostError, entity_of, peer_of
from dicomsort.transfer.sending import SendSettings, Sent, send

QUICK = RemoteSettings(connections=2, timeout=60.0, tries=2)
DX = "1.2.840.10008.5.1.4.1.1.1.1"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicomsort.inputs.pacs_requests._FIRST_PAUSE", 0.001)
    monkeypatch.setattr("dicomsort.transfer.c_store._FIRST_PAUSE", 0.001)


@pytest.fixture
def out(tmp_path: Path, small_bundle: Bundle) -> Path:
    for number in range(6):
        uids = {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "2.2", "SOPInstanceUID": f"3.{number}"}
        syntax = ImplicitVRLittleEndian if number == 1 else ExplicitVRLittleEndian
        write_dicom(tmp_path / "in" / f"{number}.dcm", picture(number), syntax, **uids)
    sort(settings(tmp_path / "in", tmp_path / "out", review_below=0.0), FixedPredictor(small_bundle))
    assert {row["status"] for row in rows(tmp_path / "out").values()} == {"sorted"}
    return tmp_path / "out"


def sent_to(to: str, out: Path, asked: RemoteSettings = QUICK, **changes: Any) -> Sent:
    peer = peer_of(to, asked, "TESTER")
    try:
        return send(peer, SendSettings(str(out), connections=2, pool=PoolSettings(1), **changes))
    finally:
        peer.close()


def told(out: Path) -> list[dict[str, str]]:
    with (out / "sent.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def contents(out: Path) -> set[bytes]:
    return {Path(path).read_bytes() for path in rows(out)}


def part_of(pacs: StubPacs, number: int) -> bytes:
    head = f"Content-Type: {pacs.headers[number]['Content-Type']}\r\n\r\n".encode()
    message: Any = message_from_bytes(head + pacs.received[number])
    (part,) = message.get_payload()
    assert part.get_content_type() == "application/dicom"
    edge = message.get_boundary().encode()
    return pacs.received[number].partition(b"\r\n\r\n")[2].removesuffix(b"\r\n--" + edge + b"--\r\n")


class TestStow:
    def test_each_file_comes_as_it_is_and_once(self, out: Path) -> None:
        with running(StubPacs([])) as pacs:
            assert sent_to(pacs.url, out).sent == 6
            assert {part_of(pacs, number) for number in range(6)} == contents(out)
            again = sent_to(pacs.url, out)
            assert (again.sent, again.there, len(pacs.received)) == (0, 6, 6)
        assert {row["outcome"] for row in told(out)} == {"stored"}
        assert {row["sop_instance_uid"] for row in told(out)} == {f"3.{number}" for number in range(6)}

    def test_another_pacs_gets_them_too(self, out: Path) -> None:
        with running(StubPacs([])) as one, running(StubPacs([])) as other:
            sent_to(one.url, out)
            assert sent_to(other.url, out).sent == 6

    def test_what_is_refused_is_told_by_its_code_and_tried_again_by_the_next_run(self, out: Path) -> None:
        failed = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xA900]}}]}}
        with running(StubPacs([], answers=lambda body: (409, failed))) as pacs:
            done = sent_to(pacs.url, out)
            assert done.left == {"refused by the PACS: data set does not match its SOP class (A900)": 6}
            assert done.exit_code == 3
            pacs.answers = lambda body: (200, {})
            assert sent_to(pacs.url, out).sent == 6
        assert [row["code"] for row in told(out)] == ["A900"] * 6 + ["0000"] * 6

    @pytest.mark.parametrize(("status", "asked"), [(415, 6), (500, 12)])
    def test_a_status_of_the_web_is_a_reason_too(self, status: int, asked: int, out: Path) -> None:
        with running(StubPacs([], answers=lambda body: (status, "CANARY"))) as pacs:
            assert sent_to(pacs.url, out).left == {f"refused by the PACS: HTTP {status}": 6}
            assert len(pacs.received) == asked
        assert "CANARY" not in (out / "sent.csv").read_text()

    @pytest.mark.parametrize(("status", "said"), [(401, "netrc"), (404, "root"), (405, "STOW-RS")])
    def test_what_takes_nothing_ends_the_run(self, status: int, said: str, out: Path) -> None:
        pacs = StubPacs([], answers=lambda body: (status, {}))
        with running(pacs), pytest.raises(PeerLostError, match=said):
            sent_to(pacs.url, out)

    def test_nobody_there(self, out: Path) -> None:
        with pytest.raises(PeerLostError, match="same command again"):
            sent_to("dicomweb+http://127.0.0.1:9/dicom-web", out)

    def test_a_token_is_sent_and_written_nowhere(self, out: Path) -> None:
        with running(StubPacs([])) as pacs:
            sent_to(pacs.url, out, RemoteSettings(authorization="Bearer CANARY"))
            assert pacs.headers[0]["Authorization"] == "Bearer CANARY"
        assert "CANARY" not in (out / "sent.csv").read_text()


class Scp:
    """An application entity that answers with a code, after so many files not at all."""

    def __init__(self, code: int = 0, lives: int = 1000, contexts: tuple[str, ...] = (DX,)) -> None:
        self.code, self.lives, self.contexts = code, lives, contexts
        self.received: list[bytes] = []
        self.title = ""
        self.lock = threading.Lock()

    def store(self, event: Any) -> int:
        with self.lock:
            self.received.append(event.encoded_dataset())
            self.title = event.assoc.requestor.ae_title
            if len(self.received) > self.lives:
                event.assoc.abort()
        return self.code

    @contextmanager
    def running(self) -> Iterator[str]:
        entity = AE("SCP")
        for context in self.contexts:
            entity.add_supported_context(context, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        server = entity.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self.store)]
        )
        assert server is not None
        assert server.socket is not None
        try:
            yield f"SCP@127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()


class TestCStore:
    def test_each_file_comes_with_its_own_bytes_and_once(self, out: Path) -> None:
        scp = Scp()
        with scp.running() as to:
            assert sent_to(to, out).sent == 6
            assert sent_to(to, out).there == 6
        for content in contents(out):
            assert any(content.endswith(received[-600:]) for received in scp.received)
            dataset = dcmread(io.BytesIO(content))
            assert dataset.SOPInstanceUID.startswith("3.")
        assert len(scp.received) == 6
        assert scp.title == "TESTER"

    def test_what_is_refused_is_told_by_its_code(self, out: Path) -> None:
        with Scp(0xA700).running() as to:
            assert sent_to(to, out).left == {"refused by the PACS: out of resources (A700)": 6}

    def test_a_class_that_it_does_not_take(self, out: Path) -> None:
        with Scp(contexts=("1.2.840.10008.5.1.4.1.1.2",)).running() as to:
            assert sent_to(to, out).left == {Left.NO_CONTEXT: 6}

    def test_one_that_dies_in_between_ends_the_run_and_what_was_stored_is_not_sent_again(
        self, out: Path
    ) -> None:
        scp = Scp(lives=3)
        with scp.running() as to:
            with pytest.raises(PeerLostError, match="same command again"):
                sent_to(to, out)
            stored = (
                [row for row in told(out) if row["outcome"] == "stored"]
                if (out / "sent.csv").exists()
                else []
            )
            scp.lives = 1000
            done = sent_to(to, out)
        assert done.there == len(stored)
        assert done.sent + done.there == 6

    def test_nobody_there(self, out: Path) -> None:
        begun = time.monotonic()
        with pytest.raises(PeerLostError, match="does not answer"):
            sent_to("ORTHANC@127.0.0.1:9", out)
        assert time.monotonic() - begun < 60


class TestChoosing:
    def test_a_class_and_a_status(self, out: Path) -> None:
        with running(StubPacs([])) as pacs:
            labels = [row["label"] for row in rows(out).values()]
            assert sent_to(pacs.url, out, chosen=Chosen(labels=("none",))).sent == 0
            assert sent_to(pacs.url, out, chosen=Chosen(labels=(labels[0],))).sent == labels.count(labels[0])

    def test_a_trial_sends_and_writes_nothing(self, out: Path) -> None:
        with running(StubPacs([])) as pacs:
            assert sent_to(pacs.url, out, dry_run=True).sent == 6
            assert pacs.received == []
        assert not (out / "sent.csv").exists()

    def test_what_has_changed_or_is_damaged_or_gone_is_not_sent(self, out: Path) -> None:
        changed, gone, *_ = sorted(rows(out))
        content = Path(changed).read_bytes()
        Path(changed).write_bytes(content + content)
        Path(gone).unlink()
        (out / rows(out)[gone]["destination"]).write_bytes(content[:-50])
        with running(StubPacs([])) as pacs:
            done = sent_to(pacs.url, out)
            assert done.left == {Left.CHANGED: 1, Left.NOT_WHOLE: 1}
            assert len(pacs.received) == 4

    def test_a_folder_that_holds_nothing_of_ours(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no output"):
            sent_to("dicomweb+http://127.0.0.1:9/dicom-web", tmp_path)

    @pytest.mark.parametrize("damage", ["no journal\n", "file,to\na,b\n"])
    def test_a_damaged_journal_is_told(self, damage: str, out: Path) -> None:
        (out / "sent.csv").write_text(damage * 2)
        with pytest.raises(UsageError, match="damaged"):
            sent_to("dicomweb+http://127.0.0.1:9/dicom-web", out)


@pytest.mark.parametrize(
    "to", ["", "host:104", "A@host", "A@host:0", "A@host:99999", "ABCDEFGHIJKLMNOPQ@host:1", "http://h"]
)
def test_what_is_no_pacs_is_told_in_a_line(to: str) -> None:
    with pytest.raises(UsageError, match="is no PACS"):
        peer_of(to, QUICK, "TESTER")


def test_an_entity_is_named_as_it_was_typed() -> None:
    for to in ("ORTHANC@host.example:4242", "A@[::1]:104"):
        entity = entity_of(to)
        assert entity is not None
        assert entity.name == to


def test_the_command_says_what_it_did(out: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with running(StubPacs([])) as pacs:
        ran = inside(capfd, "send", out, "--to", pacs.url, "--workers", "1")
        assert (ran.code, ran.err) == (0, "dicomsort: 6 files sent\n")
        ran = inside(capfd, "send", out, "--to", pacs.url, "--workers", "1", "--json")
        assert json.loads(ran.out) == {
            "sent": 0, "already_sent": 6, "left": {}, "dry_run": False, "to": pacs.url
        }  # fmt: skip
    assert inside(capfd, "send", out, "--to", "nowhere").code == 2
    assert inside(capfd, "send", out, "--to", "A@127.0.0.1:9", "--aet", "x" * 17).code == 2
