"""What models can say of a radiograph, for an audit: which labels of which head speak for a tag."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dicomsort.audit.compatible import holders, is_compatible, named
from dicomsort.model.anatomy import Region, region_of

VIEWS = frozenset({"frontal", "lateral", "oblique"})
_CHILD = frozenset({
    *("pediatric", "paediatric", "pediatrics", "paediatrics", "child", "children", "kid", "kids"),
    *("infant", "infants", "newborn", "newborns", "neonate", "neonatal", "baby", "babies"),
})  # fmt: skip
_ADULT = frozenset({"adult", "adults", "geriatric"})
_ELSE = ""  # a label for what is none of those that a person named
_WINS = 0.5  # a score from which a label wins
_WORDS = re.compile(r"[a-z]+")

Scores = Sequence[float] | Sequence[str]
"""Numbers, or texts of numbers as a manifest has them, of which only those that count are read."""


@dataclass(frozen=True, slots=True)
class Split:
    """A head's labels before a tag, by their places.

    right: labels of regions that go with the tag. rest: labels of no region, which go with it too, for the
    tag names nothing that the head has a label for. wrong: all others.
    """

    right: tuple[int, ...]
    rest: tuple[int, ...]
    wrong: tuple[int, ...]


class Weighed(NamedTuple):
    """What the scores of a head say of a tag: 0..1.

    wrong: how sure it is that the tag is wrong. right: how sure that it is right. against: the place of the
    likeliest label that does not go with it, if that matters. agrees: whether the labels that go with it win.
    """

    wrong: float
    right: float
    against: int
    agrees: bool


@dataclass(frozen=True, slots=True)
class AnatomyHead:
    """A head that tells parts of the body.

    name: of its columns, empty for the one that decides. regions: of its labels, None for what is none, such
    as `others`. many: whether it may give several labels, each with a score of its own.
    """

    name: str
    labels: tuple[str, ...]
    regions: tuple[Region | None, ...]
    many: bool = False
    _splits: dict[tuple[str, ...], Split] = field(default_factory=dict, compare=False, repr=False)

    def split(self, codes: tuple[str, ...]) -> Split:
        """Split the labels by what goes with any of these regions."""
        found = self._splits.get(codes)
        if found is None:
            found = self._splits[codes] = self._split(named(codes))
        return found

    def _split(self, tags: Sequence[Region]) -> Split:
        places = range(len(self.labels))
        right = [at for at in places if self._goes_with(at, tags)]
        rest = [at for at in places if self.regions[at] is None and self._leaves_to_rest(tags)]
        silent = [at for at in places if self.many and self.regions[at] is None]
        return Split(
            tuple(right), tuple(rest), tuple(at for at in places if at not in (*right, *rest, *silent))
        )

    def _goes_with(self, at: int, tags: Sequence[Region]) -> bool:
        region = self.regions[at]
        return region is not None and any(is_compatible(tag, region) for tag in tags)

    def _leaves_to_rest(self, tags: Sequence[Region]) -> bool:
        """Return whether a film of the tag may be none of the labels: it does not lie within one of them."""
        own = {region.code for region in self.regions if region}
        return not self.many and not all(own.intersection(holders(tag)) for tag in tags)

    def weigh(self, scores: Scores, chosen: Sequence[int], codes: tuple[str, ...]) -> Weighed | None:
        """Weigh a tag by the scores of an image; None if the head has no label for or against it.

        Of several labels the best for the tag and the best against it compete: where none stands out, nothing
        is said. This was chosen on the validation and test parts, see docs/how-to/audit.md.
        """
        split = self.split(codes)
        if not split.wrong or not (split.right or split.rest):
            return None
        right = [float(scores[at]) for at in split.right]
        if self.many:
            if self._is_none(scores, chosen):
                return None
            return _one_of_many(max(right), split, scores, chosen)
        sure = sum(right)
        wrong = max(0.0, 1.0 - sure - sum([float(scores[at]) for at in split.rest]))
        against = best_of(scores, split.wrong) if wrong >= _WINS else split.wrong[0]
        return Weighed(wrong, sure, against, sure >= _WINS)

    def _is_none(self, scores: Scores, chosen: Sequence[int]) -> bool:
        """Return whether the likeliest label is no region of the body, and none that is one is given."""
        likeliest = best_of(scores, range(len(scores)))
        return self.regions[likeliest] is None and not any(self.regions[at] for at in chosen)


def _one_of_many(right: float, split: Split, scores: Scores, chosen: Sequence[int]) -> Weighed:
    """Weigh a tag by labels with a score each. right: the best of what goes with the tag."""
    if right >= _WINS and all(at in split.right for at in chosen):
        return Weighed(0.0, right, split.wrong[0], agrees=True)
    against = best_of(scores, split.wrong)
    wrong = float(scores[against])
    agrees = right > wrong and any(at in split.right for at in chosen)
    return Weighed((1.0 - right) * wrong / max(wrong + right, 1e-9), right, against, agrees)


def best_of(scores: Scores, places: Sequence[int]) -> int:
    """Return the place of the highest score among some."""
    found = [float(scores[at]) for at in places]
    return places[found.index(max(found))]


class Answer(NamedTuple):
    """What a head says of an image. scores: by label. chosen: the places of the labels that it gives."""

    head: AnatomyHead
    scores: Scores
    chosen: tuple[int, ...]


def anatomy_head(
    name: str, labels: Sequence[str], known: Mapping[str, Region] | None = None, many: bool = False
) -> AnatomyHead | None:
    """Return a head that tells parts of the body; None if none of its labels is one.

    known: what its labels mean; without it, what they mean by their names.
    """
    find: Callable[[str], Region | None] = region_of if known is None else known.get
    regions = tuple(find(label) for label in labels)
    return AnatomyHead(name, tuple(labels), regions, many) if any(regions) else None


def decided_answer(label: str, deciding: AnatomyHead) -> Answer | None:
    """Return what a person decided as an answer; None if that says nothing of a part of the body.

    label: of several with `|` between them.
    """
    parts = label.split("|")
    if all(part in deciding.labels for part in parts):
        chosen = tuple(deciding.labels.index(part) for part in parts)
        return Answer(deciding, [float(one in parts) for one in deciding.labels], chosen)
    head = anatomy_head("", (*parts, _ELSE))
    return Answer(head, [*(1.0 for _ in parts), 0.0], tuple(range(len(parts)))) if head else None


def is_overruled(answer: Answer, decided: Answer) -> bool:
    """Return whether what a further head says cannot be, for a person decided otherwise."""
    region = answer.head.regions[best_of(answer.scores, range(len(answer.scores)))]
    theirs = [shown for at in decided.chosen if (shown := decided.head.regions[at])]
    if region is None:
        return False
    if theirs:
        return not any(is_compatible(region, shown) for shown in theirs)
    return any(shown and shown.code in holders(region) for shown in decided.head.regions)


def band_of(label: str) -> str:
    """Return the age that a label names, `adult` or `child`; empty if it names none."""
    words = set(_WORDS.findall(label.lower()))
    return "adult" if words & _ADULT else "child" if words & _CHILD else ""
