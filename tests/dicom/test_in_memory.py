"""Bytes, open files and arrays give what the file gives."""

import gzip
import io
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from committed import committed, expected_rows
from PIL import Image
from readings import SMOOTH8
from written import picture

import dicomsort
from dicomsort import Preprocessing, ReadSettings, UnreadableError, UsageError, read_image
from dicomsort.library.models import Model
from dicomsort.outcome import Reason, Status

Write = Callable[..., Path]
CANVAS = Preprocessing(size=64)
PICTURES = ReadSettings(pictures=True)


class Answer(io.RawIOBase):
    """What a server sends: it comes once, and cannot be sought in."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._content.readinto(buffer)


COMMITTED = [committed(row["file"]) for row in expected_rows() if row["file"].startswith("archive/")]


def outcome_of(source: Path | bytes) -> object:
    try:
        return read_image(source, CANVAS).tolist()
    except UnreadableError as error:
        return error.status, error.reason


def test_the_bytes_of_every_committed_file_are_read_as_the_file_is() -> None:
    assert len(COMMITTED) > 50
    for path in COMMITTED:
        assert outcome_of(path.read_bytes()) == outcome_of(path), path


def test_whatever_is_open_in_binary_mode_is_read_from_its_start(tmp_path: Path, write_dicom: Write) -> None:
    """Native pixels, which are mapped by the file's descriptor where that is right."""
    path = write_dicom(tmp_path / "a.dcm", np.kron(picture(1), np.ones((20, 20), np.uint16)))
    content, wanted = path.read_bytes(), read_image(path, CANVAS)
    packed = tmp_path / "x.gz"
    packed.write_bytes(gzip.compress(content))
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", content)
    with (
        path.open("rb") as plain,
        path.open("rb", buffering=0) as raw,
        gzip.open(packed) as inflated,
        io.BufferedReader(gzip.GzipFile(packed)) as buffered,
        zipfile.ZipFile(tmp_path / "x.zip") as archive,
        archive.open("a.dcm") as member,
        tempfile.SpooledTemporaryFile() as spooled,
        tempfile.NamedTemporaryFile() as named,
    ):
        plain.seek(1000)
        for written in (spooled, named):
            written.write(content)
        sources = [plain, raw, inflated, buffered, member, spooled, named, io.BytesIO(content)]
        for source in [*sources, Answer(content), io.BufferedReader(Answer(content))]:
            assert np.array_equal(read_image(source, CANVAS), wanted), source  # type: ignore[arg-type]
        assert np.array_equal(read_image(plain, CANVAS), wanted), "and again"
    for several in (bytearray(content), memoryview(content)):
        assert np.array_equal(read_image(several, CANVAS), wanted)


def test_a_picture_in_memory_is_read_if_that_is_asked_for() -> None:
    encoded = io.BytesIO()
    Image.fromarray(SMOOTH8).save(encoded, "PNG")
    with pytest.raises(UnreadableError, match="picture, not DICOM"):
        read_image(encoded.getvalue(), CANVAS)
    found = read_image(encoded.getvalue(), CANVAS, PICTURES)
    assert np.array_equal(found, read_image(encoded, CANVAS, PICTURES))
    assert np.array_equal(found, read_image(SMOOTH8, CANVAS)), "and an array of gray is such a picture"


@pytest.mark.parametrize("kind", ["u2", "i2", "i4", "i8", "f4", "f8", "f2", ">u2", ">f4"])
def test_numbers_are_drawn_as_those_of_a_dicom_file_without_a_window(
    kind: str, tmp_path: Path, write_dicom: Write
) -> None:
    values = np.add.outer(np.arange(200), np.arange(150)).astype(np.uint16) * 5 + picture(3).mean(dtype=int)
    path = write_dicom(tmp_path / "a.dcm", values.astype(np.uint16))
    for canvas in (CANVAS, None):
        wanted = read_image(path, canvas).astype(int)
        found = read_image(values.astype(kind), canvas)
        assert found.dtype == np.uint8
        assert found.shape == wanted.shape
        assert np.abs(found.astype(int) - wanted).max() <= (2 if kind == "f2" else 0)
    assert np.array_equal(
        read_image(values[::-1][::-1].astype(kind), CANVAS), read_image(values.astype(kind), CANVAS)
    )


