"""The table of terms: whole, right by pydicom's dictionaries, and wide enough for what headers hold."""

import csv
import pickle
from collections import Counter
from pathlib import Path

import pytest
from pydicom.sr._snomed_dict import mapping as snomed_mapping
from pydicom.sr.codedict import codes

from dicomsort.audit import terms
from dicomsort.audit.terms import FRONTAL, LATERAL, OBLIQUE, OTHER, Terms
from dicomsort.dicom.stated import Asked, Stated, read_stated
from dicomsort.dicom.wording import words_of
from dicomsort.errors import UsageError
from dicomsort.model import anatomy

SHIPPED = Path(terms.__file__).parent
TERMS = Terms.load()
SCHEMES = ("SRT", "SNM3", "99SDM")

MIDRC = """CHEST|no data|PORT CHEST|ABDOMEN|HEAD|PORT ABDOMEN|SKULL|Chest|SPINE|AORTA|KIDNEY|CHESTABDOMEN
HEART|CHEST_TO_PELVIS|UNKNOWN|PELVIS|FOOT|KNEE|SERVICE|PE CHEST|BRAIN|NECK|RIB|DEFAULT|LSPINE
SHOULDER|HAND|HIP|RIBS|CHEST ABD PELVIS|ANKLE|CAP|CHESTABDPELVIS|ABDOMENPELVIS|CHEST_ABDOMEN
ABD PEL|BODY|L SPINE|Ankle|Knee|Hip|LEG|LUMBAR_SPINE|C SPINE|C_A_P|ELBOW|EXTREMITY|THORAX
TSPINE|WRIST|BLADDER|CERVICAL_SPINE|CHEST AB PEL|CHEST LUNG|FACIAL|FEMUR|FOREARM
KIDNEY_URETER_BL|LUNG|PEDIATRIC CHEST|PORTABLE CHEST|SHOULDER_SCAPULA|ABD|ABDOMEN_PELVIS
BABYGRAM|BREAST|CARDIO|CHEST LATERAL|CHEST PA X-WISE|CHEST LAT|CHEST PE|CHEST_LOW EXT
CHES_ABD_PEL|CHSTABDPELV|CLAVICLE|CSPINE|CTA CHEST|CXR|FOOT LAT|FOOT_ANKLE|Finger|Foot
HEAD AND NECK|LOWER EXTREMITY|LOW_EXM|NECK CHEST|ORBIT|ORBITS|PE|PORT C SPINE|Ribs|SSPINE
TBFB_CALF|THORAXABD|TIBIA FIBULA"""
"""Values of Body Part Examined by which the data commons of MIDRC (data.midrc.org) can be searched."""

TCIA = """ABD|ABD PEL|ABD PELV|ABDOMEN|ABDOMEN_PELVIS |ABDOMENPELVIS|AP PORTABLE CHE|BD CT ABD WO_W
BLADDER|BRAIN|BRAIN W/WO_AH32|BREAST|CAP|CAROTID|CERVIX|CHEST|CHEST (THORAX) |CHEST COMPUTED
CHEST NO GRID|CHEST_ABDOMEN|CHEST_TO_PELVIS|CHEST/ABD|CHESTABDOMEN|CHESTABDPELVIS|COLON
CT 3PHASE REN|CT CHEST W_ENHA|CT CHEST WO CE|FUSION|CT THORAX W CNT|CTA CHEST|ESOPHAGUS
EXTREMITY|HEAD|Head-and-Neck|Head-Neck|HEADANDNECK|HEADNECK|HEART|Kidney|J brzuszna|J BRZUSZNA
KIDNEY|LEG|LIVER|LUMBO-SACRAL SP|LUNG|MEDIASTINUM|NECK|OUTSIDE FIL|OVARY|PANCREAS|Pelvis|PELVIS
PET_ABDOMEN_PEL|PET_CT SCAN CHE|Phantom|PHANTOM|PORT CHEST|PROSTATE|RECTUM|SEG|SELLA|SKULL
STOMACH|SPI CHEST 5MM|TH CT CHEST WO |Thorax|THORAX|THORAX CT _AH05|THORAX CT _OT01
THORAX_1HEAD_NE|THORAXABD|THYROID|TSPINE|UNDEFINED|UTERUS|WHOLEBODY|WO INTER"""
"""All values of Body Part Examined in The Cancer Imaging Archive in 2021 (J. Muschelli, neuroc)."""


