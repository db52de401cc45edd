"""Changed training images: every change does what it says, no more, and the same again for a seed."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from dicomsort.errors import UsageError
from dicomsort.training.augment import PRESETS, Augmentation, shown, transform
from dicomsort.training.random_transforms import side_by_side, with_grays_of, with_spectrum_of

NONE = PRESETS["none"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Several threads wait for each other on such small images where other programs run, too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def canvas(size: int = 96) -> Tensor:
    """A smooth picture with a gradient and a disc, and padding left and right."""
    down, across = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    disc = ((down - size / 2) ** 2 + (across - size / 2) ** 2) < (size / 4) ** 2
    image = (40 + 120 * down / size + 60 * disc).to(torch.uint8)
    image[:, : size // 8] = 0
    image[:, -size // 8 :] = 0
    return image.unsqueeze(0)


def only(**changes: float) -> Augmentation:
    return replace(NONE, **changes)


def changed(augmentation: Augmentation, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return transform(augmentation)(canvas())


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("size", [32, 75, 224])
def test_every_preset_keeps_shape_and_type_and_goes_by_torchs_seed(preset: str, size: int) -> None:
    change, image = transform(PRESETS[preset]), canvas(size)
    before = image.clone()
    runs = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        runs.append(torch.cat([change(image) for _ in range(8)]))
    assert runs[0].shape == (8, size, size)
    assert runs[0].dtype == torch.uint8
    assert torch.equal(runs[0], runs[1])
    assert torch.equal(runs[0], runs[2]) == (preset == "none")
    assert torch.equal(image, before), "the original stays"
    assert int(runs[0].amax(dim=(1, 2)).min()) > 60, "nothing is all black"


def test_standard_is_what_the_shipped_models_saw() -> None:
    before = v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomAffine(degrees=12, translate=(0.08, 0.08), scale=(0.8, 1.2)),
            v2.ColorJitter(brightness=0.3, contrast=0.4),
            v2.RandomApply([v2.GaussianBlur(3, (0.1, 1.5))], p=0.1),
            v2.RandomInvert(p=0.1),
        ]
    )
    now = transform(PRESETS["standard"])
    torch.manual_seed(5)
    expected = [before(canvas()) for _ in range(40)]
    torch.manual_seed(5)
    assert all(torch.equal(now(canvas()), image) for image in expected)


def test_none_changes_nothing() -> None:
    assert torch.equal(changed(NONE), canvas())
    assert transform(NONE)(canvas()).dtype == torch.uint8


def test_flips_and_inversion_are_exact() -> None:
    assert torch.equal(changed(only(flip=1)), canvas().flip(2))
    assert torch.equal(changed(only(upside_down=1)), canvas().flip(1))
    assert torch.equal(changed(only(invert=1)), 255 - canvas())


def picture_of(image: Tensor) -> tuple[int, int]:
    rows, columns = (image[0] != 0).nonzero().unbind(dim=1)
    return int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1


def test_a_quarter_turn_is_exact_and_never_none() -> None:
    turned = {tuple(changed(only(quarter=1), seed).flatten().tolist()) for seed in range(20)}
    assert turned == {tuple(torch.rot90(canvas(), k, (1, 2)).flatten().tolist()) for k in (1, 2, 3)}


@pytest.mark.parametrize("seed", range(8))
def test_a_stretched_picture_fills_the_canvas_with_another_aspect_ratio(seed: int) -> None:
    torch.manual_seed(seed)
    square = torch.full((1, 100, 100), 90, dtype=torch.uint8)
    height, width = picture_of(transform(only(stretch=1))(square))
    assert max(height, width) == 100
    assert 70 <= min(height, width) <= 100


@pytest.mark.parametrize("seed", range(8))
def test_a_crop_is_a_part_of_the_picture_that_fills_the_canvas(seed: int) -> None:
    torch.manual_seed(seed)
    image = (torch.arange(100).reshape(1, 1, 100) + torch.arange(100).reshape(1, 100, 1) + 20).to(torch.uint8)
    cropped = transform(only(crop=1))(image)
    height, width = picture_of(cropped)
    assert max(height, width) == 100
    assert min(height, width) >= 59
    shown = cropped[cropped > 0]
    assert int(shown.max()) - int(shown.min()) < 198, "something is cut off"


@pytest.mark.parametrize("seed", range(6))
def test_equalised_grays_keep_their_order_and_use_the_range(seed: int) -> None:
    dull = (canvas() / 4 + 60).to(torch.uint8)
    torch.manual_seed(seed)
    clear = transform(only(equalise=1))(dull)
    order = dull.flatten().argsort(stable=True)
    assert bool((clear.flatten().int()[order].diff() >= 0).all())
    assert int(clear.max()) - int(clear.min()) > 200


@pytest.mark.parametrize("seed", range(8))
def test_margins_lie_around_a_smaller_picture(seed: int) -> None:
    torch.manual_seed(seed)
    board = torch.full((1, 100, 100), 77, dtype=torch.uint8)
    small = transform(only(margins=1))(board)[0]
    side = int((small == 77).sum()) ** 0.5
    assert 64 <= side <= 100
    assert len(set(small.flatten().tolist())) <= 2


@pytest.mark.parametrize("seed", range(8))
def test_two_pictures_stand_side_by_side_at_the_same_height(seed: int) -> None:
    torch.manual_seed(seed)
    dark, bright = (torch.full((1, 100, 100), gray, dtype=torch.uint8) for gray in (80, 160))
    both = side_by_side(dark, bright)
    assert both.shape == (1, 100, 100)
    rows = [(both[0] == gray).any(dim=1).sum() for gray in (80, 160)]
    assert rows[0] == rows[1] >= 49
    columns = [(both[0] == gray).any(dim=0).nonzero() for gray in (80, 160)]
    assert columns[0].max() < columns[1].min()


@pytest.mark.parametrize("seed", range(6))
def test_grays_go_towards_those_of_another_picture_and_keep_their_order(seed: int) -> None:
    image, other = canvas(), torch.zeros(1, 96, 96, dtype=torch.uint8)
    other[:, 10:80] = (torch.arange(70 * 96).reshape(1, 70, 96) * 50 / (70 * 96) + 200).to(torch.uint8)
    before = image.clone()
    torch.manual_seed(seed)
    changed = with_grays_of(image, other)
    assert torch.equal(image, before)
    assert not changed[:, :, :12].any(), "padding stays padding"
    own, new = image[:, :, 12:84].flatten().int(), changed[:, :, 12:84].flatten().int()
    assert bool((new[own.argsort(stable=True)].diff() >= 0).all())
    assert float(own.float().mean()) + 15 < float(new.float().mean()) < 250


def test_a_picture_keeps_its_grays_beside_its_equal_or_nothing() -> None:
    assert (with_grays_of(canvas(), canvas()).int() - canvas().int()).abs().max() <= 1
    assert torch.equal(with_grays_of(canvas(), torch.zeros(1, 96, 96, dtype=torch.uint8)), canvas())


def test_a_black_canvas_can_stand_beside_another() -> None:
    black = torch.zeros(1, 64, 64, dtype=torch.uint8)
    assert side_by_side(black, canvas(64)).shape == (1, 64, 64)


def test_probabilities_are_kept() -> None:
    torch.manual_seed(0)
    change = transform(only(invert=0.25))
    inverted = sum(int(change(canvas(32))[0, 0, 0]) == 255 for _ in range(400))
    assert 70 <= inverted <= 130


@pytest.mark.parametrize("seed", range(6))
def test_a_rotation_stays_within_its_angle(seed: int) -> None:
    line = torch.zeros(1, 101, 101, dtype=torch.uint8)
    line[:, 50] = 255
    torch.manual_seed(seed)
    rows, columns = transform(only(rotation=20))(line)[0].nonzero(as_tuple=True)
    slope = np.polyfit(columns.numpy(), rows.numpy(), 1)[0]
    assert 0 < abs(np.degrees(np.arctan(slope))) <= 21


@pytest.mark.parametrize("seed", range(6))
def test_shift_and_zoom_stay_within_their_bounds(seed: int) -> None:
    square = torch.zeros(1, 100, 100, dtype=torch.uint8)
    square[:, 30:70, 30:70] = 200
    torch.manual_seed(seed)
    moved = transform(only(shift=0.1))(square)[0].nonzero()
    assert len(moved) == 1600, "moved, not changed"
    assert int((moved.amin(dim=0) - 30).abs().max()) <= 10
    zoomed = transform(only(zoom=0.25))(square)[0].nonzero()
    side = zoomed.amax(dim=0) - zoomed.amin(dim=0) + 1
    assert int(side.min()) >= 29
    assert int(side.max()) <= 51


@pytest.mark.parametrize("seed", range(4))
def test_brightness_contrast_and_gamma_stay_within_their_bounds(seed: int) -> None:
    image = canvas().float()
    brighter = changed(only(brightness=0.3), seed).float()
    assert bool((brighter >= 0.7 * image - 1).all())
    assert bool((brighter <= 1.3 * image + 1).all())
    assert changed(only(contrast=0.4), seed).float().std() == pytest.approx(float(image.std()), rel=0.41)
    curved = changed(only(gamma=0.5), seed).float() / 255
    ends = [(image / 255) ** exponent for exponent in (2**0.5, 2**-0.5)]
    assert bool((curved >= ends[0] - 0.005).all())
    assert bool((curved <= ends[1] + 0.005).all())
    order = canvas().flatten().argsort(stable=True)
    assert bool((curved.flatten()[order].diff() >= 0).all()), "brighter stays brighter"


@pytest.mark.parametrize("seed", range(12))
def test_borders_cover_the_edges_of_the_picture_and_leave_its_middle(seed: int) -> None:
    image, bordered = canvas()[0], changed(only(borders=1), seed)[0]
    differs = image != bordered
    assert differs.any()
    assert set(bordered[differs].tolist()) in ({0}, {255})
    assert not differs[:, :12].any(), "padding stays padding"
    assert not differs[30:66, 34:62].any()
    assert differs.float().mean() < 0.6


def test_borders_come_on_every_side() -> None:
    sides = torch.zeros(4, dtype=torch.bool)
    for seed in range(30):
        differs = canvas()[0] != changed(only(borders=1), seed)[0]
        sides |= torch.stack([differs[0, 48], differs[-1, 48], differs[48, 12], differs[48, 83]])
    assert sides.all()


@pytest.mark.parametrize("seed", range(12))
def test_markers_are_small_legible_and_near_an_edge(seed: int) -> None:
    image, marked = canvas(224)[0], transform_at(only(markers=1), seed, 224)[0]
    differs = image != marked
    places = differs.nonzero()
    height, width = (places.amax(dim=0) - places.amin(dim=0) + 1).tolist()
    assert 2 <= height <= 24
    assert 4 <= width <= 120
    away = (marked.int() - image.int()).abs()
    assert int(away.max()) > 80, "it can be seen"
    top, left = places.amin(dim=0).tolist()
    bottom, right = places.amax(dim=0).tolist()
    assert min(top, 223 - bottom, left - 28, 195 - right) < 28


def transform_at(augmentation: Augmentation, seed: int, size: int) -> Tensor:
    torch.manual_seed(seed)
    return transform(augmentation)(canvas(size))


@pytest.mark.parametrize(
    "name",
    [
        "borders",
        "markers",
        "noise",
        "resolution",
        "blur",
        "crop",
        "stretch",
        "quarter",
        "equalise",
        "margins",
    ],
)
def test_a_black_or_tiny_picture_survives(name: str) -> None:
    black, tiny = torch.zeros(2, 1, 32, 32, dtype=torch.uint8).unbind()
    tiny[:, 16, 16] = 200
    for seed in range(8):
        torch.manual_seed(seed)
        for image in (black, tiny):
            assert transform(only(**{name: 1.0}))(image).shape == (1, 32, 32)


@pytest.mark.parametrize("seed", range(4))
def test_noise_is_as_strong_as_it_says(seed: int) -> None:
    gray = torch.full((1, 128, 128), 128, dtype=torch.uint8)
    torch.manual_seed(seed)
    noisy = transform(only(noise=1))(gray).float()
    assert 2 < float(noisy.std()) < 11
    assert float(noisy.mean()) == pytest.approx(128, abs=1)


def test_blur_and_coarse_pictures_lose_detail_and_keep_the_mean() -> None:
    for augmentation in (only(blur=1), only(resolution=1)):
        torch.manual_seed(2)
        dots = torch.randint(0, 256, (1, 96, 96), dtype=torch.uint8)
        dull = transform(augmentation)(dots).float()
        assert float(dull.std()) < 0.95 * float(dots.float().std())
        assert float(dull.mean()) == pytest.approx(float(dots.float().mean()), abs=2)


def test_copies_to_show_begin_with_the_original() -> None:
    image = canvas()[0].numpy()
    first, again = (shown(image, PRESETS["strong"], 3, seed=1) for _ in range(2))
    assert len(first) == 4
    assert np.array_equal(first[0], image)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[1], first[2])


def test_what_is_written_is_what_is_meant() -> None:
    assert Augmentation.parse("strong") == PRESETS["strong"]
    assert Augmentation.parse("strong,flip=0, rotation = 30") == replace(
        PRESETS["strong"], flip=0.0, rotation=30.0
    )
    assert Augmentation.parse("rotation=5") == replace(PRESETS["standard"], rotation=5.0)
    assert Augmentation.parse("none,invert=1").as_dict() == only(invert=1.0).as_dict()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "augmentation '' is unknown: use none, light, standard, strong"),
        ("stronger", "'stronger' is unknown: use none, light"),
        ("flip=0,strong", "'strong' is unknown: after a preset write name=value, with rotation, shift"),
        ("strong,flips=0", "'flips=0' is unknown"),
        ("strong,flip=often", "'flip' must be a number, not 'often'"),
        ("strong,", "'' is unknown"),
        ("flip=2", "'flip' must be 0 to 1, not 2"),
        ("flip=nan", "'flip' must be 0 to 1, not nan"),
        ("rotation=-1", "'rotation' must be 0 to 180"),
        ("zoom=1", "'zoom' must be 0 to 0.9"),
    ],
)
def test_what_cannot_be_meant_is_said_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        Augmentation.parse(text)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("seed", range(3))
def test_a_coarse_spectrum_of_another_picture_moves_no_edges(seed: int) -> None:
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    own = np.full((64, 64), 60, np.uint8)
    own[20:40, 24:48] = 180
    other = np.clip(np.add.outer(np.arange(64), np.arange(64)) * 2 + generator.normal(0, 5, (64, 64)), 0, 255)
    image = torch.from_numpy(own).unsqueeze(0)
    changed = with_spectrum_of(image, torch.from_numpy(other.astype(np.uint8)).unsqueeze(0))
    assert (changed.shape, changed.dtype) == (image.shape, torch.uint8)
    assert torch.equal(with_spectrum_of(image, image), image)
    steps = np.abs(np.diff(changed[0].numpy().astype(int), axis=1))[30]
    assert set(np.argsort(steps)[-2:]) == {23, 47}  # where the square begins and ends
