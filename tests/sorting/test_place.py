"""Placing: nothing is ever replaced, nothing partial stays, the source is only read."""

import errno
import hashlib
import os
import shutil
import stat
from pathlib import Path

import pytest

from dicomsort.errors import TargetError
from dicomsort.outcome import Action, Placement, Reason
from dicomsort.sorting import place as placing
from dicomsort.sorting.place import PlacementResult, PlacementSettings, place, remove, stamp_of
from dicomsort.system import atomic

PLACING = [Action.COPY, Action.MOVE, Action.SYMLINK, Action.HARDLINK, Action.REFLINK]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "Röntgen 1.dcm"
    path.parent.mkdir()
    path.write_bytes(os.urandom(10000))
    os.utime(path, ns=(1_500_000_000_123_456_789, 1_500_000_000_123_456_789))
    path.chmod(0o640)
    return path


def put(source: Path, target: Path, action: Action) -> PlacementResult:
    return place(str(source), str(target), PlacementSettings(action), stamp_of(str(source)))


@pytest.mark.parametrize("action", PLACING)
def test_the_placed_file_is_the_source(source: Path, tmp_path: Path, action: Action) -> None:
    target = tmp_path / "out" / "spine" / "x.dcm"
    placed = put(source, target, action)
    assert placed.action in ({Action.COPY, Action.REFLINK} if action is Action.REFLINK else {action})
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_mtime_ns == 1_500_000_000_123_456_789
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert target.is_symlink() == (action is Action.SYMLINK)
    assert target.samefile(source) == (action in (Action.SYMLINK, Action.HARDLINK, Action.MOVE))
    assert [path.name for path in target.parent.iterdir()] == ["x.dcm"]


@pytest.mark.parametrize("action", PLACING)
def test_placing_again_is_fine_and_changes_nothing(source: Path, tmp_path: Path, action: Action) -> None:
    target = tmp_path / "out" / "x.dcm"
    first = put(source, target, action)
    before = target.lstat()
    assert put(source, target, action) == first
    assert target.lstat() == before


@pytest.mark.parametrize("action", PLACING)
def test_nothing_is_replaced(source: Path, tmp_path: Path, action: Action) -> None:
    target = tmp_path / "x.dcm"
    target.write_text("somebody else's")
    assert put(source, target, action) == PlacementResult(None, Reason.DESTINATION_TAKEN)
    assert target.read_text() == "somebody else's"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "x.dcm"]


def test_a_source_that_changed_or_vanished_is_not_placed(source: Path, tmp_path: Path) -> None:
    stamp = stamp_of(str(source))
    source.write_text("changed")
    assert place(str(source), str(tmp_path / "x"), PlacementSettings(), stamp) == PlacementResult(
        None, Reason.CHANGED
    )
    source.unlink()
    assert place(str(source), str(tmp_path / "x"), PlacementSettings(), stamp) == PlacementResult(
        None, Reason.VANISHED
    )
    assert not (tmp_path / "x").exists()


def test_a_name_too_long_for_the_target_is_a_value(source: Path, tmp_path: Path) -> None:
    target = tmp_path / ("n" * 300)
    assert put(source, target, Action.COPY) == PlacementResult(None, Reason.NOT_PLACED)


def test_a_255_byte_name_can_be_placed(source: Path, tmp_path: Path) -> None:
    assert put(source, tmp_path / ("n" * 255), Action.COPY).action is Action.COPY


@pytest.mark.parametrize(("number", "message"), [(errno.ENOSPC, "no space left"), (errno.EROFS, "read-only")])
def test_a_full_or_read_only_target_ends_the_run_and_leaves_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    def half(_: str, target: str) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("dicomsort.sorting.place.copy_file", half)
    with pytest.raises(TargetError, match=message):
        put(source, tmp_path / "out" / "x.dcm", Action.COPY)
    assert list((tmp_path / "out").iterdir()) == []


def test_hard_links_across_file_systems_say_so(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refuse)
    assert put(source, tmp_path / "x", Action.HARDLINK) == PlacementResult(None, Reason.OTHER_DEVICE)


def test_where_there_are_no_hard_links_copies_still_replace_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    target = tmp_path / "out" / "x.dcm"
    assert put(source, target, Action.COPY) == PlacementResult(Action.COPY)
    assert target.read_bytes() == source.read_bytes()
    source.write_bytes(b"another")
    assert put(source, target, Action.COPY) == PlacementResult(None, Reason.DESTINATION_TAKEN)


def placement(source: Path, target: Path, action: Action) -> Placement:
    done = put(source, target, action).action
    assert done is not None
    return Placement(target.name, done.value, stamp_of(str(source)))


@pytest.mark.parametrize("action", PLACING)
def test_only_what_was_placed_is_removed(source: Path, tmp_path: Path, action: Action) -> None:
    target = tmp_path / "out" / "spine" / "deep" / "x.dcm"
    placed = placement(source, target, action)
    (tmp_path / "out" / "keep").touch()
    assert remove(str(source), str(target), placed)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["keep"]
    assert source.exists()


@pytest.mark.parametrize("action", PLACING)
def test_what_a_person_changed_stays(source: Path, tmp_path: Path, action: Action) -> None:
    target = tmp_path / "out" / "x.dcm"
    placed = placement(source, target, action)
    target.unlink()
    target.write_text("by a person")
    assert not remove(str(source), str(target), placed)
    assert target.read_text() == "by a person"


