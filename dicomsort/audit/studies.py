"""The images of each study together: what it shows, and which image does not belong."""

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import NamedTuple

from dicomsort.audit.compatible import is_compatible
from dicomsort.audit.judge import Judged, Shown
from dicomsort.audit.verdicts import Finding, Severity, Verdict, badness
from dicomsort.model.anatomy import Region, mado_of

_FEWEST = 3  # images of which one can be the odd one out
_MOST_CONTENTS = 50_000


@dataclass(frozen=True, slots=True)
class Content:
    """What the images of a study show. labels: how many show what, the most frequent first.

    regions, mado: likewise the regions, and those of IHE MADO. sure: how many show which region for sure.
    odd: the place among the images of the one that goes with none of the others, which go with each other;
    None if there is no such.
    """

    labels: tuple[tuple[str, int], ...]
    regions: tuple[Region, ...]
    mado: tuple[Region, ...]
    sure: Counter[Region]
    odd: int | None


@dataclass(frozen=True, slots=True)
class Study:
    """What an audit says of a study.

    verdict: the worst of its images. odd: the place of the odd one out among all images. unshared: how many
    images show what no other of the same accession does, or of the study if there is none.
    """

    uid: str
    accession: int
    images: int
    verdict: Finding
    content: Content
    odd: int | None
    unshared: int


class Seen(NamedTuple):
    """What an image shows, and whether that is sure."""

    label: str
    region: Region | None
    sure: bool


class Studies:
    """Collects what studies are made of, in some bytes an image."""

    def __init__(self) -> None:
        self._uids: dict[str, int] = {}
        self._numbers: dict[tuple[Shown, bool], int] = {}
        self._known: list[Seen] = []
        self._study, self._accession, self._what = array("i"), array("i"), array("i")
        self._kinds: dict[tuple[Verdict, Severity | None], int] = {}
        self._kind, self._confidence = array("b"), array("f")

    def add(self, uid: str, accession: int, judged: Judged) -> None:
        """Take an image; images come in the order of their places."""
        shown, sure = judged.case.shown, judged.sure
        number = self._numbers.setdefault((shown, sure), len(self._known))
        if number == len(self._known):
            self._known.append(Seen(shown.label, shown.region, sure))
        verdict, severity, confidence, *_ = judged.verdict
        self._study.append(self._uids.setdefault(uid, len(self._uids)))
        self._accession.append(accession)
        self._what.append(number)
        self._kind.append(self._kinds.setdefault((verdict, severity), len(self._kinds)))
        self._confidence.append(-1.0 if confidence is None else confidence)

    def __len__(self) -> int:
        return len(self._study)

    def all(self) -> Iterator[Study]:
        """Yield every study, in the order of their first images; images without a study's UID are in none."""
        shared, uids = self._shared(), iter(self._uids)
        contents: dict[tuple[int, ...], Content] = {}
        order = sorted(range(len(self)), key=self._study.__getitem__)
        for _, places in groupby(order, key=self._study.__getitem__):
            uid, images = next(uids), list(places)
            if not uid:
                continue
            what = tuple([self._what[at] for at in images])
            if what not in contents:
                if len(contents) >= _MOST_CONTENTS:
                    contents.clear()
                contents[what] = content_of([self._known[one] for one in what])
            yield self._study_of(uid, images, contents[what], shared)

    def _shared(self) -> dict[int, Counter[Region]]:
        """Return what the images of each accession show, as far as that is sure; without those of none."""
        found: dict[int, Counter[Region]] = {}
        for accession, what in zip(self._accession, self._what, strict=True):
            region, sure = self._known[what].region, self._known[what].sure
            if accession and sure and region:
                found.setdefault(accession, Counter())[region] += 1
        return found

    def _study_of(
        self, uid: str, places: Sequence[int], content: Content, shared: dict[int, Counter[Region]]
    ) -> Study:
        accession = next(filter(None, [self._accession[at] for at in places]), 0)
        around = shared.get(accession, content.sure)
        verdict = min([self._finding(at) for at in places], key=badness)
        odd = None if content.odd is None else places[content.odd]
        unshared = sum([stands_alone(region, around) for region in content.sure])
        return Study(uid, accession, len(places), verdict, content, odd, unshared)

    def _finding(self, at: int) -> Finding:
        sure = self._confidence[at]
        return Finding(*list(self._kinds)[self._kind[at]], None if sure < 0 else sure)


def content_of(images: Sequence["Seen"]) -> Content:
    """Return what images show together."""
    labels = Counter(one.label for one in images if one.label)
    regions = Counter(one.region for one in images if one.region)
    mado: Counter[Region] = Counter()
    for region, count in regions.items():
        if top := mado_of(region):
            mado[top] += count
    sure = [one.region if one.sure else None for one in images]
    here = Counter(region for region in sure if region)
    return Content(tuple(labels.most_common()), _ranked(regions), _ranked(mado), here, _odd_one(sure, here))


def _ranked(regions: Counter[Region]) -> tuple[Region, ...]:
    return tuple(region for region, _ in regions.most_common())


def stands_alone(region: Region, around: Counter[Region]) -> bool:
    """Return whether, of several images, one shows a region that goes with none of the others."""
    if around[region] != 1 or len(around) < 2:
        return False
    return not any(_go_together(region, other) for other in around if other != region)


def _odd_one(sure: Sequence[Region | None], here: Counter[Region]) -> int | None:
    """Return the place of the image that stands alone where all others go together, and all are sure."""
    alone = [at for at, region in enumerate(sure) if region and stands_alone(region, here)]
    if len(alone) != 1 or len(sure) < _FEWEST or None in sure:
        return None
    others = [region for region in here if region != sure[alone[0]]]
    together = all(_go_together(one, other) for one in others for other in others)
    return alone[0] if together else None


@cache
def _go_together(one: Region, other: Region) -> bool:
    return is_compatible(one, other)
