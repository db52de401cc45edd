"""Train from Python: what `dicomsort train` does, told to a function instead of a terminal."""

import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, Unpack

from dicomsort.data.rare import RareRule
from dicomsort.library.arguments import PathLike, Paths, check_all, check_is_no_worker, texts
from dicomsort.model import bundle as bundles
from dicomsort.model.engines.devices import choose_device
from dicomsort.training import run_folder
from dicomsort.training.adapt import Adaptation, check_alone
from dicomsort.training.distributed import ranks
from dicomsort.training.dividing import SplitOptions
from dicomsort.training.recipe import make_recipe
from dicomsort.training.run import SilentTraining, TrainingReporter, TrainingRun

_SILENT = SilentTraining()
_RANGES = {
    "size": (32, 1024),
    "freeze": (0, 99),
    "epochs": (1, 10**6),
    "batch_size": (2, 65536),
    "learning_rate": (1e-7, 1.0),
    "weight_decay": (0.0, 10.0),
    "label_smoothing": (0.0, 0.9),
    "ema": (0.0, 0.99999),
    "balance": (0.0, 1.0),
    "patience": (0, float("inf")),
    "seed": (0, 2**32 - 10**5),
    "workers": (1, 4096),
}


class RecipeSettings(TypedDict, total=False):
    """What a recipe may be told; see `training.recipe.Recipe` for meanings and defaults."""

    arch: str
    size: int
    smooth: str
    normalise: str
    pretrained: str | None
    freeze: int
    epochs: int
    batch_size: int
    optimizer: str
    schedule: str
    learning_rate: float
    weight_decay: float
    clip: float
    label_smoothing: float
    ema: float
    balance: float
    balance_by: str | None
    adjust: float
    augment: str
    patience: int
    seed: int
    precision: str
    concat_by: str | None
    view_column: str | None
    auxiliary: tuple[str, ...]
    tree: tuple[tuple[str, str], ...]
    further: float
    probe: bool
    interpolate: float
    turned: float
    teacher: str | None
    teaching: float
    hidden: tuple[int, ...]
    dropout: float


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What became of a training.

    out: its folder. model: the tag name@sha256[:12] of the bundle there; None after a cross-validation, which
    leaves figures. unread: how many files could not be read. facts: all else, as `train --json` tells it.
    """

    out: Path
    model: str | None
    unread: int
    facts: Mapping[str, Any] = field(repr=False)


def train(
    data: PathLike,
    out: PathLike,
    *,
    target: Paths | None = None,
    patient: str | None = None,
    recipe: str | None = None,
    adapt: PathLike | None = None,
    split: PathLike | None = None,
    split_column: str | None = None,
    hold_out: Paths | None = None,
    folds: int | str | None = None,
    rare: str | None = None,
    merge_rare: str | None = None,
    audit: PathLike | None = None,
    corrections: PathLike | None = None,
    cache: PathLike | None = None,
    resume: bool = False,
    device: str = "auto",
    workers: int | None = None,
    graph: bool = True,
    reporter: TrainingReporter = _SILENT,
    **settings: Unpack[RecipeSettings],
) -> TrainingResult:
    """Train a model on labelled images and write it as a bundle into `out`.

    Does what `dicomsort train` does with the option of the same name, in this process; files are read in
    worker processes. After Ctrl-C the same call with `resume=True` continues after the last whole epoch.

    data: a CSV with a column `file`, or a folder with one folder per class. target: the column of labels, or
    several. recipe: a paper's settings, by name. settings: what differs from the recipe, by the fields of
    `training.recipe.Recipe`, such as epochs=5. hold_out: `COLUMN=VALUE`, or several. folds: cross-validate
    instead of training one model. adapt: a model, by name or folder, whose last layer is moved instead of
    training one; then only target, patient, corrections, cache, device, workers, reporter and seed count.
    rare: what becomes of classes too rare for the split, `refuse`, `leave-out` or `merge`; merge_rare: the
    class into which they go. cache: folder of decoded pictures, None for `cache` beside `out`.
    graph: whether to write graph.onnx, for processors without PyTorch. reporter: told of warnings, files that
    could not be read, and every epoch.

    Raises UsageError, TargetError or ModelError; TypeError for a setting that there is not.
    """
    check_is_no_worker()
    given: dict[str, Any] = {**settings, "workers": workers}
    check_all(given, _RANGES)
    store = Path(cache) if cache is not None else Path(out).resolve().parent / "cache"
    said = None if folds is None else str(folds)
    rule = RareRule.of(rare, merge_rare)
    division = SplitOptions(_path(split), split_column, texts(hold_out), said, rule)
    division.check()
    if adapt is not None:
        others: dict[str, Any] = {
            "recipe": recipe, "split": split, "split_column": split_column, "hold_out": hold_out,
            "folds": folds, "rare": rare, "merge_rare": merge_rare, "audit": audit, "resume": resume,
        }  # fmt: skip
        check_alone({**settings, **others})
        return _adapted(
            Adaptation(
                bundles.load(bundles.locate(os.fspath(adapt))), Path(data), Path(out), store, texts(target),
                patient, _path(corrections), workers, settings.get("seed", 0), choose_device(device),
                reporter,
            )
        )  # fmt: skip
    made = make_recipe(recipe, dict(settings))
    run_folder.check_audit(_path(audit), said, Path(out))
    with run_folder.prepared(Path(out), resume, store, _path(audit)), ranks(device) as mine:
        run = TrainingRun(
            Path(data), Path(out), store, made, mine, texts(target), division, workers, resume,
            _path(corrections), patient, reporter if mine.is_main else _SILENT, graph,
        )  # fmt: skip
        with run_folder.alone(Path(out)) if mine.is_main else nullcontext():
            facts, unread = run.train() if folds is None else run.cross_validate(_path(audit))
    return TrainingResult(Path(out), facts.get("model"), unread, facts)


def _adapted(job: Adaptation) -> TrainingResult:
    with run_folder.prepared(job.out, False, job.cache_folder), run_folder.alone(job.out):
        facts, unread = job.run()
    return TrainingResult(job.out, facts.get("model"), unread, facts)


def _path(path: PathLike | None) -> Path | None:
    return None if path is None else Path(path)
