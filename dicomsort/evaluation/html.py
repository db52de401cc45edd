"""One page of HTML that needs nothing else: no script, no link, pictures inside."""

import base64
import html
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from dicomsort import __version__
from dicomsort.data.dataset import Sample, read_all
from dicomsort.evaluation.evaluate import Evaluation, Measured, Mistake, worst
from dicomsort.evaluation.predictions import EvalSettings
from dicomsort.evaluation.tables import Table, point_tables, tables_of
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.outcome import Failure
from dicomsort.system.escaping import escape

if TYPE_CHECKING:
    from dicomsort.evaluation.plots import Drawing

_THUMBNAIL = 160
_MOST_LISTED = 50
_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:1150px;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:.5em 0 1.5em;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding:.3em 0}
th,td{padding:.25em .7em;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
.scroll{overflow-x:auto}
.plots,.mistakes{display:flex;flex-wrap:wrap;gap:1em}
.plots img{max-width:100%;height:auto}
figure{margin:0}
.mistakes figure{width:160px;font-size:12px;overflow-wrap:anywhere}
.mistakes img{background:#000;display:block}
.warning{color:#8a3b00}
h1,h2,h3,p{overflow-wrap:anywhere}
"""


@dataclass(frozen=True, slots=True)
class Page:
    """What stands on the page. lines: a paragraph each. sections: HTML, one for each model."""

    title: str
    introduction: str
    lines: Sequence[str]
    tables: Sequence[Table]
    sections: Sequence[str]


def page(shown: Page) -> str:
    """Return the page as HTML."""
    parts = [
        f"<h1>{_text(shown.title)}</h1>",
        f"<p>{_text(shown.introduction)}</p>",
        *map(_line, shown.lines),
        *map(_table, shown.tables),
        *shown.sections,
        f"<p>Made by dicomsort {_text(__version__)}. File names and pictures may identify a person.</p>",
    ]
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return "\n".join([
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        f"<title>dicomsort eval</title><style>{_STYLE}</style></head><body>",
        *parts,
        "</body></html>\n",
    ])  # fmt: skip


def _text(text: str) -> str:
    return html.escape(text, quote=True)


def _line(line: str) -> str:
    kind = ' class="warning"' if line.startswith("warning") else ""
    return f"<p{kind}>{_text(line)}</p>"


def _table(table: Table) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in table.columns)
    rows = "".join(f"<tr>{''.join(f'<td>{_text(text)}</td>' for text in row)}</tr>" for row in table.rows)
    caption = f"<caption>{_text(table.title)}</caption>"
    return f'<div class="scroll"><table>{caption}<tr>{head}</tr>{rows}</table></div>'


def section(
    name: str, one: Evaluation, drawn: Mapping[str, "Sequence[Drawing]"], settings: EvalSettings
) -> str:
    """Write a model's part of the page; the files of its worst mistakes are read again."""
    parts = [f"<h2>{_text(name)}</h2>"]
    for measured in one.measured:
        parts.append(f"<h3>{_text(measured.question.target)}: {len(measured.known)} images</h3>")
        classes, overall, *others = tables_of(measured)
        parts += [_table(classes), _table(overall)]
        parts.append(f'<div class="plots">{"".join(map(_plot, drawn[measured.question.target]))}</div>')
        parts += [_table(table) for table in (*point_tables(measured), *others)]
        parts += _mistakes(measured, settings)
    if one.predicted.failures:
        rows = tuple(
            (escape(sample.name), failure.status.value, failure.reason.value)
            for sample, failure in one.predicted.failures[:_MOST_LISTED]
        )
        title = f"not read: {len(one.predicted.failures)}, of which {len(rows)} are listed"
        parts.append(_table(Table(title, ("file", "status", "reason"), rows)))
    return "\n".join(parts)


def _plot(drawing: "Drawing") -> str:
    title = _text(drawing.title)
    return f'<img alt="{title}" width="{drawing.width}" src="{_data("png", drawing.png)}">'


def _data(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _mistakes(measured: Measured, settings: EvalSettings) -> Iterator[str]:
    found = worst(measured)
    if not found:
        return
    pictures = _thumbnails([mistake.prediction.sample for mistake in found], settings)
    figures = "".join(_mistake(mistake, pictures.get(id(mistake.prediction.sample))) for mistake in found)
    yield "<h4>Wrong answers that the model was most sure of</h4>"
    yield f'<div class="mistakes">{figures}</div>'


def _mistake(mistake: Mistake, picture: bytes | None) -> str:
    shown = f'<img alt="" width="{_THUMBNAIL}" src="{_data("jpeg", picture)}">' if picture else ""
    words = (
        escape(mistake.prediction.sample.name),
        f"truth: {mistake.truth or 'none'}",
        f"answer: {mistake.label or 'none'} ({mistake.confidence:.3f})",
    )
    return f"<figure>{shown}<figcaption>{'<br>'.join(map(_text, words))}</figcaption></figure>"


def _thumbnails(samples: Sequence[Sample], settings: EvalSettings) -> dict[int, bytes]:
    """Read samples again, small: JPEG by the sample's id(); without what cannot be read any more."""
    found = {}
    for sample, reading in read_all(samples, Preprocessing(size=_THUMBNAIL), settings.pool):
        if not isinstance(reading, Failure):
            content = io.BytesIO()
            Image.fromarray(reading.image).save(content, "JPEG", quality=80)
            found[id(sample)] = content.getvalue()
    return found
