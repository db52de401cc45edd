"""An output's tags held against its answers: audit.csv, studies.csv and audit.html, and what they tell."""

import csv
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from dicomsort.audit import headers as reading
from dicomsort.audit import page, tables
from dicomsort.audit.earlier import found_before
from dicomsort.audit.figures import Alarm, Figures, Limits
from dicomsort.audit.gather import Gathering, Images, WriteRow
from dicomsort.audit.headers import Headers
from dicomsort.audit.judge import Judge, Rule
from dicomsort.audit.terms import Terms
from dicomsort.dicom.stated import Asked
from dicomsort.errors import ExitCode, TargetError, UsageError
from dicomsort.manifest.names import AUDIT, AUDIT_PAGE, MANIFEST, OWN_FOLDER, STUDIES
from dicomsort.manifest.run_file import RunFile
from dicomsort.manifest.salt import salt_of
from dicomsort.manifest.standing import Standing, standing
from dicomsort.report.pictures import PictureSettings, read_pictures
from dicomsort.report.write import folder_of, read_settings_of, run_of
from dicomsort.system import locks
from dicomsort.system.atomic import replacing
from dicomsort.system.escaping import escape
from dicomsort.system.own_files import check_replaceable
from dicomsort.system.pool_settings import PoolSettings
from dicomsort.system.reporting import Reporter, Silent

_SILENT = Silent()
_MARKS = {AUDIT: ",".join(tables.IMAGES[:3]), STUDIES: ",".join(tables.STUDIES[:3]), AUDIT_PAGE: page.MARK}
"""What stands near the top of each file, by which a later audit knows that it may take its place."""


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """How to audit.

    limits: from which the audit fails. only_new: whether only what the audit before has not found so makes it
    fail. headers: whether to read the headers again, or to go by the manifest
    alone. descriptions: whether free text counts. terms: a CSV of further terms. each: how many pictures of a
    kind of conflict, 0 for none.
    """

    rule: Rule = field(default_factory=Rule)
    limits: Limits = field(default_factory=Limits)
    only_new: bool = False
    headers: bool = True
    descriptions: bool = False
    terms: Path | None = None
    each: int = 6
    pool: PoolSettings = field(default_factory=PoolSettings)


@dataclass(frozen=True, slots=True)
class Audit:
    """An audit that was written: in which folder, what it tells, and with how many pictures."""

    folder: str
    figures: Figures
    pictures: int

    @property
    def exit_code(self) -> ExitCode:
        """SOME_FAILED if a header could not be read, or an image reaches the limits."""
        failed = self.figures.unread or self.figures.failing
        return ExitCode.SOME_FAILED if failed else ExitCode.DONE

    @property
    def files(self) -> dict[str, str]:
        """Where what was written is: images, studies, page."""
        names = {"images": AUDIT, "studies": STUDIES, "page": AUDIT_PAGE}
        return {what: os.path.join(self.folder, name) for what, name in names.items()}


def audit(out: str, settings: AuditSettings, reporter: Reporter = _SILENT) -> Audit:
    """Audit an output folder, or that of a manifest.csv; an audit that is there is replaced.

    The output may be worked on meanwhile, but by no other audit. Raises UsageError if there is no manifest, a
    table of terms is none, or a target is a file of another kind, and TargetError if it cannot be written.
    """
    folder = folder_of(out)
    for name, mark in _MARKS.items():
        check_replaceable(os.path.join(folder, name), mark, "rename it")
    terms = Terms.load(settings.terms)
    with _alone(folder):
        return _audit(folder, terms, settings, reporter)


@contextmanager
def _alone(folder: str) -> Iterator[None]:
    """Keep other audits off an output: two would write into one file. Raises UsageError.

    Where no lock can be made, because another user has that folder, it does without.
    """
    own = os.path.join(folder, OWN_FOLDER)
    is_new = not os.path.isdir(own)
    with ExitStack() as stack:
        try:
            os.makedirs(own, mode=0o700, exist_ok=True)
            stack.callback(_leave, own, is_new)
            stack.enter_context(locks.take(own))
            stack.callback(locks.remove, own)
        except locks.BusyError as error:
            raise UsageError(f"'{escape(folder)}' is being audited already: wait for that to end") from error
        except OSError:
            pass
        yield


def _leave(own: str, is_new: bool) -> None:
    """Remove a folder that was made for the lock alone."""
    if is_new:
        with suppress(OSError):  # it holds the salt
            os.rmdir(own)


def _audit(folder: str, terms: Terms, settings: AuditSettings, reporter: Reporter) -> Audit:
    figures = Figures()
    known = found_before(folder, settings.limits) if settings.only_new else frozenset()
    alarm = Alarm(settings.limits, known)
    with standing(os.path.join(folder, MANIFEST)) as manifest:
        headers = _read_headers(manifest, folder, terms, settings, reporter) if settings.headers else None
        if headers is not None:
            figures.headers, figures.unread = headers.read, headers.failed
        images = Images(manifest)
        judge = Judge(manifest.names, images.sample(), RunFile(folder).anatomy, terms, settings.rule)
        gathering = Gathering(manifest, headers, figures, settings.each)
        with (
            _table(folder, AUDIT, tables.IMAGES) as rows,
            reporter.counting("judging", len(manifest)) as count,
        ):
            gathering.images(judge, alarm, rows, count)
        with _table(folder, STUDIES, tables.STUDIES) as rows:
            gathering.studies(rows)
    pictures = _pictures(figures, folder, settings) if settings.each else {}
    with _writing(folder, AUDIT_PAGE) as file:
        file.write(page.page(figures, folder, settings.rule, pictures))
    return Audit(folder, figures, len(pictures))


def _read_headers(
    manifest: Standing, folder: str, terms: Terms, settings: AuditSettings, reporter: Reporter
) -> Headers:
    asked = Asked(salt_of(folder), terms.wording, settings.descriptions)
    headers = Headers(len(manifest))
    with reporter.counting("reading headers", len(manifest)) as count:
        reading.read(headers, Images(manifest).wanted(folder), asked, settings.pool, count)
    return headers


def _pictures(figures: Figures, folder: str, settings: AuditSettings) -> dict[int, str]:
    making = PictureSettings(settings.each, read_settings_of(run_of(folder)), settings.pool)
    return read_pictures(page.wanted_pictures(figures, settings.each), folder, making)


@contextmanager
def _table(folder: str, name: str, columns: Sequence[str]) -> Iterator[WriteRow]:
    with _writing(folder, name) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        yield writer.writerow


@contextmanager
def _writing(folder: str, name: str) -> Iterator[IO[str]]:
    """Yield a file in the output that takes its place once it is whole. Raises TargetError."""
    path = os.path.join(folder, name)
    try:
        with replacing(path) as file:
            yield file
    except OSError as error:
        raise TargetError(f"'{escape(path)}' cannot be written: {error.strerror}") from error
