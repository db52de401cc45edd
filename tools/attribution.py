"""Says where every file of the test data comes from, under which licence, and what was changed."""

import csv
from collections.abc import Iterable
from pathlib import Path

Row = tuple[str, ...]

INTRODUCTION = """\
# Where the test data comes from

`python tools/build_archive.py SHARED_FOLDER` writes `../archive/`, `broken/`, `expected.csv` and this file;
do not edit them by hand. `SHARED_FOLDER` holds `xray/` and `dicom/`. The bytes were made with imagecodecs
{imagecodecs} and pydicom {pydicom}; other versions may compress otherwise. What is in `archive/` and not
listed here is made from nothing, or from what is listed (`DICOMDIR`, and the copy in `Backup copy`).

`expected.csv` names for every file what must become of it. `label` is given where the file can be sorted.
`duplicate` stands at the file of a pair that comes second in the order of paths.

Names, dates of birth and hospitals in the files made here are canaries: they are invented, and no output of
the program may ever hold them. The pictures are those of the sources, the captions burned into them included.
"""

DATA_SETS = {
    "covid_cxnet": "A. Haghanifar et al., COVID-CXNet, 2020",
    "fracatlas": "I. Abedeen et al., FracAtlas, 2023, doi:10.1038/s41597-023-02432-4",
    "hannover": "H. B. Winther et al., COVID-19 Image Repository, Hannover Medical School, 2020, "
    "doi:10.25835/0090041",
    "kermany": "D. Kermany, K. Zhang, M. Goldbaum, Labeled OCT and Chest X-Ray Images for Classification, "
    "2018, doi:10.17632/rscbjbr9sj.2",
    "medpix": "MedPix, National Library of Medicine, by way of ImageCLEF VQA-Med 2019",
    "oai_knee": "P. Chen, Knee Osteoarthritis Severity Grading Dataset, 2018, doi:10.17632/56rmx5bjcr.1",
    "uci_shoulder_implants": "Shoulder Implant X-Ray Manufacturer Classification, UCI Machine Learning "
    "Repository, 2020",
}

NOTICES = (
    ("pydicom/pydicom", "Copyright (c) 2008-2018 Darcy Mason and pydicom contributors", "MIT"),
    ("pydicom/pydicom-data", "Copyright (c) 2020 Dicom in Python", "MIT"),
    ("pydicom/pylibjpeg-data", "Copyright (c) 2020 scaramallion", "MIT"),
    ("ImagingDataCommons/highdicom", "Copyright 2020 MGH Computational Pathology", "MIT"),
    ("cornerstonejs/cornerstoneWADOImageLoader", "Copyright 2016 Chris Hafey", "MIT"),
    ("Dashtid/dicom-fuzzer", "Copyright (c) 2024-2026 David Dashti", "MIT"),
    ("pwnlabmx/dicom-fuzzing-corpus", "Copyright (c) 2026 PWNLab", "MIT"),
    ("fo-dicom/fo-dicom", "Copyright (c) 2012-2019 fo-dicom contributors", "MS-PL"),
)


class Sources:
    """The tables of the shared folder, and whether their licences allow a file to be passed on."""

    def __init__(self, shared: Path) -> None:
        self._pictures = {Path(row["file"]).stem: row for row in _rows(shared / "xray" / "labels.csv")}
        self._files = {row["file"]: row for row in _rows(shared / "dicom" / "manifest.csv")}

    def picture(self, source: str) -> Row:
        """Source file, data set, repository and licence of a radiograph."""
        row = self._pictures[source]
        licence = row["licence"]
        if not licence.startswith(("CC BY 3.0", "CC BY 4.0")) or "unverified" in licence:
            raise ValueError(f"{source}: {licence} does not allow a copy")
        return source, row["dataset"], row["source_repo"], licence

    def file(self, source: str) -> Row:
        """Repository, path, licence and changes of a DICOM file."""
        row = self._files[source]
        licence, note = row["licence"], row["notes"]
        if licence not in ("MIT", "MS-PL", "MIT (pydicom LICENSE)"):
            raise ValueError(f"{source}: {licence} does not allow a copy")
        change = note if note.startswith(("DERIVED", "identifiers")) else "none"
        return row["source_repo"], row["source_path"], licence, change.replace("DERIVED here", "derived")


def document(
    versions: dict[str, str], made: Iterable[Row], damaged: Iterable[Row], copied: Iterable[Row]
) -> str:
    """Write the text of DATA.md."""
    parts = [
        INTRODUCTION.format(**versions),
        "## Radiographs made into DICOM\n",
        "8-bit grey WebP files, at most 384 pixels a side, stored as DICOM with invented headers; grey\n"
        "levels spread over the bits stored. Lossy syntaxes change them a little; `a0005.dcm` keeps every\n"
        "second row; the frames of `run1` are the picture moved sideways.\n",
        _table(("file", "picture", "data set", "source repository", "licence"), made),
        "## Radiographs behind the files of `broken/`\n",
        "Scaled down to at most 128 pixels a side, stored as above, then damaged as the file names say.\n",
        _table(("picture", "data set", "source repository", "licence"), damaged),
        "### Data sets\n",
        _table(("data set", "credit"), DATA_SETS.items()),
        "## DICOM files taken over\n",
        _table(("file", "source repository", "source file", "licence", "changed"), copied),
        "### Notices\n",
        "The texts of the licences are in `licences/`.\n",
        _table(("repository", "copyright", "licence"), NOTICES),
    ]
    return "\n".join(parts)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _table(heads: Row, rows: Iterable[Row]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
