"""Pictures in batches to scores, several batches at the same time."""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from dicomsort.bundle import Bundle
from dicomsort.outcome import Failure, Picture
from dicomsort.spent import Spent

Item = TypeVar("Item")

Meaning = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Turns logits (n, outputs) into scores."""


class Predictor(Protocol):
    """What turns images into logits; `classifier.Classifier` and `fleet.Fleet` do.

    name: of the device. precision: float32, bfloat16 or float16. lanes: how many threads may call `logits` at
    a time. batch_size: images that it takes best at a time.
    """

    bundle: Bundle
    name: str
    precision: str
    lanes: int
    batch_size: int

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return float32 logits (n, outputs) for uint8 images (n, size, size)."""


class Predicted(NamedTuple, Generic[Item]):
    """An item, how it was read, and the calibrated scores of all heads in a row; None for a failure."""

    item: Item
    reading: Picture | Failure
    scores: NDArray[np.float32] | None


def predict(
    readings: Generator[tuple[Item, Picture | Failure], None, None],
    predictor: Predictor,
    batch_size: int,
    spent: Spent,
    meaning: Meaning | None = None,
) -> Generator[Predicted[Item], None, None]:
    """Yield every item once: failures as they come, pictures when their batch has been predicted.

    meaning: what makes scores of logits, by default the bundle's own.
    As many batches as the predictor has lanes are computed at a time, and one more is kept ready; then no
    more readings are taken. Closing this closes `readings`.
    """
    executor = ThreadPoolExecutor(predictor.lanes, thread_name_prefix="predict")
    waiting: deque[Future[list[Predicted[Item]]]] = deque()
    batch: list[tuple[Item, Picture]] = []
    try:
        with closing(readings):
            for item, reading in readings:
                if isinstance(reading, Failure):
                    yield Predicted(item, reading, None)
                    yield from _finished(waiting, predictor.lanes + 1)
                    continue
                batch.append((item, reading))
                if len(batch) == batch_size:
                    waiting.append(executor.submit(_predicted, batch, predictor, spent, meaning))
                    batch = []
                    yield from _finished(waiting, predictor.lanes + 1)
            if batch:
                waiting.append(executor.submit(_predicted, batch, predictor, spent, meaning))
            yield from _finished(waiting, 0)
    finally:
        executor.shutdown(cancel_futures=True)


def _finished(waiting: deque[Future[list[Predicted[Item]]]], most_waiting: int) -> Iterator[Predicted[Item]]:
    """Take the batches that are done, in their order; wait until no more than `most_waiting` are left."""
    while waiting and (len(waiting) > most_waiting or waiting[0].done()):
        yield from waiting.popleft().result()


def _predicted(
    batch: Sequence[tuple[Item, Picture]], predictor: Predictor, spent: Spent, meaning: Meaning | None
) -> list[Predicted[Item]]:
    with spent.busy("network"):
        logits = predictor.logits(np.stack([picture.image for _, picture in batch]))
    scores = (meaning or predictor.bundle.scores)(logits)
    return [Predicted(item, picture, row) for (item, picture), row in zip(batch, scores, strict=True)]
