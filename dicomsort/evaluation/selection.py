"""Which images a model, or several, are measured on, and what a person should know of that choice."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dicomsort.data import dataset
from dicomsort.data.dataset import Data, Sample
from dicomsort.errors import UsageError
from dicomsort.evaluation.predictions import HEADER_FACTS, EvalSettings
from dicomsort.model.bundle import Bundle
from dicomsort.system.telling import counted

_FROM_CACHE = ("age_group",)
"""What of a header a cache of pictures knows."""


def chosen(data: Path, loaded: Data, models: Sequence[Bundle], part: str) -> list[Sample]:
    """Select a part by the first model's split; the test part by the splits of all. Raises UsageError."""
    samples = dataset.in_part(loaded.samples, models[0].split, part)
    if not samples:
        raise UsageError(f"no file of '{data}' is in the {part} part of the model's split; see --part")
    if part != dataset.TEST:
        return samples
    for model in models[1:]:
        samples = dataset.in_part(samples, model.split, part)
    if not samples:
        raise UsageError(
            f"no file of '{data}' is new to all of the models: each has one of them in its train or "
            "validation part; --part all compares them on all files, with a warning"
        )
    return samples


def lines_of(loaded: Data, models: Sequence[Bundle], samples: Sequence[Sample], part: str) -> tuple[str, ...]:
    """Tell how many files several models are compared on, where some are left out."""
    left = len(loaded.samples) - len(samples)
    if len(models) == 1 or part != dataset.TEST or not left:
        return ()
    return (
        f"compared on {len(samples)} of {counted(len(loaded.samples), 'file')}: {left} left out that at "
        "least one of the models has in the train or validation part of its split",
    )


def patients_seen(loaded: Data, models: Mapping[str, Bundle], samples: Sequence[Sample]) -> Iterator[str]:
    """Warn of files that a model has not seen while it has seen others of the same patients.

    models: by the names that they are told by.
    """
    for name, model in models.items():
        seen = {
            content for content, part in model.split.items() if part in (dataset.TRAIN, dataset.VALIDATION)
        }
        patients = {sample.group for sample in loaded.samples if sample.sha256 in seen}
        if count := sum(one.group in patients and one.sha256 not in seen for one in samples):
            yield (
                f"warning: {name} has seen other files of the patients of {count} of these files, in the "
                "train or validation part of its split"
            )


def check_needs_no_header(columns: Sequence[str], settings: EvalSettings) -> None:
    """Raise UsageError for groups by what only the headers of files tell, which a cache does not hold."""
    for name in settings.by:
        if name in HEADER_FACTS and name not in (*columns, *_FROM_CACHE):
            raise UsageError(f"--by {name} needs the headers of the files, which --cache does not hold")
