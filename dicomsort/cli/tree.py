"""What `export --to png` does: labelled data as a tree of pictures."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dicomsort.cli import console, progress
from dicomsort.errors import ExitCode, UsageError
from dicomsort.export.datasets.settings import Picture
from dicomsort.system.pool_settings import PoolSettings
from dicomsort.system.starting import warm_up
from dicomsort.system.telling import counted

if TYPE_CHECKING:
    from dicomsort.data.dataset import Data
    from dicomsort.data.tree import Tree

_PARTS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class TreeOptions:
    """What was asked for. split: as typed, a file or nothing. size: 0 for all pixels."""

    out: Path
    target: str | None
    patient: str | None
    split: str | None
    split_column: str | None
    seed: int
    size: int
    image: Picture
    dry_run: bool
    pool: PoolSettings


def make(data: Path, asked: TreeOptions, quiet: bool, json: bool) -> ExitCode:
    """Make the tree and tell of it; return the exit code. Raises UsageError or TargetError."""
    from dicomsort.data import dataset, parts, reviewed, tree  # noqa: PLC0415
    from dicomsort.data.targets import heads_of  # noqa: PLC0415

    if reviewed.is_output(data):
        raise UsageError(
            f"'{data}' is an output: --to png is for labelled data, --to imagefolder for outputs"
        )
    if asked.image is not Picture.PNG8:
        raise UsageError(
            f"--image {asked.image} is for outputs: --to png writes 8 bits, as training sees them"
        )
    _check_places(data, asked.out)
    file = _split_file(asked)
    targets = (asked.target,) if asked.target else ()
    warm_up()
    found = dataset.load(
        data, dataset.Columns(targets, part=asked.split_column, patient=asked.patient), pool=asked.pool
    )
    (head,) = heads_of(found.samples, targets)
    split = parts.split_of(found, targets, file, asked.seed)
    _report_before(found, asked, given=file is not None)
    settings = tree.TreeSettings(asked.out, asked.size or None, asked.dry_run, asked.pool)
    with progress.counting("images", len(found.samples), quiet or json) as count:
        done = tree.export(found, head, split, settings, count)
    if json:
        console.print_json({**done.as_dict(), "dry_run": asked.dry_run, "out": console.plain(str(asked.out))})
    elif not quiet:
        _tell(done, asked, head.name)
    console.report_failures(list(done.unread))
    return done.exit_code


def _split_file(asked: TreeOptions) -> Path | None:
    """Return the split that is given as a file; labelled data have no shares to choose."""
    if asked.split is None:
        return None
    if asked.split_column is not None:
        raise UsageError("--split and --split-column exclude each other; give one")
    if not Path(asked.split).is_file():
        raise UsageError(
            f"--split '{asked.split}' is no file: with --to png give a CSV sha256,part, such as a model's "
            "split.csv, or leave it out to divide as train does (0.7/0.15/0.15)"
        )
    return Path(asked.split)


def _check_places(data: Path, out: Path) -> None:
    """Raise UsageError for a tree that lies among its own sources."""
    if data.is_dir() and out.resolve().is_relative_to(data.resolve()):
        raise UsageError(f"--out '{out}' lies in '{data}': choose a folder outside")


def _report_before(found: "Data", asked: TreeOptions, given: bool) -> None:
    from dicomsort.data import caveats  # noqa: PLC0415
    from dicomsort.data.table import NONE  # noqa: PLC0415
    from dicomsort.data.targets import contradictions  # noqa: PLC0415

    console.report_lines(found.remarks)
    if twice := contradictions(found.samples):
        what = counted(twice, "image has", "images have")
        console.report_lines([f"warning: {what} different labels in different rows, and a picture for each"])
    given = given or any(sample.part for sample in found.samples)
    if not found.has_patients and not given and asked.patient != NONE:
        console.report_lines([caveats.DIVIDED])


def _tell(done: "Tree", asked: TreeOptions, target: str) -> None:
    labels = sorted({label for _, label in done.counts})
    rows = [[label, *(str(done.counts.get((part, label), 0)) for part in _PARTS)] for label in labels]
    console.table("pictures", ["class", *_PARTS], rows, right=(1, 2, 3))
    would = "would be " if asked.dry_run else ""
    line = f"{counted(done.written, 'picture')} {would}written, {done.there} already there"
    console.info(line + f"; {done.repeated} rows repeat another one's picture" * bool(done.repeated))
    if done.crossing:
        console.info(
            f"warning: {counted(done.crossing, 'patient is', 'patients are')} on two sides of this split"
        )
    if not asked.dry_run:
        words = ["dicomsort", "train", str(asked.out / "labels.csv"), "--target", target]
        console.info(f"to go on: {shlex.join(words)} --split-column part --out MODEL")
