"""Rebuild router5 as its card states it: two trainings from the same weights, and the mean of both.

    python tools/rebuild_router5.py DATA --weights mobilenetv1_100.safetensors [--runs runs] [--dry-run]

DATA is the folder of the training pictures, with labels.csv in it. The new bundle is RUNS/router5. A run that
was interrupted goes on where it was. --dry-run prints the commands and runs none.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "models"
DICOMSORT = (sys.executable, "-m", "dicomsort")
ALIKE = ("--target", "group", "--split", str(MODELS / "xray-split.csv"))
CORRECTED = ("--corrections", str(MODELS / "corrections.csv"))
PLAIN = ("--epochs", "12", "--learning-rate", "5e-4")
GRAYS = (
    *("--freeze", "4", "--epochs", "4", "--learning-rate", "5e-4", "--ema", "0.995"),
    *("--augment", "standard,greys=0.5,pair=0.2,quarter=0.03"),
)


def commands(data: Path, weights: Path, runs: Path) -> list[tuple[str, ...]]:
    """Return the three commands in their order: both trainings and the mean of their weights."""
    labels, start = str(data / "labels.csv"), ("--pretrained", str(weights))
    plain, grays = str(runs / "plain" / "router5"), str(runs / "greys" / "router5")
    mean = (sys.executable, str(ROOT / "tools" / "average_weights.py"), labels, plain, grays)
    return [
        (*DICOMSORT, "train", labels, *ALIKE, *start, *PLAIN, "--out", plain),
        (*DICOMSORT, "train", labels, *ALIKE, *CORRECTED, *start, *GRAYS, "--out", grays),
        (*mean, *CORRECTED, "--out", str(runs / "router5")),
    ]


def main() -> None:
    """Run the commands one after the other, or print them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path, required=True, help="ImageNet weights of MobileNet-V1")
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
