#!/bin/sh
# pydicom's apply_voi wraps around at 256 when the entries of a VOI LUT have 8 bits.
#
# The guess: a VOI LUT of 4096 entries of 8 bits, for 12-bit pixels, is looked up entry by entry; the result is
#   uint8. PS3.3 C.8.11.3.1.5 allows 8 bits, and it is the natural choice for a display of 256 grays.
# What was seen (pydicom 3.0.2, numpy 2.4.6): the pixel values themselves are put into an array of the type of the
#   entries before they are used as indices, so value 300 gets entry 44 (300 modulo 256). No error, no warning.
#   A ramp of 4096 values comes out as the first 256 entries, sixteen times: correlation 0.06 with the right one.
#   With 12 bits an entry the same table is looked up rightly.
# Why it hurts: apply_voi_lut is the documented way from pixels to a picture; radiographs come out as noise, and
#   a network that is fed with them sees no patient.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'EOF'
import numpy as np
from pydicom import examples
from pydicom.dataset import Dataset
from pydicom.pixels import apply_voi_lut

ramp = np.arange(4096, dtype=np.uint16)


def looked_up(bits):
    entries = ramp >> (12 - bits)
    item, dataset = Dataset(), examples.ct
    item.add_new("LUTDescriptor", "US", [4096, 0, bits])
    item.add_new("LUTData", "US", entries.tolist())
    dataset.PixelRepresentation, dataset.VOILUTSequence = 0, [item]
    return entries, apply_voi_lut(ramp, dataset)


entries, found = looked_up(8)
print("8 bits: value 300 should give", entries[300], "and gives", found[300])
print("correlation of the ramp with the right one:", round(float(np.corrcoef(entries, found)[0, 1]), 2))
right, also = looked_up(12)
assert (right == also).all(), "12-bit entries are no longer right"
assert (found == entries[ramp % 256]).all(), "changed: the index no longer wraps at 256"
EOF
