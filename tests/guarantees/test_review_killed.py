"""The review page is killed while a person decides: what was decided stands, once, and everything agrees."""

import csv
import http.client
import random
import shutil
import signal
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from desks import Browser, begin_review
from outputs import rows, settings, tree
from sort_once import Predictor
from written import picture, write_dicom

from dicomsort.sorting.pipeline import sort

CHOICES = ("abdominal", "adult_chest", "spine", "excluded", "unsure")
OURS = ("manifest.csv", "run.json", "decisions.csv")


@dataclass
class Told:
    """What was asked of each file, and what was acknowledged, by path."""

    sent: dict[str, list[str]] = field(default_factory=dict)
    acknowledged: dict[str, str] = field(default_factory=dict)


def make_output(folder: Path, count: int) -> Path:
    """Sort some files; the output stands still, to be copied."""
    for number in range(count):
        write_dicom(folder / "in" / f"{number % 9}" / f"{number}.dcm", picture(number))
    sort(settings(folder / "in", folder / "out"), Predictor())
    return folder / "out"


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_output(tmp_path_factory.mktemp("few"), 60)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_output(tmp_path_factory.mktemp("many"), 500)


def label_all(out: Path, rng: random.Random, told: Told, seconds: float) -> None:
    """Decide on file after file until the program is killed, `seconds` after it began."""
    running = begin_review(out, "--no-cache")
    browser = running.browser
    some = ",".join(map(str, browser.get("/api/ids?sort=path").json["ids"]))
    paths = {item["id"]: item["path"] for item in browser.get(f"/api/items?ids={some}").json["items"]}
    timer = threading.Timer(seconds, running.program.send_signal, [signal.SIGKILL])
    timer.start()
    numbers = rng.sample(list(paths), len(paths))
    try:
        while True:
            label_one(browser, paths, numbers, rng, told)
    except (OSError, http.client.HTTPException):
        timer.join()
    browser.close()
    running.program.communicate(timeout=60)
    assert running.program.returncode == -signal.SIGKILL


def label_one(
    browser: Browser, paths: dict[int, str], numbers: list[int], rng: random.Random, told: Told
) -> None:
    """Decide on the next file, now and then on several or once more on one."""
    some = [numbers.pop() for _ in range(min(len(numbers), 1 if rng.random() < 0.9 else 7))]
    some = some or [rng.choice(list(paths))]
    label = rng.choice(CHOICES)
    for number in some:
        told.sent.setdefault(paths[number], []).append(label)
    answer = browser.post("/api/decisions", {"ids": some, "label": label})
    assert answer.status == 200, answer.body
    assert answer.json["refused"] == []
    told.acknowledged |= {paths[number]: label for number in some}


def check(out: Path, told: Told) -> None:
    """Every decision that was acknowledged is there, none twice, and all agrees.

    Those of the last second only a power cut could take: the system has them, the disk not yet.
    """
    with (out / "decisions.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert all(None not in line and None not in line.values() for line in lines)
    written = Counter(line["path"] for line in lines)
    assert all(count <= len(told.sent.get(path, ())) for path, count in written.items()), "none twice"
    last = {line["path"]: line["reviewed_label"] for line in lines}
    found = rows(out)
    for path, label in told.acknowledged.items():
        later = told.sent[path][::-1][: told.sent[path][::-1].index(label)]  # asked, and never answered
        assert last[path] in (label, *later)
    check_files(out, found, last)


def check_files(out: Path, found: dict[str, dict[str, str]], last: dict[str, str]) -> None:
    """Each file lies once, where its row says, and its row says what was decided last."""
    placed = []
    for path, row in found.items():
        assert row["reviewed_label"] == last.get(path, "")
        decided = row["reviewed_label"] or row["label"]
        folder = "review" if decided == "unsure" else decided
        status = {"unsure": "review", "excluded": "excluded"}.get(decided, "sorted")
        assert row["status"] == status
        assert row["destination"].split("/")[0] == folder
        assert (out / row["destination"]).read_bytes() == Path(path).read_bytes()
        placed.append(row["destination"])
    assert sorted(set(tree(out)) - set(OURS)) == sorted(placed)


def killed_and_started_again(made: Path, out: Path, seed: int, longest: float) -> None:
    shutil.copytree(made, out)
    rng, told = random.Random(seed), Told()
    for _ in range(2):  # the second run is killed too
        label_all(out, rng, told, rng.uniform(0.05, longest))
        assert told.acknowledged
    running = begin_review(out, "--no-cache")
    counts = running.browser.get("/api/state").json["counts"]
    assert running.end()[0] == 0
    check(out, told)
    assert counts["decided"] == sum(bool(row["reviewed_label"]) for row in rows(out).values())
    before = tree(out)
    assert begin_review(out, "--no-cache").end()[0] == 0
    assert tree(out) == before, "there is nothing more to do"


def test_a_killed_review_loses_and_repeats_nothing(few: Path, tmp_path: Path) -> None:
    killed_and_started_again(few, tmp_path / "out", 0, 1.5)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 13))
def test_a_review_of_500_files_killed_at_any_moment(seed: int, many: Path, tmp_path: Path) -> None:
    killed_and_started_again(many, tmp_path / "out", seed, 5)
