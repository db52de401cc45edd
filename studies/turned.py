"""What becomes of films that lie on their side or head, with and without a model that turns them.

    python studies/turned.py labels.csv [--model router5] [--beside view]

The test part of the model's split, each picture turned clockwise by 0, 90, 180 and 270 degrees, is asked as
`dicomsort classify` asks it. Prints Markdown: accuracy, macro recall, the share that is filed, and how many
of these are wrong.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from candidates import macro_recall
from numpy.typing import NDArray
from told import percent, plain, table

from dicomsort.data import dataset
from dicomsort.data.cache import Cache
from dicomsort.data.dataset import TEST, Columns
from dicomsort.model import bundle as bundles
from dicomsort.model.bundle import Bundle
from dicomsort.model.load import predictors_for
from dicomsort.model.model_set import ModelSet
from dicomsort.outcome import ReadImage
from dicomsort.system.pool_settings import pool_settings
from dicomsort.system.timing import StageTimer

BATCH = 32


def rows(
    models: Sequence[Bundle], pictures: Sequence[NDArray[np.uint8]], truth: NDArray[np.int64]
) -> Iterator[list[str]]:
    """Yield what the models make of the pictures, by how much they are turned."""
    labels, name = models[0].head.labels, " and ".join(model.name for model in models)
    with predictors_for(models, "cpu", "auto") as predictors:
        asked = ModelSet(tuple(predictors))
        for quarters in range(4):
            turned = [ReadImage(np.ascontiguousarray(np.rot90(each, -quarters))) for each in pictures]
            batches = (turned[start : start + BATCH] for start in range(0, len(turned), BATCH))
            decided = [one for batch in batches for one in asked.decisions(batch, None, StageTimer())]
            right = np.array([labels.index(one.label) for one in decided]) == truth
            filed = np.array([not one.review for one in decided])
            figures = (
                plain(float(right.mean())),
                plain(macro_recall(truth, right)),
                percent(float(filed.mean())),
            )
            yield [name, str(90 * quarters), *figures, str(int((filed & ~right).sum()))]


def main() -> None:
    """Read, ask and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels", type=Path)
    parser.add_argument("--model", default="router5")
    parser.add_argument("--beside", default="view")
    given = parser.parse_args()
    first, beside = (bundles.load(bundles.locate(name)) for name in (given.model, given.beside))
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder), first.preprocessing)
        found = dataset.load(given.labels, Columns((first.head.name,)), cache.hash_of).samples
        samples = dataset.listed(found, first.split, TEST)
        cache.fill(samples, pool_settings())
        pictures = [cache.pixels(sample.sha256).copy() for sample in samples]
    truth = np.array([first.head.labels.index(sample.label) for sample in samples])
    told = [*rows([first], pictures, truth), *rows([first, beside], pictures, truth)]
    print(table(["models", "turned by", "accuracy", "macro recall", "filed", "wrong of these"], told))


if __name__ == "__main__":
    main()
