"""A PACS sorted: rows, copies, what is not fetched, what is not fetched again, and what is shown nowhere."""

from dataclasses import replace
from pathlib import Path

import pytest
from outputs import rows, settings, tree
from predictors import FixedPredictor
from stub_pacs import CT, Held, StubPacs, running
from written import picture, write_dicom

from dicomsort.inputs.store import RemoteSettings
from dicomsort.model.bundle import Bundle
from dicomsort.outcome import Action
from dicomsort.sorting.pipeline import SortSettings, sort
from dicomsort.sorting.place import PlacementSettings

QUICK = RemoteSettings(connections=3, timeout=60.0, tries=2, authorization="Bearer CANARY-TOKEN")


@pytest.fixture
def pacs(tmp_path: Path) -> StubPacs:
    held = []
    for number in range(6):
        study, series, uid = f"1.{number // 2}", f"2.{number}", f"3.{number}"
        uids = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": uid}
        path = write_dicom(tmp_path / "files" / f"{number}.dcm", picture(number), **uids)
        held.append(Held(study, series, uid, path.read_bytes()))
    return StubPacs([*held, Held("1.9", "2.9", "3.9", b"never fetched", CT, "CT")])


def asked_of(pacs: StubPacs, out: Path, **changes: object) -> SortSettings:
    asked = settings(out, out, review_below=0.0, remote=QUICK)
    return replace(asked, roots=(pacs.url,), **changes)  # type: ignore[arg-type]


def fetches(pacs: StubPacs) -> list[str]:
    return [path for path in pacs.asked if "/instances/" in path]


def test_each_instance_has_a_row_and_a_copy_and_the_next_run_fetches_nothing(
    pacs: StubPacs, tmp_path: Path, small_bundle: Bundle
) -> None:
    out = tmp_path / "out"
    with running(pacs):
        sort(asked_of(pacs, out), FixedPredictor(small_bundle))
        found = {row["sop_instance_uid"]: row for row in rows(out).values()}
        assert {uid: row["status"] for uid, row in found.items()} == {
            **{f"3.{number}": "sorted" for number in range(6)}, "3.9": "not_xray"
        }  # fmt: skip
        for number in range(6):
            row = found[f"3.{number}"]
            assert row["destination"] == f"{row['label']}/1.{number // 2}/2.{number}/3.{number}.dcm"
            assert (out / row["destination"]).read_bytes() == pacs.held[number].content
            assert row["action"] == "copy"
        assert len(fetches(pacs)) == 6
        again = sort(asked_of(pacs, out), FixedPredictor(small_bundle))
        assert again.already_done == 7
        assert len(fetches(pacs)) == 6
    assert not any(path.startswith(".dicomsort/") for path in tree(out))


def test_a_manifest_alone_holds_no_copy(pacs: StubPacs, tmp_path: Path, small_bundle: Bundle) -> None:
    out = tmp_path / "out"
    with running(pacs):
        sort(asked_of(pacs, out, placing=PlacementSettings(Action.NONE)), FixedPredictor(small_bundle))
    assert {row["status"] for row in rows(out).values()} == {"sorted", "not_xray"}
    assert set(tree(out)) == {"manifest.csv", "run.json"}


def test_what_cannot_be_fetched_is_a_row_and_is_tried_again_if_asked(
    pacs: StubPacs, tmp_path: Path, small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicomsort.inputs.pacs_requests._FIRST_PAUSE", 0.001)
    out, predictor = tmp_path / "out", FixedPredictor(small_bundle)
    pacs.fault = lambda path, time: {"3.1": 500, "3.2": 404}.get(path.rpartition("/")[2])
    with running(pacs):
        sort(asked_of(pacs, out), predictor)
        failed = {row["path"].rpartition("/")[2]: row["status"] for row in rows(out).values()}
        assert (failed["3.1"], failed["3.2"], failed["3.3"]) == ("io_error", "io_error", "sorted")
        pacs.fault = lambda path, time: None
        sort(asked_of(pacs, out, retry_failed=True), predictor)
    assert [row["status"] for row in rows(out).values()].count("sorted") == 6


def test_a_list_of_instances_goes_to_the_same_places(
    pacs: StubPacs, tmp_path: Path, small_bundle: Bundle
) -> None:
    with running(pacs):
        names = [
            f"{pacs.url}/studies/{held.study}/series/{held.series}/instances/{held.uid}"
            for held in pacs.held[:2]
        ]
        (tmp_path / "list").write_text("\n".join(names))
        for name, changes in {"all": {}, "listed": {"from_list": str(tmp_path / "list")}}.items():
            sort(asked_of(pacs, tmp_path / name, **changes), FixedPredictor(small_bundle))
    listed, every = rows(tmp_path / "listed"), rows(tmp_path / "all")
    assert set(listed) == set(names)
    assert {row["destination"] for row in listed.values()} == {every[name]["destination"] for name in names}


def test_the_token_goes_to_the_pacs_and_nowhere_else(
    pacs: StubPacs, tmp_path: Path, small_bundle: Bundle
) -> None:
    out = tmp_path / "out"
    with running(pacs):
        sort(asked_of(pacs, out), FixedPredictor(small_bundle))
    assert {headers["Authorization"] for headers in pacs.headers} == {"Bearer CANARY-TOKEN"}
    assert not any(b"CANARY-TOKEN" in content for content in tree(out).values())
