#!/bin/sh
# Read from the members of a tar.gz, compressed DICOM files make pydicom inflate the archive again for every file.
#
# The guess: dcmread takes any file-like object and reads it from front to end; a tar.gz is inflated about once, whatever
#   the transfer syntax is.
# What was seen (pydicom 3.0.2, Python 3.11 and 3.13): with native Pixel Data that is so (1.0 times). With encapsulated Pixel Data
#   dcmread goes a few bytes back in its search for the delimiter, gzip cannot go back but by starting at the front of
#   the whole archive, and the cost grows with the square of the members: 11 times for 20, 21 for 40, 41 for 80.
#   io.BytesIO around the member's bytes makes it 1.0 again.
# Why it hurts: a test with a few native files is quick; an export of 10,000 compressed ones would be inflated some 5,000
#   times. It does not look like an error, only like a slow disk.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'EOF'
import io
import random
import tarfile

import pydicom
from pydicom import examples
from pydicom.uid import RLELossless


class Counted(io.BytesIO):
    count = 0

    def read(self, size=-1):
        data = super().read(size)
        self.count += len(data)
        return data


def times(compress, members, whole=False):
    dataset, file, archive = examples.ct, io.BytesIO(), io.BytesIO()
    dataset.PixelData = random.Random(0).randbytes(len(dataset.PixelData))
    if compress:
        dataset.compress(RLELossless)
    dataset.save_as(file)
    with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=1) as tar:
        for number in range(members):
            info = tarfile.TarInfo(f"{number}.dcm")
            info.size = len(file.getvalue())
            tar.addfile(info, io.BytesIO(file.getvalue()))
    source = Counted(archive.getvalue())
    with tarfile.open(fileobj=source, mode="r:gz") as tar:
        for member in tar:
            opened = tar.extractfile(member)
            pydicom.dcmread(io.BytesIO(opened.read()) if whole else opened)
    return source.count / len(archive.getvalue())


for members in (20, 40, 80):
    native, encapsulated, whole = times(False, members), times(True, members), times(True, members, whole=True)
    print(f"{members} members: native {native:.1f} times, encapsulated {encapsulated:.1f}, through BytesIO {whole:.1f}")
    assert native < 1.5 and whole < 1.5, "changed: native files, or BytesIO"
    assert encapsulated > members / 3, "changed: encapsulated files are read in one go"
EOF
