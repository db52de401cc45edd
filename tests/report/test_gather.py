"""What a report says of a manifest is what stands in it, however long it is and whoever writes to it."""

import csv
import math
import random
import string
from collections import Counter
from pathlib import Path

import pytest
from manifests import manifest
from reports import decided, output, row

from dicomsort.errors import UsageError
from dicomsort.manifest import standing
from dicomsort.manifest.history import last_of
from dicomsort.manifest.rows import Row
from dicomsort.outcome import Header, Reason, Status
from dicomsort.report import gather as gathering
from dicomsort.report.counts import BINS, REST, Best, Cross, Shown, Spread, place_on_scale
from dicomsort.report.gather import Figures, Group, gather


def figures(folder: Path, pictures: int = 8) -> Figures:
    return gather(str(folder / "manifest.csv"), pictures)


def some_rows(count: int) -> list[Row]:
    rng = random.Random(1)
    made = []
    for number in range(count):
        status = rng.choice(list(Status))
        header = Header(
            modality=rng.choice(("DX", "CR", "")), body_part_examined=rng.choice(("HAND", "-1", ""))
        )
        changes = {"header": header, "reasons": tuple(rng.sample(list(Reason)[1:], rng.randint(0, 2)))}
        label, sure = rng.choice(("hand", "spine", "=SUM(A1)")), rng.random()
        changes |= {"label": label, "confidence": sure} if status is not Status.NOT_DICOM else {}
        if rng.random() < 0.1:
            changes["reviewed"] = decided(
                rng.choice(("hand", "excluded", "unsure")), rng.choice(("ann", "bob"))
            )
        made.append(row(f"/in/{number}", status, **changes))
    return made


