"""Audit headers that were planted wrong, missing and misspelt: recall, precision, and how fast it is.

    python benchmarks/audit.py planted --xray XRAY [--dicom DICOM] [--part validation]
        [--count 600] [--model M...] [--min-confidence P...] [--folder FOLDER]
    python benchmarks/audit.py rows [--rows 1000000] [--folder FOLDER]

planted: `--count` radiographs of a part of the model's split, wrapped as DICOM, and copies of labeled real
files; `dcmodify` (DCMTK) writes Body Part Examined, View Position and Patient's Age into four copies of each:
right, wrong, missing, misspelt. They are classified with router5, view and bodypart and audited as a user
would, and what was planted is held against audit.csv. What counts as wrong was written down
here, by the parts that a person sees, and not taken from the program's tables.

rows: an output of a million rows as `classify` leaves it, three images a study, audited by its manifest
alone, three times: seconds, and the peak memory of the main process. How fast headers are read is for
`headers.py` to tell.

XRAY holds labels.csv (file, body_parts, view, group, ambiguous) and the images; DICOM
manifest.csv (file, group, body_part, label5) and the files.
"""

import argparse
import csv
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.uid import generate_uid
from report import rows as manifest_rows
from scale import peak

from dicomsort.manifest.columns import columns
from dicomsort.model import bundle

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
from written import write_dicom

MODELS = ("router5", "view", "bodypart")
RIGHT, WRONG, MISSING, MISSPELT = "right", "wrong", "missing", "misspelt"

# By what a person sees: terms that are right for it, the usual one first.
TERMS = {
    "abdomen": ("ABDOMEN", "ABDOMENPELVIS", "PELVIS", "CHESTABDOMEN"),
    "ankle": ("ANKLE", "FOOT", "LEG", "CALCANEUS"),
    "cervical_spine": ("CSPINE", "SPINE", "NECK"),
    "chest": ("CHEST", "CHESTABDOMEN", "RIB", "LUNG"),
    "clavicle": ("CLAVICLE", "SHOULDER"),
    "dental": ("JAW", "HEAD", "SKULL"),
    "elbow": ("ELBOW", "FOREARM", "HUMERUS"),
    "finger": ("FINGER", "HAND", "THUMB"),
    "foot": ("FOOT", "ANKLE", "TOE", "CALCANEUS"),
    "forearm": ("FOREARM", "ELBOW", "WRIST"),
    "hand": ("HAND", "WRIST", "FINGER", "THUMB"),
    "hip": ("HIP", "PELVIS", "FEMUR"),
    "humerus": ("HUMERUS", "ARM", "SHOULDER", "ELBOW"),
    "knee": ("KNEE", "PATELLA", "LEG", "FEMUR"),
    "lower_leg": ("LEG", "ANKLE", "KNEE"),
    "lumbar_spine": ("LSPINE", "SPINE", "LSSPINE", "ABDOMEN", "PELVIS"),
    "pelvis": ("PELVIS", "HIP", "ABDOMENPELVIS", "FEMUR", "ABDOMEN"),
    "shoulder": ("SHOULDER", "CLAVICLE", "SCAPULA", "HUMERUS"),
    "sinus": ("HEAD", "SKULL"),
    "skull": ("SKULL", "HEAD"),
    "thigh": ("FEMUR", "HIP", "KNEE"),
    "thoracic_spine": ("TSPINE", "SPINE", "CHEST"),
    "wrist": ("WRIST", "HAND", "FOREARM"),
    "brain_vessels": ("HEAD", "SKULL"),
    "heart": ("HEART", "CHEST"),
    "leg_vessels": ("LEG", "KNEE", "FEMUR", "PELVIS", "HIP", "ANKLE", "FOOT"),
    "breast": ("BREAST", "CHEST"),
    "esophagus": ("ESOPHAGUS", "CHEST", "ABDOMEN"),
}
SPELT = {
    "ABDOMEN": ("BAUCH", "Abdome", "ABDOMEN AP", "abdomen"),
    "ANKLE": ("CHEVILLE", "SPRUNGGELENK", "TOBILLO", "Ankle"),
    "CSPINE": ("HWS", "CERVICAL SPINE", "C-SPINE", "COLUMNA CERVICAL"),
    "CHEST": ("THORAX", "TORAX", "Chest", "POUMON"),
    "CLAVICLE": ("CLAVICULA", "SCHLUESSELBEIN", "Clavicle"),
    "JAW": ("KIEFER", "DENTAL", "Jaw"),
    "ELBOW": ("ELLENBOGEN", "COUDE", "CODO", "Elbow"),
    "FINGER": ("DOIGT", "DEDO", "Finger"),
    "FOOT": ("FUSS", "PIED", "PIE", "Foot"),
    "FOREARM": ("UNTERARM", "AVANT BRAS", "ANTEBRAZO", "Forearm"),
    "HAND": ("MAIN", "MANO", "Hand", "L HAND"),
    "HIP": ("HUEFTE", "HANCHE", "CADERA", "Hip"),
    "HUMERUS": ("OBERARM", "UPPER ARM", "Humerus"),
    "KNEE": ("KNIE", "GENOU", "RODILLA", "Knee"),
    "LEG": ("UNTERSCHENKEL", "LOWER LEG", "TIBIA FIBULA", "JAMBE"),
    "LSPINE": ("LWS", "LUMBAR SPINE", "L-SPINE", "COLUMNA LUMBAR"),
    "PELVIS": ("BECKEN", "BASSIN", "BACINO", "Pelvis"),
    "SHOULDER": ("SCHULTER", "EPAULE", "HOMBRO", "OMBRO"),
    "HEAD": ("KOPF", "TETE", "CABEZA"),
    "SKULL": ("SCHAEDEL", "CRANE", "CRANEO", "Skull"),
    "FEMUR": ("OBERSCHENKEL", "THIGH", "Femur"),
    "TSPINE": ("BWS", "THORACIC SPINE", "T-SPINE", "DORSAL SPINE"),
    "WRIST": ("HANDGELENK", "POIGNET", "MUNECA", "Wrist"),
    "HEART": ("HERZ", "COEUR", "CORACAO"),
    "BREAST": ("MAMMA", "SEIN", "MAMA"),
    "ESOPHAGUS": ("OESOPHAGUS", "ESOPHAGE", "SPEISEROEHRE"),
}
DRAWN = (
    *("CHEST", "ABDOMEN", "PELVIS", "SKULL", "CSPINE", "TSPINE", "LSPINE", "SHOULDER", "ELBOW", "WRIST"),
    *("HAND", "HIP", "FEMUR", "KNEE", "LEG", "ANKLE", "FOOT"),
)
VIEWS = {"frontal": ("AP", "PA"), "lateral": ("LL", "RL")}
REAL = {  # words of what a person has seen on a real file, and the parts they mean
    "chest": "chest", "hand": "hand", "feet": "foot", "dental": "dental", "shoulder": "shoulder",
    "hip": "hip", "lower leg": "lower_leg", "abdomen": "abdomen", "knee": "knee", "cerebral": "brain_vessels",
    "coronary": "heart", "leg angiogram": "leg_vessels", "leg DSA": "leg_vessels", "breast": "breast",
    "oesophagus": "esophagus", "hind leg": "leg_vessels",
}  # fmt: skip


