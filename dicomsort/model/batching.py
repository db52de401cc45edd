"""Pictures in batches to outputs, several batches at the same time."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from dicomsort.model.bundle import Bundle
from dicomsort.outcome import Failure, ReadImage
from dicomsort.system.timing import StageTimer

Item = TypeVar("Item")
Output = TypeVar("Output")

Scoring = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Turns logits (n, width) into scores."""

Ask = Callable[[Sequence[ReadImage]], Iterable[Output]]
"""Answers a batch of pictures, each of them, in their order."""


class Predictor(Protocol):
    """What turns images into logits; the classifiers of `model.engines` do.

    engine: openvino or torch. name: of the device. precision: float32, bfloat16 or float16. concurrency: how
    many threads may call `logits` at a time. batch_size: how many images at a time suit it best.
    """

    bundle: Bundle
    engine: str
    name: str
    precision: str
    concurrency: int
    batch_size: int

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return float32 logits (n, bundle.width) for uint8 images (n, size, size).

        The reject score, if the bundle has one, is the last column.
        """


class Predicted(NamedTuple, Generic[Item, Output]):
    """An item, how it was read, and its output; None for a failure."""

    item: Item
    reading: ReadImage | Failure
    output: Output | None


def predict(
    readings: Generator[tuple[Item, ReadImage | Failure], None, None],
    predictor: Predictor,
    batch_size: int,
    spent: StageTimer,
    scoring: Scoring | None = None,
) -> Generator[Predicted[Item, NDArray[np.float32]], None, None]:
    """Return for every picture the calibrated scores of all heads in a row; see `ask_all`.

    scoring: what makes scores of logits, by default the bundle's own.
    """

    def ask(pictures: Sequence[ReadImage]) -> NDArray[np.float32]:
        with spent.busy("network", time.monotonic):
            logits = predictor.logits(np.stack([picture.image for picture in pictures]))
        return (scoring or predictor.bundle.scores)(logits)

    return ask_all(readings, ask, predictor.concurrency, batch_size)


def ask_all(
    readings: Generator[tuple[Item, ReadImage | Failure], None, None],
    ask: Ask[Output],
    concurrency: int,
    batch_size: int,
) -> Generator[Predicted[Item, Output], None, None]:
    """Yield every item once: failures as they come, pictures when their batch has been computed.

    ask: called by `concurrency` threads at a time. As many batches are computed concurrently, and one more
    is kept ready; then no more readings are taken. Closing this closes `readings`.
    """
    executor = ThreadPoolExecutor(concurrency, thread_name_prefix="predict")
    waiting: deque[Future[list[Predicted[Item, Output]]]] = deque()
    batch: list[tuple[Item, ReadImage]] = []
    try:
        with closing(readings):
            for item, reading in readings:
                if isinstance(reading, Failure):
                    yield Predicted(item, reading, None)
                    yield from _finished(waiting, concurrency + 1)
                    continue
                batch.append((item, reading))
                if len(batch) == batch_size:
                    waiting.append(executor.submit(_asked, batch, ask))
                    batch = []
                    yield from _finished(waiting, concurrency + 1)
            if batch:
                waiting.append(executor.submit(_asked, batch, ask))
            yield from _finished(waiting, 0)
    finally:
        executor.shutdown(cancel_futures=True)


def _finished(
    waiting: deque[Future[list[Predicted[Item, Output]]]], most_waiting: int
) -> Iterator[Predicted[Item, Output]]:
    """Take the batches that are done, in their order; wait until no more than `most_waiting` are left."""
    while waiting and (len(waiting) > most_waiting or waiting[0].done()):
        yield from waiting.popleft().result()


def _asked(batch: Sequence[tuple[Item, ReadImage]], ask: Ask[Output]) -> list[Predicted[Item, Output]]:
    outputs = ask([picture for _, picture in batch])
    return [Predicted(item, picture, each) for (item, picture), each in zip(batch, outputs, strict=True)]
