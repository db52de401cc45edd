#!/bin/sh
# Signed 12-bit pixels that DCMTK compressed as JPEG-LS are read as unsigned by every plug-in of pydicom.
#
# The guess: Pixel Representation 1 and Bits Stored 12 are in the header, a JPEG-LS stream knows no sign, so a reader takes
#   bit 11 for the sign; pydicom does so for JPEG lossless, JPEG 2000 and native files.
# What was seen (pydicom 3.0.2 with pyjpegls 1.5.1, pylibjpeg 2.1.0 with pylibjpeg-libjpeg 2.5.0, python-gdcm 3.2.6; DCMTK 3.6.7):
#   the native file is read rightly, dcmcjpls turns it into a 12-bit stream without a loss, and of that all three plug-ins
#   make 0 to 4095 instead of -2048 to 2047. SimpleITK 2.5.7 reads the same file rightly. No error, no warning.
#   It happens when the bits above Bits Stored in the native file are no copy of the sign (PS3.5 8.1.1: nothing may be
#   assumed of them); DCMTK hands them on as 0, and GDCM's own gdcmconv --jpegls writes a stream that pydicom reads.
# Why it hurts: the same study is right before compression and wrong after a lossless one; a check with one writer says
#   that all is well.
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
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2 pyjpegls==1.5.1 pylibjpeg==2.1.0 \
    pylibjpeg-libjpeg==2.5.0 python-gdcm==3.2.6 SimpleITK==2.5.7 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'EOF'
import subprocess
import sys

import numpy as np
import pydicom
import SimpleITK
from pydicom import examples

native, compressed = f"{sys.argv[1]}/native.dcm", f"{sys.argv[1]}/compressed.dcm"
values = np.arange(-2048, 2048, dtype=np.int16).reshape(64, 64)
dataset = examples.ct
dataset.Rows = dataset.Columns = 64
dataset.BitsStored, dataset.HighBit, dataset.RescaleIntercept = 12, 11, 0
dataset.PixelData = (values & 0xFFF).tobytes()
dataset.save_as(native)
subprocess.run(["dcmcjpls", native, compressed], check=True)
assert (pydicom.dcmread(native).pixel_array == values).all(), "the native file is no longer read rightly"
for plugin in ("pyjpegls", "pylibjpeg", "gdcm"):
    dataset = pydicom.dcmread(compressed)
    dataset.pixel_array_options(decoding_plugin=plugin)
    found = dataset.pixel_array
    print(plugin, found.min(), "to", found.max(), f"wrong: {(found != values).mean():.0%}")
    assert (found == (values & 0xFFF)).all(), f"changed: {plugin} knows the sign"
found = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(compressed))[0]
print("SimpleITK", found.min(), "to", found.max())
assert (found == values).all(), "SimpleITK is no longer right"
EOF
