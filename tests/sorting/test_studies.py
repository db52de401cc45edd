"""Whole studies: collected from wherever their images lie, looked at together, answered once."""

import csv
import os
import shutil
import signal
import stat
import subprocess
import sys
import zipfile
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import study_once
from outputs import rows, settings, tree
from stub_pacs import Held, StubPacs, running
from study_once import LABELS, Brightness
from web_server import serving
from written import write_dicom

from dicomsort.dicom import reader
from dicomsort.errors import UsageError
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.imaging.montage import laid_out
from dicomsort.inputs.named import Shard
from dicomsort.inputs.store import RemoteSettings
from dicomsort.manifest import names
from dicomsort.manifest.decisions import Decision, Decisions
from dicomsort.manifest.reading import read_manifest
from dicomsort.manifest.table import Manifest
from dicomsort.model.bundle import Bundle
from dicomsort.model.studies import by_name
from dicomsort.outcome import Action, Reason, Reviewed
from dicomsort.sorting import plan, studies
from dicomsort.sorting.merge import merge
from dicomsort.sorting.pipeline import sort
from dicomsort.sorting.place import PlacementSettings
from dicomsort.sorting.reviewing import Carrier, Places
from dicomsort.sorting.study_table import StudyTable
from dicomsort.sorting.summary import SortSummary

FIRST, SECOND, THIRD = "1.2.1", "1.2.2", "1.2.3"


@pytest.fixture
def model() -> Brightness:
    return Brightness()


def shade(path: Path, level: int, study: str | None, **elements: Any) -> Path:
    """Write a radiograph of 60 x 40 pixels, the brighter the higher its level, 0 to 4095."""
    ramp = np.linspace(0, 1, 60 * 40).reshape(60, 40) ** (8 - level / 520)
    pixels = (ramp * 4000).astype(np.uint16)
    uid = {"SOPInstanceUID": f"2.25.{sum(map(ord, str(path.name)))}{level}"}
    return write_dicom(path, pixels, StudyInstanceUID=study, **{**uid, **elements})


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """A study of three files in two folders, one of two, one of one, a file of none, and a note."""
    folder = tmp_path / "in"
    shade(folder / "a" / "3.dcm", 3900, FIRST)
    shade(folder / "a" / "1.dcm", 100, FIRST)
    shade(folder / "b" / "2.dcm", 2500, FIRST)
    shade(folder / "a" / "4.dcm", 300, SECOND)
    shade(folder / "b" / "5.dcm", 200, SECOND)
    shade(folder / "b" / "6.dcm", 4000, THIRD)
    shade(folder / "b" / "7.dcm", 1500, None)
    (folder / "note.txt").write_text("no image")
    return folder


def told(out: Path) -> dict[str, tuple[str, ...]]:
    """What rows say of files, by their name."""
    columns = ("status", "label", "confidence", "scope", "score_dark", "score_bright", "destination")
    return {os.path.basename(path): tuple(row[name] for name in columns) for path, row in rows(out).items()}


def answers(out: Path) -> dict[str, tuple[str, ...]]:
    return {name: cells[1:6] for name, cells in told(out).items()}


def canvas(*paths: Path) -> Any:
    preprocessing = Preprocessing(size=64)
    return laid_out([reader.read_image(path, preprocessing) for path in paths], preprocessing)


