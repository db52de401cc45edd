"""Figures as pictures: confusion, ROC, precision against recall, reliability; PNG and SVG."""

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from dicomsort.evaluation.metrics import BINS, Metrics, Predictions, bins_of
from dicomsort.evaluation.operating import LabelPoints, Point

_MOST_NAMED, _MOST_POINTS = 12, 1000
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito 2008, Color Universal Design: told apart by the color-blind too."""
_STYLES = ("-", "--")
_MARKS = ("o", "s", "D", "^", "v", "P", "X", "*")
_GRAY, _PALE = "#555555", "#BBBBBB"
_DPI = 110

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Drawing:
    """A plot. name: for its file; title: in words; width: of the PNG in pixels."""

    name: str
    title: str
    png: bytes
    svg: bytes
    width: int


def draw(
    predictions: Predictions, figures: Metrics, points: Sequence[LabelPoints] = ()
) -> tuple[Drawing, ...]:
    """Draw a model's predictions for one target. points: what is marked on the curves."""
    return (
        _confusion(figures),
        _curves("roc", predictions, figures, points),
        _curves("precision_recall", predictions, figures, points),
        _reliability(predictions, figures),
    )


def _drawing(name: str, title: str, figure: Figure) -> Drawing:
    """Write the same bytes for the same figures: without date, and with ids that are not random."""
    png, svg = io.BytesIO(), io.BytesIO()
    with warnings.catch_warnings(), mpl.rc_context({"svg.hashsalt": name}):
        warnings.simplefilter("ignore")  # a letter that the font does not have is a box
        figure.savefig(png, format="png", metadata={"Software": None})
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    width = round(figure.get_figwidth() * figure.dpi)
    return Drawing(name, title, png.getvalue(), svg.getvalue(), width)


def _blank(width: float, height: float, rows: Sequence[float] = (1,)) -> tuple[Figure, list[Any]]:
    """Make an empty figure, in inches, with panels below one another."""
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(rows), 1, squeeze=False, sharex=len(rows) > 1, height_ratios=list(rows))
    return figure, list(panels[:, 0])


