"""Data sets from Python: what `dicomsort export` does, told to a function instead of a terminal."""

import os
from collections.abc import Sequence
from enum import StrEnum
from typing import TypeVar

from dicomsort.errors import UsageError, names_missing_libraries
from dicomsort.export.datasets.dataset import Exported
from dicomsort.export.datasets.dataset import export as make
from dicomsort.export.datasets.settings import (
    SHARD_MB,
    SIZE,
    Choosable,
    DatasetSettings,
    Picture,
    Target,
    shares_of,
)
from dicomsort.library.arguments import PathLike, check_all, check_is_no_worker
from dicomsort.system.pool_settings import pool_settings
from dicomsort.system.starting import warm_up

_RANGES = {
    "seed": (0, float("inf")),
    "size": (1, 1 << 16),
    "shard_size": (1, float("inf")),
    "workers": (1, 4096),
    "timeout": (0.1, 86400),
}
_Named = TypeVar("_Named", bound=StrEnum)


@names_missing_libraries()
def export_dataset(
    out: PathLike,
    dataset: PathLike,
    *,
    to: str = "imagefolder",
    labels: Sequence[str] = (),
    where: str | None = None,
    status: Sequence[str] = ("sorted",),
    split: str = "0.8/0.1/0.1",
    seed: int = 0,
    image: str = "png8",
    size: int | None = SIZE,
    shard_size: int = SHARD_MB,
    uids: bool = False,
    key: PathLike | None = None,
    dry_run: bool = False,
    workers: int | None = None,
    timeout: float = 60.0,
) -> Exported:
    """Make a data set of an output, as `dicomsort export` does with the options of the same name.

    The same call again does only what is missing, also after an exception or Ctrl-C.

    out: an output folder, or its manifest.csv. dataset: a new folder. to: parquet, imagefolder, webdataset or
    croissant. size: of the longer side in pixels, None for all. shard_size: in MB. workers: reading
    processes, None for one a processor. timeout: seconds that one file may take.

    Raises UsageError, NothingFoundError if no image is chosen, or TargetError. Files that cannot be read
    raise nothing: the result lists them, and its `exit_code` tells of them.
    """
    check_is_no_worker()
    limits = {"seed": seed, "size": size, "shard_size": shard_size, "workers": workers, "timeout": timeout}
    check_all(limits, _RANGES)
    settings = DatasetSettings(
        _named(Target, "to", to), os.fspath(dataset), tuple(labels), where,
        tuple(_named(Choosable, "status", one) for one in status), shares_of(split), seed,
        None if key is None else os.fspath(key), uids, _named(Picture, "image", image), size,
        shard_size << 20, dry_run, pool=pool_settings(workers, timeout),
    )  # fmt: skip
    warm_up()
    return make(os.fspath(out), settings)


def _named(kind: type[_Named], argument: str, name: str) -> _Named:
    try:
        return kind(name)
    except ValueError as error:
        raise UsageError(f"{argument}='{name}' is unknown: use {', '.join(kind)}") from error