def test_a_study_over_two_folders_gets_one_answer(inbox: Path, tmp_path: Path, model: Brightness) -> None:
    tally = sort(settings(inbox, tmp_path / "out"), model)
    found = answers(tmp_path / "out")
    assert found["1.dcm"] == found["2.dcm"] == found["3.dcm"]
    assert found["4.dcm"] == found["5.dcm"] != found["6.dcm"]
    assert found["7.dcm"][2] == found["1.dcm"][2] == "study"
    assert found["note.txt"][2] == ""
    assert len(model.shown) == 4
    seen = canvas(inbox / "a" / "1.dcm", inbox / "a" / "3.dcm", inbox / "b" / "2.dcm")
    assert any(np.array_equal(seen, each) for each in model.shown)
    bright = seen.mean() - np.array([20, 60, 120])
    assert found["1.dcm"][0] == LABELS[int(np.abs(bright).argmin())]
    assert tally.found == tally.ended == 8
    assert not (tmp_path / "out" / ".dicomsort").exists()
    for row in rows(tmp_path / "out").values():
        if row["destination"]:
            assert row["destination"].startswith(row["label"] if row["status"] == "sorted" else "review")
            assert (tmp_path / "out" / row["destination"]).read_bytes() == Path(row["path"]).read_bytes()


def test_the_order_in_which_files_are_found_counts_for_nothing(
    inbox: Path, tmp_path: Path, model: Brightness
) -> None:
    sort(settings(inbox, tmp_path / "out"), model)
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(sorted(map(str, inbox.rglob("*.*")), reverse=True)))
    sort(settings(inbox, tmp_path / "again", from_list=str(listed)), model)
    assert told(tmp_path / "again") == told(tmp_path / "out")


def killed_after(number: int) -> Any:
    def watch(tally: SortSummary) -> None:
        if tally.ended >= number:
            raise KeyboardInterrupt

    return watch


@pytest.mark.parametrize("ended", [0, 2, 4, 7])
def test_a_run_that_is_cut_short_and_goes_on_equals_one(
    inbox: Path, tmp_path: Path, model: Brightness, ended: int
) -> None:
    sort(settings(inbox, tmp_path / "one"), model)
    with pytest.raises(KeyboardInterrupt):
        sort(settings(inbox, tmp_path / "out"), model, killed_after(ended))
    tally = sort(settings(inbox, tmp_path / "out"), model)
    assert told(tmp_path / "out") == told(tmp_path / "one")
    assert tally.found == tally.ended == 8
    assert set(tree(tmp_path / "out")) == set(tree(tmp_path / "one"))


def killed(*words: object) -> None:
    program = [sys.executable, study_once.__file__, *map(str, words)]
    assert subprocess.run(program, capture_output=True, check=False).returncode == -signal.SIGKILL


@pytest.mark.parametrize(("action", "call"), [(Action.COPY, 5), (Action.MOVE, 11)], ids=["copy-5", "move-11"])
def test_a_run_that_is_killed_goes_on_as_if_nothing_had_been(
    inbox: Path, tmp_path: Path, model: Brightness, action: Action, call: int
) -> None:
    """Killed while files are read, and while rows are written."""
    one, out, acting = tmp_path / "one", tmp_path / "out", PlacementSettings(action)
    again = tmp_path / "again" / "in"
    shutil.copytree(inbox, again)
    sort(settings(again, one, placing=acting, batch_size=1), model)
    killed(inbox, out, action, "-", call)
    assert Path(names.spool_of(str(out))).exists()
    sort(settings(inbox, out, placing=acting, batch_size=1), model)
    assert told(out) == told(one)
    assert set(tree(out)) == set(tree(one))


@pytest.mark.parametrize(
    ("action", "call"),
    [(Action.COPY, 2), (Action.MOVE, 3), (Action.COPY, 4)],
    ids=["copy-2", "move-3", "copy-4"],
)
def test_a_night_that_is_killed_leaves_no_image_in_two_places_and_no_study_with_two_answers(
    inbox: Path, tmp_path: Path, model: Brightness, action: Action, call: int
) -> None:
    one, out, acting = tmp_path / "one", tmp_path / "out", PlacementSettings(action)
    again = tmp_path / "again" / "in"
    shutil.copytree(inbox, again)
    for folder, place in ((again, one), (inbox, out)):
        sort(settings(folder, place, placing=acting), model)
        shade(folder / "c" / "9.dcm", 4095, SECOND)
    sort(settings(again, one, placing=acting), model)
    killed(inbox, out, action, "-", call)
    sort(settings(inbox, out, placing=acting), model)
    assert told(out) == told(one)
    assert set(tree(out)) == set(tree(one))
    assert not any(row["reviewed_label"] for row in rows(out).values())


