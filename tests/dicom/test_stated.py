"""What a header states: the same by the quick way and by pydicom, and never a word that is a person's."""

import hashlib
import hmac
import os
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from readings import Write

from dicomsort.dicom import isolation, stated
from dicomsort.dicom.facts import facts_of
from dicomsort.dicom.header import header_of, read_header
from dicomsort.dicom.reader import read_dicom
from dicomsort.dicom.stated import Asked, Stated, read_stated
from dicomsort.dicom.wording import Wording
from dicomsort.outcome import Failure, ReadImage, Reason, Status
from dicomsort.system.pool_settings import PoolSettings

CHEST, PELVIS = "816094009", "816092008"
TERMS = Wording.of(
    [("THORAX", (CHEST,)), ("CHEST", (CHEST,)), ("BECKEN", (PELVIS,)), ("胸部", (CHEST,))],
    telling=["BECKEN", "胸 部"],
)
ASKED = Asked(b"salt", TERMS, descriptions=True)


def of(path: Path, asked: Asked = ASKED) -> Stated:
    told = read_stated(str(path), asked)
    assert isinstance(told, Stated), told
    return told


def failure_of(path: Path) -> tuple[Status, Reason]:
    told = read_stated(str(path), ASKED)
    assert isinstance(told, Failure), told
    return told.status, told.reason


