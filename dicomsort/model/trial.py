"""A shipped model shown one made-up picture, to try whether an engine computes what it should here.

`tools/doctor_samples.py` has written `trial.json`.
"""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicomsort.errors import ModelError
from dicomsort.model import bundle as bundles
from dicomsort.model.bundle import Bundle
from dicomsort.model.defaults import DEFAULT_MODELS
from dicomsort.model.load import classifier_for

ANSWER = Path(__file__).with_name("trial.json")

_TOLERANCES = {"float32": 0.002, "bfloat16": 0.1, "float16": 0.02}
"""By precision: how far a score, 0 to 1, may be off."""


def load() -> Bundle:
    """Load the model that is tried: the default one. Raises ModelError."""
    return bundles.load(bundles.locate(DEFAULT_MODELS[0]))


def picture(size: int) -> NDArray[np.uint8]:
    """Return a made-up picture (1, size, size): a bright oval on dark ground, with ribs."""
    down, across = np.mgrid[0:size, 0:size] * 200 // size - 100
    oval = 180 - (down * down + 2 * across * across) // 60
    ribs = 20 * ((down + 100) // 12 % 2)
    shown: NDArray[np.uint8] = (oval + ribs).clip(0, 255).astype(np.uint8)[None]
    return shown


def attempt(bundle: Bundle, engine: str, device: str) -> tuple[str, str, float]:
    """Ask a model on an engine; returns the device's name, the precision, and how far the scores are off.

    Raises UsageError or ModelError, as `classifier_for` does, and ModelError for scores that are too far off,
    or a model that there is no answer of.
    """
    wanted = _known(bundle)
    ready = classifier_for(bundle, device, "auto", engine)
    found = bundle.scores(ready.logits(picture(bundle.preprocessing.size)))[0]
    off = float(np.abs(found - wanted).max())
    if not off <= _TOLERANCES[ready.precision]:
        raise ModelError(
            f"the scores are off by {off:.4f} in {ready.precision}: do not sort with this engine"
        )
    return ready.name, ready.precision, off


def _known(bundle: Bundle) -> NDArray[np.float32]:
    told = json.loads(ANSWER.read_text(encoding="utf-8"))
    if told["model"] != bundle.tag:
        raise ModelError(f"there is no answer of {bundle.tag} to compare with")
    return np.array(told["scores"], np.float32)


def write() -> None:
    """Write down what PyTorch computes on a processor in float32."""
    bundle = load()
    ready = classifier_for(bundle, "cpu", "float32", "torch")
    scores = bundle.scores(ready.logits(picture(bundle.preprocessing.size)))[0]
    told = {"model": bundle.tag, "scores": [round(float(score), 6) for score in scores]}
    ANSWER.write_text(json.dumps(told) + "\n", encoding="utf-8")
