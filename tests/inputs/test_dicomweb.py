"""A PACS as a source, before a server of a few lines that does whatever servers do."""

import io
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from stub_pacs import CAPTURE, CT, Fault, Held, StubPacs, running, some

from dicomsort.dicom.queried import exclusion
from dicomsort.errors import UsageError
from dicomsort.inputs.dicomweb import Address, DicomWeb
from dicomsort.inputs.store import FetchError, RemoteSettings, Stoppable
from dicomsort.inputs.stores import store_of
from dicomsort.outcome import FileStamp, Reason, SourceFile, Status

QUICK = RemoteSettings(connections=4, timeout=60.0, tries=3)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicomsort.inputs.pacs_requests._FIRST_PAUSE", 0.001)


def found(pacs: StubPacs, settings: RemoteSettings = QUICK, below: str = "") -> list[SourceFile]:
    with running(pacs):
        store = DicomWeb(pacs.url + below, settings)
        try:
            return list(store.find())
        finally:
            store.close()


def fetched(pacs: StubPacs, held: Held, settings: RemoteSettings = QUICK) -> tuple[bytes, FileStamp]:
    into = io.BytesIO()
    with running(pacs):
        store = DicomWeb(pacs.url, settings)
        try:
            stamp = store.fetch(name_of(pacs, held), 0, None, into)
        finally:
            store.close()
    return into.getvalue(), stamp


def name_of(pacs: StubPacs, held: Held) -> str:
    return f"{pacs.url}/studies/{held.study}/series/{held.series}/instances/{held.uid}"


def uids(files: list[SourceFile]) -> list[str]:
    return [file.path.rpartition("/")[2] for file in files]


class TestFinding:
    def test_every_instance_comes_once_with_its_name_its_place_and_its_uid(self) -> None:
        pacs = StubPacs(some(3, each=2))
        files = found(pacs)
        assert [file.path for file in files] == [name_of(pacs, held) for held in pacs.held]
        assert files[0].relpath == "1.2.0/1.2.0.1/1.2.0.1.0.dcm"
        assert {file.stamp.etag for file in files if file.stamp} == {held.uid for held in pacs.held}
        assert all(file.failure is None for file in files)

    @pytest.mark.parametrize(("most", "says_more"), [(7, True), (10, False), (1, True)])
    def test_a_server_that_gives_less_than_was_asked_for_is_asked_again(
        self, most: int, says_more: bool
    ) -> None:
        pacs = StubPacs(some(13) + [Held("9", "9.1", f"9.1.{n}") for n in range(21)])
        pacs.most, pacs.says_more = most, says_more
        assert sorted(uids(found(pacs))) == sorted(held.uid for held in pacs.held)

    def test_more_studies_than_a_page_holds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("dicomsort.inputs.dicomweb.PAGE", 20)
        pacs = StubPacs(some(43))
        assert uids(found(pacs)) == [held.uid for held in pacs.held]

    def test_a_server_that_knows_no_offset_does_not_go_round_in_circles(self) -> None:
        pacs = StubPacs(some(40), most=20, knows_offset=False)
        assert len(found(pacs)) == 20

    def test_nothing_there_is_no_file(self) -> None:
        assert found(StubPacs([])) == []

    def test_a_study_or_a_series_or_an_instance_alone(self) -> None:
        held = [Held("1", "1.1", "1.1.1"), Held("1", "1.2", "1.2.1"), Held("2", "2.1", "2.1.1")]
        held.append(Held("2", "2.1", "2.1.2"))
        assert uids(found(StubPacs(held), below="/studies/1")) == ["1.1.1", "1.2.1"]
        assert uids(found(StubPacs(held), below="/studies/1/series/1.2")) == ["1.2.1"]
        assert uids(found(StubPacs(held), below="/studies/2/series/2.1/instances/2.1.2")) == ["2.1.2"]
        assert uids(found(StubPacs(held), below="/studies/2/series/2.1/instances/9")) == []
        assert len(found(StubPacs(held), below="/studies/")) == 4

    def test_uids_that_are_none_lead_nowhere_else(self) -> None:
        odd = Held("1", "../..", "a/b?c=d#e", b"odd")
        pacs = StubPacs([odd])
        (file,) = found(pacs)
        assert file.relpath == "1/_.._/a_b_c_d_e.dcm".replace("_.._", ".._..")
        assert fetched(pacs, Held("1", "..%2F..", "a%2Fb%3Fc%3Dd%23e"))[0] == b"odd"


