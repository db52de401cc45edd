"""The command that holds tags against what the pixels say."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicomsort.audit.verdicts import FAILING, Check, Severity, Verdict
from dicomsort.cli import console, progress, reporter
from dicomsort.cli.options import Json, Output, Quiet, Timeout, Workers, exit_codes
from dicomsort.cli.shown import DECISION, OUTPUT, READING
from dicomsort.errors import UsageError
from dicomsort.system.pool_settings import pool_settings

if TYPE_CHECKING:
    from dicomsort.audit.figures import Figures, Limits
    from dicomsort.audit.write import Audit

_SHOWN = 8


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(audit)


def audit(
    out: Output,
    terms: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Further terms: a CSV with the columns term and code.",
            rich_help_panel=DECISION,
        ),
    ] = None,
    descriptions: Annotated[
        bool,
        typer.Option(
            "--descriptions",
            help="Judge by study and series descriptions too; never written out.",
            rich_help_panel=DECISION,
        ),
    ] = False,
    manifest_only: Annotated[
        bool,
        typer.Option(
            "--manifest-only",
            help="Read no header again: by what the manifest holds.",
            rich_help_panel=READING,
        ),
    ] = False,
    severity: Annotated[
        Severity,
        typer.Option(
            help="The least severe findings that count for an image and a study.", rich_help_panel=DECISION
        ),
    ] = Severity.MEDIUM,
    min_confidence: Annotated[
        float,
        typer.Option(
            min=0.5,
            max=1.0,
            help="Confidence from which a tag is contradicted.",
            rich_help_panel=DECISION,
            metavar="0.5..1",
        ),
    ] = 0.9,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VERDICT[=P]",
            help="End with 3 if an image contradicts (with confidence P), or is missing or unknown; "
            "may be repeated.",
            rich_help_panel=DECISION,
        ),
    ] = None,
    new: Annotated[
        bool,
        typer.Option(
            "--new",
            help="Of --fail-on: only images that the audit before did not find so.",
            rich_help_panel=DECISION,
        ),
    ] = False,
    no_thumbnails: Annotated[
        bool, typer.Option("--no-thumbnails", help="Show no pictures.", rich_help_panel=OUTPUT)
    ] = False,
    pictures: Annotated[
        int, typer.Option(min=1, max=50, help="Pictures of each kind of conflict.", rich_help_panel=OUTPUT)
    ] = 6,
    workers: Workers = None,
    timeout: Timeout = 60.0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Hold the tags of images against what the pixels say: which are wrong, missing or unknown.

    Writes audit.csv (a row for each image), studies.csv (a row for each study) and audit.html into OUT, and
    changes nothing else. Exit codes: 0 written, 3 some headers could not be read or --fail-on is met, 5 not
    writable.

    For example:
      dicomsort audit sorted
      dicomsort audit sorted --fail-on contradicts=0.99
    """
    with exit_codes(), progress.loading(quiet or json):
        from dicomsort.audit import write as writing  # noqa: PLC0415
        from dicomsort.audit.judge import Rule  # noqa: PLC0415

        settings = writing.AuditSettings(
            Rule(min_confidence, severity),
            _limits(fail_on or [], new),
            new,
            not manifest_only,
            descriptions,
            terms,
            0 if no_thumbnails else pictures,
            pool_settings(workers, timeout),
        )
        made = writing.audit(out, settings, reporter.ConsoleReporter(quiet or json))
        if json:
            files = {what: console.plain(path) for what, path in made.files.items()}
            console.print_json({**made.figures.as_dict(), "pictures": made.pictures, "written": files})
        elif not quiet:
            _tell(made)
        _warn(made)
        raise typer.Exit(made.exit_code)


def _limits(words: list[str], new: bool) -> "Limits":
    """Read what makes an audit fail, such as `contradicts=0.9`. Raises UsageError."""
    from dicomsort.audit.figures import Limits  # noqa: PLC0415

    if new and not words:
        raise UsageError("--new goes with --fail-on")
    return Limits(dict(_limit(word) for word in words))


def _limit(word: str) -> tuple[Verdict, float]:
    name, given, least = word.partition("=")
    try:
        sure = float(least) if given else 0.0
    except ValueError:
        sure = -1.0
    if name not in FAILING or not 0 <= sure <= 1 or (given and name != "contradicts"):
        raise UsageError(
            f"--fail-on '{word}' is not known: say contradicts, contradicts=0.9, missing or unknown"
        )
    return FAILING[name], sure


def _tell(made: "Audit") -> None:
    """Print what an audit has found, and where it is."""
    figures = made.figures
    if not figures.images:
        console.info(f"{_written(made)}: there is no radiograph in this output")
        return
    verdicts = [verdict for verdict in Verdict if any(counts[verdict] for counts in figures.checks.values())]
    rows = [
        [check.value, *(str(figures.checks[check.value][verdict]) for verdict in verdicts)] for check in Check
    ]
    rows.append(["all (by --severity)", *(str(figures.verdicts[verdict]) for verdict in verdicts)])
    console.table("images by check", ["check", *verdicts], rows, right=range(1, len(verdicts) + 1))
    conflicts = [
        [check, tag, answer, str(count)]
        for (check, tag, answer), count in figures.conflicts.most_common(_SHOWN)
    ]
    if conflicts:
        console.table("most frequent conflicts", ["check", "tag", "instead", "images"], conflicts, right=(3,))
    _tell_unknown(figures)
    console.info(f"{_written(made)}: {figures.images} {'image' if figures.images == 1 else 'images'}")
    _tell_next(made)


def _written(made: "Audit") -> str:
    names = [Path(path).name for path in made.files.values()]
    return f"wrote {', '.join(names[:-1])} and {names[-1]} in {made.folder}"


def _tell_unknown(figures: "Figures") -> None:
    from dicomsort.audit.figures import unknown_terms  # noqa: PLC0415

    terms = unknown_terms(figures)
    rows = [[one.check, one.term, one.shows, str(one.images)] for one in terms[:_SHOWN]]
    if rows:
        console.table("unknown terms", ["check", "term", "mostly shows", "images"], rows, right=(3,))


def _tell_next(made: "Audit") -> None:
    """Print what to do with what was found."""
    figures, out = made.figures, shlex.quote(made.folder)
    console.info(f"to go on: open {shlex.quote(made.files['page'])} in a browser")
    if any(check == Check.BODY_PART for check, _ in figures.unknown):
        console.info(
            "to tell what unknown terms mean: a CSV with the columns term and code, and --terms FILE"
        )
    wrong = (Verdict.CONTRADICTS, Verdict.UNKNOWN, Verdict.MISSING)
    if any(figures.verdicts[verdict] for verdict in wrong):
        console.info(
            f"and if the pictures are right: dicomsort annotate {out} --as instances --out FOLDER --dry-run"
        )


def _warn(made: "Audit") -> None:
    """Print why an audit ends with exit code 3."""
    if made.figures.unread:
        console.info(
            f"{console.files(made.figures.unread)} could not be read any more: judged by the manifest"
        )
    if made.figures.failing:
        images = "1 image meets" if made.figures.failing == 1 else f"{made.figures.failing} images meet"
        console.info(f"{images} --fail-on: see the column verdict of {made.files['images']}")
