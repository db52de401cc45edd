"""Rebuild all shipped models as their cards state it: one training, then its network divided among them.

    python tools/rebuild_models.py DATA --weights FOLDER [--runs runs] [--dry-run]

DATA is the folder of the training pictures, with labels.csv in it; FOLDER holds the ImageNet weights. The new
models are RUNS/router5, RUNS/view and so on. A training that was interrupted goes on where it was. --dry-run
prints the commands and runs none. The cards' figures are measured afterwards, by tools/model_card.py.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "models"
DICOMSORT = (sys.executable, "-m", "dicomsort")

ARCH, WEIGHTS = "efficientnet_lite0", "tf_efficientnet_lite0.safetensors"
TARGETS = ("group", "view", "body_parts", "hardware", "fracture")
DIVIDED = {
    "router5": ("group",),
    "view": ("view", "rotation"),
    "bodypart": ("body_parts",),
    "hardware": ("hardware",),
    "fracture": ("fracture",),
}
"""The heads of each model. `rotation` is no column: --turned makes that head."""
RECIPE = (
    *("--size", "160", "--freeze", "5", "--epochs", "6", "--learning-rate", "5e-4", "--ema", "0.998"),
    *("--adjust", "0.4", "--augment", "standard,greys=0.5,pair=0.2", "--turned", "0.15", "--further", "0.2"),
)
"""What else the training is given: as it was when the shipped weights were made."""


def commands(data: Path, weights: Path, runs: Path) -> list[tuple[str, ...]]:
    """Return both commands in their order: the training, and the division of its network."""
    labels, whole = str(data / "labels.csv"), str(runs / "whole")
    corrected = ("--corrections", str(MODELS / "corrections.csv"))
    asked = [word for target in TARGETS for word in ("--target", target)]
    known = ("--split", str(MODELS / "xray-split.csv"), *corrected, "--tree", str(MODELS / "body-parts.csv"))
    start = ("--arch", ARCH, "--pretrained", str(weights / WEIGHTS))
    parts = [word for name, heads in DIVIDED.items() for word in ("--model", f"{name}={','.join(heads)}")]
    divide = (sys.executable, str(ROOT / "tools" / "share_backbone.py"), labels, whole)
    return [
        (*DICOMSORT, "train", labels, *asked, *known, *start, *RECIPE, "--out", whole),
        (*divide, *corrected, *parts, "--out", str(runs)),
    ]


def main() -> None:
    """Run the commands one after the other, or print them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path, required=True, help=f"folder that holds {WEIGHTS}")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder that the bundles go to")
    parser.add_argument("--dry-run", action="store_true", help="print the commands, run none")
    given = parser.parse_args()
    for words in commands(given.data, given.weights, given.runs):
        print(shlex.join(words), flush=True)
        if not given.dry_run:
            going_on = ("--resume",) if "train" in words else ()
            subprocess.run([*words, *going_on], check=True)


if __name__ == "__main__":
    main()
