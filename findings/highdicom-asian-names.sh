#!/bin/sh
# highdicom makes no object of a Korean or Japanese study: it takes neither the Korean character set nor the usual form.
#
# The guess: whatever Specific Character Set an image has by the standard, a report on it can repeat it. What was not
#   expected to work is `\ISO 2022 IR 87`, whose first value is empty.
# What was seen (highdicom 0.28.2): 'ISO 2022 IR 149' "is not a valid SpecificCharacterSetValues", because
#   KOREAN_CODE_EXTENSIONS is spelled 'ISO 2022 IR 159', the Japanese supplementary set, and so is an alias of that.
#   An empty first value is refused as well, though PS3.3 C.12.1.1.2 says what it means (ISO 2022 IR 6), and though
#   `\ISO 2022 IR 87` and `\ISO 2022 IR 149` are the forms of the examples in PS3.5 H and I. So is 'ISO_IR 6'.
# Why it hurts: the character set comes with the images, so a program that works on one hospital's data raises a
#   ValueError on another's. Who passes KOREAN_CODE_EXTENSIONS gets names that are written as Japanese.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check highdicom==0.28.2 pydicom==3.0.2 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'EOF'
from highdicom import SpecificCharacterSetValues, sr
from highdicom.sr import CodedConcept
from pydicom import examples

print("KOREAN_CODE_EXTENSIONS is", SpecificCharacterSetValues.KOREAN_CODE_EXTENSIONS)


def report(character_set):
    image = examples.ct
    image.SpecificCharacterSet = character_set
    image.AccessionNumber = image.StudyID = ""
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier("2.25.1", "1"),
        qualitative_evaluations=[
            sr.QualitativeEvaluation(
                CodedConcept("123014", "DCM", "Target Region"), CodedConcept("816094009", "SCT", "Chest")
            )
        ],
    )
    device = sr.DeviceObserverIdentifyingAttributes("2.25.2")
    content = sr.MeasurementReport(
        sr.ObservationContext(
            observer_device_context=sr.ObserverContext(CodedConcept("121007", "DCM", "Device"), device)
        ),
        CodedConcept("363679005", "SCT", "Imaging procedure"),
        [group],
    )
    return sr.EnhancedSR([image], content, "2.25.3", 1, "2.25.4", 1)


for character_set in (["ISO 2022 IR 6", "ISO 2022 IR 87"], ["", "ISO 2022 IR 87"], ["", "ISO 2022 IR 149"],
                      ["ISO 2022 IR 6", "ISO 2022 IR 149"], "ISO_IR 192"):
    try:
        report(character_set)
        print(character_set, "is taken")
    except ValueError as error:
        print(character_set, "raises", error)
EOF
