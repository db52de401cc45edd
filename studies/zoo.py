"""The table of the Imaging Router paper on one fixed split: several networks, trained the same way.

    python studies/zoo.py labels.csv --weights FOLDER --out runs/zoo

Trains each network that has no bundle under --out yet (about an hour in all on two cores with bfloat16),
evaluates all of them on the test part of models/xray-split.csv, and prints the table as Markdown. --weights
holds what each starts from, weights of ImageNet: without them nothing could be said of the networks.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NETWORKS = {
    "mobilenet_v1": "mobilenetv1_100.safetensors",
    "mobilenet_v2": "mobilenetv2_100.safetensors",
    "efficientnet_lite0": "tf_efficientnet_lite0.safetensors",
    "efficientnet_lite2": "tf_efficientnet_lite2.safetensors",
}
SIZE, EPOCHS, RATE = 128, 12, 5e-4


def run(*words: str) -> None:
    """Run dicomsort as a user would."""
    subprocess.run([sys.executable, "-m", "dicomsort", *words], check=True)


def train(name: str, data: Path, weights: Path, out: Path) -> None:
    """Train a network, or go on with it."""
    run(
        "train", str(data), "--target", "group", "--split", str(ROOT / "models" / "xray-split.csv"),
        "--arch", name, "--size", str(SIZE), "--epochs", str(EPOCHS),
        "--learning-rate", str(RATE), "--out", str(out / name), "--cache", str(out / "cache"), "--resume",
        "--pretrained", str(weights / NETWORKS[name]),
    )  # fmt: skip


def row(name: str, data: Path, out: Path) -> str:
    """Measure a network, and write its line of the table."""
    folder = out / "figures" / name
    run(
        "eval", str(data), "--target", "group", "--model", str(out / name), "--bootstrap", "10000",
        "--out", str(folder), "--quiet",
    )  # fmt: skip
    figures = json.loads((folder / "metrics.json").read_text())
    overall = figures["heads"]["group"]["overall"]
    cells = ["{value:.3f} ({low:.3f} to {high:.3f})".format(**overall[f"{each}_macro"])
             for each in ("recall", "precision", "f1")]  # fmt: skip
    size = (out / name / "model.safetensors").stat().st_size / 1e6
    seconds = [f"{figures[each]:.4f}" for each in ("seconds_per_image", "network_seconds_per_image")]
    return f"| {name} | {' | '.join([*cells, *seconds])} | {size:.1f} |"


def main() -> None:
    """Train what is missing, measure all, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/zoo"))
    parser.add_argument("--only", nargs="*", default=list(NETWORKS))
    parser.add_argument("--train-only", action="store_true")
    given = parser.parse_args()
    for name in given.only:
        if not (given.out / name / "config.json").exists():
            train(name, given.data, given.weights, given.out)
    print("| network | macro recall | macro precision | macro F1 | s an image | of these network | MB |")
    print("|---|---|---|---|---|---|---|")
    for name in given.only:
        print(row(name, given.data, given.out))


if __name__ == "__main__":
    main()
