"""Files in archives: the same rows and copies as from the files themselves, each once, whatever happens."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sort_once
from outputs import rows, settings, tree
from predictors import FixedPredictor
from program import inside
from written import picture, write_dicom

from dicomsort.errors import ExitCode
from dicomsort.inputs.named import Shard
from dicomsort.manifest.names import MANIFEST
from dicomsort.outcome import Action, Reason, Status
from dicomsort.sorting import plan
from dicomsort.sorting.merge import merge
from dicomsort.sorting.pipeline import sort
from dicomsort.sorting.place import PlacementSettings
from dicomsort.system.pool_settings import PoolSettings

SOURCE_ONLY = {"path", "destination", "duplicate_of", "mtime_ns"}
"""Columns that say where a file comes from."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Radiographs in several syntaxes, one damaged, a text and an empty file."""
    folder = tmp_path_factory.mktemp("files")
    for number, syntax in enumerate(["1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"] * 3):
        where = folder / ("a" if number % 2 else "b c")
        where.mkdir(exist_ok=True)
        write_dicom(where / f"{number}.dcm", picture(number), syntax, SOPInstanceUID=f"1.2.{number + 1}")
    whole = (folder / "a" / "1.dcm").read_bytes()
    (folder / "a" / "cut.dcm").write_bytes(whole[: len(whole) - 400])
    (folder / "read me.txt").write_text("nothing to see\n" * 100)
    (folder / "empty").touch()
    return folder


def zipped(files: Path, target: Path, method: int) -> None:
    with zipfile.ZipFile(target, "w", method) as archive:
        for path in sorted(files.rglob("*")):
            archive.write(path, path.relative_to(files))


def tarred(files: Path, target: Path, mode: Any) -> None:
    with tarfile.open(target, mode) as archive:
        for path in sorted(files.rglob("*")):
            archive.add(path, path.relative_to(files), recursive=False)


KINDS: dict[str, Callable[[Path, Path], None]] = {
    "stored.zip": lambda files, target: zipped(files, target, zipfile.ZIP_STORED),
    "deflated.zip": lambda files, target: zipped(files, target, zipfile.ZIP_DEFLATED),
    "plain.tar": lambda files, target: tarred(files, target, "w"),
    "packed.tar.gz": lambda files, target: tarred(files, target, "w:gz"),
    "packed.tar.bz2": lambda files, target: tarred(files, target, "w:bz2"),
    "packed.tar.xz": lambda files, target: tarred(files, target, "w:xz"),
}


FEW = ("deflated.zip", "plain.tar", "packed.tar.gz")


