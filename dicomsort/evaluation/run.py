"""One evaluation, from labeled images to figures: load, predict, evaluate, compare."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path

from dicomsort.data import caveats, corrections, dataset, rare, studies
from dicomsort.data.cache import Cache, forget_empty
from dicomsort.data.dataset import Data, Sample, Unread
from dicomsort.data.table import NONE, PATIENT, columns_of, evidence_in, named
from dicomsort.errors import DicomsortError, UsageError, check_installed
from dicomsort.evaluation import baselines, mapping, selection
from dicomsort.evaluation.evaluate import Comparison, Cost, Evaluation, compare, evaluate
from dicomsort.evaluation.metrics import Predictions
from dicomsort.evaluation.predictions import (
    EvalSettings,
    ModelPredictions,
    check,
    metadata_needed,
    predict_alone,
    predict_samples,
    questions,
)
from dicomsort.evaluation.report import Results, names_of
from dicomsort.model import load
from dicomsort.model.batching import Predictor
from dicomsort.model.bundle import Bundle
from dicomsort.model.evidence import HEADER, check_source
from dicomsort.system.reporting import Reporter, Silent

Ready = Callable[[int], AbstractContextManager[Predictor]]
Comparisons = dict[str, tuple[Comparison, ...]]


def evaluate_models(
    data: Path,
    models: Sequence[Bundle],
    targets: Sequence[str] = (),
    settings: EvalSettings | None = None,
    reporter: Reporter | None = None,
    ready: Ready | None = None,
) -> Results:
    """Measure a model, or compare several with the first, on the labeled images of a CSV or a folder.

    models: the split of the first says which files belong to `settings.part`. targets: the columns that hold
    the labels; none for a folder of classes. settings.cluster: here None means `patient` where the data tell
    patients apart, and `none` single images. reporter: told of progress, and of what a person should know.
    ready: makes the model of a place in `models` ready to run; None to load each as the settings say.
    Nothing is written before `Results.save`.
    With several models the test part is what is in that of each: files that none of them has seen.
    Raises UsageError for data, columns or models that do not fit each other, ModelError for a model that does
    not run, MissingLibraryError for baselines without scikit-learn.
    """
    asked, reporter = settings or EvalSettings(), reporter or Silent()
    targets = dataset.asked(data, targets)
    settings = replace(asked, cluster=_cluster(data, asked), patient=_patient(data, asked))
    if _wants_baselines(settings, len(models)):
        check_installed("the baseline (which --no-baseline leaves out)", "sklearn")
    loaded, samples = load_part(data, targets, models, settings)
    for line in loaded.remarks:
        reporter.warn(line)
    alone = settings.cluster in (None, PATIENT) and not loaded.has_patients
    if alone:
        settings = replace(settings, cluster=None)
    if not models:
        raise UsageError("name at least one model")
    tuning = [_tuning(one, loaded, targets, settings) for one in models]
    predicted = _predict(tuning, ready or _loading(models, settings), samples, settings, reporter)
    if settings.mapping:
        predicted = [mapping.renamed(each, settings.mapping) for each in predicted]
    remarks = caveats.lines_of(one for each in predicted for one in each.remarked)
    if alone and settings.bootstrap and NONE not in (asked.cluster, asked.patient):
        remarks = (caveats.RESAMPLED, *remarks)
    more = unread_in(loaded, settings.part)
    predicted = [replace(each, failures=(*each.failures, *more)) for each in predicted]
    evaluations = evaluate(predicted, targets, settings)
    comparisons, said = _compare(evaluations, loaded, settings, reporter)
    seen = overlaps(models, samples)
    named_models = dict(zip(names_of(evaluations), models, strict=True))
    remarks = (
        *selection.lines_of(loaded, models, samples, settings.part),
        *selection.patients_seen(loaded, named_models, samples),
        *said,
        *remarks,
    )
    return Results(evaluations, comparisons, seen, settings.part, settings, remarks)


def load_part(
    data: Path, targets: Sequence[str], models: Sequence[Bundle], settings: EvalSettings
) -> tuple[Data, list[Sample]]:
    """Load a data set, and select `settings.part` of it by the first model's split. Raises UsageError."""
    check_source(settings.evidence)
    if settings.part not in (*dataset.PARTS, "all"):
        raise UsageError(f"--part '{settings.part}' is unknown: use {', '.join(dataset.PARTS)} or all")
    metadata: tuple[str, ...] = ()
    if settings.cache is not None:
        selection.check_needs_no_header(columns_of(data), settings)
    if data.exists():
        metadata = metadata_needed(columns_of(data), settings.cluster, settings.by, settings.patient)
    rule, told = studies.rule_of_all(data, models)
    columns = dataset.Columns(
        tuple(targets), study=rule, metadata=metadata, patient=settings.patient,
        evidence=evidence_in(data, targets) if settings.evidence == HEADER else (),
    )  # fmt: skip
    loaded = without_rare(_load(data, columns, models, settings), targets, models)
    loaded = replace(loaded, remarks=(*told, *loaded.remarks))
    if targets and dataset.is_class_folder(data):
        raise UsageError(f"'{data}' is a folder of classes; --target names a column of a CSV")
    if settings.mapping:
        mapping.check_known(settings.mapping, loaded.samples, models)
        renamed = (mapping.renamed_sample(sample, settings.mapping) for sample in loaded.samples)
        loaded = replace(loaded, samples=tuple(renamed))
    samples = selection.chosen(data, loaded, models, settings.part)
    for model in models:
        check(mapping.renamed_bundle(model, settings.mapping).heads, targets, samples)
    return loaded, samples


