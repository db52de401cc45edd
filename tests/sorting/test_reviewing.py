"""What a person decides sticks: files move, rows say so, and every later command honors it."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from outputs import rows, settings, tree
from predictors import FixedPredictor
from written import picture, write_dicom

from dicomsort.errors import TargetError, UsageError
from dicomsort.inputs.named import Shard
from dicomsort.manifest.decisions import Decision, Decisions
from dicomsort.manifest.reading import read_manifest
from dicomsort.manifest.table import Manifest
from dicomsort.outcome import Action, Reason, Reviewed, Status
from dicomsort.sorting import plan
from dicomsort.sorting.by_hand import recognize
from dicomsort.sorting.merge import merge
from dicomsort.sorting.pipeline import sort
from dicomsort.sorting.place import PlacementSettings
from dicomsort.sorting.rearranging import also_at, move
from dicomsort.sorting.reviewing import CarriedOut, Carrier, Places, Refused
from dicomsort.system.pool_settings import PoolSettings

ACTIONS = [Action.COPY, Action.SYMLINK, Action.HARDLINK]
AT = "2026-11-29T03:15:02Z"


def by(label: str, who: str = "Dr. A") -> Reviewed:
    return Reviewed(label, who, AT)


def decide(out: Path, given: dict[str, str]) -> CarriedOut:
    """Decide on files, named by the end of their path."""
    with Manifest.open_existing(str(out / "manifest.csv")) as manifest:
        decisions = Decisions(str(out))
        with decisions.appending() as journal:
            found = {end: row for row in manifest.records() for end in given if row.path.endswith(end)}
            wanted = [Decision(found[end], by(label) if label else None) for end, label in given.items()]
            done = Carrier(manifest, Places.of(str(out), manifest.run_file), journal).decide(wanted)
        manifest.compact()
        manifest.run_file.decisions = decisions.size
        return done


def row(out: Path, end: str) -> dict[str, str]:
    [found] = [row for path, row in rows(out).items() if path.endswith(end)]
    return found


def pictures(out: Path) -> dict[str, bytes]:
    return {name: data for name, data in tree(out).items() if name.endswith(".dcm")}


def agree(inbox: Path, out: Path) -> None:
    """Files and manifest agree: what rows say was placed is there, with the source's bytes, and no more."""
    placed = {row["destination"]: path for path, row in rows(out).items() if row["action"]}
    assert {name: Path(path).read_bytes() for name, path in placed.items()} == pictures(out)


@pytest.fixture
def out(inbox: Path, tmp_path: Path, predictor: FixedPredictor) -> Path:
    sort(settings(inbox, tmp_path / "out", review_below=1.0), predictor)
    assert sum(row["status"] == "review" for row in rows(tmp_path / "out").values()) == 12
    return tmp_path / "out"


