"""The rows of a manifest, judged in one pass, with a row in the audit for each as it goes."""

from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from dicomsort.audit.figures import Alarm, Counting, Figures
from dicomsort.audit.headers import Headers, Wanted
from dicomsort.audit.judge import Judge, Judged
from dicomsort.audit.studies import Studies, Study
from dicomsort.audit.tables import image_cells, study_cells
from dicomsort.audit.verdicts import Verdict
from dicomsort.manifest.standing import Standing
from dicomsort.outcome import Status
from dicomsort.report.counts import Shown
from dicomsort.sorting.place import copy_or_source
from dicomsort.system.escaping import uncell, unescape
from dicomsort.system.reporting import Count

WriteRow = Callable[[Sequence[str]], object]

_IMAGES = frozenset(
    status.value
    for status in (Status.SORTED, Status.REVIEW, Status.EXCLUDED, Status.PLANNED, Status.DUPLICATE)
)
_SAMPLE = 200  # rows by which heads of several labels are told from others
_COLUMNS = ("path", "study_instance_uid", "sop_instance_uid", "destination", "action", "status")


class Images:
    """The rows of a manifest that are images, in their order; each row's cells with an empty one behind."""

    def __init__(self, manifest: Standing) -> None:
        self._manifest = manifest
        self._nowhere = len(manifest.names)
        place = {name: at for at, name in enumerate(manifest.names)}
        self._path, self._study, self._uid, self._destination, self._action, self._status = (
            place.get(name, self._nowhere) for name in _COLUMNS
        )

    def __iter__(self) -> Iterator[list[str]]:
        status = self._status
        for cells in self._manifest.rows():
            if cells[status] in _IMAGES:
                cells.append("")
                yield cells

    def sample(self) -> list[list[str]]:
        """Return the first few."""
        return list(islice(self, _SAMPLE))

    def wanted(self, out: str) -> Iterator[Wanted]:
        """Yield which headers to read: of the sources, or of what was placed where these are gone."""
        for at, cells in enumerate(self):
            if cells[self._status] == Status.DUPLICATE:
                continue
            path, destination = (unescape(uncell(cells[one])) for one in (self._path, self._destination))
            yield Wanted(at, copy_or_source(path, destination, cells[self._action], out), cells[self._uid])

    def names_of(self, cells: Sequence[str]) -> tuple[str, str]:
        """Return path and Study Instance UID of a row, as it writes them."""
        return cells[self._path], cells[self._study]

    def shown(self, at: int, cells: Sequence[str], judged: Judged) -> Shown:
        """Return how to show an image that contradicts."""
        places = cells[self._path], cells[self._destination], cells[self._action]
        return Shown(judged.verdict.confidence or 0.0, at, *places)


class Gathering:
    """Judges all images once. headers: None to go by the manifest alone."""

    def __init__(self, manifest: Standing, headers: Headers | None, figures: Figures, pictures: int) -> None:
        self._manifest, self._images, self._headers = manifest, Images(manifest), headers
        self._figures, self._counting = figures, Counting(figures, pictures)
        self._studies, self._offsets = Studies(), array("q")
        self._accessions = headers.accession_names() if headers else [""]

    def images(self, judge: Judge, alarm: Alarm, write: WriteRow, count: Count) -> None:
        """Judge every image, and write its row. alarm: what makes the audit fail."""
        headers, studies = self._headers, self._studies
        for at, cells in enumerate(self._images):
            number, accession = (headers.number(at), headers.accession(at)) if headers else (-1, 0)
            judged = judge.judge(cells, number, headers)
            path, uid = self._images.names_of(cells)
            write(image_cells(path, uid, judged, self._accessions[accession]))
            studies.add(uid, accession, judged)
            self._offsets.append(self._manifest.offset)
            self._counting.add(judged)
            self._figures.failing += alarm.rings(path, judged.verdict)
            if judged.verdict.verdict is Verdict.CONTRADICTS:
                self._counting.show(judged, self._images.shown(at, cells, judged))
            if at % 1000 == 999:
                count(1000)
        self._counting.finish()

    def studies(self, write: WriteRow) -> None:
        """Write the row of every study; after `images`."""
        for study in self._studies.all():
            odd = "" if study.odd is None else self._manifest.row_at(self._offsets[study.odd])[0]
            write(study_cells(study, self._accessions[study.accession], odd))
            self._count(study)

    def _count(self, study: Study) -> None:
        found = self._figures.studies
        found.studies += 1
        found.verdicts[study.verdict.verdict] += 1
        found.odd += study.odd is not None
        found.unshared += study.unshared
        found.regions.update({region.meaning for region in study.content.mado})