def _load(data: Path, columns: dataset.Columns, models: Sequence[Bundle], settings: EvalSettings) -> Data:
    """Load a data set; with a cache the hashes of files that are still the same come from there."""
    if settings.cache is None or not models:
        return corrections.load(data, columns, settings.corrections, pool=settings.pool)[0]
    cache = Cache(settings.cache, models[0].preprocessing)
    try:
        loaded, _ = corrections.load(data, columns, settings.corrections, cache.hash_of, pool=settings.pool)
    except DicomsortError:
        forget_empty(settings.cache)
        with suppress(OSError):
            settings.cache.rmdir()  # only if nothing is in it
        raise
    cache.keep_hashes()
    return loaded


def without_rare(loaded: Data, targets: Sequence[str], models: Sequence[Bundle]) -> Data:
    """Do with classes that were too rare for the first model's split as its training did."""
    renamed = models[0].training.get(rare.RENAMED) if models else None
    if not renamed:
        return loaded
    heads = [question.head.name for question in questions(models[0].heads, targets)]
    samples = tuple(rare.applied(loaded.samples, heads, renamed))
    told = rare.lines_of(renamed, loaded.samples, heads)
    return replace(loaded, samples=samples, remarks=(*loaded.remarks, *told))


def unread_in(loaded: Data, part: str) -> Sequence[Unread]:
    """Return the files that could not even be hashed; their part is unknown, so they count for `test`."""
    return loaded.unread if part in (dataset.TEST, "all") else ()


def overlaps(models: Sequence[Bundle], samples: Sequence[Sample]) -> tuple[dict[str, int], ...]:
    """Count for each model the samples that it has seen, by part: train and validation."""
    seen = (dataset.TRAIN, dataset.VALIDATION)
    return tuple({part: len(dataset.listed(samples, one.split, part)) for part in seen} for one in models)


def _cluster(data: Path, asked: EvalSettings) -> str | None:
    """Name the column of what is resampled: as asked, else `patient`, whatever column tells them apart."""
    if asked.cluster == PATIENT and asked.patient == NONE:
        raise UsageError(f"--cluster {PATIENT} and --patient {NONE} exclude each other")
    if asked.cluster is None:
        columns = columns_of(data)
        known = PATIENT in columns if asked.patient is None else named(asked.patient, columns) is not None
        return PATIENT if known and asked.patient != NONE else None
    return None if asked.cluster == NONE else asked.cluster