@pytest.fixture
def packed(files: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    folder = tmp_path / "packed"
    folder.mkdir()
    target: Path = folder / request.param
    KINDS[request.param](files, target)
    return target


def told(out: Path, under: str) -> dict[str, dict[str, str]]:
    """Rows by the name of the file below some folder or archive, without what says where it comes from."""
    return {
        path.removeprefix(under): {name: text for name, text in row.items() if name not in SOURCE_ONLY}
        for path, row in rows(out).items()
        if path.startswith(under)
    }


def copies(out: Path) -> dict[str, bytes]:
    """What was placed, by the folder of its label and its name."""
    return {
        f"{row['destination'].split('/')[0]}/{Path(row['destination']).name}": (
            out / row["destination"]
        ).read_bytes()
        for row in rows(out).values()
        if row["action"]
    }


@pytest.mark.parametrize("packed", KINDS, indirect=True)
def test_rows_and_copies_are_those_of_the_files(
    packed: Path, files: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    of_files, of_archive = tmp_path / "of files", tmp_path / "of archive"
    sort(settings(files, of_files), predictor)
    summary = sort(settings(packed, of_archive), predictor)
    assert told(of_archive, f"{packed}!/") == told(of_files, f"{files}/")
    assert copies(of_archive) == copies(of_files) != {}
    own = rows(of_archive)[str(packed)]
    assert (own["status"], own["reason"]) == ("not_dicom", Reason.ARCHIVE_READ)
    assert (summary.found, summary.inside, summary.archives) == (13, 12, 0)
    assert not (of_archive / ".dicomsort").exists(), "nothing that was unpacked on the way is left"
    for row in rows(of_archive).values():
        if row["action"]:
            facts = (of_archive / row["destination"]).stat()
            assert (facts.st_size, facts.st_mtime_ns) == (int(row["size"]), int(row["mtime_ns"]))


@pytest.mark.parametrize("packed", KINDS, indirect=True)
def test_the_same_command_does_nothing_again_and_a_changed_archive_everything(
    packed: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    run = settings(packed, tmp_path / "out")
    first = sort(run, predictor)
    before = tree(tmp_path / "out")
    again = sort(run, predictor)
    assert (again.found, again.already_done, again.statuses) == (first.found, first.found, first.statuses)
    assert {name: data for name, data in tree(tmp_path / "out").items() if name != "run.json"} == {
        name: data for name, data in before.items() if name != "run.json"
    }
    os.utime(packed, (0, 0))
    changed = sort(run, predictor)
    assert (changed.already_done, changed.statuses) == (0, first.statuses)


@pytest.mark.parametrize("packed", FEW, indirect=True)
def test_a_copy_that_is_lost_is_made_again_and_nothing_else(
    packed: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    run = settings(packed, tmp_path / "out")
    first = sort(run, predictor)
    lost = next(row["destination"] for row in rows(tmp_path / "out").values() if row["action"])
    (tmp_path / "out" / lost).unlink()
    again = sort(run, predictor)
    assert (tmp_path / "out" / lost).exists()
    assert again.already_done == first.found - 2, "all but that file, and the archive in which it lies"
    assert again.statuses == first.statuses


@pytest.mark.parametrize("packed", FEW, indirect=True)
def test_a_plan_is_carried_out_and_undone(packed: Path, tmp_path: Path, predictor: FixedPredictor) -> None:
    at_once, planned = tmp_path / "at once", tmp_path / "planned"
    sort(settings(packed, at_once), predictor)
    sort(settings(packed, planned, dry_run=True), predictor)
    assert plan.apply(str(planned / MANIFEST)).exit_code is ExitCode.DONE
    assert copies(planned) == copies(at_once)
    assert plan.undo(str(planned / MANIFEST), verify=True).done == len(copies(at_once))
    assert set(tree(planned)) == {"manifest.csv", "run.json"}


@pytest.mark.parametrize("packed", ["deflated.zip", "packed.tar.gz"], indirect=True)
def test_the_last_copy_is_not_undone(packed: Path, tmp_path: Path, predictor: FixedPredictor) -> None:
    out = tmp_path / "out"
    sort(settings(packed, out), predictor)
    before = copies(out)
    packed.unlink()
    assert set(plan.undo(str(out / MANIFEST)).left) == {Reason.LAST_COPY}
    assert copies(out) == before


@pytest.mark.parametrize("packed", FEW, indirect=True)
def test_links_into_an_archive_are_copies_and_none_leaves_all_where_it_is(
    packed: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    for action in (Action.SYMLINK, Action.HARDLINK, Action.REFLINK):
        sort(settings(packed, tmp_path / action, placing=PlacementSettings(action, verify=True)), predictor)
        placed = [row for row in rows(tmp_path / action).values() if row["destination"]]
        assert placed
        assert {row["action"] for row in placed} == {"copy"}
        assert all(len(row["sha256"]) == 64 for row in placed)
    run = settings(packed, tmp_path / "none", placing=PlacementSettings(Action.NONE))
    summary = sort(run, predictor)
    assert summary.statuses[Status.SORTED] > 0
    assert set(tree(tmp_path / "none")) == {"manifest.csv", "run.json"}
    assert sort(run, predictor).already_done == summary.found


def test_archives_in_an_archive_are_read_and_those_in_them_told(
    files: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    for name, make in KINDS.items():
        make(files, inner / name)
    deep = tmp_path / "deep"
    deep.mkdir()
    zipped(inner, deep / "deep.zip", zipfile.ZIP_DEFLATED)
    outer = tmp_path / "outer"
    outer.mkdir()
    zipped(inner, outer / "zipped.zip", zipfile.ZIP_DEFLATED)
    zipped(inner, outer / "stored.zip", zipfile.ZIP_STORED)
    tarred(inner, outer / "tarred.tar.gz", "w:gz")
    zipped(deep, outer / "too deep.zip", zipfile.ZIP_STORED)
    summary = sort(settings(outer, tmp_path / "out", keep_duplicates=True), predictor)
    sort(settings(files, tmp_path / "plain"), predictor)
    expected = told(tmp_path / "plain", f"{files}/")
    for name in ("zipped.zip", "stored.zip", "tarred.tar.gz"):
        for kind in KINDS:
            assert told(tmp_path / "out", f"{outer / name}!/{kind}!/") == expected, (name, kind)
            assert rows(tmp_path / "out")[f"{outer / name}!/{kind}"]["reason"] == Reason.ARCHIVE_READ
    found = told(tmp_path / "out", f"{outer / 'too deep.zip'}!/")
    assert {name: row["reason"] for name, row in found.items()} == {
        "deep.zip": Reason.ARCHIVE_READ,
        **{f"deep.zip!/{kind}": Reason.NESTED for kind in KINDS},
    }
    assert summary.found == 4 + 3 * len(KINDS) * 13 + 1 + len(KINDS)
    assert not (tmp_path / "out" / ".dicomsort").exists()


@pytest.mark.parametrize("packed", ["deflated.zip", "packed.tar.gz"], indirect=True)
def test_shards_divide_archives_as_wholes(packed: Path, tmp_path: Path, predictor: FixedPredictor) -> None:
    shutil.copy(packed, packed.with_name(f"x-{packed.name}"))
    out = tmp_path / "out"
    for number in (1, 2, 3):
        sort(settings(packed.parent, out, shard=Shard(number, 3), keep_duplicates=True), predictor)
    assert merge(str(out), PoolSettings(2)).rows == 26


@pytest.mark.parametrize("packed", ["stored.zip", "packed.tar.gz"], indirect=True)
def test_a_list_may_name_members(packed: Path, tmp_path: Path, predictor: FixedPredictor) -> None:
    names = [f"{packed}!/a/1.dcm", f"{packed}!/b c/2.dcm", f"{packed}!/not there.dcm"]
    (tmp_path / "list.txt").write_text("".join(f"{name}\n" for name in names))
    run = settings(packed, tmp_path / "out", from_list=str(tmp_path / "list.txt"))
    sort(run, predictor)
    found = rows(tmp_path / "out")
    assert [found[name]["reason"] for name in names] == ["", "", "there is no such file"]
    assert set(found) == set(names)
    assert sort(run, predictor).already_done == 2


def hostile(target: Path, whole: bytes) -> list[str]:
    """Write a zip whose names climb out, repeat, are absolute, empty or odd; return what they are to be."""
    names = [
        "../../x.dcm",
        "/abs.dcm",
        "a/./b//c.dcm",
        "twice.dcm",
        "twice.dcm",
        "C:\\win\\d.dcm",
        "..\\e.dcm",
    ]
    with zipfile.ZipFile(target, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's own, of two members of one name
        for number, name in enumerate(names):
            info = zipfile.ZipInfo("placeholder")
            info.filename = name
            archive.writestr(info, whole.replace(b"1.2.777", b"1.2.%03d" % (100 + number)))
    return [
        "!/__/__/x.dcm",
        "!/abs.dcm",
        "!/a/b/c.dcm",
        "!/twice.dcm",
        "!2/twice.dcm",
        "!/C:/win/d.dcm",
        "!/__/e.dcm",
    ]


def test_names_that_climb_out_or_repeat_stay_in_the_output_and_are_found_again(
    tmp_path: Path, predictor: FixedPredictor
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    whole = write_dicom(tmp_path / "one.dcm", picture(1), SOPInstanceUID="1.2.777").read_bytes()
    expected = hostile(source / "odd.zip", whole)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    sort(settings(source, tmp_path / "out"), predictor)
    found = rows(tmp_path / "out")
    assert set(found) == {str(source / "odd.zip"), *(f"{source / 'odd.zip'}{name}" for name in expected)}
    assert {path for path in tmp_path.rglob("*") if path.is_file()} - before == {
        tmp_path / "out" / name
        for name in (
            "manifest.csv",
            "run.json",
            ".dicomsort.lock",
            *(row["destination"] for row in found.values() if row["destination"]),
        )
    }
    assert sort(settings(source, tmp_path / "out"), predictor).already_done == 8
    planned = tmp_path / "planned"
    sort(settings(source, planned, dry_run=True), predictor)
    assert plan.apply(str(planned / MANIFEST)).done == 7
    assert copies(planned) == copies(tmp_path / "out")


def rows_told(out: Path) -> int:
    """How many rows a run has told of that came to its end."""
    path = out / "run.json"
    return int(json.loads(path.read_text()).get("told", 0)) if path.exists() else 0


@pytest.mark.parametrize("kind", ["deflated.zip", "packed.tar.gz"])
@pytest.mark.parametrize("seconds", [0.6, 1.3])
def test_a_killed_run_goes_on(
    files: Path,
    tmp_path: Path,
    small_model: Path,
    capfd: pytest.CaptureFixture[str],
    kind: str,
    seconds: float,
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(4):
        KINDS[kind](files, source / f"{number}-{kind}")
    words: list[str | Path] = ["classify", source, "--out", tmp_path / "out", "--keep-duplicates"]
    words += ["--model", small_model]
    killed = subprocess.Popen(
        [sys.executable, "-m", "dicomsort", *map(str, words)], stderr=subprocess.DEVNULL
    )
    time.sleep(seconds)
    killed.kill()
    killed.wait()
    had_ended = rows_told(tmp_path / "out") == 4 * 13  # on a quick machine it may have
    again = inside(capfd, *words, "--quiet")
    assert again.code == (ExitCode.DONE if had_ended else ExitCode.SOME_FAILED)  # the one that is cut
    found = rows(tmp_path / "out")
    assert len(found) == 4 * 13
    assert inside(capfd, *words, "--json").json["already_done"] == 4 * 13
    assert set(tree(tmp_path / "out")) == {
        "manifest.csv",
        "run.json",
        *(row["destination"] for row in found.values() if row["action"]),
    }


@pytest.mark.parametrize("packed", ["deflated.zip", "plain.tar", "packed.tar.gz"], indirect=True)
def test_members_that_end_or_hang_their_process_cost_themselves(packed: Path, tmp_path: Path) -> None:
    disasters = {"segfault": "crash", "hang": "timeout", "abort": "crash"}
    files = tmp_path / "files"
    files.mkdir()
    for number in range(6):
        write_dicom(files / f"{number}.dcm", picture(number), SOPInstanceUID=f"1.2.{number + 1}")
    for number, name in enumerate(disasters):
        write_dicom(files / f"{name}.{number}.dcm", picture(number))
    packed.unlink()
    KINDS[packed.name](files, packed)
    words = [sys.executable, sort_once.__file__, str(packed), str(tmp_path / "out")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.SOME_FAILED, done.stderr
    found = told(tmp_path / "out", f"{packed}!/")
    assert {name: row["status"] for name, row in found.items()} == {
        **{f"{number}.dcm": "sorted" for number in range(6)},
        **{f"{name}.{number}.dcm": disasters[name] for number, name in enumerate(disasters)},
    }
    assert rows(tmp_path / "out")[str(packed)]["reason"] == Reason.ARCHIVE_READ


def test_a_member_is_rendered_by_its_name_as_a_file_is(
    tmp_path: Path, small_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = write_dicom(tmp_path / "in" / "a.dcm", picture(1))
    shutil.make_archive(str(tmp_path / "a"), "zip", file.parent)
    words = ("--model", small_model, "--quiet")
    for number, name in enumerate([file, tmp_path / "a.zip!" / "a.dcm"]):
        assert inside(capfd, "render", name, "--out", tmp_path / str(number), *words).code == 0
    assert tree(tmp_path / "0") == tree(tmp_path / "1")
    refused = inside(capfd, "render", tmp_path / "a.zip!" / "b.dcm", "--out", tmp_path / "2", *words)
    assert refused.code == ExitCode.USAGE


@pytest.mark.parametrize("packed", ["deflated.zip", "packed.tar.gz"], indirect=True)
def test_an_output_of_a_version_that_opened_no_archives_gets_what_is_in_them(
    packed: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out = tmp_path / "out"
    assert sort(settings(packed, out, archives=False), predictor).archives == 1
    run = json.loads((out / "run.json").read_text())
    del run["fixed"]["archives"]
    (out / "run.json").write_text(json.dumps(run))
    summary = sort(settings(packed, out), predictor)
    assert (summary.found, summary.inside, summary.already_done) == (13, 12, 0)
    assert sort(settings(packed, out), predictor).already_done == 13
