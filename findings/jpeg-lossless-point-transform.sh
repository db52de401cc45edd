#!/bin/sh
# dcmcjpeg can write JPEG lossless with a point transform; pydicom's pylibjpeg makes one single gray of the image.
#
# The guess: a decoder either shifts the samples back by Pt bits (ITU-T T.81 H.2), or forgets to and is too dark by a
#   factor of 4; a picture stretched from minimum to maximum is right in both cases.
# What was seen (DCMTK 3.6.7; pydicom 3.0.2, pylibjpeg 2.1.0 with pylibjpeg-libjpeg 2.5.0, python-gdcm 3.2.6, imagecodecs 2026.3.6,
#   dcm2niix 1.0.20260724): of `dcmcjpeg +el +sv 1 +pt 2` pylibjpeg makes an image in which every pixel is 4095;
#   imagecodecs.ljpeg_decode values from 24608 to 25123 where 128 to 2188 are right (wrong start, and no shift);
#   imagecodecs.jpegsof3_decode a quarter of the values; dcm2niix values from 0 to 4095, none of them right. None says a word.
#   GDCM, imagecodecs.jpeg8_decode and dcmdjpeg are right.
# Why it hurts: the transfer syntax is the ordinary 1.2.840.10008.1.2.4.57, the header has no trace of the point transform,
#   and whether a study can be seen depends on which plug-in happens to be installed.
# Needs: dcmtk (apt-get install dcmtk).
set -eu
version=$(dpkg-query -W -f '${Version}' dcmtk 2>/dev/null || true)
case "$version" in
3.6.7*) ;;
"") echo "install dcmtk 3.6.7 first: apt-get install dcmtk" >&2; exit 2 ;;
*) echo "seen with dcmtk 3.6.7, here is $version" >&2 ;;
esac
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2 pylibjpeg==2.1.0 pylibjpeg-libjpeg==2.5.0 \
    python-gdcm==3.2.6 imagecodecs==2026.3.6 numpy==2.4.6 dcm2niix==1.0.20260724 nibabel==5.4.2
"$folder/venv/bin/python" - "$folder" <<'EOF'
import subprocess
import sys

import imagecodecs
import nibabel
import numpy as np
import pydicom
from pydicom import examples
from pydicom.encaps import generate_frames

folder = sys.argv[1]
native, compressed = f"{folder}/native.dcm", f"{folder}/compressed.dcm"
dataset = examples.ct
pixels = dataset.pixel_array.astype(np.uint16)
dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit, dataset.RescaleIntercept = 0, 12, 11, 0
del dataset.PixelPaddingValue
dataset.PixelData = pixels.tobytes()
dataset.save_as(native)
subprocess.run(["dcmcjpeg", "+el", "+sv", "1", "+pt", "2", native, compressed], check=True)
right = pixels >> 2 << 2
stream = next(generate_frames(pydicom.dcmread(compressed).PixelData, number_of_frames=1))


def by_plugin(name):
    dataset = pydicom.dcmread(compressed)
    dataset.pixel_array_options(decoding_plugin=name)
    return dataset.pixel_array


def by_dcm2niix():
    program = f"{folder}/venv/bin/dcm2niix"
    subprocess.run([program, "-s", "y", "-b", "n", "-f", "out", "-o", folder, compressed], check=True, capture_output=True)
    return np.asarray(nibabel.load(f"{folder}/out.nii").dataobj).squeeze().T[::-1]


seen = {
    "pylibjpeg": by_plugin("pylibjpeg"),
    "gdcm": by_plugin("gdcm"),
    "ljpeg_decode": imagecodecs.ljpeg_decode(stream),
    "jpegsof3_decode": imagecodecs.jpegsof3_decode(stream),
    "jpeg8_decode": imagecodecs.jpeg8_decode(stream),
    "dcm2niix": by_dcm2niix(),
}
for name, found in seen.items():
    print(f"{name}: {found.min()} to {found.max()}, right: {(found == right).mean():.1%}")
assert (seen["gdcm"] == right).all() and (seen["jpeg8_decode"] == right).all(), "who was right no longer is"
assert (seen["pylibjpeg"] == 4095).all(), "changed: pylibjpeg"
assert (seen["ljpeg_decode"] != right).all(), "changed: ljpeg_decode"
assert (seen["jpegsof3_decode"] == pixels >> 2).all(), "changed: jpegsof3_decode"
assert (seen["dcm2niix"] != right).mean() > 0.9, "changed: dcm2niix"
EOF
