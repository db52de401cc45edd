"""What the end of a run makes of a manifest, said as plainly as it can be; and manifests for it."""

import os
import random
import shutil
from collections import defaultdict
from pathlib import Path

from dicomsort.manifest.rows import Row
from dicomsort.outcome import FileStamp, Header, Reason, Reviewed, Status

Cells = dict[str, str]
_PLACED = ("sorted", "review", "excluded", "duplicate")
TAKEN, SAME, GONE, NAMESAKE = (
    one.value for one in (Reason.DESTINATION_TAKEN, Reason.SAME_IMAGE, Reason.ORIGINAL_GONE, Reason.SAME_UID)
)


def made(folder: Path, seed: int, number: int = 150) -> tuple[list[Row], dict[str, str]]:
    """Make sources, copies of them below `out`, rows that say so, and what the pixels of each file are.

    Among the rows: some of one UID with the same and with other pixels, decided, moved, refused, planned,
    unreadable, and duplicates of an earlier run, of files that are there and that are not.
    """
    draw, rows, digests = random.Random(seed), list[Row](), dict[str, str]()
    for at in range(number):
        name = f"{'a, b' if draw.random() < 0.2 else 'c'}/{at * 7919 % 1000:03d}.dcm"
        source, uid = (
            folder / "in" / name,
            f"1.2.{draw.randrange(number // 2)}" if draw.random() < 0.9 else "",
        )
        _write(source, at)
        digests[str(source)] = draw.choice(["x", "x", "x", "y", ""])
        rows.append(_row(draw, folder / "out", source, uid, rows))
    return rows, digests


def _write(path: Path, at: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{at}")
    os.utime(path, ns=(at * 10**9, at * 10**9))


def _row(draw: random.Random, out: Path, source: Path, uid: str, before: list[Row]) -> Row:
    kind = draw.choices(
        ["copy", "none", "refused", "moved", "duplicate", "planned", "failed"], [6, 2, 3, 1, 2, 1, 1]
    )[0]
    facts, header = source.stat(), Header(sop_instance_uid=uid)
    stamp = FileStamp(facts.st_size, facts.st_mtime_ns)
    reviewed = Reviewed("spine", "somebody", "2026-01-01T00:00:00Z") if draw.random() < 0.1 else None
    path, place = str(source), f"spine/{source.parent.name}/{source.name}"
    rivals = [row for row in before if row.header.sop_instance_uid == uid and row.action]
    row = Row(path, Status.SORTED, label="spine", header=header, stamp=stamp, reviewed=reviewed)
    if kind == "failed":
        return _with(row, status=Status.IO_ERROR, reasons=(Reason.UNREADABLE,), label="")
    if kind == "planned":
        return _with(row, status=Status.PLANNED, destination=place)
    if kind == "refused":
        place = draw.choice(rivals).destination if rivals and draw.random() < 0.8 else place
        return _with(row, status=Status.IO_ERROR, reasons=(Reason.DESTINATION_TAKEN,), destination=place)
    if kind == "none":
        return row
    if kind == "duplicate":
        of = draw.choice(before).path if before else path
        row = _with(row, status=Status.DUPLICATE, reasons=(Reason.SAME_IMAGE,), duplicate_of=of)
        if draw.random() < 0.5:
            return row
    (out / place).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, out / place)
    if kind == "moved":
        source.unlink()
    return _with(row, action="move" if kind == "moved" else "copy", destination=place)


def _with(row: Row, **changes: object) -> Row:
    return Row(**{**{name: getattr(row, name) for name in row.__slots__}, **changes})


def settled(rows: list[Cells], digests: dict[str, str], out: Path, dry_run: bool) -> list[Cells]:
    """Return the rows as they are to be in the end; copies that are to go have gone, and late ones come."""
    rows = [dict(row) for row in rows]
    groups = _groups(rows, dry_run)
    first, unread = dict[str, str](), set[str]()
    namesakes = set[str]()
    for group in groups:
        images = defaultdict(list)
        for row in group:
            unread |= {row["path"]} - {path for path, digest in digests.items() if digest}
            images[digests[row["path"]]].append(row)
        images.pop("", None)
        repeating = {one["path"]: original for image in images.values() for one, original in _repeats(image)}
        first |= repeating
        if len(images) > 1:
            namesakes |= {one["path"] for image in images.values() for one in image} - set(repeating)
    for row in rows:
        _judge(row, first, namesakes, unread)
    _take_back(rows, first, out)
    _place_late(rows, first, out, dry_run)
    return rows


def _groups(rows: list[Cells], dry_run: bool) -> list[list[Cells]]:
    by_uid = defaultdict(list)
    for row in rows:
        placed = row["status"] in _PLACED or (dry_run and row["status"] == "planned")
        if row["sop_instance_uid"] and (placed or _is_refused(row)):
            by_uid[row["sop_instance_uid"]].append(row)
    return [group for group in by_uid.values() if len(group) > 1]


def _is_refused(row: Cells) -> bool:
    return row["status"] == "io_error" and not row["action"] and TAKEN in row["reason"].split("; ")


def _is_away(row: Cells) -> bool:
    return row["action"] == "move" and not os.path.exists(row["path"])


def _repeats(image: list[Cells]) -> list[tuple[Cells, str]]:
    held = {row["destination"] for row in image if row["action"]}
    able = [row for row in image if not _is_refused(row) or row["destination"] in held]
    if not able:
        return []
    first = min(able, key=lambda row: (not _is_away(row), not row["reviewed_label"], row["path"]))
    return [(row, first["path"]) for row in image if row is not first]


def _judge(row: Cells, first: dict[str, str], namesakes: set[str], unread: set[str]) -> None:
    path = row["path"]
    if path in first:
        if not _is_away(row):
            row.update(status="duplicate", reason=SAME, duplicate_of=first[path])
    elif row["status"] == "duplicate" and not {path, row["duplicate_of"]} & unread:
        row.update(status="planned", reason=GONE, duplicate_of="")
    elif path in namesakes and NAMESAKE not in row["reason"]:
        row["reason"] = "; ".join(filter(None, [row["reason"], NAMESAKE]))


def _take_back(rows: list[Cells], first: dict[str, str], out: Path) -> None:
    by_path = {row["path"]: row for row in rows}
    originals = {row["duplicate_of"] for row in rows if row["status"] == "duplicate"}
    stand = {path for path in originals & set(by_path) if _stands(by_path[path], out)}
    for row in rows:
        known = row["duplicate_of"] in stand or row["duplicate_of"] in first.values()
        if row["status"] == "duplicate" and row["destination"] and known:
            if row["action"]:
                (out / row["destination"]).unlink()
            row.update(action="", destination="")


def _stands(row: Cells, out: Path) -> bool:
    return (out / row["destination"]).is_file() if row["action"] else row["status"] == "planned"


def _place_late(rows: list[Cells], first: dict[str, str], out: Path, dry_run: bool) -> None:
    held = {row["destination"] for row in rows if row["action"]}
    for row in rows:
        if row["path"] not in first.values() or not _is_refused(row) or row["destination"] in held:
            continue
        reasons = "; ".join(one for one in row["reason"].split("; ") if one != TAKEN)
        if dry_run:
            row.update(status="planned", reason=reasons)
        elif not (out / row["destination"]).exists():
            (out / row["destination"]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(row["path"], out / row["destination"])
            row.update(status="sorted", reason=reasons, action="copy")
