"""Measure models from Python: what `dicomsort eval` does, told to a function instead of a terminal."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicomsort.errors import UsageError, names_missing_libraries
from dicomsort.evaluation import operating, report
from dicomsort.evaluation.evaluate import Comparison
from dicomsort.evaluation.mapping import names_of
from dicomsort.evaluation.metrics import Metrics
from dicomsort.evaluation.predictions import EvalSettings
from dicomsort.evaluation.report import Results
from dicomsort.evaluation.run import evaluate_models
from dicomsort.library.arguments import PathLike, Paths, check_all, check_is_no_worker, texts
from dicomsort.library.models import Model, Models, bundles_of, predictor_of
from dicomsort.model.batching import Predictor
from dicomsort.system.pool_settings import pool_settings
from dicomsort.system.reporting import Reporter, Silent
from dicomsort.system.starting import warm_up

_SILENT = Silent()
_RANGES = {
    "bootstrap": (0, 1_000_000),
    "seed": (0, 2**32 - 10**5),
    "batch_size": (1, 4096),
    "workers": (1, 4096),
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
        return self.results.comparisons

    @property
    def remarks(self) -> list[str]:
        """What a person should know before trusting the figures, in lines."""
        return report.lines_of(self.results)

    @property
    def unread(self) -> dict[str, str]:
        """The files that could not be read, with `status: reason`; no figure counts them."""
        failures = (one for each in self.results.evaluations for one in each.predicted.failures)
        return {sample.name: f"{failure.status}: {failure.reason}" for sample, failure in failures}

    def as_dict(self) -> dict[str, Any]:
        """Return what `eval --json` prints, and metrics.json holds."""
        return self.results.as_dict()

    def save(self, folder: PathLike) -> None:
        """Make a folder with report.html, metrics.json, predictions.csv, not_read.csv and the plots.

        Raises TargetError if it cannot be written, UsageError if it is the folder of the data,
        MissingLibraryError without matplotlib and scikit-learn, which draw the plots.
        """
        if self.data.suffix == ".csv" and self.data.resolve().parent == Path(folder).resolve():
            raise UsageError(f"'{folder}' is where the data lie; choose another folder")
        self.results.save(Path(folder))


def _pairs(names: Mapping[str, str]) -> list[str]:
    return [f"{old}={new}" for old, new in names.items()]


@names_missing_libraries()
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
    evidence: str = "header",
    baseline: bool | None = None,
    at: Paths | None = None,
    mapping: Mapping[str, str] | None = None,
    cache: PathLike | None = None,
    corrections: PathLike | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    engine: str = "auto",
    workers: int | None = None,
    reporter: Reporter = _SILENT,
) -> EvaluationResult:
    """Measure a model, or compare several, on labelled images.

    Does what `dicomsort eval` does with the option of the same name; writes nothing until `save` is called.

    data: a CSV with a column `file`, or a folder with one folder per class. models: names, folders or loaded
    models; several are compared with the first. target: the column of labels, or several. part: train,
    validation, test or all, by the first model's split. by: columns or header fields whose values have
    figures of their own. bootstrap: resamples for the 95 % intervals. evidence: what labels rest on, `header`
    (with the pixels; of files that are not DICOM the columns age, modality and sop_class) or `pixels` alone.
    baseline: None for True with several models. at: `sensitivity=0.95`, `specificity=0.9` or `youden`, or
    several. mapping: labels of the data or of a model -> what they are called here. cache: a folder of
    pictures that are read once, such as a training's. device, precision, engine: for models that are not
    loaded yet. reporter: told of warnings and of progress.

    Raises UsageError, ModelError or InternalError, MissingLibraryError for baselines without scikit-learn;
    files that cannot be read are in `unread`.
    """
    check_is_no_worker()
    limits = {"bootstrap": bootstrap, "seed": seed, "batch_size": batch_size, "workers": workers}
    check_all(limits, _RANGES)
    warm_up()
    path, targets = Path(data), tuple(dict.fromkeys(texts(target)))
    settings = EvalSettings(
        bootstrap=bootstrap, seed=seed, cluster=cluster, by=texts(by), batch_size=batch_size,
        pool=pool_settings(workers), corrections=None if corrections is None else Path(corrections),
        patient=patient, part=part, baseline=baseline, evidence=evidence,
        at=tuple(map(operating.goal_of, texts(at))), mapping=names_of(_pairs(mapping or {})),
        cache=None if cache is None else Path(cache),
    )  # fmt: skip
    given = bundles_of(models)
    bundles = [each.bundle if isinstance(each, Model) else each for each in given]

    def ready(place: int) -> AbstractContextManager[Predictor]:
        return predictor_of(given[place], device, precision, engine)

    return EvaluationResult(evaluate_models(path, bundles, targets, settings, reporter, ready), path)
