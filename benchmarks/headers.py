"""How many headers are read again in a second, as the audit reads them, and how many pydicom reads.

    python benchmarks/headers.py [--files 20000] [--workers 2] [--runs 5] [--source FOLDER]

The files are copies of the headers in a folder (by default tests/archive) with 4 KiB of pixels each, and for
`large` one header with 160 elements more, a sequence, and 256 KiB of a private element before Body Part
Examined. All lie in the page cache. `pydicom` is dcmread of the same elements before the pixels, in one
process; its figure is per processor second, as that of `one process`.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from dicomsort.audit.terms import Terms
from dicomsort.dicom import isolation, stated
from dicomsort.dicom.stated import Asked
from dicomsort.outcome import Failure
from dicomsort.system.pool_settings import PoolSettings

ARCHIVE = Path(__file__).resolve().parents[1] / "tests" / "archive"
PIXELS = 4096


def headers_in(folder: Path) -> list[bytes]:
    """Return the files of a folder up to their pixels, and a few of these; whatever has none is left out."""
    files = (path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
    ends = ((data, data.find(b"\xe0\x7f\x10\x00")) for data in files if data[128:132] == b"DICM")
    return [data[: end + 12] + bytes(PIXELS) for data, end in ends if 0 < end < 1 << 16]


def large(header: bytes, folder: Path) -> bytes:
    """Return a header as a modern machine writes it, with much that nobody asks for."""
    (folder / "one").write_bytes(header)
    dataset = dcmread(folder / "one", stop_before_pixels=True)
    dataset.private_block(0x0009, "MAKER", create=True).add_new(1, "OB", bytes(1 << 18))
    block = dataset.private_block(0x0019, "MAKER", create=True)
    for number in range(160):
        block.add_new(number, "LO", f"value {number}")
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "T-D3000", "SRT", "Chest"
    dataset.AnatomicRegionSequence = Items([item])
    dataset.save_as(folder / "one")
    return (
        (folder / "one").read_bytes()
        + b"\xe0\x7f\x10\x00OW\0\0"
        + PIXELS.to_bytes(4, "little")
        + bytes(PIXELS)
    )


def written(headers: Sequence[bytes], count: int, folder: Path) -> list[str]:
    """Write so many files, a thousand in each folder."""
    paths = []
    for number in range(count):
        path = folder / f"{number // 1000:04d}" / f"{number:07d}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(headers[number % len(headers)])
        paths.append(str(path))
    return paths


def by_clock(paths: Sequence[str], asked: Asked, workers: int) -> float:
    """Return files in a second through worker processes, their start included."""
    began = time.perf_counter()
    read = partial(stated.read_stated, asked=asked)
    found = isolation.read_all(read, paths, PoolSettings(workers))
    if any(isinstance(one, Failure) for _, one in found):
        raise SystemExit("a header could not be read")
    return len(paths) / (time.perf_counter() - began)


def by_processor(paths: Sequence[str], read: Callable[[str], object]) -> float:
    """Return files in a second of one processor."""
    began = time.process_time()
    for path in paths:
        read(path)
    return len(paths) / (time.process_time() - began)


def main() -> None:
    """Write the files, measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--source", type=Path, default=ARCHIVE)
    options = parser.parse_args()
    asked = Asked(b"salt", Terms.load().wording)
    told = Asked(b"salt", asked.terms, descriptions=True)
    usual = partial(dcmread, stop_before_pixels=True, specific_tags=[int(tag) for tag in stated.TAGS])
    print("| headers | workers, files/s | one process | with descriptions | pydicom |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder, headers = Path(name), headers_in(options.source)
        kinds = {"as they are": headers, "large": [large(headers[0], folder)]}
        for kind, some in kinds.items():
            paths = written(some, options.files, folder / kind)
            few = paths[:2000]
            runs = range(options.runs)
            figures = (
                [by_clock(paths, asked, options.workers) for _ in runs],
                [by_processor(few, partial(stated.read_stated, asked=asked)) for _ in runs],
                [by_processor(few, partial(stated.read_stated, asked=told)) for _ in runs],
                [by_processor(few[:500], usual) for _ in runs],
            )
            print(f"| {kind} | {' | '.join(f'{statistics.median(each):,.0f}' for each in figures)} |")


if __name__ == "__main__":
    main()
