"""Labelled images: the tables and folders people have, and a split that no patient crosses."""

import csv
import os
import re
import shlex
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicomsort.data import caveats
from dicomsort.data.corrections import corrected
from dicomsort.data.corrections import load as load_corrected
from dicomsort.data.corrections import read as read_corrections
from dicomsort.data.dataset import Columns, Data, Sample, content_hash, in_part, load_split, names_people
from dicomsort.data.dataset import load as load_data
from dicomsort.data.splits import ByColumn, Split, across, given_split, held_out, make_folds, read_folds
from dicomsort.data.splits import make_split as split_of
from dicomsort.data.targets import encode, heads_of
from dicomsort.errors import UsageError
from dicomsort.model import bundle
from dicomsort.model.heads import Head
from dicomsort.model.studies import StudyRule
from dicomsort.outcome import Reason


def load(data: Path, target: str | None, **columns: Any) -> Data:
    return load_data(data, Columns((target,) if target else (), **columns))


def make_split(samples: list[Sample], seed: int = 0) -> Split:
    return split_of(samples, heads_of(samples, ()), seed)


def table(folder: Path, rows: list[dict[str, str]]) -> Path:
    for row in rows:
        (folder / row["file"]).parent.mkdir(parents=True, exist_ok=True)
        (folder / row["file"]).write_text(f"content of {row['file']}")
    path = folder / "labels.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_table(tmp_path: Path) -> None:
    rows = [
        {"file": "i/1.png", "group": "hand", "patient": "p1"},
        {"file": "i/2.png", "group": "spine", "patient": ""},
        {"file": "i/3.png", "group": "", "patient": "p1"},
    ]
    data = load(table(tmp_path, rows), "group")
    assert data.has_patients
    assert [(sample.name, sample.label, sample.group) for sample in data.samples] == [
        ("i/1.png", "hand", "p1"),
        ("i/2.png", "spine", "i/2.png"),
    ]


def test_a_folder_per_class(tmp_path: Path) -> None:
    for name in ("hand/a.png", "hand/deep/b.dcm", "spine/c.png", ".git/x", "stray.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert [(s.name, s.label) for s in load(tmp_path, None).samples] == [
        ("hand/a.png", "hand"), ("hand/deep/b.dcm", "hand"), ("spine/c.png", "spine"),
    ]  # fmt: skip


def test_what_cannot_be_used_is_said_in_one_line(tmp_path: Path) -> None:
    good = table(tmp_path, [{"file": "1.png", "group": "hand", "bad": "a|b", "worse": "../x"}])
    for data, target, message in [
        (tmp_path / "none", None, "no data at"),
        (good, None, "--target COLUMN"),
        (good, "nothing", "has no column 'nothing'; its columns are: file, group"),
        (good, "worse", "cannot be a class"),
    ]:
        with pytest.raises(UsageError, match=message):
            load(data, target)
    with pytest.raises(UsageError, match="at least two classes; the data has 1: hand"):
        heads_of(load(good, "group").samples, ("group",))
    (tmp_path / "1.png").unlink()
    with pytest.raises(UsageError, match="names no file that can be read"):
        load(good, "group")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not a UTF-8 CSV"):
        load(tmp_path / "binary.csv", "group")


def samples_of(classes: dict[str, int], per_patient: int = 1) -> list[Sample]:
    made = []
    for label, count in classes.items():
        for number in range(count):
            name = f"{label}{number}"
            made.append(
                Sample(name, name, (label,), f"{label} patient {number // per_patient}", f"{name:0>16}")
            )
    return made


def test_the_split_is_stratified_and_no_patient_crosses_it() -> None:
    samples = samples_of({"hand": 600, "spine": 200, "rare": 90}, per_patient=3)
    split = make_split(samples, seed=0)
    parts = defaultdict(set)
    for sample in samples:
        parts[sample.group].add(split[sample.sha256])
    assert all(len(sides) == 1 for sides in parts.values())
    counts = Counter((sample.label, split[sample.sha256]) for sample in samples)
    for label, total in Counter(sample.label for sample in samples).items():
        for part, share in (("train", 0.7), ("validation", 0.15), ("test", 0.15)):
            assert counts[label, part] / total == pytest.approx(share, abs=0.06)
    assert split == make_split(samples, seed=0)
    assert split != make_split(samples, seed=1)


