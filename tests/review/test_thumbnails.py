"""Pictures for the review page: the right pixels, kept for nobody else, and a bad file costs its own tile."""

import io
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import drawings
import numpy as np
import pytest
from held_time import only_hangs_take_time
from PIL import Image
from pydicom import dcmread
from written import write_dicom

from dicomsort.dicom.sop_classes import ReadSettings
from dicomsort.outcome import Failure, Reason, Status
from dicomsort.review import thumbnails
from dicomsort.review.picture_cache import Answer, RecentPictures, ThumbnailFolder
from dicomsort.review.thumbnails import Pictures, Subject
from dicomsort.system.pool_settings import PoolSettings
from dicomsort.system.worker_pool import _Pool

GRAYS = np.add.outer(np.sin(np.arange(600) / 40), np.cos(np.arange(450) / 30)) * 900 + 2000


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A film that is black around the edges, and 10 others."""
    grays = GRAYS.astype(np.uint16)
    grays[:40] = grays[-40:] = 200
    write_dicom(tmp_path / "in" / "film.dcm", grays, WindowCenter=2000, WindowWidth=4000)
    for number in range(10):
        write_dicom(tmp_path / "in" / f"{number}.dcm", grays[:50, :60] + number)
    return tmp_path / "in"


Make = Callable[..., Pictures]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Make pictures with workers that note down what they read."""
    monkeypatch.setattr(thumbnails, "_draw", drawings.misbehaving)
    made = []

    def start(folder: Path | None = None, timeout: float = 60, workers: int = 1) -> Pictures:
        held = None if folder is None else ThumbnailFolder(str(folder / thumbnails.FOLDER))
        made.append(Pictures(ReadSettings(), PoolSettings(workers, timeout), held))
        return made[-1]

    yield start
    for pictures in made:
        pictures.close()


def subject(path: Path) -> Subject:
    return Subject(str(path), str(path))


def got(coming: "Future[Answer | None]") -> bytes:
    answer = coming.result(60)
    assert isinstance(answer, bytes), answer
    return answer


def drawn(files: Path) -> list[str]:
    return (files / "drawn.txt").read_text().split()


def shown(path: Path) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """What pydicom stores, seen through the linear window of PS3.3 C.11.2.1.2.1."""
    stored = dcmread(path)
    center, width = float(stored.WindowCenter), float(stored.WindowWidth)
    return np.clip((stored.pixel_array - (center - 0.5)) / (width - 1) + 0.5, 0, 1) * 255


def test_a_thumbnail_is_the_picture_at_256_pixels_without_anything_around_it(files: Path, make: Make) -> None:
    image = Image.open(io.BytesIO(got(make().thumbnail(subject(files / "film.dcm")))))
    assert (image.format, image.mode, image.size) == ("JPEG", "L", (192, 256))
    small = Image.fromarray(shown(files / "film.dcm").astype(np.float32)).resize(
        (192, 256), Image.Resampling.BOX
    )
    assert np.abs(np.asarray(image, float) - np.asarray(small)).mean() < 2


def test_the_whole_picture_has_every_pixel(files: Path, make: Make) -> None:
    image = Image.open(io.BytesIO(got(make().full(subject(files / "film.dcm")))))
    assert (image.format, image.mode, image.size) == ("PNG", "L", (450, 600))
    assert np.abs(np.asarray(image, float) - shown(files / "film.dcm")).max() <= 1


def test_thumbnails_are_kept_for_their_owner_alone_and_read_again_only_if_the_file_changes(
    files: Path, make: Make, tmp_path: Path
) -> None:
    film, out = files / "film.dcm", tmp_path / "out"
    out.mkdir()
    first = got(make(out).thumbnail(subject(film)))
    folder = out / ".dicomsort" / "thumbnails"
    kept = list(folder.iterdir())
    assert [path.read_bytes() for path in kept] == [first]
    assert "film" not in kept[0].name
    modes = [path.stat().st_mode & 0o777 for path in (folder.parent, folder, *kept)]
    assert modes == [0o700, 0o700, 0o600]
    again = make(out)
    assert got(again.thumbnail(subject(film))) == first
    moved = str(shutil.copy2(film, files / "moved.dcm"))
    assert got(again.thumbnail(Subject(str(film), moved))) == first, "a decision moves a file"
    assert drawn(files) == ["film.dcm"]
    os.utime(film, ns=(1, 1))
    assert got(again.thumbnail(subject(film))) == first
    assert drawn(files) == ["film.dcm"] * 2


def test_without_a_folder_nothing_is_written_and_nothing_read_twice(files: Path, make: Make) -> None:
    pictures = make()
    for _ in range(2):
        got(pictures.thumbnail(subject(files / "film.dcm")))
        got(pictures.full(subject(files / "film.dcm")))
    assert drawn(files) == ["film.dcm"] * 2
    assert not list(files.parent.rglob("*.jpg"))


