"""What is new and quiet: nothing is taken while it is written, nothing twice, and nothing is missed."""

import os
from pathlib import Path

import pytest

from dicomsort.inputs import walk
from dicomsort.inputs.quiet import QuietFiles
from dicomsort.outcome import FileStamp, SourceFile


class Inbox:
    """A folder that is looked at by a clock of its own."""

    def __init__(self, folder: Path, quiet_for: float = 10) -> None:
        self.folder, self.now = folder, 0.0
        folder.mkdir()
        self.quiet = QuietFiles(quiet_for, lambda: self.now)

    def look(self, seconds: float, confirm: bool = True) -> set[str]:
        self.now += seconds
        found = walk.find(walk.roots_of([str(self.folder)]), avoid="")
        new = {file.relpath for file in self.quiet.look(found)}
        if confirm:
            self.quiet.confirm()
        return new

    def put(self, name: str, content: str = "x") -> None:
        (self.folder / name).write_text(content)


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox(tmp_path / "in")


def test_a_file_is_taken_once_it_has_been_the_same_for_a_while_and_never_again(inbox: Inbox) -> None:
    inbox.put("a")
    assert (inbox.look(0), inbox.quiet.waiting) == (set(), 1)
    assert inbox.look(9) == set()
    assert (inbox.look(1), inbox.quiet.waiting) == ({"a"}, 0)
    assert inbox.look(100) == set()


def test_one_that_grows_or_is_written_again_waits_anew(inbox: Inbox) -> None:
    inbox.put("a")
    inbox.look(0)
    inbox.put("a", "longer")
    assert inbox.look(10) == set()
    assert inbox.look(10) == {"a"}
    os.utime(inbox.folder / "a", ns=(1, 1))
    assert inbox.look(10) == set()
    assert inbox.look(10) == {"a"}


def test_what_was_taken_and_not_dealt_with_comes_again_at_once(inbox: Inbox) -> None:
    inbox.put("a")
    inbox.look(0)
    assert inbox.look(10, confirm=False) == {"a"}
    assert inbox.look(1, confirm=False) == {"a"}
    assert inbox.look(1) == {"a"}
    assert inbox.look(1) == set()


def test_what_is_moved_away_is_no_trouble_and_what_comes_back_is_new(inbox: Inbox) -> None:
    inbox.put("a")
    inbox.put("b")
    inbox.look(0)
    (inbox.folder / "b").unlink()
    assert inbox.look(10) == {"a"}
    (inbox.folder / "a").unlink()
    found = list(walk.find(walk.roots_of([str(inbox.folder)]), avoid=""))
    inbox.put("c")
    gone = SourceFile(str(inbox.folder / "gone"), "gone")
    assert list(inbox.quiet.look([*found, gone])) == []
    assert inbox.quiet.waiting == 0


def test_a_look_that_breaks_off_forgets_nothing(inbox: Inbox) -> None:
    for name in "abcdef":
        inbox.put(name)
    inbox.look(0)
    assert inbox.look(10) == set("abcdef")
    inbox.put("new")
    inbox.look(0)
    inbox.now += 10
    broken = inbox.quiet.look(walk.find(walk.roots_of([str(inbox.folder)]), avoid=""))
    assert next(broken).relpath == "new"
    broken.close()  # type: ignore[attr-defined]
    assert inbox.look(0) == {"new"}, "and none of those that were dealt with"


def test_the_memory_of_what_is_gone_is_let_go(inbox: Inbox) -> None:
    for name in range(100):
        inbox.put(str(name))
    inbox.look(0)
    assert len(inbox.look(10)) == 100
    assert len(inbox.quiet._done) == 100
    for name in range(90):
        (inbox.folder / str(name)).unlink()
    inbox.look(1)
    assert len(inbox.quiet._done) == 10
    assert inbox.look(1) == set()


def test_with_no_time_to_be_quiet_all_is_taken_at_once(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "in", quiet_for=0)
    inbox.put("a")
    assert inbox.look(0) == {"a"}


def test_what_can_never_be_read_is_handed_out_once_and_an_object_goes_by_its_stamp(inbox: Inbox) -> None:
    (inbox.folder / "dangling").symlink_to("nowhere")
    inbox.look(0)
    assert inbox.look(10) == {"dangling"}
    assert inbox.look(10) == set()
    quiet = QuietFiles(0)
    one = SourceFile("s3://bucket/a", "a", stamp=FileStamp(1, 2, "x"))
    other = SourceFile("s3://bucket/a", "a", stamp=FileStamp(1, 2, "y"))
    for object_, new in ((one, [one]), (one, []), (other, [other])):
        assert list(quiet.look([object_])) == new
        quiet.confirm()
