"""Sort an archive, then read its manifest: what became of the files, and what a person should look at.

    python examples/sort_an_archive.py FOLDER OUT

The same call again does only what is missing.
"""

import sys
from collections import Counter

import dicomsort


def show(summary: dicomsort.SortSummary) -> None:
    """Say now and then how far it is; called after every file."""
    if summary.ended % 50 == 0:
        print(f"{summary.ended} of {summary.total or 'so many'} files done")


def main(folder: str, out: str) -> None:
    """Link the radiographs into folders by class, and count them."""
    summary = dicomsort.sort(folder, out, models="router5", action="symlink", progress=show)
    labels: Counter[str] = Counter()
    for row in dicomsort.read_manifest(out):
        if row.status is dicomsort.Status.SORTED:
            labels[row.label] += 1
        elif row.status is dicomsort.Status.REVIEW:
            print(f"please look at {row.destination}: {', '.join(row.reasons)} ({row.confidence:.3f})")
    print(", ".join(f"{count} {label}" for label, count in labels.most_common()))
    print(f"{summary.found} files in {summary.seconds:.0f} s")


if __name__ == "__main__":  # worker processes run the top of this file again
    main(sys.argv[1], sys.argv[2])
