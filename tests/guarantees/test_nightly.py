"""The same command every night: what it tells is of this night, and where all is done it does nothing."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from outputs import rows, settings, tree
from predictors import FixedPredictor
from program import command, inside
from written import picture, write_dicom

from dicomsort.errors import ExitCode, UsageError
from dicomsort.inputs.named import Shard
from dicomsort.model.bundle import Bundle
from dicomsort.outcome import Status
from dicomsort.sorting import pipeline
from dicomsort.sorting.merge import merge
from dicomsort.sorting.pipeline import check, sort
from dicomsort.sorting.summary import SortSummary
from dicomsort.system.pool_settings import PoolSettings

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """Two radiographs, a note, and a file that is cut off."""
    folder = tmp_path / "in"
    for number in range(2):
        write_dicom(folder / "ward" / f"{number}.dcm", picture(number))
    (folder / "note.txt").write_text("not DICOM")
    cut(folder / "cut.dcm", 7)
    return folder


def cut(path: Path, number: int) -> None:
    write_dicom(path, picture(number))
    path.write_bytes(path.read_bytes()[:-500])


def test_the_second_night_speaks_of_itself(inbox: Path, tmp_path: Path, small_bundle: Bundle) -> None:
    first = sort(settings(inbox, tmp_path / "out"), FixedPredictor(small_bundle))
    assert (first.exit_code, first.new_troubles, first.older_troubles) == (ExitCode.SOME_FAILED, 1, 0)
    assert [(trouble.path, trouble.status) for trouble in first.troubles] == [
        (str(inbox / "cut.dcm"), Status.DECODE_ERROR)
    ]
    write_dicom(inbox / "new.dcm", picture(3))
    second = sort(settings(inbox, tmp_path / "out"), FixedPredictor(small_bundle))
    assert (second.exit_code, second.new_troubles, second.older_troubles) == (ExitCode.DONE, 0, 1)
    assert second.new.total() == 1
    assert second.statuses.total() == second.found == 5
    told = second.as_dict()
    assert told["statuses"]["decode_error"] == told["older_troubles"] == 1
    assert sum(told["new_statuses"].values()) == 1
    assert told["troubles"] == []
    third = sort(settings(inbox, tmp_path / "out", retry_failed=True), FixedPredictor(small_bundle))
    assert (third.exit_code, third.new_troubles, third.older_troubles) == (ExitCode.SOME_FAILED, 1, 0)


def test_trouble_that_a_killed_run_could_not_tell_of_is_told_by_the_next(
    inbox: Path, tmp_path: Path, small_bundle: Bundle
) -> None:
    """Whatever ends a run, no night is silent about a file that is in trouble since."""

    def stop(tally: SortSummary) -> None:
        if tally.ended == 3:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        sort(settings(inbox, out), FixedPredictor(small_bundle), stop)
    assert [row["status"] for row in rows(out).values()].count("decode_error") == 1
    second = sort(settings(inbox, out), FixedPredictor(small_bundle))
    assert (second.exit_code, second.new_troubles, second.older_troubles) == (ExitCode.SOME_FAILED, 1, 0)
    assert [trouble.path for trouble in second.troubles] == [str(inbox / "cut.dcm")]
    third = sort(settings(inbox, out), FixedPredictor(small_bundle))
    assert (third.exit_code, third.new_troubles, third.older_troubles) == (ExitCode.DONE, 0, 1)


def test_what_an_earlier_file_becomes_is_no_news(inbox: Path, tmp_path: Path, small_bundle: Bundle) -> None:
    """A new file with a smaller path makes a duplicate of an old one: that is no new file."""
    sort(settings(inbox, tmp_path / "out"), FixedPredictor(small_bundle))
    (inbox / "a.dcm").write_bytes((inbox / "ward" / "0.dcm").read_bytes())
    tally = sort(settings(inbox, tmp_path / "out"), FixedPredictor(small_bundle))
    assert rows(tmp_path / "out")[str(inbox / "ward" / "0.dcm")]["status"] == "duplicate"
    assert tally.new.total() == 1
    assert tally.before[Status.DUPLICATE] == 1


def test_a_file_that_this_night_does_not_meet_is_not_counted(
    inbox: Path, tmp_path: Path, small_bundle: Bundle
) -> None:
    """A folder that joins alone makes a duplicate of an old file: that is none of the two it holds."""
    sort(settings(inbox, tmp_path / "out"), FixedPredictor(small_bundle))
    joined = tmp_path / "a"
    write_dicom(joined / "new.dcm", picture(5))
    (joined / "0.dcm").write_bytes((inbox / "ward" / "0.dcm").read_bytes())
    tally = sort(settings(joined, tmp_path / "out"), FixedPredictor(small_bundle))
    assert rows(tmp_path / "out")[str(inbox / "ward" / "0.dcm")]["status"] == "duplicate"
    assert (
        tally.found == tally.new.total() == tally.statuses[Status.SORTED] + tally.statuses[Status.REVIEW] == 2
    )
    assert not tally.before


def test_the_table_and_the_code_are_those_of_the_run(
    inbox: Path, tmp_path: Path, small_model: Path, capfd: Capture
) -> None:
    words = ("classify", inbox, "--out", tmp_path / "out", "--model", small_model, "--device", "cpu")
    ran = inside(capfd, *words)
    assert ran.code == ExitCode.SOME_FAILED
    assert f"decode_error: {inbox}/cut.dcm: " in ran.err
    assert "decode_error" in ran.out
    write_dicom(inbox / "new.dcm", picture(3))
    ran = inside(capfd, *words)
    assert ran.code == ExitCode.DONE
    table = re.sub(" +", " ", ran.out)
    assert "new files by status" in table
    assert "decode_error" not in table
    assert " done before 4 \n" in table
    assert "1 older trouble remains: --retry-failed tries again" in ran.err
    ran = inside(capfd, *words)
    assert ran.code == ExitCode.DONE
    assert ran.out == ""
    assert "nothing new: all 5 files are done already" in ran.err
    assert inside(capfd, *words, "--strict", "--quiet").code == ExitCode.SOME_FAILED
    told = inside(capfd, *words, "--json", "--strict").json
    assert (told["exit_code"], told["older_troubles"]) == (3, 1)


def test_a_night_without_news_sends_no_mail(
    inbox: Path, tmp_path: Path, small_model: Path, capfd: Capture
) -> None:
    """With --quiet nothing is said of old troubles, old pictures and empty folders."""
    (inbox / "empty").mkdir()
    (inbox / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    words = (
        "classify",
        inbox,
        "--out",
        tmp_path / "out",
        "--model",
        small_model,
        "--device",
        "cpu",
        "--quiet",
    )
    first = inside(capfd, *words)
    assert first.code == ExitCode.SOME_FAILED
    assert all(told in first.err for told in ("cut.dcm: ", "1 picture is not DICOM", "1 folder is empty"))
    second = inside(capfd, *words)
    assert (second.code, second.out, second.err) == (ExitCode.DONE, "", "")
    write_dicom(inbox / "new.dcm", picture(3))
    (inbox / "other.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(101))
    third = inside(capfd, *words)
    assert third.err == "dicomsort: 1 picture is not DICOM: --pictures, with another --out, sorts it too\n"
    assert "1 older trouble remains" in inside(capfd, *words, "--strict").err
    assert "2 pictures are not DICOM" in inside(capfd, *words[:-1]).err


def test_the_first_ten_in_trouble_are_named_and_the_others_counted(
    inbox: Path, tmp_path: Path, small_model: Path, capfd: Capture
) -> None:
    for number in range(12):
        cut(inbox / f"cut{number:02}.dcm", 20 + number)
    words = ("classify", inbox, "--out", tmp_path / "out", "--model", small_model, "--device", "cpu")
    ran = inside(capfd, *words, "--quiet")
    assert len(re.findall(r"^dicomsort: decode_error: \S+/cut[0-9]*\.dcm: ", ran.err, re.MULTILINE)) == 10
    assert "... and 3 more in trouble" in ran.err


def test_a_merge_speaks_of_what_it_joins(inbox: Path, tmp_path: Path, small_bundle: Bundle) -> None:
    out, pool = tmp_path / "out", PoolSettings(1)
    for number in (1, 2):
        sort(settings(inbox, out, shard=Shard(number, 2)), FixedPredictor(small_bundle))
    first = merge(str(out), pool)
    assert (first.exit_code, first.new_troubles, first.older_troubles) == (ExitCode.SOME_FAILED, 1, 0)
    write_dicom(inbox / "new.dcm", picture(3))
    for number in (1, 2):
        sort(settings(inbox, out, shard=Shard(number, 2)), FixedPredictor(small_bundle))
    second = merge(str(out), pool)
    assert (second.exit_code, second.new_troubles, second.older_troubles) == (ExitCode.DONE, 0, 1)
    second.strict = True
    assert second.exit_code is ExitCode.SOME_FAILED


def test_where_all_is_done_no_model_is_loaded_and_nothing_heavy(
    inbox: Path, tmp_path: Path, small_model: Path
) -> None:
    out = tmp_path / "out"
    words = ["classify", str(inbox), "--out", str(out), "--model", str(small_model), "--device", "cpu", "-q"]
    assert command(*words).code == ExitCode.SOME_FAILED
    before = tree(out)
    code = f"import sys\nsys.argv = ['dicomsort', *{words}]\nfrom dicomsort.cli.main import main\n"
    code += "try: main()\nexcept SystemExit as end: assert end.code == 0, end.code\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert "dicomsort" in loaded
    assert not loaded & {"openvino", "torch", "onnx", "pydicom", "imagecodecs", "scipy"}
    assert tree(out) == before


def test_another_engine_is_still_refused_where_something_is_to_be_done(
    inbox: Path, tmp_path: Path, small_bundle: Bundle
) -> None:
    sort(settings(inbox, tmp_path / "out"), FixedPredictor(small_bundle))
    other = FixedPredictor(small_bundle)
    other.precision = "float16"
    write_dicom(inbox / "new.dcm", picture(3))
    with pytest.raises(UsageError, match="another precision"):
        sort(settings(inbox, tmp_path / "out"), other)


def test_a_new_folder_joins_an_output(inbox: Path, tmp_path: Path, small_bundle: Bundle) -> None:
    """What was sorted keeps its place, and a file of either folder comes to where it would always come."""
    out, more, predictor = tmp_path / "out", tmp_path / "more", FixedPredictor(small_bundle)
    sort(settings(inbox, out), predictor)
    before = rows(out)
    write_dicom(more / "ward" / "m.dcm", picture(10))
    write_dicom(inbox / "ward" / "9.dcm", picture(11))
    tally = sort(settings(inbox, out, roots=(str(inbox), str(more))), predictor)
    assert tally.new.total() == 2
    after = rows(out)
    assert {path: after[path] for path in before} == before
    places = {path: after[path]["destination"].partition("/")[2] for path in after.keys() - before.keys()}
    assert places == {
        str(more / "ward" / "m.dcm"): "more/ward/m.dcm", str(inbox / "ward" / "9.dcm"): "ward/9.dcm"
    }  # fmt: skip
    assert json.loads((out / "run.json").read_text())["roots"] == {str(inbox): "", str(more): "more"}
    write_dicom(more / "next.dcm", picture(12))
    alone = sort(settings(more, out), predictor)  # the new folder alone, and it has the same name
    assert (alone.found, alone.new.total()) == (2, 1)
    assert rows(out)[str(more / "next.dcm")]["destination"].endswith("/more/next.dcm")


def test_a_new_folder_is_never_called_what_is_in_the_first(
    inbox: Path, tmp_path: Path, small_bundle: Bundle
) -> None:
    out, ward, predictor = tmp_path / "out", tmp_path / "other" / "ward", FixedPredictor(small_bundle)
    sort(settings(inbox, out), predictor)
    write_dicom(ward / "0.dcm", picture(10))
    sort(settings(inbox, out, roots=(str(inbox), str(ward))), predictor)
    assert rows(out)[str(ward / "0.dcm")]["destination"].endswith("/ward-2/0.dcm")
    write_dicom(inbox / "ward-2" / "0.dcm", picture(12))  # and if that comes later, it is no other's place
    tally = sort(settings(inbox, out, roots=(str(inbox), str(ward))), predictor)
    row = rows(out)[str(inbox / "ward-2" / "0.dcm")]
    placed = {row["destination"] for row in rows(out).values() if row["action"]}
    assert len(placed) == sum(bool(row["action"]) for row in rows(out).values())
    assert (row["status"], tally.new_troubles) in (
        (Status.IO_ERROR, 1),
        (Status.SORTED, 0),
        (Status.REVIEW, 0),
    )


def test_roots_of_an_earlier_version_keep_their_names(
    inbox: Path, tmp_path: Path, small_bundle: Bundle
) -> None:
    out, more, predictor = tmp_path / "out", tmp_path / "more", FixedPredictor(small_bundle)
    write_dicom(more / "m.dcm", picture(10))
    sort(settings(inbox, out, roots=(str(inbox), str(more))), predictor)
    run = json.loads((out / "run.json").read_text())
    run["fixed"]["roots"] = list(run.pop("roots"))
    (out / "run.json").write_text(json.dumps(run))
    write_dicom(inbox / "late.dcm", picture(11))
    sort(settings(inbox, out), predictor)
    assert rows(out)[str(inbox / "late.dcm")]["destination"].endswith("/in/late.dcm")


def test_shards_that_sort_other_folders_are_refused(
    inbox: Path, tmp_path: Path, small_bundle: Bundle
) -> None:
    out, more = tmp_path / "out", tmp_path / "more"
    more.mkdir()
    sort(settings(inbox, out, shard=Shard(1, 2)), FixedPredictor(small_bundle))
    both = settings(inbox, out, shard=Shard(2, 2), roots=(str(inbox), str(more)))
    with pytest.raises(UsageError, match="do not sort the same folders"):
        sort(both, FixedPredictor(small_bundle))


def test_a_log_holds_a_run_with_times_and_the_next_run_begins_a_new_one(
    inbox: Path, tmp_path: Path, small_model: Path, capfd: Capture
) -> None:
    log = tmp_path / "sort.log"
    words = ("classify", inbox, "--out", tmp_path / "out", "--model", small_model, "--device", "cpu", "-q")
    inside(capfd, *words, "--log-file", log)
    lines = log.read_text().splitlines()
    assert all(re.match(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} \S", line) for line in lines)
    assert any(f"decode_error: {inbox}/cut.dcm: " in line for line in lines)
    assert lines[-1].partition("ended with exit code ")[2].startswith("3 after ")
    assert "4 found, 0 done before" in lines[-1]
    inside(capfd, *words, "--log-file", log)
    assert (tmp_path / "sort.log.1").read_text().splitlines() == lines
    assert "new: nothing" in log.read_text().splitlines()[-1]
    assert "NAME" not in log.read_text()


def test_the_log_takes_the_place_of_nothing_that_is_no_log(
    inbox: Path, tmp_path: Path, small_model: Path, capfd: Capture
) -> None:
    """A log that is there becomes FILE.1, and nothing else may: the manifest least of all."""
    out, thesis, pipe = tmp_path / "out", tmp_path / "thesis.txt", tmp_path / "pipe"
    words = ("classify", inbox, "--out", out, "--model", small_model, "--device", "cpu", "-q")
    inside(capfd, *words)
    thesis.write_text("all my work\n")
    os.mkfifo(pipe)
    held = {path: path.read_bytes() for path in (thesis, out / "manifest.csv", out / "run.json")}
    for path in (*held, pipe, out / "health.json"):
        for more in (words, ("merge", out)):
            ran = inside(capfd, *more, "--log-file", path)
            assert (ran.code, ran.err.count("\n")) == (ExitCode.USAGE, 1), path
            assert f"--log-file '{path}' is " in ran.err
    assert {path: path.read_bytes() for path in held} == held
    assert not [path for path in (*tmp_path.iterdir(), *out.iterdir()) if path.suffix == ".1"]


def test_earlier_logs_stay_beside_what_a_link_leads_to(
    inbox: Path, tmp_path: Path, small_model: Path, capfd: Capture
) -> None:
    (tmp_path / "disk").mkdir()
    link = tmp_path / "sort.log"
    link.symlink_to(tmp_path / "disk" / "sort.log")
    for _ in range(2):
        inside(
            capfd, "classify", inbox, "--out", tmp_path / "out", "--model", small_model, "--log-file", link
        )
    assert link.is_symlink()
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == ["sort.log", "sort.log.1"]


def test_a_log_on_a_full_disk_ends_no_run(
    inbox: Path, tmp_path: Path, small_model: Path, capfd: Capture
) -> None:
    words = ("classify", inbox, "--out", tmp_path / "out", "--model", small_model, "--log-file", "/dev/full")
    ran = inside(capfd, *words, "--quiet")
    assert ran.code == ExitCode.SOME_FAILED
    assert ran.err.count("the log file cannot be written any more") == 1
    assert "standard output" not in ran.err


@pytest.mark.parametrize("name", ["in/sort.log", "none/sort.log", "in"])
def test_a_log_that_cannot_be_is_refused_before_anything_is_done(
    name: str, inbox: Path, tmp_path: Path, small_model: Path, capfd: Capture
) -> None:
    words = ("classify", inbox, "--out", tmp_path / "out", "--model", small_model)
    ran = inside(capfd, *words, "--log-file", tmp_path / name)
    assert ran.code in (ExitCode.USAGE, ExitCode.TARGET)
    assert len(ran.err.splitlines()) == 1
    assert "--log-file" in ran.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["merge", "report", "review", "audit", "registry", "apply", "undo"])
def test_a_manifest_stands_for_its_folder(
    name: str, inbox: Path, tmp_path: Path, small_bundle: Bundle, capfd: Capture
) -> None:
    out = tmp_path / "out"
    sort(settings(inbox, out), FixedPredictor(small_bundle))
    given: dict[str, list[str | Path]] = {
        "report": ["--no-thumbnails"],
        "review": ["--export", tmp_path / "labels.csv"],
    }
    more = given.get(name, [])
    by_folder = inside(capfd, name, out, *more)
    by_manifest = inside(capfd, name, out / "manifest.csv", *more)
    assert by_manifest.code == by_folder.code
    if name != "undo":  # the second finds nothing any more
        assert by_manifest.err == by_folder.err


def test_what_is_named_twice_is_one_root(inbox: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    both = settings(inbox, Path(out), roots=(str(inbox), f"{inbox}{os.sep}"))
    assert [root.name for root in check(both)] == [""]


@pytest.mark.parametrize("shards", [(), (1, 2)])
def test_a_run_that_ends_before_it_has_begun_leaves_nothing_that_counts(
    shards: tuple[int, ...],
    inbox: Path,
    tmp_path: Path,
    small_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its model cannot be loaded, or somebody stops it; another model, or shards, may have the output."""
    out, one = tmp_path / "out", FixedPredictor(small_bundle)
    other = FixedPredictor(replace(small_bundle, name="other"))
    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "_begin", stopped)
        with pytest.raises(KeyboardInterrupt):
            sort(settings(inbox, out), one)
    for number in shards:
        sort(settings(inbox, out, shard=Shard(number, 2)), one, further=[other])
    if shards:
        merge(str(out), PoolSettings(1))
    assert sort(settings(inbox, out), one, further=[other]).already_done == 2 * len(shards)
    assert len(rows(out)) == 4


def stopped(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["precious.txt", "manifest.csv"])
def test_a_log_takes_the_place_of_no_other_file(
    name: str, inbox: Path, tmp_path: Path, small_model: Path, capfd: Capture
) -> None:
    words = (
        "classify",
        inbox,
        "--out",
        tmp_path / "out",
        "--model",
        small_model,
        "--device",
        "cpu",
        "--quiet",
    )
    inside(capfd, *words)
    (tmp_path / "out" / "precious.txt").write_text("a note")
    before = tree(tmp_path)
    ran = inside(capfd, *words, "--log-file", tmp_path / "out" / name)
    assert (ran.code, ran.err.startswith("dicomsort: --log-file '")) == (ExitCode.USAGE, True)
    assert tree(tmp_path) == before
