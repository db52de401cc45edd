#!/bin/sh
# imageio's DICOM reader makes a gray image of the first third of an RGB frame.
#
# The guess: (rows, columns, 3), or an error that says that color is not known.
# What was seen (imageio 2.38.1): an array (rows, columns) of uint8, of the right size and of the wrong pixels: the samples
#   R G B R G B of the first third of the frame, one after the other, as gray. Stripes of three columns, the lower two thirds
#   of the picture gone, no error and no warning.
# Why it hurts: secondary captures, ultrasound, endoscopy and photographs are RGB; the shape is that of a gray image, so
#   the next step takes it.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check imageio==2.38.1 pydicom==3.0.2 numpy==2.4.6
"$folder/venv/bin/python" - "$folder/rgb.dcm" <<'EOF'
import sys

import imageio.v2
import numpy as np
import pydicom
from pydicom import examples

across, down = np.meshgrid(np.arange(96, dtype=np.uint8), np.arange(60, dtype=np.uint8))
color = np.stack([across, down, across + down], axis=-1)
dataset = examples.ct
dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
dataset.Modality, dataset.PhotometricInterpretation = "OT", "RGB"
dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
dataset.Rows, dataset.Columns = color.shape[:2]
dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
del dataset.RescaleSlope, dataset.RescaleIntercept, dataset.PixelPaddingValue
dataset.PixelData = color.tobytes()
dataset["PixelData"].VR = "OB"
dataset.save_as(sys.argv[1])
assert (pydicom.dcmread(sys.argv[1]).pixel_array == color).all()
found = np.asarray(imageio.v2.imread(sys.argv[1], format="DICOM"))
print("imageio:", found.shape, found.dtype, "first row", found[0, :9])
assert found.shape == (60, 96), "changed: the shape"
assert (found.ravel() == color.ravel()[: found.size]).all(), "changed: the pixels"
EOF
