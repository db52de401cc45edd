"""The program as a user meets it: messages, exit codes, JSON and privacy."""

import csv
import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from committed import ARCHIVE, BROKEN, TESTS, committed, name_of
from labelled import draw_pictures
from outputs import tree
from PIL import Image
from program import Ran, command, inside

from dicomsort import Preprocessing, ReadSettings, read_image
from dicomsort.cli.main import app
from dicomsort.dicom import render
from dicomsort.errors import ExitCode
from dicomsort.manifest.columns import columns
from dicomsort.model.bundle import load, locate
from dicomsort.model.defaults import DEFAULT_MODELS
from dicomsort.model.model_set import columns_of
from dicomsort.outcome import Failure, Reason, Status

CANARIES = ("CANARY", "19330303", "20150303")


@pytest.fixture(scope="module")
def sorted_archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ran]:
    out = tmp_path_factory.mktemp("run") / "sorted"
    return out, command("classify", ARCHIVE, "--out", out, "--json", "-v")


@pytest.fixture(scope="module")
def sorted_broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ran]:
    out = tmp_path_factory.mktemp("run") / "sorted"
    return out, command("classify", BROKEN, "--out", out, "--timeout", "20")


def rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return {name_of(row["path"]): row for row in csv.DictReader(file)}


IN_ARCHIVES = {"broken/packed.dcm": "broken/packed.dcm!/packed.dcm"}
"""What is archives by content, and the good radiograph in them."""


def statuses_differ(out: Path, expected: list[dict[str, str]], folder: str) -> list[tuple[str, str, str]]:
    found = rows(out)
    wanted = {row["file"]: row["status"] for row in expected if row["file"].startswith(f"{folder}/")}
    wanted |= {IN_ARCHIVES[name]: "sorted" for name in wanted if name in IN_ARCHIVES}
    assert set(found) == set(wanted)
    ended = {name: "sorted" if row["status"] == "review" else row["status"] for name, row in found.items()}
    return [(name, ended[name], status) for name, status in wanted.items() if ended[name] != status]


