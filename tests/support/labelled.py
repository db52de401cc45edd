"""Labelled pictures that a test draws, and predictors that answer by their brightness."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from predictors import ROUTER_LABELS, FixedPredictor

from dicomsort.data.dataset import Columns, Sample, load
from dicomsort.evaluation.predictions import EvalSettings
from dicomsort.system.pool_settings import PoolSettings

LEVELS = np.linspace(20, 200, len(ROUTER_LABELS))
POOL = PoolSettings(workers=1)
FAST = EvalSettings(bootstrap=50, pool=POOL)


def draw(path: Path, level: float, spread: float = 5.0, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    gray = np.random.default_rng(seed).normal(level, spread, (40, 40))
    Image.fromarray(np.clip(gray, 0, 255).astype(np.uint8)).save(path)


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


def draw_pictures(folder: Path, count: int = 12) -> None:
    """Two classes that any network can tell apart."""
    generator = np.random.default_rng(0)
    for label, level in (("bright", 200), ("dark", 50)):
        (folder / label).mkdir(parents=True)
        for number in range(count):
            gray = np.clip(generator.normal(level, 20, (40, 48)), 0, 255).astype(np.uint8)
            Image.fromarray(gray).save(folder / label / f"{number}.png")


def samples_of(path: Path, *targets: str, facts: Sequence[str] = ()) -> tuple[Sample, ...]:
    return load(path, Columns(targets, metadata=tuple(facts))).samples


class Several(FixedPredictor):
    """Answers all heads: every logit but the first head's is 3 for a brightness over 100, else -3."""

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        bright = images.reshape(len(images), -1).mean(axis=1, keepdims=True) > 100
        others = np.tile(np.where(bright, 3.0, -3.0), (1, self.bundle.outputs - len(ROUTER_LABELS)))
        return np.asarray(np.concatenate([super().logits(images), others], axis=1), np.float32)
