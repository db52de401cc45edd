"""The list of all files: what goes in comes out, for each shard its own, and only its bytes are read."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomsort.errors import TargetError
from dicomsort.inputs.file_list import DamagedListError, FileList, Listed, write
from dicomsort.inputs.named import Archive, Shard
from dicomsort.inputs.walk import Root, roots_of
from dicomsort.outcome import Failure, FileStamp, Reason, SourceFile, Status

STAMPED = FileStamp(7, 1_700_000_000_000_000_000, '"e-tag"')
FILES = [
    SourceFile("/in/a/1.dcm", "a/1.dcm"),
    SourceFile("/in/a/two\nlines\\.dcm", "a/two\nlines\\.dcm"),
    SourceFile("/in/a/\udce4.dcm", "a/\udce4.dcm", Failure(Status.IO_ERROR, Reason.DANGLING_LINK)),
    SourceFile("/other/in/b.dcm", "in-2/b.dcm"),
    SourceFile("https://host/a%20b.dcm", "web/a b.dcm", stamp=STAMPED),
    SourceFile("s3://bucket/x", "x", Failure(Status.IO_ERROR, Reason.UNREADABLE), stamp=FileStamp(1, 2)),
    SourceFile("/in", "", Failure(Status.IO_ERROR, Reason.UNREADABLE_FOLDER)),
    SourceFile("/z", "z", Failure(Status.NOT_DICOM, Reason.SPECIAL_FILE)),
]


class Given(Archive):
    """An archive of these files, whatever there is on the disk."""

    def stated(self) -> Iterator[SourceFile]:
        return iter(FILES)


def listed(archive: Archive, path: Path, of: int, block: int = 1000) -> FileList:
    write(str(path), archive, of, lambda: None, block)
    return FileList(str(path))


@pytest.mark.parametrize("block", [1, 3, 1000])
@pytest.mark.parametrize("of", [1, 2, 5])
def test_each_shard_gets_back_its_files_in_their_order(of: int, block: int, tmp_path: Path) -> None:
    archive = Given([Root("/in", "")], str(tmp_path / "out"))
    files = listed(archive, tmp_path / "list", of, block)
    for number in range(1, of + 1):
        own = [file for file in FILES if Shard(number, of).holds(file.relpath)]
        assert list(files.of_shard(number)) == own
        assert Listed(archive, files, number).number == files.about.shards[number - 1] == len(own)
    assert (files.about.files, files.about.failed) == (len(FILES), 4)
    files.close()


def test_a_walk_is_listed_with_what_it_met(tmp_path: Path) -> None:
    for name in ("a/1.dcm", "a/2.dcm", "b/3.dcm"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"x")
    (tmp_path / "in" / "none").mkdir()
    (tmp_path / "in" / "lost").symlink_to("nowhere")
    archive = Archive(roots_of([str(tmp_path / "in")]), str(tmp_path / "out"))
    files = listed(archive, tmp_path / "list", 3)
    found = [file for number in (1, 2, 3) for file in files.of_shard(number)]
    assert sorted(found, key=lambda file: file.path) == sorted(archive.find(), key=lambda file: file.path)
    assert (files.about.files, files.about.failed, files.about.empty_folders) == (4, 1, 1)
    files.close()


def test_a_shard_reads_its_own_bytes_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [
        SourceFile(f"/in/{number % 977}/{number}.dcm", f"{number % 977}/{number}.dcm")
        for number in range(20_000)
    ]
    monkeypatch.setattr(Given, "stated", lambda _: iter(many))
    files = listed(Given([Root("/in", "")], str(tmp_path / "out")), tmp_path / "list", 20, 5000)
    read, pread = [0], os.pread

    def counted(descriptor: int, length: int, at: int) -> bytes:
        found = pread(descriptor, length, at)
        read[0] += len(found)
        return found

    monkeypatch.setattr(os, "pread", counted)
    own = list(files.of_shard(7))
    assert own == [file for file in many if Shard(7, 20).holds(file.relpath)]
    assert read[0] < (tmp_path / "list").stat().st_size / 15
    files.close()


def test_what_is_no_whole_list_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list"
    listed(Given([Root("/in", "")], str(tmp_path / "out")), path, 2).close()
    whole = path.read_bytes()
    for data in (b"", whole[:-1], whole[:40], b"x" * 200, whole[:-20] + b"\0" * 4 + whole[-16:]):
        path.write_bytes(data)
        with pytest.raises(DamagedListError):
            FileList(str(path))


def test_a_list_that_is_damaged_within_is_told(tmp_path: Path) -> None:
    path, archive = tmp_path / "list", Given([Root("/in", "")], str(tmp_path / "out"))
    listed(archive, path, 1).close()
    data = bytearray(path.read_bytes())
    data[30:60] = bytes(30)
    path.write_bytes(data)
    files = FileList(str(path))
    with pytest.raises(TargetError, match="is damaged or gone: remove it"):
        list(Listed(archive, files, 1).find())
    files.close()