def rows_of(name: str) -> list[dict[str, str]]:
    with (SHIPPED / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def named(text: str) -> list[str] | None:
    """What a text names, in the standard's words."""
    found = TERMS.regions_of(text)
    return None if found is None else [anatomy.regions()[code].meaning for code in found]


def share_known(values: list[str]) -> float:
    return sum(TERMS.regions_of(value) is not None for value in values) / len(values)


def test_every_line_of_the_table_can_be_found_and_says_where_it_is_from() -> None:
    rows = rows_of("terms.csv")
    assert list(rows[0]) == ["term", "language", "code", "source"]
    assert len(rows) > 3000
    assert Counter(" ".join(words_of(row["term"])) for row in rows).most_common(1)[0][1] == 1
    for row in rows:
        assert row["term"] == row["term"].upper().strip()
        assert row["language"]
        assert row["source"]
        if row["code"] == "side":
            assert TERMS.regions_of(row["term"]) == ()
        else:
            code = () if row["code"] == "*" else tuple(row["code"].split("|"))
            assert TERMS.regions_of(row["term"]) == terms.settled(code)
            assert (
                code == ()
                or any(map(terms.regions_for, code))
                or code in {("39352004",), ("51114001",)}
                or row["language"] in ("std", "en")
            )


def test_every_code_is_a_region_or_has_regions() -> None:
    standing = {row["code"]: row["regions"].split("|") for row in rows_of("terms_regions.csv")}
    used = {code for row in rows_of("terms.csv") for code in row["code"].split("|")} - {"*", "side"}
    used |= {row["code"] for row in rows_of("terms_codes.csv")}
    views = {row["term"] for row in rows_of("terms_views.csv") if row["language"] == "SCT"}
    assert not {code for code in used if code not in standing and not anatomy.chain(code)} - views
    assert not {part for parts in standing.values() for part in parts if part and not anatomy.chain(part)}


@pytest.mark.parametrize("number", [4, 4009, 4028, 4030, 4031, 4042])
def test_the_regions_of_the_standard_are_known_by_code_and_by_meaning(number: int) -> None:
    """As pydicom has them, which generates its dictionary from the standard."""
    entries = list(getattr(codes, f"cid{number}").concepts.values())
    assert len(entries) > 40
    for entry in entries:
        assert terms.code_of_sequence("SCT", entry.value) == entry.value, entry
        if number in (4, 4009, 4031) and entry.meaning != "Hip":  # Annex L: HIP is the joint
            assert TERMS.regions_of(entry.meaning) == terms.regions_of_code("SCT", entry.value), entry


def test_codes_of_snomed_rt_are_mapped_as_by_pydicom() -> None:
    """But for eight, whose concepts have been retired since."""
    used = {row["value"]: row["code"] for row in rows_of("terms_codes.csv")}
    rt = {value: code for value, code in used.items() if "-" in value}
    retired = {value: code for value, code in used.items() if "-" not in value}
    theirs = snomed_mapping["SRT"]
    assert {value for value in rt if value not in theirs} == ADDED
    assert sum(theirs.get(value, code) != code for value, code in rt.items()) == 8
    for value, code in rt.items():
        if value in theirs:
            assert retired.get(theirs[value], theirs[value]) == code, value
        assert {terms.code_of_sequence(scheme, value) for scheme in SCHEMES} <= {code, None}


ADDED = {
    *("T-D8100", "T-A600A", "T-45526", "T-AB000", "T-D8300", "T-12402", "T-51000", "T-D4034", "T-55002"),
    *("T-9200B", "T-D0146", "T-C8001", "T-73800", "T-11167", "T-D2010", "T-D2020", "R-10214"),
}
"""What older editions of the standard use and pydicom does not map."""


@pytest.mark.parametrize(
    ("retired", "meaning"),
    [("T-D3000", "Chest"), ("T-D4000", "Abdomen"), ("T-D6000", "Pelvis"), ("R-FAB57", "AbdomenAndPelvis")],
)
def test_what_pydicom_calls_another_region_is_the_same(retired: str, meaning: str) -> None:
    today = getattr(codes.SCT, meaning) if meaning != "Pelvis" else codes.cid4031.Pelvis
    assert snomed_mapping["SRT"][retired] != today.value
    for scheme in SCHEMES:
        assert terms.code_of_sequence(scheme, retired) == today.value
    assert terms.code_of_sequence("SCT", snomed_mapping["SRT"][retired]) == today.value


def test_a_code_of_another_scheme_or_nothing_is_not_known() -> None:
    assert terms.code_of_sequence("DCM", "816094009") is None
    assert terms.code_of_sequence("SCT", "73211009") is None  # a disease
    assert terms.regions_of_code("", "") is None


@pytest.mark.parametrize(
    ("term", "code"),
    [
        ("ABDOMEN", "818981001"),
        ("ARM", "40983000"),
        ("UPPERARM", "40983000"),
        ("BREAST", "76752008"),
        ("CALCANEUS", "80144004"),
        ("CHEST", "816094009"),
        ("CLAVICLE", "51299004"),
        ("CSPINE", "122494005"),
        ("ELBOW", "16953009"),
        ("FINGER", "7569003"),
        ("FOOT", "56459004"),
        ("FOREARM", "14975008"),
        ("HAND", "85562004"),
        ("HEAD", "69536005"),
        ("HIP", "24136001"),
        ("HUMERUS", "85050009"),
        ("JAW", "661005"),
        ("KNEE", "72696002"),
        ("LEG", "30021000"),
        ("LOWERLEG", "30021000"),
        ("LSPINE", "122496007"),
        ("NECK", "45048000"),
        ("PELVIS", "816092008"),
        ("RIB", "113197003"),
        ("SHOULDER", "16982005"),
        ("SKULL", "89546000"),
        ("SPINE", "421060004"),
        ("SSPINE", "54735007"),
        ("THIGH", "68367000"),
        ("THUMB", "76505004"),
        ("TOE", "29707007"),
        ("TSPINE", "122495006"),
        ("WHOLEBODY", "38266002"),
        ("WRIST", "74670003"),
        ("ZYGOMA", "13881006"),
    ],
)
def test_defined_terms_mean_what_annex_l_says(term: str, code: str) -> None:
    assert TERMS.regions_of(term) == (code,)
    assert next(row["source"] for row in rows_of("terms.csv") if row["term"] == term).startswith("PS3.16")


def test_what_consists_of_several_regions_is_these() -> None:
    assert named("NECKCHESTABDOMEN") == ["Neck", "Chest", "Abdomen"]
    assert named("EXTREMITY") == ["Upper limb", "Lower limb"]
    assert named("TLSPINE") == ["Thoracic spine", "Lumbar spine"]
    assert named("HEART") == ["Heart", "Chest"]
    assert named("FEMORALA") == ["Thigh"]
    assert named("ARTERY") == named("PHANTOM") == named("STIFLE") == []


@pytest.mark.parametrize(
    ("text", "meanings"),
    [
        ("Thorax", "Chest"),
        ("BAUCH", "Abdomen"),
        ("KOLUMNA LWS", "Lumbar spine"),
        ("TORAX", "Chest"),
        ("Schädel", "Skull"),
        ("SCHAEDEL", "Skull"),
        ("Sch?del", "Skull"),
        ("B?cken", "Pelvis"),
        ("H\ufffdfte", "Hip"),
        ("Handgelenk rechts", "Wrist joint"),
        ("OSG li", "Ankle joint"),
        ("BWS/LWS", "Thoracic spine Lumbar spine"),
        ("RACHIS CERVICAL", "Cervical spine"),
        ("GENOU GAUCHE", "Knee"),
        ("THORAX FACE", "Chest"),
        ("FACE", "Head"),
        ("MEMBRE INFÉRIEUR", "Lower limb"),
        ("COLUMNA DORSOLUMBAR", "Thoracic spine Lumbar spine"),
        ("RODILLA DER", "Knee"),
        ("Senos paranasales", "Paranasal sinus"),
        ("JOELHO ESQUERDO", "Knee"),
        ("SEIOS DA FACE", "Paranasal sinus"),
        ("COLUNA LOMBO-SACRA", "Lumbar spine Sacrum"),
        ("GINOCCHIO DX", "Knee"),
        ("BACINO", "Pelvis"),
        ("RACHIDE LOMBOSACRALE", "Lumbar spine Sacrum"),
        ("KYOBU", "Chest"),
        ("胸部正面", "Chest"),
        ("左膝関節", "Knee"),
        ("膝 側面", "Knee"),
        ("腰椎", "Lumbar spine"),
        ("STAW BARKOWY", "Shoulder"),
        ("UP_EXM", "Upper limb"),
        ("LOWEXM", "Lower limb"),
        ("RHAND R", None),
        ("L SPINE", "Lumbar spine"),
        ("R HAND", "Hand"),
        ("BOTH FEET", "Foot"),
        ("Hand L PA", "Hand"),
        ("PORT L SPINE", "Lumbar spine"),
        ("DEFAULT", ""),
        ("L", ""),
        ("AP", ""),
        ("LEFT LATERAL", ""),
        ("4711", ""),
        ("MUELLER", None),
        ("XYZZY", None),
        ("ROOM", None),
    ],
)
def test_spellings_of_the_field(text: str, meanings: str | None) -> None:
    found = named(text)
    assert (None if found is None else " ".join(found)) == meanings


@pytest.mark.parametrize("values", [MIDRC, TCIA], ids=["MIDRC", "TCIA"])
def test_published_lists_of_values_are_covered(values: str) -> None:
    assert share_known(values.replace("\n", "|").split("|")) >= 0.98


def test_the_values_of_real_files_are_covered(archive: Path) -> None:
    files = [str(path) for path in archive.rglob("*") if path.is_file()]
    headers = [read_stated(path, Asked(b"")) for path in files]
    values = [one.body_part for one in headers if isinstance(one, Stated) and one.body_part]
    assert len(values) > 20
    assert share_known(values) >= 0.98


def test_descriptions_are_read_with_care() -> None:
    found = TERMS.wording.found_in
    assert TERMS.described(found("Röntgen Thorax p.a. und Hüfte links")) == ("816094009", "29836001")
    assert TERMS.described(found("LWS in 2 Ebenen, Dr. Hals-Nasen")) == ("122496007", "45048000")
    assert TERMS.described(found("pie chart of mano, CAP, TAP and IV")) == ("85562004",)
    assert TERMS.described(found("radio genou de face")) == ("72696002",)
    assert TERMS.described(found("胸部単純 正面")) == ("816094009",)
    names_and_other_words = "Dr. Hara, Prof. Potter and Reis: axis, index, foreign body, back again, atlas"
    assert TERMS.described(found(names_and_other_words)) == ()


def test_a_table_of_ones_own_comes_first(tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text(
        "term,code,remark\nRoom 7,816094009,x\nchest,45048000|69536005,\nECKIG, * ,\nLIX,side,\n,,\n"
    )
    extended = Terms.load(own)
    assert extended.regions_of("ROOM_7") == ("816094009",)
    assert extended.regions_of("Chest LIX") == ("45048000", "69536005")
    assert extended.regions_of("eckig") == ()
    assert extended.regions_of("THORAX") == ("816094009",)
    assert pickle.loads(pickle.dumps(extended)) == extended  # noqa: S301


def test_a_meaning_may_be_told_by_a_word_that_is_known_already(tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text("term,code\nCHSET,CHEST\nKNI FUS,knie|FUSS\nRoom 8,\n")
    extended = Terms.load(own)
    assert extended.regions_of("chset") == ("816094009",)
    assert extended.regions_of("KNI FUS") == ("72696002", "56459004")
    assert extended.regions_of("ROOM 8") is None


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_of_ones_own_may_be_saved_by_a_spreadsheet(tmp_path: Path, separator: str) -> None:
    own = tmp_path / "own.csv"
    lines = ("Term", "Code"), ("LÜFTE", "*"), ("RAUM 7", "816094009")
    own.write_bytes("\r\n".join(map(separator.join, lines)).encode("utf-8-sig"))
    extended = Terms.load(own)
    assert extended.regions_of("LÜFTE") == ()
    assert extended.regions_of("RAUM 7") == ("816094009",)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("name,code\nA,816094009\n", "columns term and code"),
        ("term,code\nA,12345\n", "'12345' is no code"),
        ("term,code\nA,816094009|\n", "'' is no code"),
        ("term,code\nA,CHEST\nB,CHSET\n", "line 3: 'CHSET' is no code"),
        ("term,code\nA,DEFAULT\n", "'DEFAULT' is no code"),
        ("", "columns term and code"),
        (None, "No such file"),
        ("term,code\nL\xdcFTE,*\n".encode("latin-1"), "save it as CSV UTF-8"),
        (b"\xff\xfe\x00", "UTF-8"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(
    tmp_path: Path, content: str | bytes | None, why: str
) -> None:
    own = tmp_path / "own.csv"
    if content is not None:
        own.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match=r"own\.csv' cannot be used") as refused:
        Terms.load(own)
    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("text", "view"),
    [
        ("AP", FRONTAL),
        ("PA", FRONTAL),
        ("a.p.", FRONTAL),
        ("LL", LATERAL),
        ("PA SITZEND", FRONTAL),
        ("RL", LATERAL),
        ("RLD", FRONTAL),
        ("LLD", FRONTAL),
        ("RLO", OBLIQUE),
        ("LLO", OBLIQUE),
        ("LATERAL", LATERAL),
        ("L LAT", LATERAL),
        ("seitlich", LATERAL),
        ("PROFIL", LATERAL),
        ("FACE", FRONTAL),
        ("OBLICUA", OBLIQUE),
        ("側面", LATERAL),
        ("AP ERECT PORTABLE", FRONTAL),
        ("AP/LAT", OTHER),
        ("AXIAL", OTHER),
        ("SKYLINE", OTHER),
        ("ERECT", None),
        ("XYZZY", None),
        ("", None),
    ],
)
def test_view_positions(text: str, view: str | None) -> None:
    assert terms.view_of(text) == view


def test_all_views_of_the_standard_are_known() -> None:
    """CID 4010 as pydicom has it, and by codes of SNOMED RT."""
    entries = list(codes.cid4010.concepts.values())
    assert len(entries) == 42
    found = Counter(terms.view_of_code("SCT", entry.value) for entry in entries)
    assert None not in found
    for entry in entries:
        view = terms.view_of_code("SCT", entry.value)
        words = set(entry.meaning.lower().replace("-", " ").split())
        if "oblique" in words and not words & {"axial", "cranio", "caudo"}:
            assert view == OBLIQUE, entry
        if words <= {"antero", "postero", "anterior", "posterior", "frontal"}:
            assert view == FRONTAL, entry
        if words <= {"right", "left", "lateral"}:
            assert view == LATERAL, entry
    for value, view in {
        "R-10206": FRONTAL,
        "R-10214": FRONTAL,
        "R-10232": LATERAL,
        "R-102C1": OBLIQUE,
    }.items():
        assert terms.view_of_code("SRT", value) == view
    assert terms.view_of_code("SCT", "399066004") == FRONTAL  # postero-anterior before it was retired
    assert terms.view_of_code("DCM", "111069") is None


def test_the_body_part_that_would_be_written_for_a_region_is_the_standards_term_for_it() -> None:
    with (SHIPPED / "terms.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "PS3.16 Table L-1"]
    told = {(row["term"], row["code"]) for row in rows}
    written = {(anatomy.body_part_of(code), code) for code in anatomy.regions()}
    assert len([term for term, _ in written if term]) > 80
    assert {(term, code) for term, code in written if term} - told == {("HIP", "29836001")}  # of the joint


@pytest.mark.parametrize(
    ("text", "meanings"),
    [
        ("MAIN CAMPUS CHEST PA", ["Chest"]), ("Rene Costa, Knie", ["Knee"]), ("Wade, Cara: HAND", ["Hand"]),
        ("kann Fraktur sein, HWS", ["Cervical spine"]), ("Main droite", ["Hand"]),
        ("SEIN GAUCHE", ["Breast"]),
    ],
)  # fmt: skip
def test_in_free_text_a_name_or_a_word_of_another_language_is_no_part_of_the_body(
    text: str, meanings: list[str]
) -> None:
    found = TERMS.described(TERMS.wording.found_in(text))
    assert [anatomy.regions()[code].meaning for code in found] == meanings


@pytest.mark.parametrize(
    ("text", "meanings"),
    [("GENOU COTE DROIT", ["Knee"]), ("HWK", ["Cervical spine"]), ("MASCELLA", ["Mandible", "Maxilla"])],
)
def test_what_a_careful_reader_has_found(text: str, meanings: list[str]) -> None:
    assert named(text) == meanings
