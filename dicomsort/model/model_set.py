"""Several models that look at the same files: what they need to see, and what all of them say."""

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dicomsort.errors import UsageError
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.model.anatomy import Coded
from dicomsort.model.batching import Predictor
from dicomsort.model.bundle import Bundle
from dicomsort.model.evidence import HEADER, PIXELS
from dicomsort.model.heads import Decision, prediction_columns
from dicomsort.model.joined import outputs_of
from dicomsort.model.rotation import Compass, compass_of
from dicomsort.outcome import ReadImage
from dicomsort.system.timing import StageTimer


def columns_of(bundles: Sequence[Bundle]) -> list[str]:
    """Name the columns of what all models say: those of the first, then of each other, under its name.

    Raises UsageError if two models, or two columns, have one name.
    """
    first, *further = bundles
    names = prediction_columns(first.heads)
    for bundle in further:
        own = ("label", "confidence", *prediction_columns(bundle.heads))
        names += [f"{bundle.name}.{name}" for name in own]
    if twice := _twice([bundle.name for bundle in bundles]):
        raise UsageError(f"two models have the name '{twice}': give each once, or rename one (config.json)")
    if twice := _twice(names):
        raise UsageError(f"two columns would have the name '{twice}': rename a model (config.json)")
    return names


def anatomy_of(bundles: Sequence[Bundle]) -> dict[str, Coded]:
    """Return what the labels of every head mean, by the columns of its answers: "" for the one that decides.

    They come in the order of a decision and of those in its `further`.
    """
    first, *others = bundles
    found = {"": first.coded(first.head), **{head.name: first.coded(head) for head in first.further}}
    for bundle in others:
        found[bundle.name] = bundle.coded(bundle.head)
        found |= {f"{bundle.name}.{head.name}": bundle.coded(head) for head in bundle.further}
    return found


def _twice(names: Sequence[str]) -> str:
    """Return the first name that comes again; a and A count as one."""
    counts = Counter(name.casefold() for name in names)
    return next((name for name in names if counts[name.casefold()] > 1), "")


class _Facts(ABC):
    """What is known of models before any of them is loaded into an engine."""

    __slots__ = ()
    evidence: str

    @property
    @abstractmethod
    def bundles(self) -> tuple[Bundle, ...]:
        """The models; the first decides where a file goes."""

    @property
    def tag(self) -> str:
        """The `model` column of the manifest."""
        return "+".join(bundle.tag for bundle in self.bundles)

    @property
    def digest(self) -> str:
        """Sha256 (hex) of each model."""
        return "+".join(bundle.digest for bundle in self.bundles)

    @property
    def anatomy(self) -> dict[str, Coded]:
        """What the labels of every head mean; see `anatomy_of`."""
        return anatomy_of(self.bundles)

    @property
    def rejects(self) -> bool:
        """Whether the first model tells what is unlike its training data; that of others does not count."""
        return self.bundles[0].reject is not None

    @property
    def compass(self) -> Compass | None:
        """What tells that a picture is turned, if a model has such a head."""
        return compass_of([head for bundle in self.bundles for head in bundle.heads])

    @property
    def rests_on(self) -> str:
        """What labels rest on: `header` only if it is asked for and the first model has rules for it."""
        return self.evidence if self.bundles[0].evidence is not None else PIXELS

    @property
    def canvases(self) -> tuple[Preprocessing, ...]:
        """What the models want to see, each once; the first model's stands first."""
        return tuple(dict.fromkeys(bundle.preprocessing for bundle in self.bundles))


@dataclass(frozen=True, slots=True)
class ModelSet(_Facts):
    """Predictors on the same devices; the first decides where a file goes, the others answer beside it.

    evidence: what the first one's label rests on, one of `evidence.SOURCES`; the others see pixels alone.
    """

    predictors: tuple[Predictor, ...]
    evidence: str = HEADER

    @property
    def first(self) -> Predictor:
        """The one that decides."""
        return self.predictors[0]

    @property
    def bundles(self) -> tuple[Bundle, ...]:
        """The models."""
        return tuple(predictor.bundle for predictor in self.predictors)

    @property
    def concurrency(self) -> int:
        """How many threads may ask at a time."""
        return min(predictor.concurrency for predictor in self.predictors)

    @property
    def batch_size(self) -> int:
        """How many images at a time suit all of them."""
        return min(predictor.batch_size for predictor in self.predictors)

    def decisions(
        self, pictures: Sequence[ReadImage], review_below: float | None, spent: StageTimer
    ) -> list[Decision]:
        """Ask every model about pictures that were read on its `canvases`; one decision each.

        What the others say stands in `further`. `review_below` overrides the first model's own threshold.
        If a model can tell, what is surely turned is asked about again upright; see `rotation`.
        """
        ask = partial(self._decisions, review_below=review_below, spent=spent)
        decided, compass = ask(pictures), self.compass
        return decided if compass is None else compass.looked_again(pictures, decided, ask)

    def _decisions(
        self, pictures: Sequence[ReadImage], review_below: float | None, spent: StageTimer
    ) -> list[Decision]:
        logits = self._logits(pictures, spent)
        first, *others = self.bundles
        facts = [picture.facts for picture in pictures] if self.rests_on == HEADER else None
        decided = first.decisions(logits[0], review_below, facts)
        beside = [bundle.decisions(each) for bundle, each in zip(others, logits[1:], strict=True)]
        return [_joined(*row) for row in zip(decided, *beside, strict=True)]

    def _logits(self, pictures: Sequence[ReadImage], spent: StageTimer) -> list[NDArray[np.float32]]:
        drawn = zip(*((picture.image, *picture.further) for picture in pictures), strict=True)
        images = {canvas: np.stack(each) for canvas, each in zip(self.canvases, drawn, strict=True)}
        with spent.busy("network", time.monotonic):
            return outputs_of(self.predictors, lambda each: each.logits(images[each.bundle.preprocessing]))


class Models(_Facts):
    """Models that are loaded once the first file needs them, which none may.

    bundles, evidence: see `ModelSet`. load: makes a predictor of each; called once at most. asked_for: engine
    and precision, as far as they were named.
    """

    __slots__ = ("_bundles", "_load", "_ready", "asked_for", "evidence")

    def __init__(
        self,
        bundles: Sequence[Bundle],
        load: Callable[[], Sequence[Predictor]],
        evidence: str = HEADER,
        asked_for: Mapping[str, str] | None = None,
    ) -> None:
        self._bundles, self._load, self.evidence = tuple(bundles), load, evidence
        self.asked_for: Mapping[str, str] = asked_for or {}
        self._ready: ModelSet | None = None

    @classmethod
    def loaded(cls, predictors: Sequence[Predictor], evidence: str = HEADER) -> "Models":
        """Return models that are loaded already."""
        models = cls([each.bundle for each in predictors], lambda: predictors, evidence)
        models.ready()
        return models

    @property
    def bundles(self) -> tuple[Bundle, ...]:
        """The models."""
        return self._bundles

    @property
    def are_loaded(self) -> bool:
        """Whether they have been loaded."""
        return self._ready is not None

    def ready(self) -> ModelSet:
        """Return them loaded. Raises UsageError or ModelError if that fails."""
        if self._ready is None:
            self._ready = ModelSet(tuple(self._load()), self.evidence)
        return self._ready


def _joined(first: Decision, *others: Decision) -> Decision:
    """Put the decisions of other models, and of their further heads, beside the first one's."""
    beside = (decision for other in others for decision in (other, *other.further))
    return replace(first, further=(*first.further, *beside))
