"""The commands that look at data before anybody trains on them: preview and stats."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicomsort.cli import console, progress
from dicomsort.cli.division import ConcatBy, Split, SplitColumn
from dicomsort.cli.options import (
    Data,
    Json,
    Patient,
    Quiet,
    Seed,
    Size,
    Smooth,
    Target,
    Targets,
    Timeout,
    Workers,
    exit_codes,
)
from dicomsort.cli.shown import DATA, OUTPUT, SHEET
from dicomsort.cli.views import ViewColumn
from dicomsort.errors import ExitCode, UsageError
from dicomsort.system.pool_settings import pool_settings
from dicomsort.system.telling import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dicomsort.data.dataset import Sample, Unread
    from dicomsort.data.statistics import Range, Stats, TargetStats
    from dicomsort.imaging.canvas import Canvas, Preprocessing
    from dicomsort.system.pool_settings import PoolSettings

_LARGEST_TILE = 256


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command()(preview)
    app.command()(stats)


def preview(
    data: Data,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="The PNG file to write.", rich_help_panel=OUTPUT, metavar="FILE"),
    ],
    target: Target = None,
    patient: Patient = None,
    augment: Annotated[
        str,
        typer.Option(
            help="none, light, standard or strong, and changes to it: strong,flip=0,noise=0.5.",
            rich_help_panel=SHEET,
            metavar="CHANGES",
        ),
    ] = "standard",
    images: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=200,
            help="Images to show.",
            show_default="8, or one of each class",
            rich_help_panel=SHEET,
        ),
    ] = None,
    copies: Annotated[
        int, typer.Option(min=0, max=31, help="Changed copies of each image.", rich_help_panel=SHEET)
    ] = 7,
    concat_by: ConcatBy = None,
    view_column: ViewColumn = None,
    size: Size = 224,
    smooth: Smooth = "none",
    seed: Seed = 0,
    workers: Workers = None,
    timeout: Timeout = 60.0,
    quiet: Quiet = False,
) -> None:
    """Show on one sheet what training makes of images: each original, and changed copies beside it.

    Exit codes: 0 written, 3 some of the images could not be read, 5 output not writable.

    For example:
      dicomsort preview labels.csv --target group --out sheet.png
      dicomsort preview labels.csv --target group --concat-by study --out sheet.png
    """
    with exit_codes():
        from dicomsort.data import dataset, studies  # noqa: PLC0415
        from dicomsort.data import statistics as found_in  # noqa: PLC0415
        from dicomsort.imaging import contact_sheet  # noqa: PLC0415
        from dicomsort.imaging.canvas import canvas_of  # noqa: PLC0415
        from dicomsort.training import augment as changes  # noqa: PLC0415

        _check_ending(out, ".png")
        augmentation, preprocessing = changes.Augmentation.parse(augment), canvas_of(size, smooth)
        targets = (target,) if target else ()
        rule = studies.rule_for(data, concat_by, view_column, targets)
        columns = dataset.Columns(targets=targets, patient=patient, study=rule)
        loaded = dataset.load(data, columns, pool=pool_settings(workers, timeout))
        console.report_lines(loaded.remarks)
        samples = loaded.samples
        if out.resolve() in {Path(file).resolve() for one in samples for file in (one.file, *one.views)}:
            raise UsageError(f"--out '{out}' is one of the images; choose another")
        chosen = found_in.examples(samples, images, seed)
        read, failures, remarks = _read(chosen, preprocessing, pool_settings(workers, timeout))
        console.report_lines(remarks)
        rows = [
            (_caption(sample), changes.shown(read[at], augmentation, copies, seed + at))
            for at, sample in enumerate(chosen)
            if at in read
        ]
        console.report_failures(failures)
        if not rows:
            raise UsageError("none of the chosen images can be read")
        contact_sheet.save(contact_sheet.contact_sheet(rows, min(size, _LARGEST_TILE)), out)
        if not quiet:
            console.info(f"wrote {out}: the originals are in the first column")
        if failures:
            raise typer.Exit(ExitCode.SOME_FAILED)


def _caption(sample: "Sample") -> str:
    views = f"   {1 + len(sample.views)} views" if sample.views else ""
    return f"{sample.label}{views}   {sample.name}"


def _check_ending(out: Path, ending: str) -> None:
    """Keep a slip of the hand from replacing the labels or an image."""
    if out.suffix.lower() != ending:
        raise UsageError(f"--out '{out}' must end in {ending}")


def _check_new(out: Path) -> None:
    _check_ending(out, ".json")
    if out.exists():
        raise UsageError(f"--out '{out}' exists; choose a new file")


def _check_source(source: str | None, patient: str | None) -> None:
    from dicomsort.data.dataset import names_people  # noqa: PLC0415

    if source is not None and (names_people(source) or source == patient):
        raise UsageError(f"--source {source} would name people")


def _read(
    samples: "Sequence[Sample]", preprocessing: "Preprocessing", settings: "PoolSettings"
) -> "tuple[dict[int, Canvas], list[Unread], tuple[str, ...]]":
    """Read a few samples; the images come by the place of their sample. Also says what is odd about them."""
    from dicomsort.data import caveats, dataset  # noqa: PLC0415
    from dicomsort.outcome import Failure  # noqa: PLC0415

    places = {id(sample): at for at, sample in enumerate(samples)}
    images, failures = {}, []
    remarked: list[dataset.Remarked] = []
    for sample, reading in dataset.read_all(samples, preprocessing, settings, remarked):
        if isinstance(reading, Failure):
            failures.append((sample, reading))
        else:
            images[places[id(sample)]] = reading.image
    return images, failures, caveats.lines_of(remarked)


def stats(
    data: Data,
    target: Targets = None,
    patient: Patient = None,
    source: Annotated[
        str | None,
        typer.Option(help="The CSV column that tells the sources.", rich_help_panel=DATA, metavar="COLUMN"),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            help="train, validation or test: only this part, as train divides; or the CSV column of parts.",
            rich_help_panel=DATA,
            metavar="PART|COLUMN",
        ),
    ] = None,
    split: Split = None,
    split_column: SplitColumn = None,
    seed: Seed = 0,
    size: Size = 224,
    smooth: Smooth = "none",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="JSON file to write.", rich_help_panel=OUTPUT, metavar="FILE"),
    ] = None,
    workers: Workers = None,
    timeout: Timeout = 60.0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Count what a data set holds: labels, patients, sizes, grays, duplicates, unreadable files.

    Exit codes: 0 done, 3 some files could not be read, 5 output not writable.

    For example:
      dicomsort stats labels.csv --target group --out stats.json
      dicomsort stats labels.csv --target group --part train
    """
    with exit_codes():
        from dicomsort.data import dataset, parts  # noqa: PLC0415
        from dicomsort.data import statistics as found_in  # noqa: PLC0415
        from dicomsort.imaging.canvas import canvas_of  # noqa: PLC0415

        if out is not None:
            _check_new(out)
        _check_source(source, patient)
        targets, asked = tuple(target or ()), parts.options_of(data, part, split_column, split, seed)
        columns = dataset.Columns(targets=targets, source=source, part=asked.column, patient=patient)
        preprocessing = canvas_of(size, smooth)
        loaded = dataset.load(data, columns, pool=pool_settings(workers, timeout))
        loaded = parts.divided(loaded, targets, asked)
        names = columns.targets if data.is_file() else ("label",)
        with progress.counting("reading", len(loaded.samples), quiet) as count:
            found = found_in.measure(loaded, names, preprocessing, pool_settings(workers, timeout), count)
        console.report_lines(found.remarks)
        if out is not None:
            found_in.save(found, out)
        if json:
            console.print_json(found.as_dict())
        elif not quiet:
            _report(found)
        if found.unreadable:
            if quiet or json:
                console.info(f"{found.files - found.read} of {found.files} files could not be read")
            raise typer.Exit(ExitCode.SOME_FAILED)


