#!/bin/sh
# A damaged header in the middle of a tar, or an end that is cut off, makes Python's tarfile end early without an error.
#
# The guess: a list of members that is not all of them comes with an exception, or what can be read of the rest. GNU tar says "Skipping
#   to next header", goes on with the members behind, and ends with 2.
# What was seen (Python 3.11.7, GNU tar 1.34): of 100 members, one bit flipped in the header of the 51st, `getmembers` gives 50
#   members and no error. The same for a tar that ends in the middle of a header, of which GNU tar says nothing either. Only a
#   damaged first header raises ReadError.
# Why it hurts: half of an archive of studies is sorted, counted or anonymized, and nothing tells that there was another half.
# A way around: look behind the last member (`offset_data` and `size`): there must be two blocks of zeros.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 - "$folder" <<'EOF'
import io
import subprocess
import sys
import tarfile
from pathlib import Path

folder = Path(sys.argv[1])
sink = io.BytesIO()
with tarfile.open(fileobj=sink, mode="w") as archive:
    for number in range(100):
        info = tarfile.TarInfo(f"{number:03}.dcm")
        info.size = 1000
        archive.addfile(info, io.BytesIO(bytes([number]) * 1000))
whole = sink.getvalue()
flipped = bytearray(whole)
flipped[whole.index(b"050.dcm")] ^= 1
cases = {"one bit flipped": bytes(flipped), "cut off in a header": whole[: whole.index(b"050.dcm") + 100]}
print("Python", sys.version.split()[0])
for name, data in cases.items():
    path = folder / "a.tar"
    path.write_bytes(data)
    with tarfile.open(path) as archive:
        members = len(archive.getmembers())
    theirs = subprocess.run(["tar", "-tf", path], capture_output=True, text=True)
    print(f"{name}: tarfile gives {members} members and no error;", end=" ")
    print(f"GNU tar gives {len(theirs.stdout.splitlines())} and ends with {theirs.returncode}")
    assert members == 50, "changed: tarfile"
EOF