class TestAsking:
    def test_what_belongs_to_studies_is_asked_of_studies_and_the_rest_of_instances(self) -> None:
        pacs = StubPacs([Held("1", "1.1", "1.1.1", modality="DX"), Held("1", "1.2", "1.2.1", modality="CT"),
                         Held("2", "2.1", "2.1.1", modality="CT")])  # fmt: skip
        query = {"Modality": "DX", "StudyDate": "20260101-"}
        assert uids(found(pacs, RemoteSettings(query=query))) == ["1.1.1"]
        studies, instances = pacs.asked[0], pacs.asked[-1]
        assert "StudyDate=20260101-" in studies
        assert "ModalitiesInStudy=DX" in studies
        assert "StudyDate" not in instances
        assert "&Modality=DX" in instances.replace("?", "&")
        assert pacs.times("/dicom-web/studies/2/instances") == 0

    def test_several_values_are_any_of_them(self) -> None:
        held = [
            Held(str(n), f"{n}.1", f"{n}.1.1", modality=modality)
            for n, modality in enumerate(("DX", "CT", "CR"))
        ]
        assert sorted(uids(found(StubPacs(held), RemoteSettings(query={"Modality": "DX\\CR"})))) == [
            "0.1.1",
            "2.1.1",
        ]

    def test_what_cannot_be_a_radiograph_is_known_without_fetching_it(self) -> None:
        held = [Held("1", "1.1", "1.1.1"), Held("1", "1.2", "1.2.1", sop_class=CT, modality="CT"),
                Held("1", "1.3", "1.3.1", sop_class=CAPTURE, modality="OT"),
                Held("1", "1.4", "1.4.1", sop_class=CAPTURE, modality="")]  # fmt: skip
        files = found(StubPacs(held), RemoteSettings(excludes=exclusion))
        reasons = [file.failure.reason if file.failure else None for file in files]
        assert reasons == [None, Reason.OTHER_SOP_CLASS, Reason.CAPTURE, None]
        files = found(StubPacs(held), RemoteSettings(excludes=partial(exclusion, secondary_capture=True)))
        assert [file.failure is None for file in files] == [True, False, True, True]


class TestFaultsOfLists:
    @pytest.mark.parametrize(
        ("fault", "said"),
        [
            (401, "DICOMSORT_PACS_TOKEN"), (403, ".netrc"), (404, "root of the service"), (400, "--query"),
            (413, "StudyDate"), (500, "HTTP 500"), (418, "HTTP 418"), ("html", "root of the service"),
            ("reset", "does not answer"),
        ],
    )  # fmt: skip
    def test_a_server_that_gives_no_list_ends_the_run_with_a_line(self, fault: Fault, said: str) -> None:
        with pytest.raises(UsageError, match=said) as raised:
            found(StubPacs(some(1), fault=lambda path, time: fault))
        assert "CANARY" not in str(raised.value)
        assert "\n" not in str(raised.value)

    def test_a_server_that_hangs_is_waited_for_twice_and_no_longer(self) -> None:
        pacs = StubPacs(some(1), fault=lambda path, time: "hang")
        with pytest.raises(UsageError, match=r"within 0\.3 seconds"):
            found(pacs, RemoteSettings(timeout=0.3, tries=9))
        assert len(pacs.asked) <= 2

    def test_nobody_there(self) -> None:
        with pytest.raises(UsageError, match="does not answer"):
            list(DicomWeb("dicomweb+http://127.0.0.1:9/dicom-web", QUICK).find())

    def test_what_passes_is_asked_again(self) -> None:
        passing: list[Fault] = [503, "reset", None]
        pacs = StubPacs(some(5), fault=lambda path, time: passing[min(time, 2)] if "/1.2." in path else None)
        assert len(found(pacs)) == 5

    def test_a_study_that_cannot_be_listed_is_one_failure_and_the_others_come(self) -> None:
        pacs = StubPacs(some(4), fault=lambda path, time: 500 if "/1.2.2/" in path else None)
        files = found(pacs)
        assert len(files) == 4
        assert [(file.relpath, file.failure.reason) for file in files if file.failure] == [
            ("1.2.2", Reason.REMOTE)
        ]

    def test_a_server_that_dies_in_between_ends_the_run_with_a_line(self) -> None:
        pacs = StubPacs(some(40), fault=lambda path, time: "reset" if "/1.2.2" in path else None)
        with pytest.raises(UsageError, match="the same command goes on"):
            found(pacs)


