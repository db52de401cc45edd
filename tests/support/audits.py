"""Outputs whose tags and answers a test plants, and the rows of their audits."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dicomsort.manifest.rows import Row
from dicomsort.manifest.run_file import RunFacts
from dicomsort.manifest.table import Manifest
from dicomsort.model.heads import Decision
from dicomsort.outcome import FileStamp, Header, Status

GROUPS = ("adult_chest", "others", "pediatric_chest", "spine")
VIEWS = ("frontal", "lateral", "oblique")
PARTS = ("chest", "elbow", "hand", "knee", "shoulder")
ANSWERS = (
    *(f"score_{label}" for label in GROUPS),
    *("view.label", "view.confidence", *(f"view.score_{label}" for label in VIEWS)),
    *("parts.label", "parts.confidence", *(f"parts.score_{label}" for label in PARTS)),
)


def image(
    path: str,
    group: str = "others",
    view: str = "frontal",
    part: str = "hand",
    status: Status = Status.SORTED,
    sure: float = 0.99,
    **changes: Any,
) -> Row:
    """A row of an image that shows this, by three models."""
    further = (_answer(view, VIEWS, sure), _answer(part, PARTS, sure, rest=0.02))
    usual: dict[str, Any] = {
        "label": group,
        "confidence": sure,
        "pixel_label": group,
        "pixel_confidence": sure,
    }
    usual |= {"scores": _scores(group, GROUPS, sure), "further": further, "stamp": FileStamp(1, 1)}
    usual |= {"header": Header(modality="DX", photometric_interpretation="MONOCHROME2")}
    return Row(path, status, **{**usual, **changes})


def _answer(label: str, labels: tuple[str, ...], sure: float, rest: float | None = None) -> Decision:
    return Decision(label, sure, _scores(label, labels, sure, rest))


def _scores(label: str, labels: tuple[str, ...], sure: float, rest: float | None = None) -> tuple[float, ...]:
    others = (1 - sure) / (len(labels) - 1) if rest is None else rest
    return tuple(sure if one == label else others for one in labels)


def header(part: str = "", view: str = "", study: str = "", age: str = "", uid: str = "") -> Header:
    return Header(
        uid, study, modality="DX", body_part_examined=part, view_position=view, age_group=age,
        photometric_interpretation="MONOCHROME2",
    )  # fmt: skip


def output(folder: Path, rows: Iterable[Row]) -> Path:
    """An output folder whose manifest has these rows."""
    run = RunFacts({"model": "m@1+view@1+parts@1"}, {"dry_run": False})
    with Manifest.open(str(folder), ANSWERS, "m@1+view@1+parts@1", run) as manifest:
        manifest.append(list(rows))
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
