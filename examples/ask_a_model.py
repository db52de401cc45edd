"""Ask a model about the DICOM files of a folder, and keep their features for a search or a plot of your own.

    python examples/ask_a_model.py FOLDER OUT

Prints label, confidence and path of every radiograph; writes OUT/features.npz.
"""

import sys
from pathlib import Path

import numpy as np

import dicomsort


def main(folder: Path, out: Path) -> None:
    """Label what can be read, and say of all else why it cannot."""
    model = dicomsort.load_model("router5", device="cpu")
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    radiographs = []
    for path, answer in zip(paths, model.predict(paths, unreadable="return"), strict=True):
        if isinstance(answer, dicomsort.UnreadableError):
            print(f"{answer.status:16} {path}")
        else:
            radiographs.append(path)
            print(f"{answer.label:16} {answer.confidence:.3f} {path}")
    out.mkdir(parents=True, exist_ok=True)
    np.savez(out / "features.npz", paths=list(map(str, radiographs)), features=model.features(radiographs))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
