"""Looking at data: counts that agree with numpy's, and contact sheets."""

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dicomsort.cli.main import app
from dicomsort.data import statistics
from dicomsort.data.dataset import Columns, load
from dicomsort.dicom.reader import read_any
from dicomsort.errors import TargetError
from dicomsort.imaging import contact_sheet
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.imaging.contact_sheet import Tile
from dicomsort.system.pool_settings import PoolSettings

CANVAS = Preprocessing(size=64)


def drawn(path: Path, shape: tuple[int, int], seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(20, 256, shape)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


@pytest.fixture
def labelled(tmp_path: Path, write_dicom: Callable[..., Path]) -> Path:
    """Five files of three patients: a DICOM file, a twin with another label, and one that is damaged."""
    folder = tmp_path / "data"
    drawn(folder / "a.png", (64, 48), 1)
    drawn(folder / "b.png", (30, 60), 2)
    (folder / "c.png").write_bytes((folder / "a.png").read_bytes())
    write_dicom(folder / "d.dcm")
    (folder / "e.png").write_bytes((folder / "a.png").read_bytes()[:200])
    rows = [
        ("a.png", "hand", "AP|left", "p1", "north", "train"),
        ("b.png", "spine", "", "p2", "north", "train"),
        ("c.png", "spine", "AP", "p3", "south", "test"),
        ("d.dcm", "hand", "lateral", "p1", "south", "val"),
        ("e.png", "hand", "AP", "p1", "south", "train"),
        ("gone.png", "hand", "AP", "p1", "south", "train"),
    ]
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "group", "view", "patient", "place", "part"])
        writer.writerows(rows)
    return folder / "labels.csv"


@pytest.fixture
def found(labelled: Path, pool: PoolSettings) -> statistics.Stats:
    targets = ("group", "view")
    data = load(labelled, Columns(targets=targets, source="place", part="part"))
    seen: list[int] = []
    result = statistics.measure(data, targets, CANVAS, pool, seen.append)
    assert sum(seen) == 5
    return result


def test_labels_patients_parts_and_sources_are_counted(found: statistics.Stats) -> None:
    assert (found.files, found.read, found.patients) == (6, 4, 3)
    assert found.parts == {"train": 4, "validation": 1, "test": 1}
    assert found.sources == {"south": 4, "north": 2}
    assert found.per_patient == statistics.Range(1, 1, 4)
    group, view = found.targets["group"], found.targets["view"]
    assert group.labels["hand"] == statistics.LabelCount(4, 1, {"train": 3, "validation": 1})
    assert group.labels["spine"] == statistics.LabelCount(2, 2, {"train": 1, "test": 1})
    assert {label: each.images for label, each in view.labels.items()} == {"AP": 4, "lateral": 1, "left": 1}
    assert (group.unknown, view.unknown) == (0, 1)
    assert group.ratio == 2.0
    assert group.effective == pytest.approx(1.8899, abs=1e-4)