class TestFetching:
    @pytest.mark.parametrize("multipart", [True, False])
    def test_an_instance_comes_byte_by_byte_as_it_is_stored(self, multipart: bool) -> None:
        held = Held("1", "1.1", "1.1.1", bytes(range(256)) * 5000 + b"\r\n--edg")
        content, stamp = fetched(StubPacs([held], multipart=multipart), held)
        assert content == held.content
        assert stamp == FileStamp(len(held.content), 0, "1.1.1")

    def test_it_is_asked_for_as_it_is_stored_and_not_deflated_on_the_way(self) -> None:
        held = some(1)[0]
        pacs = StubPacs([held])
        fetched(pacs, held)
        assert "transfer-syntax=*" in pacs.headers[0]["Accept"]
        assert pacs.headers[0]["Accept-Encoding"] == "identity"

    @pytest.mark.parametrize("fault", ["cut", "reset", 500, 503, 429])
    def test_what_fails_for_now_is_fetched_again_and_whole(self, fault: Fault) -> None:
        held = Held("1", "1.1", "1.1.1", b"x" * 100_000)
        pacs = StubPacs([held], fault=lambda path, time: fault if time < 2 else None)
        assert fetched(pacs, held)[0] == held.content
        assert len(pacs.asked) == 3

    @pytest.mark.parametrize(
        ("fault", "reason", "asked"),
        [
            (404, Reason.VANISHED, 1), (410, Reason.VANISHED, 1), (403, Reason.REMOTE, 1),
            (500, Reason.REMOTE, 3),
            ("cut", Reason.REMOTE, 3), ("html", Reason.REMOTE, 1), ("reset", Reason.REMOTE, 3),
        ],
    )  # fmt: skip
    def test_what_fails_for_good_has_a_reason(self, fault: Fault, reason: Reason, asked: int) -> None:
        held = some(1)[0]
        pacs = StubPacs([held], fault=lambda path, time: fault)
        with pytest.raises(FetchError) as raised:
            fetched(pacs, held)
        assert raised.value.reason is reason
        assert len(pacs.asked) == asked

    @pytest.mark.parametrize("fault", ["hang", "drip"])
    def test_a_server_that_keeps_one_waiting_is_left_in_time(self, fault: Fault) -> None:
        held = some(1)[0]
        begun = time.monotonic()
        with pytest.raises(FetchError):
            fetched(
                StubPacs([held], fault=lambda path, time: fault), held, RemoteSettings(timeout=0.2, tries=2)
            )
        assert time.monotonic() - begun < 60, "it would hang for two minutes"

    def test_nothing_is_asked_of_another_server(self) -> None:
        held = some(1)[0]
        pacs = StubPacs([held])
        with running(pacs), pytest.raises(FetchError):
            DicomWeb(pacs.url, QUICK).fetch(
                name_of(pacs, held).replace("127.0.0.1", "localhost"), 0, None, io.BytesIO()
            )
        assert pacs.asked == []


