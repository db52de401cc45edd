#!/bin/sh
# pydicom takes SNOMED-RT codes for equal to SNOMED CT, but not those of chest, abdomen and pelvis, and equal codes never meet in a set.
#
# The guess: pydicom maps SNOMED-RT (T-D3000) to SNOMED CT so that an old Anatomic Region Sequence compares equal to the code of
#   today's context group, for the trunk as for the limbs; and what is equal has the same hash, as Python asks.
# What was seen (pydicom 3.0.2): T-D8700 (hand), T-D9200 (knee) equal their codes in
#   codes.cid4031; T-D3000 (chest), T-D4000 (abdomen) and T-D6000 (pelvis) do not: they are mapped to 51185008, 113345001 and
#   12921003, which the standard has replaced by 816094009, 818981001 and 816092008. And where two codes are equal, their hashes
#   are not, so `code in {…}`, dict look-ups and set intersections miss what `==` finds.
# Why it hurts: a filter or an audit by Anatomic Region Sequence finds old hands and knees and no old chest, the commonest
#   radiograph there is; a table keyed by codes finds none of the old ones.
# The way around it: map old codes to new ones by a table of one's own (the standard's SNOMED-RT ids of CID 4031), and compare
#   (scheme, value) as text.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2
"$folder/venv/bin/python" - <<'EOF'
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

now = codes.cid4031
pairs = {
    "hand": (Code("T-D8700", "SRT", "Hand"), now.Hand),
    "knee": (Code("T-D9200", "SRT", "Knee"), now.Knee),
    "chest": (Code("T-D3000", "SRT", "Chest"), now.Chest),
    "abdomen": (Code("T-D4000", "SRT", "Abdomen"), now.Abdomen),
    "pelvis": (Code("T-D6000", "SRT", "Pelvis"), now.Pelvis),
}
seen = {}
for part, (old, new) in pairs.items():
    seen[part] = (new.value, old == new, old in [new], old in {new})
    print(part, *seen[part])
assert seen == {
    "hand": ("85562004", True, True, False),
    "knee": ("72696002", True, True, False),
    "chest": ("816094009", False, False, False),
    "abdomen": ("818981001", False, False, False),
    "pelvis": ("816092008", False, False, False),
}, "changed"
EOF
