#!/bin/sh
# SimpleITK gives values of odd length with their padding, so BodyPartExamined == "CHEST" finds no chest and patients fall apart.
#
# The guess: padding belongs to the encoding and not to the value (PS3.5 6.2: trailing spaces of CS and LO are not
#   significant), so every reader takes it away: "CHEST" is "CHEST".
# What was seen (SimpleITK 2.5.7, pydicom 3.0.2): SimpleITK's GetMetaData gives "CHEST " and "A12 " where pydicom gives "CHEST" and
#   "A12". Values of even length are the same in both, such as "HAND" and "A123", and so are UIDs, whose padding is a NUL and is
#   taken away. Leading spaces of a Patient ID, which do not count either, are left by both.
# Why it hurts: a filter for the commonest body part is empty, without an error, while one for hands works. Tables made with the two
#   libraries do not join for patients whose ID has an odd length, and a split by patient puts the same patient on both sides.
# The way around it: strip spaces at both ends of what GetMetaData, and pydicom for LO and CS, give.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2 SimpleITK==2.5.7 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'EOF'
import sys

import numpy
import pydicom
import SimpleITK
from pydicom.dataset import Dataset, FileMetaDataset

file = f"{sys.argv[1]}/a.dcm"


def seen(body_part, patient):
    dataset, meta = Dataset(), FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = "2.25.1"
    dataset.Modality, dataset.BodyPartExamined, dataset.PatientID = "DX", body_part, patient
    dataset.Rows = dataset.Columns = 4
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = numpy.zeros((4, 4), numpy.uint16).tobytes()
    dataset.file_meta, dataset.preamble = meta, bytes(128)
    dataset.save_as(file, enforce_file_format=True)
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(file)
    reader.ReadImageInformation()
    theirs = [reader.GetMetaData(tag) for tag in ("0018|0015", "0010|0020", "0008|0018")]
    read = pydicom.dcmread(file)
    ours = [read.BodyPartExamined, read.PatientID, read.SOPInstanceUID]
    print("SimpleITK", theirs, "pydicom", ours)
    return theirs, ours


assert seen("CHEST", "A12") == (["CHEST ", "A12 ", "2.25.1"], ["CHEST", "A12", "2.25.1"]), "changed: odd lengths"
assert seen("HAND", "A123") == (["HAND", "A123", "2.25.1"], ["HAND", "A123", "2.25.1"]), "changed: even lengths"
assert seen("HAND", " A12") == (["HAND", " A12", "2.25.1"], ["HAND", " A12", "2.25.1"]), "changed: leading spaces"
EOF
