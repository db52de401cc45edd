"""What a data set is to be: which images of an output, as what, and where."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from dicomsort.dicom.sop_classes import ReadSettings
from dicomsort.errors import UsageError
from dicomsort.outcome import Status
from dicomsort.system.pool_settings import PoolSettings

PARTS = ("train", "validation", "test")
SIZE, SHARD_MB = 256, 256
DATA, OWN = "data", ".dicomsort-export"
"""The folder of Parquet shards, and that of what the program itself must know to go on."""

SAMPLES, LINES, METADATA, CROISSANT = "samples.csv", "samples.jsonl", "metadata.jsonl", "croissant.json"


class Target(StrEnum):
    """The forms of a data set."""

    PARQUET = "parquet"
    IMAGEFOLDER = "imagefolder"
    WEBDATASET = "webdataset"
    CROISSANT = "croissant"

    @property
    def has_shards(self) -> bool:
        """Whether samples stand together in files of a bounded size."""
        return self in (Target.PARQUET, Target.WEBDATASET)


class Picture(StrEnum):
    """What is given away of an image: a PNG as a person sees it, its gray values, or the DICOM file."""

    PNG8 = "png8"
    PNG16 = "png16"
    DICOM = "dicom"

    @property
    def extension(self) -> str:
        """Of the file's name."""
        return "dcm" if self is Picture.DICOM else "png"


class Choosable(StrEnum):
    """Statuses of files that may get into a data set."""

    SORTED = Status.SORTED.value
    REVIEW = Status.REVIEW.value
    PLANNED = Status.PLANNED.value


@dataclass(frozen=True, slots=True)
class DatasetSettings:
    """A data set of an output.

    folder: of the data set. labels: only these; none for all. where: see `where`. statuses: how files must
    have ended. shares: of train, validation and test, which add up to 1. seed: of the split. key: the file
    that holds the salt of the keys, None for the output's own; while a data set is made, what tells that salt
    from others. uids: whether the table has UIDs. size: of the longer side in pixels, None for all.
    shard_bytes: from which on a shard is full.
    """

    target: Target
    folder: str
    labels: tuple[str, ...] = ()
    where: str | None = None
    statuses: tuple[Choosable, ...] = (Choosable.SORTED,)
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1)
    seed: int = 0
    key: str | None = None
    uids: bool = False
    picture: Picture = Picture.PNG8
    size: int | None = SIZE
    shard_bytes: int = SHARD_MB << 20
    dry_run: bool = False
    read: ReadSettings = field(default_factory=ReadSettings)
    pool: PoolSettings = field(default_factory=PoolSettings)

    @property
    def fixed(self) -> dict[str, Any]:
        """What must not differ between the runs that fill one data set, as JSON values."""
        return {
            "to": self.target.value,
            "labels": list(self.labels),
            "where": self.where,
            "status": [status.value for status in self.statuses],
            "split": list(self.shares),
            "seed": self.seed,
            "key": self.key,
            "uids": self.uids,
            "image": self.picture.value,
            "size": None if self.picture is Picture.DICOM else self.size,
        }


def shares_of(text: str) -> tuple[float, float, float]:
    """Return the shares of train, validation and test that a text such as `0.8/0.1/0.1` names.

    Raises UsageError.
    """
    try:
        train, validation, test = (float(share) for share in text.split("/"))
    except ValueError:
        train = validation = test = -1.0
    total = train + validation + test
    if min(train, validation, test) < 0 or not 0 < total < float("inf"):
        raise UsageError(
            f"--split '{text}' is none: give the shares of train, validation and test, such as 0.8/0.1/0.1"
        )
    return train / total, validation / total, test / total
