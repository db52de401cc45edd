"""The questions of docs/how-to/query.md, as they stand there, asked of a real output."""

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from committed import ROOT, TESTS
from program import command

PAGE = (ROOT / "docs" / "how-to" / "query.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sql|python)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PLACED = ("sorted", "review")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds `sorted`."""
    made = tmp_path_factory.mktemp("asked")
    words: list[str | Path] = [
        "classify",
        TESTS / "archive",
        "--out",
        made / "sorted",
        "--action",
        "symlink",
        "--device",
        "cpu",
    ]
    ran = command(*words, "--manifest-format", "csv,parquet", "--quiet")
    assert ran.code in (0, 3), ran.err
    return made


@pytest.fixture(scope="module")
def lines(folder: Path) -> list[dict[str, str]]:
    with (folder / "sorted" / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def asked(number: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a block; return the rows of SQL, or the names that Python has made."""
    monkeypatch.chdir(folder)
    language, code = BLOCKS[number]
    if language == "sql":
        with duckdb.connect() as database:
            return database.sql(code).fetchall()
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102
    return names


def test_there_are_six_questions() -> None:
    assert [language for language, _ in BLOCKS] == ["sql"] * 3 + ["python"] * 3


Asked = Callable[[int], Any]


@pytest.fixture
def ask(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    return lambda number: asked(number, folder, monkeypatch)


def test_how_many_of_what(ask: Asked, lines: list[dict[str, str]]) -> None:
    counts = Counter(
        (line["label"], line["modality"] or None) for line in lines if line["status"] == "sorted"
    )
    found = ask(0)
    assert len(counts) > 4
    assert {(label, modality): images for label, modality, images in found} == counts


def test_what_was_no_radiograph(ask: Asked, lines: list[dict[str, str]]) -> None:
    counts = Counter(
        reason
        for line in lines
        if line["status"] not in PLACED
        for reason in line["reason"].split("; ")
        if reason
    )
    found = ask(1)
    assert len(counts) > 3
    assert dict(found) == counts
    assert [files for _, files in found] == sorted(counts.values(), reverse=True)


def test_which_header_contradicts_its_picture(ask: Asked, lines: list[dict[str, str]]) -> None:
    wanted = [
        (-float(line["confidence"]), line["path"])
        for line in lines
        if "chest" in line["body_part_examined"].lower() and "chest" not in line["label"]
        and line["status"] in PLACED
    ]  # fmt: skip
    assert [row[0] for row in ask(2)] == [path for _, path in sorted(wanted)]


def test_studies_with_a_frontal_and_a_lateral_film(ask: Asked, lines: list[dict[str, str]]) -> None:
    views = defaultdict(set)
    for line in lines:
        if line["status"] in PLACED and line["study_instance_uid"]:
            views[line["study_instance_uid"]].add(line["view.label"])
    wanted = {study for study, seen in views.items() if {"frontal", "lateral"} <= seen}
    assert wanted
    assert set(ask(3)["both"]) == wanted


def test_what_a_person_should_look_at_first(ask: Asked, lines: list[dict[str, str]]) -> None:
    waiting = sorted(
        (float(line["confidence"]), line["path"]) for line in lines if line["status"] == "review"
    )
    assert waiting
    first = ask(4)["first"]
    assert list(zip(first.confidence, first.path, strict=True)) == waiting[:20]


def test_how_much_room_each_kind_takes(ask: Asked, lines: list[dict[str, str]]) -> None:
    kinds = defaultdict(list)
    for line in lines:
        if line["status"] in PLACED:
            kinds[line["transfer_syntax"]].append((int(line["size"]), int(line["mtime_ns"])))
    room = ask(5)["room"].rename(index=lambda kind: kind if isinstance(kind, str) else "")
    assert room.images.to_dict() == {kind: len(found) for kind, found in kinds.items()}
    assert room.bytes.to_dict() == {kind: sum(size for size, _ in found) for kind, found in kinds.items()}
    assert {kind: oldest.value for kind, oldest in room.oldest.items()} == {
        kind: min(time for _, time in found) for kind, found in kinds.items()
    }