def test_sizes_and_grays_are_numpys(found: statistics.Stats, labelled: Path) -> None:
    assert found.sized == 4
    assert found.rows == statistics.Range(30, 52, 64)
    assert found.columns == statistics.Range(30, 48, 60)
    folder = labelled.parent
    images = []
    for name in ("a.png", "b.png", "c.png", "d.dcm"):
        reading = read_any(str(folder / name), CANVAS)
        images.append(reading.image)  # type: ignore[union-attr]
    whole = np.stack(images) / 255
    assert found.canvas.pixels == whole.size
    assert found.canvas.mean == pytest.approx(whole.mean())
    assert found.canvas.deviation == pytest.approx(whole.std())
    shapes = [(64, 48), (32, 64), (64, 48), (64, 48)]
    inner = np.concatenate(
        [
            image[(64 - height) // 2 :, (64 - width) // 2 :][:height, :width].ravel()
            for image, (height, width) in zip(images, shapes, strict=True)
        ]
    )
    assert abs(found.picture.pixels - inner.size) <= 128, "black edges of the picture count as padding"
    assert found.picture.mean == pytest.approx((inner / 255).mean(), abs=0.01)
    assert found.picture.deviation == pytest.approx((inner / 255).std(), abs=0.01)


def test_repeats_and_unreadable_files_are_told(found: statistics.Stats) -> None:
    pair = (("a.png", "c.png"),)
    assert found.repeats == statistics.Repeats(1, 2, 1, 1, pair, pair)
    assert found.unreadable == {
        "decode_error: picture file cannot be decoded": statistics.Unreadable(1, ("e.png",)),
        "io_error: file cannot be read (permission or device error)": statistics.Unreadable(1, ("gone.png",)),
    }


@pytest.mark.parametrize("numbers", [[5], [1, 2], [3, 1, 2], [4, 4, 4, 9], [1, 1, 7, 7], list(range(100))])
def test_ranges_are_numpys(numbers: list[int]) -> None:
    found = statistics._range_of(Counter(numbers))
    assert (found.least, found.median, found.most) == (min(numbers), np.median(numbers), max(numbers))


def test_class_folders_in_parts(tmp_path: Path, pool: PoolSettings) -> None:
    for number, name in enumerate(("train/hand", "train/spine", "val/hand", "test/spine")):
        drawn(tmp_path / name / "1.png", (40, 40), number)
    found = statistics.measure(load(tmp_path, Columns()), ("label",), CANVAS, pool)
    assert found.parts == {"train": 2, "validation": 1, "test": 1}
    assert found.targets["label"].labels["hand"].parts == {"train": 1, "validation": 1}
    assert (found.patients, found.repeats.contents, found.unreadable) == (None, 0, {})
    assert json.loads(json.dumps(found.as_dict()))["canvas"]["pixels"] == 4 * 64 * 64


def test_examples_show_every_class_and_are_the_same_again(tmp_path: Path) -> None:
    for label, count in (("hand", 9), ("rare", 1), ("spine", 5)):
        for number in range(count):
            drawn(tmp_path / label / f"{number}.png", (8, 8), number)
    samples = load(tmp_path, Columns()).samples
    chosen = statistics.examples(samples, 6, seed=1)
    assert [sample.label for sample in chosen] == ["hand", "rare", "spine", "hand", "spine", "hand"]
    assert chosen == statistics.examples(samples, 6, seed=1)
    assert chosen != statistics.examples(samples, 6, seed=2)
    assert len(statistics.examples(samples, 99)) == 15
    assert len(statistics.examples(samples)) == 8


def test_sheets_have_room_for_everything() -> None:
    image = np.full((50, 50), 200, np.uint8)
    rows = [("one", [image, image, image]), ("two", [image])]
    drawn_rows = contact_sheet.contact_sheet(rows, 50)
    assert drawn_rows.size == (3 * 56 + 6, 2 * (16 + 50 + 6) + 6)
    greys = np.asarray(drawn_rows)
    assert (greys[22:72, 6:56] == 200).all()
    tiles = [Tile(image[:25], ("name", "given", "said"), (255, 0, 0))] * 5
    tiled = contact_sheet.sheet_of(tiles, columns=2, side=50)
    assert tiled.size == (2 * 56 + 6, 3 * (50 + 3 * 16 + 6) + 6)
    colors = np.asarray(tiled)
    assert (colors[6 + 13 : 6 + 37, 6:56] == 200).all()
    assert ((colors[:, :, 0] > 200) & (colors[:, :, 1] < 60)).any(), "the caption has its colour"


def test_captions_stay_within_their_tile_and_on_their_line() -> None:
    assert contact_sheet._plain("a\nb\u202e\udc80é") == "a\\nb\\u202e\\udc80é"
    black = np.zeros((40, 40), np.uint8)
    for name in ("W" * 1000, "\n" * 50):
        pixels = np.asarray(contact_sheet.sheet_of([Tile(black, (name,))], 1, side=40))
        assert (pixels[:, 48:] == pixels[0, 0]).all()


SHORTENED = [  # a caption, the pixels that it has, and how it must begin and end
    ("adult_chest   archive/2020/ward 7/0b73d49746.dcm", 160, "adu", "...0b73d49746.dcm"),
    ("archive/2020/ward 7/0b73d49746.dcm", 160, "arch", "...0b73d49746.dcm"),
    ("given a_label_with_a_long_name 0.54", 120, "given", "...0.54"),
    ("a_very_long_name_of_a_file_0123.dcm", 80, "...", "0123.dcm"),
    ("x" * 500 + "/the/end/of/a/long/path.dcm", 100, "x", "...path.dcm"),
]


@pytest.mark.parametrize(("text", "width", "begin", "end"), SHORTENED)
def test_a_caption_that_is_shortened_keeps_the_name_of_the_file(
    text: str, width: int, begin: str, end: str
) -> None:
    clipped = contact_sheet._clipped(contact_sheet._plain(text), width)
    assert clipped.startswith(begin)
    assert clipped.endswith(end)
    assert contact_sheet._font().getlength(clipped) <= width
    assert contact_sheet._clipped(text, 10**6) == text


def test_a_sheet_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    empty = contact_sheet.sheet_of([], 3)
    contact_sheet.save(empty, tmp_path / "new" / "sheet.png")
    with Image.open(tmp_path / "new" / "sheet.png") as image:
        assert image.size == empty.size
    (tmp_path / "file").write_text("")
    with pytest.raises(TargetError, match="cannot be written"):
        contact_sheet.save(empty, tmp_path / "file" / "sheet.png")


def run(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        app([str(word) for word in words], prog_name="dicomsort")
    return int(ended.value.code or 0)


def test_stats_as_tables_and_as_json(
    labelled: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("stats", labelled, "--target", "group", "--target", "view", "--workers", "2", "--size", "64")
    assert run(*words, "--source", "place", "--part", "part") == 3
    said = capfd.readouterr()
    for text in (
        "hand",
        "validation",
        "north",
        "decode_error",
        "same content: a.png and c.png",
        "deviation 0.",
    ):
        assert text in said.out + said.err
    assert run(*words, "--json", "--out", tmp_path / "s" / "stats.json") == 3
    said = capfd.readouterr()
    assert json.loads(said.out) == json.loads((tmp_path / "s" / "stats.json").read_text())
    assert "2 of 6 files could not be read" in said.err


def test_a_preview_is_a_sheet(labelled: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "sheet.png"
    words = ("preview", labelled, "--target", "view", "--size", "64", "--workers", "2", "--copies", "2")
    assert run(*words, "--out", out, "--augment", "strong", "--images", "8") == 3
    said = capfd.readouterr().err
    assert "not read: e.png: decode_error" in said
    assert "CANARY" not in said
    first = out.read_bytes()
    with Image.open(out) as image:
        assert image.size == (3 * 70 + 6, 3 * (16 + 64 + 6) + 6)
    run(*words, "--out", out, "--augment", "strong", "--images", "8")
    assert out.read_bytes() == first


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("preview", "--target", "group", "--out", "x.jpg"), 2, "must end in .png"),
        (("preview", "--target", "group", "--out", "x.png", "--augment", "wild"), 2, "'wild' is unknown"),
        (("preview", "--out", "x.png"), 2, "--target COLUMN"),
        (("stats", "--target", "group", "--smooth", "much"), 2, "'much' is unknown"),
        (("stats",), 2, "--target COLUMN"),
        (("stats", "--target", "group", "--out", "labels.csv"), 2, "must end in .json"),
        (
            ("stats", "--target", "group", "--workers", "1", "--out", "/dev/null/x.json"),
            5,
            "cannot be written",
        ),
    ],
)
def test_bad_words_end_with_one_line(
    words: tuple[str, ...], code: int, message: str, labelled: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(words[0], labelled, *words[1:]) == code
    said = capfd.readouterr().err
    assert message in said
    assert said.count("\n") == 1
