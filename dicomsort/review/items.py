"""A file as the page shows it."""

import os
from dataclasses import dataclass

from dicomsort.manifest.reading import read_row
from dicomsort.manifest.records import Record
from dicomsort.system.escaping import escape


@dataclass(frozen=True, slots=True)
class Item:
    """A file as the page shows it. id: its number in the index. Names are escaped."""

    id: int
    path: str
    folder: str
    destination: str
    status: str
    label: str
    confidence: float | None
    reject_score: float | None
    reasons: tuple[str, ...]
    study: str
    scores: dict[str, float]
    further: dict[str, str]
    modality: str
    body_part_examined: str
    view_position: str
    rotation: int | None
    reviewed_label: str
    reviewed_by: str
    reviewed_at: str
    in_sample: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file whose decision was not taken, and why."""

    id: int
    reason: str


def item_of(number: int, record: Record, in_sample: bool) -> Item:
    """Return a row as an item. number: of the row in the index. in_sample: whether a spot check drew it."""
    row = read_row(record)
    return Item(
        number, escape(row.path), escape(os.path.dirname(row.path)), escape(row.destination),
        row.status.value, row.label, row.confidence, row.reject_score, row.reasons,
        row.header.study_instance_uid, dict(row.scores),
        {name: one.label for name, one in row.further.items()},
        row.header.modality, row.header.body_part_examined, row.header.view_position, row.rotation,
        row.reviewed_label, row.reviewed_by, row.reviewed_at, in_sample,
    )  # fmt: skip
