"""One HTML file about an output folder; nothing else there is touched."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dicomsort.dicom.sop_classes import ReadSettings
from dicomsort.errors import TargetError, UsageError
from dicomsort.manifest.names import MANIFEST, REPORT, SPOT_CHECK
from dicomsort.manifest.run_file import RunFile
from dicomsort.report import page
from dicomsort.report.gather import Figures, gather
from dicomsort.report.page import MARK, Run
from dicomsort.report.pictures import PictureSettings, read_pictures
from dicomsort.sorting import shards
from dicomsort.system.atomic import replacing
from dicomsort.system.escaping import escape
from dicomsort.system.own_files import check_replaceable
from dicomsort.system.pool_settings import PoolSettings

_LARGEST_SAMPLE = 8 << 20
_ENDING = ".html"


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """What a report shows.

    target: the file, None for report.html in the output. each: pictures at each end of a class, 0 for none.
    """

    target: str | None = None
    each: int = 8
    pool: PoolSettings = field(default_factory=PoolSettings)


@dataclass(frozen=True, slots=True)
class Report:
    """A report that was written: where, how many bytes, with how many pictures, and what it tells."""

    target: str
    size: int
    pictures: int
    figures: Figures


def write(out: str, settings: ReportSettings) -> Report:
    """Write the report on an output folder, or on that of a manifest.csv; a report that is there is replaced.

    The output may be worked on meanwhile. Raises UsageError if there is no manifest, or the target is a file
    of another kind, and TargetError if it cannot be written.
    """
    folder = folder_of(out)
    target = settings.target or os.path.join(folder, REPORT)
    check_target(target)
    run = run_of(folder)
    figures = gather(os.path.join(folder, MANIFEST), settings.each)
    pictures = _pictures(figures, folder, run, settings) if settings.each else {}
    html = page.page(figures, run, pictures).encode()
    try:
        with replacing(target, "wb") as file:
            file.write(html)
    except OSError as error:
        raise TargetError(f"'{escape(target)}' cannot be written: {error.strerror}") from error
    return Report(target, len(html), len(pictures), figures)


def folder_of(out: str) -> str:
    """Return the output folder that is meant, by itself or by its manifest. Raises UsageError."""
    folder = os.path.dirname(out) or os.curdir if os.path.basename(out) == MANIFEST else out
    folder = os.path.abspath(folder)
    if not out or not os.path.isfile(os.path.join(folder, MANIFEST)):
        if out and shards.waiting(folder):
            shards.check_merged(folder)
        raise UsageError(f"'{escape(out)}' holds no {MANIFEST}: name the --out folder of a run")
    return folder


def check_target(target: str) -> None:
    """Raise UsageError if a report must not be written there: it replaces nothing but a report."""
    if not target.lower().endswith(_ENDING):
        raise UsageError(f"--out '{escape(target)}' must end in {_ENDING}")
    check_replaceable(target, MARK)


def run_of(folder: str) -> Run:
    """Return what an output is, but for its manifest. Raises UsageError if run.json is damaged."""
    file = RunFile(folder)
    waiting = len(shards.waiting(folder))
    return Run(folder, file.fixed, file.last_run, file.took, _sample_of(folder), waiting)


def _sample_of(folder: str) -> Mapping[str, Any]:
    """Return the spot check of an output; empty if there is none, or it cannot be read."""
    path = os.path.join(folder, SPOT_CHECK)
    try:
        if os.path.getsize(path) > _LARGEST_SAMPLE:
            return {}
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        sample = found["sample"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return sample if isinstance(sample, dict) else {}


def read_settings_of(run: Run) -> ReadSettings:
    """Return how a run has read its files."""
    most, captures, pictures = map(run.fixed.get, ("max_pixels", "include_secondary_capture", "pictures"))
    return ReadSettings(
        most if isinstance(most, int) else ReadSettings().max_pixels, captures is True, pictures is True
    )


def _pictures(figures: Figures, folder: str, run: Run, settings: ReportSettings) -> dict[int, str]:
    wanted = page.wanted_pictures(figures, settings.each)
    making = PictureSettings(settings.each, read_settings_of(run), settings.pool)
    return read_pictures(wanted, folder, making)