def test_a_ctrl_c_after_the_end_changes_no_exit_code() -> None:
    script = (
        "import os, signal, sys\n"
        "from dicomsort.__main__ import main\n"
        "sys.argv = ['dicomsort', '--version']\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "dicomsort" in ran.stdout


def test_the_archive_ends_as_expected(
    sorted_archive: tuple[Path, Ran], expected: list[dict[str, str]]
) -> None:
    out, ran = sorted_archive
    assert ran.code == ExitCode.DONE, ran.err
    assert statuses_differ(out, expected, "archive") == []
    assert (
        next(iter(rows(out).values())).keys()
        == dict.fromkeys(
            columns(columns_of([load(locate(name)) for name in DEFAULT_MODELS]), True, True)
        ).keys()
    )


def test_the_shipped_model_knows_the_archive(
    sorted_archive: tuple[Path, Ran], expected: list[dict[str, str]]
) -> None:
    found = rows(sorted_archive[0])
    known = [
        (found[row["file"]]["label"], row["label"])
        for row in expected
        if row["label"] and row["file"] in found
    ]
    assert len(known) > 30
    assert sum(label == truth for label, truth in known) / len(known) >= 0.9


def test_the_placed_files_are_the_sources(sorted_archive: tuple[Path, Ran]) -> None:
    out, _ = sorted_archive
    placed = {row["destination"]: name for name, row in rows(out).items() if row["destination"]}
    files = {name: data for name, data in tree(out).items() if name not in ("manifest.csv", "run.json")}
    assert set(files) == set(placed)
    for destination, name in placed.items():
        assert files[destination] == committed(name).read_bytes()
        assert destination.split("/", 1)[1] == name.split("/", 1)[1]


def test_json_is_one_object_and_adds_up(sorted_archive: tuple[Path, Ran]) -> None:
    out, ran = sorted_archive
    summary = ran.json
    assert sum(summary["statuses"].values()) == summary["found"] == len(rows(out))
    assert summary["exit_code"] == 0
    assert set(summary["statuses"]) == {status.value for status in Status}
    run = json.loads((out / "run.json").read_text())
    assert run["fixed"]["model"] == summary["model"]
    assert re.fullmatch(r"router5@[0-9a-f]{12}\+view@[0-9a-f]{12}", summary["model"])


def test_a_second_run_says_that_all_is_done(
    sorted_archive: tuple[Path, Ran], capfd: pytest.CaptureFixture[str]
) -> None:
    out, first = sorted_archive
    before = tree(out)
    ran = inside(capfd, "classify", ARCHIVE, "--out", out)
    assert ran.code == ExitCode.DONE
    assert f"nothing new: all {first.json['found']} files are done already" in ran.err
    assert tree(out) == before


def test_the_broken_ones_end_as_expected(
    sorted_broken: tuple[Path, Ran], expected: list[dict[str, str]]
) -> None:
    out, ran = sorted_broken
    assert ran.code == ExitCode.SOME_FAILED, ran.err
    assert "files by status" in ran.out
    assert statuses_differ(out, expected, "broken") == []


def test_no_name_reaches_any_output(
    sorted_archive: tuple[Path, Ran], sorted_broken: tuple[Path, Ran]
) -> None:
    for out, ran in (sorted_archive, sorted_broken):
        texts = [ran.out, ran.err, (out / "manifest.csv").read_text(), (out / "run.json").read_text()]
        assert not [canary for canary in CANARIES for text in texts if canary in text]


def test_reasons_are_a_fixed_set(sorted_archive: tuple[Path, Ran], sorted_broken: tuple[Path, Ran]) -> None:
    """One of them has a number behind it: that of the frame that was read."""
    known = {reason.value for reason in Reason} - {Reason.OTHER_FRAME}
    for out, _ in (sorted_archive, sorted_broken):
        for row in rows(out).values():
            told = {re.sub(f"^{Reason.OTHER_FRAME} [0-9]+$", "", text) for text in row["reason"].split("; ")}
            assert told <= known


WRONG: list[tuple[list[str], ExitCode, str]] = [
    (["classify", "{tmp}/nowhere", "--out", "{tmp}/o"], ExitCode.USAGE, "there is no '{tmp}/nowhere'"),
    (["classify", "{tmp}/empty", "--out", "{tmp}/o"], ExitCode.NOTHING_FOUND, "no file found"),
    (["classify", "{tmp}/empty", "--out", "{tmp}/file"], ExitCode.TARGET, "is a file; choose a folder"),
    (["classify", "{tmp}/empty", "--out", "{tmp}/file/o"], ExitCode.TARGET, "cannot be written"),
    (["classify", "{tmp}/empty", "--out", "/proc/o"], ExitCode.TARGET, "cannot be written"),
    (["classify", "{tmp}/empty", "--out", "{tmp}/empty"], ExitCode.USAGE, "is, or lies in, --out"),
    (["classify", "{tmp}/empty", "--out", "{tmp}"], ExitCode.USAGE, "is, or lies in, --out"),
    (["classify", "", "--out", "{tmp}/o"], ExitCode.USAGE, "an empty name"),
    (["classify", "{tmp}/empty", "--out", ""], ExitCode.USAGE, "an empty name"),
    (["classify", "{tmp}/empty", "--out", "{tmp}/o", "--timeout", "inf"], ExitCode.USAGE, "--timeout"),
    (["classify", "{tmp}/empty", "--out", "{tmp}/o", "--model", "y" * 5000], ExitCode.MODEL, "no model"),
    (["train", "{tmp}/pictures", "--out", "{tmp}/file/m"], ExitCode.TARGET, "cannot be written"),
    (["train", "{tmp}/pictures", "--out", "{tmp}/n\nl"], ExitCode.USAGE, "cannot be a model's name"),
    (["train", "{tmp}/pictures", "--out", "{tmp}/m", "--seed", "-1"], ExitCode.USAGE, "--seed"),
    (["classify", "{tmp}/empty"], ExitCode.USAGE, "--out"),
    (
        ["classify", "{tmp}/empty", "--out", "{tmp}/o", "--action", "shift"],
        ExitCode.USAGE,
        "--action 'shift' is unknown: use none, copy",
    ),
    (["classify", "{tmp}/empty", "--out", "{tmp}/o", "--workers", "0"], ExitCode.USAGE, "--workers"),
    (
        ["classify", "{tmp}/empty", "--out", "{tmp}/o", "--review-below", "2"],
        ExitCode.USAGE,
        "--review-below",
    ),
    (["classify", "{tmp}/empty", "--out", "{tmp}/o", "--model", "nope"], ExitCode.MODEL, "no model 'nope'"),
    (["classify", "{tmp}/empty", "--out", "{tmp}/new", "--device", "cuda:77"], ExitCode.USAGE, "--device"),
    (["train", "{tmp}/nowhere", "--out", "{tmp}/m"], ExitCode.USAGE, "no data at"),
    (["train", "{tmp}/empty", "--out", "{tmp}/m"], ExitCode.USAGE, "holds no labelled file"),
    (["train", "{tmp}/labels.csv", "--out", "{tmp}/m"], ExitCode.USAGE, "--target COLUMN (file, group)"),
    (["train", "{tmp}/labels.csv", "--target", "x", "--out", "{tmp}/m"], ExitCode.USAGE, "no column 'x'"),
    (["train", "{tmp}/labels.csv", "--target", "group", "--out", "{tmp}/m"], ExitCode.USAGE, "two classes"),
    (
        ["train", "{tmp}/pictures", "--out", "{tmp}/m", "--arch", "vgg99"],
        ExitCode.USAGE,
        "no network 'vgg99'",
    ),
    (["train", "{tmp}/pictures", "--out", "{tmp}/pictures"], ExitCode.USAGE, "not an empty folder"),
    (
        ["render", "{tmp}/empty", "--out", "{tmp}/o"],
        ExitCode.NOTHING_FOUND,
        "there is no file in what was given",
    ),
    (["render", "{tmp}/file", "--out", "{tmp}/file"], ExitCode.TARGET, "cannot be written"),
    (["render", "{tmp}/file", "--out", "{tmp}/o"], ExitCode.SOME_FAILED, "not_dicom: empty file"),
    (["render", "{tmp}/file", "--out", "{tmp}/o", "--size", "8"], ExitCode.USAGE, "--size"),
    (["render", "{tmp}/file", "--out", "{tmp}/o", "--model", "nope"], ExitCode.MODEL, "no model 'nope'"),
    (["render", "{tmp}/file", "--out", ""], ExitCode.USAGE, "an empty name"),
    (["render", "", "--out", "{tmp}/o"], ExitCode.USAGE, "an empty name"),
    (["render", "{tmp}/nowhere.dcm", "--out", "{tmp}/o"], ExitCode.USAGE, "there is no '{tmp}/nowhere.dcm'"),
    (["classify", "{tmp}/empty", "--out", "{tmp}/o", "--max-pixels", "0"], ExitCode.USAGE, "--max-pixels"),
    (["apply", "{tmp}/nowhere"], ExitCode.USAGE, "there is no manifest at '{tmp}/nowhere'"),
    (["undo", "{tmp}/labels.csv"], ExitCode.USAGE, "is no manifest.csv"),
    (["undo", "{tmp}"], ExitCode.USAGE, "there is no manifest at"),
    (
        ["classify", "{tmp}/empty", "--out", "{tmp}/o", "--layout", "{label}"],
        ExitCode.USAGE,
        "cannot keep files apart",
    ),
    (["classify", "{tmp}/empty", "--out", "{tmp}/pictures", "--restart"], ExitCode.USAGE, "is not empty"),
    (["eval", "{tmp}/nowhere"], ExitCode.USAGE, "no data at"),
    (["eval", "{tmp}/pictures"], ExitCode.USAGE, "does not know the label 'bright'"),
    (["eval", "{tmp}/pictures", "--part", "half"], ExitCode.USAGE, "--part 'half' is unknown"),
    (["eval", "{tmp}/pictures", "--part", "train"], ExitCode.USAGE, "is in the train part"),
    (["eval", "{tmp}/pictures", "--model", "{tmp}/empty"], ExitCode.MODEL, "no model"),
]


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("things")
    (folder / "empty").mkdir()
    (folder / "file").touch()
    (folder / "labels.csv").write_text("file,group\nfile,hand\n")
    draw_pictures(folder / "pictures")
    return folder


@pytest.mark.parametrize(
    ("words", "code", "message"), WRONG, ids=[" ".join(words)[:80] for words, _, _ in WRONG]
)
def test_wrong_input_gets_a_clear_line_and_its_exit_code(
    words: list[str], code: ExitCode, message: str, things: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [word.replace("{tmp}", str(things)) for word in words]
    with pytest.raises(SystemExit) as ended:
        app(arguments, prog_name="dicomsort")
    said = capfd.readouterr()
    assert ended.value.code == code, said.err
    assert message.replace("{tmp}", str(things)) in said.err
    assert said.out == ""
    assert "Traceback" not in said.err
    assert len([line for line in said.err.splitlines() if line.startswith("dicomsort:")]) <= 1


def test_an_unexpected_error_tells_its_place_but_not_its_message(
    things: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from dicomsort.sorting import intake

    def fail(*_: object) -> None:
        raise RuntimeError("DOE^JOHN 1970")

    monkeypatch.setattr(intake, "check", fail)
    with pytest.raises(SystemExit) as ended:
        app(["classify", str(things), "--out", str(things / "o")], prog_name="dicomsort")
    said = capfd.readouterr()
    assert ended.value.code == ExitCode.INTERNAL
    assert "internal error" in said.err
    assert "RuntimeError in test_cli.py" in said.err
    assert "DOE" not in said.err + said.out


def test_train_eval_classify(tmp_path: Path, write_dicom: Any, capfd: pytest.CaptureFixture[str]) -> None:
    draw_pictures(tmp_path / "data", 20)
    (tmp_path / "data" / "dark" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    model = tmp_path / "model"
    options = [
        "--size",
        "32",
        "--epochs",
        "3",
        "--batch-size",
        "8",
        "--learning-rate",
        "0.003",
        "--seed",
        "1",
    ]
    ran = inside(capfd, "train", tmp_path / "data", "--out", model, *options, "--json")
    assert ran.code == ExitCode.SOME_FAILED, ran.err
    assert {path.name for path in model.iterdir()} == {
        "model.safetensors",
        "graph.onnx",
        "config.json",
        "split.csv",
        "README.md",
        "log.jsonl",
        "curves.png",
        "unreadable.csv",
    }
    assert sum(ran.json["images"].values()) == 41
    assert str(tmp_path) not in (model / "config.json").read_text() + (model / "README.md").read_text()

    parts = {}
    for part in ("train", "validation", "test", "all"):
        words = ("--part", part, "--json", "--bootstrap", "100")
        report = inside(capfd, "eval", tmp_path / "data", "--model", model, *words)
        assert report.code in (0, 3), report.err
        parts[part] = report.json
    assert (
        sum(parts[part]["images"] for part in ("train", "validation", "test")) == parts["all"]["images"] == 40
    )
    assert parts["all"]["not_read"] == {f"decode_error: {Reason.PICTURE_DAMAGED}": 1}
    assert parts["train"]["overlap_with_training"] >= parts["train"]["images"]
    assert parts["validation"]["overlap_with_validation"] >= parts["validation"]["images"]
    assert parts["test"]["overlap_with_training"] == 0

    out = tmp_path / "figures"
    ran = inside(capfd, "eval", tmp_path / "data", "--model", model, "--part", "all", "--out", out)
    assert ran.code == ExitCode.SOME_FAILED
    assert "warning" in ran.err
    with (out / "predictions.csv").open(newline="") as file:
        predictions = list(csv.DictReader(file))
    assert len(predictions) == 40
    hits = sum(row["truth"] == row["label"] for row in predictions)
    figures = json.loads((out / "metrics.json").read_text())
    assert figures["heads"]["label"]["overall"]["accuracy"]["value"] == pytest.approx(hits / 40)
    assert np.trace(np.array(figures["heads"]["label"]["confusion"])) == hits

    inbox = tmp_path / "in"
    write_dicom(inbox / "a.dcm")
    assert inside(capfd, "classify", inbox, "--out", tmp_path / "out", "--model", model).code == 0
    assert Counter(row["status"] for row in rows(tmp_path / "out").values()) in ({"sorted": 1}, {"review": 1})


def test_render_writes_what_the_network_sees(
    tmp_path: Path, write_dicom: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    names = ("a/one.dcm", "b/one.dcm", "two", "one.dcm.2")
    for name in names:
        write_dicom(tmp_path / name, PixelAspectRatio=["2", "1"])
    (tmp_path / "text.dcm").write_text("nothing")
    files = [tmp_path / name for name in (*names, "text.dcm")]
    out = tmp_path / "pictures"
    ran = inside(capfd, "render", *files, "--out", out, "--size", "96")
    assert ran.code == ExitCode.SOME_FAILED
    assert f"not written: {tmp_path / 'text.dcm'}: not_dicom: {Reason.NO_DICOM}" in ran.err
    drawn = {path.name: np.asarray(Image.open(io.BytesIO(path.read_bytes()))) for path in out.iterdir()}
    pictures = ("one.dcm.png", "one.dcm.2.png", "two.png", "one.dcm.2.2.png")
    assert set(drawn) == set(pictures)
    for name, picture in zip(pictures, names, strict=True):
        assert np.array_equal(drawn[name], read_image(tmp_path / picture, Preprocessing(size=96)))


def test_render_full_and_nothing_is_replaced(
    tmp_path: Path, write_dicom: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    path, out = write_dicom(tmp_path / "x.dcm"), tmp_path / "out"
    assert inside(capfd, "render", path, "--out", out, "--full", "--quiet") == Ran(0, "", "")
    picture = (out / "x.dcm.png").read_bytes()
    assert np.asarray(Image.open(io.BytesIO(picture))).shape == (40, 30)
    ran = inside(capfd, "render", path, "--out", out, "--size", "64")
    assert ran.code == ExitCode.SOME_FAILED
    assert Reason.DESTINATION_TAKEN in ran.err
    assert (out / "x.dcm.png").read_bytes() == picture


def test_render_stops_where_nothing_can_be_written(
    tmp_path: Path, write_dicom: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    wanted = render.Wanted(str(write_dicom(tmp_path / "x.dcm")), str(tmp_path / "x.png"))
    monkeypatch.setattr(render, "write_new", full)
    failure = render._write(wanted, Preprocessing(), ReadSettings())
    assert isinstance(failure, Failure)
    assert failure.reason is Reason.TARGET_DONE
    monkeypatch.setattr(render, "write_all", lambda *_: iter([(wanted, failure)] * 2))
    ran = inside(capfd, "render", wanted.path, "--out", tmp_path / "out")
    assert ran.code == ExitCode.TARGET
    assert ran.err.count("is full or cannot be written") == 1


def test_captures_and_large_images_are_settings_of_a_run(
    tmp_path: Path, write_dicom: Any, small_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    capture = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "Modality": "OT"}
    write_dicom(tmp_path / "in" / "capture.dcm", **capture)
    write_dicom(tmp_path / "in" / "large.dcm", np.arange(10000, dtype=np.uint16).reshape(100, 100))

    def statuses(out: str, *options: str) -> dict[str, str]:
        words = [*map(str, ("classify", tmp_path / "in", "--out", tmp_path / out, "--model", small_model))]
        assert inside(capfd, *words, "--review-below", "0", *options).code in (0, 3)
        with (tmp_path / out / "manifest.csv").open(encoding="utf-8", newline="") as file:
            return {Path(row["path"]).stem: row["status"] for row in csv.DictReader(file)}

    assert statuses("plain") == {"capture": "not_xray", "large": "sorted"}
    assert statuses("captures", "--include-secondary-capture") == {"capture": "sorted", "large": "sorted"}
    assert statuses("small", "--max-pixels", "5000") == {"capture": "not_xray", "large": "unsupported"}
    words = ["--out", str(tmp_path / "plain"), "--model", str(small_model), "--review-below", "0"]
    ran = inside(capfd, "classify", tmp_path / "in", *words, "--include-secondary-capture")
    assert ran.code == ExitCode.USAGE
    assert "made without --include-secondary-capture" in ran.err


@pytest.mark.slow
def test_training_is_deterministic(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "data")
    options = ["--size", "32", "--epochs", "1", "--batch-size", "8", "--json", "--quiet"]
    tags = [
        command("train", tmp_path / "data", "--out", tmp_path / name / "m", *options).json["model"]
        for name in "ab"
    ]
    assert tags[0] == tags[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_program_ends_with_130_and_goes_on(
    number: int, tmp_path: Path, small_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"
    for copy in range(30):
        shutil.copytree(ARCHIVE / "2020" / "PAED", inbox / str(copy))
    words = ["classify", str(inbox), "--out", str(out), "--model", str(small_model), "--workers", "1"]
    options = ["--batch-size", "1"]
    running = subprocess.Popen([*HELD, "20", *words, *options], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not has_rows(out / "manifest.csv"):
        time.sleep(0.02)
    running.send_signal(number)
    _, err = running.communicate(timeout=120)
    assert running.returncode == ExitCode.INTERRUPTED, err
    assert "Traceback" not in err
    assert (out / "manifest.csv").read_bytes().endswith(b"\n")
    last = inside(capfd, *words, "--json")
    assert last.code == 0, last.err
    assert last.json["already_done"] > 0
    assert last.json["found"] == 180


HELD = [sys.executable, str(TESTS / "support" / "held_program.py")]
"""The program, that waits at the row whose number follows."""


def has_rows(manifest: Path) -> bool:
    return manifest.exists() and manifest.read_bytes().count(b"\n") > 1


def children(process: int) -> list[int]:
    found = Path(f"/proc/{process}/task/{process}/children")
    return [int(one) for one in found.read_text().split()] if found.exists() else []


def is_forkserver(process: int) -> bool:
    try:
        return b"forkserver" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_ctrl_c_while_the_program_is_loading_is_one_line(tmp_path: Path, small_model: Path) -> None:
    """A terminal sends it to all processes: also to the one from which workers will be forked."""
    words = ["classify", str(ARCHIVE), "--out", str(tmp_path / "out"), "--model", str(small_model), "--quiet"]
    running = subprocess.Popen(
        [*HELD, "1", *words], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not any(is_forkserver(one) for one in children(running.pid)):
        time.sleep(0.005)
    os.killpg(running.pid, signal.SIGINT)
    _, err = running.communicate(timeout=120)
    assert running.returncode == ExitCode.INTERRUPTED, err
    assert err == "dicomsort: interrupted; the same command goes on where this one stopped\n"


def test_plan_apply_and_undo(
    tmp_path: Path, write_dicom: Any, small_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.dcm", "b.dcm"):
        write_dicom(inbox / name)
    options = ("--out", out, "--model", small_model, "--layout", "{modality}/{label}/{relpath}")
    assert (
        inside(capfd, "classify", inbox, *options, "--dry-run", "--relative", "--action", "symlink").code == 0
    )
    assert not list(out.rglob("*.dcm"))
    ran = inside(capfd, "apply", out / "manifest.csv", "--verify")
    assert (ran.code, ran.out) == (0, "")
    assert "2 placed" in ran.err
    placed = sorted(out.glob("DX/*/*.dcm"))
    assert [path.name for path in placed] == ["a.dcm", "b.dcm"]
    assert not os.path.isabs(os.readlink(placed[0]))
    placed[1].unlink()
    placed[1].write_text("mine")
    ran = inside(capfd, "undo", out)
    assert ran.code == ExitCode.SOME_FAILED
    assert "1 removed" in ran.err
    assert f"1 left: {Reason.CHANGED_COPY}" in ran.err
    assert placed[1].read_text() == "mine"
    assert not placed[0].exists()
