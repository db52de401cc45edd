"""What models are asked, and what they predict for each sample."""

import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomsort.data.cache import Cache
from dicomsort.data.dataset import TEST, Remarked, Sample, Unread, read_all
from dicomsort.data.table import PATIENT, names_people
from dicomsort.data.targets import encode
from dicomsort.errors import UsageError
from dicomsort.evaluation.metrics import Predictions
from dicomsort.evaluation.operating import Goal
from dicomsort.model.batching import Predictor, predict
from dicomsort.model.bundle import Bundle
from dicomsort.model.evidence import HEADER, weigh
from dicomsort.model.heads import Decision, Head, decide_all
from dicomsort.outcome import Facts, Failure, Header, ReadImage, Reason, age_group_of
from dicomsort.system.pool_settings import PoolSettings
from dicomsort.system.reporting import Count
from dicomsort.system.timing import StageTimer

HEADER_FACTS = (
    "modality", "body_part_examined", "view_position", "photometric_interpretation", "transfer_syntax",
    "age_group",
)  # fmt: skip
"""What a DICOM header can tell for `--by` where the CSV has no such column."""

_MOST_TIMED = 256
_BATCHES_TIMED = 4
_NO_HEADER = Header()


@dataclass(frozen=True, slots=True)
class EvalSettings:
    """How to evaluate.

    bootstrap: resamples; seed: theirs. cluster: what is resampled with all its images: `patient`
    (Sample.group), another column (Sample.metadata), or None for single images. by: columns (of
    Sample.metadata or HEADER_FACTS) whose values have figures of their own. batch_size: None for what suits
    the device. corrections: a file of labels to put right. patient: see `table.Columns`. part: train,
    validation, test or all, by the model's split. baseline: whether to compare with the most common class and
    a regression, None for where several models are compared. device, precision, engine: as for the command
    line. evidence: what labels rest on, `header` (with the pixels) or `pixels` alone. at: what thresholds are
    to reach, see `operating`. mapping: labels of the data or of a model -> what they are called here.
    cache: the folder of pictures that a training has read, or that is filled now; None to read the files.
    """

    bootstrap: int = 10_000
    seed: int = 0
    cluster: str | None = None
    by: tuple[str, ...] = ()
    batch_size: int | None = None
    pool: PoolSettings = field(default_factory=PoolSettings)
    corrections: Path | None = None
    patient: str | None = None
    part: str = TEST
    baseline: bool | None = None
    device: str = "auto"
    precision: str = "auto"
    engine: str = "auto"
    evidence: str = HEADER
    at: tuple[Goal, ...] = ()
    mapping: Mapping[str, str] = field(default_factory=dict)
    cache: Path | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A target column, where it stands in Sample.targets, and the head (`at` its place) that answers it."""

    target: str
    cell: int
    at: int
    head: Head


@dataclass(frozen=True, slots=True)
class Prediction:
    """An image that was read, and the scores of all heads in a row: float32 (labels of all heads,).

    pixel_scores: those of the pixels alone, None where nothing else was weighed. evidence: the facts that
    were. contradicted: whether these speak against a label that stays.
    """

    sample: Sample
    header: Header
    scores: NDArray[np.float32]
    pixel_scores: NDArray[np.float32] | None = None
    evidence: Facts = ()
    contradicted: bool = False


@dataclass(frozen=True, slots=True)
class ModelPredictions:
    """What a model says of samples, in their order, and those that could not be read.

    seconds_per_image: wall clock over all files, reading and network. network_seconds_per_image: of the
    network alone, see `predict_samples`. remarked: what was odd about files that could be read. tuning: what
    it says of its validation part, for thresholds that are not chosen on the images measured.
    """

    bundle: Bundle
    tag: str
    predictions: tuple[Prediction, ...]
    failures: tuple[Unread, ...]
    seconds_per_image: float
    network_seconds_per_image: float
    device: str
    precision: str
    remarked: tuple[Remarked, ...] = ()
    tuning: tuple[Prediction, ...] = ()


def metadata_needed(
    columns: Sequence[str], cluster: str | None, by: Iterable[str], patient: str | None = None
) -> tuple[str, ...]:
    """Name the columns that must be asked for; what only the header knows is not among them.

    columns: those of the CSV. patient: that of patients, if it was asked for. Raises UsageError for a column
    that there is not, and for groups by patient: nothing that names one belongs in an output.
    """
    wanted = [name for name in by if name in columns or name not in HEADER_FACTS]
    if people := [name for name in wanted if names_people(name) or name == patient]:
        raise UsageError(f"--by {people[0]} would name people; use --cluster {people[0]} to resample them")
    if cluster not in (None, PATIENT):
        wanted.append(str(cluster))
    for name in (*wanted, *([PATIENT] if cluster == PATIENT and patient is None else [])):
        if name not in columns:
            raise UsageError(f"the data have no column '{name}'; they have: {', '.join(columns) or 'none'}")
    return tuple(dict.fromkeys(wanted))


def questions(heads: Sequence[Head], targets: Sequence[str]) -> tuple[Question, ...]:
    """Find the head for each target: the one of that name, or else the one in the same place.

    targets: none for a folder of classes, which the first head answers. Raises UsageError if there is no
    head for a target, or one for two.
    """
    names = tuple(targets) or (heads[0].name,)
    by_name = {head.name: at for at, head in enumerate(heads)}
    found = []
    for cell, name in enumerate(names):
        at = by_name.get(name, cell)
        if at >= len(heads):
            raise UsageError(
                f"the model has no answer to target '{name}'; its heads are: {', '.join(by_name)}"
            )
        if targets and name != heads[at].name and heads[at].kind == "binary":
            raise UsageError(f"the model answers '{heads[at].name}', not '{name}'; choose that --target")
        found.append(Question(name, cell, at, heads[at]))
    if len({question.at for question in found}) < len(found):
        raise UsageError(f"two targets belong to one head; name them like the heads: {', '.join(by_name)}")
    return tuple(found)


def check(heads: Sequence[Head], targets: Sequence[str], samples: Iterable[Sample]) -> None:
    """Raise UsageError unless the heads know every label of the samples."""
    asked = questions(heads, targets)
    cells = {(question.cell, sample.targets[question.cell]) for sample in samples for question in asked}
    for cell, text in sorted(cells):
        encode(text, asked[cell].head)


def predict_samples(
    predictor: Predictor, samples: Sequence[Sample], settings: EvalSettings, progress: Count | None = None
) -> ModelPredictions:
    """Predict every sample. Files that cannot be read are told apart, never dropped silently.

    The network alone is timed afterwards: some of the pictures (at most 256) are predicted once more out of
    memory, in all lanes, while no worker reads.
    """
    batch_size = settings.batch_size or predictor.batch_size
    pictures: list[ReadImage] = []
    remarked: list[Remarked] = []
    started = time.perf_counter()
    predictions, failures = _answers(predictor, samples, settings, progress, (pictures, remarked))
    seconds = time.perf_counter() - started
    return ModelPredictions(
        bundle=predictor.bundle,
        tag=predictor.bundle.tag,
        predictions=predictions,
        failures=failures,
        seconds_per_image=seconds / max(len(samples), 1),
        network_seconds_per_image=_network_seconds(predictor, pictures, batch_size),
        device=predictor.name,
        precision=predictor.precision,
        remarked=tuple(remarked),
    )


def predict_alone(
    predictor: Predictor, samples: Sequence[Sample], settings: EvalSettings, progress: Count | None = None
) -> tuple[Prediction, ...]:
    """Predict samples that can be read; the others, and times, are not told."""
    return _answers(predictor, samples, settings, progress, ([], []))[0]


def _answers(
    predictor: Predictor,
    samples: Sequence[Sample],
    settings: EvalSettings,
    progress: Count | None,
    kept: tuple[list[ReadImage], list[Remarked]],
) -> tuple[tuple[Prediction, ...], tuple[Unread, ...]]:
    """Return predictions and failures, in order. kept: gets some of the pictures, and what was odd."""
    batch_size = settings.batch_size or predictor.batch_size
    timed = min(_MOST_TIMED, _BATCHES_TIMED * predictor.concurrency * batch_size)
    order = {id(sample): index for index, sample in enumerate(samples)}
    predictions: list[Prediction] = []
    failures: list[Unread] = []
    pictures, remarked = kept
    readings = _readings(samples, predictor.bundle, settings, remarked)
    for sample, reading, scores in predict(readings, predictor, batch_size, StageTimer()):
        if isinstance(reading, Failure):
            failures.append((sample, reading))
        elif scores is not None:
            predictions.append(_prediction(predictor.bundle, sample, reading, scores, settings.evidence))
            if len(pictures) < timed:
                pictures.append(reading)
        if progress is not None:
            progress(1)
    predictions.sort(key=lambda prediction: order[id(prediction.sample)])
    failures.sort(key=lambda failure: order[id(failure[0])])
    return tuple(predictions), tuple(failures)


def _readings(
    samples: Sequence[Sample], bundle: Bundle, settings: EvalSettings, remarked: list[Remarked]
) -> Generator[tuple[Sample, ReadImage | Failure], None, None]:
    if settings.cache is None:
        return read_all(samples, bundle.preprocessing, settings.pool, remarked)
    return Cache(settings.cache, bundle.preprocessing).read_all(samples, settings.pool, remarked)


def facts_of(sample: Sample, reading: ReadImage) -> Facts:
    """Return the evidence for a sample: of a DICOM file what its header says, else what the data say."""
    return (reading.facts or sample.facts) if reading.header == _NO_HEADER else reading.facts


def _prediction(
    bundle: Bundle, sample: Sample, reading: ReadImage, scores: NDArray[np.float32], source: str
) -> Prediction:
    """Weigh the header as `classify` does, if it is asked for."""
    facts, head = facts_of(sample, reading), bundle.head
    header = _with_age(reading.header, age_group_of(facts))
    if bundle.evidence is None or source != HEADER:
        return Prediction(sample, header, scores)
    own, others = np.split(scores, [len(head.labels)])
    weighed = weigh(bundle.evidence, own, facts, head, head.review_below)
    if not weighed.used:
        return Prediction(sample, header, scores)
    every = np.concatenate([weighed.scores, others]).astype(np.float32)
    return Prediction(sample, header, every, scores, weighed.used, weighed.contradicts)


def _with_age(header: Header, group: str) -> Header:
    """Return a header with the age group; where nothing else is known one object for all images."""
    return _of_age(group) if header == _NO_HEADER else replace(header, age_group=group)


@cache
def _of_age(group: str) -> Header:
    return Header(age_group=group)


def _network_seconds(predictor: Predictor, pictures: Sequence[ReadImage], batch_size: int) -> float:
    started = time.perf_counter()
    for _ in predict(((None, picture) for picture in pictures), predictor, batch_size, StageTimer()):
        pass
    return (time.perf_counter() - started) / max(len(pictures), 1)


def predictions_of(
    head: Head,
    truth: NDArray[np.float32],
    scores: NDArray[np.float32],
    clusters: NDArray[np.int64] | None = None,
) -> Predictions:
    """Put truth (n, head.width) as `encode` gives it, none NaN, and scores (n, labels) side by side.

    Of the labels that the head answers: where it merges a rare label into another, that one is true as well.
    """
    chosen, own = _chosen(head, scores)
    return Predictions(head.kind, head.answering.labels, known_of(head, truth), chosen, own, clusters)


def answers_of(head: Head, predictions: Predictions, scores: NDArray[np.float32]) -> Predictions:
    """Return other answers, scores (n, labels), to the same images."""
    chosen, own = _chosen(head, scores)
    return replace(predictions, chosen=chosen, scores=own)


def _chosen(head: Head, scores: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    kept, chosen = head.kept, head.chosen(scores)
    chosen = chosen[:, kept] if head.kind == "multilabel" else np.searchsorted(kept, chosen)
    return chosen, scores[:, kept].astype(np.float64)


def known_of(head: Head, truth: NDArray[np.float32]) -> NDArray[Any]:
    """Turn truth as `encode` gives it, none NaN, into what `Predictions.truth` holds."""
    if head.kind == "binary":
        return truth[:, 0].astype(np.int64)
    answered = head.truth(truth)[:, head.kept]
    return answered > 0.5 if head.kind == "multilabel" else answered.argmax(axis=1)


def clusters_of(samples: Sequence[Sample], column: str | None) -> NDArray[np.int64] | None:
    """Give images that are resampled as one the same number: (n,); None for single images.

    An empty cell stands for its file.
    """
    if column is None:
        return None
    if column == PATIENT:
        return patients_of(samples)
    return _numbered([sample.metadata.get(column) or f"file {sample.name}" for sample in samples])


def patients_of(samples: Sequence[Sample]) -> NDArray[np.int64]:
    """Give each sample a number (n,) that those of its patient share."""
    return _numbered([sample.group for sample in samples])


def _numbered(names: Sequence[str]) -> NDArray[np.int64]:
    numbers = {name: number for number, name in enumerate(sorted(set(names)))}
    return np.array([numbers[name] for name in names], np.int64)


def decision_of(prediction: Prediction, heads: Sequence[Head]) -> Decision:
    """Decide what the scores of all heads say."""
    decision = decide_all(prediction.scores, heads)
    if prediction.pixel_scores is None:
        return decision
    pixels = decide_all(prediction.pixel_scores, heads)
    why = (*decision.why, *[Reason.CONTRADICTION] * prediction.contradicted)
    return replace(decision, why=why, evidence=prediction.evidence, pixels=pixels)
