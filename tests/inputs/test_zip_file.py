"""Zip files: what Info-ZIP reads is read, and what is in them cannot do harm."""

import io
import random
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from packs import listed, ours, some_files, zipped

from dicomsort.inputs.archive_file import list_members, unpacked
from dicomsort.outcome import Reason, Status

FILES = some_files(random.Random(1))


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    return path


def reasons(path: Path) -> dict[str, Reason | None]:
    """Return why each member cannot be read; None if it can."""
    return {
        member.name: member.failure.reason if member.failure else None
        for listing in listed(path, "zip")
        for member in listing.members
    }


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_members_come_in_the_order_of_the_directory_with_their_bytes(tmp_path: Path, method: int) -> None:
    found, damage = ours(written(tmp_path, zipped(FILES, method)))
    assert [(member.name, data) for member, data in found] == list(FILES.items())
    assert not damage


@pytest.mark.parametrize(
    "around",
    [
        lambda data: b"#!/bin/sh\nexec unzip $0\n" + data,
        lambda data: data + b"\nbytes behind the end",
        lambda data: data[:-2] + struct.pack("<H", 11) + b"PK\5\6 inside",
    ],
    ids=["in front", "behind", "a comment that looks like an end"],
)
def test_bytes_around_a_zip_do_not_hide_it(tmp_path: Path, around: Callable[[bytes], bytes]) -> None:
    found, damage = ours(written(tmp_path, around(zipped(FILES))), "zip")
    assert {member.name: data for member, data in found} == FILES
    assert not damage


def test_a_zip_behind_a_program_is_known_by_its_end(tmp_path: Path) -> None:
    found, _ = ours(written(tmp_path, b"MZ" + bytes(5000) + zipped(FILES)))
    assert len(found) == len(FILES)


@pytest.mark.parametrize("streamed", [False, True])
def test_without_a_directory_members_are_found_by_their_own_headers(tmp_path: Path, streamed: bool) -> None:
    data = zipped(FILES, streamed=streamed)
    found, damage = ours(written(tmp_path, data[: data.index(b"PK\1\2")]))
    assert {member.name: data for member, data in found} == FILES
    assert damage


def test_a_zip_that_is_cut_off_in_a_member_gives_those_before(tmp_path: Path) -> None:
    data = zipped(FILES, zipfile.ZIP_STORED)
    names = list(FILES)
    found, damage = ours(written(tmp_path, data[: data.index(FILES[names[3]]) + 1]))
    assert [data for _, data in found[:3]] == [FILES[name] for name in names[:3]]
    assert found[3][1] is None
    assert found[3][0].failure is not None
    assert found[3][0].failure.reason is Reason.MEMBER_DAMAGED
    assert damage


def test_an_entry_that_is_damaged_costs_itself_alone(tmp_path: Path) -> None:
    data = bytearray(zipped(FILES))
    second = data.index(b"PK\1\2", data.index(b"PK\1\2") + 4)
    data[second : second + 4] = b"XXXX"
    found, damage = ours(written(tmp_path, bytes(data)))
    assert [data for _, data in found] == [data for at, data in enumerate(FILES.values()) if at != 1]
    assert damage


def test_a_flipped_bit_in_a_deflated_member_is_told_of_that_member_alone(tmp_path: Path) -> None:
    files = {name: random.Random(name).randbytes(5000) for name in "abc"}
    data = bytearray(zipped(files))
    data[data.index(files["b"][1000:1100])] ^= 1  # noise is stored in its deflated stream
    found, damage = ours(written(tmp_path, bytes(data)))
    assert [data == files[member.name] for member, data in found] == [True, False, True]
    assert found[1][1] is None
    assert not damage


def test_sizes_that_lie_are_no_damage_if_the_checksum_is_right_as_unzip_has_it(tmp_path: Path) -> None:
    data = bytearray(zipped({"a": FILES["study/0.dcm"] * 100}, streamed=True))
    entry = data.index(b"PK\1\2")
    for lie in (1, 1 << 31):
        struct.pack_into("<L", data, entry + 24, lie)
        path = written(tmp_path, bytes(data))
        theirs = subprocess.run(["unzip", "-p", path], capture_output=True, check=False).stdout
        assert ours(path)[0][0][1] == theirs == FILES["study/0.dcm"] * 100


def test_what_cannot_be_read_is_told_by_its_reason(tmp_path: Path) -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, mode in {"link": 0o120777, "pipe": 0o010644, "file": 0o100644}.items():
            info = zipfile.ZipInfo(name)
            info.external_attr, info.create_system = mode << 16, 3
            archive.writestr(info, b"/etc/passwd" if name != "pipe" else b"")
        archive.writestr("folder/", b"")
        archive.writestr("locked", b"x")
        archive.writestr("odd", b"y")
    data = bytearray(sink.getvalue())
    for raw, at, value in ((b"locked", 8, 1), (b"odd", 10, 98)):
        struct.pack_into("<H", data, data.rindex(raw) - 46 + at, value)
        struct.pack_into("<H", data, data.index(raw) - 30 + at - 2, value)
    assert reasons(written(tmp_path, bytes(data))) == {
        "link": Reason.LINK_IN_ARCHIVE,
        "pipe": Reason.SPECIAL_FILE,
        "file": None,
        "locked": Reason.ENCRYPTED,
        "odd": Reason.PACKING,
    }


