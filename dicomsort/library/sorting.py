"""Sort an archive from Python: what `dicomsort classify` does, told to a function instead of a terminal."""

import os
from typing import TYPE_CHECKING

from dicomsort.dicom.sop_classes import ReadSettings
from dicomsort.errors import UsageError, names_missing_libraries
from dicomsort.inputs.named import Shard
from dicomsort.library.arguments import PathLike, Paths, check_all, check_is_no_worker, texts
from dicomsort.manifest.parquet import is_wanted
from dicomsort.model.defaults import DEFAULT_MODELS
from dicomsort.outcome import Action
from dicomsort.sorting import array_shards, pipeline, progress_of
from dicomsort.sorting.layout import DEFAULT as DEFAULT_LAYOUT
from dicomsort.sorting.pipeline import SortSettings
from dicomsort.sorting.place import PlacementSettings
from dicomsort.sorting.progress_of import Progress
from dicomsort.sorting.study_table import StudyTable
from dicomsort.sorting.summary import SortSummary, Watch
from dicomsort.system import locks, notices
from dicomsort.system.pool_settings import pool_settings
from dicomsort.system.reporting import Reporter, Silent
from dicomsort.system.starting import warm_up

if TYPE_CHECKING:
    from dicomsort.library.models import Models

_READ, _SILENT = ReadSettings(), Silent()
_RANGES = {
    "review_below": (0.0, 1.0),
    "workers": (1, 4096),
    "timeout": (0.1, 86400),
    "batch_size": (1, 4096),
    "lock_wait": (0, 86400),
}


@names_missing_libraries()
def sort(
    inputs: Paths | None,
    out: PathLike,
    *,
    models: "Models" = DEFAULT_MODELS,
    action: str = "copy",
    relative: bool = False,
    layout: str = DEFAULT_LAYOUT,
    verify: bool = False,
    review_below: float | None = None,
    evidence: str = "header",
    dry_run: bool = False,
    restart: bool = False,
    keep_duplicates: bool = False,
    archives: bool = True,
    follow_links: bool = False,
    retry_failed: bool = False,
    from_list: PathLike | None = None,
    shard: str | None = None,
    read: ReadSettings = _READ,
    workers: int | None = None,
    timeout: float = 60.0,
    batch_size: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    engine: str = "auto",
    lock_wait: float | None = None,
    allow_other_versions: bool = False,
    manifest_format: str | None = None,
    studies: PathLike | None = None,
    study_column: str | None = None,
    progress: Watch | None = None,
    reporter: Reporter = _SILENT,
) -> SortSummary:
    """Sort the radiographs under `inputs` into a folder per class below `out`, with a manifest of every file.

    Does what `dicomsort classify` does with the option of the same name, in this process and in worker
    processes of its own. The same call again does only what is missing, also after an exception or Ctrl-C.

    inputs: folders or files; None for any file that `from_list` names. models: names, folders or loaded
    models; the first decides, others answer in columns of their own. device, precision, engine: for models
    that are not loaded yet. action: copy, symlink, hardlink, reflink, or none for a manifest alone.
    review_below: confidence 0..1 under which a file goes to review, None for the model's own. evidence: what
    labels rest on, `header` (the pixels, and the header's age and apparatus) or `pixels` alone. archives:
    whether to look into ZIP, tar and packed files. shard: `i/n` for one share, `auto/n` in a task of a batch
    system's array. lock_wait: seconds to wait while another run has the output, None for 0, of a shard 120.
    allow_other_versions: whether a shard may be made with other versions than the first one; the reporter is
    told then. timeout: seconds that one file may take. workers: reading processes, None for one a processor.
    manifest_format: `csv`, or `csv,parquet` to keep a manifest.parquet too; None for what the output has.
    studies: for models that were trained on whole studies, a CSV that names files and their studies; None for
    Study Instance UID. study_column: which column of it, None for the one that the model was trained with.
    progress: called in this thread after every file with the summary so far, which is always the same object.
    reporter: told what a person should know before the run; see `system.reporting`.

    Raises UsageError, ModelError, TargetError, NothingFoundError or InternalError. Files that cannot be read
    raise nothing: they have their row, and `summary.exit_code` tells of them.
    """
    check_is_no_worker()
    limits = {"review_below": review_below, "workers": workers, "timeout": timeout, "batch_size": batch_size}
    limits["lock_wait"] = lock_wait
    check_all(limits, _RANGES)
    settings = SortSettings(
        roots=_roots(inputs, from_list), out=os.fspath(out),
        from_list=None if from_list is None else os.fspath(from_list), shard=_shard(shard, restart, out),
        placing=PlacementSettings(_action(action), verify, relative), layout=layout, restart=restart,
        keep_duplicates=keep_duplicates, dry_run=dry_run, batch_size=batch_size, review_below=review_below,
        follow_links=follow_links, retry_failed=retry_failed, read=read, pool=pool_settings(workers, timeout),
        evidence=evidence, archives=archives, parquet=is_wanted(manifest_format),
        studies=_table(studies, study_column), any_versions=allow_other_versions,
        lock_wait=lock_wait if lock_wait is not None else locks.PATIENT_SECONDS if shard else 0.0,
    )  # fmt: skip
    pipeline.check(settings)
    warm_up()
    from dicomsort.library.models import predictors_of  # noqa: PLC0415  (workers may import this module)

    with (
        notices.heard(reporter.warn),
        predictors_of(models, device, precision, engine) as (first, *further),
    ):
        if first.bundle.study is not None:
            reporter.info(f"{first.bundle.tag} was trained on whole studies: each gets one answer")
        return pipeline.sort(settings, first, progress, further)


def status(out: PathLike) -> Progress:
    """Return how far an output folder is, also while others work on it: as `dicomsort status` tells.

    It takes no lock and writes nothing. Raises UsageError if there is no output, or its run.json is damaged.
    """
    return progress_of.status(os.fspath(out))


def _roots(inputs: Paths | None, from_list: PathLike | None) -> tuple[str, ...]:
    """Return what to sort; a list without folders may name any file, and keeps its whole path."""
    found = texts(inputs)
    if not found and from_list is None:
        raise UsageError("name the folders or files to sort, or a list of them (from_list)")
    return found or (os.sep,)


def _table(studies: PathLike | None, column: str | None) -> StudyTable | None:
    if studies is None and column is not None:
        raise UsageError("study_column names a column of a table of studies: give that too")
    return None if studies is None else StudyTable(os.fspath(studies), column or "")


def _shard(shard: str | None, restart: bool, out: PathLike) -> Shard | None:
    if shard is not None and restart:
        raise UsageError("restart does not go with shard: the shards fill one output together")
    return None if shard is None else array_shards.parse(shard, os.fspath(out))


def _action(name: str) -> Action:
    try:
        return Action(name)
    except ValueError as error:
        raise UsageError(f"action='{name}' is unknown: use {', '.join(Action)}") from error
