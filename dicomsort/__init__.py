"""Sort DICOM archives: each X-ray into a folder per body-part class, one manifest row for every file.

import dicomsort

model = dicomsort.load_model("router5")
model.predict(["a.dcm"])                             # [Decision(label="spine", confidence=0.99, ...)]
dicomsort.sort("/archive", "sorted", models=model)

docs/reference/python-api.md tells shapes, types, units and errors.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dicomsort.dicom.reader import UnreadableError, read_image
    from dicomsort.dicom.sop_classes import ReadSettings
    from dicomsort.errors import (
        DicomsortError,
        ExitCode,
        InternalError,
        MissingLibraryError,
        ModelError,
        NothingFoundError,
        TargetError,
        UsageError,
    )
    from dicomsort.export.datasets.dataset import Exported
    from dicomsort.imaging.canvas import Preprocessing
    from dicomsort.library.datasets import export_dataset
    from dicomsort.library.evaluation import EvaluationResult, evaluate
    from dicomsort.library.models import Model, load_model
    from dicomsort.library.sorting import sort, status
    from dicomsort.library.training import TrainingResult, train
    from dicomsort.manifest.reading import ManifestRow, read_manifest
    from dicomsort.model.heads import Decision
    from dicomsort.outcome import Action, Reason, Status
    from dicomsort.sorting.progress_of import Progress
    from dicomsort.sorting.summary import SortSummary

__all__ = [
    "Action",
    "Decision",
    "DicomsortError",
    "EvaluationResult",
    "ExitCode",
    "Exported",
    "InternalError",
    "ManifestRow",
    "MissingLibraryError",
    "Model",
    "ModelError",
    "NothingFoundError",
    "Preprocessing",
    "Progress",
    "ReadSettings",
    "Reason",
    "SortSummary",
    "Status",
    "TargetError",
    "TrainingResult",
    "UnreadableError",
    "UsageError",
    "__version__",
    "evaluate",
    "export_dataset",
    "load_model",
    "read_image",
    "read_manifest",
    "sort",
    "status",
    "train",
]
__version__ = "0.2.0"

_HOMES = {
    "dicom.reader": "UnreadableError read_image",
    "dicom.sop_classes": "ReadSettings",
    "errors": "DicomsortError ExitCode InternalError MissingLibraryError ModelError NothingFoundError "
    "TargetError UsageError",
    "export.datasets.dataset": "Exported",
    "imaging.canvas": "Preprocessing",
    "library.datasets": "export_dataset",
    "library.evaluation": "EvaluationResult evaluate",
    "library.models": "Model load_model",
    "library.sorting": "sort status",
    "sorting.progress_of": "Progress",
    "library.training": "TrainingResult train",
    "manifest.reading": "ManifestRow read_manifest",
    "model.heads": "Decision",
    "outcome": "Action Reason Status",
    "sorting.summary": "SortSummary",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for: the command line starts without NumPy."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'dicomsort' has no attribute '{name}'")
    errors = importlib.import_module("dicomsort.errors")
    with errors.names_missing_libraries():
        value = getattr(importlib.import_module(f"dicomsort.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *globals()})