def test_one_content_under_two_patients_stays_on_one_side() -> None:
    samples = samples_of({"hand": 60, "spine": 60})
    twin = samples[0]
    others = [Sample("twin", "twin", ("hand",), samples[9].group, twin.sha256)]
    split = make_split([*samples, *others], seed=0)
    assert split[twin.sha256] == split[samples[9].sha256]


def test_small_data_still_has_every_part() -> None:
    split = make_split(samples_of({"a": 3, "b": 3}))
    assert Counter(split.values()) == {"train": 2, "validation": 2, "test": 2}
    for classes, per_patient in (({"a": 9, "b": 2}, 1), ({"a": 90, "b": 6}, 6)):
        with pytest.raises(UsageError, match="class 'b'"):
            make_split(samples_of(classes, per_patient))


@pytest.mark.parametrize("rare", [3, 5, 12])
def test_a_rare_class_does_not_distort_the_split(rare: int) -> None:
    samples = samples_of({"common": 1000, "rare": rare})
    split = make_split(samples)
    counts = Counter((sample.label, split[sample.sha256]) for sample in samples)
    assert all(counts["rare", part] for part in ("train", "validation", "test"))
    assert counts["common", "train"] / 1000 == pytest.approx(0.7, abs=0.06)


def test_files_in_no_split_count_as_test() -> None:
    samples = samples_of({"a": 3, "b": 3})
    split = {samples[0].sha256: "train", samples[1].sha256: "validation"}
    assert len(in_part(samples, split, "test")) == 4
    assert in_part(samples, split, "train") == samples[:1]
    assert in_part(samples, split, "all") == samples


