"""Labels put into an Orthanc, and taken away again."""

from pathlib import Path

import pytest
from outputs import settings
from predictors import FixedPredictor
from program import inside
from stub_orthanc import StubOrthanc, running
from written import picture, write_dicom

from dicomsort.errors import UsageError
from dicomsort.inputs.store import RemoteSettings
from dicomsort.manifest.reading import read_manifest
from dicomsort.model.bundle import Bundle
from dicomsort.outcome import Status
from dicomsort.sorting.pipeline import sort
from dicomsort.transfer.orthanc import Level, Orthanc, mark_of
from dicomsort.transfer.write_back import NotMarked, WriteBackSettings, undo, write_back

QUICK = RemoteSettings(connections=2, timeout=60.0, tries=2)


@pytest.fixture
def out(tmp_path: Path, small_bundle: Bundle) -> Path:
    for number in range(4):
        uids = {
            "StudyInstanceUID": f"1.{number // 2}",
            "SeriesInstanceUID": "2.2",
            "SOPInstanceUID": f"3.{number}",
        }
        write_dicom(tmp_path / "in" / f"{number}.dcm", picture(number), **uids)
    sort(settings(tmp_path / "in", tmp_path / "out"), FixedPredictor(small_bundle))
    return tmp_path / "out"


def labels_of(out: Path) -> dict[str, str]:
    found = {row.header.sop_instance_uid: row for row in read_manifest(out)}
    return {uid: mark_of(row.final_label) for uid, row in found.items() if row.status is Status.SORTED}


def holding(out: Path, *others: str) -> StubOrthanc:
    paths = [f"/instances/3.{number}" for number in range(4)] + ["/studies/1.0", "/studies/1.1"]
    return StubOrthanc({path: set(others) for path in paths})


def test_what_is_sorted_gets_its_label_once_and_those_of_others_stay(out: Path) -> None:
    wanted = labels_of(out)
    assert wanted
    with running(holding(out, "urgent")) as stub:
        done = write_back(Orthanc(stub.url, QUICK), WriteBackSettings(str(out)))
        assert (done.done, done.there, dict(done.left)) == (len(wanted), 0, {})
        expected = {f"/instances/{uid}": {"urgent", mark} for uid, mark in wanted.items()}
        assert expected.items() <= stub.labels.items()
        assert sum(label != "urgent" for labels in stub.labels.values() for label in labels) == len(wanted)
        again = write_back(Orthanc(stub.url, QUICK), WriteBackSettings(str(out)))
        assert (again.done, again.there) == (0, len(wanted))
        assert undo(Orthanc(stub.url, QUICK), WriteBackSettings(str(out))).done == len(wanted)
        assert all(labels == {"urgent"} for labels in stub.labels.values())
        assert undo(Orthanc(stub.url, QUICK), WriteBackSettings(str(out))).done == 0


def test_a_study_gets_the_labels_of_all_its_images(out: Path) -> None:
    wanted: dict[str, set[str]] = {}
    for row in read_manifest(out):
        if row.status is Status.SORTED:
            wanted.setdefault(f"/studies/{row.header.study_instance_uid}", set()).add(
                mark_of(row.final_label)
            )
    with running(holding(out)) as stub:
        write_back(Orthanc(stub.url, QUICK), WriteBackSettings(str(out), Level.STUDY))
        assert {path: labels for path, labels in stub.labels.items() if labels} == wanted


def test_a_trial_changes_nothing(out: Path) -> None:
    with running(holding(out)) as stub:
        done = write_back(Orthanc(stub.url, QUICK), WriteBackSettings(str(out), dry_run=True))
        assert done.done == len(labels_of(out))
        assert not any(stub.labels.values())
    assert not (out / "labeled.csv").exists()


def test_another_decision_takes_the_place_of_the_label(out: Path) -> None:
    uid = next(iter(labels_of(out)))
    with running(holding(out)) as stub:
        write_back(Orthanc(stub.url, QUICK), WriteBackSettings(str(out)))
        journal = out / "labeled.csv"
        journal.write_text(
            journal.read_text() + f"{uid},instance,{stub.url},dicomsort-wrong,2026-01-01T00:00:00Z\n"
        )
        stub.labels[f"/instances/{uid}"] = {"dicomsort-wrong", "urgent"}
        assert write_back(Orthanc(stub.url, QUICK), WriteBackSettings(str(out))).done == 1
        assert stub.labels[f"/instances/{uid}"] == {labels_of(out)[uid], "urgent"}


def test_what_cannot_be_labeled_is_told(out: Path) -> None:
    uid, mark = next(iter(labels_of(out).items()))
    stub = holding(out)
    del stub.labels[f"/instances/{uid}"]
    stub.refuses = next((other for other in labels_of(out).values() if other != mark), "")
    with running(stub):
        done = write_back(Orthanc(stub.url, QUICK), WriteBackSettings(str(out)))
    assert done.left[NotMarked.NOT_THERE] == 1
    assert done.left[NotMarked.REFUSED] == list(labels_of(out).values()).count(stub.refuses)
    assert done.exit_code == 3


def test_no_orthanc_there_is_told_in_a_line(out: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="--orthanc"):
        Orthanc("http://127.0.0.1:9", QUICK)
    ran = inside(capfd, "label", out)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "--orthanc" in ran.err


def test_a_label_is_spelled_as_orthanc_takes_it() -> None:
    assert mark_of("adult chest/p.a.") == "dicomsort-adult-chest-p-a-"
