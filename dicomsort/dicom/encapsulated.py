"""Which fragments of an encapsulated Pixel Data element make which frame (PS3.5 A.4)."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

_ENTRY_LIMIT = 1 << 32  # of a Basic Offset Table


class Fragment(NamedTuple):
    """An item of the value: where it begins in the file, where its bytes begin, and how many these are."""

    item: int
    start: int
    length: int


class Frames(NamedTuple):
    """The fragments of each frame, as far as there are any, and whether a table was wrong about them."""

    frames: Sequence[Sequence[Fragment]]
    table_is_wrong: bool = False


def group(
    fragments: Sequence[Fragment],
    tables: Sequence[Sequence[int]],
    frames: int,
    begins: Callable[[Fragment], bool],
    cut: bool = False,
) -> Frames:
    """Return the fragments of each frame.

    tables: offsets of the frames from the first fragment's item, as the Extended and the Basic Offset Table
    say, as far as these are there. Tables have been seen to lie where the frames are whole, so they are asked
    last: one frame is made of all fragments, and of as many fragments as frames each is one. begins: whether
    a fragment begins with a code stream's own start, which tells frames apart where no table can be
    believed. cut: whether the file ends within the value, so that frames are missing at its end.

    Frames that cannot be told apart are none: the result may hold fewer than `frames`, even nothing.
    """
    places = [fragment.item - fragments[0].item for fragment in fragments]
    if frames == 1:
        return Frames([fragments] if fragments else [], any(list(table) != [0] for table in tables))
    for whole in (fragments, [fragment for fragment in fragments if fragment.length]):
        if len(whole) == frames:
            wrong = any(not _agrees(table, places[: len(whole)]) for table in tables)
            return Frames([[fragment] for fragment in whole], wrong)
    for table in tables:
        if _is_believable(table, places, frames, cut):
            index = {place: number for number, place in enumerate(places)}
            known = [index[entry] for entry in table if entry in index]
            return Frames(_split(fragments, known), table is not tables[0])
    starts = [number for number, fragment in enumerate(fragments) if begins(fragment)]
    return Frames(_split(fragments, starts) if starts[:1] == [0] else [], bool(tables))


def _agrees(table: Sequence[int], places: Sequence[int]) -> bool:
    """Return whether the entries are the places; those of a long value have been seen to wrap."""
    return list(table) in (list(places), [place % _ENTRY_LIMIT for place in places])


def _is_believable(table: Sequence[int], places: Sequence[int], frames: int, cut: bool) -> bool:
    """Return whether a table has an entry for each frame, in order, and each meets an item."""
    if len(table) != frames or any(after <= entry for entry, after in pairwise(table)):
        return False
    known, end = set(places), max(places, default=0)
    return all(entry in known or (cut and entry > end) for entry in table)


def _split(fragments: Sequence[Fragment], starts: Sequence[int]) -> list[Sequence[Fragment]]:
    ends = [*starts[1:], len(fragments)]
    return [fragments[start:end] for start, end in zip(starts, ends, strict=True)]
