"""Data sets of an output: what gets in, on which side of the split, as what, and what a kill costs."""

import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from outputs import tree
from PIL import Image
from program import inside
from pyarrow import json as json_table
from pyarrow import parquet
from written import picture, write_dicom

import dicomsort
from dicomsort.cli import progress
from dicomsort.dicom import isolation
from dicomsort.errors import ExitCode, NothingFoundError, UsageError
from dicomsort.export.datasets import dataset, journal, shards
from dicomsort.export.datasets.choosing import part_of
from dicomsort.export.datasets.dataset import export
from dicomsort.export.datasets.settings import Choosable, DatasetSettings, Picture, Target, shares_of
from dicomsort.manifest.rows import Row
from dicomsort.manifest.run_file import RunFacts
from dicomsort.manifest.table import Manifest
from dicomsort.model.heads import Decision
from dicomsort.outcome import FileStamp, Header, Reason, Reviewed, Status
from dicomsort.system import atomic
from dicomsort.system.pool_settings import PoolSettings

POOL = PoolSettings(2)
ANSWERS = (
    "score_hand",
    "score_knee",
    "view.label",
    "view.confidence",
    "view.score_frontal",
    "view.score_lateral",
)


def image(folder: Path, number: int, patient: str, uid: str = "", **elements: Any) -> Path:
    name = f"{number}.dcm"
    uids = {"SOPInstanceUID": uid or f"1.2.{number}", "StudyInstanceUID": f"1.3.{patient or number}"}
    return write_dicom(folder / name, picture(number), PatientID=patient or None, **uids, **elements)


def row(path: Path, label: str = "hand", confidence: float = 0.9, **more: Any) -> Row:
    facts = path.stat() if path.exists() else None
    stamp = FileStamp(facts.st_size, facts.st_mtime_ns) if facts else FileStamp(1, 1)
    view = Decision(more.pop("view", "frontal"), 0.75, (0.75, 0.25))
    header = Header(more.pop("uid", f"1.2.{path.stem}"), "1.3.1", "1.4.1", "DX")
    told = {"status": Status.SORTED, "label": label, "confidence": confidence, "scores": (0.5, 0.5)}
    return Row(str(path), **{**told, "further": (view,), "stamp": stamp, "header": header, **more})