@pytest.mark.parametrize("spoil", [lambda path: path.write_bytes(path.read_bytes()[:-9]), Path.unlink])
def test_a_thumbnail_that_is_gone_or_not_whole_is_made_again(
    spoil: Callable[[Path], object], files: Path, make: Make, tmp_path: Path
) -> None:
    first = got(make(tmp_path).thumbnail(subject(files / "film.dcm")))
    kept = next(tmp_path.rglob("*.jpg"))
    spoil(kept)
    assert got(make(tmp_path).thumbnail(subject(files / "film.dcm"))) == first
    assert kept.read_bytes() == first


def test_a_link_in_place_of_the_folder_is_not_followed(files: Path, make: Make, tmp_path: Path) -> None:
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "out"
    elsewhere.mkdir()
    out.mkdir()
    (out / ".dicomsort").symlink_to(elsewhere)
    pictures = make(out)
    for _ in range(2):
        got(pictures.thumbnail(subject(files / "film.dcm")))
    assert not list(elsewhere.rglob("*.jpg"))
    assert drawn(files) == ["film.dcm"]


def test_a_file_that_crashes_or_hangs_its_decoder_costs_its_own_tile(
    files: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("segfault.dcm", "hang.dcm"):
        shutil.copy(files / "film.dcm", files / name)
    (files / "text.dcm").write_text("no picture")
    monkeypatch.setattr(_Pool, "_count_time", only_hangs_take_time)
    pictures = make(workers=2)
    names = ("segfault.dcm", "hang.dcm", "text.dcm", "gone.dcm", "film.dcm")
    coming = {name: pictures.thumbnail(subject(files / name)) for name in names}
    assert got(coming.pop("film.dcm"))
    ends = {name: answer for name, each in coming.items() if isinstance(answer := each.result(60), Failure)}
    assert {name: (end.status, end.reason) for name, end in ends.items()} == {
        "segfault.dcm": (Status.CRASH, Reason.WORKER_DIED),
        "hang.dcm": (Status.TIMEOUT, Reason.TOO_SLOW),
        "text.dcm": (Status.NOT_DICOM, Reason.NO_DICOM),
        "gone.dcm": (Status.IO_ERROR, Reason.VANISHED),
    }
    before = len(drawn(files))
    assert pictures.thumbnail(subject(files / "segfault.dcm")).result(60) == ends["segfault.dcm"]
    assert len(drawn(files)) == before, "its fault is remembered"


def closed_gate(files: Path, pictures: Pictures) -> "Future[Answer | None]":
    """Keep the only worker busy until there is a file `go`."""
    shutil.copy(files / "film.dcm", files / "gate.dcm")
    coming = pictures.thumbnail(subject(files / "gate.dcm"))
    while not (files / "drawn.txt").exists():
        time.sleep(0.01)
    return coming


def test_what_is_looked_at_comes_first_and_then_what_comes_next(files: Path, make: Make) -> None:
    def numbered(number: int) -> Subject:
        return subject(files / f"{number}.dcm")

    pictures = make()
    closed_gate(files, pictures)
    pictures.ahead(map(numbered, (9, 8)))
    pictures.ahead(map(numbered, (1, 2, 2, 0)))
    wanted = [pictures.thumbnail(numbered(number)) for number in (3, 4, 2)]
    assert pictures.thumbnail(numbered(3)) is wanted[0]
    (files / "go").touch()
    got(wanted[1])
    got(pictures.thumbnail(numbered(0)))
    got(pictures.thumbnail(numbered(1)))
    assert drawn(files)[:4] == ["gate.dcm", "3.dcm", "2.dcm", "4.dcm"]
    assert sorted(drawn(files)[4:]) == ["0.dcm", "1.dcm"]


def test_whoever_waits_when_it_ends_is_told(files: Path, make: Make) -> None:
    pictures = make()
    waiting = [closed_gate(files, pictures)]
    waiting += [pictures.thumbnail(subject(files / f"{number}.dcm")) for number in range(5)]
    pictures.close()
    assert [coming.result(0) for coming in waiting] == [None] * 6
    assert pictures.thumbnail(subject(files / "film.dcm")).result(0) is None


def test_memory_keeps_as_much_as_fits_and_always_the_last() -> None:
    recent = RecentPictures(100)
    for key in "abc":
        recent.put(key, bytes(40))
    assert [recent.get(key) is not None for key in "abc"] == [False, True, True]
    recent.get("b")
    recent.put("d", bytes(10))
    recent.put("e", bytes(40))
    assert [recent.get(key) is not None for key in "bcde"] == [True, False, True, True]
    recent.put("f", bytes(1000))
    assert [recent.get(key) is not None for key in "bdef"] == [False, False, False, True]