def _report(found: "Stats") -> None:
    for name, target in found.targets.items():
        _report_target(name, target, list(found.parts))
    if found.sources:
        rows = [[source, str(count)] for source, count in found.sources.items()]
        console.table("files by source", ["source", "files"], rows, right=(1,))
    _tell_numbers(found)
    _tell_repeats(found)
    if found.unreadable:
        lost = [[reason, str(each.files), each.first[0]] for reason, each in found.unreadable.items()]
        console.table("not read", ["why", "files", "such as"], lost, right=(1,))
    gray = found.canvas
    console.info(f"grays of the canvas, from 0 to 1: mean {gray.mean:.4f}, deviation {gray.deviation:.4f}")


def _report_target(name: str, target: "TargetStats", parts: list[str]) -> None:
    parts = parts if len(parts) > 1 else []
    rows = []
    for label, each in target.labels.items():
        patients = "-" if each.patients is None else str(each.patients)
        rows.append([label, str(each.images), patients, *(str(each.parts.get(part, 0)) for part in parts)])
    columns = [name, "files", "patients", *parts]
    console.table(f"labels of {name}", columns, rows, right=range(1, len(columns)))
    unknown = f"; {counted(target.unknown, 'file')} without a label" if target.unknown else ""
    console.info(
        f"{name}: the largest class has {target.ratio:.1f} times as many files as the smallest; as even as "
        f"{target.effective:.1f} classes of one size{unknown}"
    )


def _tell_numbers(found: "Stats") -> None:
    def row(name: str, numbers: "Range") -> list[str]:
        return [name, *(f"{number:g}" for number in (numbers.least, numbers.median, numbers.most))]

    rows = [row("rows", found.rows), row("columns", found.columns)]
    if found.patients is not None:
        rows.append(row(f"files of each of {counted(found.patients, 'patient')}", found.per_patient))
    console.table(f"{found.read} of {found.files} files", ["", "least", "median", "most"], rows, (1, 2, 3))
    whole, inner = found.canvas, found.picture
    greys = [
        [name, f"{gray.mean:.4f}", f"{gray.deviation:.4f}"]
        for name, gray in (("whole canvas", whole), ("without padding", inner))
    ]
    console.table("grays from 0 to 1", ["", "mean", "deviation"], greys, right=(1, 2))


def _tell_repeats(found: "Stats") -> None:
    repeats = found.repeats
    if not repeats.contents:
        return
    console.info(
        f"{repeats.files} files share their content with another "
        f"({counted(repeats.contents, 'content')}); of these "
        f"{repeats.across} are of several patients and {repeats.conflicts} have different labels"
    )
    for one, other in repeats.conflict_examples or repeats.examples:
        console.info(f"same content: {one} and {other}")
