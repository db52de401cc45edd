"""The audit as one page of HTML that needs nothing else: no script, no link, pictures inside."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicomsort.audit.by_device import device_table
from dicomsort.audit.figures import Conflict, Figures, unknown_terms
from dicomsort.audit.judge import Rule
from dicomsort.audit.verdicts import Check, Severity, Verdict
from dicomsort.report.charts import Part, kind_of
from dicomsort.report.counts import Best, Shown, share
from dicomsort.report.page import render
from dicomsort.report.pictures import SIDE, fair_share
from dicomsort.report.tables import Table, across, clipped, number

MARK = '<meta name="generator" content="dicomsort audit">'
"""What stands near the top of every page, by which a later one knows that it may take its place."""

_TEMPLATES = Path(__file__).parent / "templates"
_STRIPS = 24
_ROWS = 40
_CHECKS = {
    Check.BODY_PART: "part of the body",
    Check.VIEW: "view",
    Check.LATERALITY: "side is stated",
    Check.AGE: "age",
    Check.DISPLAY: "display",
    Check.MODALITY: "modality",
}
_BUT = {Check.DISPLAY: "but", Check.MODALITY: "but the SOP class says"}


@dataclass(frozen=True, slots=True)
class Strip:
    """Pictures of one kind of conflict. but: words before the answer. count: how many images are of it."""

    check: str
    tag: str
    but: str
    answer: str
    count: int
    pictures: Sequence[tuple[Shown, str]]


def page(figures: Figures, folder: str, rule: Rule, pictures: Mapping[int, str]) -> str:
    """Return the page as HTML. folder: the output. pictures: data URIs by `Shown.at`."""
    return render(
        "audit.html",
        _TEMPLATES,
        figures=figures,
        out=folder,
        mark=MARK,
        rule=rule,
        tiles=list(_tiles(figures)),
        parts=_parts(figures),
        checks=_checks(figures),
        conflicts=_conflicts(figures),
        strips=_strips(figures, pictures),
        confusion=list(_confusion(figures)),
        devices=device_table(figures.devices),
        unknown=_unknown(figures),
        why=_why(figures),
        studies=list(_studies(figures)),
        side=SIDE,
        teachable=any(check == Check.BODY_PART for check, _ in figures.unknown),
        quoted=shlex.quote(folder),
    )


def _tiles(figures: Figures) -> Iterator[tuple[str, str, str, str]]:
    """Yield the figures at the top: number, words, a remark, kind."""
    yield f"{figures.images:,}", "images", f"{figures.studies.studies:,} studies", ""
    contradicts = figures.verdicts[Verdict.CONTRADICTS]
    high, medium = (figures.severities[severity] for severity in (Severity.HIGH, Severity.MEDIUM))
    yield (
        f"{contradicts:,}",
        "contradicted by the picture",
        f"{high:,} high, {medium:,} medium",
        "contradicts",
    )
    for verdict, words in (
        (Verdict.UNKNOWN, "with an unknown term"),
        (Verdict.MISSING, "with a tag missing"),
        (Verdict.AGREES, "agree"),
        (Verdict.NOT_JUDGED, "not judged"),
    ):
        count = figures.verdicts[verdict]
        yield f"{count:,}", words, share(count, figures.images), kind_of(verdict)
    if figures.unread:
        yield (
            f"{figures.unread:,}",
            "headers that cannot be read",
            share(figures.unread, figures.headers or 0),
            "",
        )


def _parts(figures: Figures) -> list[Part]:
    return [
        Part(verdict.value, kind_of(verdict), count, round(100 * count / figures.images, 3))
        for verdict in Verdict
        if (count := figures.verdicts[verdict])
    ]


def _checks(figures: Figures) -> Table:
    rows = [
        [words, *(number(figures.checks[check.value][verdict]) for verdict in Verdict)]
        for check, words in _CHECKS.items()
    ]
    note = "Each tag by itself, whatever its severity."
    return Table("Images by verdict", ("check", *(verdict.value for verdict in Verdict)), rows, note)


def _conflicts(figures: Figures) -> Table:
    ranked = figures.conflicts.most_common(_ROWS)
    rows = [
        [_CHECKS[Check(check)], clipped(tag), clipped(answer), f"{count:,}"]
        for (check, tag, answer), count in ranked
    ]
    left = len(figures.conflicts) - len(ranked)
    note = f"The {_ROWS} most frequent; {left:,} more kinds." if left else ""
    return Table("By kind", ("check", "tag", "instead", "images"), rows, note)


def _ranked(figures: Figures) -> list[tuple[Conflict, Best]]:
    """Return the conflicts that are shown: the most frequent, then the surest, by check."""
    ranked = sorted(figures.worst.items(), key=lambda each: _importance(figures, *each))
    order = [check.value for check in Check]
    return sorted(ranked[:_STRIPS], key=lambda each: order.index(each[0][0]))


def _importance(figures: Figures, conflict: Conflict, best: Best) -> tuple[int, float, Conflict]:
    return -figures.conflicts[conflict], -best.ranked()[0].confidence, conflict


def wanted_pictures(figures: Figures, each: int) -> list[Shown]:
    """Return the images that the page shows: the surest of the most frequent conflicts."""
    shown = _ranked(figures)
    few = fair_share(len(shown), each)
    return list({one.at: one for _, best in shown for one in best.ranked()[:few]}.values())


def _strips(figures: Figures, pictures: Mapping[int, str]) -> list[Strip]:
    found = []
    for conflict, best in _ranked(figures):
        shown = [(one, pictures[one.at]) for one in best.ranked() if one.at in pictures]
        if shown:
            check, tag, answer = conflict
            but = _BUT.get(Check(check), "but the picture shows")
            words = _CHECKS[Check(check)], clipped(tag, 60), but, clipped(answer, 60)
            found.append(Strip(*words, figures.conflicts[conflict], shown))
    return found


def _confusion(figures: Figures) -> Iterator[Table]:
    """Yield what the tags say (rows) against what the pictures show (columns)."""
    if figures.confusion:
        note = "Rows: Body Part Examined or Anatomic Region. Columns: what the picture shows."
        yield across("Part of the body: tag against picture", "tag", figures.confusion, note)
    if figures.views:
        note = "Rows: View Position or View Code. Columns: what the picture shows."
        yield across("View: tag against picture", "tag", figures.views, note)


def _unknown(figures: Figures) -> Table:
    rows = [
        [clipped(one.term), _CHECKS[Check(one.check)], f"{one.images:,}", clipped(one.shows)]
        for one in unknown_terms(figures)[:_ROWS]
    ]
    left = len(figures.unknown) - len(rows)
    note = f"The {_ROWS} most frequent; {left:,} more." if left > 0 else ""
    return Table("By images", ("term", "check", "images", "mostly shows"), rows, note)


def _why(figures: Figures) -> Table:
    rows = [
        [clipped(why or "no check is severe enough"), f"{count:,}"]
        for why, count in figures.why.most_common()
    ]
    return Table("Why images were not judged", ("reason", "images"), rows)


def _studies(figures: Figures) -> Iterator[Table]:
    found = figures.studies
    rows = [
        [verdict.value, number(found.verdicts[verdict])] for verdict in Verdict if found.verdicts[verdict]
    ]
    rows += [["with one image that does not belong", number(found.odd)]] if found.odd else []
    yield Table("Studies by their worst image", ("verdict", "studies"), rows)
    if found.regions:
        rows = [[region, f"{count:,}"] for region, count in found.regions.most_common()]
        note = "The regions that a study manifest after IHE RAD MADO asks for; a study may show several."
        yield Table("Anatomical regions of studies", ("region", "studies"), rows, note)
