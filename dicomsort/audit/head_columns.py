"""Which columns of a manifest hold the scores that an audit asks for."""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter

from dicomsort.audit.answers import VIEWS, AnatomyHead, anatomy_head
from dicomsort.model.anatomy import Anatomy

_SCORE = "score_"
_SUM = 1e-3  # by how much rounded scores of labels that exclude each other miss 1

Getter = Callable[[Sequence[str]], tuple[str, ...]]
"""Returns the scores of a row, as it writes them."""


def anatomy_heads(
    labels: Mapping[str, Sequence[str]],
    sample: Sequence[Sequence[str]],
    place: Mapping[str, int],
    anatomy: Anatomy,
) -> list[tuple[AnatomyHead, Getter]]:
    """Return the heads that tell parts of the body, the one that decides first, and what gets their scores.

    labels: by head. sample: some rows, by which heads that give several labels are known: scores of labels
    that exclude each other add up to 1. place: of the columns. anatomy: what labels mean.
    """
    found = []
    for name, own in labels.items():
        columns = [place[_column(name, label)] for label in own]
        if len(columns) < 2:
            continue
        get: Getter = itemgetter(*columns)
        sums = [sum(map(float, scores)) for cells in sample if (scores := get(cells))[0]]
        many = any(abs(one - 1) > _SUM for one in sums)
        head = anatomy_head(name, own, anatomy.get(name), many)
        if head is not None:
            found.append((head, get))
    return found


def view_columns(labels: Mapping[str, Sequence[str]], place: Mapping[str, int]) -> tuple[str, dict[str, int]]:
    """Return the head that tells views, and the columns of its scores by label; none if there is no such."""
    for name, own in labels.items():
        if set(own) == VIEWS:
            return name, {label: place[_column(name, label)] for label in own}
    return "", {}


def _column(head: str, label: str) -> str:
    return f"{head}.{_SCORE}{label}" if head else f"{_SCORE}{label}"
