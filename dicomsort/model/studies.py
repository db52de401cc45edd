"""How the images of a study become one picture: which belong together, in which order, laid out how."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from dicomsort.imaging import montage
from dicomsort.imaging.canvas import Canvas, Preprocessing

FRONTAL, LATERAL, OBLIQUE, OTHER, UNKNOWN = KINDS = ("frontal", "lateral", "oblique", "other", "unknown")
"""Kinds of view, in the order in which a study is shown. Decubitus is frontal, with a horizontal beam."""

_SPLIT = re.compile(r"[^A-Z0-9]+")
_WORDS = {
    FRONTAL: (
        "AP PA RLD LLD FRONTAL FRONT ANTEROPOSTERIOR POSTEROANTERIOR ANTERO ANTERIOR POSTERO POSTERIOR "
        "LORDOTIC CALDWELL TOWNE TOWNES ODONTOID DORSOPLANTAR PLANTODORSAL DORSOPALMAR PALMODORSAL "
        "DORSOVOLAR DP PD DV VD"
    ),
    LATERAL: (
        "LL RL LATERAL LAT LATL LLAT RLAT LATS ML LM LATEROMEDIAL MEDIOLATERAL LATEROLATERAL SAGITTAL "
        "PROFILE PROFIL SIDE SWIMMER SWIMMERS CROSS CROSSTABLE XTABLE LATERO MEDIO"
    ),
    OBLIQUE: "RLO LLO OBLIQUE OBLIQUES OBL OBLI OBLIQ RAO LAO RPO LPO MLO LMO LO RO LOBL ROBL JUDET",
}  # View Position (0018,5101), PS3.3 C.8.1.1 and C.8.11.5, and usage
_KIND_OF = {word: kind for kind, words in _WORDS.items() for word in words.split()}
_DECUBITUS = frozenset({"DECUBITUS", "DECUB"})
_NOTHING = frozenset({"UNKNOWN", "NONE", "UNSPECIFIED"})


@lru_cache(maxsize=4096)
def kind_of(view: str) -> str:
    """Return the kind of a view, one of KINDS, by its words.

    view: View Position (0018,5101) of a header, or a cell of a CSV. Words that name no known view, and words
    that name several (AP/LAT), are of another one. Models are trained on the order that this gives, so a word
    that is in the table keeps its kind.
    """
    words = [word for word in _SPLIT.split(view.upper()) if word]
    if not words or _NOTHING.issuperset(words):
        return UNKNOWN
    if not _DECUBITUS.isdisjoint(words):  # LEFT LATERAL DECUBITUS
        return FRONTAL
    kinds = {_KIND_OF[word] for word in words if word in _KIND_OF}
    if OBLIQUE in kinds:  # LATERAL OBLIQUE
        return OBLIQUE
    return kinds.pop() if len(kinds) == 1 else OTHER


class View(NamedTuple):
    """An image of a study. view: what its header or a CSV says of the view; name: its path in the data."""

    view: str
    name: str
    image: Canvas


@dataclass(frozen=True, slots=True)
class StudyRule:
    """How a model sees studies; part of its bundle.

    column: the CSV column of studies in training. views: kinds of view in the order in which they are shown;
    empty for the order of names alone. view_column: the CSV column that told views in training; None if none
    did, so that headers have. layout: one of `montage.LAYOUTS`.
    """

    column: str
    views: tuple[str, ...] = KINDS
    view_column: str | None = None
    layout: str = montage.GRID

    def __post_init__(self) -> None:
        if self.views and sorted(self.views) != sorted(KINDS):
            raise ValueError(f"the order of views must hold each of {', '.join(KINDS)} once")
        if self.layout not in montage.LAYOUTS:
            raise ValueError(f"the layout '{self.layout}' of studies is unknown")

    def order(self, view: str, name: str) -> tuple[int, str]:
        """Return the key by which the images of a study are sorted: the rank of the view's kind, the name.

        view: what the header or a CSV says of it; name: of the file, relative to the data.
        """
        return (self.views.index(kind_of(view)) if self.views else 0), name

    def joined(self, views: Iterable[View], preprocessing: Preprocessing) -> Canvas:
        """Put the images of a study on one canvas, uint8 (size, size), in whichever order they come.

        views: their canvases as they were read alone, at least one; a single one stays as it is.
        """
        images = [each.image for each in sorted(views, key=lambda each: self.order(each.view, each.name))]
        return self._laid_out(images, preprocessing) if len(images) > 1 else images[0]

    def _laid_out(self, images: Sequence[Canvas], preprocessing: Preprocessing) -> Canvas:
        return montage.laid_out(images, preprocessing, self.layout)


def by_name(column: str) -> StudyRule:
    """Return the rule of bundles of before: all views in a row, in the order of their names.

    They were trained on the order of the rows of their CSV, which nothing has recorded.
    """
    return StudyRule(column, views=(), layout=montage.ROW)


def told(rule: StudyRule | None) -> dict[str, Any]:
    """Return what a bundle tells of its rule, as JSON values; nothing of one by name."""
    return {"study": {**asdict(rule), "views": list(rule.views)}} if rule is not None and rule.views else {}


def rule_of(config: Mapping[str, Any]) -> StudyRule | None:
    """Read the rule of a bundle's config.json; None for a model of single images.

    Raises ValueError or TypeError for what is no rule.
    """
    if (given := config.get("study")) is not None:
        return StudyRule(**{**given, "views": tuple(given["views"])})
    recipe = config["training"].get("recipe")
    column = recipe.get("concat_by") if isinstance(recipe, dict) else None
    return by_name(column) if isinstance(column, str) else None
