"""A row of the manifest, typed, on its way out."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dicomsort import __version__
from dicomsort.manifest.columns import BETWEEN, HEADER, join_reasons, region_cells, reviewed_cells
from dicomsort.model.anatomy import Region
from dicomsort.model.heads import Decision
from dicomsort.outcome import Facts, FileStamp, Header, Reviewed, Status
from dicomsort.system.escaping import cell, escape

if TYPE_CHECKING:
    from dicomsort.manifest.records import Record

_REJECT_DIGITS = 4  # of a float32 beyond 10, whose last bits depend on the batch and the threads


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the manifest, to be written.

    destination: relative to the output folder. scores: one per label. further: what the model's other heads
    say, and other models. rotation: by how many degrees, clockwise, it is seen turned. pixel_label,
    pixel_confidence: what the pixels alone say. evidence: the facts of the header that were weighed.
    region: of the body, that the image shows. scope: `study` where the whole study was answered.
    pixel_digest: see `pixel_source.pixel_digest`.
    sha256: of the bytes that were placed and read again, in hex. reviewed: what a person decided. kept: the
    row of an earlier file of this name, which was moved and stays in the output.
    """

    path: str
    status: Status
    reasons: tuple[str, ...] = ()
    label: str = ""
    confidence: float | None = None
    action: str = ""
    destination: str = ""
    duplicate_of: str = ""
    header: Header = field(default_factory=Header)
    scores: tuple[float, ...] = ()
    further: tuple[Decision, ...] = ()
    reject_score: float | None = None
    rotation: int | None = None
    pixel_label: str = ""
    pixel_confidence: float | None = None
    evidence: Facts = ()
    region: Region | None = None
    stamp: FileStamp | None = None
    sha256: str = ""
    reviewed: Reviewed | None = None
    kept: "Record | None" = None
    scope: str = ""
    pixel_digest: str = ""

    def cells(
        self,
        answers: int,
        rejects: bool,
        model: str,
        rotates: bool = False,
        studies: bool = False,
        digests: bool = False,
    ) -> list[str]:
        """Return the line as text, in the order of `columns`.

        answers: how many columns of answers there are. rejects, rotates, studies, digests: whether there is
        one of a reject score, of the rotation, of the scope, and of the pixels' digest.
        """
        values = (getattr(self.header, name) for name in HEADER)
        header = ["" if value is None else str(value) for value in values]
        scores = self._answers() if self.scores else [""] * answers
        leading = [escape(self.path), self.status.value, join_reasons(self.reasons), self.label]
        places = [self.action, escape(self.destination), escape(self.duplicate_of)]
        places += reviewed_cells(self.reviewed).values()
        numbers = [
            _number(self.confidence),
            *([_number(self.reject_score, _REJECT_DIGITS)] if rejects else []),
        ]
        numbers += ["" if self.rotation is None else str(self.rotation)] * rotates
        numbers += [self.scope] * studies + [cell(self.pixel_digest)] * digests
        pixels = [cell(self.pixel_label), _number(self.pixel_confidence), cell(BETWEEN.join(self.evidence))]
        pixels += map(cell, region_cells(self.region).values())
        stamp = _stamp_cells(self.stamp)
        texts = [cell(text) for text in [*places, *header, *scores, model]]
        return [*map(cell, leading), *numbers, *pixels, *texts, *stamp, self.sha256, __version__]

    def _answers(self) -> list[str]:
        cells = [_number(score) for score in self.scores]
        for decision in self.further:
            cells += [decision.label, _number(decision.confidence), *map(_number, decision.scores)]
        return cells


def _number(value: float | None, digits: int = 6) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _stamp_cells(stamp: FileStamp | None) -> list[str]:
    return [str(stamp.size), str(stamp.mtime_ns), cell(escape(stamp.etag))] if stamp else ["", "", ""]