class TestStopping:
    @pytest.mark.parametrize("what", ["list", "instance"])
    def test_what_hangs_is_given_up_at_once(self, what: str) -> None:
        held = some(1)[0]
        pacs = StubPacs([held], fault=lambda path, time: "hang")
        with running(pacs):
            store = DicomWeb(pacs.url, RemoteSettings(timeout=300.0, tries=3))
            assert isinstance(store, Stoppable)

            def stop_once_asked() -> None:
                until = time.monotonic() + 60
                while not pacs.asked and time.monotonic() < until:
                    time.sleep(0.01)
                time.sleep(0.1)  # so that it waits for the answer, most likely
                store.stop()

            threading.Thread(target=stop_once_asked).start()
            begun = time.monotonic()
            fetch = partial(store.fetch, name_of(pacs, held), 0, None, io.BytesIO())
            ask: Callable[[], object] = fetch if what == "instance" else lambda: list(store.find())
            with pytest.raises((FetchError, UsageError)):
                ask()
            assert time.monotonic() - begun < 100
            assert len(pacs.asked) == 1
            with pytest.raises(FetchError):
                store.fetch(name_of(pacs, held), 0, None, io.BytesIO())
            assert len(pacs.asked) == 1


class TestCredentials:
    def test_a_token_is_sent_and_never_shown(self) -> None:
        pacs = StubPacs(some(1), fault=lambda path, time: 401)
        settings = RemoteSettings(authorization="Bearer CANARY")
        with pytest.raises(UsageError) as raised:
            found(pacs, settings)
        assert pacs.headers[0]["Authorization"] == "Bearer CANARY"
        assert "CANARY" not in f"{raised.value} {settings!r}"

    def test_user_and_password_come_from_netrc(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        pacs = StubPacs(some(1))
        found(pacs)
        assert pacs.headers[0]["Authorization"] == "Basic bWU6c2VjcmV0"

    def test_user_and_password_in_the_address_are_refused_and_not_repeated(self) -> None:
        with pytest.raises(UsageError, match="netrc") as raised:
            store_of("dicomweb+https://me:secret@host/dicom-web", QUICK)
        assert "secret" not in str(raised.value)


class TestAddresses:
    @pytest.mark.parametrize(
        "name",
        [
            "dicomweb+http://host/dicom-web?Modality=DX", "dicomweb+http://host/#a", "dicomweb+http:///dicom-web",
            "dicomweb+http://host:port/dicom-web",
        ],
    )  # fmt: skip
    def test_what_is_no_address_is_told_in_a_line(self, name: str) -> None:
        with pytest.raises(UsageError, match=r"^'dicomweb"):
            Address.parse(name)

    @pytest.mark.parametrize(
        "name",
        [
            "dicomweb+https://host:8042/a/b", "dicomweb+http://host", "dicomweb+http://[::1]:80/x/studies/1.2",
            "dicomweb+http://host/x/studies/1.2/series/1.3/instances/1.4",
        ],
    )  # fmt: skip
    def test_a_name_is_the_same_when_it_comes_back(self, name: str) -> None:
        assert Address.parse(name).name == name
        assert Address.parse(f"{name}/").name == name


def test_a_failure_of_a_list_has_the_status_of_a_file_that_cannot_be_read() -> None:
    (file,) = found(StubPacs(some(1), fault=lambda path, time: 500 if "/1.2.0/" in path else None))
    assert file.failure is not None
    assert file.failure.status is Status.IO_ERROR


def test_half_a_letter_in_a_uid_does_not_end_the_list() -> None:
    """JSON can say what no name of a file, and no address, can."""
    odd = Held("1.2.99", "1.3", "1.4\ud800")
    files = found(StubPacs([*some(2), odd]))
    assert len(files) == 3
    assert all(file.path.encode() and file.relpath.encode() for file in files)
