"""Measure models from Python: what `dicomsort eval` does, told to a function instead of a terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dicomsort.data import caveats, corrections, dataset
from dicomsort.data.dataset import Data, Sample, Unread
from dicomsort.data.table import NONE, PATIENT, columns_of, named
from dicomsort.errors import UsageError
from dicomsort.evaluation import baselines, report
from dicomsort.evaluation import evaluate as evaluation
from dicomsort.evaluation.evaluate import Comparison, EvalSettings, Evaluation, ModelPredictions
from dicomsort.evaluation.metrics import Metrics
from dicomsort.evaluation.report import Results
from dicomsort.library.arguments import PathLike, Paths, check_all, check_is_no_worker, texts
from dicomsort.library.models import Model, Models, bundles_of, predictor_of
from dicomsort.model.bundle import Bundle
from dicomsort.system.reporting import Reporter, Silent
from dicomsort.system.worker_pool import pool_settings, warm_up

_SILENT = Silent()
_RANGES = {
    "bootstrap": (0, 1_000_000),
    "seed": (0, 2**32 - 10**5),
    "batch_size": (1, 4096),
    "workers": (1, float("inf")),
}


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """The figures of one or several models on labelled images."""

    results: Results
    data: Path

    @property
    def metrics(self) -> dict[str, Metrics]:
        """The first model's figures by target, such as `metrics["group"].overall["accuracy"].value`.

        `low` and `high` beside `value` are its 95 % interval.
        """
        return {one.question.target: one.figures for one in self.results.evaluations[0].measured}

    @property
    def comparison(self) -> Mapping[str, tuple[Comparison, ...]]:
        """Models and baselines with their differences to the first, by target; empty for a model alone."""
        return self.results.standings

    @property
    def remarks(self) -> list[str]:
        """What a person should know before trusting the figures, in lines."""
        return report.lines_of(self.results)

    @property
    def unread(self) -> dict[str, str]:
        """The files that could not be read, with `status: reason`; no figure counts them."""
        failures = (one for each in self.results.evaluations for one in each.answered.failures)
        return {sample.name: f"{failure.status}: {failure.reason}" for sample, failure in failures}

    def as_dict(self) -> dict[str, Any]:
        """Return what `eval --json` prints, and metrics.json holds."""
        return report.as_json(self.results)

    def save(self, folder: PathLike) -> None:
        """Make a folder with report.html, metrics.json, predictions.csv, not_read.csv and the plots.

        Raises TargetError if it cannot be written, UsageError if it is the folder of the data.
        """
        if self.data.suffix == ".csv" and self.data.resolve().parent == Path(folder).resolve():
            raise UsageError(f"'{folder}' is where the data lie; choose another folder")
        report.write(self.results, Path(folder))


def evaluate(
    data: PathLike,
    models: Models = "router5",
    *,
    target: Paths | None = None,
    patient: str | None = None,
    part: str = "test",
    by: Paths | None = None,
    cluster: str | None = None,
    bootstrap: int = 10_000,
    seed: int = 0,
    baseline: bool | None = None,
    corrections: PathLike | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    workers: int | None = None,
    reporter: Reporter = _SILENT,
) -> EvaluationResult:
    """Measure a model, or compare several, on labelled images.

    Does what `dicomsort eval` does with the option of the same name; writes nothing until `save` is called.

    data: a CSV with a column `file`, or a folder with one folder per class. models: names, folders or loaded
    models; several are compared with the first. target: the column of labels, or several. part: train,
    validation, test or all, by the first model's split. by: columns or header fields whose values have
    figures of their own. bootstrap: resamples for the 95 % intervals. baseline: None for True with several
    models. device, precision: for models that are not loaded yet. reporter: told of warnings and of progress.

    Raises UsageError, ModelError or InternalError; files that cannot be read are in `unread`.
    """
    check_is_no_worker()
    limits = {"bootstrap": bootstrap, "seed": seed, "batch_size": batch_size, "workers": workers}
    check_all(limits, _RANGES)
    warm_up()
    path, targets = Path(data), tuple(dict.fromkeys(texts(target)))
    settings = EvalSettings(
        bootstrap, seed, _cluster(path, cluster, patient), texts(by), batch_size, pool_settings(workers),
        None if corrections is None else Path(corrections), _patient(path, cluster, patient),
    )  # fmt: skip
    run = _Run(path, targets, bundles_of(models), part, settings, (device, precision), reporter)
    return EvaluationResult(run.results(baseline, NONE not in (cluster, patient)), path)


@dataclass(frozen=True, slots=True)
class _Run:
    """One evaluation. where: device and precision of models that are not loaded yet."""

    data: Path
    targets: tuple[str, ...]
    models: Sequence[Bundle | Model]
    part: str
    settings: EvalSettings
    where: tuple[str, str]
    reporter: Reporter

    @property
    def bundles(self) -> list[Bundle]:
        return [each.bundle if isinstance(each, Model) else each for each in self.models]

    def results(self, baseline: bool | None, patients_wanted: bool) -> Results:
        everything, samples = self._samples()
        for line in everything.remarks:
            self.reporter.warn(line)
        alone = self.settings.cluster in (None, PATIENT) and not everything.has_patients
        settings = replace(self.settings, cluster=None) if alone else self.settings
        answered = self._answered(samples, settings)
        found = evaluation.judge(self._with_unread(answered, everything), self.targets, settings)
        wanted = len(found) > 1 if baseline is None else baseline
        standings, remarks = self._compared(found, everything, settings, wanted)
        if alone and settings.bootstrap and patients_wanted:
            remarks = (*remarks, caveats.RESAMPLED)
        remarks = (*remarks, *caveats.lines_of(one for each in answered for one in each.remarked))
        return Results(found, standings, self._overlaps(samples), self.part, settings, remarks)

    def _samples(self) -> tuple[Data, Sequence[Sample]]:
        """Load the data, and select a part of it. Raises UsageError if it is unfit."""
        if self.part not in (*dataset.PARTS, "all"):
            raise UsageError(f"part='{self.part}' is unknown: use {', '.join(dataset.PARTS)} or all")
        concat = {bundle.concat_by for bundle in self.bundles}
        if not concat:
            raise UsageError("name at least one model")
        if len(concat) > 1:
            raise UsageError(
                "some of the models look at whole studies, others at single images; measure them apart"
            )
        if self.data.is_dir() and self.targets:
            raise UsageError(f"'{self.data}' is a folder of classes; target names a column of a CSV")
        asked = dataset.Columns(
            self.targets, concat=concat.pop(), facts=self._facts(), patient=self.settings.patient
        )
        everything, _ = corrections.load(self.data, asked, self.settings.corrections)
        samples = dataset.in_part(everything.samples, self.bundles[0].split, self.part)
        if not samples:
            raise UsageError(f"no file of '{self.data}' is in the {self.part} part of the model's split")
        for bundle in self.bundles:
            evaluation.check(bundle.heads, self.targets, samples)
        return everything, samples

    def _facts(self) -> tuple[str, ...]:
        settings = self.settings
        if not self.data.exists():
            return ()
        columns = columns_of(self.data)
        return evaluation.facts_needed(columns, settings.cluster, settings.by, settings.patient)

    def _answered(self, samples: Sequence[Sample], settings: EvalSettings) -> list[ModelPredictions]:
        answered = []
        with self.reporter.counting("evaluating", len(self.models) * len(samples)) as count:
            for model in self.models:
                with predictor_of(model, *self.where) as predictor:
                    answered.append(evaluation.answer(predictor, samples, settings, count))
        return answered

    def _with_unread(self, answered: Sequence[ModelPredictions], everything: Data) -> list[ModelPredictions]:
        """Add the files that could not even be hashed; nobody knows their part, so they count for `test`."""
        more: tuple[Unread, ...] = tuple(everything.unread) if self.part in ("test", "all") else ()
        return [replace(each, failures=(*each.failures, *more)) for each in answered]

    def _compared(
        self, found: Sequence[Evaluation], everything: Data, settings: EvalSettings, baseline: bool
    ) -> tuple[dict[str, tuple[Comparison, ...]], tuple[str, ...]]:
        """Compare several models, and baselines if they are wanted; nothing for one model alone."""
        made = self._baselines(found[0], everything, settings) if baseline else []
        remarks = tuple(remark for one in made for remark in one.remarks)
        if len(found) == 1 and not made:
            return {}, remarks
        names, standings = report.names_of(found), {}
        for index, first in enumerate(found[0].measured):
            contenders = {name: one.measured[index].answers for name, one in zip(names, found, strict=True)}
            contenders |= made[index].answers if made else {}
            standings[first.question.target] = evaluation.stand(contenders, first.figures, settings)
        return standings, remarks

    def _baselines(
        self, first: Evaluation, everything: Data, settings: EvalSettings
    ) -> list[baselines.Baselines]:
        trained = dataset.listed(everything.samples, first.answered.bundle.split, dataset.TRAIN)
        needed = {id(one.sample): one.sample for one in first.answered.predictions} if trained else {}
        needed |= {id(sample): sample for sample in trained}
        with self.reporter.counting("reading for the baseline", len(needed)) as count:
            pixels = baselines.read_pixels(list(needed.values()), settings, count)
        return [baselines.baselines(measured, trained, pixels) for measured in first.measured]

    def _overlaps(self, samples: Sequence[Sample]) -> tuple[dict[str, int], ...]:
        """Count for each model the samples that it has seen."""
        seen = (dataset.TRAIN, dataset.VALIDATION)
        return tuple(
            {part: len(dataset.listed(samples, one.split, part)) for part in seen} for one in self.bundles
        )


def _cluster(data: Path, cluster: str | None, patient: str | None) -> str | None:
    """Name the column of what is resampled: as asked, else `patient`, whatever column tells them apart."""
    if cluster == PATIENT and patient == NONE:
        raise UsageError(f"cluster='{PATIENT}' and patient='{NONE}' exclude each other")
    if cluster is None:
        columns = columns_of(data)
        known = PATIENT in columns if patient is None else named(patient, columns) is not None
        return PATIENT if known and patient != NONE else None
    return None if cluster == NONE else cluster


def _patient(data: Path, cluster: str | None, patient: str | None) -> str | None:
    """Name the column of patients; who says what is resampled need not say also which they are."""
    if patient is not None or cluster in (None, PATIENT) or not data.is_file():
        return patient
    return PATIENT if PATIENT in columns_of(data) else NONE
