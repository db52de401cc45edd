"""Rules of evidence that a training leaves in its bundle: of its own training part, and none without ages."""

from pathlib import Path

import pytest
from program import inside
from trainings import SMALL, draw
from written import write_dicom

from dicomsort.data.cache import Cache
from dicomsort.data.dataset import Columns, load
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.model import bundle as bundles
from dicomsort.model.evidence import Rule
from dicomsort.system.pool_settings import PoolSettings

LABELS = ("adult_chest", "pediatric_chest")


def table(folder: Path, ages: tuple[str, str]) -> Path:
    """Sixteen pictures of adults' and children's chests in turn, half for training, with their ages."""
    lines = ["file,group,age,part"]
    for number in range(16):
        draw(folder / f"{number}.png", (50, 200)[number % 2], number)
        part = ("train", "validation")[number // 8]
        lines.append(f"{number}.png,{LABELS[number % 2]},{ages[number % 2]},{part}")
    path = folder / "labels.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def rules_of(data: Path, out: Path, capfd: pytest.CaptureFixture[str], *more: str) -> dict[str, Rule]:
    words = ("--target", "group", "--split-column", "part", "--epochs", "1", *SMALL, *more)
    ran = inside(capfd, "train", data, *words, "--out", out, "--json")
    assert ran.code == 0, ran.err
    evidence = bundles.load(out).evidence
    return {} if evidence is None else {rule.fact: rule for rule in evidence.rules}


def test_a_training_fits_the_ages_of_its_own_training_part(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = rules_of(table(tmp_path / "data", ("40", "6")), tmp_path / "m", capfd)
    assert found["age=adult"].images == found["age=child"].images == 8
    # of 4 children 2 adults are expected, and none was seen: 1 / 3
    assert found["age=adult"].log_ratios == {"adult_chest": 0, "pediatric_chest": pytest.approx(-1.0986)}
    assert not [fact for fact in found if not fact.startswith("age=")]  # both are chests: none is ruled out


def test_without_ages_a_training_leaves_no_rule(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert rules_of(table(tmp_path / "data", ("", "")), tmp_path / "m", capfd) == {}


def test_the_cache_keeps_what_headers_say(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", PatientAge="006Y", Modality="PX")
    write_dicom(tmp_path / "b.dcm")
    draw(tmp_path / "c.png", 50, 0)
    (tmp_path / "labels.csv").write_text("file,group\na.dcm,x\nb.dcm,x\nc.png,y\n")
    samples = load(tmp_path / "labels.csv", Columns(("group",))).samples
    cache = Cache(tmp_path / "cache", Preprocessing(size=32))
    for _ in range(2):
        assert cache.fill(samples, PoolSettings(1)) == []
        told = [cache.facts(sample.sha256) for sample in samples]
        assert told == [("age=child", "modality=PX"), (), ()]
    assert b"006Y" not in (tmp_path / "cache" / "pixels.sqlite").read_bytes()
