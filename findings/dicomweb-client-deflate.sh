#!/bin/sh
# dicomweb-client fetches from Orthanc several times slower than curl, and waits half a minute for a server that is not there.
#
# The guess: retrieve_instance costs what the transfer of the bytes costs. A server that refuses connections is told at once.
# What was seen (dicomweb-client 0.61.2, Python 3.11; Orthanc 1.10.1 and orthanc-dicomweb 1.7 of Debian 12): every request says
#   Accept-Encoding: gzip, deflate, as requests does unless told otherwise, and Orthanc deflates pixel data for much longer than
#   it takes to send them: an instance of 301 kB (noisy 16-bit pixels) took 21 ms instead of 5. A refused connection is tried
#   five times with growing pauses, 30 s in all, although only four HTTP codes are documented as retried
#   (set_http_retry_params): retrying's decorator retries any exception too.
# Why it hurts: an archive of a million radiographs takes days instead of hours, and nothing looks wrong.
# The way around: session.headers["Accept-Encoding"] = "identity", and set_http_retry_params(retry=False).
#
# Needs Debian's orthanc and orthanc-dicomweb.
set -eu
PATH="$PATH:/usr/sbin"
plugin=/usr/share/orthanc/plugins/libOrthancDicomWeb.so
command -v Orthanc > /dev/null && [ -e "$plugin" ] || { echo "needs Debian's orthanc and orthanc-dicomweb"; exit 2; }
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dicomweb-client==0.61.2 pydicom==3.0.2 numpy==2.4.6
cat > "$folder/orthanc.json" <<EOF
{"StorageDirectory": "$folder/db", "IndexDirectory": "$folder/db", "Plugins": ["$plugin"], "HttpPort": 18099,
 "DicomServerEnabled": false, "RemoteAccessAllowed": false, "AuthenticationEnabled": false}
EOF
Orthanc "$folder/orthanc.json" > "$folder/log" 2>&1 &
server=$!
"$folder/venv/bin/python" - <<'EOF'
import io
import statistics
import time
import warnings

import numpy as np
import requests
from dicomweb_client import DICOMwebClient
from pydicom import examples
from pydicom.uid import generate_uid

warnings.simplefilter("ignore")
root = "http://127.0.0.1:18099"
for _ in range(100):
    try:
        requests.get(f"{root}/system", timeout=1)
        break
    except requests.ConnectionError:
        time.sleep(0.1)

dataset, random = examples.ct, np.random.default_rng(0)
dataset.Rows = dataset.Columns = 384
uids = []
for _ in range(20):
    pixels = np.add.outer(np.arange(384), np.arange(384)) * 4 + random.integers(0, 200, (384, 384))
    dataset.PixelData = pixels.astype("<u2").tobytes()
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    file = io.BytesIO()
    dataset.save_as(file)
    requests.post(f"{root}/instances", file.getvalue(), timeout=30).raise_for_status()
    uids.append((dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID))


def milliseconds(client):
    spent = []
    for uid in uids:
        started = time.monotonic()
        client.retrieve_instance(*uid)
        spent.append(1000 * (time.monotonic() - started))
    return statistics.median(spent)


usual, plain = DICOMwebClient(f"{root}/dicom-web"), requests.Session()
plain.headers["Accept-Encoding"] = "identity"
slow, quick = milliseconds(usual), milliseconds(DICOMwebClient(f"{root}/dicom-web", plain))
started = time.monotonic()
try:
    DICOMwebClient("http://127.0.0.1:9/dicom-web").search_for_studies()
except Exception as error:
    refused = time.monotonic() - started
    print(f"a refused connection: {type(error).__name__} after {refused:.0f} s (expected: at once)")
print(f"an instance of {len(file.getvalue()) / 1000:.0f} kB: {slow:.1f} ms, with identity {quick:.1f} ms ({slow / quick:.1f} times)")
assert slow > 2 * quick, "changed: no longer slower"
assert refused > 20, "changed: told at once"
EOF
