"""What a person decides sticks: files move, rows say so, and every later command honors it."""

import os
import shutil
from pathlib import Path

import pytest
from outputs import rows, settings, tree
from predictors import FixedPredictor

from dicomsort.errors import UsageError
from dicomsort.manifest.decisions import Decision, Decisions
from dicomsort.manifest.reading import read_manifest
from dicomsort.manifest.table import Manifest
from dicomsort.outcome import Action, Reason, Reviewed, Status
from dicomsort.sorting import plan
from dicomsort.sorting.inputs import Shard
from dicomsort.sorting.merge import merge
from dicomsort.sorting.pipeline import sort
from dicomsort.sorting.place import PlacementSettings
from dicomsort.sorting.reviewing import CarriedOut, Carrier, Places, Refused
from dicomsort.system.worker_pool import PoolSettings

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
    merge(str(out), PoolSettings(1, 20))
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
    with pytest.raises(UsageError, match="holds the decisions of persons on its files"):
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
    assert again.by_hand == 0
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
    merge(str(out), PoolSettings(1, 20))
    assert not (out / "review" / "s0" / "0.dcm").exists()
    assert sort(settings(inbox, out, review_below=1.0), predictor).by_hand == 1
    assert row(out, "s0/0.dcm")["reviewed_label"] == "spine"
    agree(inbox, out)
