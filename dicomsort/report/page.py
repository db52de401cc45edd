"""The report as one page of HTML that needs nothing else: no script, no link, pictures inside."""

import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dicomsort import __version__
from dicomsort.manifest.names import MANIFEST
from dicomsort.report import charts, tables
from dicomsort.report.counts import Best, Shown, share, sure
from dicomsort.report.gather import Figures, Group, Shelf
from dicomsort.report.pictures import SIDE, fair_share
from dicomsort.report.tables import Table, clipped
from dicomsort.sorting.by_hand import BY_HAND
from dicomsort.system.escaping import escape, uncell, unescape
from dicomsort.system.telling import size_told

MARK = '<meta name="generator" content="dicomsort report">'
"""What stands near the top of every report, by which a later one knows that it may take its place."""

_TEMPLATES = Path(__file__).parent / "templates"
_HISTOGRAMS = 60
_LONGEST_PATH = 300
_STAGES = {
    "walk": "finding files",
    "header": "reading headers, in workers",
    "pixels": "decoding pictures, in workers",
    "network": "the network, by the clock, all its threads added up",
    "place": "placing files",
    "wait": "the network waiting for files that had been read, by the clock",
}
_BY_CLOCK = ("network", "wait")


@dataclass(frozen=True, slots=True)
class Run:
    """What an output is, but for its manifest. run: its run.json; see `RunFile` for fixed, last and took.

    sample: of review.json. waiting: how many shards are not merged yet.
    """

    out: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    last: Mapping[str, Any] = field(default_factory=dict)
    took: Mapping[str, Any] = field(default_factory=dict)
    sample: Mapping[str, Any] = field(default_factory=dict)
    waiting: int = 0

    @property
    def roots(self) -> list[str]:
        """The folders whose files were sorted, as the system knows them."""
        roots = self.last.get("roots", self.fixed.get("roots"))
        return [unescape(root) for root in roots if isinstance(root, str)] if isinstance(roots, list) else []


@dataclass(frozen=True, slots=True)
class Strip:
    """A row of pictures, of those that could be read."""

    title: str
    pictures: Sequence[tuple[Shown, str]]


def page(figures: Figures, run: Run, pictures: Mapping[int, str]) -> str:
    """Return the page as HTML. pictures: data URIs by `Shown.at`."""
    return _environment().get_template("report.html").render(
        figures=figures,
        run=run,
        mark=MARK,
        version=__version__,
        made=_now(),
        tiles=list(_tiles(figures)),
        parts=charts.shares(figures.groups),
        classes=_classes(figures),
        histograms=_histograms(figures, run.fixed.get("review_below")),
        strips=_strips(figures, pictures),
        has_pictures=bool(pictures),
        side=SIDE,
        canvas=(charts.WIDTH, charts.HEIGHT),
        decisions=_decisions(figures),
        sample=_sample(run.sample),
        found=tables.found_tables(figures),
        further=tables.further_tables(figures),
        reasons=tables.reasons_table(figures),
        troubles=_troubles(figures),
        took=_took(run.took),
        models=list(_models(run.fixed)),
        settings=list(_settings(run)),
        versions=sorted(dict(run.last.get("versions") or {}).items()),
        next_steps=list(_next_steps(figures, run)),
    )  # fmt: skip


