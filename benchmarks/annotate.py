"""What annotate would write over tags planted right, wrong, missing and misspelt, and how often rightly.

    python benchmarks/annotate.py --xray XRAY [--dicom DICOM] [--part validation] [--count 600]
        [--folder FOLDER]

The films and what is planted are those of `audit.py`, where the arguments are explained. All are classified
with router5, view and bodypart as a user would. For several `--min-confidence` it counts, by what was
planted, the copies whose anatomy annotate would write, how many of these get a term that is right for what a
person sees, and the same of views. Nothing is written: `corrections` decides, as in annotate.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from audit import MISSING, MISSPELT, MODELS, RIGHT, TERMS, WRONG, Planted, plant, program, real, wrapped

from dicomsort.audit.terms import Terms
from dicomsort.dicom.elements import Tags
from dicomsort.dicom.rewrite import opened
from dicomsort.export.answers import answer_of
from dicomsort.export.corrections import VIEW_CODES, Corrections, corrections
from dicomsort.manifest.reading import ManifestRow, read_manifest
from dicomsort.manifest.run_file import RunFile

LEAST = (0.8, 0.9, 0.95, 0.98, 0.995)
LIMBS = frozenset(
    {
        *("clavicle", "shoulder", "humerus", "elbow", "forearm", "wrist", "hand", "finger"),
        *("hip", "thigh", "knee", "lower_leg", "ankle", "foot"),
    }
)
Case = tuple[Planted, ManifestRow, Tags]


def cases(copies: Sequence[Planted], out: Path) -> list[Case]:
    """Return each copy with its row and its tags."""
    rows = {row.path: row for row in read_manifest(out)}
    found = []
    for copy in copies:
        path = str(copy.path.resolve())
        if path in rows:
            with opened(path) as original:
                found.append((copy, rows[path], original.tags))
    return found


def is_right(copy: Planted, made: Corrections, tags: Tags) -> bool:
    """Return whether the copy says what a person sees: a term of one of the parts, or that it is a limb."""
    written = str(made.changes.get("BodyPartExamined", tags.body_part))
    right = {term for part in copy.film.parts for term in TERMS[part]}
    return written in right or (
        written in ("UPPERLIMB", "LOWERLIMB") and not LIMBS.isdisjoint(copy.film.parts)
    )


def count(told: Sequence[Case], out: Path, least: float) -> dict[str, Counter[str]]:
    """Count by what was planted."""
    known, terms = RunFile(str(out)).anatomy, Terms.load()
    counts: dict[str, Counter[str]] = {how: Counter() for how in (RIGHT, MISSPELT, WRONG, MISSING)}
    for copy, row, tags in told:
        one = counts[copy.how]
        one["copies"] += 1
        answer = answer_of(row, known, least)
        made = Corrections() if answer is None else corrections(answer, tags, terms)
        if "anatomy" in made.flaws:
            one["anatomy"] += 1
            one["rightly"] += is_right(copy, made, tags)
        if "view" in made.flaws and copy.film.view:
            one["view"] += 1
            one["view rightly"] += made.changes.get("ViewCodeSequence") == VIEW_CODES[copy.film.view]
        one[f"view {made.flaws.get('view', 'as it was')}"] += 1
    return counts


def main() -> None:
    """Plant, classify, and count."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--xray", type=Path, required=True)
    parser.add_argument("--dicom", type=Path)
    parser.add_argument("--part", default="validation")
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        films = [*wrapped(arguments.xray, arguments.part, arguments.count, folder)]
        films += real(arguments.dicom) if arguments.dicom else []
        copies = list(plant(films, folder))
        asked = [word for model in MODELS for word in ("--model", model)]
        program("classify", folder / "planted", "--out", folder / "out", "--action", "symlink", *asked)
        told = cases(copies, folder / "out")
        print(f"{len(films)} films, {len(told)} copies")
        for least in LEAST:
            print(f"\n--min-confidence {least}")
            for how, one in count(told, folder / "out", least).items():
                print(f"  {how}: {dict(sorted(one.items()))}")


if __name__ == "__main__":
    main()
