"""A review threshold that holds beyond the images it was chosen on, and what it promises.

Learn then Test: Angelopoulos et al. 2021, arXiv:2110.01052. Fixed sequence: Bauer 1991, Multiple Testing in
Clinical Trials. Bound: Clopper and Pearson 1934.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomsort.evaluation import binomial
from dicomsort.evaluation.bootstrap import Counts, Values
from dicomsort.evaluation.predictions import predictions_of
from dicomsort.evaluation.thresholds import reaches, review_threshold, right
from dicomsort.model.heads import Head
from dicomsort.system.telling import counted

CONFIDENCE = 0.95
"""How sure a guarantee is: of a hundred calibrations about five may promise too much."""

_GROWTH = 1.02
_STRICTEST = 8
_STEPS = ((100, 1e-6), (100, 1e-4), (1001, 1e-3))
_GRID = np.unique([1 - number * step for count, step in _STEPS for number in range(1, count)]).round(6)[::-1]

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class LabelBound:
    """How often a label was right where it was filed.

    images: those above the threshold that got the label; right: of these. patients: theirs. lower_bound: of
    the share of patients all of whose answers with this label are right, one-sided, 95 %, of this label
    alone. enough: whether that reaches the target; if not, there are too few images or too many are wrong.
    """

    images: int
    right: int
    patients: int
    lower_bound: float
    enough: bool


@dataclass(frozen=True, slots=True)
class Guarantee:
    """What is known of the answers at and above a review threshold, from images with known truth.

    guaranteed: whether `target` of these answers are right with `confidence`, on images like these; if not,
    the threshold is only what the sample gave. images, wrong: above the threshold; patients, patients_wrong:
    with an image above it, with a wrong one above it. lower_bound: of the share of patients without a wrong
    one, one-sided. coverage: share of the images that are above. by_label: see `LabelBound`.
    """

    target: float
    confidence: float
    guaranteed: bool
    threshold: float
    images: int
    wrong: int
    patients: int
    patients_wrong: int
    lower_bound: float
    coverage: float
    by_label: dict[str, LabelBound]

    @property
    def weak(self) -> tuple[str, ...]:
        """The labels whose own lower bound lies under the target."""
        return tuple(label for label, bound in self.by_label.items() if not bound.enough)


def least_patients(target: float) -> int | None:
    """Return how many patients, all of them right, it takes to guarantee a target: 598 for 0.995.

    None for a target of 1, which nothing can guarantee.
    """
    return math.ceil(math.log(1 - CONFIDENCE) / math.log(target)) if 0 < target < 1 else None


def lower_bound(hits: int, count: int) -> float:
    """Return the exact one-sided 95 % lower bound of a share, of which `hits` of `count` were seen."""
    return binomial.lower_bound(hits, count, CONFIDENCE)


def guaranteed_threshold(confidence: Values, correct: Flags, patients: Counts, target: float) -> float | None:
    """Return the lowest confidence at and above which `target` of the answers are right with 95 % confidence.

    confidence, correct, patients: of each image (n,). None if there is no such confidence.

    Learn then Test with fixed sequences: thresholds are tested from the strictest downwards, and the first
    that fails ends a sequence. One begins with an eighth of the patients, and as many as must all be right to
    pass; each further threshold has 2 % more. With enough patients, a second one begins where one may be
    wrong, so that a single odd one among the surest does not end all; then each is tested at 2.5 %, else the
    only one at 5 %, so all together are wrong in at most 5 % of calibrations. What is tested depends on how
    many patients lie above, never on who is right. Exact if patients are exchangeable, and if the share of
    wrong answers grows as the threshold falls.

    A patient counts as one, and as wrong if any answer above the threshold is: images of a patient are not
    independent. Where those with many images are no worse than others, the bound is on the safe side for
    images; the share of right images of the sample must reach the target, too.
    """
    total = len(np.unique(patients))
    starts = _starts(target, total)
    level = (1 - CONFIDENCE) / max(1, len(starts))
    order = np.argsort(-confidence, kind="stable")
    rank = len(order) - np.searchsorted(confidence[order][::-1], _GRID)
    met = np.append(0, np.cumsum(_first(patients[order], np.ones(len(order), np.bool_))))[rank]
    failed = np.append(0, np.cumsum(_first(patients[order], ~correct[order])))[rank]
    missed = np.append(0, np.cumsum(~correct[order]))[rank]
    passed = []
    for start in starts:
        for at in _tested(met, start):
            safe = binomial.at_most(int(failed[at]), int(met[at]), 1 - target) <= level
            if not safe or missed[at] > (1 - target) * rank[at]:
                break
            passed.append(float(_GRID[at]))
    return min(passed, default=None)


def _starts(target: float, total: int) -> tuple[int, ...]:
    """Return how many patients lie above the first threshold of each sequence; none if they cannot pass.

    total: of all patients.
    """
    if not 0 < target < 1:
        return ()
    for level, wrong in (((1 - CONFIDENCE) / 2, (0, 1)), (1 - CONFIDENCE, (0,))):
        fewest = [_fewest(each, target, level) for each in wrong]
        if max(fewest) <= total:
            return (max(fewest[0], total // _STRICTEST), *fewest[1:])
    return ()


def _fewest(wrong: int, target: float, level: float) -> int:
    """Return the fewest patients that pass a test with so many wrong ones among them."""
    count = wrong + 1
    while binomial.at_most(wrong, count, 1 - target) > level:
        count = count + max(1, count // 100)
    while binomial.at_most(wrong, count - 1, 1 - target) <= level:
        count -= 1
    return count


def _first(patients: Counts, flags: Flags) -> Flags:
    """Return which images (n,) are the first of their patient among those that are flagged."""
    where = np.flatnonzero(flags)
    first = np.zeros(len(patients), np.bool_)
    first[where[np.unique(patients[where], return_index=True)[1]]] = True
    return first


def _tested(met: Counts, start: int) -> list[int]:
    """Return the places in the grid to test, from how many patients lie above each."""
    places, wanted = [], start
    while (place := int(np.searchsorted(met, wanted))) < len(met):
        places.append(place)
        wanted = max(int(met[place]) + 1, math.ceil(met[place] * _GROWTH))
    return places if places and places[-1] == len(met) - 1 else [*places, len(met) - 1]


def guarantee_of(
    head: Head,
    scores: NDArray[np.float32],
    truth: NDArray[np.float32],
    patients: Counts,
    target: float,
    guaranteed: bool,
) -> Guarantee:
    """Describe what a head's review threshold does on the images that it was calibrated on.

    scores: (n, labels). truth: (n, head.width), none unknown. patients: a number for each image (n,).
    guaranteed: whether the threshold is what `guaranteed_threshold` gave.
    """
    correct, filed = right(head, scores, truth), head.confidence(scores) >= head.review_below
    met, failed = (len(np.unique(patients[flags])) for flags in (filed, filed & ~correct))
    return Guarantee(
        target=target,
        confidence=CONFIDENCE,
        guaranteed=guaranteed,
        threshold=head.review_below,
        images=int(filed.sum()),
        wrong=int((filed & ~correct).sum()),
        patients=met,
        patients_wrong=failed,
        lower_bound=lower_bound(met - failed, met),
        coverage=float(filed.mean()),
        by_label={
            label: _of_label(given, so, patients, target)
            for label, given, so in _answers(head, scores, truth, filed)
        },
    )


def _answers(
    head: Head, scores: NDArray[np.float32], truth: NDArray[np.float32], filed: Flags
) -> Iterator[tuple[str, Flags, Flags]]:
    """Yield each label, which images were filed with it (n,), and for which of all images it is true (n,)."""
    answered = predictions_of(head, truth, scores)
    for at, label in enumerate(answered.labels):
        if answered.kind == "multilabel":
            yield label, answered.chosen[:, at] & filed, answered.truth[:, at]
        else:
            yield label, (answered.chosen == at) & filed, answered.truth == at


def _of_label(given: Flags, so: Flags, patients: Counts, target: float) -> LabelBound:
    met, failed = (len(np.unique(patients[flags])) for flags in (given, given & ~so))
    bound = lower_bound(met - failed, met)
    return LabelBound(int(given.sum()), int((given & so).sum()), met, bound, bound >= target)


def told(name: str, promise: Guarantee) -> str:
    """Say in one line what a head's review threshold is worth, for a person and the model's card."""
    where = f"'{name}', review threshold {promise.threshold:.4f}"
    seen = (
        f"{promise.images - promise.wrong} of {promise.images} calibration images above it are right, "
        f"of {counted(promise.patients, 'patient')}; {promise.coverage:.1%} of all are above"
    )
    if promise.guaranteed:
        return (
            f"{where}: with {promise.confidence:.0%} confidence at least {promise.target:.1%} of the answers "
            f"above it are right on images like these ({seen})"
        )
    least = least_patients(promise.target)
    why = "nothing can" if least is None else f"it takes {least} patients or more, all right"
    choose = "" if promise.threshold > 0 else "; nothing is below it, so set one: classify --review-below"
    return (
        f"{where}: WITHOUT GUARANTEE of {promise.target:.1%} ({why}); above it are {promise.coverage:.1%} of "
        f"these images, {promise.images - promise.wrong} of {promise.images} right, of "
        f"{counted(promise.patients, 'patient')}{choose}"
    )


def weak_labels(name: str, promise: Guarantee) -> str:
    """Name the labels for which too little is known; empty if there are none."""
    if not promise.weak:
        return ""
    few = "too few images or too many wrong to promise"
    return f"'{name}': {few} {promise.target:.1%} of each of these labels alone: {', '.join(promise.weak)}"


def lines_of(metrics: Mapping[str, Any]) -> list[str]:
    """Say what the review thresholds of a bundle with these `metrics` are worth, in lines; none if unknown.

    What `calibrate` wrote counts before what the training did.
    """
    facts = {each["head"]: each for each in metrics.get("validation", ())}
    facts |= {each["head"]: each for each in metrics.get("calibration", {}).get("heads", ())}
    lines = []
    for name, each in facts.items():
        if "guarantee" in each:
            lines += said(name, _read(each["guarantee"]))
    return lines


def said(name: str, promise: Guarantee) -> list[str]:
    """Say in lines what a head's review threshold is worth."""
    return [line for line in (told(name, promise), weak_labels(name, promise)) if line]


def _read(values: Mapping[str, Any]) -> Guarantee:
    labels = {label: LabelBound(**bound) for label, bound in values["by_label"].items()}
    return Guarantee(**{**values, "by_label": labels})


def reviewed(
    head: Head, scores: NDArray[np.float32], truth: NDArray[np.float32], patients: Counts, target: float
) -> tuple[Head, bool, bool]:
    """Give a head its review threshold: the guaranteed one, or else what the sample gives.

    scores, truth, patients as in `guarantee_of`. Returns the head; whether the sample has `target` right
    answers above the threshold, which is else just above the highest confidence; whether it is guaranteed.
    """
    confidence, correct = head.confidence(scores), right(head, scores, truth)
    found = guaranteed_threshold(confidence, correct, patients, target)
    threshold = review_threshold(confidence, correct, target) if found is None else found
    reached = reaches(threshold, confidence, correct, target)
    return replace(head, review_below=threshold), reached, found is not None
