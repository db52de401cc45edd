"""A model to ask from Python: labels, scores and features of images or files."""

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

import numpy as np
from numpy.typing import NDArray

from dicomsort.dicom.in_memory import is_in_memory
from dicomsort.dicom.reader import Source, UnreadableError, read_file
from dicomsort.dicom.sop_classes import ReadSettings
from dicomsort.errors import UsageError, names_missing_libraries
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.library.arguments import PathLike, check_between
from dicomsort.model import bundle as bundles
from dicomsort.model.batching import Predictor, ask_all
from dicomsort.model.bundle import Bundle
from dicomsort.model.evidence import HEADER, check_source
from dicomsort.model.heads import Decision, Head, split_columns
from dicomsort.model.load import classifier_for, predictor_for, predictors_for
from dicomsort.model.model_set import ModelSet, columns_of
from dicomsort.outcome import Failure, ReadImage
from dicomsort.system.timing import StageTimer

if TYPE_CHECKING:
    from dicomsort.model.engines.openvino import OpenVinoClassifier
    from dicomsort.model.engines.torch import TorchClassifier

Image = NDArray[np.uint8]
Images = Source | Image | Iterable[Source | Image]
"""One file or image, or any number of them, also as an array (n, size, size) or a generator.

A file is a path, its content as bytes, or a file that is open in binary mode.
"""

Readings = Generator[tuple[int, ReadImage | Failure], None, None]
Value = TypeVar("Value")

_READ = ReadSettings()


