"""Labelled images: the tables and folders people have, and a split that no patient crosses."""

import csv
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from dicomsort import bundle
from dicomsort.dataset import Sample, in_part, load, load_split, make_split
from dicomsort.errors import UsageError


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
    samples = load(table(tmp_path, rows), "group")
    assert [(sample.name, sample.label, sample.group) for sample in samples] == [
        ("i/1.png", "hand", "p1"),
        ("i/2.png", "spine", "i/2.png"),
    ]


def test_a_folder_per_class(tmp_path: Path) -> None:
    for name in ("hand/a.png", "hand/deep/b.dcm", "spine/c.png", ".git/x", "stray.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert [(s.name, s.label) for s in load(tmp_path, None)] == [
        ("hand/a.png", "hand"), ("hand/deep/b.dcm", "hand"), ("spine/c.png", "spine"),
    ]  # fmt: skip


def test_what_cannot_be_used_is_said_in_one_line(tmp_path: Path) -> None:
    good = table(tmp_path, [{"file": "1.png", "group": "hand", "bad": "a|b", "worse": "../x"}])
    for data, target, message in [
        (tmp_path / "none", None, "no data at"),
        (good, None, "--target COLUMN"),
        (good, "nothing", "has no column 'nothing'; its columns are: file, group"),
        (good, "bad", "several labels"),
        (good, "worse", "cannot be a class"),
    ]:
        with pytest.raises(UsageError, match=message):
            load(data, target)
    (tmp_path / "1.png").unlink()
    with pytest.raises(UsageError, match=r"line 2: there is no file '1\.png'"):
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
                Sample(Path(name), name, label, f"{label} patient {number // per_patient}", f"{name:0>16}")
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
    others = [Sample(Path("twin"), "twin", "hand", samples[9].group, twin.sha256)]
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
    assert bundle.load(bundle.locate("router5")).split == fixed


def test_sampling_weights_lift_rare_classes_and_sources() -> None:
    from dicomsort.train import Images, sampling_weights

    labels = np.repeat([0, 0, 1], [80, 20, 25]).astype(np.int64)
    sources = ("big",) * 80 + ("small",) * 20 + ("big",) * 25
    images = Images(np.zeros((125, 1, 1), np.uint8), labels, sources)
    for balance, shares in ((0.0, (80, 20, 25)), (1.0, (0.5, 0.5, 1.0)), (0.5, (80**0.5, 20**0.5, None))):
        weights = np.array(sampling_weights(images, balance))
        sums = [weights[:80].sum(), weights[80:100].sum(), weights[100:].sum()]
        assert sums[0] / sums[1] == pytest.approx(shares[0] / shares[1])
        assert (sums[0] + sums[1]) / sums[2] == pytest.approx((100 / 25) ** (1 - balance))


def test_classes_count_alike_after_training() -> None:
    import torch

    from dicomsort import networks
    from dicomsort.train import Images, let_classes_count_alike

    network = networks.Network(networks.spec_for("resnet18"), 2)
    labels = np.repeat([0, 1], [90, 10]).astype(np.int64)
    images = Images(np.zeros((100, 1, 1), np.uint8), labels, ("",) * 100)
    with torch.no_grad():
        network.body.get_classifier().bias[:] = torch.log(torch.tensor([0.75, 0.25]))
    let_classes_count_alike(network, images, balance=0.5)
    first, second = network.body.get_classifier().bias.tolist()
    assert first == pytest.approx(second, abs=1e-6)