def _patient(data: Path, asked: EvalSettings) -> str | None:
    """Name the column of patients; who says what is resampled need not say also which they are."""
    if asked.patient is not None or asked.cluster in (None, PATIENT) or not data.is_file():
        return asked.patient
    return PATIENT if PATIENT in columns_of(data) else NONE


def _loading(models: Sequence[Bundle], settings: EvalSettings) -> Ready:
    return lambda place: load.predictor_for(
        models[place], settings.device, settings.precision, settings.engine
    )


def _tuning(model: Bundle, loaded: Data, targets: Sequence[str], settings: EvalSettings) -> Sequence[Sample]:
    """Return the samples that thresholds can be chosen on: of the test part those of the validation part."""
    asked = questions(model.heads, targets)
    wanted = settings.part == dataset.TEST and any(
        settings.at or question.head.kind != "multiclass" for question in asked
    )
    if not wanted:
        return ()
    found = dataset.listed(loaded.samples, model.split, dataset.VALIDATION)
    check(mapping.renamed_bundle(model, settings.mapping).heads, targets, found)
    return found


def _predict(
    tuning: Sequence[Sequence[Sample]],
    ready: Ready,
    samples: Sequence[Sample],
    settings: EvalSettings,
    reporter: Reporter,
) -> list[ModelPredictions]:
    predicted = []
    total = len(tuning) * len(samples) + sum(map(len, tuning))
    with reporter.counting("evaluating", total) as count:
        for place, more in enumerate(tuning):
            with ready(place) as predictor:
                said = predict_samples(predictor, samples, settings, count)
                tuned = predict_alone(predictor, more, settings, count) if more else ()
                predicted.append(replace(said, tuning=tuned))
    return predicted


def _compare(
    evaluations: Sequence[Evaluation], loaded: Data, settings: EvalSettings, reporter: Reporter
) -> tuple[Comparisons, tuple[str, ...]]:
    """Compare several models, and baselines if they are wanted; nothing for one model alone."""
    wanted = _wants_baselines(settings, len(evaluations))
    extra, remarks = _baselines(evaluations[0], loaded, settings, reporter) if wanted else ([], ())
    if len(evaluations) == 1 and not extra:
        return {}, remarks
    names, comparisons = names_of(evaluations), {}
    for index, first in enumerate(evaluations[0].measured):
        contenders = {
            name: one.measured[index].predictions for name, one in zip(names, evaluations, strict=True)
        }
        contenders |= extra[index] if extra else {}
        costs = dict(zip(names, map(_cost, evaluations), strict=True))
        rows = compare(contenders, first.figures, settings)
        comparisons[first.question.target] = tuple(replace(row, cost=costs.get(row.name)) for row in rows)
    return comparisons, remarks


def _cost(one: Evaluation) -> Cost:
    size = one.predicted.bundle.size
    return Cost(size.parameters, size.megabytes, one.predicted.seconds_per_image)


def _wants_baselines(settings: EvalSettings, models: int) -> bool:
    return models > 1 if settings.baseline is None else settings.baseline


def _baselines(
    first: Evaluation, loaded: Data, settings: EvalSettings, reporter: Reporter
) -> tuple[list[Mapping[str, Predictions]], tuple[str, ...]]:
    trained = dataset.listed(loaded.samples, first.predicted.bundle.split, dataset.TRAIN)
    needed = {id(one.sample): one.sample for one in first.predicted.predictions} if trained else {}
    needed |= {id(sample): sample for sample in trained}
    with reporter.counting("reading for the baseline", len(needed)) as count:
        pixels = baselines.read_pixels(list(needed.values()), settings, count)
    made = [baselines.baselines(measured, trained, pixels) for measured in first.measured]
    remarks = tuple(remark for one in made for remark in one.remarks)
    return [one.predictions for one in made], tuple(dict.fromkeys(remarks))
