#!/bin/sh
# RSNA DICOM Anonymizer rounds ages to fives whatever their unit, and writes those under ten in a form that DICOM does not have.
#
# The guess (before anything was looked at): Patient's Age is kept, or rounded within its unit. With the rule @round(this,5) known, but
#   before the run: 007Y becomes 005Y, 002Y 000Y, 011M 010M, 094Y 090Y, in the form of the standard (PS3.5 6.2: four bytes fixed).
# What was seen (rsna-anonymizer 19.0.10 with its own default script, pydicom 2.4.5): a digit and a letter where the result has one digit:
#   `5Y` of 007Y, `0Y` of 002Y, `5W` of 003W. The files are filed as anonymized, without an error; pydicom only warns in the log.
#   Two digits are right (010Y of 012Y, 010M of 011M). So every child of 0 to 7 years has an age that is none: from 3 to 7 `5Y`,
#   under 3 `0Y`. 094Y becomes 095Y, and 101Y becomes 100Y: rounded, but not put together.
# Why it hurts: only small children are hit, so tests with adults see nothing. Whoever checks values (pydicom's
#   validate_value) finds no age, and `0Y` can be a newborn or a child of two. Whoever relies on the rounding for HIPAA shares ages over 89.
# The way around: another rule for (0010,1010) in the project's script.
#
# Of its dependencies only those that the anonymizing itself needs are installed (no PyTorch, no window). Its class AnonymizerController
# is used as its own windows use it. Python 3.11 or 3.12 is needed; without it the script ends with 2.
set -eu
python=
for one in python3 python3.12 python3.11; do  # the first that is one of the two
    "$one" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && python=$one && break
done
[ -n "$python" ] || { echo "rsna-anonymizer needs Python 3.11 or 3.12" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps rsna-anonymizer==19.0.10 pydicom==2.4.5 \
    pynetdicom==2.1.1 SQLAlchemy==2.0.38 greenlet==3.5.6 typing_extensions==4.16.0 bidict==0.24.1 openpyxl==3.1.5 et_xmlfile==2.0.0 \
    dataclasses-json==0.6.7 marshmallow==4.4.0 typing-inspect==0.9.0 mypy_extensions==1.2.0 packaging==26.4 toml==0.10.2 numpy==1.26.4
HOME="$folder" "$folder/venv/bin/python" -W ignore - "$folder" <<'END'
import sys
from pathlib import Path

import anonymizer
import pydicom
from anonymizer.controller.anonymizer import AnonymizerController
from anonymizer.model.project import ProjectModel
from pydicom.config import RAISE
from pydicom.data import get_testdata_file
from pydicom.valuerep import validate_value

SEEN = {
    "002Y": "0Y", "003Y": "5Y", "007Y": "5Y", "008Y": "010Y", "012Y": "010Y", "034Y": "035Y", "094Y": "095Y", "101Y": "100Y",
    "011M": "010M", "006M": "5M", "003W": "5W",
}


def valid(age):
    try:
        validate_value("AS", age, RAISE)
    except ValueError:
        return False
    return True


folder = Path(sys.argv[1])
script = Path(anonymizer.__file__).parent / "assets/scripts/default-anonymizer.script"
project = ProjectModel(storage_dir=folder / "project", anonymizer_script_path=script)
project.private_dir().mkdir(parents=True)
controller = AnonymizerController(project)
found = {}
try:
    for number, age in enumerate(SEEN):
        dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
        dataset.PatientAge, dataset.PatientID = age, f"P{number}"
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(dataset, keyword, f"{dataset[keyword].value}.{number}")
        file, before = folder / f"{number}.dcm", set((folder / "project").rglob("*.dcm"))
        dataset.save_as(file)
        error, _ = controller.anonymize_file(file)
        assert error is None, error
        (written,) = set((folder / "project").rglob("*.dcm")) - before
        found[age] = pydicom.dcmread(written).PatientAge
        print(f"{age} becomes {found[age]}{'' if valid(found[age]) else '  <- no valid age'}")
        assert valid(found[age]) == (len(SEEN[age]) == 4), "changed: what is a valid age"
finally:
    controller.stop()
assert found == SEEN, "changed: ages are rounded or written otherwise"
END
