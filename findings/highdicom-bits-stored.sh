#!/bin/sh
# highdicom reads signed 12-bit pixels as unsigned, because it takes Bits Allocated for Bits Stored.
#
# The guess: Image.get_frame gives the values that pydicom's pixel_array gives; both use pydicom's decoders.
# What was seen (highdicom 0.28.2, pydicom 3.0.2): where the four bits above a 12-bit sample are not a copy of its
#   sign, -1 comes out as 4095 and -2048 as 2048; pixel_array of the same file is right. In an unsigned image bits of
#   an old overlay above Bits Stored become part of the values.
#   PS3.5 8.1.1: nothing may be assumed of unused bits, neither zero nor sign extension.
# Why it hurts: highdicom is what people turn to when they want the standard's own transforms. Everything below zero
#   (half of a centered image; air and lung of a CT) turns white, without a warning.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check highdicom==0.28.2 pydicom==3.0.2 numpy==2.4.6
"$folder/venv/bin/python" - "$folder/signed.dcm" <<'EOF'
import sys

import highdicom
import numpy as np
import pydicom
from pydicom import examples

values = np.arange(-2048, 2048, dtype=np.int16).reshape(64, 64)
dataset = examples.ct
dataset.Rows = dataset.Columns = 64
dataset.BitsStored, dataset.HighBit = 12, 11
dataset.PixelData = (values & 0xFFF).tobytes()
dataset.save_as(sys.argv[1])
by_pydicom = pydicom.dcmread(sys.argv[1]).pixel_array
frame = highdicom.imread(sys.argv[1]).get_frame(1, apply_modality_transform=False)
print("pydicom  ", by_pydicom.min(), "to", by_pydicom.max())
print("highdicom", frame.min(), "to", frame.max(), "wrong:", f"{(frame != values).mean():.0%}")
assert (by_pydicom == values).all(), "pydicom is no longer right"
assert (frame == (values & 0xFFF)).all(), "changed: highdicom looks at Bits Stored"
EOF