class Model:
    """A bundle, ready on one device. What `load_model` returns; may be asked by one thread at a time.

    bundle: what it is on disk. predictor: what runs its network.
    """

    def __init__(self, bundle: Bundle, predictor: "OpenVinoClassifier | TorchClassifier") -> None:
        self.bundle, self.predictor = bundle, predictor

    def __repr__(self) -> str:
        return f"<dicomsort.Model {self.tag} on {self.device} in {self.precision}>"

    @property
    def tag(self) -> str:
        """Its name in manifests: name@sha256[:12], the hash over all that changes its answers."""
        return self.bundle.tag

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the head that decides, in the order of its scores."""
        return self.bundle.head.labels

    @property
    def heads(self) -> tuple[Head, ...]:
        """Its heads: questions with their labels. The first decides where a file goes."""
        return self.bundle.heads

    @property
    def canvas(self) -> Preprocessing:
        """The canvas that it sees: what to hand to `read_image`."""
        return self.bundle.preprocessing

    @property
    def device(self) -> str:
        """Where it runs: cpu, cuda, cuda:n or mps."""
        return self.predictor.name

    @property
    def engine(self) -> str:
        """What runs it: openvino or torch."""
        return self.predictor.engine

    @property
    def precision(self) -> str:
        """In which numbers it computes: float32, bfloat16 or float16."""
        return self.predictor.precision

    @overload
    def predict(
        self,
        images: Images,
        *,
        review_below: float | None = None,
        evidence: str = HEADER,
        unreadable: Literal["raise"] = "raise",
        read: ReadSettings = _READ,
    ) -> list[Decision]: ...
    @overload
    def predict(
        self,
        images: Images,
        *,
        review_below: float | None = None,
        evidence: str = HEADER,
        unreadable: Literal["return"],
        read: ReadSettings = _READ,
    ) -> list[Decision | UnreadableError]: ...
    def predict(
        self,
        images: Images,
        *,
        review_below: float | None = None,
        evidence: str = HEADER,
        unreadable: str = "raise",
        read: ReadSettings = _READ,
    ) -> list[Decision] | list[Decision | UnreadableError]:
        """Decide what images show: one decision each, in their order.

        images: DICOM files (paths, bytes or open files), which are read in this process on the model's
        canvas, or what `read_image` gives for that canvas: uint8 (size, size), or (n, size, size).
        review_below: confidence 0..1 under which a person should look; None for the model's own. evidence:
        what labels rest on, `header` (the pixels, and of files the header's age and apparatus) or `pixels`
        alone. unreadable: `raise` UnreadableError at the first file that cannot be read, or `return` the
        error in the place of its decision. read: what is read at all.

        Raises UnreadableError, or UsageError for images of another type or shape.
        """
        if unreadable not in ("raise", "return"):
            raise UsageError(f"unreadable='{unreadable}' is unknown: use raise or return")
        check_between("review_below", review_below, 0, 1)
        check_source(evidence)

        def decide(pictures: Sequence[ReadImage]) -> list[Decision]:
            return ModelSet((self.predictor,), evidence).decisions(pictures, review_below, StageTimer())

        readings = self._read(images, read, strict=unreadable == "raise")
        return self._ask(readings, decide, self.predictor.batch_size)

    def scores(
        self, images: Images, head: str | None = None, *, read: ReadSettings = _READ
    ) -> NDArray[np.float32]:
        """Return calibrated scores 0..1 of images, float32 (n, labels), in the order of the head's labels.

        They are those of the pixels alone.

        images, read: see `predict`. head: the name of one of `heads`; None for the one that decides.
        Raises UnreadableError, or UsageError for other images, or a head that the model does not have.
        """
        at = self._head_at(head)

        def score(pictures: Sequence[ReadImage]) -> NDArray[np.float32]:
            found = self.bundle.scores(self.predictor.logits(_stacked(pictures)))
            return split_columns(found, [len(each.labels) for each in self.heads])[at]

        rows = self._ask(self._read(images, read), score, self.predictor.batch_size)
        return np.array(rows, np.float32).reshape(len(rows), len(self.heads[at].labels))

    def features(self, images: Images, *, read: ReadSettings = _READ) -> NDArray[np.float32]:
        """Return what the network knows of images before its heads: float32 (n, width), pooled, not scaled.

        The width is the network's own, such as 1024 of MobileNet-V1. Computed in float32, whatever the
        model's precision. images, read: see `predict`. Raises as `scores` does.
        """
        black = np.zeros((1, self.canvas.size, self.canvas.size), np.uint8)
        width = self.predictor.features(black).shape[1]

        def features(pictures: Sequence[ReadImage]) -> NDArray[np.float32]:
            return self.predictor.features(_stacked(pictures))

        rows = self._ask(self._read(images, read), features, max(1, self.predictor.batch_size // 2))
        return np.array(rows, np.float32).reshape(len(rows), width)

    def _head_at(self, name: str | None) -> int:
        names = [head.name for head in self.heads]
        if name is not None and name not in names:
            raise UsageError(f"the model has no head '{name}'; its heads are: {', '.join(names)}")
        return 0 if name is None else names.index(name)

    def _read(self, images: Images, read: ReadSettings, strict: bool = True) -> Readings:
        """Yield every image with its number; a file that cannot be read as a failure, or raised if strict."""
        for number, image in enumerate(_each(images)):
            if not isinstance(image, str | os.PathLike) and not is_in_memory(image):
                yield number, ReadImage(self._checked(image))
                continue
            try:
                yield number, read_file(image, self.canvas, read)
            except UnreadableError as error:
                if strict:
                    error.add_note(f"this is image {number} of those that were given, counted from 0")
                    raise
                yield number, Failure(error.status, error.reason)

    def _checked(self, image: Any) -> Image:
        shape = (self.canvas.size, self.canvas.size)
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape != shape:
            found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise UsageError(
                f"an image must be uint8 {shape}, as read_image(path, model.canvas) gives it, also of any "
                f"array (rows, columns), not {found}"
            )
        return image

    def _ask(
        self, readings: Readings, ask: Callable[[Sequence[ReadImage]], Iterable[Value]], batch_size: int
    ) -> list[Any]:
        """Return the answers in the order of the images, an UnreadableError for each failure."""
        found: dict[int, Value | UnreadableError | None] = {}
        for number, reading, answer in ask_all(readings, ask, self.predictor.concurrency, batch_size):
            found[number] = UnreadableError(reading) if isinstance(reading, Failure) else answer
        return [found[number] for number in range(len(found))]


def _each(images: Images) -> Iterable[Source | Image]:
    """Return images one by one; a single one stands for itself."""
    named = isinstance(images, str | os.PathLike) or is_in_memory(images)
    single = named or (isinstance(images, np.ndarray) and images.ndim == 2)
    return cast("Iterable[Source | Image]", [images] if single else images)


def _stacked(pictures: Sequence[ReadImage]) -> Image:
    return np.stack([picture.image for picture in pictures])


@names_missing_libraries()
def load_model(
    name_or_folder: PathLike, device: str = "auto", precision: str = "auto", engine: str = "auto"
) -> Model:
    """Load a model and make it ready on a device.

    name_or_folder: a shipped model's name, such as `router5`, or a bundle's folder. device: auto, cpu, cuda,
    cuda:n or mps. precision: auto, float32, bfloat16 or float16; auto goes by the device. engine: auto,
    openvino or torch; auto is openvino on a processor, for models with a graph, and torch elsewhere.

    On a processor torch's number of threads is set for this process, so that several batches run at a time.
    Raises ModelError if there is no such model or it is damaged, UsageError for a device that is not there,
    MissingLibraryError for an engine that is not installed.
    """
    bundle = bundles.load(bundles.locate(os.fspath(name_or_folder)))
    return Model(bundle, classifier_for(bundle, device, precision, engine))


@contextmanager
def predictors_of(
    models: "Models", device: str, precision: str, engine: str = "auto"
) -> Iterator[list[Predictor]]:
    """Make models ready that are not, all on one engine; those that were loaded stay where they are.

    Raises UsageError if there is none, or two have one name; else as `load_model` does.
    """
    given = bundles_of(models)
    if not given:
        raise UsageError("name at least one model")
    columns_of([each.bundle if isinstance(each, Model) else each for each in given])
    unloaded = [each for each in given if isinstance(each, Bundle)]
    with ExitStack() as stack:
        made = stack.enter_context(predictors_for(unloaded, device, precision, engine)) if unloaded else []
        rest = iter(made)
        yield [each.predictor if isinstance(each, Model) else next(rest) for each in given]


@contextmanager
def predictor_of(
    model: Bundle | Model, device: str, precision: str, engine: str = "auto"
) -> Iterator[Predictor]:
    """Make a model ready, if it is not. Raises UsageError or ModelError."""
    if isinstance(model, Model):
        yield model.predictor
        return
    with predictor_for(model, device, precision, engine) as predictor:
        yield predictor


def bundles_of(models: "Models") -> list[Bundle | Model]:
    """Load the bundles of models that have not been loaded. Raises ModelError."""
    given = [models] if isinstance(models, str | os.PathLike | Model) else models
    return [
        each if isinstance(each, Model) else bundles.load(bundles.locate(os.fspath(each))) for each in given
    ]


Models = PathLike | Model | Iterable[PathLike | Model]
"""One model or several: names, folders, or what `load_model` gave."""
