"""An output folder as a test wants it: files, and what is said of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from written import write_dicom

from dicomsort.export.annotate import Annotated, AnnotateSettings, annotate
from dicomsort.export.kinds import Kind
from dicomsort.inputs import sources
from dicomsort.manifest.rows import Row
from dicomsort.manifest.run_file import RunFacts
from dicomsort.manifest.table import Manifest, Told
from dicomsort.model.heads import Decision
from dicomsort.outcome import Header, Reviewed, Status
from dicomsort.system.pool_settings import PoolSettings

LABELS = ("chest", "hand", "lumbar_spine", "others")
VIEWS = ("frontal", "lateral", "oblique")
MODELS = "router@0123456789ab+view@ba9876543210"
_ANSWERS = (
    *(f"score_{label}" for label in LABELS),
    *("view.label", "view.confidence", *(f"view.score_{view}" for view in VIEWS)),
)


@dataclass(frozen=True)
class Says:
    """What models, and perhaps a person, say of a file."""

    label: str = "chest"
    confidence: float = 0.99
    view: str = "frontal"
    view_confidence: float = 0.99
    person: str = ""
    status: Status = Status.SORTED
    reasons: tuple[str, ...] = ()


CHEST, HAND, NONE, SIDE = "chest.dcm", "hand.dcm", "none.dcm", "side.dcm"
_CR = "1.2.840.10008.5.1.4.1.1.1"
SAID = {
    CHEST: Says("chest", view="frontal"),
    HAND: Says("chest", view="frontal"),
    NONE: Says("hand", view="lateral"),
    SIDE: Says("lumbar_spine", view="frontal", view_confidence=0.5),
}


def output(folder: Path, said: dict[Path, Says]) -> Path:
    """Write the manifest of an output folder in which nothing is placed."""
    run = RunFacts({"model": MODELS, "roots": [str(folder / "nowhere")]}, {"dry_run": True})
    with Manifest.open(str(folder), _ANSWERS, MODELS, run, Told()) as manifest:
        manifest.append([_row(path, says) for path, says in said.items()])
    return folder


def four_files(folder: Path) -> Path:
    """An output of four files of two studies: right, called a hand, without tags, and called LSPINE."""
    words = {
        CHEST: {"BodyPartExamined": "CHEST", "ViewPosition": "PA", "StudyInstanceUID": "2.25.10"},
        HAND: {"BodyPartExamined": "HAND", "ViewPosition": "LL", "StudyInstanceUID": "2.25.10"},
        NONE: {"StudyInstanceUID": "2.25.20"},
        SIDE: {"BodyPartExamined": "LSPINE", "StudyInstanceUID": "2.25.20"},
    }
    said = {}
    for number, (name, elements) in enumerate(words.items(), 1):
        uids = {"SOPInstanceUID": f"2.25.{number}", "SeriesInstanceUID": f"2.25.10{number}"}
        path = write_dicom(folder / "in" / name, SOPClassUID=_CR, Modality="CR", **uids, **elements)
        said[path] = SAID[name]
    return output(folder / "out", said)


def run(out: Path, kind: Kind = Kind.INSTANCES, **changes: Any) -> Annotated:
    """Annotate an output into `copies` beside it, with one worker."""
    settings = {"folder": str(out.parent / "copies"), "pool": PoolSettings(1), **changes}
    return annotate(str(out), AnnotateSettings(kind, **settings))


def _row(path: Path, says: Says) -> Row:
    return Row(
        path=str(path),
        status=says.status,
        reasons=says.reasons,
        label=says.label,
        confidence=says.confidence,
        header=_header(path),
        scores=_scores(LABELS, says.label, says.confidence),
        further=(Decision(says.view, says.view_confidence, _scores(VIEWS, says.view, says.view_confidence)),),
        stamp=sources.stamp_of(str(path)),
        reviewed=Reviewed(says.person, "somebody", "2026-01-01T00:00:00Z") if says.person else None,
    )


def _header(path: Path) -> Header:
    with sources.local(str(path)) as here:
        dataset = pydicom.dcmread(here.file, stop_before_pixels=True, force=True)
    sop, study, series = (str(dataset.get(f"{level}InstanceUID", "")) for level in ("SOP", "Study", "Series"))
    return Header(sop, study, series)


def _scores(labels: Sequence[str], label: str, confidence: float) -> tuple[float, ...]:
    rest = (1 - confidence) / (len(labels) - 1)
    return tuple(confidence if one == label else rest for one in labels)
