#!/bin/sh
# highdicom writes the patient's name into a warning, so into the log, if the name has no ^ in it.
#
# The guess: a library that makes DICOM objects says of a name that it looks incomplete, and does not quote it; what is quoted is
#   at most a tag.
# What was seen (highdicom 0.28.2): making a Comprehensive SR of an image whose Patient's Name is one word raises a UserWarning with
#   that word in it. A name with ^ raises none. Names of one word are valid (PS3.5 6.2.1.1: trailing components may be left
#   out), and are what pseudonyms, animals and many Asian and emergency patients have.
# Why it hurts: warnings go to stderr, from there into the logs of services, containers and CI, which are kept and read by people who may
#   not see the archive.
# The way around it: silence UserWarning around highdicom's constructors, or catch and reword it.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check highdicom==0.28.2 pydicom==3.0.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'EOF'
import warnings

from highdicom import sr
from pydicom import examples
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid


def warned(name):
    image = examples.ct
    image.PatientName, image.AccessionNumber, image.StudyID = name, "", ""
    group = sr.MeasurementsAndQualitativeEvaluations(tracking_identifier=sr.TrackingIdentifier(generate_uid(), "1"))
    person = sr.ObserverContext(
        observer_type=codes.DCM.Device, observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(uid=generate_uid())
    )
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=person),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=[group],
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sr.ComprehensiveSR(
            evidence=[image], content=report[0], series_instance_uid=generate_uid(), series_number=1,
            sop_instance_uid=generate_uid(), instance_number=1, manufacturer="maker",
        )
    said = [f"{one.category.__name__}: {one.message}" for one in caught if name in str(one.message)]
    print(repr(name), said)
    return [line.partition(":")[0] for line in said]


assert warned("CANARY") == ["UserWarning"], "changed: a name of one word"
assert warned("CANARY^") == [], "changed: a name with ^"
EOF