@pytest.mark.parametrize("action", [Action.COPY, Action.MOVE])
def test_what_a_killed_run_has_placed_does_not_stay_where_a_larger_study_does_not_belong(
    inbox: Path, tmp_path: Path, model: Brightness, action: Action
) -> None:
    """Killed once all is placed and before rows say so; then a study gets one image more."""
    one, out, acting = tmp_path / "one", tmp_path / "out", PlacementSettings(action)
    killed(inbox, out, action, "-", 15)
    assert list(out.rglob("4.dcm"))
    assert not rows(out)
    strange = out / "dark" / "mine.dcm"
    shutil.copy(inbox / "a" / "4.dcm", strange)
    shade(inbox / "c" / "9.dcm", 4095, SECOND)
    again = tmp_path / "again" / "in"
    shutil.copytree(inbox, again)
    sort(settings(again, one, placing=PlacementSettings()), model)
    sort(settings(inbox, out, placing=acting), model)
    assert told(out) == told(one)
    strange.unlink()
    assert set(tree(out)) == set(tree(one))


def test_a_crash_in_one_share_has_its_row_once(inbox: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shade(inbox / "c" / "segfault.dcm", 1000, FIRST)
    for share in ("1/2", "2/2"):
        program = [sys.executable, study_once.__file__, str(inbox), str(out), "copy", share]
        assert subprocess.run(program, capture_output=True, check=False).returncode in (0, 3)
    shares = sorted(out.glob("manifest.parts/*/manifest.csv"))
    held = [list(csv.DictReader(path.read_text().splitlines())) for path in shares]
    found = [sorted(os.path.basename(row["path"]) for row in share) for share in held]
    assert len(found[0]) + len(found[1]) == 9
    with_crash = next(share for share in found if "segfault.dcm" in share)
    assert {"1.dcm", "2.dcm", "3.dcm"} <= set(with_crash)
    merge(str(out), settings(inbox, out).pool)
    assert told(out)["segfault.dcm"][:2] == ("crash", "")


def test_what_was_read_before_a_kill_is_not_read_again(
    inbox: Path, tmp_path: Path, model: Brightness
) -> None:
    def stop(tally: SortSummary) -> None:
        if tally.collected == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sort(settings(inbox, tmp_path / "out"), model, stop)
    spool = Path(names.spool_of(str(tmp_path / "out")))
    assert {stat.S_IMODE(path.stat().st_mode) for path in spool.parent.iterdir()} == {0o600}
    tally = sort(settings(inbox, tmp_path / "out"), model)
    assert "pixels" not in tally.spent
    sort(settings(inbox, tmp_path / "one"), model)
    assert told(tmp_path / "out") == told(tmp_path / "one")


def test_shares_that_are_merged_equal_one_run_and_divide_no_study(
    inbox: Path, tmp_path: Path, model: Brightness
) -> None:
    sort(settings(inbox, tmp_path / "one"), model)
    out, looked, of = tmp_path / "out", 0, 2
    for number in range(1, of + 1):
        share = Brightness(model.bundle)
        tally = sort(settings(inbox, out, shard=Shard(number, of)), share)
        looked += len(share.shown)
        assert tally.found == tally.ended
    assert looked == 4
    merged = merge(str(out), settings(inbox, out).pool)
    assert merged.rows == 8
    assert told(out) == told(tmp_path / "one")
    assert set(tree(out)) == set(tree(tmp_path / "one"))


@pytest.mark.parametrize("action", [Action.COPY, Action.SYMLINK, Action.MOVE, Action.NONE])
def test_a_later_image_changes_the_answer_of_its_study_and_the_places_of_all_its_images(
    inbox: Path, tmp_path: Path, model: Brightness, action: Action
) -> None:
    def run(folder: Path, out: Path) -> SortSummary:
        return sort(settings(folder, out, placing=PlacementSettings(action)), model)

    whole = tmp_path / "whole" / "in"
    shutil.copytree(inbox, whole)
    shade(whole / "c" / "9.dcm", 4095, SECOND)
    run(whole, tmp_path / "one")
    out = tmp_path / "out"
    run(inbox, out)
    before = answers(out)
    shade(inbox / "c" / "9.dcm", 4095, SECOND)
    tally = run(inbox, out)
    assert tally.new.total() == 1
    after = told(out)
    assert after == told(tmp_path / "one")
    assert after["4.dcm"][1:6] == after["5.dcm"][1:6] == after["9.dcm"][1:6] != before["4.dcm"]
    assert answers(out)["1.dcm"] == before["1.dcm"]
    assert set(tree(out)) == set(tree(tmp_path / "one"))


def test_a_night_with_nothing_new_does_nothing(inbox: Path, tmp_path: Path, model: Brightness) -> None:
    sort(settings(inbox, tmp_path / "out"), model)
    before, model.shown = tree(tmp_path / "out"), []
    tally = sort(settings(inbox, tmp_path / "out"), model)
    assert (tally.already_done, model.shown) == (8, [])
    assert {**tree(tmp_path / "out"), "run.json": b""} == {**before, "run.json": b""}


def test_what_a_person_has_decided_stays_and_is_still_looked_at(
    inbox: Path, tmp_path: Path, model: Brightness
) -> None:
    out = tmp_path / "out"
    sort(settings(inbox, out), model)
    with Manifest.open_existing(str(out / "manifest.csv")) as manifest:
        record = next(each for each in manifest.records() if each.path.endswith("4.dcm"))
        decisions = Decisions(str(out))
        with decisions.appending() as journal:
            reviewed = Reviewed("bright", "me", "2026-01-01T00:00:00Z")
            Carrier(manifest, Places.of(str(out), manifest.run_file), journal).decide(
                [Decision(record, reviewed)]
            )
        manifest.compact()
    decided = rows(out)[str(inbox / "a" / "4.dcm")]
    model.shown = []
    shade(inbox / "c" / "9.dcm", 4095, SECOND)
    sort(settings(inbox, out), model)
    assert rows(out)[str(inbox / "a" / "4.dcm")] == decided
    seen = canvas(inbox / "a" / "4.dcm", inbox / "b" / "5.dcm", inbox / "c" / "9.dcm")
    assert len(model.shown) == 1
    assert np.array_equal(model.shown[0], seen)
    assert answers(out)["5.dcm"] == answers(out)["9.dcm"]


def test_a_source_that_is_gone_is_seen_by_its_copy(inbox: Path, tmp_path: Path, model: Brightness) -> None:
    out = tmp_path / "out"
    sort(settings(inbox, out), model)
    (inbox / "b" / "5.dcm").unlink()
    shade(inbox / "c" / "9.dcm", 4095, SECOND)
    sort(settings(inbox, out), model)
    assert answers(out)["4.dcm"] == answers(out)["5.dcm"] == answers(out)["9.dcm"]


def test_an_image_that_comes_twice_is_shown_once(inbox: Path, tmp_path: Path, model: Brightness) -> None:
    sort(settings(inbox, tmp_path / "one"), model)
    shutil.copy(inbox / "a" / "3.dcm", inbox / "b" / "30.dcm")
    sort(settings(inbox, tmp_path / "out"), model)
    found = told(tmp_path / "out")
    assert found["30.dcm"][0] == "duplicate"
    assert {name: cells for name, cells in found.items() if name != "30.dcm"} == told(tmp_path / "one")


def test_a_repeated_image_has_the_new_answer_of_its_study_too(
    inbox: Path, tmp_path: Path, model: Brightness
) -> None:
    out, repeated = tmp_path / "out", inbox / "z.dcm"
    shutil.copy(inbox / "a" / "4.dcm", repeated)
    sort(settings(inbox, out), model)
    before = answers(out)["z.dcm"]
    shade(inbox / "c" / "9.dcm", 4095, SECOND)
    sort(settings(inbox, out), model)
    row = rows(out)[str(repeated)]
    assert (row["status"], row["duplicate_of"]) == ("duplicate", str(inbox / "a" / "4.dcm"))
    assert before != answers(out)["z.dcm"] == answers(out)["4.dcm"] == answers(out)["9.dcm"]
    sort(settings(inbox, tmp_path / "one"), model)
    assert told(out) == told(tmp_path / "one")


def test_a_table_tells_studies_that_headers_do_not(inbox: Path, tmp_path: Path, model: Brightness) -> None:
    table = inbox.parent / "visits.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(
            [["file", "visit"], ["in/a/1.dcm", "x"], [str(inbox / "b" / "7.dcm"), "x"], ["in/b/6.dcm", "y"]]
        )
    chosen = StudyTable(str(table), "visit")
    sort(settings(inbox, tmp_path / "out", studies=chosen), model)
    found = answers(tmp_path / "out")
    assert found["1.dcm"] == found["7.dcm"] != found["3.dcm"]
    assert found["2.dcm"] == found["3.dcm"]
    seen = canvas(inbox / "a" / "1.dcm", inbox / "b" / "7.dcm")
    assert any(np.array_equal(seen, each) for each in model.shown)
    for number in (1, 2):
        sort(settings(inbox, tmp_path / "shares", studies=chosen, shard=Shard(number, 2)), model)
    merge(str(tmp_path / "shares"), settings(inbox, tmp_path).pool)
    assert told(tmp_path / "shares") == told(tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "column", "complaint"),
    [
        ("file,visit\na.dcm,x\n", "", "no column 'study'"),
        ("name,study\na.dcm,x\n", "", "no column 'file'"),
        ("file,study\na.dcm,x\na.dcm,y\n", "", "two studies"),
        (None, "", "cannot be read"),
    ],
)
def test_a_table_that_is_none_is_refused_in_one_line(
    inbox: Path, tmp_path: Path, model: Brightness, text: str | None, column: str, complaint: str
) -> None:
    table = tmp_path / "studies.csv"
    if text is not None:
        table.write_text(text)
    with pytest.raises(UsageError, match=complaint):
        sort(settings(inbox, tmp_path / "out", studies=StudyTable(str(table), column)), model)
    assert (tmp_path / "out").exists() == (complaint == "two studies")  # which is known only at its end
    assert not (tmp_path / "out" / ".dicomsort").exists()