def test_files_that_were_not_to_be_placed_are_decided_on_all_the_same(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    """With `--action none` the row is all there is; a later run with another action places by it."""
    out = tmp_path / "out"
    how = settings(inbox, out, review_below=1.0, placing=PlacementSettings(Action.NONE))
    sort(how, predictor)
    done = decide(out, {"s0/0.dcm": "spine", "s1/1.dcm": "excluded", "s2/2.dcm": "unsure"})
    assert (len(done.rows), done.refused) == (3, ())
    decided = [row(out, end) for end in ("s0/0.dcm", "s1/1.dcm", "s2/2.dcm")]
    assert [one["status"] for one in decided] == ["sorted", "excluded", "review"]
    assert [one["reviewed_label"] for one in decided] == ["spine", "excluded", "unsure"]
    assert {one["action"] + one["destination"] for one in rows(out).values()} == {""}
    assert sort(how, predictor).already_done == 14
    assert [row(out, end) for end in ("s0/0.dcm", "s1/1.dcm", "s2/2.dcm")] == decided
    assert pictures(out) == {}
    sort(settings(inbox, out, review_below=1.0), predictor)
    places = [row(out, end)["destination"] for end in ("s0/0.dcm", "s1/1.dcm", "s2/2.dcm")]
    assert places == ["spine/s0/0.dcm", "excluded/s1/1.dcm", "review/s2/2.dcm"]
    agree(inbox, out)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("relative", [False, True])
def test_a_decision_moves_our_copy_and_the_row_says_who_and_when(
    action: Action, relative: bool, inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out, before = tmp_path / "out", tree(inbox)
    sort(
        settings(inbox, out, review_below=1.0, placing=PlacementSettings(action, relative=relative)),
        predictor,
    )
    done = decide(out, {"s0/0.dcm": "spine", "s1/1.dcm": "excluded", "s2/2.dcm": "unsure"})
    assert len(done.rows) == 3
    assert not done.refused
    spine, excluded, unsure = (row(out, end) for end in ("s0/0.dcm", "s1/1.dcm", "s2/2.dcm"))
    assert [one["status"] for one in (spine, excluded, unsure)] == ["sorted", "excluded", "review"]
    assert [one["destination"] for one in (spine, excluded, unsure)] == [
        "spine/s0/0.dcm", "excluded/s1/1.dcm", "review/s2/2.dcm",
    ]  # fmt: skip
    assert (spine["reviewed_label"], spine["reviewed_by"], spine["reviewed_at"]) == ("spine", "Dr. A", AT)
    assert spine["reason"] == Reason.BELOW_THRESHOLD
    assert not (out / "review" / "s0" / "0.dcm").exists()
    assert (out / "spine" / "s0" / "0.dcm").is_symlink() == (action is Action.SYMLINK)
    agree(inbox, out)
    assert tree(inbox) == before
    again = sort(
        settings(inbox, out, review_below=1.0, placing=PlacementSettings(action, relative=relative)),
        predictor,
    )
    assert (again.already_done, again.by_hand) == (14, 0)
    assert row(out, "s0/0.dcm") == spine


def test_a_decision_is_taken_back(inbox: Path, out: Path) -> None:
    before = rows(out)
    decide(out, {"s0/0.dcm": "spine"})
    decide(out, {"s0/0.dcm": ""})
    assert rows(out) == before
    agree(inbox, out)


def test_nothing_is_replaced_and_a_refusal_leaves_no_trace(inbox: Path, out: Path) -> None:
    (out / "spine" / "s0").mkdir(parents=True)
    (out / "spine" / "s0" / "0.dcm").write_bytes(b"somebody's")
    before = rows(out)
    done = decide(out, {"s0/0.dcm": "spine"})
    assert [why for _, why in done.refused] == [Refused.TAKEN]
    assert rows(out) == before
    assert (out / "spine" / "s0" / "0.dcm").read_bytes() == b"somebody's"
    assert not len(Decisions(str(out)))


def test_what_is_no_longer_ours_or_has_changed_is_refused(inbox: Path, out: Path) -> None:
    (out / "review" / "s0" / "0.dcm").write_bytes(b"changed")
    (out / "review" / "s0" / "3.dcm").unlink()
    os.utime(inbox / "s0" / "6.dcm", ns=(1, 1))
    done = decide(out, {"s0/0.dcm": "spine", "s0/3.dcm": "spine", "s0/6.dcm": "spine"})
    assert [why for _, why in done.refused] == [Refused.CHANGED_COPY, Refused.GONE, Refused.CHANGED]


def test_a_copy_whose_source_is_gone_is_still_sorted(inbox: Path, out: Path) -> None:
    (inbox / "s0" / "0.dcm").unlink()
    assert not decide(out, {"s0/0.dcm": "spine"}).refused
    assert (out / "spine" / "s0" / "0.dcm").is_file()


def test_undo_and_apply_keep_what_was_decided(inbox: Path, out: Path) -> None:
    decide(out, {"s0/0.dcm": "spine", "s1/1.dcm": "excluded"})
    held = rows(out)
    manifest = str(out / "manifest.csv")
    assert plan.undo(manifest).done == 12
    assert not pictures(out)
    assert row(out, "s0/0.dcm")["reviewed_label"] == "spine"
    plan.apply(manifest)
    assert rows(out) == held
    agree(inbox, out)


def test_undo_and_a_new_run_keep_what_was_decided(inbox: Path, out: Path, predictor: FixedPredictor) -> None:
    decide(out, {"s0/0.dcm": "spine", "s1/1.dcm": "excluded"})
    held = rows(out)
    plan.undo(str(out / "manifest.csv"))
    sort(settings(inbox, out, review_below=1.0), predictor)
    assert rows(out) == held
    agree(inbox, out)


def test_a_manifest_that_is_lost_takes_no_decision_with_it(
    inbox: Path, out: Path, predictor: FixedPredictor
) -> None:
    decide(out, {"s0/0.dcm": "spine", "s1/1.dcm": "excluded"})
    held = rows(out)
    (out / "manifest.csv").unlink()
    assert sort(settings(inbox, out, review_below=1.0), predictor).honored == 2
    assert rows(out) == held
    assert sort(settings(inbox, out, review_below=1.0), predictor).honored == 0


def test_a_planned_file_is_decided_on_before_it_is_placed(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out = tmp_path / "out"
    sort(settings(inbox, out, review_below=1.0, dry_run=True), predictor)
    decide(out, {"s0/0.dcm": "spine"})
    assert (row(out, "s0/0.dcm")["status"], row(out, "s0/0.dcm")["destination"]) == (
        "planned",
        "spine/s0/0.dcm",
    )
    plan.apply(str(out / "manifest.csv"))
    assert row(out, "s0/0.dcm")["status"] == "sorted"
    assert (out / "spine" / "s0" / "0.dcm").is_file()


def test_a_file_that_changed_since_is_asked_again(inbox: Path, out: Path, predictor: FixedPredictor) -> None:
    decide(out, {"s0/0.dcm": "spine"})
    shutil.copy(inbox / "s1" / "1.dcm", inbox / "s0" / "0.dcm")
    os.utime(inbox / "s0" / "0.dcm", ns=(10**18, 10**18))
    sort(settings(inbox, out, review_below=1.0), predictor)
    changed = row(out, "s0/0.dcm")
    assert (changed["status"], changed["reviewed_label"]) == ("review", "")
    assert changed["reason"].split("; ")[0] == Reason.DECIDED_BEFORE
    agree(inbox, out)


def test_shards_and_their_merge_honor_decisions(inbox: Path, out: Path, predictor: FixedPredictor) -> None:
    decide(out, {"s0/0.dcm": "spine", "s1/1.dcm": "excluded"})
    held = rows(out)
    plan.undo(str(out / "manifest.csv"))
    for number in (1, 2):
        sort(settings(inbox, out, review_below=1.0, shard=Shard(number, 2)), predictor)
    merge(str(out), PoolSettings(1))
    assert rows(out) == held
    agree(inbox, out)


def test_of_two_copies_of_an_image_the_one_decided_on_stays(
    inbox: Path, out: Path, predictor: FixedPredictor
) -> None:
    decide(out, {"s1/1.dcm": "spine"})
    shutil.copy(inbox / "s1" / "1.dcm", inbox / "s0" / "00.dcm")  # comes before it by path
    sort(settings(inbox, out, review_below=1.0), predictor)
    assert row(out, "s1/1.dcm")["destination"] == "spine/s1/1.dcm"
    twin = row(out, "s0/00.dcm")
    assert (twin["status"], twin["duplicate_of"]) == ("duplicate", str(inbox / "s1" / "1.dcm"))
    agree(inbox, out)


def test_restart_tells_of_decisions(inbox: Path, out: Path, predictor: FixedPredictor) -> None:
    decide(out, {"s0/0.dcm": "spine"})
    with pytest.raises(UsageError, match="holds 1 decision of persons; choose another --out, and copy"):
        sort(settings(inbox, out, restart=True), predictor)


def test_a_killed_program_is_finished_by_the_next_one(
    inbox: Path, out: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the journal was written; after the file has moved; and between its two names."""
    given = {"s0/0.dcm": "spine", "s0/3.dcm": "spine", "s0/6.dcm": "spine"}
    with Manifest.open_existing(str(out / "manifest.csv")) as manifest:
        found = {end: one for one in manifest.records() for end in given if one.path.endswith(end)}
        with Decisions(str(out)).appending() as journal:
            journal.write([Decision(found[end], by(label)) for end, label in given.items()])
    (out / "spine" / "s0").mkdir(parents=True)
    (out / "review" / "s0" / "3.dcm").rename(out / "spine" / "s0" / "3.dcm")
    os.link(out / "review" / "s0" / "6.dcm", out / "spine" / "s0" / "6.dcm")
    sort(settings(inbox, out, review_below=1.0), predictor)
    for end in given:
        assert (row(out, end)["status"], row(out, end)["destination"]) == ("sorted", f"spine/{end}")
        assert row(out, end)["reviewed_by"] == "Dr. A"
    agree(inbox, out)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("last", ["others", "unsure", "excluded", ""])
def test_a_file_that_an_earlier_decision_had_moved_when_all_was_killed_goes_where_the_last_one_says(
    action: Action, last: str, inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out, placing = tmp_path / "out", PlacementSettings(action, relative=True)
    sort(settings(inbox, out, review_below=1.0, placing=placing), predictor)
    with Manifest.open_existing(str(out / "manifest.csv")) as manifest:
        [found] = [one for one in manifest.records() if one.path.endswith("s0/0.dcm")]
        old, new = (str(out / folder / "s0" / "0.dcm") for folder in ("review", "spine"))
        move(found.path, old, new, found.placement)
        with Decisions(str(out)).appending() as journal:
            journal.write([Decision(found, by("spine"))])
            journal.write([Decision(found, by(last) if last else None)])
    assert sort(settings(inbox, out, review_below=1.0, placing=placing), predictor).by_hand == 0
    folder = {"unsure": "review", "": "review"}.get(last, last)
    assert row(out, "s0/0.dcm")["destination"] == f"{folder}/s0/0.dcm"
    assert row(out, "s0/0.dcm")["reviewed_by"] == ("Dr. A" if last else "")
    agree(inbox, out)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("names", [("review", "spine"), ("spine", "abdominal"), ("spine", "others")])
@pytest.mark.parametrize("last", ["abdominal", "others", "unsure", "excluded", ""])
def test_a_file_that_had_two_names_by_an_earlier_decision_when_all_was_killed_keeps_one(
    last: str, names: tuple[str, str], action: Action, inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    """A move is cut short between its names, and what was decided meanwhile, or later, leads elsewhere."""
    out, placing = tmp_path / "out", PlacementSettings(action, relative=True)
    sort(settings(inbox, out, review_below=1.0, placing=placing), predictor)
    with Manifest.open_existing(str(out / "manifest.csv")) as manifest:
        [found] = [one for one in manifest.records() if one.path.endswith("s0/0.dcm")]
        old, *new = (str(out / folder / "s0" / "0.dcm") for folder in ("review", *names))
        for name in new:
            if name != old:
                also_at(found.path, old, name, found.placement)
        if old not in new:
            Path(old).unlink()
        with Decisions(str(out)).appending() as journal:
            journal.write([Decision(found, by(label)) for label in names if label != "review"])
            journal.write([Decision(found, by(last) if last else None)])
    assert sort(settings(inbox, out, review_below=1.0, placing=placing), predictor).by_hand == 0
    folder = {"unsure": "review", "": "review"}.get(last, last)
    assert row(out, "s0/0.dcm")["destination"] == f"{folder}/s0/0.dcm"
    agree(inbox, out)


def test_a_name_that_is_in_another_row_is_left_to_it(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    """Two sources are one file of the disk, and by the layout only their labels tell their places apart."""
    out = tmp_path / "out"
    how = {"placing": PlacementSettings(Action.HARDLINK), "layout": "{label}/{sop_instance_uid}"}
    again = settings(inbox, out, review_below=1.0, keep_duplicates=True, **how)
    sort(again, predictor)
    decide(out, {"s0/0.dcm": "spine"})
    os.link(inbox / "s0" / "0.dcm", inbox / "s0" / "same.dcm")  # together, either could come first
    sort(again, predictor)
    decide(out, {"s0/same.dcm": "unsure"})
    places = [row(out, end)["destination"] for end in ("s0/0.dcm", "s0/same.dcm")]
    assert [place.partition("/")[0] for place in places] == ["spine", "review"]
    assert (out / places[0]).samefile(out / places[1])
    with Manifest.open_existing(str(out / "manifest.csv")) as manifest:
        manifest.run_file.decisions = 0  # as if it had been killed now
    assert sort(again, predictor).already_done == len(rows(out))  # none was lost, and placed anew
    assert [row(out, end)["destination"] for end in ("s0/0.dcm", "s0/same.dcm")] == places
    assert all((out / place).is_file() for place in places)


def test_half_a_line_of_the_journal_is_no_decision(inbox: Path, out: Path, predictor: FixedPredictor) -> None:
    decide(out, {"s0/0.dcm": "spine"})
    with (out / "decisions.csv").open("a") as file:
        file.write(f"{inbox}/s1/1.dcm,1")
    sort(settings(inbox, out, review_below=1.0), predictor)
    decide(out, {"s1/1.dcm": "spine"})
    assert len(Decisions(str(out))) == 2


def test_a_journal_that_a_spreadsheet_has_saved_is_read(inbox: Path, out: Path) -> None:
    decide(out, {"s0/0.dcm": "spine"})
    path = out / "decisions.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert len(Decisions(str(out))) == 1
    decide(out, {"s1/1.dcm": "spine"})
    assert len(Decisions(str(out))) == 2
    assert b"\r" not in path.read_bytes()


def test_a_journal_saved_with_semicolons_is_told(inbox: Path, out: Path) -> None:
    decide(out, {"s0/0.dcm": "spine"})
    path = out / "decisions.csv"
    path.write_bytes(path.read_bytes().replace(b",", b";"))
    with pytest.raises(UsageError, match="has semicolons between its cells: save it with commas"):
        Decisions(str(out))


def test_a_damaged_journal_ends_with_one_line(out: Path, inbox: Path, predictor: FixedPredictor) -> None:
    (out / "decisions.csv").write_text("path,label\na,b\n")
    with pytest.raises(UsageError, match=r"decisions.csv' is damaged"):
        sort(settings(inbox, out, review_below=1.0), predictor)


def test_the_rows_of_python_tell_it(out: Path) -> None:
    decide(out, {"s0/0.dcm": "spine"})
    [found] = [row for row in read_manifest(out) if row.path.endswith("s0/0.dcm")]
    assert (found.reviewed_label, found.reviewed_by, found.final_label) == ("spine", "Dr. A", "spine")
    assert found.status is Status.SORTED


# --- moved by hand


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("relative", [False, True])
def test_a_copy_that_was_moved_by_hand_is_a_decision_and_not_placed_twice(
    action: Action, relative: bool, inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out = tmp_path / "out"
    how = settings(inbox, out, review_below=1.0, placing=PlacementSettings(action, relative=relative))
    sort(how, predictor)
    (out / "spine").mkdir()
    (out / "excluded").mkdir()
    shutil.move(out / "review" / "s0" / "0.dcm", out / "spine" / "0.dcm")  # without its folder
    shutil.move(out / "review" / "s1" / "1.dcm", out / "excluded" / "one.dcm")  # and under another name
    again = sort(how, predictor)
    assert (again.by_hand, again.already_done) == (2, 14)
    spine, excluded = row(out, "s0/0.dcm"), row(out, "s1/1.dcm")
    assert (spine["status"], spine["destination"]) == ("sorted", "spine/0.dcm")
    assert (spine["reviewed_label"], spine["reviewed_by"]) == ("spine", "moved by hand")
    assert (excluded["status"], excluded["destination"]) == ("excluded", "excluded/one.dcm")
    agree(inbox, out)
    assert sort(how, predictor).by_hand == 0
    plan.undo(str(out / "manifest.csv"))
    sort(how, predictor)
    assert row(out, "s0/0.dcm")["destination"] == "spine/s0/0.dcm"
    agree(inbox, out)


def test_back_to_review_by_hand_is_unsure_and_another_name_is_no_decision(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out = tmp_path / "out"
    sort(settings(inbox, out, review_below=0.0), predictor)
    first, second = (row(out, end) for end in ("s0/0.dcm", "s1/1.dcm"))
    (out / "review").mkdir()
    shutil.move(out / first["destination"], out / "review" / "0.dcm")
    shutil.move(out / second["destination"], out / second["label"] / "renamed.dcm")
    assert sort(settings(inbox, out, review_below=0.0), predictor).by_hand == 2
    assert (row(out, "s0/0.dcm")["status"], row(out, "s0/0.dcm")["reviewed_label"]) == ("review", "unsure")
    renamed = row(out, "s1/1.dcm")
    assert (renamed["destination"], renamed["reviewed_label"]) == (f"{second['label']}/renamed.dcm", "")
    assert len(Decisions(str(out))) == 1
    agree(inbox, out)


def test_files_of_one_size_and_time_are_told_apart_by_their_bytes(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out = tmp_path / "out"
    for number in range(3):
        for path in sorted((inbox / f"s{number}").glob("*.dcm")):
            os.utime(path, ns=(10**18, 10**18))
    sort(settings(inbox, out, review_below=1.0), predictor)
    (out / "spine").mkdir()
    for number, end in enumerate(["s0/0.dcm", "s1/1.dcm", "s2/2.dcm"]):
        shutil.move(out / "review" / end, out / "spine" / f"{number}.dcm")
    assert sort(settings(inbox, out, review_below=1.0), predictor).by_hand == 3
    agree(inbox, out)


def test_what_is_in_no_class_folder_is_nobodys(inbox: Path, out: Path, predictor: FixedPredictor) -> None:
    (out / "kept").mkdir()
    shutil.move(out / "review" / "s0" / "0.dcm", out / "kept" / "0.dcm")
    again = sort(settings(inbox, out, review_below=1.0), predictor)
    assert (again.by_hand, again.astray) == (0, {"kept": 1})
    assert row(out, "s0/0.dcm")["destination"] == "review/s0/0.dcm"
    assert (out / "review" / "s0" / "0.dcm").is_file()
    assert (out / "kept" / "0.dcm").is_file()


def test_shards_place_nothing_twice_that_was_moved_by_hand(
    inbox: Path, out: Path, predictor: FixedPredictor
) -> None:
    (out / "spine").mkdir()
    shutil.move(out / "review" / "s0" / "0.dcm", out / "spine" / "0.dcm")
    for number in (1, 2):
        sort(settings(inbox, out, review_below=1.0, shard=Shard(number, 2)), predictor)
    merge(str(out), PoolSettings(1))
    assert not (out / "review" / "s0" / "0.dcm").exists()
    assert sort(settings(inbox, out, review_below=1.0), predictor).by_hand == 1
    assert row(out, "s0/0.dcm")["reviewed_label"] == "spine"
    agree(inbox, out)


def copied_decisions(out: Path, other: Path, given: dict[str, str]) -> None:
    """Decide in one output, and lay what was decided into another one, which has not carried it out."""
    decide(out, given)
    shutil.copy(out / "decisions.csv", other)


@pytest.fixture
def other(inbox: Path, out: Path, tmp_path: Path, predictor: FixedPredictor) -> Path:
    sort(settings(inbox, tmp_path / "other", review_below=1.0), predictor)
    return tmp_path / "other"


def test_a_decision_outlives_a_copy_that_is_gone(
    inbox: Path, out: Path, other: Path, predictor: FixedPredictor
) -> None:
    copied_decisions(out, other, {"s0/0.dcm": "spine", "s1/1.dcm": "excluded"})
    (other / "review" / "s0" / "0.dcm").unlink()
    done = sort(settings(inbox, other, review_below=1.0), predictor)
    assert done.taken_back == 0
    assert row(other, "s0/0.dcm")["destination"] == "spine/s0/0.dcm"
    assert len(Decisions(str(other))) == 2
    agree(inbox, other)


def test_a_file_that_changed_before_its_decision_was_carried_out_is_asked_again(
    inbox: Path, out: Path, other: Path, predictor: FixedPredictor
) -> None:
    copied_decisions(out, other, {"s0/0.dcm": "spine"})
    (inbox / "s0" / "0.dcm").write_bytes((inbox / "s1" / "1.dcm").read_bytes())
    os.utime(inbox / "s0" / "0.dcm", ns=(10**18, 10**18))
    sort(settings(inbox, other, review_below=1.0), predictor)
    changed = row(other, "s0/0.dcm")
    assert (changed["status"], changed["reason"].split("; ")[0]) == ("review", Reason.DECIDED_BEFORE)


def test_apply_and_undo_honor_what_was_decided_after_the_plan_was_made(
    inbox: Path, out: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    planned = tmp_path / "planned"
    sort(settings(inbox, planned, review_below=1.0, dry_run=True), predictor)
    copied_decisions(out, planned, {"s0/0.dcm": "spine"})
    plan.apply(str(planned / "manifest.csv"))
    assert row(planned, "s0/0.dcm")["destination"] == "spine/s0/0.dcm"
    agree(inbox, planned)
    shutil.copy(out / "decisions.csv", planned)
    decide(out, {"s0/0.dcm": "others"})
    shutil.copy(out / "decisions.csv", planned)
    plan.undo(str(planned / "manifest.csv"))
    assert not pictures(planned)
    assert row(planned, "s0/0.dcm")["destination"] == "others/s0/0.dcm"


@pytest.mark.parametrize("label", ["../../elsewhere", "review", "a/b", "/abs", "|", "excluded|spine"])
def test_no_label_written_in_by_hand_leads_out_of_the_output(
    label: str, inbox: Path, out: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    decide(out, {"s0/0.dcm": "spine"})
    text = (out / "decisions.csv").read_text().replace(",spine,", f",{label},")
    (out / "decisions.csv").write_text(text)
    before = tree(tmp_path)
    with pytest.raises(UsageError, match=r"decisions\.csv' must be put right"):
        sort(settings(inbox, out, review_below=1.0), predictor)
    assert tree(tmp_path) == before


def test_a_name_of_two_lines_written_in_by_hand_does_not_break_the_manifest(
    inbox: Path, out: Path, predictor: FixedPredictor
) -> None:
    decide(out, {"s0/0.dcm": "spine"})
    text = (out / "decisions.csv").read_text().replace(",Dr. A,", ',"Dr.\nA",')
    (out / "decisions.csv").write_text(text)
    with pytest.raises(UsageError, match="is damaged"):
        sort(settings(inbox, out, review_below=1.0), predictor)


def test_a_last_line_without_its_end_counts_if_it_is_whole(out: Path) -> None:
    decide(out, {"s0/0.dcm": "spine", "s1/1.dcm": "spine"})
    path = out / "decisions.csv"
    path.write_text(path.read_text().rstrip("\n"))
    assert len(Decisions(str(out))) == 2
    decide(out, {"s2/2.dcm": "spine"})
    assert len(Decisions(str(out))) == 3
    path.write_text(path.read_text()[:-2])
    assert len(Decisions(str(out))) == 2


def test_what_was_moved_into_a_class_folder_on_another_disk_is_not_placed_twice(
    inbox: Path, out: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    (tmp_path / "disk").mkdir()
    (out / "spine").symlink_to(tmp_path / "disk")
    (out / "review" / "s0" / "0.dcm").rename(out / "spine" / "0.dcm")
    assert sort(settings(inbox, out, review_below=1.0), predictor).by_hand == 1
    assert row(out, "s0/0.dcm")["destination"] == "spine/0.dcm"
    assert not (out / "review" / "s0" / "0.dcm").exists()


@pytest.mark.parametrize("folder", ["excluded+spine", "review+spine", "spine+spine", "spine+"])
def test_a_folder_that_says_two_things_says_nothing(
    folder: str, inbox: Path, out: Path, predictor: FixedPredictor
) -> None:
    (out / folder).mkdir()
    (out / "review" / "s0" / "0.dcm").rename(out / folder / "0.dcm")
    assert sort(settings(inbox, out, review_below=1.0), predictor).by_hand == 0
    assert not len(Decisions(str(out)))


def test_a_file_that_is_gone_is_not_taken_for_another_of_its_name_size_and_time(
    tmp_path: Path, predictor: FixedPredictor
) -> None:
    for number in range(2):
        path = write_dicom(tmp_path / "in" / f"{number}.dcm", picture(number), SOPInstanceUID="1.2.3")
        os.utime(path, ns=(1, 1))
    out, layout = tmp_path / "out", "{label}/{sop_instance_uid}.dcm"
    for end in ("1.dcm", "0.dcm"):
        listed = tmp_path / "list.txt"
        listed.write_text(str(tmp_path / "in" / end))
        sort(
            settings(tmp_path / "in", out, review_below=1.0, layout=layout, from_list=str(listed)), predictor
        )
        if end == "1.dcm":
            assert not decide(out, {end: "spine"}).refused
    (out / "review" / "1.2.3.dcm").unlink()
    done = decide(out, {"0.dcm": "spine"})
    assert [why for _, why in done.refused] == [Refused.GONE]
    assert (out / "spine" / "1.2.3.dcm").read_bytes() == (tmp_path / "in" / "1.dcm").read_bytes()


def test_a_label_of_the_same_length_written_in_by_hand_is_carried_out(
    inbox: Path, out: Path, predictor: FixedPredictor
) -> None:
    decide(out, {"s0/0.dcm": "spine", "s1/1.dcm": "others"})
    sort(settings(inbox, out, review_below=1.0), predictor)
    path = out / "decisions.csv"
    path.write_text(path.read_text().replace(",others,Dr", ",spines,Dr"))
    sort(settings(inbox, out, review_below=1.0), predictor)
    assert row(out, "s1/1.dcm")["destination"] == "spines/s1/1.dcm"
    agree(inbox, out)


def test_whoever_takes_a_decision_back_says_so(
    inbox: Path, out: Path, other: Path, predictor: FixedPredictor, tmp_path: Path
) -> None:
    copied_decisions(out, other, {"s0/0.dcm": "spine"})
    (other / "spine" / "s0").mkdir(parents=True)
    (other / "spine" / "s0" / "0.dcm").write_bytes(b"somebody's")
    again = [shutil.copytree(other, tmp_path / name) for name in ("merged", "undone")]
    sort(settings(inbox, again[0], review_below=1.0, shard=Shard(1, 1)), predictor)
    merged = merge(str(again[0]), PoolSettings(1))
    assert (merged.taken_back, merged.exit_code) == (1, 3)
    assert plan.undo(str(again[1] / "manifest.csv")).left == {Refused.TAKEN.value: 1}
    assert all(not len(Decisions(str(one))) for one in (again[0], again[1]))


def test_what_is_decided_anew_while_the_first_is_refused_stays(out: Path) -> None:
    with Manifest.open_existing(str(out / "manifest.csv")) as manifest:
        record = next(one for one in manifest.records() if one.is_placed)
        decisions = Decisions(str(out))
        with decisions.appending() as journal:
            first, second = (Decision(record, by(label)) for label in ("spine", "others"))
            journal.write([first, second])
            journal.take_back([first])
            assert Decisions(str(out)).labels == {"others"}
            journal.take_back([second])
    assert not len(Decisions(str(out)))


def test_a_decision_that_found_no_space_is_not_written_later(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(out, {"s0/0.dcm": "spine"})
    text = (out / "decisions.csv").read_text()
    with Manifest.open_existing(str(out / "manifest.csv")) as manifest:
        records = [one for one in manifest.records() if one.path.endswith(("s1/1.dcm", "s2/2.dcm"))]
        with Decisions(str(out)).appending() as journal:
            full = Full(journal._file)
            monkeypatch.setattr(journal, "_file", full)
            with pytest.raises(TargetError, match="No space left"):
                journal.write([Decision(records[0], by("spine"))])
            assert (out / "decisions.csv").read_text() == text
            full.room = 1 << 20
            journal.write([Decision(records[1], by("spine"))])
    assert (out / "decisions.csv").read_text().count("\n") == text.count("\n") + 1
    assert len(Decisions(str(out))) == 2


class Full:
    """A file on a disk that has room for a few bytes more."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.room = file, 10

    def write(self, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._file.write(data[: self.room])
        self.room -= written
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_the_region_of_the_body_follows_what_counts(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out = tmp_path / "out"
    sort(settings(inbox, out, review_below=1.0), predictor)
    label = row(out, "s0/0.dcm")["label"]
    spine = ("421060004", "Spine")
    before = row(out, "s0/0.dcm")["region_code"], row(out, "s0/0.dcm")["region_meaning"]
    assert label != "spine"
    assert before != spine
    for decided, wanted in (("spine", spine), ("unsure", before), ("others", ("", "")), ("", before)):
        decide(out, {"s0/0.dcm": decided})
        found = row(out, "s0/0.dcm")
        assert (found["region_code"], found["region_meaning"]) == wanted
        assert found["label"] == label
    told = {one.path: (one.region_code, one.region_meaning) for one in read_manifest(out)}
    assert told[str(inbox / "s0" / "0.dcm")] == before


def test_a_file_moved_by_hand_gets_the_region_of_its_new_class(out: Path, inbox: Path) -> None:
    (out / "spine" / "s0").mkdir(parents=True)
    (out / row(out, "s0/0.dcm")["destination"]).rename(out / "spine" / "s0" / "0.dcm")
    with Manifest.open_existing(str(out / "manifest.csv")) as manifest:
        recognize(manifest, str(out), Decisions(str(out)))
    assert row(out, "s0/0.dcm")["reviewed_label"] == "spine"
    assert row(out, "s0/0.dcm")["region_code"] == "421060004"