def output(folder: Path, rows: list[Row]) -> Path:
    run = RunFacts({"model": "m@1", "roots": [str(folder / "in")]}, {"dry_run": False})
    with Manifest.open(str(folder / "out"), ANSWERS, "m@1", run) as opened:
        opened.append(rows)
    return folder / "out"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Forty images of ten patients, and what must not get in."""
    rows = [row(image(tmp_path / "in", number, f"CANARY-{number % 10}")) for number in range(40)]
    rows[7] = replace(rows[7], label="knee")
    rows[8] = replace(rows[8], reviewed=Reviewed("knee", "me", "2026-01-01T00:00:00Z"))
    others = {Status.REVIEW: 100, Status.DUPLICATE: 101, Status.NOT_XRAY: 102, Status.EXCLUDED: 103}
    rows += [row(image(tmp_path / "in", number, "X"), status=status) for status, number in others.items()]
    return output(tmp_path, rows)


def made(out: Path, folder: Path, **changes: Any) -> list[dict[str, str]]:
    """Export, and return the table."""
    usual = DatasetSettings(Target.IMAGEFOLDER, str(folder), pool=POOL, shares=(0.5, 0.25, 0.25))
    done = export(str(out), replace(usual, **changes))
    assert not done.left
    with (folder / "samples.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_pictures_stand_by_part_and_label_and_decisions_of_persons_win(out: Path, tmp_path: Path) -> None:
    table = made(out, tmp_path / "set")
    assert len(table) == 40
    assert sum(line["label"] == "knee" for line in table) == 2
    assert [line["decided_by_person"] for line in table].count("true") == 1
    pictures = {name for name in tree(tmp_path / "set") if name.endswith(".png")}
    assert pictures == {line["file_name"] for line in table}
    for line in table:
        assert line["file_name"] == f"{line['part']}/{line['label']}/{line['sample']}.png"
        assert "." not in line["sample"]


def test_a_patient_is_in_one_part_and_stays_there_when_others_come(out: Path, tmp_path: Path) -> None:
    table = made(out, tmp_path / "all")
    parts = defaultdict(set)
    for line in table:
        parts[line["patient"]].add(line["part"])
    assert len(parts) == 10
    assert all(len(found) == 1 for found in parts.values())
    assert len({part for found in parts.values() for part in found}) > 1
    fewer = made(out, tmp_path / "fewer", where="path != ''", labels=("knee",))
    assert {line["patient"]: {line["part"]} for line in fewer}.items() <= parts.items()
    other = made(out, tmp_path / "other", seed=4)
    assert {line["patient"]: {line["part"]} for line in other} != dict(parts)


def test_shares_are_kept_over_many_patients() -> None:
    parts = [part_of(f"p{number}", (0.7, 0.2, 0.1), 1) for number in range(20_000)]
    found = [parts.count(name) / len(parts) for name in ("train", "validation", "test")]
    assert found == pytest.approx([0.7, 0.2, 0.1], abs=0.01)  # three standard errors
    assert {part_of(f"p{number}", (0.0, 1.0, 0.0), 1) for number in range(1000)} == {"validation"}


@pytest.mark.parametrize("text", ["", "0.5/0.5", "1/1/-1", "a/b/c", "0/0/0", "nan/1/1", "inf/1/1"])
def test_impossible_shares_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="give the shares"):
        shares_of(text)


def test_images_without_patient_go_by_study_else_alone(tmp_path: Path) -> None:
    rows = []
    for number, study in enumerate(("1.9", "1.9", None)):
        path = tmp_path / "in" / f"{number}.dcm"
        rows.append(row(write_dicom(path, picture(number), PatientID=None, StudyInstanceUID=study)))
    table = made(output(tmp_path, rows), tmp_path / "set")
    keys = [line["patient"] for line in table]
    assert sorted(keys.count(key) for key in set(keys)) == [1, 2]


def test_nothing_of_a_patient_is_in_the_data_set_but_with_dicom(out: Path, tmp_path: Path) -> None:
    for target in Target:
        made(out, tmp_path / target, target=target)
        assert not any(b"CANARY" in data or b"1.2.3" in data for data in tree(tmp_path / target).values())
    table = made(out, tmp_path / "uids", uids=True)
    assert {line["sop_instance_uid"] for line in table} == {f"1.2.{number}" for number in range(40)}


def test_repeated_images_get_in_once_and_others_of_their_uid_too(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    rows = [row(image(folder, number, "A", "1.2.7"), uid="1.2.7") for number in range(3)]
    rows[2] = replace(rows[2], reasons=(Reason.SAME_UID,))
    assert len(made(output(tmp_path, rows), tmp_path / "set")) == 2


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_sixteen_bits_keep_the_gray_values_and_low_is_dark(photometric: str, tmp_path: Path) -> None:
    values = np.add.outer(np.arange(0, 4000, 50), np.arange(60)).astype(np.uint16)
    window = {"WindowCenter": "100", "WindowWidth": "20"}
    meant: dict[str, Any] = {
        "BitsStored": 12,
        "PhotometricInterpretation": photometric,
        "SOPInstanceUID": "1.2.0",
    }
    path = write_dicom(tmp_path / "in" / "0.dcm", values, **meant, **window)
    out = output(tmp_path, [row(path)])
    (line,) = made(out, tmp_path / "set", picture=Picture.PNG16, size=None)
    with Image.open(tmp_path / "set" / line["file_name"]) as found:
        pixels = np.asarray(found)
    assert pixels.dtype == np.uint16
    assert (pixels == (values if photometric == "MONOCHROME2" else 4095 - values)).all()


def test_eight_bits_are_what_render_shows_and_never_enlarged(tmp_path: Path) -> None:
    path = image(tmp_path / "in", 0, "A")
    out = output(tmp_path, [row(path)])
    (line,) = made(out, tmp_path / "set", size=None)
    with Image.open(tmp_path / "set" / line["file_name"]) as found:
        assert (np.asarray(found) == dicomsort.read_image(path, None)).all()
    (line,) = made(out, tmp_path / "large", size=500)
    assert (line["rows"], line["columns"]) == ("40", "30")
    (line,) = made(out, tmp_path / "small", size=20)
    assert (line["rows"], line["columns"]) == ("20", "15")
    with Image.open(tmp_path / "small" / line["file_name"]) as found:
        assert (found.mode, found.size) == ("L", (15, 20))


@pytest.mark.parametrize("target", [Target.IMAGEFOLDER, Target.WEBDATASET])
def test_a_dicom_file_is_given_as_it_is(target: Target, tmp_path: Path) -> None:
    path = image(tmp_path / "in", 0, "A")
    (line,) = made(output(tmp_path, [row(path)]), tmp_path / "set", target=target, picture=Picture.DICOM)
    if target is Target.IMAGEFOLDER:
        assert (tmp_path / "set" / line["file_name"]).read_bytes() == path.read_bytes()
        return
    with tarfile.open(tmp_path / "set" / line["shard"]) as tar:
        member = tar.extractfile(line["file_name"])
        assert member is not None
        assert member.read() == path.read_bytes()


def samples_in(folder: Path) -> dict[str, list[str]]:
    """The names in every tar, by shard."""
    found = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            found[path.name] = tar.getnames()
    return found


def test_shards_have_a_bounded_size_and_an_index(out: Path, tmp_path: Path) -> None:
    table = made(out, tmp_path / "set", target=Target.WEBDATASET, shard_bytes=5000)
    held = samples_in(tmp_path / "set")
    assert len(held) > 6
    assert all((tmp_path / "set" / name).stat().st_size < 60_000 for name in held)
    names = [name for names in held.values() for name in names]
    assert sorted(names) == sorted(
        f"{line['sample']}.{kind}" for line in table for kind in ("png", "json", "txt")
    )
    index = [json.loads(path.read_text()) for path in sorted((tmp_path / "set").glob("index-*.json"))]
    listed = {shard["url"]: shard["nsamples"] for part in index for shard in part["shardlist"]}
    assert listed == {name: len(inner) // 3 for name, inner in held.items()}
    assert {name.split("-")[0] for name in listed} == {line["part"] for line in table}


def test_parquet_holds_pictures_and_typed_columns(out: Path, tmp_path: Path) -> None:
    table = made(out, tmp_path / "set", target=Target.PARQUET)
    rows = [
        line for path in (tmp_path / "set/data").iterdir() for line in parquet.read_table(path).to_pylist()
    ]
    assert {line["sample"]: line["label"] for line in rows} == {
        line["sample"]: line["label"] for line in table
    }
    for line in rows:
        assert (line["confidence"], line["decided_by_person"] in (True, False)) == (0.9, True)
        with Image.open(io.BytesIO(line["image"]["bytes"])) as found:
            assert found.size == (line["columns"], line["rows"])


def test_images_stand_in_the_order_of_the_manifest_whichever_is_done_first(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = tree(tmp_path / "a") if made(out, tmp_path / "a") else {}
    real = isolation.read_all

    def shuffled(*given: Any) -> Iterator[Any]:
        results = list(real(*given))
        random.Random(1).shuffle(results)
        yield from results

    monkeypatch.setattr(isolation, "read_all", shuffled)
    made(out, tmp_path / "b")
    assert tree(tmp_path / "b") == usual
    monkeypatch.setattr(dataset, "_MOST_HELD", 5 * dataset._ROW_BYTES)
    held = made(out, tmp_path / "c")
    assert len({line["sample"] for line in held}) == len(held) == 40, "those that others wait for come late"


def test_each_part_tells_the_same_types(tmp_path: Path) -> None:
    """As pyarrow guesses them, by which the library datasets refuses parts that differ."""
    rows = [row(image(tmp_path / "in", number, f"P{number}")) for number in range(12)]
    dated = Header("1.2.5", "1.3.1", "1.4.1", "DX", "2020-01-01", "AP")
    rows = [
        replace(each, header=replace(dated, sop_instance_uid=f"1.2.{at}")) for at, each in enumerate(rows)
    ]
    rows[0] = replace(rows[0], header=Header("1.2.0", "1.3.1", "1.4.1", "DX", "CHEST", "AP"))
    made(output(tmp_path, rows), tmp_path / "set")
    found = [json_table.read_json(path).schema for path in (tmp_path / "set").glob("*/metadata.jsonl")]
    assert len(found) > 1
    assert all(schema.equals(found[0]) for schema in found)
    assert {"label", "confidence", "view_position"} <= set(found[0].names)


def test_the_same_call_does_nothing_and_a_grown_output_adds(out: Path, tmp_path: Path) -> None:
    made(out, tmp_path / "set")
    before = {path: path.stat().st_ino for path in (tmp_path / "set").rglob("*.png")}
    settings = DatasetSettings(Target.IMAGEFOLDER, str(tmp_path / "set"), pool=POOL, shares=(0.5, 0.25, 0.25))
    again = export(str(out), settings)
    assert (again.written, again.there) == (0, 40)
    with Manifest.open_existing(str(out / "manifest.csv")) as opened:
        opened.append([row(image(tmp_path / "in", 500, "NEW"))])
    grown = export(str(out), settings)
    assert (grown.written, grown.there, grown.images) == (1, 40, 41)
    after = {path: path.stat().st_ino for path in (tmp_path / "set").rglob("*.png")}
    assert before.items() <= after.items()


def test_other_settings_other_labels_and_other_files_are_refused(out: Path, tmp_path: Path) -> None:
    made(out, tmp_path / "set")
    with pytest.raises(UsageError, match="made with another --seed"):
        made(out, tmp_path / "set", seed=1)
    with pytest.raises(UsageError, match="made with another --key"):  # it would split patients
        made(out, tmp_path / "set", key=str(tmp_path / "other"))
    with pytest.raises(UsageError, match=r"made with another --labels \(none, now hand,knee\)"):
        made(out, tmp_path / "set", labels=("hand", "knee"))
    with pytest.raises(UsageError, match=r"made with another --split \(0.5/0.25/0.25, now 0.8/0.1/0.1\)"):
        made(out, tmp_path / "set", shares=(0.8, 0.1, 0.1))
    with Manifest.open_existing(str(out / "manifest.csv")) as opened:
        opened.append([row(tmp_path / "in" / "3.dcm", "knee")])
    with pytest.raises(UsageError, match=r"^1 image of .* would now have another label"):
        made(out, tmp_path / "set")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        made(out, tmp_path / "full")
    with pytest.raises(UsageError, match="is an output of classify"):
        made(out, out)
    with pytest.raises(UsageError, match="choose a folder outside"):
        made(out, tmp_path / "in" / "set")
    assert tree(tmp_path / "full") == {"mine.txt": b"mine"}


def test_what_cannot_be_chosen_is_told_before_anything_is_made(out: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no label 'hnad' here: did you mean 'hand'\?"):
        made(out, tmp_path / "set", labels=("hand", "hnad"))
    with pytest.raises(NothingFoundError, match="look at --labels, --where and --status"):
        made(out, tmp_path / "set", where="confidence > 0.95")
    with pytest.raises(UsageError, match="goes with --image png8"):
        made(out, tmp_path / "set", target=Target.CROISSANT, picture=Picture.PNG16)
    assert not (tmp_path / "set").exists()


def test_the_last_line_reads_the_data_set(
    out: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ends = {
        "imagefolder": 'datasets.load_dataset("imagefolder", data_dir="imagefolder")',
        "parquet": 'datasets.load_dataset("parquet", data_dir="parquet/data")',
        "webdataset": 'webdataset.WebDataset("webdataset/train-000000.tar")',
        "croissant": 'mlcroissant.Dataset(jsonld="croissant/croissant.json")',
    }
    for to, end in ends.items():
        ran = inside(capfd, "export", out, "--to", to, "--out", to, "--split", "1/0/0", "--size", "32")
        assert ran.err.splitlines()[-1] == f"dicomsort: to go on, in Python: {end}"
        assert Path(end.split('"')[-2]).exists()


def test_there_must_be_an_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that the data set lies in the folder where the output would be."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="there is no manifest at 'nowhere'"):
        export("nowhere", DatasetSettings(Target.IMAGEFOLDER, "set"))


@pytest.mark.parametrize("label", ["../../evil", "hand|..", ".hidden", "a/b", "x" * 65, "con\n"])
def test_a_label_written_in_by_hand_leads_nowhere(label: str, tmp_path: Path) -> None:
    decided = Reviewed(label, "me", "2026-01-01T00:00:00Z")
    out = output(tmp_path, [row(image(tmp_path / "in", 0, "A"), reviewed=decided)])
    with pytest.raises(UsageError, match=r"manifest.csv' must be put right: .* cannot be a class") as told:
        made(out, tmp_path / "deep" / "set")
    assert "\n" not in str(told.value)
    assert not (tmp_path / "deep").exists()


def test_it_is_told_how_many_images_there_will_be(out: Path, tmp_path: Path) -> None:
    usual = DatasetSettings(Target.IMAGEFOLDER, str(tmp_path / "set"), pool=POOL)
    told: list[int] = []
    export(str(out), replace(usual, dry_run=True), total=told.append)
    export(str(out), usual, total=told.append)
    export(str(out), usual, total=told.append)
    assert told == [40, 40, 0]


def test_a_manifest_of_an_earlier_version_will_do(out: Path, tmp_path: Path) -> None:
    later = {"evidence", "region_code", "region_meaning", "reviewed_label", "reviewed_by", "reviewed_at"}
    later |= {"pixel_label", "pixel_confidence", "age_group", "etag"}
    with (out / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = [{name: row[name] for name in row if name not in later} for row in csv.DictReader(file)]
    with (out / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    assert len(made(out, tmp_path / "old", where="view = frontal and reviewed_label = ''")) == 40


def test_statuses_are_chosen(out: Path, tmp_path: Path) -> None:
    assert len(made(out, tmp_path / "set", statuses=(Choosable.SORTED, Choosable.REVIEW))) == 41


def test_a_file_that_cannot_be_read_or_has_changed_costs_itself_and_is_told(
    out: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in" / "1.dcm").unlink()
    (tmp_path / "in" / "2.dcm").write_bytes((tmp_path / "in" / "3.dcm").read_bytes()[:600])
    os.utime(tmp_path / "in" / "4.dcm", ns=(5, 5))
    words = [
        "export",
        str(out),
        "--to",
        "imagefolder",
        "--out",
        str(tmp_path / "set"),
        "--workers",
        "1",
        "--json",
    ]
    ran = inside(capfd, *words)
    assert ran.code == ExitCode.SOME_FAILED
    assert {Path(one["path"]).name for one in ran.json["left"]} == {"1.dcm", "2.dcm", "4.dcm"}
    assert (ran.json["written"], ran.json["images"]) == (37, 37)
    assert "left out: " in ran.err
    assert "CANARY" not in ran.out + ran.err


def test_a_dry_run_counts_and_writes_nothing(
    out: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [
        "export",
        str(out),
        "--to",
        "webdataset",
        "--out",
        str(tmp_path / "set"),
        "--labels",
        "hand,knee",
    ]
    words += ["--split", "50/25/25", "--workers", "1", "--json"]
    foreseen = inside(capfd, *words, "--dry-run")
    assert foreseen.code == 0
    assert not (tmp_path / "set").exists()
    real = inside(capfd, *words)
    assert foreseen.json["parts"] == real.json["parts"]
    assert sum(count for part in real.json["parts"].values() for count in part.values()) == 40


def test_python_has_it_too(out: Path, tmp_path: Path) -> None:
    done = dicomsort.export_dataset(out, tmp_path / "set", where="view = frontal", size=None, workers=1)
    assert (done.images, done.patients, done.exit_code) == (40, 10, 0)
    with pytest.raises(UsageError, match="to='zip' is unknown: use parquet"):
        dicomsort.export_dataset(out, tmp_path / "set", to="zip")


@pytest.mark.parametrize("target", [Target.WEBDATASET, Target.PARQUET])
def test_a_shard_that_was_cut_short_is_made_again(
    target: Target, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its last byte and its name, when the journal speaks of it already."""
    calls = []

    def publish(temporary: str, name: str) -> None:
        calls.append(name)
        if len(calls) == 4:
            raise KeyboardInterrupt
        real(temporary, name)

    real = atomic.publish
    monkeypatch.setattr(shards, "publish", publish)
    with pytest.raises(KeyboardInterrupt):
        made(out, tmp_path / "set", target=target, shard_bytes=5000)
    monkeypatch.setattr(shards, "publish", real)
    assert len([name for name in tree(tmp_path / "set") if name.endswith((".tar", ".parquet"))]) == 3
    table = made(out, tmp_path / "set", target=target, shard_bytes=5000)
    assert len({line["sample"] for line in table}) == len(table) == 40
    assert not [name for name in tree(tmp_path / "set") if name.endswith(".part")]
    if target is Target.WEBDATASET:
        held = [name for names in samples_in(tmp_path / "set").values() for name in names]
        assert sorted(name for name in held if name.endswith(".png")) == sorted(
            line["file_name"] for line in table
        )


