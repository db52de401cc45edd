"""The files of a study as one sample: which they are, in which order, and what identifies them."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from dicomsort.data.table import NONE, columns_of
from dicomsort.errors import UsageError
from dicomsort.model.bundle import Bundle
from dicomsort.model.studies import StudyRule
from dicomsort.outcome import Facts, Failure

VIEW = "view"
"""The column of a CSV that tells views if no other is named."""

_BY_NAME = (
    "warning: this model was trained before views had an order: they are joined by name, which is right if "
    "its CSV had them so; train it anew to have them in the order of their views"
)


class Row(NamedTuple):
    """A file, and what the data say of it. study, view: empty where that is not told.

    alone: whether it stands for its patient. lost: why it is known already that it cannot be read.
    """

    path: str
    name: str
    targets: tuple[str, ...]
    group: str
    source: str = ""
    part: str = ""
    study: str = ""
    metadata: Mapping[str, str] = {}
    auxiliary: tuple[str, ...] = ()
    facts: Facts = ()
    alone: bool = True
    view: str = ""
    lost: Failure | None = None


def rule_for(
    data: Path, column: str | None, view_column: str | None, labels: Collection[str] = ()
) -> StudyRule | None:
    """Return the rule by which images are to be joined; None if they stand alone.

    view_column: as asked; None for the column `view` if there is one, `none` for headers and names alone.
    labels: columns that a model is to answer, which must not tell it how to look. Raises UsageError.
    """
    if column is None:
        if view_column is not None:
            raise UsageError("--view-column orders the views of a study: give --concat-by, too")
        return None
    if view_column in labels:
        raise UsageError(f"--view-column '{view_column}' is a target: views must not be put in order by it")
    if view_column is None:
        there = VIEW in columns_of(data) and VIEW not in labels and column != VIEW
        return StudyRule(column, view_column=VIEW if there else None)
    return StudyRule(column, view_column=None if view_column == NONE else view_column)


def rule_of_all(data: Path, models: Iterable[Bundle]) -> tuple[StudyRule | None, tuple[str, ...]]:
    """Return the rule that models share, as these data can follow it, and what a person should know of it.

    Raises UsageError where models look at studies in different ways.
    """
    rules = dict.fromkeys(model.study for model in models)
    if None in rules and len(rules) > 1:
        raise UsageError(
            "some of the models look at whole studies, others at single images; measure them apart"
        )
    if len(rules) > 1:
        raise UsageError(
            "the models put the images of a study together in different ways; measure them apart"
        )
    rule = next(iter(rules))
    if rule is None:
        return None, ()
    if not rule.views:
        return rule, (_BY_NAME,)
    if rule.view_column is None or rule.view_column in columns_of(data):
        return rule, ()
    told = (
        f"warning: '{data}' has no column '{rule.view_column}', which told the model the views of its "
        "studies: they are put in order by what headers say, else by name"
    )
    return replace(rule, view_column=None), (told,)


def gathered(rows: Iterable[Row], rule: StudyRule) -> list[list[Row]]:
    """Put the rows of each study together, in the order of the rule; studies by the name of the first file.

    So nothing depends on the order of rows. A row without a study is one. Raises UsageError where the files
    of a study differ in what they must have in common.
    """
    studies: dict[str, list[Row]] = {}
    for row in rows:
        studies.setdefault(row.study or row.name, []).append(row)
    ordered = [sorted(study, key=lambda row: rule.order(row.view, row.name)) for study in studies.values()]
    for study in ordered:
        _check(study)
    return sorted(ordered, key=lambda study: study[0].name)


def _check(study: Sequence[Row]) -> None:
    first = study[0]
    for row in study[1:]:
        if _in_common(row) != _in_common(first):
            raise UsageError(
                f"'{first.name}' and '{row.name}' are of one study but differ in labels, patient or part"
            )


def _in_common(row: Row) -> tuple[object, ...]:
    """Return what the files of one study must have in common; a file without patient stands for its study."""
    return row.targets, row.group if row.group != row.name else "", row.part


def facts_of(images: Sequence[Facts]) -> Facts:
    """Return what is evidence of a study: the facts that all its images agree on."""
    first, *others = images
    return tuple(fact for fact in first if all(fact in other for other in others))


def identity(hashes: Sequence[str], rule: StudyRule | None) -> str:
    """Return what identifies the files of a sample, by their hashes: whatever order they come in.

    Bundles of before know studies by the hashes in a row.
    """
    if len(hashes) == 1 or "" in hashes:
        return hashes[0] if "" not in hashes else ""
    return _digest(",".join(hashes if rule is None or not rule.views else sorted(hashes)))


def arrangement(rows: Sequence[Row], hashes: Sequence[str], rule: StudyRule | None) -> str:
    """Return what tells how the files of a study are shown, besides what they hold; empty for one file."""
    if rule is None or len(rows) == 1:
        return ""
    names = sorted(row.name for row in rows)
    files = [
        [content, names.index(row.name), rule.order(row.view, "")[0]]
        for row, content in zip(rows, hashes, strict=True)
    ]
    return _digest(json.dumps([rule.layout, rule.views, files]))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
