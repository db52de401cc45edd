"""The page tells what was counted, takes nothing from outside, and stays small whatever is in it."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from reports import decided, output, row, words_of

from dicomsort.manifest.rows import Row
from dicomsort.outcome import Header, Reason, Status
from dicomsort.report import charts
from dicomsort.report.counts import Cross, Spread
from dicomsort.report.gather import gather
from dicomsort.report.page import Run, page, wanted_pictures
from dicomsort.report.write import run_of

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


class _Tags(HTMLParser):
    """Every tag with its attributes, and which stay open."""

    VOID = ("meta", "img", "path", "rect", "link", "br")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def made(folder: Path, pictures: dict[int, str] | None = None) -> str:
    return page(gather(str(folder / "manifest.csv")), run_of(str(folder)), pictures or {})


def check(html: str) -> None:
    """A whole page, without scripts, handlers, or anything from elsewhere."""
    tags = _Tags(html)
    assert not tags.open
    names = {tag for tag, _ in tags.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "form", "base"}
    for tag, attributes in tags.tags:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        assert (attributes.get("src") or "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,")
        assert (attributes.get("href") or "#").startswith("#")
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in html
    assert "url(" not in html
    assert "@import" not in html


def test_the_page_needs_nothing_else_and_tells_what_was_counted(tmp_path: Path) -> None:
    rows = [row(f"/in/{number}") for number in range(3)]
    rows += [row("/in/r", Status.REVIEW), row("/in/t", Status.TIMEOUT, reasons=(Reason.TOO_SLOW,))]
    rows += [row("/in/n", Status.NOT_DICOM, reasons=(Reason.NO_DICOM,))]
    html = made(output(tmp_path, rows))
    check(html)
    words = words_of(html)
    for told in (
        "6 files found",
        "4 radiographs",
        "3 sorted",
        "1 in review",
        "1 troubles",
        "1 no radiographs",
    ):
        assert told in words
    assert f"1 {Reason.TOO_SLOW} timeout /in/t" in words
    assert f"dicomsort review {tmp_path}" in words


def test_nothing_that_stands_in_a_manifest_becomes_markup(tmp_path: Path) -> None:
    header = Header(modality=EVIL, body_part_examined=EVIL, transfer_syntax=EVIL, age_group=EVIL)
    changes: dict[str, Any] = {"label": EVIL, "header": header, "destination": EVIL, "reasons": (EVIL,)}
    rows = [
        row(f"/in/{EVIL}", reviewed=decided(EVIL, EVIL, EVIL), **changes),
        row(f"/in/2{EVIL}", Status.REVIEW, **changes),
        row(f"/in/3{EVIL}", Status.CRASH, reasons=(EVIL,), header=header),
    ]
    folder = output(tmp_path / "<b>out", rows, roots=[EVIL], odd=EVIL, model=f"{EVIL}@1+{EVIL}@2")
    html = made(folder, dict.fromkeys(range(4), "data:image/jpeg;base64,AA=="))
    check(html)
    assert "<script" not in html
    assert EVIL[:8] in words_of(html).replace("&lt;", "<").replace("&gt;", ">")


@pytest.mark.parametrize(
    "rows",
    [[], [row("/in/1", Status.NOT_DICOM)], [row("/in/1", Status.IO_ERROR, reasons=(Reason.UNREADABLE,))]],
    ids=["nothing", "no radiograph", "troubles only"],
)
def test_an_output_without_radiographs_has_a_page(rows: list[Row], tmp_path: Path) -> None:
    html = made(output(tmp_path, rows))
    check(html)
    assert "There is no radiograph among these files." in html


def test_what_people_decided_is_told(tmp_path: Path) -> None:
    rows = [
        row("/in/1", reviewed=decided("hand", "ann")),
        row("/in/2", reviewed=decided("spine", "bob", "2026-11-30T10:00:00Z")),
        row("/in/3", Status.EXCLUDED, reviewed=decided("excluded", "ann")),
        row("/in/4", Status.REVIEW, reviewed=decided("unsure", "ann")),
    ]
    words = words_of(made(output(tmp_path, rows)))
    assert "3 files were decided by 2 people between 2026-11-29T03:15:02Z and 2026-11-30T10:00:00Z" in words
    assert "changed 2 times (66.7 %). 1 was left as unsure and stays in review" in words
    assert "The model's label against a person's" in words.replace("&#39;", "'")
    assert "1 excluded by a person" in words


def test_who_moved_files_by_hand_counts_as_nobody_else(tmp_path: Path) -> None:
    rows = [
        row("/in/1", reviewed=decided("spine", "ann")),
        row("/in/2", reviewed=decided("spine", "moved by hand")),
    ]
    words = words_of(made(output(tmp_path, rows)))
    assert "2 files were decided by one person and files moved by hand between" in words


def test_what_people_called_otherwise_has_a_strip_of_its_own_and_no_place_in_the_others(
    tmp_path: Path,
) -> None:
    """The model's confidence is of its own label, and says nothing of the label that a person gave."""
    rows = [
        row("/in/1", label="spine", confidence=0.9999, reviewed=decided("hand")),
        row("/in/2", label="spine", confidence=0.3, reviewed=decided("hand")),
        row("/in/3", confidence=0.2, reviewed=decided("hand")),
        row("/in/4", confidence=0.9996),
        row("/in/5", Status.REVIEW, confidence=0.1),
    ]
    found = gather(str(output(tmp_path, rows) / "manifest.csv"))
    shelf = found.shelves["hand"]
    assert sum(shelf.placed.counts) == 2
    assert [one.path for one in shelf.surest.ranked()] == ["/in/4", "/in/3"]
    assert [one.path for one in shelf.least_sure.ranked()] == ["/in/4"]
    assert [(one.path, one.label) for one in shelf.moved.ranked()] == [("/in/1", "spine"), ("/in/2", "spine")]
    words = words_of(
        made(tmp_path, {one.at: "data:image/jpeg;base64,AA==" for one in wanted_pictures(found, 8)})
    )
    assert (
        "Put here by people, and the model said otherwise (2) spine &gt;0.999 hand/1 spine 0.300 hand/2"
        in words
    )
    assert "Surest &gt;0.999 hand/4" in words
    assert "hand 3 radiographs, highest bar 2" in words


