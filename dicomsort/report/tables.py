"""Figures as tables of text, none of which grows with what it tells."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from dicomsort.dicom.uid_names import name_of
from dicomsort.report.counts import REST, Cross, share
from dicomsort.report.gather import UNKNOWN, Figures, Group

_ROWS = 30
_ACROSS = 12
_LABELS = 200
_HEADS = 12
_LONGEST = 110


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text; its first column is words, the others are numbers. note: a line below it."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def clipped(text: str, longest: int = _LONGEST) -> str:
    """Return a text with its middle left out if it is longer than this."""
    if len(text) <= longest:
        return text
    half = (longest - 3) // 2
    return f"{text[:half]}...{text[-half:]}"


def number(count: int) -> str:
    """Return a count as a person reads it; nothing for 0."""
    return f"{count:,}" if count else ""


def by_group(title: str, first: str, table: Cross, said: Callable[[str], str] = str) -> Table:
    """Return a table of values by how files ended, the groups in order. said: what a value is called."""
    groups = [group for group in Group if table.columns[group]]
    smaller = table.most(_ROWS, len(Group))
    rows = [
        [clipped(said(value)), *(number(smaller[value, group]) for group in groups), number(count)]
        for value, count in _ordered(smaller).items()
    ]
    return Table(title, (first, *groups, "files"), rows, _note(table))


def across(title: str, first: str, table: Cross, note: str = "") -> Table:
    """Return a cross table, the most frequent values first."""
    smaller = table.most(_ROWS, _ACROSS)
    columns = list(_ordered(smaller, columns=True))
    rows = [
        [clipped(row), *(number(smaller[row, column]) for column in columns), number(count)]
        for row, count in _ordered(smaller).items()
    ]
    return Table(
        title, (first, *(clipped(column, 24) for column in columns), "all"), rows, note or _note(table)
    )


def _note(table: Cross) -> str:
    return f"The {_ROWS} most frequent of {len(table.rows):,}." if len(table.rows) > _ROWS else ""


def _ordered(table: Cross, columns: bool = False) -> dict[str, int]:
    """Return rows, or columns, by falling count; what has no value, and the rest, come last."""
    counts = table.columns if columns else table.rows
    last = {UNKNOWN: 1, REST: 2}
    return dict(sorted(counts.items(), key=lambda each: (last.get(each[0], 0), -each[1], each[0])))


def labels_of(figures: Figures) -> list[str]:
    """Return the labels by name, as many as a page can hold: of more, the most frequent."""
    return sorted(_ordered(figures.tables["label"].most(_LABELS, len(Group))))


def found_tables(figures: Figures) -> list[Table]:
    """Return the tables of what the headers say."""
    tables = figures.tables
    told = [
        by_group("Modality", "modality", tables["modality"]),
        across(
            "Body Part Examined against the label", "Body Part Examined", figures.body_parts,
            "Radiographs by what the header says (rows) and by the label (columns).",
        ),
        by_group("Transfer syntax", "transfer syntax", tables["transfer_syntax"], name_of),
        by_group("Age group", "age group", tables["age_group"]),
    ]  # fmt: skip
    return [table for table in told if table.rows]


def further_tables(figures: Figures) -> list[Table]:
    """Return what further heads and models say, by label."""
    heads = [(name, table) for name, table in figures.further.items() if table][:_HEADS]
    return [across(name, "answer", table) for name, table in heads]


def reasons_table(figures: Figures) -> Table:
    """Return the reasons by how files ended."""
    note = "A file may have several reasons."
    table = by_group("Reasons", "reason", figures.tables["reason"])
    return Table(table.title, table.head, table.rows, f"{note} {table.note}".strip())


def decision_tables(figures: Figures) -> Iterable[Table]:
    """Return who has decided, and what the model's labels became."""
    decisions = figures.decisions
    if decisions.by:
        yield across("By whom", "by", decisions.by)
    if decisions.labels:
        note = "Rows: what the model said. Columns: what a person decided."
        yield across("The model's label against a person's", "model", decisions.labels, note)


def spot_check_rows(labels: object) -> list[list[str]]:
    """Return the rows of a spot check by label; empty if there are none, or they are damaged."""
    if not isinstance(labels, dict):
        return []
    return [
        [
            clipped(str(label)),
            *(str(one.get(name, "")) for name in ("of", "drawn", "answered", "right")),
            percent(one.get("precision")),
            f"{percent(one.get('low'))} to {percent(one.get('high'))}",
        ]
        for label, one in list(labels.items())[:_LABELS]
        if isinstance(one, dict)
    ]


def percent(value: object, form: str = ".1f") -> str:
    """Return a share from 0 to 1 in percent; `-` if it is none. form: of its digits."""
    return f"{100 * value:{form}} %" if isinstance(value, int | float) else "-"


def review_share(figures: Figures) -> str:
    """Return which share of the radiographs is in review."""
    return share(figures.in_review, figures.radiographs)
