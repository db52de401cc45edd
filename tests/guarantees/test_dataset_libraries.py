"""What `dicomsort export` writes, loaded by the libraries it is for: datasets, webdataset, mlcroissant.

They are installed in an environment of their own (see .ci/run): where one is missing, its test is skipped.
"""

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from committed import TESTS
from PIL import Image
from program import command

pytestmark = pytest.mark.slow

QUIET = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("libraries") / "out"
    ran = command(
        "classify", TESTS / "archive", "--out", folder, "--action", "none", "--device", "cpu", "--quiet"
    )
    assert ran.code in (0, 3), ran.err
    return folder


def made(out: Path, target: str, *words: str) -> tuple[Path, list[dict[str, str]]]:
    """Export; return the folder, and its table."""
    folder = out.parent / "-".join((target, *words))
    ran = command(
        "export", out, "--to", target, "--out", folder, "--split", "60/20/20", "--seed", "1", *words
    )
    assert ran.code == 0, ran.err
    with (folder / "samples.csv").open(encoding="utf-8", newline="") as file:
        return folder, list(csv.DictReader(file))


def told_by(library: str, code: str, *words: str | Path) -> Any:
    """Run a program that uses a library, in a process of its own, and return the JSON that it prints last."""
    pytest.importorskip(library) if "CI" not in os.environ else None
    home = {"HF_HOME": str(Path(str(words[0])).parent / "home")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import json, sys\n{code}", *map(str, words)],
        capture_output=True, text=True, check=False, env={**os.environ, **QUIET, **home},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def by_part(table: list[dict[str, str]]) -> dict[str, Counter[str]]:
    parts: dict[str, Counter[str]] = {}
    for line in table:
        parts.setdefault(line["part"], Counter())[line["label"]] += 1
    assert len(parts) > 1
    return parts


DATASETS = """
from datasets import load_dataset
found = load_dataset(sys.argv[2], data_dir=sys.argv[1])
def told(row):
    image = row["image"]
    facts = [row[name] for name in ("label", "sample", "confidence", "region_code")]
    return [*facts, image.mode, list(image.size), max(image.getdata())]
print(json.dumps({part: [told(row) for row in rows] for part, rows in found.items()}))
"""


@pytest.mark.parametrize(("target", "words", "mode"), [
    ("imagefolder", (), "L"), ("imagefolder", ("--image", "png16"), "I;16"), ("parquet", (), "L"),
    ("parquet", ("--image", "png16", "--size", "0"), "I;16"),
])  # fmt: skip
def test_datasets_loads_pictures_labels_and_parts(
    target: str, words: tuple[str, ...], mode: str, out: Path
) -> None:
    folder, table = made(out, target, *words)
    data = folder / "data" if target == "parquet" else folder
    found = told_by("datasets", DATASETS, data, target)
    assert {part: Counter(row[0] for row in rows) for part, rows in found.items()} == by_part(table)
    lines = {line["sample"]: line for line in table}
    for _, sample, confidence, region, seen, size, _ in (row for rows in found.values() for row in rows):
        line = lines[sample]
        assert (confidence, region or "") == (float(line["confidence"]), line["region_code"])
        assert (seen, size) == (mode, [int(line["columns"]), int(line["rows"])])
    if mode == "I;16":
        assert max(row[6] for rows in found.values() for row in rows) > 255


WEBDATASET = """
import glob, io
import numpy as np
import webdataset
from PIL import Image
urls = sorted(glob.glob(sys.argv[1] + "/*.tar"))
rows = webdataset.WebDataset(urls, shardshuffle=False).to_tuple("__key__", "png", "txt", "json")
def total(png):
    return np.asarray(Image.open(io.BytesIO(png))).astype(int).sum().item()
print(json.dumps([[key, total(png), txt.decode(), json.loads(row)] for key, png, txt, row in rows]))
"""


def test_webdataset_finds_each_sample_with_its_label_and_row(out: Path) -> None:
    folder, table = made(out, "webdataset")
    pictures, _ = made(out, "imagefolder")
    found = told_by("webdataset", WEBDATASET, folder)
    lines = {line["sample"]: line for line in table}
    assert sorted(row[0] for row in found) == sorted(lines)
    for key, total, label, row in found:
        assert (label, row["label"], row["patient"]) == (lines[key]["label"],) * 2 + (lines[key]["patient"],)
        (path,) = pictures.glob(f"*/*/{key}.png")
        with Image.open(path) as image:
            assert np.asarray(image).astype(int).sum() == total


CROISSANT = """
import mlcroissant
dataset = mlcroissant.Dataset(jsonld=sys.argv[1] + "/croissant.json")
rows = [{name.partition("/")[2]: value for name, value in row.items()} for row in dataset.records("samples")]
assert not dataset.metadata.ctx.issues.errors
text = lambda value: value.decode() if isinstance(value, bytes) else value
print(json.dumps([[text(row["sample"]), text(row["label"]), text(row["region_code"]), row["confidence"],
    list(row["image"].size)] for row in rows]))
"""


def test_mlcroissant_validates_the_description_and_loads_every_record(out: Path) -> None:
    folder, table = made(out, "croissant")
    found = told_by("mlcroissant", CROISSANT, folder)
    wanted = {}
    for line in table:
        size = [int(line["columns"]), int(line["rows"])]
        confidence = pytest.approx(float(line["confidence"]))
        wanted[line["sample"]] = [line["label"], line["region_code"], confidence, size]
    assert {sample: row for sample, *row in found} == wanted