def test_how_many_people_decided_stands_over_the_least_sure(tmp_path: Path) -> None:
    rows = [row(f"/in/{number}", confidence=0.5 + number / 100) for number in range(10)]
    rows += [row(f"/in/d{number}", confidence=0.1, reviewed=decided("hand")) for number in range(2)]
    found = gather(str(output(tmp_path, rows) / "manifest.csv"), 4)
    words = words_of(
        made(tmp_path, {one.at: "data:image/jpeg;base64,AA==" for one in wanted_pictures(found, 4)})
    )
    assert "Least sure of those not in review (2 that people decided are left out) 0.500 hand/0" in words


def test_a_label_that_only_people_gave_has_no_histogram(tmp_path: Path) -> None:
    words = words_of(made(output(tmp_path, [row("/in/1", reviewed=decided("spine"))])))
    assert "spine 0 radiographs" not in words


def test_a_single_file_in_review_is_no_plural(tmp_path: Path) -> None:
    assert "Look at the file in review" in words_of(made(output(tmp_path, [row("/in/1", Status.REVIEW)])))


def test_a_spot_check_is_told_with_its_interval_and_a_damaged_one_is_not(tmp_path: Path) -> None:
    hand = {
        "drawn": 80,
        "of": 2100,
        "answered": 80,
        "right": 79,
        "precision": 0.9875,
        "low": 0.93,
        "high": 0.99,
    }
    sample = {"drawn": 200, "of": 5430, "answered": 180, "unsure": 3, "right": 175, "precision": 0.9722}
    sample |= {"low": 0.936, "high": 0.991, "confidence": 0.95, "labels": {"hand": hand}}  # type: ignore[dict-item]
    output(tmp_path, [row("/in/1")])
    (tmp_path / "review.json").write_text(json.dumps({"sample": sample}))
    words = words_of(made(tmp_path))
    assert "Precision 97.2 % , with 95 % confidence between 93.6 % and 99.1 %" in words
    assert "hand 2100 80 80 79 98.8 % 93.0 % to 99.0 %" in words
    for damaged in ("{", "[]", '{"sample": 3}', '{"sample": {"answered": "many"}}'):
        (tmp_path / "review.json").write_text(damaged)
        assert "Spot check" not in made(tmp_path)