def test_the_counts_are_those_of_counting_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where so few different rows are kept that they are spread over the tables many times."""
    monkeypatch.setattr(gathering, "_MOST_WAYS", 7)
    rows = some_rows(600)
    found = figures(output(tmp_path, rows))
    assert found.files == found.groups.total() == 600
    assert found.size == 600 * 1000
    assert found.statuses == Counter(each.status.value for each in rows)
    reasons = Counter(str(reason) for each in rows for reason in each.reasons)
    assert found.tables["reason"].rows == reasons
    assert found.tables["modality"].rows["DX"] == sum(each.header.modality == "DX" for each in rows)
    opinions = [each.reviewed.label for each in rows if each.reviewed]
    assert found.decisions.unsure == opinions.count("unsure")
    assert found.decisions.count == len(opinions) - opinions.count("unsure")
    changed = [each for each in rows if each.reviewed and each.reviewed.label not in ("unsure", each.label)]
    assert found.decisions.changed == len(changed)
    assert sum(found.decisions.by.rows.values()) == len(opinions)


def test_radiographs_stand_under_what_a_person_called_them(tmp_path: Path) -> None:
    rows = [
        row("/in/1"),
        row("/in/2", reviewed=decided("spine")),
        row("/in/3", Status.REVIEW, reviewed=decided("unsure")),
        row("/in/4", Status.EXCLUDED, reviewed=decided("excluded")),
    ]
    found = figures(output(tmp_path, rows))
    assert found.tables["label"].as_dict() == {"hand": {"sorted": 1, "in review": 1}, "spine": {"sorted": 1}}
    assert found.groups[Group.EXCLUDED] == 1
    assert found.radiographs == 3
    assert found.decisions.labels.as_dict() == {"hand": {"spine": 1, "excluded": 1}}


def test_a_plan_tells_class_and_review_apart(tmp_path: Path) -> None:
    unsure = (Reason.BELOW_THRESHOLD,)
    rows = [
        row("/in/1", Status.PLANNED),
        row("/in/2", Status.PLANNED, reasons=unsure),
        row("/in/3", Status.PLANNED, reasons=unsure, reviewed=decided("hand")),
        row("/in/4", Status.PLANNED, reviewed=decided("excluded")),
    ]
    groups = figures(output(tmp_path, rows, dry_run=True)).groups
    assert groups == {Group.PLANNED: 2, Group.PLANNED_REVIEW: 1, Group.EXCLUDED: 1}


def test_the_last_row_of_a_file_counts_and_half_a_line_does_not(tmp_path: Path) -> None:
    path = output(tmp_path, [row("/in/1", Status.REVIEW), row("/in/2"), row("/in/1")]) / "manifest.csv"
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(b"/in/2,review,")
    assert figures(tmp_path).groups == {Group.SORTED: 2}
    path.write_bytes(whole.replace(b"\n", b"\r\n"))
    assert figures(tmp_path).groups == {Group.SORTED: 2}
    path.write_bytes(b"\xef\xbb\xbf" + whole)
    assert figures(tmp_path).groups == {Group.SORTED: 2}


def test_rows_that_come_while_it_is_read_are_left_for_the_next_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output(tmp_path, [row("/in/1"), row("/in/2")])
    with manifest(tmp_path) as opened:

        def slowly(lines: object) -> object:
            answer = last_of(lines)  # type: ignore[arg-type]
            opened.append([row("/in/1", Status.REVIEW), row("/in/3")])
            return answer

        monkeypatch.setattr(standing, "last_of", slowly)
        assert figures(tmp_path).groups == {Group.SORTED: 2}
        monkeypatch.setattr(standing, "last_of", last_of)
        assert figures(tmp_path).groups == {Group.SORTED: 2, Group.REVIEW: 1}


def test_a_manifest_of_an_older_version_is_read(tmp_path: Path) -> None:
    path = output(tmp_path, [row("/in/1"), row("/in/2", Status.REVIEW)]) / "manifest.csv"
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    new = ("reviewed_label", "reviewed_by", "reviewed_at", "age_group", "pixel_label", "evidence")
    old = [name for name in lines[0] if name not in new]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, old, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(lines)
    found = figures(tmp_path)
    assert found.tables["label"].as_dict() == {"hand": {"sorted": 1, "in review": 1}}
    assert not found.decisions.count


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is no manifest"),
        ("a,b\n1,2\n", "is no manifest"),
        ("path;status;reason\n", "has semicolons between its cells"),
        ("path,status,reason,label,destination\n/in/1,merry,,,\n", "is damaged"),
        ("path,status,reason,label,destination\n/in/1,sorted\n", "is damaged"),
    ],
)
def test_what_is_no_manifest_is_told(content: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=says):
        figures(tmp_path)


def test_troubles_are_counted_by_their_first_reason_with_the_first_paths(tmp_path: Path) -> None:
    both = (Reason.PIXELS_DAMAGED, Reason.RETIRED_SYNTAX)
    rows = [row(f"/in/{number}", Status.DECODE_ERROR, reasons=both) for number in range(7)]
    found = figures(output(tmp_path, [*rows, row("/in/x", Status.CRASH, reasons=(Reason.WORKER_DIED,))]))
    damaged = found.troubles["decode_error", Reason.PIXELS_DAMAGED.value]
    assert (damaged.count, damaged.first) == (7, [f"/in/{number}" for number in range(5)])
    assert found.troubles["crash", Reason.WORKER_DIED.value].count == 1


def test_frames_do_not_make_a_reason_each(tmp_path: Path) -> None:
    frames = [row(f"/in/{number}", reasons=(f"{Reason.OTHER_FRAME} {number}",)) for number in range(9)]
    assert figures(output(tmp_path, frames)).tables["reason"].rows == {Reason.OTHER_FRAME.value: 9}


def test_the_files_to_show_are_those_at_the_ends(tmp_path: Path) -> None:
    rng = random.Random(0)
    sure = {f"/in/{number}": round(rng.random(), 6) for number in range(200)}
    found = figures(output(tmp_path, [row(path, confidence=value) for path, value in sure.items()]), 3)
    ranked = sorted(sure, key=lambda path: sure[path])
    shelf = found.shelves["hand"]
    assert [one.path for one in shelf.least_sure.ranked()] == ranked[:3]
    assert [one.path for one in shelf.surest.ranked()] == ranked[:-4:-1]
    assert shelf.doubtful.ranked() == []


def test_of_equal_ones_those_that_came_first_are_kept() -> None:
    best = Best(2, lowest=False)
    for at in range(5):
        best.offer(Shown(1.0, at, f"{at}", "", ""))
    assert [one.at for one in best.ranked()] == [0, 1]


def test_a_table_keeps_apart_only_so_many_values_and_loses_no_count() -> None:
    rng, table = random.Random(0), Cross(10, 4)
    for _ in range(1000):
        table.add("".join(rng.sample(string.ascii_letters, 2)), rng.choice("abcdef"), 1)
    assert sum(table.rows.values()) == sum(table.columns.values()) == 1000
    assert len(table.rows) == 11
    assert len(table.columns) == 5
    smaller = table.most(3, 2)
    assert sum(smaller.rows.values()) == 1000
    assert set(smaller.rows) - {REST} < set(table.rows)
    assert sum(count for cells in smaller.as_dict().values() for count in cells.values()) == 1000


def test_confidences_stand_where_the_scale_says() -> None:
    for number, place in ((0.0, 0.0), (0.9, 0.25), (0.99, 0.5), (0.999, 0.75), (1.0, 1.0)):
        assert place_on_scale(number) == pytest.approx(place)
    spread = Spread()
    numbers = [random.Random(3).random() for _ in range(50)]
    for number in numbers:
        spread.add(number)
    below = sum(number < 0.9 for number in numbers)
    assert sum(spread.counts) == 50
    assert sum(spread.counts[: BINS // 4]) == below
    assert place_on_scale(math.nextafter(1.0, 0.0)) == 1.0