def test_what_info_zip_encrypts_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"secret")
    subprocess.run(["zip", "-qj", "-P", "x", tmp_path / "a.zip", tmp_path / "a.dcm"], check=True)
    assert reasons(tmp_path / "a.zip") == {"a.dcm": Reason.ENCRYPTED}


def test_names_never_lead_out_of_the_archive(tmp_path: Path) -> None:
    names = ["/etc/passwd", "../../up", "C:\\scans\\1.dcm", "a/./b//c", "..", "n\0ul"]
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name in names:
            archive.writestr(name.replace("\0", "0"), name.encode())
    data = sink.getvalue().replace(b"n0ul", b"n\0ul")
    got = list(reasons(written(tmp_path, data)))
    assert got == ["etc/passwd", "__/__/up", "C:/scans/1.dcm", "a/b/c", "__", "n_ul"]


def test_names_are_utf_8_or_of_the_code_page_of_ms_dos_and_two_may_be_the_same(tmp_path: Path) -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("Müller", b"1")  # zipfile sets the flag for UTF-8
        archive.writestr("MXller", b"2")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("Müller", b"3")
    data = sink.getvalue().replace(b"MXller", "Mü".encode("cp437") + b"ller")
    found, _ = ours(written(tmp_path, data))
    assert [(member.name, data) for member, data in found] == [
        ("Müller", b"1"), ("Müller", b"2"), ("Müller", b"3"),
    ]  # fmt: skip


def test_a_name_without_end_is_cut_and_still_of_its_own(tmp_path: Path) -> None:
    found = reasons(written(tmp_path, zipped({"a" * 60000 + end: b"x" for end in "12"})))
    assert len(found) == 2
    assert all(len(name) < 1100 for name in found)


def zip64(files: dict[str, bytes]) -> bytes:
    """Write a zip by hand that has all numbers in ZIP64 fields (APPNOTE 4.3.14, 4.3.15, 4.5.3)."""
    body, directory = bytearray(b"front"), bytearray()
    base = len(body)
    for name, data in files.items():
        numbers = struct.pack("<HHQQ", 1, 16, len(data), len(data))
        place = len(body) - base
        facts = zlib.crc32(data), 0xFFFFFFFF, 0xFFFFFFFF, len(name)
        body += struct.pack("<4s5H3L2H", b"PK\3\4", 45, 0, 0, 0, 0, *facts, len(numbers))
        body += name.encode() + numbers + data
        more = struct.pack("<HHQQQ", 1, 24, len(data), len(data), place)
        directory += struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", 45, 45, 0, 0, 0, 0, *facts, len(more), 0, 0, 0, 0, 0xFFFFFFFF
        )
        directory += name.encode() + more
    at = len(body) - base
    ends = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, len(files), len(files), len(directory), at)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, at + len(directory), 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return bytes(body + directory + ends + locator + end)


def test_a_zip64_with_bytes_in_front_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, zip64(FILES))
    found, damage = ours(path, "zip")
    assert {member.name: data for member, data in found} == FILES
    assert not damage


def test_a_bomb_of_members_that_lie_over_one_another_is_refused_but_for_the_first(tmp_path: Path) -> None:
    """As in https://www.bamsoftware.com/hacks/zipbomb: one stretch of deflated bytes, named many times."""
    data = zipped({"kernel": bytes(1 << 20)})
    start, end = data.index(b"PK\1\2"), data.rindex(b"PK\5\6")
    entries = data[start:end] * 100
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 100, 100, len(entries), start, 0)
    found, _ = ours(written(tmp_path, data[:start] + entries + tail), most=5000)
    good = [data for _, data in found if data is not None]
    assert len(found) == 100
    assert len(good) == 3
    failures = {member.failure for member, _ in found if member.failure}
    assert [(failure.status, failure.reason) for failure in failures] == [
        (Status.UNSUPPORTED, Reason.INFLATES)
    ]


def test_a_large_directory_is_listed_in_pieces_that_join(tmp_path: Path) -> None:
    path = written(tmp_path, zipped({f"{number}.dcm": b"%d" % number for number in range(1000)}))
    listings = list(listed(path, "zip", most=64))
    members = [member for listing in listings for member in listing.members]
    assert [len(listing.members) for listing in listings[:-1]] == [64] * 15
    assert [member.name for member in members] == [f"{number}.dcm" for number in range(1000)]


def test_a_zip_within_a_file_is_read_at_its_place(tmp_path: Path) -> None:
    data = zipped(FILES)
    path = written(tmp_path, b"junk" + data + zipped({"other": b"not of it"}))
    listing = list_members(str(path), "zip", 0, 4, len(data))
    assert [member.name for member in listing.members] == list(FILES)
    for member in listing.members:
        assert member.part is not None
        with unpacked(member.part) as file:
            assert file.read() == FILES[member.name]


def test_an_empty_zip_has_no_members_and_no_damage(tmp_path: Path) -> None:
    assert ours(written(tmp_path, zipped({}))) == ([], False)
