"""Archives of every kind: streams, limits, and what the usual programs make of damaged ones."""

import gzip
import io
import random
from pathlib import Path

import pytest
from dicom_tools import tool
from packs import MAKERS, PACKERS, damaged, judged, kind_in, ours, some_files, tarred, zipped

from dicomsort.inputs import held, members, packed
from dicomsort.inputs.archive_file import (
    Ended,
    MemberDamagedError,
    Streamed,
    Tick,
    kind_of,
    list_members,
    stream_members,
    unpacked,
)
from dicomsort.inputs.opened import opened
from dicomsort.outcome import Part, Reason

FILES = some_files(random.Random(3))
KINDS = {"gz": "gzip", "bz2": "bzip2", "xz": "xz", "zst": "zstd"}


def written(tmp_path: Path, name: str, data: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("ending", MAKERS)
def test_an_archive_is_known_by_its_bytes_and_read_as_it_was_made(tmp_path: Path, ending: str) -> None:
    found, damage = ours(written(tmp_path, "no-ending", MAKERS[ending](FILES)))
    assert [(member.name, data) for member, data in found] == list(FILES.items())
    assert not damage


@pytest.mark.parametrize("ending", PACKERS)
def test_streams_in_a_row_are_read_to_their_end(tmp_path: Path, ending: str) -> None:
    """As pigz, bgzip, pbzip2 and pzstd write them, and as `cat` joins them."""
    data = tarred(FILES)
    parts = [data[at : at + 7000] for at in range(0, len(data), 7000)]
    path = written(tmp_path, f"a.tar.{ending}", b"".join(map(PACKERS[ending], parts)))
    assert {member.name: data for member, data in ours(path)[0]} == FILES


@pytest.mark.parametrize("ending", PACKERS)
def test_one_packed_file_is_one_member_by_the_name_of_the_archive(tmp_path: Path, ending: str) -> None:
    data = FILES["study/0.dcm"] * 5
    path = written(tmp_path, f"scan.dcm.{ending}", PACKERS[ending](data))
    assert kind_in(path) == KINDS[ending]
    found, damage = ours(path)
    assert [(member.name, data) for member, data in found] == [("scan.dcm", data)]
    assert not damage


@pytest.mark.parametrize("ending", PACKERS)
def test_a_step_that_gives_exactly_what_was_asked_for_is_no_end(tmp_path: Path, ending: str) -> None:
    """Unpackers tell only a step later, with no bytes, that they need more input."""
    data = random.Random(5).randbytes(1 << 19).translate(bytes(range(32)) * 8)
    path = written(tmp_path, f"scan.dcm.{ending}", PACKERS[ending](data))
    found, damage = ours(path)
    assert [(member.name, given) for member, given in found] == [("scan.dcm", data)]
    assert not damage


def test_a_frame_to_skip_in_front_of_zstd_is_skipped(tmp_path: Path) -> None:
    skipped = b"\x50\x2a\x4d\x18\x04\0\0\0pzst"
    path = written(tmp_path, "a.zst", skipped + PACKERS["zst"](tarred(FILES)))
    assert {member.name: data for member, data in ours(path)[0]} == FILES


@pytest.mark.parametrize("ending", PACKERS)
def test_a_stream_that_is_cut_off_gives_every_member_before_and_tells_of_it(
    tmp_path: Path, ending: str
) -> None:
    """Also if all of it comes in one piece: what the failing call has swallowed is given."""
    files = {name: random.Random(name).randbytes(60000) for name in "abcdefgh"}
    data = PACKERS[ending](tarred(files))
    path = written(tmp_path, f"a.tar.{ending}", data[: int(len(data) * 0.9)])
    found, damage = ours(path)
    whole = [data for _, data in found if data is not None]
    assert whole == list(files.values())[: len(whole)]
    assert len(whole) == len(judged(path, tmp_path / "out") & set(files.values()))
    assert len(whole) > 3 or ending == "bz2"
    assert found[-1][0].failure is not None or ending == "bz2"
    assert damage


def test_a_wrong_checksum_at_the_end_is_told_and_the_members_are_given(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(tarred(FILES)))
    data[-8] ^= 1
    found, damage = ours(written(tmp_path, "a.tar.gz", bytes(data)))
    assert {member.name: data for member, data in found} == FILES
    assert damage


def test_bytes_behind_a_stream_that_are_none_are_no_damage(tmp_path: Path) -> None:
    path = written(tmp_path, "a.tar.gz", gzip.compress(tarred(FILES)) + bytes(512) + b"label")
    assert ours(path)[1] is False


def test_data_can_be_read_at_any_place_and_what_is_not_read_is_passed_over(tmp_path: Path) -> None:
    files = {"a": FILES["study/0.dcm"], "large": random.Random(1).randbytes(20 << 20), "z": b"last"}
    seen = []
    for item in stream_members(str(written(tmp_path, "a.tar.zst", PACKERS["zst"](tarred(files)))), "zstd"):
        if isinstance(item, Streamed):
            data, name = item.data, item.member.name
            assert data.read(2) == files[name][:2]
            assert data.seek(0, io.SEEK_END) == len(files[name])
            assert data.seek(1) == 1
            assert data.read(1) == files[name][1:2]
            seen.append(name)
    assert seen == ["a", "large", "z"]


def test_a_stream_gives_a_sign_of_life_every_32_mib(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "a.tar.zst",
        PACKERS["zst"](tarred({"big": random.Random(1).randbytes(1 << 20) * 100, "z": b"last"})),
    )
    kinds = [type(item) for item in stream_members(str(path), "zstd")]
    second = kinds.index(Streamed, 1)
    assert kinds[0] is Streamed
    assert kinds[1:second].count(Tick) >= 100 // 32
    assert kinds[-1] is Ended


@pytest.mark.parametrize("ending", ["bz2", "xz", "zst"])
def test_a_bomb_ends_at_the_limit(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "IN_MEMORY", 1 << 20)
    path = written(tmp_path, f"a.dcm.{ending}", PACKERS[ending](bytes(24 << 20)))
    *_, ended = stream_members(str(path), KINDS[ending])
    assert isinstance(ended, Ended)
    assert ended.damage is Reason.INFLATES
    stream = stream_members(str(path), KINDS[ending])
    first = next(stream)
    assert isinstance(first, Streamed)
    with pytest.raises(MemberDamagedError) as told:
        first.data.read()
    assert told.value.reason is Reason.INFLATES


def test_a_deflated_member_is_inflated_no_further_than_a_member_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the archive says it is small."""
    monkeypatch.setattr(held, "MOST_OF_A_MEMBER", 4 << 20)
    data = zipped({"a": bytes(16 << 20)})
    path = written(
        tmp_path, "a.zip", data.replace((16 << 20).to_bytes(4, "little"), (9).to_bytes(4, "little"))
    )
    (member,) = list_members(str(path), "zip").members
    assert (member.size, member.part and member.part.size) == (9, 9)
    assert member.part is not None
    with unpacked(member.part) as file, pytest.raises(MemberDamagedError) as told:
        file.read()
    assert told.value.reason is Reason.INFLATES


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 5 << 20])
def test_a_deflated_member_is_a_file_in_which_one_can_go_to_any_place(tmp_path: Path, size: int) -> None:
    data = (random.Random(size).randbytes(1000) * (size // 1000 + 1))[:size]
    path = written(tmp_path, "a.zip", zipped({"a": data}))
    (member,) = list_members(str(path), "zip").members
    assert member.part is not None
    with unpacked(member.part) as file:
        assert file.read(100) == data[:100]
        assert file.tell() == min(100, size)
        for place in (size // 2, 0, size - 1, size, size + 5):
            file.seek(max(0, place))
            assert file.read(7) == data[max(0, place) :][:7]
        assert file.seek(0, io.SEEK_END) == size
        file.seek(0)
        assert file.read() == data


def test_a_large_member_lies_in_a_file_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "IN_MEMORY", 1 << 20)
    monkeypatch.setattr(held, "IN_MEMORY", 1 << 20)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    data = random.Random(1).randbytes(1000) * 5000
    path = written(tmp_path, "a.zip", zipped({"a": data}))
    (member,) = list_members(str(path), "zip").members
    assert member.part is not None
    with unpacked(member.part) as file:
        assert file.read() == data
        assert list((tmp_path / "tmp").iterdir()) == []


def test_a_part_that_is_not_packed_is_a_window(tmp_path: Path) -> None:
    path = written(tmp_path, "a", b"0123456789")
    with unpacked(Part(str(path), 2, 5)) as file:
        assert file.read() == b"23456"
        assert file.seek(-2, io.SEEK_END) == 3
        assert file.read() == b"56"


def test_a_file_that_is_shorter_than_it_was_when_listed_is_damage(tmp_path: Path) -> None:
    path = written(tmp_path, "a.zip", zipped({"a": random.Random(1).randbytes(9000)}))
    (member,) = list_members(str(path), "zip").members
    path.write_bytes(path.read_bytes()[:5000])
    assert member.part is not None
    with unpacked(member.part) as file, pytest.raises(MemberDamagedError):
        file.read()


def test_the_end_of_a_file_that_was_fetched_in_part_is_not_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, "a", b"no DICOM" + bytes(9000) + zipped(FILES))
    with opened("", Part(str(path), held=((0, 4096),))) as file:
        assert kind_of(file.read(512), file) == ""
    with opened("", Part(str(path))) as file:
        assert kind_of(file.read(512), file) == "zip"


def test_the_limits_are_those_of_the_docs() -> None:
    assert (members.MOST_OF_A_MEMBER, members.MOST_OF_AN_ARCHIVE) == (16 << 30, 1 << 40)
    assert (members.MOST_FOR_ITS_SIZE, members.IN_MEMORY) == (1100, 64 << 20)


@pytest.mark.parametrize("number", range(10))
def test_no_member_is_lost_that_unzip_or_tar_reads_from_a_damaged_archive(
    tmp_path: Path, number: int
) -> None:
    """Ninety mutants; `benchmarks/fuzz_archives.py` makes thousands."""
    tool("unzip")
    for ending in MAKERS:
        rng = random.Random(f"{number} {ending}")
        files = some_files(rng)
        path = written(tmp_path, ending, damaged(MAKERS[ending](files), rng))
        whole = set(files.values())
        mine = {content for _, content in ours(path)[0]} & whole
        theirs = judged(path, tmp_path / f"out-{ending}") & whole
        assert mine >= theirs or not kind_in(path)
