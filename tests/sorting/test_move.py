"""Moving: a source goes only once its checked copy and its row are on the disk, and undo brings it back."""

import errno
import hashlib
import json
import os
import shutil
import stat
import zipfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from outputs import rows, settings, tree
from predictors import FixedPredictor
from program import inside
from written import picture

from dicomsort.errors import NothingFoundError, TargetError, UsageError
from dicomsort.inputs.named import Shard
from dicomsort.outcome import Action, Reason, Status
from dicomsort.sorting import copies, deduplicate, moving, pipeline, place, plan, removal
from dicomsort.sorting.merge import merge
from dicomsort.sorting.moving import Stays
from dicomsort.sorting.pipeline import sort
from dicomsort.sorting.place import PlacementSettings
from dicomsort.sorting.summary import SortSummary
from dicomsort.system.pool_settings import PoolSettings

Write = Callable[..., Path]
OURS = ("manifest.csv", "run.json", "decisions.csv", "health.json")
MOVE = PlacementSettings(Action.MOVE)


@pytest.fixture(params=["linked", "copied"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Within one file system, and to another one."""
    if request.param == "copied":
        monkeypatch.setattr(moving, "_linked", lambda *_: None)
    return str(request.param)


def move(inbox: Path, out: Path, predictor: FixedPredictor, **changes: Any) -> SortSummary:
    return sort(settings(inbox, out, **{"placing": MOVE, **changes}), predictor)


def placed(out: Path) -> dict[str, bytes]:
    return {name: data for name, data in tree(out).items() if name not in OURS}


def everything(*folders: Path) -> Counter[bytes]:
    """All that lies in some folders, by content, but for what is ours."""
    return Counter(data for folder in folders for data in placed(folder).values())


def facts(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        path.relative_to(folder).as_posix(): (path.lstat().st_mtime_ns, stat.S_IMODE(path.lstat().st_mode))
        for path in folder.rglob("*")
        if path.is_file()
    }


def label_of(out: Path, name: Path) -> str:
    return rows(out)[str(name)]["label"]


def fails_at(path: Path, number: int, real: Callable[..., Any]) -> Callable[..., Any]:
    def failing(name: Any, *rest: Any, **named: Any) -> Any:
        if os.fspath(name) == str(path):
            raise OSError(number, os.strerror(number))
        return real(name, *rest, **named)

    return failing


def test_what_is_placed_leaves_the_source_and_all_else_stays(
    way: str, inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out, before = tmp_path / "out", tree(inbox)
    (inbox / "s0" / "0.dcm").chmod(0o640)
    os.utime(inbox / "s0" / "0.dcm", ns=(1, 1_500_000_000_123_456_789))
    known = facts(inbox)
    tally = move(inbox, out, predictor)
    assert set(tree(inbox)) == {"ct.dcm", "notes.txt"}
    assert (inbox / "s0").is_dir(), "empty folders are left alone"
    found = rows(out)
    for name in set(before) - {"ct.dcm", "notes.txt"}:
        row = found[str(inbox / name)]
        target = out / row["destination"]
        assert row["action"] == "move"
        assert target.read_bytes() == before[name]
        assert row["sha256"] == hashlib.sha256(before[name]).hexdigest()
        assert (target.stat().st_mtime_ns, stat.S_IMODE(target.stat().st_mode)) == known[name]
        assert target.stat().st_nlink == 1, way
    assert everything(inbox, out) == Counter(before.values())
    assert (tally.removed.files, tally.removed.stayed) == (12, Counter())
    assert tally.removed.size == sum(len(before[name]) for name in set(before) - {"ct.dcm", "notes.txt"})


def test_a_further_run_adds_up_and_an_empty_source_is_no_trouble(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out = tmp_path / "out"
    first = move(inbox, out, predictor)
    before = tree(out)
    again = move(inbox, out, predictor)
    assert (again.found, again.already_done, again.removed.files) == (2, 2, 0)
    assert again.radiographs == first.radiographs, "what was moved stands"
    assert tree(out)["manifest.csv"] == before["manifest.csv"]
    for name in ("ct.dcm", "notes.txt"):
        (inbox / name).unlink()
    assert move(inbox, out, predictor).found == 0
    with pytest.raises(NothingFoundError):
        move(inbox, tmp_path / "other", predictor)


def test_files_of_earlier_runs_that_copied_stay(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor, write_dicom: Write
) -> None:
    out = tmp_path / "out"
    sort(settings(inbox, out), predictor)
    before = tree(inbox)
    new = write_dicom(inbox / "late" / "20.dcm", picture(20))
    assert move(inbox, out, predictor).removed.files == 1
    assert not new.exists()
    assert tree(inbox) == before
    assert Counter(row["action"] for row in rows(out).values()) == {"copy": 12, "move": 1, "": 2}


def test_a_duplicate_stays_in_the_source_and_a_moved_file_is_never_one(
    way: str, inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out = tmp_path / "out"
    twin = shutil.copy(inbox / "s1" / "1.dcm", inbox / "s1" / "again.dcm")
    before = everything(inbox)
    tally = move(inbox, out, predictor)
    assert tally.statuses[Status.DUPLICATE] == 1
    assert Path(twin).exists()
    assert everything(inbox, out) == before, way
    smaller = Path(shutil.copy(twin, inbox / "a.dcm"))
    for _ in range(2):
        tally = move(inbox, out, predictor)
        found = rows(out)
        assert tally.statuses[Status.DUPLICATE] == 2
        assert found[str(inbox / "s1" / "1.dcm")]["status"] in ("sorted", "review")
        assert found[str(smaller)]["duplicate_of"] == str(inbox / "s1" / "1.dcm")
        assert smaller.exists()
        assert len(placed(out)) == 12


def test_with_keep_duplicates_each_of_them_is_moved(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    shutil.copy(inbox / "s1" / "1.dcm", inbox / "s1" / "again.dcm")
    before = everything(inbox)
    assert move(inbox, tmp_path / "out", predictor, keep_duplicates=True).removed.files == 13
    assert everything(inbox, tmp_path / "out") == before


@pytest.mark.parametrize("same_label", [True, False])
def test_another_file_of_the_same_name_is_a_file_of_its_own(
    same_label: bool, way: str, inbox: Path, tmp_path: Path, predictor: FixedPredictor, write_dicom: Write
) -> None:
    out, path = tmp_path / "out", inbox / "s0" / "0.dcm"
    move(inbox, out, predictor)
    old = rows(out)[str(path)]
    number = next(
        n for n in range(1, 12)
        if (label_of(out, inbox / f"s{n % 3}" / f"{n}.dcm") == old["label"]) is same_label
    )  # fmt: skip
    write_dicom(path, picture(number), SOPInstanceUID="2.25.77")
    before = everything(inbox, out)
    for _ in range(2):
        tally = move(inbox, out, predictor)
        kept = rows(out)[str(path.with_name(f"0~{old['sha256'][:8]}.dcm"))]
        assert {**kept, "path": old["path"]} == old, "the row of the first one stands"
        assert everything(inbox, out) == before, way
        assert path.exists() is same_label
        assert (tally.statuses[Status.IO_ERROR] == 1) is same_label
    if same_label:
        assert rows(out)[str(path)]["reason"].startswith(Reason.DESTINATION_TAKEN)
    assert plan.undo(str(out / "manifest.csv")).left == {}
    assert everything(inbox, out) == before
    assert not placed(out)


def test_with_a_layout_by_uid_an_inbox_may_use_names_again(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor, write_dicom: Write
) -> None:
    out, layout = tmp_path / "out", "{label}/{sop_instance_uid}.dcm"
    move(inbox, out, predictor, layout=layout)
    for turn in range(3):
        path = write_dicom(inbox / "s0" / "0.dcm", picture(turn), SOPInstanceUID=f"2.25.{turn + 7}")
        os.utime(path, ns=((turn + 1) * 10**17, (turn + 1) * 10**17))
        tally = move(inbox, out, predictor, layout=layout)
        assert tally.removed.files == 1
        assert sum(map(Counter.total, tally.radiographs.values())) == len(placed(out)) == 13 + turn
    assert plan.undo(str(out / "manifest.csv")).back == 15
    assert len(list((inbox / "s0").glob("0*.dcm"))) == 4


@pytest.mark.parametrize("touched", [False, True])
def test_the_same_file_once_more_goes_too_and_stands_once(
    touched: bool, way: str, inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out, path = tmp_path / "out", inbox / "s0" / "0.dcm"
    shutil.copy2(path, tmp_path / "kept")
    move(inbox, out, predictor)
    shutil.copy2(tmp_path / "kept", path)
    if touched:
        os.utime(path, ns=(5, 1_600_000_000_000_000_001))
    assert move(inbox, out, predictor).removed.files == 1
    assert len(rows(out)) == 14, way
    assert len(placed(out)) == 12
    assert plan.undo(str(out / "manifest.csv")).left == {}
    assert path.read_bytes() == (tmp_path / "kept").read_bytes()


def test_what_is_no_file_of_its_own_stays_and_is_told(
    way: str, inbox: Path, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    real = shutil.move(inbox / "s0" / "0.dcm", tmp_path / "elsewhere.dcm")
    (inbox / "s0" / "0.dcm").symlink_to(real)
    os.link(inbox / "s1" / "1.dcm", tmp_path / "second name.dcm")
    with zipfile.ZipFile(inbox / "some.zip", "w") as archive:
        archive.write(inbox / "s2" / "2.dcm", "2.dcm")
    (inbox / "s2" / "2.dcm").unlink()
    locked = str(inbox / "locked")
    os.mkdir(locked)
    shutil.move(inbox / "s0" / "3.dcm", locked)
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != locked and may(path, mode))
    before = tree(inbox)
    tally = move(inbox, out, predictor)
    assert tally.removed.stayed == {
        Stays.LINK: 1, Stays.HARD_LINKS: 1, Stays.NOT_A_FILE: 1, Stays.READ_ONLY: 1
    }  # fmt: skip
    stay = {"s0/0.dcm", "s1/1.dcm", "some.zip", "locked/3.dcm", "ct.dcm", "notes.txt"}
    assert tree(inbox) == {name: before[name] for name in stay}
    assert Counter(row["action"] for row in rows(out).values())["copy"] == 4, way
    assert tally.removed.files == 8
    assert move(inbox, out, predictor).removed.files == 0


def test_what_the_system_does_not_remove_stays_and_its_row_says_so(
    way: str, inbox: Path, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, path = tmp_path / "out", inbox / "s0" / "0.dcm"
    before = everything(inbox)
    monkeypatch.setattr(os, "unlink", fails_at(path, errno.EPERM, os.unlink))
    tally = move(inbox, out, predictor)
    assert (tally.removed.files, tally.removed.stayed) == (11, {Stays.NOT_REMOVED: 1})
    assert rows(out)[str(path)]["action"] == {"linked": "hardlink", "copied": "copy"}[way]
    assert len(everything(inbox, out)) == len(before)
    again = move(inbox, out, predictor)
    assert (again.already_done, again.removed.files) == (3, 0)


@pytest.mark.parametrize("keeps_time", [False, True])
def test_what_changes_between_reading_and_removal_stays(
    keeps_time: bool,
    way: str,
    inbox: Path,
    tmp_path: Path,
    predictor: FixedPredictor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, path = tmp_path / "out", inbox / "s0" / "0.dcm"
    if way == "linked" and keeps_time:
        pytest.skip("one file by two names: what is written to one is in the other")
    was, written = path.stat(), path.read_bytes()[:-1] + b"!"

    def settle(*rest: Any) -> None:
        path.write_bytes(written)
        os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns if keeps_time else 10**18))
        judge(*rest)

    judge = deduplicate.settle
    monkeypatch.setattr(pipeline, "settle", settle)
    tally = move(inbox, out, predictor)
    assert tally.removed.stayed == {Stays.CHANGED: 1}
    assert path.read_bytes() == written
    monkeypatch.setattr(pipeline, "settle", judge)
    again = move(inbox, out, predictor)
    if keeps_time:
        assert path.read_bytes() == written
    else:
        assert (again.removed.files, again.removed.stayed) == (1, Counter())
        assert written in placed(out).values()
        assert len(placed(out)) == 12


@pytest.mark.parametrize("comes_as", ["file", "hard link", "symbolic link", "link to the copy"])
def test_what_comes_to_the_place_of_a_moved_file_takes_nothing_away(
    comes_as: str, way: str, inbox: Path, tmp_path: Path, predictor: FixedPredictor, write_dicom: Write
) -> None:
    """A run that does not meet the newcomer, as it sorts another folder, must not take it for the source."""
    out, path, later = tmp_path / "out", inbox / "s0" / "0.dcm", tmp_path / "later"
    before = everything(inbox)
    move(inbox, out, predictor)
    new = write_dicom(tmp_path / "new.dcm", picture(77), SOPInstanceUID="2.25.77")
    write_dicom(later / "1.dcm", picture(78), SOPInstanceUID="2.25.78")
    if comes_as == "file":
        shutil.copy(new, path)
    elif comes_as == "hard link":
        os.link(new, path)
    else:
        path.symlink_to(new if comes_as == "symbolic link" else out / rows(out)[str(path)]["destination"])
    move(later, out, predictor)
    assert rows(out)[str(path)]["action"] == "move", way
    if path.is_symlink():
        path.unlink()
        shutil.copy(new, path)
    move(inbox, out, predictor)
    assert everything(inbox, out) >= before


def test_a_source_that_changes_while_it_is_copied_is_not_placed(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, path, copy = tmp_path / "out", inbox / "s0" / "0.dcm", copies.copy_hashed

    def growing(file: Any, target: str) -> str:
        sha256 = copy(file, target)
        if file.name == str(path):
            path.write_bytes(path.read_bytes() + b"more")
        return sha256

    monkeypatch.setattr(moving, "_linked", lambda *_: None)
    monkeypatch.setattr(moving, "copy_hashed", growing)
    assert move(inbox, out, predictor).removed.files == 11
    row = rows(out)[str(path)]
    assert (row["status"], row["reason"], row["action"]) == ("io_error", Reason.CHANGED, "")
    assert path.exists()


@pytest.mark.parametrize(("number", "reason"), [(errno.EIO, Reason.UNREADABLE), (0, Reason.DIFFERENT)])
def test_a_copy_that_cannot_be_read_again_or_differs_keeps_its_source(
    number: int,
    reason: Reason,
    inbox: Path,
    tmp_path: Path,
    predictor: FixedPredictor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, path = tmp_path / "out", inbox / "s0" / "0.dcm"
    size, read = path.stat().st_size, copies.digest

    def rotten(name: str) -> str:
        if os.stat(name).st_size == size and name.startswith(str(out)):
            if number:
                raise OSError(number, os.strerror(number))
            return "0" * 64
        return read(name)

    path.write_bytes(path.read_bytes() + b"\0" * 10)
    size += 10
    monkeypatch.setattr(moving, "_linked", lambda *_: None)
    monkeypatch.setattr(moving, "digest", rotten)
    monkeypatch.setattr(place, "retry_transient", lambda work: work())
    before = everything(inbox)
    move(inbox, out, predictor)
    row = rows(out)[str(path)]
    assert (row["status"], row["reason"].split("; ")[0], row["action"]) == ("io_error", reason, "")
    assert path.exists()
    assert everything(inbox, out) == before


def test_a_full_disk_loses_nothing_and_the_next_run_goes_on(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, copy, count = tmp_path / "out", copies.copy_hashed, 0

    def filling(file: Any, target: str) -> str:
        nonlocal count
        count += 1
        if count == 6:
            Path(target).write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return copy(file, target)

    before = tree(inbox)
    monkeypatch.setattr(moving, "_linked", lambda *_: None)
    monkeypatch.setattr(moving, "copy_hashed", filling)
    with pytest.raises(TargetError, match="no space left"):
        move(inbox, out, predictor)
    assert tree(inbox) == before, "sources go at the end of a run only"
    assert move(inbox, out, predictor).removed.files == 12
    assert everything(inbox, out) == Counter(before.values())


def cut_short(*_: object) -> removal.Removed:
    raise KeyboardInterrupt


def test_a_run_cut_short_before_its_removals_is_finished_by_the_next_that_moves(
    way: str, inbox: Path, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, before, end = tmp_path / "out", tree(inbox), removal.end
    monkeypatch.setattr(removal, "end", cut_short)
    with pytest.raises(KeyboardInterrupt):
        move(inbox, out, predictor)
    monkeypatch.setattr(removal, "end", end)
    assert tree(inbox) == before
    assert sort(settings(inbox, out), predictor).removed.files == 0
    assert tree(inbox) == before, "a run that copies removes nothing"
    (inbox / "s0" / "0.dcm").write_bytes(before["s1/1.dcm"] + b"\0\0")
    tally = move(inbox, out, predictor)
    assert (tally.already_done, tally.removed.files) == (13, 11), way  # it repeats another image by now
    everywhere = everything(inbox, out)
    assert all(everywhere[data] == 1 for name, data in before.items() if name != "s0/0.dcm")
    assert everywhere[before["s1/1.dcm"] + b"\0\0"] == 1


def test_a_dry_run_tells_what_apply_would_remove_and_apply_does_it(
    way: str, inbox: Path, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, before = tmp_path / "out", tree(inbox)
    os.link(inbox / "s1" / "1.dcm", tmp_path / "second name.dcm")
    told = move(inbox, out, predictor, dry_run=True).removed
    assert (told.files, told.stayed) == (11, {Stays.HARD_LINKS: 1})
    assert tree(inbox) == before
    path, end = str(out / "manifest.csv"), removal.end
    monkeypatch.setattr(removal, "end", cut_short)
    with pytest.raises(KeyboardInterrupt):
        plan.apply(path)
    monkeypatch.setattr(removal, "end", end)
    assert tree(inbox) == before
    done = plan.apply(path)
    assert (done.removed.files, done.removed.size, done.left) == (told.files, told.size, Counter()), way
    assert set(tree(inbox)) == {"ct.dcm", "notes.txt", "s1/1.dcm"}
    with pytest.raises(UsageError, match="holds no plan"):
        plan.apply(path)


def test_apply_may_move_what_was_planned_to_be_copied(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out = tmp_path / "out"
    sort(settings(inbox, out, dry_run=True), predictor)
    assert plan.apply(str(out / "manifest.csv"), Action.MOVE).removed.files == 12
    assert set(tree(inbox)) == {"ct.dcm", "notes.txt"}


def test_a_move_within_a_file_system_needs_no_space(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    move(inbox, out, predictor, dry_run=True)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 5000))
    assert plan.apply(str(out / "manifest.csv")).done == 12


@pytest.mark.parametrize("verify", [False, True])
def test_undo_brings_everything_back_as_it_was(
    verify: bool, way: str, inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out = tmp_path / "out"
    (inbox / "s0" / "0.dcm").chmod(0o440)
    before, known = tree(inbox), facts(inbox)
    move(inbox, out, predictor)
    shutil.rmtree(inbox / "s2")
    done = plan.undo(str(out / "manifest.csv"), verify)
    assert (done.done, done.back, done.left) == (12, 12, Counter())
    assert (tree(inbox), facts(inbox)) == (before, known), way
    assert not placed(out)
    assert {row["status"] for row in rows(out).values() if row["label"]} == {"planned"}
    assert plan.apply(str(out / "manifest.csv")).removed.files == 12
    assert everything(inbox, out) == Counter(before.values())


def test_undo_replaces_nothing_and_leaves_what_has_changed(
    way: str, inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out, taken = tmp_path / "out", inbox / "s0" / "0.dcm"
    move(inbox, out, predictor)
    taken.write_text("somebody else's")
    found = rows(out)
    changed = out / found[str(inbox / "s1" / "1.dcm")]["destination"]
    changed.write_text("annotated by a person")
    gone = out / found[str(inbox / "s2" / "2.dcm")]["destination"]
    gone.unlink()
    before = everything(inbox, out)
    done = plan.undo(str(out / "manifest.csv"))
    assert done.left == {Reason.SOURCE_TAKEN: 1, Reason.CHANGED_COPY: 1, Reason.NO_SUCH_FILE: 1}
    assert taken.read_text() == "somebody else's"
    assert everything(inbox, out) == before, way
    assert sum(row["action"] == "move" for row in rows(out).values()) == 3
    taken.unlink()
    assert plan.undo(str(out / "manifest.csv")).done == 1
    assert taken.exists()


@pytest.mark.parametrize("then", ["undo", "move"])
def test_an_undo_cut_short_is_finished_by_the_next_or_moved_again(
    then: str, way: str, inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out, before = tmp_path / "out", tree(inbox)
    move(inbox, out, predictor)
    path, steps = str(out / "manifest.csv"), iter(range(20))

    def step() -> None:
        if next(steps) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plan.undo(path, step=step)
    assert sum(path.endswith(".dcm") for path in tree(inbox)) == 1 + 5, way
    if then == "undo":
        assert plan.undo(path).left == {}
        assert tree(inbox) == before
        assert not placed(out)
    else:
        assert move(inbox, out, predictor).removed.files == 5
        assert set(tree(inbox)) == {"ct.dcm", "notes.txt"}
        assert everything(inbox, out) == Counter(before.values())


def test_shards_are_moved_by_the_merge(
    way: str, inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out = tmp_path / "out"
    shutil.copy(inbox / "s1" / "1.dcm", inbox / "s1" / "again.dcm")
    before = tree(inbox)
    for number in (1, 2, 3):
        move(inbox, out, predictor, shard=Shard(number, 3))
    assert tree(inbox) == before
    merged = merge(str(out), PoolSettings(2))
    assert merged.removed.files == 12
    assert merged.as_dict()["sources_removed"] == 12
    assert set(tree(inbox)) == {"ct.dcm", "notes.txt", "s1/again.dcm"}
    assert everything(inbox, out) == Counter(before.values()), way
    for number in (1, 2, 3):
        assert move(inbox, out, predictor, shard=Shard(number, 3)).already_done in (0, 1, 2, 3)
    assert merge(str(out), PoolSettings(2)).rows == 15


@pytest.mark.parametrize("keeps_time", [True, False])
@pytest.mark.parametrize("name", ["a", "z"])
def test_shards_leave_a_moved_file_its_place(
    name: str, keeps_time: bool, way: str, inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    """The same bytes come from another folder, and a layout by UID wants the same place for them."""
    out, layout, again = tmp_path / "out", "{label}/{sop_instance_uid}.dcm", tmp_path / name / "again.dcm"
    first = inbox / "s0" / "0.dcm"
    again.parent.mkdir()
    (shutil.copy2 if keeps_time else shutil.copy)(first, again)
    move(inbox, out, predictor, layout=layout)
    old = rows(out)[str(first)]
    for number in (1, 2):
        move(again.parent, out, predictor, layout=layout, shard=Shard(number, 2))
    merge(str(out), PoolSettings(2))
    assert rows(out)[str(first)] == old, way
    assert (rows(out)[str(again)]["status"], rows(out)[str(again)]["duplicate_of"]) == (
        "duplicate",
        str(first),
    )
    assert again.exists()
    assert plan.undo(str(out / "manifest.csv")).left == {}
    assert first.read_bytes() == again.read_bytes()


def test_where_duplicates_are_kept_shards_give_a_place_to_one_file_only(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out, layout = tmp_path / "out", "{label}/{sop_instance_uid}.dcm"
    for number in range(8):
        shutil.copy2(inbox / "s0" / "0.dcm", inbox / f"again{number}.dcm")
    for number in (1, 2):
        move(inbox, out, predictor, layout=layout, keep_duplicates=True, shard=Shard(number, 2))
    merge(str(out), PoolSettings(2))
    places = Counter(row["destination"] for row in rows(out).values() if row["action"])
    assert set(places) == set(placed(out))
    assert set(places.values()) == {1}


def test_what_lies_behind_links_is_not_moved(inbox: Path, tmp_path: Path, predictor: FixedPredictor) -> None:
    with pytest.raises(UsageError, match="--action move does not go with --follow-links"):
        move(inbox, tmp_path / "out", predictor, follow_links=True)
    assert not (tmp_path / "out").exists()


def test_a_moved_file_that_was_put_into_another_class_by_hand_is_a_decision(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out, path = tmp_path / "out", inbox / "s0" / "0.dcm"
    move(inbox, out, predictor)
    old = out / rows(out)[str(path)]["destination"]
    other = "spine" if label_of(out, path) != "spine" else "abdominal"
    new = out / other / "s0" / "0.dcm"
    new.parent.mkdir(parents=True, exist_ok=True)
    old.rename(new)
    assert move(inbox, out, predictor).by_hand == 1
    row = rows(out)[str(path)]
    assert (row["reviewed_label"], out / row["destination"]) == (other, new)
    assert plan.undo(str(out / "manifest.csv")).left == {}
    assert path.exists()


def test_later_commands_read_the_copy_and_no_stranger_at_its_old_place(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out, path = tmp_path / "out", inbox / "s0" / "0.dcm"
    move(inbox, out, predictor)
    row = rows(out)[str(path)]
    read = partial(place.copy_or_source, str(path), row["destination"], row["action"], str(out))
    assert read() == str(out / row["destination"])
    path.write_text("a stranger")
    assert read() == str(out / row["destination"])


def test_the_settings_and_the_rows_are_told_as_json(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    tally = move(inbox, tmp_path / "out", predictor).as_dict()
    assert (tally["sources_removed"], tally["sources_left"]) == (12, {})
    assert json.loads((tmp_path / "out" / "run.json").read_text())["runs"][-1]["action"] == "move"


def test_a_person_is_told_before_and_after(
    inbox: Path,
    tmp_path: Path,
    small_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    os.link(inbox / "s1" / "1.dcm", tmp_path / "second name.dcm")
    words = ("classify", inbox, "--out", "out", "--model", small_model, "--workers", "2", "--action", "move")
    planned = inside(capfd, *words, "--dry-run")
    assert "sources are removed" not in planned.err
    linked = str(inbox / "s1" / "1.dcm")
    sizes = [
        int(row["size"]) for path, row in rows(tmp_path / "out").items() if row["label"] and path != linked
    ]
    size = f"{sum(sizes) / 1000:.1f} kB"
    assert (
        f"apply would remove {len(sizes)} sources, {size}; 1 would stay where it is: 1 with other"
        in planned.err
    )
    assert "--action move does not go with --follow-links" in inside(capfd, *words, "--follow-links").err
    done = inside(capfd, "apply", "out")
    assert "--action move: sources are removed in the end" in done.err
    assert f"removed 11 sources, {size}; 1 stays where it is: 1 with other hard links" in done.err
    assert "1 removed, 11 moved back to where they came from" in inside(capfd, "undo", "out").err
    sorted_ = inside(capfd, *words)
    assert sorted_.err.index("sources are removed") < sorted_.err.index("removed 11 sources")
    again = inside(capfd, *words)
    assert "folders are empty" not in again.err, "that they are is what was asked for"
    assert "removed" not in again.err.replace("sources are removed in the end", "")
