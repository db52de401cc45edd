#!/bin/sh
# pydicom takes SNOMED-RT codes for equal to SNOMED CT: of limbs and AP views, not of chest, abdomen, pelvis and PA views; and equal codes never meet in a set.
#
# The guess: pydicom maps SNOMED-RT (T-D3000) to SNOMED CT so that the codes of old files (Anatomic Region Sequence, View Code Sequence)
#   compare equal to those of today's context groups, for the trunk as for the limbs and for PA as for AP; and what is equal has
#   the same hash, as Python asks.
# What was seen (pydicom 3.0.2): T-D8700 (hand), T-D9200 (knee) and R-10206 (AP) equal their codes of today. T-D3000 (chest), T-D4000
#   (abdomen) and T-D6000 (pelvis) do not: they are mapped to 51185008, 113345001 and 12921003, which the standard has replaced by
#   816094009, 818981001 and 816092008. R-10214 (PA) is in no table. And where two codes are equal, their hashes are not, so
#   `code in {...}`, dict look-ups and set intersections miss what `==` finds.
# Why it hurts: a filter by code finds old hands and no old chest, the commonest radiograph there is; of chest films it finds the AP
#   ones of all years, and of the PA ones only those with today's code: a bias towards patients who cannot stand. No error.
# The way around it: map old codes to new ones by a table of one's own (the SNOMED-RT ids of PS3.16 CID 4031 and 4010), and
#   compare (scheme, value) as text.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2
"$folder/venv/bin/python" - <<'EOF'
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

regions, views = codes.cid4031, codes.cid4010
pairs = {
    "hand": (Code("T-D8700", "SRT", "Hand"), regions.Hand),
    "knee": (Code("T-D9200", "SRT", "Knee"), regions.Knee),
    "AP": (Code("R-10206", "SRT", "antero-posterior"), views.AnteroPosterior),
    "chest": (Code("T-D3000", "SRT", "Chest"), regions.Chest),
    "abdomen": (Code("T-D4000", "SRT", "Abdomen"), regions.Abdomen),
    "pelvis": (Code("T-D6000", "SRT", "Pelvis"), regions.Pelvis),
    "PA": (Code("R-10214", "SRT", "postero-anterior"), views.PosteroAnterior),
}
seen = {}
for name, (old, new) in pairs.items():
    seen[name] = (new.value, old == new, old in [new], old in {new})
    print(name, *seen[name])
assert seen == {
    "hand": ("85562004", True, True, False),
    "knee": ("72696002", True, True, False),
    "AP": ("399348003", True, True, False),
    "chest": ("816094009", False, False, False),
    "abdomen": ("818981001", False, False, False),
    "pelvis": ("816092008", False, False, False),
    "PA": ("272479007", False, False, False),
}, "changed"
EOF
