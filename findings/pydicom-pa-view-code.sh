#!/bin/sh
# pydicom takes the SNOMED-RT code of an antero-posterior view for today's, and that of a postero-anterior view for another view.
#
# The guess: both R-10206 (antero-posterior) and R-10214 (postero-anterior), which View Code Sequence (0054,0220) of older files holds,
#   compare equal to pydicom's codes for these views (PS3.16 CID 4010), as pydicom maps SNOMED-RT to SNOMED CT.
# What was seen (pydicom 3.0.2): R-10206 equals codes.cid4010.AnteroPosterior, R-10214 does not equal codes.cid4010.PosteroAnterior: it is in
#   no table. Nor does 399066004, the SNOMED CT code that the standard had for it before 272479007.
# Why it hurts: whoever filters chest films by View Code Sequence finds the AP films of all years, and of the PA films only those
#   with today's code: a bias towards patients who cannot stand, and no error.
# The way around it: map R-10214 and 399066004 to 272479007 by a table of one's own, and compare (scheme, value) as text.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2
"$folder/venv/bin/python" - <<'END'
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

ap, pa = codes.cid4010.AnteroPosterior, codes.cid4010.PosteroAnterior
pairs = {
    "AP, SNOMED-RT": (Code("R-10206", "SRT", "antero-posterior"), ap),
    "PA, SNOMED-RT": (Code("R-10214", "SRT", "postero-anterior"), pa),
    "PA, retired": (Code("399066004", "SCT", "postero-anterior"), pa),
}
seen = {}
for view, (old, new) in pairs.items():
    seen[view] = (new.value, old == new)
    print(f"{view}: today {new.value}, expected to be equal, is equal: {old == new}")
assert seen == {
    "AP, SNOMED-RT": ("399348003", True),
    "PA, SNOMED-RT": ("272479007", False),
    "PA, retired": ("272479007", False),
}, "changed"
END
