"""How sure a model may be: temperature, thresholds, and the confidence below which a person looks.

Temperature: Guo et al. 2017, On Calibration of Modern Neural Networks.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomsort.data.dataset import Remarked, Sample, Unread, read_all
from dicomsort.data.targets import encode
from dicomsort.errors import TargetError, UsageError
from dicomsort.evaluation.guarantee import Guarantee, guarantee_of, reviewed
from dicomsort.evaluation.metrics import measure
from dicomsort.evaluation.predictions import Question, patients_of, predictions_of, questions
from dicomsort.evaluation.thresholds import REVIEW_PRECISION, fitted_head
from dicomsort.model.batching import Predictor, predict
from dicomsort.model.bundle import CONFIG, Bundle, check_name
from dicomsort.model.heads import Head, split_columns
from dicomsort.outcome import Failure
from dicomsort.system.atomic import replacing
from dicomsort.system.pool_settings import PoolSettings
from dicomsort.system.reporting import Count
from dicomsort.system.telling import counted
from dicomsort.system.timing import StageTimer


@dataclass(frozen=True, slots=True)
class CalibrationSettings:
    """How to calibrate. target_precision: share 0..1 of right predictions among those that no person sees."""

    target_precision: float = REVIEW_PRECISION
    batch_size: int | None = None
    pool: PoolSettings = field(default_factory=PoolSettings)


@dataclass(frozen=True, slots=True)
class Logits:
    """What a network said of the samples that could be read: float32 (n, outputs)."""

    samples: tuple[Sample, ...]
    values: NDArray[np.float32]
    failures: tuple[Unread, ...]
    remarked: tuple[Remarked, ...] = ()


@dataclass(frozen=True, slots=True)
class HeadCalibration:
    """What a calibration did to a head, on `images` with known truth.

    ece_*, log_loss_*: before and after. precision: of the predictions with at least the confidence
    `review_below`, None if there is none; coverage: their share, 0..1; the others go to review. reached:
    whether the precision asked for is, by the guarantee or among these images; if not, `review_below` is what
    it was. guarantee: what the threshold promises beyond these images.
    """

    head: str
    images: int
    temperature_before: float
    temperature: float
    ece_before: float
    ece: float
    log_loss_before: float
    log_loss: float
    thresholds: tuple[float, ...]
    review_below: float
    precision: float | None
    coverage: float
    reached: bool
    guarantee: Guarantee


def logits_of(
    predictor: Predictor,
    samples: Sequence[Sample],
    settings: CalibrationSettings,
    progress: Count | None = None,
) -> Logits:
    """Run the network on samples. Raises UsageError if none can be read."""
    order = {id(sample): index for index, sample in enumerate(samples)}
    found: list[tuple[Sample, NDArray[np.float32]]] = []
    failures: list[Unread] = []
    remarked: list[Remarked] = []
    readings = read_all(samples, predictor.bundle.preprocessing, settings.pool, remarked)
    batch_size = settings.batch_size or predictor.batch_size
    logits = predictor.bundle.logits
    for sample, reading, row in predict(readings, predictor, batch_size, StageTimer(), logits):
        if isinstance(reading, Failure):
            failures.append((sample, reading))
        elif row is not None:
            found.append((sample, row))
        if progress is not None:
            progress(1)
    if not found:
        raise UsageError(f"{counted(len(samples), 'file')} given, and none can be read as an image")
    found.sort(key=lambda pair: order[id(pair[0])])
    failures.sort(key=lambda failure: order[id(failure[0])])
    values = np.stack([row for _, row in found])
    return Logits(tuple(one for one, _ in found), values, tuple(failures), tuple(remarked))


def calibrate(
    bundle: Bundle, targets: Sequence[str], logits: Logits, settings: CalibrationSettings
) -> tuple[Bundle, tuple[HeadCalibration, ...]]:
    """Fit the heads that `targets` ask to what is known of the samples, and say what that did.

    Raises UsageError if a target is known of no sample, or no threshold of the first head, which decides
    where a file goes, reaches the precision.
    """
    parts = split_columns(logits.values, [head.width for head in bundle.heads])
    heads, done = list(bundle.heads), []
    for question in questions(bundle.heads, targets):
        known = [index for index, one in enumerate(logits.samples) if one.targets[question.cell]]
        if not known:
            raise UsageError(f"no image that can be read has a label in '{question.target}'")
        truth = np.stack([encode(logits.samples[index].targets[question.cell], question.head)
                          for index in known])  # fmt: skip
        patients = patients_of([logits.samples[index] for index in known])
        heads[question.at], what = _calibrated(
            question, parts[question.at][known], truth, patients, settings.target_precision
        )
        done.append(what)
    first, *further = heads
    facts = {"target_precision": settings.target_precision, "heads": [asdict(what) for what in done]}
    metrics = {**bundle.metrics, "calibration": facts}
    return replace(bundle, head=first, further=tuple(further), metrics=metrics), tuple(done)


def _calibrated(
    question: Question,
    logits: NDArray[np.float32],
    truth: NDArray[np.float32],
    patients: NDArray[np.int64],
    target: float,
) -> tuple[Head, HeadCalibration]:
    before = question.head
    fitted = fitted_head(before, logits, truth)
    scores = fitted.scores(logits)
    found, reached, guaranteed = reviewed(fitted, scores, truth, patients, target)
    if not reached and question.at == 0:
        raise UsageError(
            f"'{question.target}': even the surest of {len(truth)} answers are not right in "
            f"{target:g} of the cases; use a lower --target-precision"
        )
    fitted = found if reached else replace(fitted, review_below=before.review_below)
    promise = guarantee_of(fitted, scores, truth, patients, target, guaranteed)
    old, new = (
        measure(predictions_of(head, truth, head.scores(logits)), bootstrap=0).overall
        for head in (before, fitted)
    )
    return fitted, HeadCalibration(
        head=before.name,
        images=len(truth),
        temperature_before=before.temperature,
        temperature=fitted.temperature,
        ece_before=old["ece"].value,
        ece=new["ece"].value,
        log_loss_before=old["log_loss"].value,
        log_loss=new["log_loss"].value,
        thresholds=fitted.thresholds,
        review_below=fitted.review_below,
        precision=1 - promise.wrong / promise.images if promise.images else None,
        coverage=promise.coverage,
        reached=reached,
        guarantee=promise,
    )


def check_target(folder: Path) -> None:
    """Raise UsageError unless a bundle may be written into a folder: its name is the model's, it is empty."""
    try:
        check_name(folder.resolve().name)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"--out '{folder}' is not an empty folder; choose another or empty it")
    except ValueError as error:
        raise UsageError(f"--out: {error}") from error
    except OSError as error:
        raise TargetError(f"--out '{folder}' cannot be written: {error.strerror}") from error


def store(bundle: Bundle, folder: Path) -> None:
    """Put the heads and metrics of a calibrated bundle into the folder of the bundle that it was.

    Only the configuration is written, at one go; weights and split stay as they are. Raises TargetError if
    that cannot be.
    """
    config = folder / CONFIG
    try:
        facts: dict[str, Any] = json.loads(config.read_text(encoding="utf-8"))
        facts |= {"heads": [head.as_dict() for head in bundle.heads], "metrics": bundle.metrics}
        with replacing(config) as file:
            file.write(json.dumps(facts, indent=2) + "\n")
    except OSError as error:
        raise TargetError(f"'{folder}' cannot be written: {error.strerror}") from error
