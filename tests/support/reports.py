"""Rows and pages of a report, as a test wants them."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from manifests import manifest

from dicomsort.manifest.rows import Row
from dicomsort.outcome import FileStamp, Header, Reason, Reviewed, Status

STAMP = FileStamp(1000, 1)


def row(path: str, status: Status = Status.SORTED, **changes: Any) -> Row:
    """A row with what is usual in it: a radiograph of a hand."""
    usual: dict[str, Any] = {"stamp": STAMP}
    if status in (Status.SORTED, Status.REVIEW, Status.PLANNED, Status.EXCLUDED):
        usual |= {"label": "hand", "confidence": 0.99, "scores": (0.99, 0.01)}
        usual |= {"destination": f"hand/{Path(path).name}", "header": Header(modality="DX")}
    if status is Status.REVIEW:
        usual |= {"reasons": (Reason.BELOW_THRESHOLD,), "confidence": 0.3}
    return Row(path, status, **{**usual, **changes})


def decided(label: str, by: str = "ann", at: str = "2026-11-29T03:15:02Z") -> Reviewed:
    return Reviewed(label, by, at)


def output(folder: Path, rows: Iterable[Row], dry_run: bool = False, **fixed: Any) -> Path:
    """An output folder whose manifest has these rows."""
    with manifest(folder, dry_run, **fixed) as opened:
        opened.append(rows)
    return folder


def words_of(html: str) -> str:
    """What a person reads on a page: its text, without tags, style and pictures."""
    text = re.sub(r"<style>.*?</style>", " ", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", text))
