#!/bin/sh
# Left-justified pixels (12 bits stored, High Bit 15): pydicom and GDCM keep the wrong 12 bits, and gdcmconv makes
# files of which nobody can tell any more.
#
# The guess: a reader either shifts by four bits, as High Bit says, or forgets to and gives values that are sixteen
#   times too large; either way the picture can be saved by a window.
# What was seen (pydicom 3.0.2, SimpleITK 2.5.7, python-gdcm 3.2.6): all three ignore High Bit and mask the lowest
#   twelve bits of the word. The four most significant bits of the image are thrown away; what is left of a ramp is a
#   saw with sixteen teeth. gdcmconv --raw, which should change nothing but the encoding, leaves the words as they are
#   and writes High Bit 11 beside them, so readers that know High Bit are misled from then on. No error, no warning.
#   Older editions of the standard let High Bit be free; archives have such files.
# Why it hurts: the values look plausible (12 bits, right range, zero to 4080) and the images are ruined, in the
#   two libraries that most programs are built on.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2 SimpleITK==2.5.7 python-gdcm==3.2.6 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'EOF'
import subprocess
import sys

import numpy as np
import pydicom
import SimpleITK
from pydicom import examples

folder = sys.argv[1]
file, converted = f"{folder}/left.dcm", f"{folder}/converted.dcm"
ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64)
dataset = examples.ct
dataset.Rows = dataset.Columns = 64
dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 0, 12, 15
dataset.RescaleIntercept = 0
del dataset.PixelPaddingValue
dataset.PixelData = (ramp << 4).tobytes()
dataset.save_as(file)
subprocess.run([f"{folder}/venv/bin/gdcmconv", "--raw", file, converted], check=True)
after = pydicom.dcmread(converted)
seen = {
    "pydicom": pydicom.dcmread(file).pixel_array,
    "SimpleITK": np.squeeze(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(file))),
}
for name, pixels in seen.items():
    print(f"{name}: values {pixels[0, :3]} ... {pixels[-1, -3:]}, right: {(pixels == ramp).mean():.1%}")
    assert (pixels == (ramp << 4 & 0xFFF)).all(), f"changed: {name} no longer keeps the lowest 12 bits"
print("after gdcmconv --raw: High Bit", after.HighBit, "words still left-justified:", after.PixelData == dataset.PixelData)
assert after.HighBit == 11 and after.PixelData == dataset.PixelData, "changed: gdcmconv keeps High Bit, or shifts"
EOF