def test_a_scale_of_its_own_changes_nothing() -> None:
    values = picture(5).astype(np.float64)
    wanted = read_image(values, CANVAS)
    for slope, intercept in ((1e-6, 0.0), (1e6, -1e8), (2.0, 1000.0)):
        found = read_image(values * slope + intercept, CANVAS)
        assert np.abs(found.astype(int) - wanted).max() <= 1


def test_gray_of_the_size_of_the_canvas_stays_what_it_is() -> None:
    image = (picture(1) // 16).astype(np.uint8)
    square = np.resize(image, (64, 64))
    assert np.array_equal(read_image(square, CANVAS), square)
    assert np.array_equal(read_image(image, None), image)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (np.zeros((4, 4, 3), np.uint8), r"must be gray, .* not uint8 \(4, 4, 3\)"),
        (np.zeros((4, 0), np.uint16), r"not uint16 \(4, 0\)"),
        (np.zeros(4), r"not float64 \(4,\)"),
        (np.zeros((4, 4), bool), r"not bool \(4, 4\)"),
        (np.zeros((4, 4), complex), "not complex128"),
        (np.array([[0.0, np.nan]]), "NaN or infinity"),
        (np.array([[0.0, 1e300]]), "NaN or infinity"),
        (io.StringIO("text"), "opened as text"),
        (None, "not from NoneType"),
        (3, "not from int"),
    ],
)
def test_what_is_no_picture_is_told_in_one_line(source: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_image(source, CANVAS)


def test_a_closed_file_and_a_text_file_are_told(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        pass
    with pytest.raises(UsageError, match="closed"):
        read_image(file, CANVAS)
    (tmp_path / "text").write_text("hello")
    with (tmp_path / "text").open() as text, pytest.raises(UsageError, match="binary mode"):
        read_image(text, CANVAS)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_one_value_only_is_no_radiograph(kind: Any) -> None:
    with pytest.raises(UnreadableError) as raised:
        read_image(np.full((40, 30), 7, kind), CANVAS)
    assert (raised.value.status, raised.value.reason) == (Status.DECODE_ERROR, Reason.CONSTANT_IMAGE)


def test_bytes_that_are_no_radiograph_end_as_such_a_file_does() -> None:
    for content, reason in (
        (b"", Reason.EMPTY_FILE),
        (b"no picture", Reason.NO_DICOM),
        (b"PK\x03\x04" + bytes(99), Reason.ARCHIVE),
    ):
        with pytest.raises(UnreadableError) as raised:
            read_image(content, CANVAS)
        assert (raised.value.status, raised.value.reason) == (Status.NOT_DICOM, reason)


def test_a_model_takes_them_too(small_model: Path, tmp_path: Path, write_dicom: Write) -> None:
    model: Model = dicomsort.load_model(small_model, device="cpu")
    paths = [write_dicom(tmp_path / f"{number}.dcm", picture(number)) for number in range(3)]
    contents = [path.read_bytes() for path in paths]
    wanted = model.predict(paths)
    assert model.predict(contents) == model.predict(map(io.BytesIO, contents)) == wanted
    assert model.predict(contents[0]) == model.predict(io.BytesIO(contents[0])) == wanted[:1]
    assert np.array_equal(model.scores(contents), model.scores(paths))
    assert np.array_equal(
        model.features([paths[0], contents[1], io.BytesIO(contents[2])]), model.features(paths)
    )
    odd = model.predict([contents[0], b"nothing"], unreadable="return")[1]
    assert isinstance(odd, UnreadableError)
    with pytest.raises(UsageError, match="also of any array"):
        model.predict(picture(1))
    assert len(model.predict(read_image(picture(1), model.canvas))) == 1
