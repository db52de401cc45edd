"""Tar files: what GNU tar reads is read, and damage costs what it hits."""

import io
import random
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from packs import by_tar, kind_in, listed, ours, some_files, tarred

from dicomsort.inputs.archive_file import list_members, unpacked
from dicomsort.outcome import Reason

FILES = some_files(random.Random(2))
LAYOUTS = {"gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "a.tar"
    path.write_bytes(data)
    return path


def reasons(path: Path) -> dict[str, Reason | None]:
    """Return why each member cannot be read; None if it can."""
    return {member.name: member.failure.reason if member.failure else None for member, _ in ours(path)[0]}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_members_come_with_their_bytes_and_long_names(tmp_path: Path, layout: str) -> None:
    found, damage = ours(written(tmp_path, tarred(FILES, LAYOUTS[layout])))
    assert [(member.name, data) for member, data in found] == list(FILES.items())
    assert not damage


@pytest.mark.parametrize("form", ["v7", "oldgnu", "gnu", "ustar", "posix"])
def test_every_form_that_gnu_tar_writes_is_read(tmp_path: Path, form: str) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    for name in ("a/1", "a/2", "3"):
        (tmp_path / "in" / name).write_bytes(name.encode() * 400)
    subprocess.run(
        ["tar", f"--format={form}", "-cf", tmp_path / "a.tar", "-C", tmp_path / "in", "."], check=True
    )
    found, damage = ours(tmp_path / "a.tar")
    assert {member.name: data for member, data in found} == {n: n.encode() * 400 for n in ("a/1", "a/2", "3")}
    assert not damage


def test_links_and_devices_are_told_by_their_reason_and_folders_not_at_all(tmp_path: Path) -> None:
    sink = io.BytesIO()
    kinds = {
        "hard": tarfile.LNKTYPE, "soft": tarfile.SYMTYPE, "pipe": tarfile.FIFOTYPE, "disk": tarfile.BLKTYPE,
        "folder": tarfile.DIRTYPE,
    }  # fmt: skip
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, kind in kinds.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    assert reasons(written(tmp_path, sink.getvalue())) == {
        "hard": Reason.LINK_IN_ARCHIVE,
        "soft": Reason.LINK_IN_ARCHIVE,
        "pipe": Reason.SPECIAL_FILE,
        "disk": Reason.SPECIAL_FILE,
    }


@pytest.mark.parametrize("form", ["gnu", "posix"])
def test_a_file_with_holes_is_told_and_what_follows_is_read(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with (folder / "a").open("wb") as file:
        for place in range(0, 64 << 20, 4 << 20):  # more pieces than the first header has room for
            file.seek(place)
            file.write(b"x" * 5000)
    (folder / "b").write_bytes(b"after")
    words: list[str | Path] = [
        "tar",
        f"--format={form}",
        "--sparse",
        "-cf",
        tmp_path / "a.tar",
        "-C",
        folder,
        "a",
        "b",
    ]
    subprocess.run(words, check=True)
    assert (tmp_path / "a.tar").stat().st_size < 1 << 20
    assert reasons(tmp_path / "a.tar") == {"a": Reason.PACKING, "b": None}


def test_a_size_beyond_eight_gigabytes_is_read_as_gnu_writes_it(tmp_path: Path) -> None:
    info = tarfile.TarInfo("large")
    info.size = 9 << 30
    with written(tmp_path, info.tobuf(tarfile.GNU_FORMAT)).open("ab") as file:
        file.truncate(512 + (9 << 30))
        file.seek(0, io.SEEK_END)
        file.write(tarred({"b": b"after"}))
    members = [member for listing in listed(tmp_path / "a.tar", "tar") for member in listing.members]
    assert [(member.name, member.size) for member in members] == [("large", 9 << 30), ("b", 5)]


@pytest.mark.parametrize("number", [0, 1, -1])
def test_a_damaged_header_costs_its_member_and_is_noticed(tmp_path: Path, number: int) -> None:
    files = {f"{name}.dcm": name.encode() * 3000 for name in "abcd"}
    data = bytearray(tarred(files))
    lost = list(files)[number]
    data[data.index(lost.encode()) + 1] ^= 1
    path = written(tmp_path, bytes(data))
    found, damage = ours(path)
    assert {member.name for member, _ in found} == set(files) - {lost}
    assert by_tar(path, tmp_path / "out") == {data for _, data in found}
    assert damage


def test_a_tar_that_is_cut_off_gives_what_is_whole_and_tells_what_is_not(tmp_path: Path) -> None:
    files = {name: name.encode() * 3000 for name in "abc"}
    found, damage = ours(written(tmp_path, tarred(files)[: 3 * 512 + 2 * 3072 + 100]))
    assert [data for _, data in found] == [files["a"], files["b"], None]
    assert found[2][0].failure is not None
    assert found[2][0].failure.reason is Reason.MEMBER_DAMAGED
    assert damage


def test_a_tar_that_is_cut_off_between_members_is_noticed(tmp_path: Path) -> None:
    found, damage = ours(written(tmp_path, tarred({"a": b"1", "b": b"2"})[: 4 * 512]))
    assert len(found) == 2
    assert damage


@pytest.mark.parametrize(
    ("more", "members"),
    [
        (lambda data: data + data, 2),
        (lambda data: data + bytes(10 << 10), 1),
        (lambda data: data + b"a label of a tape" * 99, 1),
    ],
    ids=["another tar", "zeros", "what is none"],
)
def test_what_stands_behind_the_end_is_read_if_it_is_a_tar(
    tmp_path: Path, more: Callable[[bytes], bytes], members: int
) -> None:
    found, damage = ours(written(tmp_path, more(tarred({"a": b"1"}))))
    assert [data for _, data in found] == [b"1"] * members
    assert not damage


def test_names_never_lead_out_of_the_archive_and_two_may_be_the_same(tmp_path: Path) -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name in ("/etc/passwd", "../../up", "same", "./same"):
            archive.addfile(tarfile.TarInfo(name))
    names = [member.name for member, _ in ours(written(tmp_path, sink.getvalue()))[0]]
    assert names == ["etc/passwd", "__/__/up", "same", "same"]


def test_an_extension_that_says_it_is_huge_is_passed_over_without_reading_it(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 40 << 30
    path = written(tmp_path, info.tobuf(tarfile.GNU_FORMAT) + tarred({"a": b"1"}))
    assert ours(path) == ([], True)


def test_a_negative_size_is_damage_and_not_a_way_back(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.size = -512
    path = written(tmp_path, info.tobuf(tarfile.GNU_FORMAT) + tarred({"a": b"1"}))
    found, damage = ours(path, "tar")
    assert [(member.name, data) for member, data in found] == [("a", b"1")]
    assert damage


def test_a_tar_within_a_file_is_read_at_its_place(tmp_path: Path) -> None:
    data = tarred(FILES)
    path = written(tmp_path, b"junk" + data + tarred({"other": b"not of it"}))
    listing = list_members(str(path), "tar", 0, 4, len(data))
    assert [member.name for member in listing.members] == list(FILES)
    for member in listing.members:
        assert member.part is not None
        with unpacked(member.part) as file:
            assert file.read() == FILES[member.name]


def test_a_tar_whose_first_header_is_damaged_is_still_known(tmp_path: Path) -> None:
    data = bytearray(tarred(FILES))
    data[30] ^= 1
    assert kind_in(written(tmp_path, bytes(data))) == "tar"
    assert len(ours(tmp_path / "a.tar")[0]) == len(FILES) - 1
