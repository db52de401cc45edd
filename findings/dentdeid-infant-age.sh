#!/bin/sh
# DentDeID replaces an age in months by one it computes from the birth date, so after a first anonymizer an infant is 90 years old.
#
# The guess (before anything was looked at): Patient's Age is removed, or only ages over 89 become 090Y. After a first run had made
#   000Y of 011M, but before the runs with dummy dates: a stated age stays where the birth date is a dummy (PS3.5 6.2 allows months).
# What was seen (dentdeid 0.1.0, dcm-anonymizer 0.5.0, pydicom 3.0.2): only ages in years count as stated. `034Y` stays, whatever the birth
#   date is. `011M` stays without a birth date; with one it gives way to Study Date less birth date in whole years: `000Y` if the birth
#   date is true. If it is the 19000101 that dcm-anonymizer writes for every birth date, the infant becomes `090Y`, for the cap hides
#   the 124 years. Ages in weeks and days go the same way. No message; only notes in dentdeid-report.json.
# Why it hurts: it hits only small children, where the age matters most. The true birth date is gone, so nobody can see it
#   afterwards; and `000Y` is what many programs write for an unknown age.
# The way around: empty a dummy birth date before (`011M` then stays), or compare the ages before and after.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dentdeid==0.1.0 dcm-anonymizer==0.5.0 pydicom==3.0.2 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'END'
import subprocess
import sys
from pathlib import Path

import pydicom
from pydicom import examples

folder, programs = Path(sys.argv[1]), Path(sys.executable).parent


def ran(program, *words):
    subprocess.run([programs / program, *words], check=True, capture_output=True)


def seen(age, birth, first=False):
    made = Path(folder, f"{age}-{birth}-{first}")
    made.mkdir()
    dataset, file = examples.ct, made / "a.dcm"
    dataset.remove_private_tags()
    dataset.PatientAge, dataset.PatientBirthDate, dataset.StudyDate = age, birth, "20240310"
    dataset.save_as(file)
    if first:
        ran("dcm-anon", "--keep", "0010,1010", "--keep", "0008,0020", file, made / "first")
        file = next((made / "first").rglob("*.dcm"))
    before = pydicom.dcmread(file)
    ran("dentdeid", "run", "--profile", "research", "--ocr", "off", "--out", made / "out", file)
    after = pydicom.dcmread(next((made / "out").rglob("*.dcm"))).PatientAge
    print(f"age {before.PatientAge}, birth date {before.PatientBirthDate or 'none':8}: the age should stay, and is {after}")
    return after


print("Study Date 20240310, DentDeID alone:")
for age, birth, expected in (
    ("034Y", "19900301", "034Y"), ("034Y", "19000101", "034Y"), ("011M", "", "011M"),
    ("011M", "20230401", "000Y"), ("003W", "20240215", "000Y"),
):
    assert seen(age, birth) == expected, "changed: DentDeID treats the age otherwise"
print("dcm-anon --keep 0010,1010 --keep 0008,0020 first, then DentDeID:")
assert seen("034Y", "19900301", first=True) == "034Y", "changed: an adult after both"
assert seen("011M", "20230401", first=True) == "090Y", "changed: an infant after both"
END
