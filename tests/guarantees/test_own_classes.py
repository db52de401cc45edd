"""The ten minutes from a table to a sorted archive are run as their page prints them."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from committed import ROOT
from labelled import write_csv
from numpy.typing import NDArray
from outputs import rows
from PIL import Image
from program import inside
from written import write_dicom

CLASSES = ("hand", "knee", "chest")
EACH, ARCHIVED = 14, 4


def drawn(kind: str, seed: int) -> NDArray[np.float64]:
    """Return stripes, bars or a disk with noise: (64, 64), 0 to 1."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64] - generator.integers(24, 40, (2, 1, 1))
    shape = {"hand": np.sin(x / 2.5) > 0, "knee": np.sin(y / 6) > 0, "chest": x**2 + y**2 < 400}[kind]
    gray = 0.2 + 0.6 * shape + generator.normal(0, 0.05, (64, 64))
    return np.asarray(np.clip(gray, 0, 1), np.float64)


def prepare(folder: Path) -> None:
    """Write what the page asks a reader to have: a table, its pictures, and an archive of other ones."""
    table = []
    (folder / "images").mkdir()
    for number in range(EACH * len(CLASSES)):
        kind, file = CLASSES[number % 3], f"images/{number:04}.png"
        Image.fromarray((drawn(kind, number) * 255).astype(np.uint8)).save(folder / file)
        table.append({"file": file, "bodypart": kind, "patient": f"p{number:02}"})
    write_csv(folder / "labels.csv", table)
    for number in range(ARCHIVED * len(CLASSES)):
        kind = CLASSES[number % 3]
        pixels = (drawn(kind, 1000 + number) * 4000).astype(np.uint16)
        write_dicom(folder / "archive" / f"{kind}-{number}.dcm", pixels, SOPInstanceUID=f"2.25.{number + 1}")


def commands() -> list[list[str]]:
    """The indented lines of the page, in their order."""
    page = (ROOT / "docs/how-to/own-classes.md").read_text(encoding="utf-8")
    return [shlex.split(line) for line in re.findall(r"^    (\S.*)$", page, re.MULTILINE)]


@pytest.mark.slow
def test_the_page_on_own_classes_leads_from_a_table_to_a_sorted_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every command as it stands there; what the page says of it holds, and no other class is answered."""
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    told = ""
    for program, *words in commands():
        assert program == "dicomsort"
        ran = inside(capfd, *words)
        assert ran.code == 0, (words, ran.err)
        told += ran.err
    assert "starts from router5: efficientnet_lite0, 160 pixels" in told
    assert "WITHOUT GUARANTEE" in told
    assert all(
        Path(name).stat().st_size for name in ("sheet.png", "figures/report.html", "sorted/report.html")
    )
    answers = [(Path(row["path"]).name, row) for row in rows(tmp_path / "sorted").values()]
    assert len(answers) == ARCHIVED * len(CLASSES)
    for name, row in answers:
        assert row["label"] == name.partition("-")[0]
        assert Path(row["destination"]).parts[0] in {row["label"], "review"}
        assert row["status"] == "review" or float(row["confidence"]) >= 0.9
