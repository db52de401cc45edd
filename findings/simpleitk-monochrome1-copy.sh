#!/bin/sh
# A copy of a MONOCHROME1 image by SimpleITK is a negative for every reader that honors Presentation LUT Shape.
#
# The guess: ReadImage and WriteImage either keep MONOCHROME1 with its values, or invert the values and say MONOCHROME2;
#   in both cases the copy looks like the original.
# What was seen (SimpleITK 2.5.7, highdicom 0.28.2): the values are inverted, MONOCHROME2 is written, and Presentation LUT
#   Shape INVERSE, which DX and mammography objects carry beside MONOCHROME1, is copied as it was. Bits Stored becomes 16.
#   highdicom shows the original rightly and the copy as its negative (correlation -1). DCMTK's dcm2pnm does the same.
#   Without that tag the copy is right.
# Why it hurts: reading, changing and writing is how images are anonymized, cropped and resampled. The copies look right
#   in programs that look at Photometric Interpretation only (Orthanc 1.10.1), and black and white are exchanged in others.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2 SimpleITK==2.5.7 highdicom==0.28.2 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'EOF'
import sys

import highdicom
import numpy as np
import pydicom
import SimpleITK
from pydicom import examples

file, copied = f"{sys.argv[1]}/a.dcm", f"{sys.argv[1]}/copy.dcm"
ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64)
dataset = examples.ct
dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
dataset.Modality, dataset.PhotometricInterpretation, dataset.PresentationLUTShape = "DX", "MONOCHROME1", "INVERSE"
dataset.Rows = dataset.Columns = 64
dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 0, 12, 11
dataset.RescaleIntercept, dataset.WindowCenter, dataset.WindowWidth = 0, 2048, 4096
dataset.remove_private_tags()
for tag in [tag for tag in dataset.keys() if tag.group == 0x18 or 0x00200030 < tag < 0x00204000 or tag.group == 0xFFFC]:
    del dataset[tag]
del dataset.PixelPaddingValue
dataset.PixelData = ramp.tobytes()
dataset.save_as(file)
SimpleITK.WriteImage(SimpleITK.ReadImage(file), copied)
pictures = [
    highdicom.imread(path).get_frame(1, apply_voi_transform=True, apply_presentation_lut=True) for path in (file, copied)
]
after = pydicom.dcmread(copied)
related = float(np.corrcoef(pictures[0].ravel(), pictures[1].ravel())[0, 1])
print("copy:", after.PhotometricInterpretation, after.get("PresentationLUTShape"), "Bits Stored", after.BitsStored)
print("correlation of highdicom's pictures of the original and of the copy:", round(related, 3))
assert (after.PhotometricInterpretation, after.get("PresentationLUTShape")) == ("MONOCHROME2", "INVERSE"), "changed"
assert pictures[0][0, 0] > pictures[0][-1, -1], "highdicom no longer shows MONOCHROME1 as it should"
assert related < -0.999, "changed: the copy looks like the original"
EOF