@dataclass(frozen=True)
class Film:
    """A radiograph: the parts that it shows, frontal or lateral or nothing, and an age or nothing."""

    path: Path
    parts: tuple[str, ...]
    view: str = ""
    age: str = ""
    real: bool = False


@dataclass(frozen=True)
class Planted:
    """A copy with planted tags. body, view, age: what is so of each."""

    path: Path
    film: Film
    how: str
    view_is: str
    age_is: str


def wrapped(xray: Path, part: str, count: int, folder: Path) -> Iterator[Film]:
    """Wrap radiographs of a part of the model's split as DICOM."""
    split = bundle.load(bundle.locate("router5")).split
    found = []
    with (xray / "labels.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            parts = tuple(part for part in row["body_parts"].split("|") if part in TERMS)
            if parts and set(row["body_parts"].split("|")) == set(parts):
                digest = hashlib.sha256((xray / row["file"]).read_bytes()).hexdigest()[:16]
                if split.get(digest) == part:
                    found.append((row, parts))
    random.Random(0).shuffle(found)
    for number, (row, parts) in enumerate(found[:count]):
        pixels = np.asarray(Image.open(xray / row["file"]).convert("L"))
        uids = {"SOPInstanceUID": generate_uid(None), "StudyInstanceUID": generate_uid(None)}
        path = write_dicom(folder / "wrapped" / f"{number:04d}.dcm", pixels, **uids)
        view = {"AP": "frontal", "PA": "frontal", "lateral": "lateral"}.get(row["view"], "")
        yield Film(path, parts, view, age_told(row))


def age_told(row: dict[str, str]) -> str:
    """Return the age of whom a chest shows, as a header has it; empty for teenagers, and where it is unknown.

    Where the source tells no age, all its children are between one and five, and adults are any age.
    """
    usual = {"adult_chest": "061Y", "pediatric_chest": "004Y"}.get(row["group"], "")
    if not usual or row["ambiguous"] == "1":
        return ""
    years = float(row["age"]) if row["age"] else int(usual[:3])
    return "" if 13 <= years < 18 else f"{int(years):03d}Y"


def real(dicom: Path) -> Iterator[Film]:
    """Yield the labelled real files whose part of the body is told plainly."""
    with (dicom / "manifest.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            parts = [part for word, part in REAL.items() if word in row["body_part"]]
            if row["group"] in ("xray", "derived") and row["label5"] not in ("", "unclear") and parts:
                age = "061Y" if row["label5"] == "adult_chest" else ""
                yield Film(dicom / row["file"], tuple(parts), "", age, real=True)


def plant(films: Sequence[Film], folder: Path) -> Iterator[Planted]:
    """Write four copies of each film."""
    rng = random.Random(1)
    for number, film in enumerate(films):
        for how in (RIGHT, WRONG, MISSING, MISSPELT):
            path = folder / "planted" / how / f"{number:04d}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(film.path, path)
            body = body_part(film, how, rng)
            view, view_is = view_position(film, how, rng)
            age, age_is = age_of(film, how)
            if edit(path, {"0018,0015": body, "0018,5101": view, "0010,1010": age, "0010,0030": ""}):
                yield Planted(path, film, how, view_is, age_is)


def body_part(film: Film, how: str, rng: random.Random) -> str:
    """Return what to write into Body Part Examined; empty to erase it."""
    right = [term for part in film.parts for term in TERMS[part]]
    usual = rng.choice([TERMS[part][0] for part in film.parts])
    if how == WRONG:
        return rng.choice([term for term in DRAWN if term not in right])
    if how == MISSPELT:
        return rng.choice(SPELT[usual])
    return usual if how == RIGHT else ""


def view_position(film: Film, how: str, rng: random.Random) -> tuple[str, str]:
    """Return View Position, and whether it is right, wrong or not known."""
    if not film.view or how == MISSING:
        return "", ""
    other = "lateral" if film.view == "frontal" else "frontal"
    return rng.choice(VIEWS[other if how == WRONG else film.view]), WRONG if how == WRONG else RIGHT


def age_of(film: Film, how: str) -> tuple[str, str]:
    """Return Patient's Age, and whether it is right, wrong or not known."""
    if not film.age or how == MISSING:
        return "", ""
    if how == WRONG:
        return ("004Y" if int(film.age[:3]) >= 18 else "061Y"), WRONG
    return film.age, RIGHT


def edit(path: Path, values: dict[str, str]) -> bool:
    """Write elements by dcmodify; an empty value erases one. The copy gets a UID of its own.

    Returns whether it can: DCMTK 3.6 knows neither HTJ2K nor JPEG XL. Otherwise the copy goes.
    """
    words = []
    for tag, value in values.items():
        words += ["-i", f"({tag})={value}"] if value else ["-ea", f"({tag})"]
    command = ["dcmodify", "-nb", "-imt", "-gin", *words, str(path)]
    able = subprocess.run(command, check=False, capture_output=True).returncode == 0
    if not able:
        path.unlink()
        print(f"dcmodify cannot write {path.name}")
    return able


def planted(arguments: argparse.Namespace, folder: Path) -> None:
    """Plant, classify, audit, and count."""
    films = [*wrapped(arguments.xray, arguments.part, arguments.count, folder)]
    films += real(arguments.dicom) if arguments.dicom else []
    copies = list(plant(films, folder))
    asked = [word for model in arguments.model or MODELS for word in ("--model", model)]
    program("classify", folder / "planted", "--out", folder / "out", "--action", "symlink", *asked)
    for least in arguments.min_confidence or [0.9]:
        program("audit", folder / "out", "--no-thumbnails", "--min-confidence", least)
        with (folder / "out" / "audit.csv").open(encoding="utf-8", newline="") as file:
            audited = {row["path"]: row for row in csv.DictReader(file)}
        told = [(copy, row) for copy in copies if (row := audited.get(str(copy.path.resolve())))]
        print(f"\n--min-confidence {least}: {len(films)} films, {len(copies)} copies, {len(told)} audited")
        for name, is_real in (("radiographs", (False,)), ("real files", (True,)), ("all", (False, True))):
            if some := [each for each in told if each[0].film.real in is_real]:
                report(name, some)


def report(name: str, told: Sequence[tuple[Planted, dict[str, str]]]) -> None:
    """Print what was found of what was planted."""
    print(f"\n{name}")
    found = {(copy.path, row["body_part_verdict"]) for copy, row in told}
    contradicted = [copy for copy, row in told if row["body_part_verdict"] == "contradicts"]
    for how in (RIGHT, WRONG, MISSING, MISSPELT):
        verdicts = Counter(row["body_part_verdict"] for copy, row in told if copy.how == how)
        print(f"  body part {how}: {dict(verdicts.most_common())}")
    wrong = [copy for copy, _ in told if copy.how == WRONG]
    right = [copy for copy, _ in told if copy.how in (RIGHT, MISSPELT)]
    rate("body part", sum((copy.path, "contradicts") in found for copy in wrong), len(wrong),
         len(contradicted), sum(copy in set(right) for copy in contradicted), len(right))  # fmt: skip
    overall = [(copy, row["verdict"] == "contradicts") for copy, row in told]
    hits = sum(said for copy, said in overall if copy.how == WRONG)
    false = sum(said for copy, said in overall if copy.how != WRONG)
    rate("image, default severity", hits, len(wrong), hits + false, false, len(told) - len(wrong))
    for tag in ("view", "age"):
        of = [(getattr(copy, f"{tag}_is"), row[f"{tag}_verdict"] == "contradicts") for copy, row in told]
        hits, false = (sum(said for so, said in of if so == what) for what in (WRONG, RIGHT))
        wrongs, rights = (sum(so == what for so, _ in of) for what in (WRONG, RIGHT))
        rate(tag, hits, wrongs, hits + false, false, rights)


def rate(what: str, hits: int, wrong: int, said: int, false: int, right: int) -> None:
    """Print how many of the wrong were found, and how many that are right were called wrong."""
    recall, precision, share = hits / max(wrong, 1), hits / max(said, 1), false / max(right, 1)
    print(f"  {what}: recall {hits}/{wrong} = {recall:.3f}, precision {hits}/{said} = {precision:.3f}, "
          f"contradicted though right {false}/{right} = {share:.4f}")  # fmt: skip


def rows(arguments: argparse.Namespace, folder: Path) -> None:
    """Audit an output of very many rows by its manifest alone."""
    labels = list(bundle.load(bundle.locate("router5")).head.labels)
    out = folder / "out"
    out.mkdir(parents=True)
    names = columns([f"score_{label}" for label in labels])
    with (out / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, restval="", extrasaction="ignore")
        writer.writeheader()
        for number, row in enumerate(manifest_rows(arguments.rows, labels)):
            row["study_instance_uid"] = f"1.2.826.0.1.{number // 3}"
            writer.writerow(row)
    (out / "run.json").write_text(json.dumps({"fixed": {}, "runs": [{"dry_run": False}]}))
    for _ in range(3):
        seconds, memory = timed("audit", out, "--manifest-only", "--no-thumbnails")
        print(f"{arguments.rows} rows: {seconds:.1f} s, {memory / 1e6:.0f} MB in the main process")


def program(*words: object) -> None:
    """Run a command as a user would; exit code 3 is an answer."""
    done = subprocess.run([sys.executable, "-m", "dicomsort", *map(str, words), "--quiet"], check=False)
    if done.returncode not in (0, 3):
        raise SystemExit(f"{words[0]}: exit code {done.returncode}")


def timed(*words: object) -> tuple[float, int]:
    """Run a command; return seconds and the peak resident memory of its main process in bytes."""
    started, highest = time.monotonic(), 0
    command = [sys.executable, "-m", "dicomsort", *map(str, words), "--quiet"]
    with subprocess.Popen(command) as process:
        while process.poll() is None:
            highest = max(highest, peak(process.pid))
            time.sleep(0.1)
    return time.monotonic() - started, highest


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["planted", "rows"])
    parser.add_argument("--xray", type=Path)
    parser.add_argument("--dicom", type=Path)
    parser.add_argument("--part", default="validation")
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--model", action="append")
    parser.add_argument("--min-confidence", type=float, action="append")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        {"planted": planted, "rows": rows}[arguments.what](arguments, Path(folder))


if __name__ == "__main__":
    main()