def _confusion(figures: Metrics) -> Drawing:
    """Draw counts and shares: of each truth, or for multilabel of those with a label and those without."""
    counts, shares, columns = _cells(figures)
    k, across = counts.shape
    roomy = across <= _MOST_NAMED
    text, cell = (9, 0.95) if across <= 6 else (7, 0.68 if roomy else 0.42)
    longest = max(map(len, (*figures.labels, *columns)))
    width = max(4.5, cell * across + 0.08 * longest + 1.4)
    height = max(3.0, (0.6 * cell if roomy else 0.3) * k + 0.06 * longest + 1.3)
    figure, (panel,) = _blank(width, height)
    drawn = panel.imshow(np.nan_to_num(shares), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(k, across):
        share = shares[row, column]
        words = f"{counts[row, column]}"
        if roomy and not np.isnan(share):
            words += f"\n{100 * share:.1f} %"
        elif not roomy and words == "0":
            continue
        ink = "white" if share > 0.55 else "black"
        panel.text(column, row, words, ha="center", va="center", fontsize=text, color=ink)
    several = figures.kind == "multilabel"
    level = several or across <= 3 or (longest <= 9 and roomy)
    slanted = {} if level else {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
    panel.set_xticks(range(across), columns, fontsize=text, parse_math=False, **slanted)
    panel.set_yticks(range(k), figures.labels, fontsize=text, parse_math=False)
    panel.set_xlabel("of the images with the label, and without" if several else "answer")
    panel.set_ylabel("label" if several else "truth")
    figure.colorbar(drawn, ax=panel, label="share of these images" if several else "share of the row")
    title = "Confusion of each label" if several else "Confusion"
    panel.set_title(title)
    return _drawing("confusion", title, figure)


def _cells(figures: Metrics) -> tuple[NDArray[np.int64], NDArray[np.float64], tuple[str, ...]]:
    """Return counts, shares (NaN of nothing) and the names of the columns."""
    counts = np.array(figures.confusion, np.int64)
    with np.errstate(invalid="ignore"):
        if figures.kind != "multilabel":
            return counts, counts / counts.sum(axis=1, keepdims=True), figures.labels
        counts = counts[:, [3, 2, 1, 0]]
        sides = counts.reshape(-1, 2, 2)
        shares = (sides / sides.sum(axis=2, keepdims=True)).reshape(-1, 4)
    return counts, shares, ("found", "missed", "wrongly\nchosen", "rightly\nleft out")


def _curves(name: str, predictions: Predictions, figures: Metrics, points: Sequence[LabelPoints]) -> Drawing:
    """Draw a curve for each label that has one; of many labels the worst have colors and names."""
    roc = name == "roc"
    key, curve_of = ("auc", _roc) if roc else ("ap", _precision_recall)
    curves = [(label, figures.per_class[label][key].value, *pair)
              for label, pair in _each(predictions, figures, key, curve_of)]  # fmt: skip
    figure, (panel,) = _blank(5.6, 4.9 if len(curves) <= 6 else 5.6)
    named = {label for label, *_ in sorted(curves, key=lambda curve: curve[1])[:_MOST_NAMED]}
    looks = [(color, style) for style in _STYLES for color in _COLORS]
    for label, value, x, y in sorted(curves, key=lambda curve: (curve[0] in named, curve[1])):
        if label not in named:
            panel.plot(x, y, color=_PALE, linewidth=0.8)
            continue
        color, style = looks.pop(0)
        panel.plot(x, y, color=color, linestyle=style, linewidth=1.6, label=f"{label} {value:.3f}")
        _mark(panel, [point for one in points if one.label == label for point in one.points], roc, color)
    if roc and curves:
        panel.plot([0, 1], [0, 1], color=_GRAY, linewidth=0.8, linestyle=":")
    panel.set_xlim(-0.01, 1.01)
    panel.set_ylim(-0.01, 1.01)
    panel.set_xlabel("false positive rate" if roc else "recall")
    panel.set_ylabel("true positive rate" if roc else "precision")
    panel.grid(color="#DDDDDD", linewidth=0.6)
    words = "ROC, area under it" if roc else "Precision and recall, average precision"
    mean = figures.overall[f"{key}_{'positive' if predictions.kind == 'binary' else 'macro'}"].value
    several = len(curves) > 1
    panel.set_title(f"{words}{'' if np.isnan(mean) else f' {mean:.3f}'}{' (macro)' * several}", fontsize=11)
    if curves:
        title = f"the {_MOST_NAMED} worst of {len(curves)}" if len(curves) > _MOST_NAMED else None
        _name_marks(panel, points)
        legend = panel.legend(loc="lower right" if roc else "lower left", fontsize=8, title=title)
        for text in legend.get_texts():
            text.set_parse_math(False)
    else:
        panel.text(0.5, 0.5, "needs images with and without a label", ha="center")
    return _drawing(name, "ROC curves" if roc else "Precision and recall", figure)


def _mark(panel: Any, points: Sequence[Point], roc: bool, color: str) -> None:
    """Mark operating points on a curve: where they lie by the figures of the images measured."""
    for mark, point in zip(_MARKS, points, strict=False):
        figures = point.figures
        place = (
            (1 - figures["specificity"].value, figures["sensitivity"].value)
            if roc
            else (figures["sensitivity"].value, figures["ppv"].value)
        )
        if not np.isnan(place).any():
            panel.plot(*place, mark, color=color, markersize=7, markeredgecolor="black", zorder=3)


def _name_marks(panel: Any, points: Sequence[LabelPoints]) -> None:
    named = max((one.points for one in points), key=len, default=())
    for mark, point in zip(_MARKS, named, strict=False):
        panel.plot([], [], mark, color="white", markersize=6, markeredgecolor="black", label=point.name)


def _each(
    predictions: Predictions, figures: Metrics, key: str, curve_of: Callable[[Any, Any], Curve]
) -> Iterator[tuple[str, Curve]]:
    """Make the curve of each label that has one; of two labels that exclude each other the second's."""
    for index, label in enumerate(predictions.labels):
        if predictions.kind == "binary" and index == 0:
            continue
        if np.isnan(figures.per_class[label][key].value):
            continue
        several = predictions.kind == "multilabel"
        relevant = predictions.truth[:, index] if several else predictions.truth == index
        yield label, curve_of(relevant, predictions.scores[:, index])


def _roc(relevant: NDArray[np.bool_], scores: NDArray[np.float64]) -> Curve:
    x, y, _ = roc_curve(relevant, scores)
    return _thinned(x, y)


def _precision_recall(relevant: NDArray[np.bool_], scores: NDArray[np.float64]) -> Curve:
    """Return recall and precision, as the steps that average precision adds up."""
    precision, recall, _ = precision_recall_curve(relevant, scores, drop_intermediate=True)
    x, y = _thinned(recall[::-1], precision[::-1])
    return np.repeat(x, 2)[:-1], np.repeat(y, 2)[1:]


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> Curve:
    if len(x) <= _MOST_POINTS:
        return x, y
    kept = np.unique(np.linspace(0, len(x) - 1, _MOST_POINTS).astype(np.int64))
    return x[kept], y[kept]


def _reliability(predictions: Predictions, figures: Metrics) -> Drawing:
    """Draw how often predictions of a confidence are right, and how many there are (multilabel: of each)."""
    several = predictions.kind == "multilabel"
    if several:
        confidence, hit = predictions.scores.ravel(), predictions.truth.ravel()
    else:
        confidence = np.take_along_axis(predictions.scores, predictions.chosen[:, None], axis=1)[:, 0]
        hit = predictions.truth == predictions.chosen
    edges = np.linspace(0, 1, BINS + 1)
    place = bins_of(confidence)
    counts = np.bincount(place, minlength=BINS)
    filled = counts > 0
    share = np.bincount(place, hit, BINS)[filled] / counts[filled]
    sure = np.bincount(place, confidence, BINS)[filled] / counts[filled]
    figure, (panel, below) = _blank(5.6, 5.4, (3, 1))
    panel.bar((edges[:-1] + edges[1:])[filled] / 2, share, 0.92 / BINS, color="#A6CEE3", label="right")
    panel.plot([0, 1], [0, 1], color=_GRAY, linewidth=0.8, linestyle=":", label="as sure as right")
    panel.plot(sure, share, "o-", color=_COLORS[1], markersize=4, linewidth=1.2, label="mean of the bin")
    panel.set_xlim(0, 1)
    panel.set_ylim(0, 1.02)
    panel.set_ylabel("share with the label" if several else "share of right answers")
    panel.legend(loc="upper left", fontsize=8)
    panel.set_title(
        f"Reliability, expected calibration error {figures.overall['ece'].value:.3f}", fontsize=11
    )
    below.bar((edges[:-1] + edges[1:]) / 2, counts, 0.92 / BINS, color=_GRAY)
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    below.set_ylabel("scores" if several else "images")
    below.set_xlabel("score of the label" if several else "confidence")
    return _drawing("reliability", "Reliability", figure)
