#!/bin/sh
# The decoders of webdataset make white of a 16-bit PNG: all values above 255 become 255.
#
# The guess: decode("l8"), decode("pil") or decode("torchrgb") of a 16-bit PNG scales 0..65535 to 0..255, or keeps 16 bits, or refuses.
# What was seen (webdataset 1.0.2, pillow 12.0.0, Python 3.11): every decoder asks Pillow to convert to L or RGB, which cuts off at 255. Of a
#   radiograph with values 0 to 4095 six per cent are left, and the rest is white. There is no warning.
# Why it hurts: 12-bit radiographs are kept as 16-bit PNG so that nothing is lost. A training on them runs, and learns little.
# The way around: leave the bytes alone (no decode), and numpy.asarray(PIL.Image.open(io.BytesIO(png))).
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check webdataset==1.0.2 pillow==12.0.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'END'
import io
import tarfile

import numpy as np
import webdataset
from PIL import Image

values = np.linspace(0, 4095, 10_000).astype(np.uint16).reshape(100, 100)
file = io.BytesIO()
Image.fromarray(values).save(file, "PNG")
with tarfile.open("a.tar", "w") as tar:
    member = tarfile.TarInfo("a.png")
    member.size = len(file.getvalue())
    tar.addfile(member, io.BytesIO(file.getvalue()))
for how in ("l8", "pil", "rgb8"):
    (sample,) = webdataset.WebDataset("a.tar", shardshuffle=False).decode(how)
    found = np.asarray(sample["png"])
    print(f"decode('{how}'): expected about 0.1 % white, came {(found == 255).mean():.0%} white")
    assert (found == 255).mean() > 0.9, "mended"
END