def test_models_that_show_studies_in_different_ways_do_not_mix(
    inbox: Path, tmp_path: Path, model: Brightness
) -> None:
    older = Brightness(replace(model.bundle, name="older", study=by_name("study")))
    with pytest.raises(UsageError, match="in different ways"):
        sort(settings(inbox, tmp_path / "out"), model, further=[older])


def test_the_lateral_view_stands_behind_the_frontal_one_whatever_the_names(
    tmp_path: Path, model: Brightness
) -> None:
    lateral = shade(tmp_path / "in" / "1.dcm", 3000, FIRST, ViewPosition="LL")
    frontal = shade(tmp_path / "in" / "2.dcm", 1000, FIRST, ViewPosition="PA")
    sort(settings(tmp_path / "in", tmp_path / "out"), model)
    assert np.array_equal(model.shown[0], canvas(frontal, lateral))
    table = tmp_path / "views.csv"
    table.write_text("file,study,view\nin/1.dcm,a,AP\nin/2.dcm,a,lateral\n")
    sort(settings(tmp_path / "in", tmp_path / "told", studies=StudyTable(str(table))), model)
    assert np.array_equal(model.shown[1], canvas(lateral, frontal))


def test_models_of_studies_and_of_single_images_do_not_mix(
    inbox: Path, tmp_path: Path, model: Brightness, small_bundle: Bundle
) -> None:
    single = Brightness(replace(small_bundle, name="single"))
    for first, second in ((model, single), (single, model)):
        with pytest.raises(UsageError, match="run them apart"):
            sort(settings(inbox, tmp_path / "out"), first, further=[second])
    with pytest.raises(UsageError, match="leave it out"):
        sort(settings(inbox, tmp_path / "out", studies=StudyTable("x.csv")), single)


