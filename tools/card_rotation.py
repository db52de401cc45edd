"""The part of a card that tells how well a model sees that a film lies on its side or head.

Every test image counts as upright as it is stored; it is shown so, and turned clockwise by 90, 180 and 270.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from card_text import Flags, Measure, named, share_text, table, wrapped
from numpy.typing import NDArray

from dicomsort.data.dataset import Sample, read_all
from dicomsort.evaluation.evaluate import Measured
from dicomsort.evaluation.metrics import Predictions
from dicomsort.evaluation.predictions import patients_of
from dicomsort.model.batching import Predictor
from dicomsort.model.heads import Head, split_columns
from dicomsort.model.rotation import DEGREES, ROTATION
from dicomsort.outcome import ReadImage
from dicomsort.system.pool_settings import PoolSettings

BATCH = 32
FIGURES = {"accuracy": "accuracy", "ece": "expected calibration error", "log_loss": "log loss"}

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Turned:
    """What a model says of images (n) in each of the four positions.

    head: its rotation head. scores: (n, 4, labels of all heads), the second axis as DEGREES. names: of the
    images, patients: numbers (n,) of theirs.
    """

    head: Head
    heads: tuple[Head, ...]
    scores: Floats
    names: tuple[str, ...]
    patients: Indices

    def of(self, head: Head) -> Floats:
        """Return the scores of one head: (n, 4, its labels)."""
        count, turns, _ = self.scores.shape
        parts = split_columns(self.scores.reshape(count * turns, -1), [len(one.labels) for one in self.heads])
        return parts[self.heads.index(head)].reshape(count, turns, -1)

    @property
    def seen(self) -> Indices:
        """Return by how many quarters each is said to be turned: (n, 4)."""
        quarters = np.array([DEGREES.index(label) for label in self.head.labels])
        return np.asarray(quarters[self.of(self.head).argmax(axis=2)], np.int64)

    @property
    def sure(self) -> Flags:
        """Return where that reaches the head's threshold: (n, 4)."""
        return np.asarray(self.of(self.head).max(axis=2) >= self.head.review_below, np.bool_)

    @property
    def settled(self) -> Indices:
        """Return by how many quarters each is still turned after the second look, as `classify` takes it.

        What is surely turned is turned back; if it does not look upright then, it stays as it lies.
        """
        lies = np.broadcast_to(np.arange(len(DEGREES)), self.seen.shape)
        after = (lies - self.seen) % len(DEGREES)
        upright = np.take_along_axis(self.seen, after, axis=1) == 0
        return np.asarray(np.where(self.sure & upright, after, lies), np.int64)


def turned_of(predictor: Predictor, samples: Sequence[Sample], pool: PoolSettings) -> Turned | None:
    """Show a model images in all four positions; None if it has no rotation head."""
    heads = predictor.bundle.heads
    head = next((one for one in heads if one.name == ROTATION and set(one.labels) == set(DEGREES)), None)
    if head is None:
        return None
    readings = read_all(samples, predictor.bundle.preprocessing, pool)
    found = [(sample, reading.image) for sample, reading in readings if isinstance(reading, ReadImage)]
    ordered = sorted(found, key=lambda one: one[0].name)
    scores = [_scores(predictor, np.stack([image for _, image in ordered[at : at + BATCH]]))
              for at in range(0, len(ordered), BATCH)]  # fmt: skip
    known = [sample for sample, _ in ordered]
    return Turned(head, heads, np.concatenate(scores), tuple(one.name for one in known), patients_of(known))


def _scores(predictor: Predictor, images: NDArray[np.uint8]) -> Floats:
    """Return what is said of images (n, size, size) in each position: (n, 4, labels of all heads)."""
    positions = [np.rot90(images, -quarters, axes=(1, 2)) for quarters in range(len(DEGREES))]
    answers = [predictor.bundle.scores(predictor.logits(np.ascontiguousarray(each))) for each in positions]
    return np.stack(answers, axis=1)


def rotation_text(turned: Turned, measured: Measured, measure: Measure) -> list[str]:
    """Write how well positions are told, and what that does to the first head's answers."""
    count = len(turned.names)
    words = wrapped(
        f"All {count:,} images of the test part, each upright as it is stored and turned clockwise by 90, "
        f"180 and 270 degrees: {turned.seen.size:,} pictures. A rotation is sure, and acted on, from a "
        f"confidence of {turned.head.review_below:.4f}; what does not look upright once it is turned "
        "back stays as it lies."
    )
    columns = ("turned by", "pictures", "told right", "sure", "right among the sure", "upright in the end",
               "made wrong")  # fmt: skip
    rows = [_row(turned, quarters, measure) for quarters in range(len(DEGREES))]
    return ["### Rotation", words, table(columns, rows), named(measure(_told(turned)), FIGURES),
            *_answers(turned, measured)]  # fmt: skip


def _told(turned: Turned) -> Predictions:
    """Return what is said of all pictures, upright and turned, as predictions."""
    count, turns = turned.seen.shape
    order = [turned.head.labels.index(label) for label in DEGREES]
    scores = turned.of(turned.head)[:, :, order].reshape(count * turns, turns).astype(np.float64)
    truth = np.tile(np.arange(turns), count)
    return Predictions(
        "multiclass", DEGREES, truth, turned.seen.ravel(), scores, np.repeat(turned.patients, turns)
    )


def _row(turned: Turned, quarters: int, measure: Measure) -> list[str]:
    """Return the figures of the images in one position. Made wrong: turned by another angle than it lies."""
    seen, sure, settled = (each[:, quarters] for each in (turned.seen, turned.sure, turned.settled))
    right = seen == quarters
    shares = [(right, turned.patients), (sure, turned.patients), (right[sure], turned.patients[sure]),
              (settled == 0, turned.patients)]  # fmt: skip
    made_wrong = (settled != 0) & (settled != quarters)
    texts = [share_text(flags, who, measure) for flags, who in shares]
    return [f"{DEGREES[quarters]}°", f"{len(seen):,}", *texts, str(made_wrong.sum())]


def _answers(turned: Turned, measured: Measured) -> Iterator[str]:
    """Yield how often the measured head is right of turned pictures, as they lie and turned back."""
    head, places = measured.question.head, {name: at for at, name in enumerate(turned.names)}
    if head.kind == "multilabel" or head == turned.head:
        return
    pairs = [(places[one.sample.name], truth)
             for one, truth in zip(measured.known, measured.predictions.truth, strict=True)
             if one.sample.name in places]  # fmt: skip
    at, truth = (np.array(column) for column in zip(*pairs, strict=True))
    chosen = np.stack([head.chosen(each) for each in np.moveaxis(turned.of(head)[at], 1, 0)], axis=1)
    right = np.searchsorted(head.kept, chosen) == truth[:, None]
    after = np.take_along_axis(right, turned.settled[at], axis=1)
    yield wrapped(
        f"Of the {right[:, 1:].size:,} turned pictures whose `{head.name}` is known, it is right in "
        f"{right[:, 1:].mean():.3f} as they lie, and in {after[:, 1:].mean():.3f} once the sure ones are "
        f"turned back (upright: {right[:, 0].mean():.3f})."
    )