@pytest.mark.parametrize("action", [Action.COPY, Action.HARDLINK])
def test_the_source_itself_is_never_removed(source: Path, action: Action) -> None:
    placed = Placement(source.name, action.value, stamp_of(str(source)))
    assert not remove(str(source), str(source), placed)
    assert put(source, source, Action.COPY) == PlacementResult(None, Reason.DESTINATION_TAKEN)
    assert source.exists()


def test_a_hard_link_of_a_link_is_one_of_the_file(source: Path, tmp_path: Path) -> None:
    link = tmp_path / "in" / "link.dcm"
    link.symlink_to("Röntgen 1.dcm")
    target = tmp_path / "out" / "x.dcm"
    assert put(link, target, Action.HARDLINK) == PlacementResult(Action.HARDLINK)
    assert not target.is_symlink()
    assert target.samefile(source)


def test_a_copy_whose_time_was_changed_counts_as_placed(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "x.dcm"
    put(source, target, Action.COPY)
    os.utime(source)
    assert put(source, target, Action.COPY) == PlacementResult(Action.COPY)


def test_what_a_killed_run_left_is_overwritten(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "x.dcm"
    Path(atomic.temporary_for(str(target))).write_bytes(b"half")
    assert put(source, target, Action.COPY) == PlacementResult(Action.COPY)
    assert target.read_bytes() == source.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "x.dcm"]


@pytest.mark.parametrize("action", PLACING)
def test_verified_files_have_their_checksum(source: Path, tmp_path: Path, action: Action) -> None:
    placed = place(
        str(source), str(tmp_path / "x"), PlacementSettings(action, verify=True), stamp_of(str(source))
    )
    assert placed.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()


def test_a_copy_that_differs_is_not_placed(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rotten(_: str, target: str) -> None:
        Path(target).write_bytes(bytes(10000))

    monkeypatch.setattr("dicomsort.sorting.place.copy_file", rotten)
    target = tmp_path / "out" / "x"
    placed = place(str(source), str(target), PlacementSettings(verify=True), stamp_of(str(source)))
    assert placed == PlacementResult(None, Reason.DIFFERENT)
    assert list(target.parent.iterdir()) == []


def test_relative_links_lead_to_the_source_wherever_the_tree_goes(source: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere" / "deep")
    target = tmp_path / "out" / "spine" / "x.dcm"
    placing_ = PlacementSettings(Action.SYMLINK, relative=True)
    assert place(str(source), str(target), placing_, None).action is Action.SYMLINK
    assert not os.path.isabs(os.readlink(target))
    assert target.read_bytes() == source.read_bytes()
    assert place(str(source), str(target), placing_, None).action is Action.SYMLINK
    moved = tmp_path.with_name(f"{tmp_path.name}-moved")
    tmp_path.rename(moved)
    assert (moved / "elsewhere" / "deep" / "spine" / "x.dcm").read_bytes()


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_what_a_share_refuses_for_a_moment_is_tried_again(
    number: int, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copyfile, refusals = shutil.copyfile, [number] * 2

    def moody(origin: str, target: str) -> None:
        if refusals:
            raise OSError(refusals.pop(), "refused")
        copyfile(origin, target)

    monkeypatch.setattr("dicomsort.sorting.place.copy_file", moody)
    monkeypatch.setattr("time.sleep", lambda _: None)
    assert put(source, tmp_path / "x", Action.COPY) == PlacementResult(Action.COPY)
    refusals.extend([number] * 9)
    assert put(source, tmp_path / "y", Action.COPY) == PlacementResult(None, Reason.UNREADABLE)
    assert not (tmp_path / "y").exists()


@pytest.mark.parametrize("action", [Action.COPY, Action.REFLINK])
def test_a_kill_between_link_and_unlink_costs_nothing(source: Path, tmp_path: Path, action: Action) -> None:
    target = tmp_path / "x.dcm"
    put(source, target, Action.COPY)
    os.link(target, atomic.temporary_for(str(target)))
    assert put(source, target, action).action is not None
    assert target.read_bytes() == source.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "x.dcm"]


def test_every_action_can_be_done() -> None:
    assert set(placing._PLACERS) == set(Action) - {Action.NONE} == set(PLACING)


@pytest.mark.parametrize("answer", [errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, 0])
def test_a_file_is_copied_whole_where_the_system_cannot_do_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int
) -> None:
    source, target = tmp_path / "source", tmp_path / "out" / "target"
    source.write_bytes(os.urandom(100_000))

    def refuse(*_: int) -> int:
        if answer:
            raise OSError(answer, os.strerror(answer))
        return 0

    monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    assert place(str(source), str(target), PlacementSettings(), None).action is Action.COPY
    assert target.read_bytes() == source.read_bytes()


def test_a_disk_that_fills_up_while_the_system_copies_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "source", tmp_path / "out" / "target"
    source.write_bytes(bytes(100))

    def full(*_: int) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "copy_file_range", full, raising=False)
    with pytest.raises(TargetError, match="no space left"):
        place(str(source), str(target), PlacementSettings(), None)
    assert list((tmp_path / "out").iterdir()) == []