def test_split_files(tmp_path: Path) -> None:
    path = tmp_path / "split.csv"
    for text, message in (
        ("a,b\n", "columns sha256,part"),
        ("sha256,part\n00,training\n", "unknown part 'training'"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=message):
            load_split(path)
    with pytest.raises(UsageError, match="cannot be read"):
        load_split(tmp_path / "none.csv")


def test_the_committed_split_is_the_one_the_shipped_model_was_trained_with() -> None:
    fixed = load_split(bundle.shipped_models() / "xray-split.csv")
    shares = np.array([Counter(fixed.values())[part] for part in ("train", "validation", "test")]) / len(
        fixed
    )
    assert np.abs(shares - [0.7, 0.15, 0.15]).max() < 0.01
    split = bundle.load(bundle.locate("router5")).split  # without what models/corrections.csv takes out
    assert split.items() <= fixed.items()
    assert len(fixed) - len(split) == 3
    assert Counter(split.values())["test"] == Counter(fixed.values())["test"]


def test_files_that_are_not_there_are_told_and_no_end(tmp_path: Path) -> None:
    data = table(tmp_path, [{"file": "1.png", "group": "a"}, {"file": "2.png", "group": "b"}])
    (tmp_path / "2.png").unlink()
    found = load(data, "group")
    assert [sample.name for sample in found.samples] == ["1.png"]
    assert [(sample.name, failure.status) for sample, failure in found.unread] == [("2.png", "io_error")]


def test_cells_make_heads(tmp_path: Path) -> None:
    rows = [
        {"file": "1.png", "parts": "hand|wrist", "part": "hand", "metal": "1"},
        {"file": "2.png", "parts": "hand", "part": "foot", "metal": "0"},
        {"file": "3.png", "parts": "", "part": "", "metal": ""},
        {"file": "4.png", "parts": " wrist | hand ", "part": "", "metal": "1"},
    ]
    targets = ("parts", "part", "metal")
    samples = load_data(table(tmp_path, rows), Columns(targets)).samples
    assert [sample.targets for sample in samples] == [
        ("hand|wrist", "hand", "1"), ("hand", "foot", "0"), ("hand|wrist", "", "1"),
    ]  # fmt: skip
    heads = heads_of(samples, targets)
    assert [(head.name, head.kind, head.labels) for head in heads] == [
        ("parts", "multilabel", ("hand", "wrist")),
        ("part", "multiclass", ("foot", "hand")),
        ("metal", "binary", ("no_metal", "metal")),
    ]
    assert [encode(cell, head).tolist() for cell, head in zip(samples[1].targets, heads, strict=True)] == [
        [1.0, 0.0], [1.0, 0.0], [0.0],
    ]  # fmt: skip
    assert np.isnan(encode("", heads[0])).all()
    assert encode("metal", heads[2]).tolist() == [1.0]
    for cell, head, message in (("knee", heads[0], "does not know the label 'knee'"),
                                ("foot|hand", heads[1], "holds several labels")):  # fmt: skip
        with pytest.raises(UsageError, match=message):
            encode(cell, head)


def test_folders_of_parts_bring_their_split(tmp_path: Path) -> None:
    for number, name in enumerate(("train/a/1", "train/b/2", "val/a/3", "val/b/4", "test/a/5", "test/b/6")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(str(number))
    (tmp_path / "test" / "a" / "copy").write_text("0")  # the same content as train/a/1
    samples = load(tmp_path, None).samples
    assert {sample.label for sample in samples} == {"a", "b"}
    split = given_split(samples)
    parts = {sample.name: split[sample.sha256] for sample in samples}
    assert parts == {
        "train/a/1": "test", "test/a/copy": "test", "train/b/2": "train", "val/a/3": "validation",
        "val/b/4": "validation", "test/a/5": "test", "test/b/6": "test",
    }  # fmt: skip


def test_a_column_may_give_the_split(tmp_path: Path) -> None:
    rows = [{"file": f"{n}.png", "group": "ab"[n % 2], "part": part, "patient": "p"}
            for n, part in enumerate(("train", "val", "test"))]  # fmt: skip
    data = table(tmp_path, rows)
    samples = load(data, "group", part="part").samples
    assert sorted(given_split(samples).values()) == ["test", "train", "validation"]
    assert across(samples, given_split(samples)) == 1
    rows[0]["part"] = "learn"
    with pytest.raises(UsageError, match="line 2: 'learn' in column 'part' is not train"):
        load(table(tmp_path, rows), "group", part="part")


def with_facts(samples: list[Sample], values: list[str]) -> list[Sample]:
    return [replace(sample, metadata={"site": value}) for sample, value in zip(samples, values, strict=True)]


def test_whole_sources_are_held_out() -> None:
    samples = samples_of({"a": 40, "b": 40}, per_patient=2)
    samples = with_facts(samples, ["x" if n % 8 == 0 else "y" for n in range(80)])
    heads = heads_of(samples, ())
    split = held_out(samples, heads, ["site=x"], seed=0)
    test = {sample.name for sample in samples if split[sample.sha256] == "test"}
    assert {sample.name for sample in samples if sample.metadata["site"] == "x"} <= test
    assert len(test) == 20  # the other picture of each of these patients as well
    assert set(split.values()) == {"train", "validation", "test"}
    with pytest.raises(UsageError, match="site=z: no file has that value"):
        held_out(samples, heads, ["site=z"], seed=0)
    with pytest.raises(UsageError, match="leaves no file"):
        held_out(samples, heads, ["site=x", "site=y"], seed=0)


@pytest.mark.parametrize("folds", [3, ByColumn("site")])
def test_folds_hold_every_file_once_and_no_patient_twice(folds: int | ByColumn) -> None:
    samples = samples_of({"a": 60, "b": 30}, per_patient=3)
    samples = with_facts(samples, [f"s{n // 3 % 3}" for n in range(90)])
    rounds = make_folds(samples, heads_of(samples, ()), folds, seed=0)
    assert len(rounds) == 3
    held = [sample.name for one in rounds for sample in samples if one.split[sample.sha256] == "test"]
    assert sorted(held) == sorted(sample.name for sample in samples)
    for one in rounds:
        assert across(samples, one.split) == 0
        assert set(one.split.values()) == {"train", "validation", "test"}
    if folds != 3:
        assert [one.name for one in rounds] == ["s0", "s1", "s2"]


def test_folds_that_cannot_be_made_are_refused() -> None:
    samples = with_facts(samples_of({"a": 30, "b": 4}), ["x"] * 30 + ["y"] * 4)
    heads = heads_of(samples, ())
    cases: list[tuple[int | ByColumn, str]] = [
        (1, "use 2 to 34"),
        (99, "use 2 to 34"),
        (5, "class 'b' is missing in a fold"),
        (ByColumn("site"), "occurs in 'x' alone"),
        (ByColumn("site", {"x": "one"}), "'y' in column 'site' is in no fold"),
        (ByColumn("site", {"x": "one", "y": "one"}), "makes one fold only"),
    ]
    for folds, message in cases:
        with pytest.raises(UsageError, match=message):
            make_folds(samples, heads, folds, seed=0)


def test_a_file_says_which_values_make_one_fold(tmp_path: Path) -> None:
    samples = samples_of({"a": 60, "b": 30}, per_patient=3)
    samples = with_facts(samples, [f"s{n // 3 % 3}" for n in range(90)])
    file = tmp_path / "folds.csv"
    file.write_text("site,fold\ns0,near\ns1,near\ns2,far\n", encoding="utf-8")
    rounds = make_folds(samples, heads_of(samples, ()), read_folds(file), seed=0)
    assert [one.name for one in rounds] == ["far", "near"]
    for one in rounds:
        held = {sample.metadata["site"] for sample in samples if one.split[sample.sha256] == "test"}
        assert held == ({"s2"} if one.name == "far" else {"s0", "s1"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs two columns"),
        ("site,part\ns0,a\n", "needs two columns, one of the data and 'fold'"),
        ("site,fold\n", "needs two columns"),
        ("site,fold\ns0\n", "needs two columns"),
        ("site,fold\ns0,a\ns0,b\n", "names a value of 'site' twice"),
    ],
)
def test_a_file_of_folds_that_is_none_is_refused(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "folds.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        read_folds(file)
    with pytest.raises(UsageError, match="cannot be read"):
        read_folds(tmp_path / "none.csv")


HEAD = "sha256,column,was,becomes,reason\n"


def test_corrections_put_labels_right_and_touch_nothing_else(tmp_path: Path) -> None:
    samples = samples_of({"a": 4, "b": 2})
    first, second, third = (sample.sha256 for sample in samples[:3])
    file = tmp_path / "corrections.csv"
    file.write_text(
        HEAD + f"{first},group,a,b,it shows a b\n{second},group,a,,nobody can tell\n"
        f"{third},part,x,y,another column\n0123456789abcdef,group,a,b,another data set\n",
        encoding="utf-8",
    )
    right, count = corrected(samples, ("group",), read_corrections(file))
    assert count == 2
    assert [sample.targets for sample in right] == [("b",), ("a",), ("a",), ("b",), ("b",)]
    assert [sample.name for sample in right] == [samples[n].name for n in (0, 2, 3, 4, 5)]
    assert samples[0].targets == ("a",)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("X,group,b,a,why\n", "has 'a' in column 'group', not 'b'"),
        ("X,group,a,b,\n", "line 2: it gives no reason"),
        ("X,group,a,a,why\n", "it changes nothing"),
        ("X,group,a\n", "more or fewer cells"),
        ("X,group,a,b,why\nX,group,a,,why\n", "corrected twice"),
    ],
)
def test_corrections_that_cannot_be_meant_are_refused(rows: str, message: str, tmp_path: Path) -> None:
    samples = samples_of({"a": 2, "b": 2})
    file = tmp_path / "corrections.csv"
    file.write_text(HEAD + rows.replace("X", samples[0].sha256), encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        corrected(samples, ("group",), read_corrections(file))


def test_a_correction_may_give_a_label_where_there_is_none(tmp_path: Path) -> None:
    data = tmp_path / "labels.csv"
    data.write_text("file,metal\na.png,1\nb.png,\nc.png,\n", encoding="utf-8")
    for name in "abc":
        (tmp_path / f"{name}.png").write_bytes(name.encode())
    file = tmp_path / "corrections.csv"
    file.write_text(HEAD + f"{content_hash(tmp_path / 'b.png')},metal,,0,looked at\n", encoding="utf-8")
    found, count = load_corrected(data, Columns(("metal",)), file)
    assert count == 1
    assert {sample.name: sample.targets for sample in found.samples} == {"a.png": ("1",), "b.png": ("0",)}
    with pytest.raises(UsageError, match="not of a folder of classes"):
        load_corrected(tmp_path, Columns(()), file)


def test_each_label_of_an_image_that_comes_twice_can_be_corrected(tmp_path: Path) -> None:
    first, second, *_ = samples_of({"a": 2, "b": 2})
    twins = [first, replace(second, sha256=first.sha256, targets=("b",))]
    file, one = tmp_path / "corrections.csv", first.sha256
    for rows, cells in (
        (f"{one},group,a,b,why\n", [("b",), ("b",)]),
        (f"{one},group,a,c,why\n{one},group,b,c,why\n", [("c",), ("c",)]),
        (f"{one},group,a,,why\n{one},group,b,,why\n", []),
    ):
        file.write_text(HEAD + rows, encoding="utf-8")
        right, _ = corrected(twins, ("group",), read_corrections(file))
        assert [sample.targets for sample in right] == cells
    file.write_text(HEAD + f"{one},group,a,c,why\n", encoding="utf-8")
    assert (
        len(corrected([first, replace(twins[1], targets=("",))], ("group",), read_corrections(file))[0]) == 1
    )
    with pytest.raises(UsageError, match="has 'b' in column 'group', not 'a'"):
        corrected(twins, ("group",), read_corrections(file))


def test_a_correction_cannot_give_a_label_to_what_is_in_no_part(tmp_path: Path) -> None:
    data, file = tmp_path / "labels.csv", tmp_path / "corrections.csv"
    data.write_text("file,metal,part\na.png,1,train\nb.png,,\n", encoding="utf-8")
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(name.encode())
    file.write_text(HEAD + f"{content_hash(tmp_path / 'b.png')},metal,,0,looked at\n", encoding="utf-8")
    with pytest.raises(UsageError, match="has a label now, but no part in column 'part'"):
        load_corrected(data, Columns(("metal",), part="part"), file)


def test_corrections_leave_studies_as_they_are(tmp_path: Path) -> None:
    data, file = tmp_path / "labels.csv", tmp_path / "corrections.csv"
    rows = "a.png,1,s,x\nb.png,,s,x\nc.png,1,s,y\nd.png,,t,x\n"
    data.write_text("file,metal,study,view\n" + rows, encoding="utf-8")
    for name in "abcd":
        (tmp_path / f"{name}.png").write_bytes(name.encode())
    file.write_text(HEAD, encoding="utf-8")
    columns = Columns(("metal",), study=StudyRule("study"), auxiliary=("view",))
    plain, _ = load_corrected(data, columns, None)
    assert load_corrected(data, columns, file) == (plain, 0)
    assert [(sample.name, len(sample.views), sample.auxiliary) for sample in plain.samples] == [
        ("a.png", 1, ("",))
    ]


def test_a_file_of_corrections_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("file,label\n", encoding="utf-8")
    with pytest.raises(UsageError, match="must have the columns sha256,column"):
        read_corrections(tmp_path / "c.csv")
    with pytest.raises(UsageError, match="cannot be read"):
        read_corrections(tmp_path / "none.csv")


def test_a_split_holds_every_label_of_every_head() -> None:
    samples = [
        replace(sample, targets=("a|rare" if n < 6 else "a" if n % 2 else "b", str(n % 5 // 4)))
        for n, sample in enumerate(samples_of({"x": 120}))
    ]
    heads = heads_of(samples, ("parts", "metal"))
    assert [head.kind for head in heads] == ["multilabel", "binary"]
    split = split_of(samples, heads)
    for part in ("train", "validation", "test"):
        cells = [sample.targets for sample in samples if split[sample.sha256] == part]
        assert {label for cell, _ in cells for label in cell.split("|")} == {"a", "b", "rare"}
        assert {metal for _, metal in cells} == {"0", "1"}


def test_the_files_of_a_study_become_one_sample(tmp_path: Path) -> None:
    rows = [{"file": f"{n}.png", "group": "ab"[n // 2], "study": f"s{n // 2}"} for n in range(4)]
    samples = load(table(tmp_path, rows), "group", study=StudyRule("study")).samples
    assert [(sample.name, sample.label, len(sample.views)) for sample in samples] == [
        ("0.png", "a", 1), ("2.png", "b", 1),
    ]  # fmt: skip
    rows[1]["group"] = "b"
    with pytest.raises(UsageError, match="of one study but differ in labels, patient or part"):
        load(table(tmp_path, rows), "group", study=StudyRule("study"))


def test_a_file_in_two_studies_keeps_both_on_one_side(tmp_path: Path) -> None:
    rows = [{"file": f"{n}.png", "group": "ab"[n // 2 % 2], "study": f"s{n // 2}"} for n in range(80)]
    table(tmp_path, rows)
    (tmp_path / "2.png").write_bytes((tmp_path / "7.png").read_bytes())  # of s1 and s3, both of class b
    samples = list(load(tmp_path / "labels.csv", "group", study=StudyRule("study")).samples)
    for seed in range(8):
        split = make_split(samples, seed)
        sides = {sample.name: split[sample.sha256] for sample in samples}
        assert sides["2.png"] == sides["6.png"]
        assert across(samples, split) == 0


def test_a_folder_has_no_columns_and_no_odd_part(tmp_path: Path) -> None:
    for name in ("Train/a/1", "TEST/a/2", "val/b/3"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert sorted(sample.part for sample in load(tmp_path, None).samples) == ["test", "train", "validation"]
    for columns in (
        {"target": "x"},
        {"target": None, "source": "site"},
        {"target": None, "metadata": ("site",)},
    ):
        with pytest.raises(UsageError, match="names a column of a CSV"):
            load(tmp_path, **columns)
    (tmp_path / "vali").mkdir()
    with pytest.raises(UsageError, match="holds folders of parts, such as train, but 'vali' is none"):
        load(tmp_path, None)


ODD_TABLES = [
    ('file,group\n1.png,a\n"2.png,b\n3.png,a\n', "not a UTF-8 CSV"),
    ("file,group\n1.png,a,more\n", "line 2: it has more or fewer cells"),
    ("file,group\n1.png\n", "line 2: it has more or fewer cells"),
    ("file,group,group\n1.png,a,b\n", "has two columns 'group'"),
    ("file;group\n1.png;a\n", "is separated by ';'"),
    ("file,group\n,a\n", "the column 'file' is empty"),
    ("file,group,patient,patient\n1.png,a,p,q\n", "has two columns 'patient'"),
    ("file,group,patient, patient \n1.png,a,p,q\n", "has two columns 'patient'"),
    ("file,group,group \n1.png,a,b\n", "has two columns 'group'"),
    ("file,file ,group\n1.png,2.png,b\n", "has two columns 'file'"),
    (
        "file,group,patient,PatientID\n1.png,a,p,x\n1.png,a,q,x\n",
        "files of one 'PatientID' have several 'patient': say --patient patient, or --patient PatientID",
    ),
]


@pytest.mark.parametrize(("text", "message"), ODD_TABLES)
def test_a_table_that_is_not_what_it_seems_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "1.png").write_text("content")
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        load(tmp_path / "labels.csv", "group")


def test_pipes_devices_and_impossible_names_are_told_and_wait_for_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "1.png").write_text("content")
    names = ["pipe", "/dev/zero", "a\0b", "x" * 5000, "1.png"]
    lines = ["file,group", *(f"{name},a" for name in names)]
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    data = load(tmp_path / "labels.csv", "group")
    assert [sample.name for sample in data.samples] == ["1.png"]
    assert [sample.name for sample, _ in data.unread] == names[:-1]


def test_a_folder_that_leads_back_is_no_class(tmp_path: Path) -> None:
    for name in ("a/1", "b/2"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(name)
    (tmp_path / "loop").symlink_to(".")
    assert {sample.label for sample in load(tmp_path, None).samples} == {"a", "b"}


def test_columns_that_name_people() -> None:
    for column in (
        "patient",
        "PatientName",
        "patient_id",
        "Patient ID",
        "MRN",
        "name",
        "subject_id",
        "person",
    ):
        assert names_people(column)
    for column in ("dataset", "PatientAge", "patient_sex", "PatientPosition", "age", "filename", "view"):
        assert not names_people(column)


LOOK_ALIKES = (
    "Patient", " patient", "patient ", "PATIENT", "patients", "patient_id", "PatientID", "patient id",
    "Patient No.", "patient-number", "id_patient", "anon_patient_id", "\ufeffpatient", "patient\u200b", "pid",
    "MRN", "subject", "Subject_ID", "subjects", "person", "PersonID", "participant_id", "case", "case_id",
)  # fmt: skip
OTHERS = (
    "patient_age", "PatientSex", "patient_position", "inpatient", "outpatient_clinic", "subjective",
    "showcase", "casetype", "personality", "study", "StudyInstanceUID", "dataset", "id", "image_id", "number",
    "rapid", "age",
)  # fmt: skip


def of_patients(folder: Path, column: str, cells: list[str]) -> Path:
    rows = [
        {"file": f"{n}.png", "group": "ab"[n % 2], column: cell, "n": str(n)} for n, cell in enumerate(cells)
    ]
    return table(folder, rows)


@pytest.mark.parametrize("column", LOOK_ALIKES)
def test_a_column_that_only_looks_like_patients_is_never_passed_over(column: str, tmp_path: Path) -> None:
    data = of_patients(tmp_path, column, ["p1", "p1", "p2", "p2"])
    with pytest.raises(UsageError, match="has no column 'patient', but ") as told:
        load(data, "group")
    advice = re.search(r"looks like it: say --patient (.+), or --patient none", str(told.value))
    assert advice is not None
    (typed,) = shlex.split(advice[1])
    for named in (typed, column):
        found = load(data, "group", patient=named)
        assert [sample.group for sample in found.samples] == ["p1", "p1", "p2", "p2"]
        assert found.has_patients
    alone = load(data, "group", patient="none")
    assert (len({sample.group for sample in alone.samples}), alone.has_patients) == (4, False)


@pytest.mark.parametrize("column", OTHERS)
def test_a_column_that_says_other_things_is_left_alone(column: str, tmp_path: Path) -> None:
    found = load(of_patients(tmp_path, column, ["x", "x", "y", "y"]), "group")
    assert (len({sample.group for sample in found.samples}), found.has_patients) == (4, False)
    assert found.remarks == ()


def test_a_look_alike_that_serves_as_something_else_is_no_patient(tmp_path: Path) -> None:
    data = of_patients(tmp_path, "case", ["x", "y", "x", "y"])
    assert not load(data, "case").has_patients
    assert len(load(data, "group", study=StudyRule("case")).samples) == 2


def test_a_finer_look_alike_beside_patient_does_no_harm(tmp_path: Path) -> None:
    rows = [
        {"file": f"{n}.png", "group": "a", "patient": f"p{n // 2}", "patient_id": str(n)} for n in range(4)
    ]
    assert [sample.group for sample in load(table(tmp_path, rows), "group").samples] == [
        "p0",
        "p0",
        "p1",
        "p1",
    ]


def test_a_column_of_patients_that_there_is_not_is_refused(tmp_path: Path) -> None:
    data = of_patients(tmp_path, "patient", ["p"])
    with pytest.raises(UsageError, match="has no column 'ward'; its columns are: file, group, patient, n"):
        load(data, "group", patient="ward")
    with pytest.raises(UsageError, match="folder of classes; 'ward' names a column of a CSV"):
        load(tmp_path, None, patient="ward")


def test_empty_patients_are_counted_and_stand_alone(tmp_path: Path) -> None:
    some = load(of_patients(tmp_path, "patient", ["p", "", "nan", "p", "7.0", "7"]), "group")
    assert [sample.group for sample in some.samples] == ["p", "1.png", "2.png", "p", "7", "7"]
    assert some.has_patients
    assert some.remarks == (
        "column 'patient' says 'nan' 1 times: read as an empty cell, nobody knows",
        "warning: 2 of 6 files have no patient in column 'patient' and stand alone",
    )
    none = load(of_patients(tmp_path, "patient", ["", " ", "NaN"]), "group")
    assert not none.has_patients
    assert len({sample.group for sample in none.samples}) == 3


@pytest.mark.parametrize(
    ("cells", "read", "kind"),
    [
        (["1.0", "0.0", "", "1"], ["1", "0", "1"], "binary"),
        (["1.", "0.", "nan", "<NA>"], ["1", "0"], "binary"),
        (["2.0", "2", "3.00", "NaT"], ["2", "2", "3"], "multiclass"),
        (["1.0|2.0", "2", "nan|1.0"], ["1|2", "2", "1"], "multilabel"),
        (["1.5", "2.0", "3.0"], ["1.5", "2.0", "3.0"], "multiclass"),
        (["v1.0", "2.0"], ["v1.0", "2.0"], "multiclass"),
        (["None", "NA", "null"], ["None", "NA", "null"], "multiclass"),
        (["True", "False", ""], ["True", "False"], "multiclass"),
    ],
)
def test_numbers_that_pandas_has_written_are_what_they_were(
    cells: list[str], read: list[str], kind: str, tmp_path: Path
) -> None:
    rows = [{"file": f"{n}.png", "metal": cell, "hint": cell} for n, cell in enumerate(cells)]
    data = load(table(tmp_path, rows), "metal", auxiliary=("hint",))
    assert [sample.label for sample in data.samples] == read
    assert [sample.auxiliary for sample in data.samples] == [(cell,) for cell in read]
    assert heads_of(data.samples, ("metal",))[0].kind == kind


def test_what_was_read_otherwise_than_written_is_told_once_a_column(tmp_path: Path) -> None:
    cells = ["1.0", "0.0", "nan", "nan"] * 5
    rows = [{"file": f"{n}.png", "metal": cell, "view": cell} for n, cell in enumerate(cells)]
    remarks = load(table(tmp_path, rows), "metal").remarks
    assert remarks == (
        "column 'metal' says 'nan' 10 times: read as an empty cell, nobody knows",
        "column 'metal' holds whole numbers: '0.0' is read as '0'",
    )
    rows = [{"file": f"{n}.png", "metal": cell} for n, cell in enumerate(("0", "1", "None"))]
    (remark,) = load(table(tmp_path, rows), "metal").remarks
    assert remark.startswith("warning: column 'metal' holds numbers and 'None', which counts as a class")


def test_numbers_of_studies_are_the_same_with_a_point(tmp_path: Path) -> None:
    rows = [
        {"file": f"{n}.png", "group": "a", "study": text} for n, text in enumerate(("7", "7.0", "nan", "nan"))
    ]
    samples = load(table(tmp_path, rows), "group", study=StudyRule("study")).samples
    assert [(sample.name, len(sample.views)) for sample in samples] == [
        ("0.png", 1),
        ("2.png", 0),
        ("3.png", 0),
    ]


@pytest.mark.parametrize(("was", "becomes"), [("1.0", "0.0"), ("1", "0"), ("1.", "0")])
def test_corrections_are_read_as_the_cells_are(was: str, becomes: str, tmp_path: Path) -> None:
    for cells in (("1.0", "0.0"), ("1", "0")):
        data = table(tmp_path, [{"file": f"{n}.png", "metal": cell} for n, cell in enumerate(cells)])
        file = tmp_path / "corrections.csv"
        file.write_text(HEAD + f"{content_hash(tmp_path / '0.png')},metal,{was},{becomes},why\n")
        found, count = load_corrected(data, Columns(("metal",)), file)
        assert (count, [sample.targets for sample in found.samples]) == (1, [("0",), ("0",)])


def test_a_class_is_known_with_and_without_a_point() -> None:
    head = Head("grade", ("1.5", "2.0", "3.0"))
    assert encode("2", head).tolist() == [0.0, 1.0, 0.0]
    assert (
        encode("2", Head("grade", ("1", "2"))).tolist() == encode("2.0", Head("grade", ("1", "2"))).tolist()
    )


def test_files_whose_polarity_is_in_doubt_are_told(tmp_path: Path) -> None:
    """Of a negative a training learns the wrong thing."""
    names = ("b.dcm", "a.dcm", "c.dcm")
    samples = [Sample(str(tmp_path / name), name, ("spine",), name, name) for name in names]
    told = caveats.lines_of([(samples[0], Reason.POLARITY), (samples[1], Reason.POLARITY)])
    assert told == caveats.lines_of([(samples[1], str(Reason.POLARITY)), (samples[0], Reason.POLARITY)])
    assert len(told) == 1
    assert told[0].startswith("warning: 2 files leave it in doubt")
    assert "such as a.dcm:" in told[0]
    assert caveats.lines_of([(samples[2], Reason.OFFSET_TABLE)]) == ()
