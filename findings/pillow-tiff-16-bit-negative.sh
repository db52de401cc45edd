#!/bin/sh
# Pillow shows 16-bit gray TIFFs whose zero is white as negatives, and 8-bit ones as they are meant.
#
# The guess: PhotometricInterpretation 0 (WhiteIsZero, TIFF 6.0 section 8) is worked in at any depth, as it is at 1, 2, 4 and 8 bits;
#   mode "L" and "I;16" then mean the same: 0 is black.
# What was seen (Pillow 13.0.0): of the same picture with 8 and with 16 bits a sample, both little-endian and WhiteIsZero, the one of 8 bits has
#   its black where it belongs; that of 16 bits is a negative, without a warning. A big-endian one of 16 bits is refused
#   ("cannot identify image file").
# Why it hurts: film digitizers and some exporters of radiographs write WhiteIsZero with 16 bits. Lungs are white then, for a person as
#   for a network, and only for the files with full depth.
# The way around it: if `image.tag_v2.get(262) == 0` and the mode is "I;16", subtract from the greatest value of the stored bits.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'END'
import struct
import sys

import numpy as np
from PIL import Image, UnidentifiedImageError

meant = np.linspace(0, 1, 64 * 64).reshape(64, 64)  # black above, white below


def tiff(bits, order):
    """Write the picture as one uncompressed strip, WhiteIsZero."""
    stored = np.round((1 - meant) * (2**bits - 1)).astype(f"{order}u{bits // 8}")
    fields = {256: 64, 257: 64, 258: bits, 259: 1, 262: 0, 273: 8, 277: 1, 278: 64, 279: stored.nbytes}
    directory = struct.pack(f"{order}H", len(fields))
    directory += b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in fields.items())
    start = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8 + stored.nbytes)
    path = f"{sys.argv[1]}/{bits}.tif"
    with open(path, "wb") as file:
        file.write(start + stored.tobytes() + directory + bytes(4))
    return path


def seen(bits, order="<"):
    with Image.open(tiff(bits, order)) as image:
        values = np.asarray(image).astype(float) / (2**bits - 1)
    print(f"{bits} bits: above {values[0].mean():.2f} (expected 0.01), below {values[-1].mean():.2f} (expected 0.99)")
    return values


assert np.allclose(seen(8), meant, atol=0.01), "changed: 8 bits"
assert np.allclose(seen(16), 1 - meant, atol=0.01), "changed: 16 bits are no negative any more"
try:
    seen(16, ">")
except UnidentifiedImageError:
    print("16 bits, big-endian: refused")
END