def test_what_a_killed_run_wrote_last_does_not_stay_under_another_label(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures are written before the journal says so; what a person has put there stays."""
    with monkeypatch.context() as killed:
        killed.setattr(journal.Journal, "write", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            made(out, tmp_path / "set")
    left = [path for path in (tmp_path / "set").rglob("*.png") if path.parent.name == "hand"]
    assert left
    mine = left[0].parent / "mine.png"
    mine.write_text("mine")
    (left[0].parent / ".dicomsort-0123456789abcdef.part").write_text("half")
    with Manifest.open_existing(str(out / "manifest.csv")) as opened:
        opened.append([row(tmp_path / "in" / f"{number}.dcm", "knee") for number in range(40)])
    table = made(out, tmp_path / "set")
    held = {name for name in tree(tmp_path / "set") if name.endswith((".png", ".part"))}
    assert held == {line["file_name"] for line in table} | {str(mine.relative_to(tmp_path / "set"))}
    assert {line["label"] for line in table} == {"knee"}


@pytest.mark.slow
@pytest.mark.parametrize("target", ["imagefolder", "webdataset", "parquet"])
def test_the_same_command_goes_on_after_a_kill(out: Path, tmp_path: Path, target: str) -> None:
    """Whenever it comes: each sample is there once in the end, and nothing else."""
    folder = tmp_path / "set"
    words = [sys.executable, "-m", "dicomsort", "export", str(out), "--to", target, "--out", str(folder)]
    words += ["--workers", "1", "--quiet"]
    for seconds in (0.9, 1.3):
        with subprocess.Popen(words, start_new_session=True) as killed:
            time.sleep(seconds)
            os.killpg(killed.pid, signal.SIGKILL)
    subprocess.run(words, check=True)
    with (folder / "samples.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert len({line["sample"] for line in table}) == len(table) == 40
    names = [path for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in names if path.name.startswith(".dicomsort-") or path.suffix == ".part"]
    if target == "imagefolder":
        assert {str(path.relative_to(folder)) for path in names if path.suffix == ".png"} == {
            line["file_name"] for line in table
        }
    if target == "webdataset":
        held = [name for inside in samples_in(folder).values() for name in inside if name.endswith(".png")]
        assert sorted(held) == sorted(line["file_name"] for line in table)


def test_progress_tells_of_how_many(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    count = progress.Counter(None, None, "images")
    count.expect(40)
    monkeypatch.setattr(time, "monotonic", lambda: float("inf"))
    count(3)
    assert "images: 3 of 40" in capfd.readouterr().err
