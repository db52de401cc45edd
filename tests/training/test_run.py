"""`dicomsort train` from its words to its bundle: what it tells, refuses, and leaves behind."""

import csv
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from committed import ARCHIVE, committed, expected_rows
from PIL import Image
from program import command, inside
from trainings import OPTIONS, SMALL, read_csv, table, width_of

from dicomsort.data import dataset
from dicomsort.errors import ExitCode, UsageError
from dicomsort.model import bundle as bundles
from dicomsort.model import networks
from dicomsort.training import pretrained


def test_train_leaves_a_log_curves_and_the_unreadable(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = table(tmp_path / "data")
    (tmp_path / "data" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    (tmp_path / "data" / "4.png").unlink()
    words = ("train", data, "--target", "light", "--out", tmp_path / "m", *SMALL, "--epochs", "2")
    ran = inside(capfd, *words, "--json")
    assert ran.code == ExitCode.SOME_FAILED, ran.err
    names = {path.name for path in (tmp_path / "m").iterdir()} - {"tensorboard"}
    bundle = {"model.safetensors", "config.json", "split.csv", "README.md"}
    assert names == bundle | {"log.jsonl", "curves.png", "unreadable.csv"}
    log = [json.loads(line) for line in (tmp_path / "m" / "log.jsonl").read_text().splitlines()]
    assert [line["number"] for line in log] == [1, 2]
    assert {"loss", "f1_macro", "learning_rate", "seconds", "validation_loss", "accuracy"} <= set(log[0])
    assert width_of(tmp_path / "m" / "curves.png") > 500
    unread = {row["file"]: row["status"] for row in read_csv(tmp_path / "m" / "unreadable.csv")}
    assert unread["4.png"] == "io_error"
    assert str(tmp_path) not in (tmp_path / "m" / "config.json").read_text()
    promise = ran.json["validation"][0]["guarantee"]
    assert (promise["guaranteed"], promise["target"]) == (False, 0.99), "of a few pictures"
    for told in (ran.err, (tmp_path / "m" / "README.md").read_text()):
        assert "'light', review threshold" in told
        assert "WITHOUT GUARANTEE" in told
    again = inside(capfd, *words)
    assert again.code == ExitCode.USAGE
    assert "not an empty folder" in again.err
    before = (tmp_path / "m" / "model.safetensors").stat().st_mtime_ns
    again = inside(capfd, *words, "--resume", "--json")
    assert again.code == ExitCode.SOME_FAILED
    assert "holds the finished model already" in again.err
    assert again.json["model"] == ran.json["model"]
    assert (tmp_path / "m" / "model.safetensors").stat().st_mtime_ns == before
    again = inside(capfd, *words, "--resume", "--seed", "5")
    assert again.code == ExitCode.USAGE
    assert "holds a finished model of other data or settings" in again.err


WRONG = [
    (["--target", "nothing"], ExitCode.USAGE, "has no column 'nothing'"),
    (["--target", "light", "--balance", "nothing"], ExitCode.USAGE, "has no column 'nothing'"),
    (["--target", "site", "--hold-out", "site=q"], ExitCode.USAGE, "no file has that value"),
    (["--target", "light", "--hold-out", "site"], ExitCode.USAGE, "write COLUMN=VALUE"),
    (["--target", "light", "--folds", "99"], ExitCode.USAGE, "--folds 99"),
    (
        ["--target", "light", "--folds", "3", "--split-column", "site"],
        ExitCode.USAGE,
        "makes splits of its own",
    ),
    (["--target", "light", "--audit", "x.csv"], ExitCode.USAGE, "--audit needs"),
    (["--target", "light", "--folds", "3", "--audit", "x.png"], ExitCode.USAGE, "ends in .csv"),
    (["--target", "light", "--arch", "levit_128s"], ExitCode.USAGE, "one plain layer"),
    (["--target", "light", "--split-column", "site"], ExitCode.USAGE, "is not train, validation or test"),
    (["--target", "light", "--augment", "wild"], ExitCode.USAGE, "'wild' is unknown"),
    (["--target", "light", "--schedule", "linear"], ExitCode.USAGE, "--schedule 'linear' is unknown"),
    (["--target", "light", "--recipe", "vindr"], ExitCode.USAGE, "--recipe 'vindr' is unknown"),
    (["--target", "light", "--arch", "vgg99"], ExitCode.USAGE, "no network 'vgg99'"),
    (["--target", "light", "--pretrained", "x.safetensors"], ExitCode.USAGE, "no file 'x.safetensors'"),
    (["--target", "light", "--freeze", "2"], ExitCode.USAGE, "--freeze keeps weights that are there already"),
    (["--target", "light", "--corrections", "x.csv"], ExitCode.USAGE, "corrections 'x.csv' cannot be read"),
    (["--target", "light", "--folds", "x.csv"], ExitCode.USAGE, "--folds 'x.csv' cannot be read"),
    (["--target", "light", "--precision", "int8"], ExitCode.USAGE, "--precision 'int8' is unknown"),
    (["--target", "light", "--smooth", "box"], ExitCode.USAGE, "'box' is unknown"),
    (["--target", "light", "--device", "cuda:77"], ExitCode.USAGE, "--device"),
    (["--target", "light", "--arch", "test_vit", "--size", "33"], ExitCode.USAGE, "33 pixels"),
]


@pytest.mark.parametrize(("words", "code", "message"), WRONG, ids=[" ".join(words) for words, _, _ in WRONG])
def test_wrong_input_gets_one_clear_line(
    words: list[str],
    code: ExitCode,
    message: str,
    pictures: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    base = dict(zip(OPTIONS[::2], OPTIONS[1::2], strict=True)) | dict(
        zip(words[::2], words[1::2], strict=True)
    )
    flat = [word for pair in base.items() for word in pair]
    cache = pictures.parent.parent / "shared-cache"
    ran = inside(capfd, "train", pictures, "--out", tmp_path / "m", "--cache", cache, "--quiet", *flat)
    assert ran.code == code, ran.err
    assert message in ran.err
    assert len(ran.err.splitlines()) == 1 or "usage" in ran.err.lower()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", networks.ALIASES)
def test_every_network_trains_and_sorts_an_archive(name: str, tmp_path: Path) -> None:
    """One epoch on the radiographs of the committed archive, which have a label."""
    rows = [row for row in expected_rows() if row["label"] and row["file"].startswith("archive/")]
    for row in rows:
        shutil.copy(committed(row["file"]), tmp_path / row["file"].replace("/", "_"))
    labels = tmp_path / "labels.csv"
    with labels.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "chest"])
        for row in rows:
            writer.writerow([row["file"].replace("/", "_"), int("chest" in row["label"])])
    model = tmp_path / "m"
    size = "64" if name != "vit_base" else "32"
    ran = command(
        "train", labels, "--target", "chest", "--arch", name, "--size", size, "--epochs", "1", "--batch-size",
        "8", "--out", model, "--json", "--quiet",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    out = tmp_path / "sorted"
    ran = command("classify", ARCHIVE, "--out", out, "--model", model, "--json")
    assert ran.code == 0, ran.err
    assert set(ran.json["labels"]) <= {"chest", "no_chest"}
    assert sum(ran.json["labels"].values()) > 30
    network = networks.Network(bundles.load(model).network, 1).train()
    loss = network(torch.randint(0, 255, (2, int(size), int(size)), dtype=torch.uint8)).sum()
    loss.backward()
    assert all(value.grad is not None for value in network.parameters())


def test_weights_from_the_hub_without_a_network_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm

    original: Any = timm.create_model

    def refuse(*words: object, **options: Any) -> Any:
        if options.get("pretrained"):
            raise OSError("no route to host")
        return original(*words, **options)

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(UsageError, match="cannot be fetched; without a network connection"):
        pretrained.create_for_training("resnet18", 64, 2, "hub")


def test_a_model_of_whole_studies_is_measured_on_whole_studies(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = table(tmp_path / "data", 48, study=[f"s{n // 4}-{n % 2}" for n in range(48)])
    words = ("--target", "light", "--out", tmp_path / "m", *SMALL, "--epochs", "1", "--concat-by", "study")
    ran = inside(capfd, "train", data, *words, "--json")
    assert ran.code == 0, ran.err
    assert sum(ran.json["images"].values()) == 24
    options = ("--target", "light", "--model", tmp_path / "m", "--part", "all", "--json")
    ran = inside(capfd, "eval", data, *options, "--bootstrap", "50")
    assert ran.json["images"] == 24
    places = ("--out", tmp_path / "o", "--model", tmp_path / "m", "--dry-run")
    ran = inside(capfd, "classify", ARCHIVE / "2020", *places)
    assert ran.code == 0
    assert "was trained on whole studies: each gets one answer" in ran.err


def test_a_model_of_several_heads_answers_in_columns_of_its_own(
    pictures: Path, tmp_path: Path, write_dicom: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    targets = ("--target", "level", "--target", "light", "--target", "metal")
    words = (*targets, "--out", tmp_path / "m", *SMALL, "--epochs", "8", "--learning-rate", "0.003")
    assert inside(capfd, "train", pictures, *words).code == 0
    for number in range(3):
        write_dicom(tmp_path / "in" / f"{number}.dcm", (np.eye(40, 30) * 900 + number).astype(np.uint16))
    options = ("--out", tmp_path / "out", "--model", tmp_path / "m", "--review-below", "0")
    assert inside(capfd, "classify", tmp_path / "in", *options).code == 0
    rows = read_csv(tmp_path / "out" / "manifest.csv")
    for row in rows:
        chosen = {label for label in ("10", "200") if float(row[f"score_{label}"]) >= 0}
        assert set(row["label"].split("|")) - {""} <= chosen
        folder = row["label"].replace("|", "+") if row["status"] == "sorted" else "review"
        assert row["destination"].split("/")[0] == folder
        assert (tmp_path / "out" / row["destination"]).exists()
        assert row["light.label"] in ("bright", "dark")
        scores = [float(row[f"light.score_{label}"]) for label in ("bright", "dark")]
        assert sum(scores) == pytest.approx(1, abs=1e-5)
        assert float(row["light.confidence"]) == pytest.approx(max(scores))
        assert float(row["metal.score_metal"]) + float(row["metal.score_no_metal"]) == pytest.approx(
            1, abs=1e-5
        )
        assert row["metal.label"] in ("metal", "no_metal")
    ran = inside(capfd, "classify", tmp_path / "in", *options, "--json")
    assert ran.json["already_done"] == 3
    ran = inside(capfd, "eval", pictures, *targets, "--model", tmp_path / "m", "--part", "all", "--json")
    assert set(ran.json["heads"]) == {"level", "light", "metal"}
    assert ran.json["heads"]["metal"]["images"] < ran.json["heads"]["light"]["images"] == 24


def test_a_class_whose_only_file_of_a_part_is_broken_is_split_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = read_csv(table(tmp_path / "data", 24))
    kept = [row for row in rows if row["light"] == "bright" or int(row["file"].partition(".")[0]) < 8]
    data = tmp_path / "data" / "few.csv"
    data.write_text("\n".join(["file,light", *(f"{row['file']},{row['light']}" for row in kept)]) + "\n")
    unread = []
    for number in (1, 3, 5, 7):  # the four dark ones
        path = tmp_path / "data" / f"{number}.png"
        whole = path.read_bytes()
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes([number]))
        out = tmp_path / str(number)
        ran = inside(capfd, "train", data, "--target", "light", "--out", out, *SMALL, "--epochs", "1")
        assert ran.code in (0, ExitCode.SOME_FAILED), ran.err
        if ran.code:  # it is not in the test part, which is not read
            unread.append(number)
            assert [row["file"] for row in read_csv(out / "unreadable.csv")] == [f"{number}.png"]
        path.write_bytes(whole)
    assert len(unread) >= 2


def test_a_class_that_is_rare_because_its_files_are_broken_is_refused_with_their_names(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = table(tmp_path / "data", 24)
    with data.open("a", encoding="utf-8") as file:
        for number in range(4):
            (tmp_path / "data" / f"broken{number}.png").write_bytes(b"no picture %d" % number)
            file.write(f"broken{number}.png,odd\n")
    out = tmp_path / "m"
    ran = inside(capfd, "train", data, "--target", "light", *SMALL, "--epochs", "1", "--out", out)
    assert (ran.code, "not read: broken" in ran.err, "class 'odd'" in ran.err) == (2, True, True), ran.err
    assert not out.exists()


def test_the_same_image_with_two_labels_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = table(tmp_path / "data", 24)
    shutil.copy(tmp_path / "data" / "0.png", tmp_path / "data" / "1.png")
    ran = inside(capfd, "train", data, "--target", "light", "--out", tmp_path / "m", *SMALL, "--epochs", "1")
    assert "warning: 1 image occurs more than once and with different labels" in ran.err
    assert f"dicomsort eval {data} --target light --model" in ran.err


LEAKS = [
    ("light,patient,patient", ["has two columns 'patient'"], []),
    ("light,PatientID,n", ["no column 'patient', but 'PatientID' looks like it"], ["--patient", "PatientID"]),
    ("light, patient,n", ["say --patient patient, or --patient none"], ["--patient", "patient"]),
    ("light,Subject ID,n", ["say --patient 'Subject ID', or"], ["--patient", "Subject ID"]),
]


@pytest.mark.parametrize(("head", "messages", "words"), LEAKS, ids=[head for head, _, _ in LEAKS])
def test_no_patient_is_on_two_sides_for_want_of_a_name(
    head: str, messages: list[str], words: list[str], pictures: Path, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    shutil.copytree(pictures.parent, tmp_path / "data")
    data = tmp_path / "data" / "labels.csv"
    lines = [f"{n}.png,{('bright', 'dark')[n % 2]},p{n // 2},{n}" for n in range(24)]
    data.write_text("\n".join([f"file,{head}", *lines]) + "\n", encoding="utf-8")
    commands: list[tuple[list[str], list[str | Path]]] = [
        (["train"], ["--out", tmp_path / "m", *SMALL, "--epochs", "1"]), (["stats"], []), (["eval"], []),
        (["preview"], ["--out", tmp_path / "x.png"]), (["calibrate", "router5"], ["--out", tmp_path / "c"]),
    ]  # fmt: skip
    for begin, rest in commands:
        ran = inside(capfd, *begin, data, "--target", "light", *rest)
        assert (ran.code, len(ran.err.splitlines())) == (ExitCode.USAGE, 1), ran.err
        assert all(message in ran.err for message in messages)
    if words:
        out = tmp_path / "n"
        ran = inside(capfd, "train", data, "--target", "light", "--out", out, *SMALL, "--epochs", "1", *words)
        assert ran.code == 0, ran.err
        assert "warning" not in ran.err
        assert f" --patient {shlex.quote(words[1])} --model" in ran.err
        parts = {row["sha256"]: row["part"] for row in read_csv(out / "split.csv")}
        hashes = [dataset.content_hash(tmp_path / "data" / f"{n}.png") for n in range(24)]
        assert all(parts[hashes[n]] == parts[hashes[n + 1]] for n in range(0, 24, 2))


def test_unknown_patients_are_told_unless_the_split_is_given(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = table(tmp_path / "data", 24, part=["train"] * 8 + ["val"] * 4 + ["test"] * 4)
    words = ("train", data, "--target", "light", *SMALL, "--epochs", "1", "--quiet")
    cases: list[tuple[list[str], int]] = [
        ([], 1), (["--folds", "2"], 1), (["--patient", "none"], 0), (["--split-column", "part"], 0),
    ]  # fmt: skip
    for at, (more, lines) in enumerate(cases):
        ran = inside(capfd, *words, "--out", tmp_path / str(at), *more)
        assert ran.code == 0, ran.err
        assert ran.err.count("no patient is known") == len(ran.err.splitlines()) == lines


def test_pictures_that_are_nearly_black_are_told_once_each_time(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = table(tmp_path / "data", 24, patient=[f"p{n // 2}" for n in range(24)])
    for n in range(24):
        gray = np.random.default_rng(n).integers(0, 4096, (40, 48)).astype(np.uint16)
        gray[0, :2] = 0, 4095
        Image.fromarray(gray).save(tmp_path / "data" / f"{n}.png")
    wanted = (
        r"warning: (\d+) files are 16-bit pictures that use less than a quarter of their range, such as \d+."
        r"png \(values from 0 to 4095 of 65535\): they are read nearly black; stretch them to 0..65535"
    )
    words = (data, "--target", "light", "--quiet")
    train_words = ("train", *words, *SMALL, "--epochs", "1", "--cache", tmp_path / "cache")
    model = ("--model", tmp_path / "1", "--part", "all", "--bootstrap", "0")
    for run, files in (
        ((*train_words, "--out", tmp_path / "1"), 20),
        ((*train_words, "--out", tmp_path / "2"), 20),
        (("eval", *words, *model, *model[:2]), 24),
        (("stats", *words), 24),
        (("preview", *words, "--out", tmp_path / "x.png", "--images", "5"), 5),
        (("calibrate", tmp_path / "1", *words, "--part", "all", "--target-precision", "0.1"), 24),
    ):
        ran = inside(capfd, *run)
        assert ran.code == 0, ran.err
        told = re.findall(wanted, ran.err)
        assert len(told) == 1, ran.err
        if files == 20:  # the test part is not read
            assert 14 <= int(told[0]) <= 20
        else:
            assert int(told[0]) == files
