#!/bin/sh
# SimpleITK gives a spacing of 1 mm for radiographs that have Pixel Spacing only, and a copy then says so too.
#
# The guess: Pixel Spacing, where there is one, is the spacing; Imager Pixel Spacing (measured at the detector, so
#   without the magnification) is the second choice. The copy that WriteImage makes keeps what was in the header.
# What was seen (SimpleITK 2.5.7, whose reader is GDCM): for CR and DX objects only Imager Pixel Spacing counts. With
#   Pixel Spacing alone the spacing is 1.0; with both it is the uncalibrated one, though Pixel Spacing
#   is the one that may be calibrated (PS3.3 10.7). A copy of a file with Pixel Spacing alone gets an Imager Pixel Spacing of 1\1
#   that nobody measured. Secondary captures of the same pixels have the right spacing.
#   python-gdcm's own ImageReader, asked about that secondary capture, says 1.0 again.
# Why it hurts: lengths, areas and resampling to a common spacing are wrong without a warning, here by a factor of ten, and
#   only for the classes for which calibration matters; the invented tag outlives the program that wrote it.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2 SimpleITK==2.5.7 python-gdcm==3.2.6 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'EOF'
import sys

import gdcm
import pydicom
import SimpleITK
from pydicom import examples

STORAGE = "1.2.840.10008.5.1.4.1.1."
CLASSES = {"CR": STORAGE + "1", "DX": STORAGE + "1.1", "SC": STORAGE + "7"}
file, copied = f"{sys.argv[1]}/a.dcm", f"{sys.argv[1]}/copy.dcm"


def seen(name, **tags):
    dataset = examples.ct
    dataset.remove_private_tags()
    for tag in [tag for tag in dataset.keys() if tag.group == 0x18 or 0x00200030 < tag < 0x00204000 or tag.group == 0xFFFC]:
        del dataset[tag]
    del dataset.PixelSpacing, dataset.RescaleSlope, dataset.RescaleIntercept, dataset.PixelPaddingValue
    dataset.Modality = name if name != "SC" else "OT"
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CLASSES[name]
    for keyword, value in tags.items():
        setattr(dataset, keyword, [value, value])
    dataset.save_as(file)
    image = SimpleITK.ReadImage(file)
    SimpleITK.WriteImage(image, copied)
    reader = gdcm.ImageReader()
    reader.SetFileName(file)
    reader.Read()
    after = pydicom.dcmread(copied).get("ImagerPixelSpacing")
    found = (image.GetSpacing()[0], reader.GetImage().GetSpacing()[0], after and float(after[0]))
    print(name, tags, "SimpleITK, gdcm, Imager Pixel Spacing of SimpleITK's copy:", found)
    return found


for name in ("CR", "DX"):
    assert seen(name, PixelSpacing=0.1) == (1.0, 1.0, 1.0), "changed: Pixel Spacing counts"
    assert seen(name, PixelSpacing=0.1, ImagerPixelSpacing=0.14) == (0.14, 0.14, 0.14), "changed: it is preferred"
assert seen("SC", PixelSpacing=0.1) == (0.1, 1.0, None), "changed: secondary captures"
EOF