def test_the_runs_models_settings_and_speed_are_told(tmp_path: Path) -> None:
    took = {"files": 600, "seconds": 30.0, "runs": 2, "spent": {"header": 1.0, "pixels": 3.0, "wait": 9.0}}
    fixed = {"model": "a@12+b@34", "model_sha256": "1234+3456", "review_below": 0.98, "roots": ["/in"]}
    run = Run("/out", fixed, {"versions": {"numpy": "2.4"}, "verify": True}, took)
    output(tmp_path, [row("/in/1", Status.CRASH, reasons=(Reason.WORKER_DIED,))])
    words = words_of(page(gather(str(tmp_path / "manifest.csv")), run, {}))
    assert "600 files in 30.0 s (2 runs together): 20.0 files/s" in words
    assert "decoding pictures, in workers 3.0 75.0 %" in words
    assert "a decides 1234 b answers in columns of its own 3456" in words
    assert "verify yes" in words
    assert "numpy 2.4" in words
    assert "dicomsort classify /in --out /out --retry-failed" in words
    assert "files/s" not in words_of(page(gather(str(tmp_path / "manifest.csv")), Run("/out"), {}))


def test_a_plan_says_how_it_is_carried_out(tmp_path: Path) -> None:
    words = words_of(made(output(tmp_path, [row("/in/1", Status.PLANNED)], dry_run=True)))
    assert "A plan: what is planned is not placed yet." in words
    assert f"dicomsort apply {tmp_path}/manifest.csv" in words


def test_a_histogram_divides_at_the_threshold() -> None:
    placed, review = Spread(), Spread()
    for number in (0.95, 0.95, 0.999):
        placed.add(number)
    review.add(0.5)
    drawn = charts.histogram("hand", placed, review, 0.9)
    assert drawn.threshold == (charts.WIDTH / 4, "0.9")
    left = [bar for bar in drawn.bars if bar.left + bar.width <= charts.WIDTH / 4]
    assert [bar.kind for bar in left] == ["in-review"]
    heights = {bar.left: bar.height for bar in drawn.bars if bar.kind == "sorted"}
    assert max(heights.values()) == charts.HEIGHT
    assert min(heights.values()) == pytest.approx(charts.HEIGHT / 2)
    assert charts.histogram("hand", placed, review, "none").threshold is None


def test_the_parts_of_a_bar_are_shares_of_the_whole() -> None:
    table = Cross()
    table.add("hand", "sorted", 3)
    table.add("hand", "in review", 1)
    assert [(part.kind, part.share) for part in charts.row_shares(table, "hand")] == [
        ("sorted", 75.0),
        ("in-review", 25.0),
    ]


def test_the_page_stays_small_with_thousands_of_classes_and_the_longest_names(tmp_path: Path) -> None:
    long = "x" * 3000
    rows = []
    for number in range(3000):
        name = f"{number}{long}"
        header = Header(modality=name[:200], body_part_examined=name[:200], transfer_syntax=name[:200])
        changes: dict[str, Any] = {"label": f"{number}{long[:200]}", "header": header, "confidence": 0.5}
        rows.append(row(f"/in/{name}", reasons=(f"reason {name[:200]}",), **changes))
        rows.append(row(f"/in/t{name}", Status.CRASH, reasons=(f"reason {name[:200]}",), header=header))
    output(tmp_path, rows, roots=[long] * 50)
    found = gather(str(tmp_path / "manifest.csv"))
    wanted = wanted_pictures(found, 8)
    assert len(wanted) <= 300
    html = made(tmp_path, dict.fromkeys((one.at for one in wanted), f"data:image/jpeg;base64,{'A' * 15000}"))
    check(html)
    assert len(html.encode()) < 10_000_000
    assert len(re.findall(r"<img ", html)) == len(wanted)
