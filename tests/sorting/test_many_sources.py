"""Names, lists and later commands where archives are: each file has one row and one copy."""

import gzip
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from outputs import rows, settings, tree
from packs import tarred, zipped
from predictors import FixedPredictor
from written import picture, write_dicom

from dicomsort.inputs import sources
from dicomsort.inputs.archive_file import Ended, Streamed, Tick, stream_members
from dicomsort.manifest.names import MANIFEST
from dicomsort.outcome import Action, Part, Reason, SourceFile
from dicomsort.sorting import plan
from dicomsort.sorting.pipeline import sort
from dicomsort.sorting.place import PlacementSettings


@pytest.fixture
def radiographs(tmp_path: Path) -> dict[str, bytes]:
    return {
        f"{number}.dcm": write_dicom(
            tmp_path / "made" / f"{number}.dcm", picture(number), SOPInstanceUID=f"1.2.{number + 1}"
        ).read_bytes()
        for number in range(4)
    }


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


def files_in(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def test_a_plan_for_packed_files_tells_their_sizes_and_is_carried_out(
    radiographs: dict[str, bytes], source: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    files_in(source, {f"{name}.gz": gzip.compress(data) for name, data in radiographs.items()})
    out = tmp_path / "out"
    sort(settings(source, out, dry_run=True), predictor)
    sizes = {path: int(row["size"]) for path, row in rows(out).items() if row["label"]}
    assert sizes == {f"{source / name}.gz!/{name}": len(data) for name, data in radiographs.items()}
    done = plan.apply(str(out / MANIFEST))
    assert (done.done, dict(done.left)) == (4, {})


def test_a_torn_packed_file_is_damaged_whether_it_is_copied_or_not(
    radiographs: dict[str, bytes], source: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    whole = gzip.compress(radiographs["0.dcm"] + os.urandom(100_000))
    (source / "0.dcm.gz").write_bytes(whole[: len(whole) // 2])
    for action in (Action.COPY, Action.NONE):
        sort(settings(source, tmp_path / action, placing=PlacementSettings(action)), predictor)
        row = rows(tmp_path / action)[f"{source / '0.dcm.gz'}!/0.dcm"]
        assert row["reason"] == Reason.MEMBER_DAMAGED, action


@pytest.mark.parametrize("pack", [zipped, lambda files: gzip.compress(tarred(files))], ids=["zip", "tar.gz"])
def test_a_folder_may_have_the_name_that_stands_before_members(
    pack: Callable[[dict[str, bytes]], bytes],
    radiographs: dict[str, bytes],
    source: Path,
    tmp_path: Path,
    predictor: FixedPredictor,
) -> None:
    """Files and members of one name are two; those of the archive are the second."""
    (source / "x.zip").write_bytes(pack(radiographs))
    others = {"0.dcm": radiographs["1.dcm"], "other.dcm": radiographs["2.dcm"]}
    files_in(source / "x.zip!", {**others, "in.zip": zipped({"deep.zip": zipped(radiographs)})})
    run = settings(source, tmp_path / "out", keep_duplicates=True)
    summary = sort(run, predictor)
    found = {path.removeprefix(str(source / "x.zip")): row for path, row in rows(tmp_path / "out").items()}
    assert set(found) == {
        "", "!2/0.dcm", "!/1.dcm", "!/2.dcm", "!/3.dcm", "!/0.dcm", "!/other.dcm",
        "!/in.zip", "!/in.zip!/deep.zip", *(f"!/in.zip!/deep.zip!/{name}" for name in radiographs),
    }  # fmt: skip
    assert summary.found == len(found)
    assert (tmp_path / "out" / found["!2/0.dcm"]["destination"]).read_bytes() == radiographs["0.dcm"]
    with sources.bytes_of(f"{source / 'x.zip'}!2/0.dcm") as data:
        assert data.read() == radiographs["0.dcm"]
    again = sort(run, predictor)
    assert (again.found, again.already_done) == (len(found), len(found) - 1), "the archive is looked into"


@pytest.mark.parametrize("archives_first", [True, False])
def test_a_list_may_name_an_archive_and_what_is_in_it(
    archives_first: bool,
    radiographs: dict[str, bytes],
    source: Path,
    tmp_path: Path,
    predictor: FixedPredictor,
) -> None:
    archives = [source / "a.zip", source / "b.tar.gz"]
    archives[0].write_bytes(zipped(radiographs))
    archives[1].write_bytes(gzip.compress(tarred(radiographs)))
    members = [f"{archive}!/{name}" for archive in archives for name in radiographs]
    named = [*archives, *members] if archives_first else [*members, *archives]
    (tmp_path / "list").write_text("".join(f"{name}\n" for name in [*named, *named, f"{archives[0]}!/no"]))
    run = settings(source, tmp_path / "out", from_list=str(tmp_path / "list"), keep_duplicates=True)
    assert sort(run, predictor).found == len(rows(tmp_path / "out")) == 11
    again = sort(run, predictor)
    assert (again.found, again.already_done) == (11, 10)


def test_a_manifest_is_a_list_of_what_is_in_archives_too(
    radiographs: dict[str, bytes], source: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    (source / "a.tar.gz").write_bytes(gzip.compress(tarred(radiographs)))
    inner = {"i.tar.gz": gzip.compress(tarred(radiographs)), "i.zip": zipped(radiographs)}
    (source / "b.zip").write_bytes(zipped(inner))
    first, second = tmp_path / "first", tmp_path / "second"
    sort(settings(source, first, keep_duplicates=True), predictor)
    run = settings(source, second, keep_duplicates=True, from_list=str(first / MANIFEST))
    assert sort(run, predictor).found == len(rows(first)) == 16
    assert rows(second) == rows(first)
    assert tree(second).keys() == tree(first).keys()


def test_an_archive_in_an_archive_can_be_listed_alone(
    radiographs: dict[str, bytes], source: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    inner = {"i.tar.gz": gzip.compress(tarred(radiographs)), "i.zip": zipped(radiographs)}
    (source / "b.zip").write_bytes(zipped(inner))
    (tmp_path / "list").write_text(f"{source}/b.zip!/i.tar.gz\n{source}/b.zip!/i.zip\n")
    run = settings(source, tmp_path / "out", from_list=str(tmp_path / "list"), keep_duplicates=True)
    sort(run, predictor)
    found = rows(tmp_path / "out")
    assert len(found) == 10
    assert {found[f"{source}/b.zip!/{name}"]["reason"] for name in inner} == {Reason.ARCHIVE_READ}
    assert not (tmp_path / "out" / ".dicomsort").exists()


def test_what_was_in_an_archive_before_it_changed_is_not_counted(
    radiographs: dict[str, bytes], source: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    run = settings(source, tmp_path / "out")
    (source / "a.zip").write_bytes(zipped(radiographs))
    sort(run, predictor)
    (source / "a.zip").write_bytes(zipped({"new.dcm": radiographs["0.dcm"]}))
    assert sort(run, predictor).found == 2
    again = sort(run, predictor)
    assert (again.found, again.already_done) == (2, 2)


def test_members_that_are_asked_for_in_turn_cost_one_pass_through_each_stream(
    radiographs: dict[str, bytes], source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two archives by turns, and each of their members a little later once more."""
    begun: list[str] = []

    def noted(file: BinaryIO, kind: str, name: str) -> Iterator[Streamed | Tick | Ended]:
        begun.append(name)
        return stream_members(file, kind, name)

    monkeypatch.setattr(sources, "stream_members", noted)
    for archive in ("a.tar.gz", "b.tar.gz"):
        (source / archive).write_bytes(gzip.compress(tarred(radiographs)))
    names = list(radiographs)
    for ahead, behind in zip(names[1:], names, strict=False):
        for name in (ahead, behind):
            for archive in ("a.tar.gz", "b.tar.gz"):
                with sources.bytes_of(f"{source / archive}!/{name}") as data:
                    assert data.read() == radiographs[name]
    assert sorted(begun) == 2 * [str(source / "a.tar.gz")] + 2 * [str(source / "b.tar.gz")]


@pytest.mark.skipif(
    not os.path.isdir("/proc/self/fd"), reason="archives are kept only where Linux opens them again"
)
def test_an_archive_in_an_archive_is_unpacked_once_for_those_who_ask_for_what_is_in_it(
    radiographs: dict[str, bytes], source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = {"i.zip": zipped(radiographs), "i.tar.gz": gzip.compress(tarred(radiographs))}
    (source / "a.zip").write_bytes(zipped(inner))
    (source / "b.tar.gz").write_bytes(gzip.compress(tarred(inner)))
    kept: list[str] = []
    unpacked = sources._Search._unpacked

    def noted(search: sources._Search, archive: SourceFile, part: Part) -> sources._Kept:
        kept.append(archive.path)
        return unpacked(search, archive, part)

    monkeypatch.setattr(sources._Search, "_unpacked", noted)
    for name, expected in radiographs.items():
        for outer in ("a.zip", "b.tar.gz"):
            for archive in inner:
                with sources.bytes_of(f"{source / outer}!/{archive}!/{name}") as data:
                    assert data.read() == expected
    assert sorted(kept) == [
        f"{source / outer}!/{archive}" for outer in ("a.zip", "b.tar.gz") for archive in sorted(inner)
    ]


@pytest.mark.parametrize("pack", [zipped, lambda files: gzip.compress(tarred(files))], ids=["zip", "tar.gz"])
def test_while_a_member_is_read_nothing_lies_in_the_temporary_folder(
    pack: Callable[[dict[str, bytes]], bytes],
    radiographs: dict[str, bytes],
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that dies of it leaves nothing behind."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (source / "a").write_bytes(zipped({"i": pack(radiographs)}))
    with sources.bytes_of(f"{source / 'a'}!/i!/1.dcm") as data:
        assert os.listdir(tmp_path / "tmp") == []
        assert data.read() == radiographs["1.dcm"]