def test_a_plan_is_carried_out_and_taken_back(inbox: Path, tmp_path: Path, model: Brightness) -> None:
    sort(settings(inbox, tmp_path / "one"), model)
    out = tmp_path / "out"
    sort(settings(inbox, out, dry_run=True), model)
    assert {row["scope"] for row in rows(out).values() if row["label"]} == {"study"}
    plan.apply(str(out / "manifest.csv"), Action.COPY, verify=False)
    assert told(out) == told(tmp_path / "one")
    plan.undo(str(out / "manifest.csv"))
    assert set(tree(out)) == {"manifest.csv", "run.json"}


def test_an_archive_of_repeated_images_counts_once_after_an_undo(
    inbox: Path, tmp_path: Path, model: Brightness
) -> None:
    with zipfile.ZipFile(inbox / "z.zip", "w") as archive:
        archive.write(inbox / "a" / "4.dcm", "z4.dcm")
    sort(settings(inbox, tmp_path / "out"), model)
    before = told(tmp_path / "out")
    plan.undo(str(tmp_path / "out" / "manifest.csv"))
    tally = sort(settings(inbox, tmp_path / "out"), model)
    assert tally.found == tally.ended == 10
    assert told(tmp_path / "out") == before


def test_members_of_archives_are_placed_without_waiting_in_the_output(
    inbox: Path, tmp_path: Path, model: Brightness
) -> None:
    sort(settings(inbox, tmp_path / "one"), model)
    packed = tmp_path / "packed"
    packed.mkdir()
    with zipfile.ZipFile(packed / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted((inbox / "a").iterdir()):
            file.write(path, path.name)
    shutil.make_archive(str(packed / "b"), "gztar", inbox / "b")
    most = 0

    def watch(tally: SortSummary) -> None:
        nonlocal most
        incoming = Path(names.incoming_of(str(tmp_path / "out")))
        if tally.collected == 7:
            most = sum(path.is_file() for path in incoming.rglob("*"))

    tally = sort(settings(packed, tmp_path / "out"), model, watch)
    found, one = answers(tmp_path / "out"), answers(tmp_path / "one")
    assert {name: found[name] for name in one if name != "note.txt"} == {
        name: cells for name, cells in one.items() if name != "note.txt"
    }
    assert (tally.found, most) == (9, 0)
    placed = [row for row in rows(tmp_path / "out").values() if row["destination"]]
    assert len(placed) == 7
    for row in placed:
        source = inbox / row["path"].split("/")[-2][0] / os.path.basename(row["path"])
        assert (tmp_path / "out" / row["destination"]).read_bytes() == source.read_bytes()
    again = sort(settings(packed, tmp_path / "out"), model)
    assert again.already_done == again.found == 9


def test_a_pacs_is_asked_again_with_its_password_for_what_is_placed(
    inbox: Path, tmp_path: Path, model: Brightness
) -> None:
    files = [
        shade(inbox / f"{n}.dcm", 500 * n + 100, f"1.{n // 2}", SOPInstanceUID=f"3.{n}") for n in range(4)
    ]
    pacs = StubPacs([Held(f"1.{n // 2}", f"2.{n}", f"3.{n}", files[n].read_bytes()) for n in range(4)])
    out, secret = (
        tmp_path / "out",
        RemoteSettings(connections=3, tries=2, authorization="Bearer CANARY-TOKEN"),
    )
    with running(pacs):
        sort(replace(settings(inbox, out, remote=secret), roots=(pacs.url,)), model)
    found = {row["sop_instance_uid"]: row for row in rows(out).values()}
    assert found["3.0"]["confidence"] == found["3.1"]["confidence"] != found["3.2"]["confidence"]
    assert {row["action"] for row in found.values()} == {"copy"}
    for n in range(4):
        assert (out / found[f"3.{n}"]["destination"]).read_bytes() == files[n].read_bytes()
    assert not (out / ".dicomsort").exists()


def test_archives_on_a_web_server_are_fetched_again_but_not_for_each_member(
    inbox: Path, tmp_path: Path, model: Brightness
) -> None:
    sort(settings(inbox, tmp_path / "one"), model)
    served = tmp_path / "served"
    served.mkdir()
    with zipfile.ZipFile(served / "all.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(inbox.rglob("*.dcm")):
            file.write(path, path.relative_to(inbox))
    asked = list[str]()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            asked.append(self.path)

    read = settings(inbox, tmp_path / "read", placing=PlacementSettings(Action.NONE))
    with serving(partial(Handler, directory=str(served))) as address:
        sort(replace(read, roots=(f"{address}/",)), model)
        to_read = sum(each.endswith(".zip") for each in asked)
        sort(replace(settings(inbox, tmp_path / "out"), roots=(f"{address}/",)), model)
    found, one = told(tmp_path / "out"), told(tmp_path / "one")
    images = [name for name in one if name.endswith(".dcm")]
    assert {name: found[name][:6] for name in images} == {name: one[name][:6] for name in images}
    for name, row in rows(tmp_path / "out").items():
        if row["destination"]:
            source = inbox / name.rpartition("!/")[2]
            assert (tmp_path / "out" / row["destination"]).read_bytes() == source.read_bytes()
    to_place = sum(each.endswith(".zip") for each in asked) - 2 * to_read
    assert 1 <= to_place <= 4  # each thread that places fetches it once
    assert not (tmp_path / "out" / ".dicomsort").exists()


def test_a_share_that_comes_late_finds_its_studies_in_archives_that_others_have_read(
    inbox: Path, tmp_path: Path, model: Brightness
) -> None:
    packed, out = tmp_path / "packed", tmp_path / "out"
    packed.mkdir()
    with zipfile.ZipFile(packed / "all.zip", "w") as file:
        for path in sorted(inbox.rglob("*.dcm")):
            file.write(path, path.relative_to(inbox))
    sort(settings(packed, tmp_path / "one"), model)
    for number in (1, 2):
        tally = sort(settings(packed, out, shard=Shard(number, 2)), model)
        assert tally.found == tally.ended
        merge(str(out), settings(packed, out).pool)
    assert told(out) == told(tmp_path / "one")
    assert len(told(out)) == 8


def test_a_study_without_end_is_judged_by_its_first_images_and_goes_to_review(
    tmp_path: Path, model: Brightness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "MOST_VIEWS", 2)
    for number in range(4):
        shade(tmp_path / "in" / f"{number}.dcm", 1000 * number + 100, FIRST)
    sort(settings(tmp_path / "in", tmp_path / "out"), model)
    assert len(model.shown) == 1
    assert np.array_equal(model.shown[0], canvas(*(tmp_path / "in" / f"{n}.dcm" for n in range(2))))
    found = list(read_manifest(tmp_path / "out"))
    assert {row.status for row in found} == {"review"}
    assert all(Reason.MANY_IMAGES in row.reasons and row.scope == "study" for row in found)


def test_single_images_have_no_scope(inbox: Path, tmp_path: Path, small_bundle: Bundle) -> None:
    sort(
        settings(inbox, tmp_path / "out"),
        Brightness(replace(small_bundle, head=replace(small_bundle.head, labels=LABELS))),
    )
    assert "scope" not in next(iter(rows(tmp_path / "out").values()))
