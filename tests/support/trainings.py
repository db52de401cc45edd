"""Trainings of seconds: bright and dark pictures, a small network, and what a run needs."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dicomsort.data import dataset, splits
from dicomsort.data.cache import Cache
from dicomsort.data.dataset import Columns
from dicomsort.data.targets import heads_of
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.model.engines.devices import choose_device
from dicomsort.model.heads import Head
from dicomsort.system.pool_settings import PoolSettings
from dicomsort.training import train
from dicomsort.training.distributed import ProcessGroup
from dicomsort.training.recipe import Recipe
from dicomsort.training.trainer import Prepared, RunContext

OPTIONS = (
    "--arch",
    "test_resnet",
    "--size",
    "32",
    "--batch-size",
    "8",
    "--augment",
    "light",
    "--workers",
    "1",
)
SMALL = (*OPTIONS, "--no-graph")

LEVELS = {"dark": 50, "bright": 200}
RECIPE = Recipe(arch="test_resnet", size=32, epochs=3, batch_size=8, learning_rate=3e-3, augment="light")


def draw(path: Path, level: int, seed: int) -> None:
    gray = np.clip(np.random.default_rng(seed).normal(level, 20, (40, 48)), 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(gray).save(path)


def table(folder: Path, count: int = 24, **columns: Sequence[str]) -> Path:
    """Draw bright and dark pictures in turn; extra columns repeat their values."""
    rows = []
    for number in range(count):
        label = ("bright", "dark")[number % 2]
        draw(folder / f"{number}.png", LEVELS[label], number)
        extra = {name: values[number % len(values)] for name, values in columns.items()}
        rows.append({"file": f"{number}.png", "light": label, **extra})
    path = folder / "labels.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def prepared_from(data: Path, cache: Path, targets: tuple[str, ...] = ("light",), size: int = 32) -> Prepared:
    preprocessing = Preprocessing(size=size)
    store = Cache(cache, preprocessing)
    found = dataset.load(data, Columns(targets), store.hash_of)
    heads = heads_of(found.samples, targets)
    unread = store.fill(found.samples, PoolSettings(1))
    return train.prepare(found.samples, heads, splits.make_split(found.samples, heads), store, unread)


def place(folder: Path, resume: bool = False) -> RunContext:
    folder.mkdir(parents=True, exist_ok=True)
    return RunContext(folder, ProcessGroup(0, 1, choose_device("cpu")), PoolSettings(1), resume)


HEADS = (
    Head("part", ("a", "b", "c")),
    Head("parts", ("x", "y"), kind="multilabel"),
    Head("metal", ("no_metal", "metal"), kind="binary"),
)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def width_of(path: Path) -> int:
    with Image.open(path) as image:
        return int(image.size[0])