@lru_cache
def _environment(folder: Path = _TEMPLATES) -> Environment:
    environment = Environment(
        loader=FileSystemLoader([folder, _TEMPLATES]), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["count"] = lambda value: f"{value:,}"
    environment.filters["bytes"] = size_told
    environment.filters["path"] = lambda text: clipped(uncell(text), _LONGEST_PATH)
    environment.filters["clipped"] = clipped
    environment.filters["sure"] = sure
    environment.filters["escaped"] = escape
    return environment


def render(template: str, folder: Path = _TEMPLATES, **values: object) -> str:
    """Return another page of the same kind. folder: where its template lies, besides those of reports."""
    return _environment(folder).get_template(template).render(version=__version__, made=_now(), **values)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _tiles(figures: Figures) -> Iterator[tuple[str, str, str, str]]:
    """Yield the figures at the top: number, words, a remark, kind."""
    groups = figures.groups
    yield f"{figures.files:,}", "files found", size_told(figures.size), ""
    yield f"{figures.radiographs:,}", "radiographs", share(figures.radiographs, figures.files), ""
    for group, words, of in (
        (Group.SORTED, "sorted", figures.radiographs),
        (Group.PLANNED, "planned for their class", figures.radiographs),
        (Group.REVIEW, "in review", figures.radiographs),
        (Group.PLANNED_REVIEW, "planned for review", figures.radiographs),
        (Group.EXCLUDED, "excluded by a person", figures.files),
        (Group.DUPLICATE, "duplicates, not placed", figures.files),
        (Group.OTHER, "no radiographs", figures.files),
        (Group.TROUBLE, "troubles", figures.files),
    ):
        if groups[group]:
            yield f"{groups[group]:,}", words, share(groups[group], of), charts.kind_of(group)
    if decided := figures.decisions.count:
        yield f"{decided:,}", "decided by a person", f"{figures.decisions.changed:,} changed", ""


def _classes(figures: Figures) -> dict[str, Any]:
    """Return the table of labels, with a bar for each."""
    table = figures.tables["label"]
    groups = [group for group in Group if table.columns[group]]
    labels = tables.labels_of(figures)
    rows = [
        {
            "label": clipped(label),
            "counts": [tables.number(table[label, group]) for group in groups],
            "total": table.rows[label],
            "parts": charts.row_shares(table, label),
        }
        for label in labels
    ]
    return {"groups": groups, "rows": rows, "left": len(table.rows) - len(rows)}


def _histograms(figures: Figures, threshold: object) -> list[charts.Histogram]:
    shelves = [(label, figures.shelves.get(label)) for label in tables.labels_of(figures)]
    drawn = [
        charts.histogram(clipped(label, 40), shelf.placed, shelf.review, threshold)
        for label, shelf in shelves
        if shelf
    ]
    return [one for one in drawn if one.count][:_HISTOGRAMS]


def wanted_pictures(figures: Figures, each: int) -> list[Shown]:
    """Return the files whose pictures the page shows, no more than it can hold, and each once."""
    strips = [best for _, bests in _bests(figures) for _, best in bests]
    few = fair_share(len(strips), each)
    # first one of every strip, then the second ones: what does not fit is missing everywhere alike
    ranked = [best.ranked()[:few] for best in strips]
    in_turn = (strip[at] for at in range(few) for strip in ranked if at < len(strip))
    return list({one.at: one for one in in_turn}.values())


def _bests(figures: Figures) -> Iterator[tuple[str, list[tuple[str, Best]]]]:
    for label in tables.labels_of(figures):
        if shelf := figures.shelves.get(label):
            yield label, list(_bests_of(shelf))


def _bests_of(shelf: Shelf) -> Iterator[tuple[str, Best]]:
    yield "Surest", shelf.surest
    decided = f" ({shelf.decided:,} that people decided are left out)" if shelf.decided else ""
    yield f"Least sure of those not in review{decided}", shelf.least_sure
    yield "In review: least sure", shelf.doubtful
    yield f"Put here by people, and the model said otherwise ({shelf.moved_count:,})", shelf.moved


def _strips(figures: Figures, pictures: Mapping[int, str]) -> list[tuple[str, list[Strip]]]:
    """Return for each label its strips; a file stands once, in the first of them that has it."""
    found = []
    for label, bests in _bests(figures):
        strips, seen = [], set[int]()
        for title, best in bests:
            shown = [one for one in best.ranked() if one.at in pictures and one.at not in seen]
            seen |= {one.at for one in shown}
            if shown:
                strips.append(Strip(title, [(one, pictures[one.at]) for one in shown]))
        if strips:
            found.append((clipped(label), strips))
    return found


def _decisions(figures: Figures) -> dict[str, Any]:
    decisions = figures.decisions
    return {
        "any": bool(decisions.count or decisions.unsure),
        "count": decisions.count,
        "unsure": decisions.unsure,
        "changed": decisions.changed,
        "share": share(decisions.changed, decisions.count),
        "by": _deciders(decisions.by.rows),
        "first": clipped(decisions.first, 20),
        "last": clipped(decisions.last, 20),
        "tables": list(tables.decision_tables(figures)),
    }


def _deciders(by: Mapping[str, int]) -> str:
    """Return who has decided, in words; who moves a file by hand leaves no name."""
    people = len([name for name in by if name != BY_HAND])
    words = ["one person" if people == 1 else f"{people:,} people"] if people else []
    return " and ".join([*words, *([f"files {BY_HAND}"] if BY_HAND in by else [])])


def _sample(sample: Mapping[str, Any]) -> dict[str, Any]:
    """Return a spot check in words; empty without one."""
    if not isinstance(sample.get("answered"), int) or not sample["answered"]:
        return {}
    head = ("label", "sorted", "drawn", "answered", "right", "precision", "interval")
    told = {
        name: clipped(str(sample.get(name, "-")), 20)
        for name in ("drawn", "of", "answered", "right", "unsure")
    }
    shares = {name: tables.percent(sample.get(name)) for name in ("precision", "low", "high")}
    shares["confidence"] = tables.percent(sample.get("confidence"), "g")
    rows = tables.spot_check_rows(sample.get("labels"))
    return {**told, **shares, "table": Table("Spot check by label", head, rows) if rows else None}


def _troubles(figures: Figures) -> list[dict[str, Any]]:
    ordered = sorted(figures.troubles.items(), key=lambda each: (-each[1].count, each[0]))
    return [
        {"status": status, "reason": clipped(reason or status), "count": one.count, "first": one.first}
        for (status, reason), one in ordered
    ]


def _took(took: Mapping[str, Any]) -> dict[str, Any]:
    """Return how fast the runs were, and the seconds of each stage; empty if run.json does not tell."""
    files, seconds = took.get("files"), took.get("seconds")
    if not isinstance(files, int) or not isinstance(seconds, int | float) or seconds <= 0:
        return {}
    rows = _stages({key: s for key, s in dict(took.get("spent") or {}).items() if isinstance(s, int | float)})
    head = ("stage", "seconds", "of processor time")
    return {
        "files": files,
        "seconds": _duration(seconds),
        "rate": f"{files / seconds:,.1f}",
        "runs": took.get("runs", 1),
        "table": Table("Where the time went", head, rows) if rows else None,
    }


def _stages(spent: Mapping[str, float]) -> list[list[str]]:
    """Return the seconds of each stage, and which part they are of the processor time."""
    busy = sum(seconds for stage, seconds in spent.items() if stage not in _BY_CLOCK)
    return [
        [
            _STAGES.get(stage, clipped(stage, 40)),
            f"{seconds:,.1f}",
            "" if stage in _BY_CLOCK else share(seconds, busy),
        ]
        for stage, seconds in spent.items()
    ]


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 120 else f"{minutes} min {rest} s"


def _models(fixed: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield each model's name, SHA-256 and part: the first decides."""
    names, digests = (str(fixed.get(key, "")).split("+") for key in ("model", "model_sha256"))
    for at, name in enumerate(filter(None, names)):
        digest = digests[at] if at < len(digests) else ""
        yield name.partition("@")[0], digest, "decides" if at == 0 else "answers in columns of its own"


def _settings(run: Run) -> Iterator[tuple[str, str]]:
    """Yield the settings of the latest run, by name."""
    left_out = {"model", "model_sha256", "versions"}
    for name, value in sorted({**run.fixed, **run.last}.items()):
        if name not in left_out:
            yield clipped(str(name), 40), _setting(value)


def _setting(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return clipped(", ".join(map(str, value)), 600)
    return "-" if value is None else clipped(value if isinstance(value, str) else json.dumps(value), 600)


def _next_steps(figures: Figures, run: Run) -> Iterator[tuple[str, str]]:
    """Yield what to do next, and the command for it."""
    groups, out = figures.groups, shlex.quote(escape(run.out))
    if run.waiting:
        shards = "a shard that is" if run.waiting == 1 else f"{run.waiting:,} shards that are"
        yield f"Join {shards} not in this report yet", f"dicomsort merge {out}"
    if planned := groups[Group.PLANNED] + groups[Group.PLANNED_REVIEW]:
        plan = shlex.quote(escape(os.path.join(run.out, MANIFEST)))
        yield f"Place what is planned ({planned:,})", f"dicomsort apply {plan}"
    if groups[Group.REVIEW]:
        files = "file" if groups[Group.REVIEW] == 1 else f"{groups[Group.REVIEW]:,} files"
        yield f"Look at the {files} in review", f"dicomsort review {out}"
    if groups[Group.TROUBLE] and run.roots:
        roots = " ".join(shlex.quote(escape(root)) for root in run.roots) if len(run.roots) < 6 else "IN..."
        yield (
            "Once a trouble is mended (a share, a permission), try again, with the options as before",
            f"dicomsort classify {roots} --out {out} --retry-failed",
        )