def coded(scheme: str, value: str, **more: Any) -> Dataset:
    item = Dataset()
    item.CodingSchemeDesignator, item.CodeValue, item.CodeMeaning = scheme, value, "DOE^JOHN"
    for keyword, sequence in more.items():
        setattr(item, keyword, sequence)
    return item


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_the_quick_way_and_pydicom_say_the_same_of_every_file(
    archive: Path, broken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for a header that is cut off behind all that is asked for."""
    files = [*files_of(archive), *files_of(broken)]
    quick = {path: read_stated(str(path), ASKED) for path in files}
    scans: list[int] = []
    monkeypatch.setattr(stated, "scan", lambda descriptor, *_: scans.append(descriptor))
    for path in files:
        if path.name != "rtplan_truncated.dcm":
            assert read_stated(str(path), ASKED) == quick[path], path
    assert len(scans) > 100


def test_it_says_what_the_manifest_says(archive: Path) -> None:
    images = 0
    for path in files_of(archive):
        reading = read_dicom(str(path), None)
        if isinstance(reading, ReadImage):
            told, header = of(path), reading.header
            images += 1
            assert told.sop_instance_uid == header.sop_instance_uid
            assert told.modality == header.modality
            assert told.body_part == header.body_part_examined
            assert told.view_position == header.view_position
            assert told.photometric == header.photometric_interpretation
            with path.open("rb") as file:
                dataset, _ = read_header(file)
            ages = [fact[4:] for fact in facts_of(dataset, header_of(dataset).modality) if fact[:4] == "age="]
            assert ([told.age] if told.age not in ("", "?") else []) == ages
    assert images > 30


def test_what_is_asked_for_is_found(tmp_path: Path, write_dicom: Write) -> None:
    view = coded("SCT", "399067008", ViewModifierCodeSequence=Sequence([coded("SRT", "G-A138")]))
    path = write_dicom(
        tmp_path / "a.dcm",
        SOPInstanceUID="1.2.3",
        BodyPartExamined="CHEST",
        AnatomicRegionSequence=Sequence([coded("SRT", "T-D3000")]),
        ViewPosition="LL",
        ViewCodeSequence=Sequence([view]),
        Laterality="L",
        PatientAge="006Y",
        Manufacturer="Maker Inc.",
        ManufacturerModelName="DX 7000",
    )
    told = of(path)
    assert (told.sop_instance_uid, told.sop_class) == ("1.2.3", "1.2.840.10008.5.1.4.1.1.1.1")
    assert (told.modality, told.body_part, told.body_part_filled) == ("DX", "CHEST", True)
    assert told.region_codes == (("SRT", "T-D3000"),)
    assert (told.view_position, told.laterality, told.photometric) == ("LL", "L", "MONOCHROME2")
    assert told.view_codes == (("SCT", "399067008"),)
    assert told.view_modifiers == (("SRT", "G-A138"),)
    assert (told.age, told.age_filled) == ("child", True)
    assert (told.manufacturer, told.device_model) == ("Maker Inc.", "DX 7000")
    assert pickle.loads(pickle.dumps(told)) == told  # noqa: S301


def test_an_empty_header_states_nothing(tmp_path: Path, write_dicom: Write) -> None:
    path = write_dicom(tmp_path / "a.dcm", BodyPartExamined="", PatientAge="", Laterality="")
    assert of(path) == Stated(
        sop_instance_uid=of(path).sop_instance_uid,
        sop_class="1.2.840.10008.5.1.4.1.1.1.1",
        modality="DX",
        photometric="MONOCHROME2",
    )


def test_a_side_or_an_age_that_cannot_be_read_is_told_from_none(tmp_path: Path, write_dicom: Write) -> None:
    path = write_dicom(tmp_path / "a.dcm", ImageLaterality="X", Laterality="L", PatientAge="old")
    assert (of(path).laterality, of(path).age, of(path).age_filled) == ("?", "?", True)
    dates = {"PatientBirthDate": "20010203", "StudyDate": "20150101"}
    path = write_dicom(tmp_path / "b.dcm", ImageLaterality="R", Laterality="L", **dates)
    assert (of(path).laterality, of(path).age, of(path).age_filled) == ("R", "teenager", False)


def test_a_part_that_cannot_be_shown_is_understood_in_the_worker(tmp_path: Path, write_dicom: Write) -> None:
    path = write_dicom(tmp_path / "a.dcm", BodyPartExamined="THORAX")
    data = path.read_bytes()
    for written, codes in ((b"(PL)^", None), (b"B?CKEN", (PELVIS,)), (b"THORAX/", (CHEST,))):
        value = written.ljust(len(written) + 1 & ~1)
        element = b"\x18\x00\x15\x00CS" + len(value).to_bytes(2, "little") + value
        path.write_bytes(data.replace(b"\x18\x00\x15\x00CS\x06\x00THORAX", element))
        told = of(path)
        assert (told.body_part, told.body_part_filled, told.body_part_codes) == ("", True, codes)


@pytest.mark.parametrize(
    ("charset", "encoding"),
    [
        ("ISO_IR 192", "utf-8"),
        (["", "ISO 2022 IR 87"], "iso2022_jp"),
        (None, "utf-8"),
        ("GB18030", "gb18030"),
    ],
)
def test_descriptions_are_looked_into_only_if_that_is_asked_for(
    tmp_path: Path, write_dicom: Write, charset: Any, encoding: str
) -> None:
    texts = {"StudyDescription": "Becken Herr Meier", "ProtocolName": "placeholder "}
    path = write_dicom(tmp_path / "a.dcm", **texts)
    if charset:
        dataset = dcmread(path)
        dataset.add_new("SpecificCharacterSet", "CS", charset)
        dataset.save_as(path)
    path.write_bytes(path.read_bytes().replace(b"placeholder ", "胸部".encode(encoding).ljust(12)))
    assert of(path).described == (PELVIS, CHEST)
    assert of(path, Asked(b"salt", TERMS)).described == ()


def test_a_code_that_is_none_is_not_shown(tmp_path: Path, write_dicom: Write) -> None:
    items = Sequence([coded("SCT", "DOE^JOHN"), coded("DOE", "12345"), coded("SNM3", "T-D6000")])
    path = write_dicom(tmp_path / "a.dcm", AnatomicRegionSequence=items)
    assert of(path).region_codes == (("", ""), ("", ""), ("SNM3", "T-D6000"))


@pytest.mark.parametrize("model", ["Room of DOE", "DX-4711", "XDOEX", "X471199", "Raum Süd", "a" * 65])
def test_a_device_with_a_word_of_the_patients_is_not_shown(
    tmp_path: Path, write_dicom: Write, model: str
) -> None:
    named = {"PatientName": "Doe^Jane", "PatientID": "4711", "ReferringPhysicianName": "XDOEX^A"}
    path = write_dicom(
        tmp_path / "a.dcm", SpecificCharacterSet="ISO_IR 192", ManufacturerModelName=model, **named
    )
    assert of(path).device_model == ""


def test_keys_are_salted_hashes(tmp_path: Path, write_dicom: Write) -> None:
    elements = {"AccessionNumber": "A77", "StationName": "ROOM1", "PatientID": "4711"}
    path = write_dicom(tmp_path / "a.dcm", **elements)
    told, other = of(path), of(path, Asked(b"another salt"))
    digits = hmac.new(b"salt", b"A77", hashlib.sha256).hexdigest()[:16]
    assert told.accession == f"a{digits}"
    assert told.station == "s" + hmac.new(b"salt", b"ROOM1", hashlib.sha256).hexdigest()[:16]
    assert {told.accession, told.station}.isdisjoint({other.accession, other.station})
    shown = repr(told)
    assert not [word for word in (*elements.values(), "CANARY") if word in shown]


def test_what_cannot_be_read_is_a_value(tmp_path: Path, write_dicom: Write) -> None:
    assert failure_of(tmp_path / "gone") == (Status.IO_ERROR, Reason.VANISHED)
    assert failure_of(tmp_path) == (Status.NOT_DICOM, Reason.SPECIAL_FILE)
    (tmp_path / "empty").touch()
    assert failure_of(tmp_path / "empty") == (Status.NOT_DICOM, Reason.EMPTY_FILE)
    (tmp_path / "text").write_text("no image")
    assert failure_of(tmp_path / "text") == (Status.NOT_DICOM, Reason.NO_DICOM)
    os.mkfifo(tmp_path / "pipe")
    assert failure_of(tmp_path / "pipe") == (Status.NOT_DICOM, Reason.SPECIAL_FILE)
    cut = write_dicom(tmp_path / "cut", BodyPartExamined="CHEST")
    data = cut.read_bytes()
    cut.write_bytes(data[: data.index(b"CHEST") + 2])
    assert failure_of(cut) == (Status.DECODE_ERROR, Reason.HEADER_DAMAGED)


def test_workers_read_them(archive: Path) -> None:
    files = [str(path) for path in files_of(archive / "2019")]
    told = dict(isolation.read_all(partial(read_stated, asked=ASKED), files, PoolSettings(workers=1)))
    assert told == {path: read_stated(path, ASKED) for path in files}


NAMED = {
    "PatientName": "CANARY^HILDEGUND",
    "PatientID": "ZQ-7714553",
    "PatientBirthDate": "19390817",
    "AccessionNumber": "A-99812",
    "ResponsiblePerson": "OTTOKAR^KUCKUCK",
}


@pytest.mark.parametrize(
    "value", ["HILDEGUND C", "ZQ 7714553", "CHEST CANARY", "A99812", "KUCKUCK 1939 08 17"]
)
def test_what_names_a_person_is_not_shown_wherever_it_stands(
    tmp_path: Path, write_dicom: Write, value: str
) -> None:
    shown = dict.fromkeys(
        ("BodyPartExamined", "ViewPosition", "Manufacturer", "ManufacturerModelName"), value
    )
    told = of(write_dicom(tmp_path / "a.dcm", **NAMED, **shown))
    assert (told.body_part, told.body_part_filled) == ("", True)
    assert (told.view_position, told.view_filled) == ("", True)
    assert (told.manufacturer, told.device_model) == ("", "")
    assert (told.body_part_codes or ()) == ((CHEST,) if "CHEST" in value else ())


def test_a_term_is_shown_though_a_person_is_called_so(tmp_path: Path, write_dicom: Write) -> None:
    names = {"PatientName": "CHEST^Chester", "PatientID": "THORAX-0001"}
    for value in ("CHEST", "THORAX"):
        assert of(write_dicom(tmp_path / "a.dcm", **names, BodyPartExamined=value)).body_part == value


@pytest.mark.parametrize(
    ("scheme", "value"),
    [("SCT", "19390817"), ("SCT", "7714553"), ("SRT", "A-99812"), ("SRT", "P-12345"), ("DCM", "7714553")],
)
def test_a_number_that_may_be_a_persons_is_no_code(
    tmp_path: Path, write_dicom: Write, scheme: str, value: str
) -> None:
    region = Sequence([coded(scheme, value)])
    assert of(write_dicom(tmp_path / "a.dcm", **NAMED, AnatomicRegionSequence=region)).region_codes == (
        ("", ""),
    )


def test_of_several_parts_all_are_understood(tmp_path: Path, write_dicom: Write) -> None:
    told = of(write_dicom(tmp_path / "a.dcm", BodyPartExamined=["THORAX", "BECKEN"]))
    assert (told.body_part, told.body_part_codes) == ("", (CHEST, PELVIS))


def test_what_many_headers_share_hides_nothing(tmp_path: Path, write_dicom: Write) -> None:
    names = {"PatientName": "MONOCHROME2 DX", "InstitutionName": "Maker Medical Center"}
    told = of(write_dicom(tmp_path / "a.dcm", **names, Manufacturer="Maker Medical"))
    assert (told.manufacturer, told.photometric, told.modality) == ("Maker Medical", "MONOCHROME2", "DX")


def test_an_empty_item_of_a_code_sequence_states_nothing(tmp_path: Path, write_dicom: Write) -> None:
    view = coded("SCT", "399348003", ViewModifierCodeSequence=Sequence([Dataset()]))
    told = of(
        write_dicom(
            tmp_path / "a.dcm",
            AnatomicRegionSequence=Sequence([Dataset(), coded("", "")]),
            ViewCodeSequence=Sequence([view]),
        )
    )
    assert (told.region_codes, told.view_modifiers) == ((), ())
    assert told.view_codes == (("SCT", "399348003"),)
