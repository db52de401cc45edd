"""Decode compressed frames with every decoder that is installed, and say where they disagree.

    pip install '.[bench]' && python benchmarks/agree.py FOLDER... [--frames 3] [--workers 2] [--verbose]

Of every DICOM file under the folders, the first, the middle and the last frames are decoded, and with them
streams that are made with every option of their kind, whose pixels are known (`made.py`, `jpeg_lossless.py`
and `streams.py` in tests/support). Each decoding runs in a worker process, for some of these decoders crash:
those of imagecodecs, Pillow, pydicom's plug-ins as far as they are installed, and dcmtk's commands. All are
compared, gray value by gray value (of colors, their brightness), with what is known, or with what
`dicom.codecs` chooses to do. Lossless syntaxes must be equal. Values of a lossy one may differ
by 2 steps, by 3 from what went into an encoder; the brightness of lossy colors by 2 of 256 on average, for
sub-sampled ones are smoothed in one way or another.

Prints a table ("decodes alone": what dicomsort's choice refuses), and with --verbose a line for each frame
where a decoder differs, crashes, or decodes alone. Ends with exit code 1 if the choice is not what is known,
or not what most decoders say that read the frame at all.
"""

import argparse
import importlib.metadata
import io
import pickle
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from dicomsort.dicom import codecs, isolation
from dicomsort.outcome import Failure, Reason, Status
from dicomsort.system.pool_settings import PoolSettings

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

import jpeg_lossless
import made
import streams

LIMIT, LIMIT_KNOWN = 2, 3
MOST_SAMPLES = 1 << 26
SELF = "dicomsort"
Values = NDArray[Any]


@dataclass(frozen=True)
class Case:
    """A frame, what the header says of it, and its true values where they are known.

    kind: what the table calls it. name: what a line about it calls it.
    """

    kind: str
    name: str
    syntax: str
    frame: bytes
    rows: int
    columns: int
    samples: int = 1
    allocated: int = 16
    stored: int = 16
    signed: bool = False
    photometric: str = "MONOCHROME2"
    known: Values | None = None

    @property
    def says_luma(self) -> bool:
        """Whether the header says that the first of three samples is Y."""
        return self.photometric.startswith("YBR_") and self.photometric not in ("YBR_RCT", "YBR_ICT")


# The cases -------------------------------------------------------------------------------------------------


def in_files(folders: list[Path], most: int) -> Iterator[Case]:
    """Yield the frames of compressed files; what cannot be parsed, or has no frames, is left out."""
    for folder in folders:
        for path in sorted(found for found in folder.rglob("*") if found.is_file()):
            try:
                yield from _frames(folder, path, most)
            except Exception:  # noqa: BLE001, S112  (pydicom raises nearly everything there is)
                continue


def _frames(folder: Path, path: Path, most: int) -> Iterator[Case]:
    dataset = pydicom.dcmread(path)
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    compressed = syntax in codecs.SUPPORTED - codecs.NATIVE - codecs.RAW_FRAMES
    if not compressed or "PixelData" not in dataset:
        return
    count = int(dataset.get("NumberOfFrames") or 1)
    wanted = {round(place * (count - 1) / max(most - 1, 1)) for place in range(most)}
    facts = {
        "rows": dataset.Rows, "columns": dataset.Columns, "samples": int(dataset.get("SamplesPerPixel", 1)),
        "allocated": dataset.BitsAllocated, "stored": dataset.BitsStored,
        "signed": dataset.get("PixelRepresentation", 0) == 1,
        "photometric": dataset.get("PhotometricInterpretation", ""),
    }  # fmt: skip
    if dataset.Rows * dataset.Columns * facts["samples"] > MOST_SAMPLES or not wanted:
        return
    for number, frame in enumerate(generate_frames(dataset.PixelData, number_of_frames=count)):
        if number in wanted:
            name = f"{path.relative_to(folder)} frame {number + 1}"
            yield Case(folder.name, name, syntax, frame, **facts)


def in_streams() -> Iterator[Case]:
    """Yield the streams that are made, with the pixels that went into them."""
    for bits in range(2, 17):
        pixels = made.scene(40, 33, bits)
        for predictor in range(1, 8):
            for transform in {0, 1, bits - 1}:
                options = jpeg_lossless.Options(bits, predictor, transform)
                yield _lossless(f"{options}", pixels >> transform << transform, options)
    yield from _restarted()
    yield from _lossless_colors()
    yield from _dct()
    yield from _jpeg_ls()
    yield from _wavelets()
    for samples in (1, 3):
        for bits in (8, 16):
            pixels = made.scene(40, 33, bits, samples)
            name = f"{bits} bits, {samples} samples"
            yield _made("made: RLE", name, made.RLE, made.rle(pixels), pixels, bits)


def _made(kind: str, name: str, syntax: str, frame: bytes | bytearray, pixels: Values, bits: int) -> Case:
    samples = 3 if pixels.ndim == 3 else 1
    photometric = "RGB" if samples == 3 else "MONOCHROME2"
    known = pixels.astype(np.int64) if samples == 1 else brightness(pixels, luma=False)
    rows, columns = pixels.shape[:2]
    allocated = 8 if bits <= 8 else 16
    signed = bool(pixels.min() < 0)
    facts = (rows, columns, samples, allocated, bits, signed, photometric)
    return Case(kind, name, syntax, bytes(frame), *facts, known)


def _lossless(name: str, pixels: Values, options: jpeg_lossless.Options) -> Case:
    bits, several = options.precision, pixels.ndim == 3 and options.scans is not None
    extra = "restarts" if options.restart_rows else "several scans" if several else "colors"
    what = extra if options.restart_rows or pixels.ndim == 3 else "predictors, point transform"
    frame = jpeg_lossless.encode(pixels, options)
    return _made(f"made: JPEG lossless, {what}", name, made.LOSSLESS, frame, pixels, bits)


def _restarted() -> Iterator[Case]:
    pixels = made.scene(40, 33, 12)
    for predictor in range(1, 8):
        for rows in (1, 2, 7, 40, 100):
            options = jpeg_lossless.Options(12, predictor, restart_rows=rows)
            yield _lossless(f"{options}", pixels, options)


def _lossless_colors() -> Iterator[Case]:
    for bits in (8, 12, 16):
        pixels = made.scene(20, 23, bits, 3)
        for scans in (None, ((0,), (1,), (2,)), ((2,), (0,), (1,)), ((0, 1), (2,))):
            for ids in ((1, 2, 3), (0, 1, 2), (82, 71, 66)):
                options = jpeg_lossless.Options(bits, 4, scans=scans, ids=ids)
                yield _lossless(f"{options}", pixels, options)


def _dct() -> Iterator[Case]:
    gray, colors = made.scene(96, 112, 8), made.scene(96, 112, 8, 3, noise=64)
    for options in made.WRITTEN:
        kind = "made: JPEG progressive" if "progressive" in options else "made: JPEG baseline"
        syntax = made.PROGRESSIVE if "progressive" in options else made.BASELINE
        yield _made(kind, f"{options}", syntax, made.pillow(gray, quality=98, **options), gray, 8)
        for sampling in range(3):
            frame = made.pillow(colors, quality=98, subsampling=sampling, **options)
            case = _made(f"{kind}, color", f"{options} {sampling}", syntax, frame, colors, 8)
            yield Case(**{**vars(case), "photometric": "YBR_FULL_422"})
        frame = made.pillow(colors, quality=98, keep_rgb=True, **options)
        yield _made(f"{kind}, RGB", f"{options}", syntax, frame, colors, 8)
    deep = made.scene(96, 112, 12)
    frame = bytes(imagecodecs.jpeg8_encode(deep, 99, bitspersample=12))
    yield _made("made: JPEG extended, 12 bits", "", made.EXTENDED, frame, deep, 12)


def _jpeg_ls() -> Iterator[Case]:
    for bits in range(2, 17):
        pixels = made.scene(30, 41, bits)
        depth = 8 * pixels.itemsize  # what imagecodecs writes into the stream
        for near in range(3):
            frame = bytes(imagecodecs.jpegls_encode(pixels, level=near))
            syntax = made.JPEG_LS_NEAR if near else made.JPEG_LS
            yield _made("made: JPEG-LS", f"{bits} bits, near {near}", syntax, frame, pixels, depth)
    for name, frame in streams.STREAMS.items():
        if name.startswith("jpeg-ls by"):
            syntax = made.JPEG_LS if name.endswith("0") else made.JPEG_LS_NEAR
            yield _made("made: JPEG-LS, color", name, syntax, frame, streams.pattern(256, 3), 8)


def _wavelets() -> Iterator[Case]:
    for samples in (1, 3):
        pixels = made.scene(96, 112, 8, samples)
        for progression in ("LRCP", "RLCP", "RPCL", "PCRL", "CPRL"):
            for more in ({}, {"tile_size": (64, 64)}, {"quality_layers": [20, 5, 0]}):
                options: dict[str, Any] = {"num_resolutions": 4, "progression": progression, **more}
                frame = made.jpeg_2000(pixels, **options)
                yield _made("made: JPEG 2000, options", f"{options} {samples}", made.J2K, frame, pixels, 8)
    for bits in range(2, 17):
        for low in (0, 1 << (bits - 1)):
            pixels = made.scene(96, 112, bits).astype(np.int32) - low
            stored = pixels.astype(f"{'i' if low else 'u'}{1 if bits <= 8 else 2}")
            options = {"codecformat": "j2k", "bitspersample": bits, "reversible": True}
            frame = bytes(imagecodecs.jpeg2k_encode(stored, 0, **options))
            yield _made("made: JPEG 2000, bits, sign", f"{bits} {low}", made.J2K, frame, pixels, bits)
        pixels = made.scene(96, 112, bits)
        frame = bytes(imagecodecs.htj2k_encode(pixels))
        yield _made("made: HTJ2K", f"{bits} bits", made.HTJ2K, frame, pixels, bits)
    for name, frame in streams.STREAMS.items():
        if name.startswith("jpeg 2000 with"):
            yield _made("made: JPEG 2000, options", name, made.J2K, frame, streams.pattern(4096), 12)


# The decoders ----------------------------------------------------------------------------------------------


def brightness(pixels: Values, luma: bool) -> Values:
    """Return Y of (rows, columns, samples), or the BT.601 weights of RGB."""
    weights = np.array([1, 0, 0]) if luma else np.array([0.299, 0.587, 0.114])
    return np.asarray(pixels[..., :3] @ weights)


def _values(case: Case, pixels: Values, luma: bool | None = None) -> Values:
    """Return int64 values with the sign that the header says, or the brightness of colors."""
    if pixels.ndim == 3 and case.samples == 3:
        return brightness(pixels, case.says_luma if luma is None else luma)
    pixels = pixels.astype(np.int64) & ((1 << case.stored) - 1)
    if case.signed:
        pixels -= (pixels >> (case.stored - 1)) << case.stored
    return pixels.reshape(case.rows, case.columns)


def _chosen(case: Case) -> Values:
    """Decode as dicomsort does at full size."""
    shape = case.rows, case.columns
    if case.syntax == codecs.RLE:
        pixels = codecs.decode_rle(case.frame, *shape, case.samples, case.allocated)
        return _values(case, pixels)
    if not codecs.keeps_to(case.frame, case.syntax, shape):
        raise ValueError
    rgb = True if case.photometric == "RGB" else False if case.photometric.startswith("YBR_") else None
    found = codecs.decode(
        case.frame, case.syntax, codecs.DecodeRequest(shape, shape, case.stored, case.signed, rgb)
    )
    return _values(case, found.pixels, found.luma)


def _alone(decode: Callable[[bytes], Values], luma: bool | None = None) -> Callable[[Case], Values]:
    return lambda case: _values(case, np.asarray(decode(case.frame)), luma)


def _as_coded(frame: bytes) -> Values:
    """Decode without a change of colors; a stream of one component has none."""
    components = frame[frame.index(b"\xff\xc3") + 9]
    space = "RGB" if components == 3 else None
    return np.asarray(imagecodecs.jpeg8_decode(frame, colorspace=space, outcolorspace=space))


def _imagecodecs_rle(case: Case) -> Values:
    size = case.allocated // 8
    planes = np.frombuffer(imagecodecs.dicomrle_decode(case.frame, f"<u{size}"), f"<u{size}")
    return _values(case, np.moveaxis(planes.reshape(case.samples, case.rows, case.columns), 0, -1))


def _pillow(case: Case) -> Values:
    with Image.open(io.BytesIO(case.frame)) as image:
        pixels = np.asarray(image)
    siz = case.frame.find(b"\xff\x4f\xff\x51")
    if siz >= 0 and pixels.ndim == 2:  # Pillow aligns values to the left, and moves signed ones up
        depth = case.frame[siz + 42]
        pixels = pixels >> (8 * pixels.itemsize - (depth & 0x7F) - 1)
        if depth > 0x7F:
            pixels = (pixels.astype(np.int32) - (1 << (depth & 0x7F))).astype(np.int16)
    return _values(case, pixels, luma=False)


def _plugin(name: str) -> Callable[[Case], Values]:
    def decode(case: Case) -> Values:
        decoder = get_decoder(UID(case.syntax))
        options: dict[str, Any] = {
            "rows": case.rows, "columns": case.columns, "number_of_frames": 1,
            "samples_per_pixel": case.samples, "planar_configuration": 0,
            "photometric_interpretation": case.photometric, "bits_allocated": case.allocated,
            "bits_stored": case.stored, "pixel_representation": int(case.signed),
        }  # fmt: skip
        pixels, facts = decoder.as_array(encapsulate([case.frame]), decoding_plugin=name, **options)
        return _values(case, pixels, str(facts["photometric_interpretation"]).startswith("YBR_F"))

    return decode


def _dcmtk(command: str) -> Callable[[Case], Values]:
    def decode(case: Case) -> Values:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "in.dcm", Path(folder) / "out.dcm"
            pydicom.dcmwrite(source, _dataset(case), enforce_file_format=True)
            never = ["+cn"] if command == "dcmdjpeg" else []
            subprocess.run([command, *never, source, target], check=True, capture_output=True)
            dataset = pydicom.dcmread(target)
            photometric = dataset.PhotometricInterpretation
            size = dataset.BitsAllocated // 8
            pixels = np.frombuffer(dataset.PixelData, f"<u{size}", case.rows * case.columns * case.samples)
            if case.samples == 3 and dataset.PlanarConfiguration == 1:
                pixels = np.moveaxis(pixels.reshape(3, case.rows, case.columns), 0, -1)
            elif case.samples == 3:
                pixels = pixels.reshape(case.rows, case.columns, 3)
            return _values(case, pixels, photometric.startswith("YBR_F"))

    return decode


def _dataset(case: Case) -> Dataset:
    dataset, meta = Dataset(), FileMetaDataset()
    meta.TransferSyntaxUID = UID(case.syntax)
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID = UID("1.2.840.10008.5.1.4.1.1.7")
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = UID("2.25.1")
    dataset.file_meta = meta
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = case.rows, case.columns, case.samples
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = case.allocated, case.stored, case.stored - 1
    dataset.PixelRepresentation, dataset.PhotometricInterpretation = int(case.signed), case.photometric
    if case.samples == 3:
        dataset.PlanarConfiguration = 0
    dataset.PixelData = encapsulate([case.frame])
    dataset["PixelData"].VR = "OB"
    return dataset


_JPEG = {"jpeg8_decode": _alone(imagecodecs.jpeg8_decode, luma=False), "Pillow": _pillow}
_LOSSLESS = {
    "jpeg8_decode": _alone(_as_coded),
    "ljpeg_decode": _alone(imagecodecs.ljpeg_decode),
    "jpegsof3_decode": _alone(imagecodecs.jpegsof3_decode),
}
_JPEG_2000 = {"jpeg2k_decode": _alone(imagecodecs.jpeg2k_decode), "Pillow": _pillow}
_HTJ2K = {"htj2k_decode": _alone(imagecodecs.htj2k_decode), **_JPEG_2000}
_PREFIX = "1.2.840.10008.1.2."
GROUPS: dict[tuple[str, ...], tuple[str, str, dict[str, Callable[[Case], Values]]]] = {
    # ends of the UIDs: name, command of dcmtk, other decoders
    ("4.50", "4.51", "4.53", "4.55"): ("JPEG", "dcmdjpeg", _JPEG),
    ("4.57", "4.70"): ("JPEG lossless", "dcmdjpeg", _LOSSLESS),
    ("4.80", "4.81"): ("JPEG-LS", "dcmdjpls", {"jpegls_decode": _alone(imagecodecs.jpegls_decode)}),
    ("4.90", "4.91"): ("JPEG 2000", "", _JPEG_2000),
    ("4.201", "4.202", "4.203"): ("HTJ2K", "", _HTJ2K),
    ("4.110", "4.111", "4.112"): ("JPEG XL", "", {"jpegxl_decode": _alone(imagecodecs.jpegxl_decode, False)}),
    ("5",): ("RLE", "dcmdrle", {"dicomrle_decode": _imagecodecs_rle}),
}
PLUGINS = ("pydicom", "pylibjpeg", "pyjpegls", "gdcm")


def group_of(syntax: str) -> str:
    """Name the family of a transfer syntax; empty if there is only one decoder for it."""
    ends = syntax.removeprefix(_PREFIX)
    return next((name for known, (name, _, _) in GROUPS.items() if ends in known), "")


def decoders_of(syntax: str) -> dict[str, Callable[[Case], Values]]:
    """Return every decoder that is installed for a transfer syntax, by name; ours first."""
    ends = syntax.removeprefix(_PREFIX)
    found: dict[str, Callable[[Case], Values]] = {SELF: _chosen}
    for known, (_, command, others) in GROUPS.items():
        if ends in known:
            found |= others
            found |= {name: _plugin(name) for name in PLUGINS if name in _plugins(syntax)}
            found |= {command: _dcmtk(command)} if command and shutil.which(command) else {}
    return found


def _plugins(syntax: str) -> tuple[str, ...]:
    try:
        return get_decoder(UID(syntax)).available_plugins
    except NotImplementedError:  # pydicom leaves the progressive ones out
        return ()


# The comparison --------------------------------------------------------------------------------------------


def attempt(item: tuple[str, str]) -> str | Failure:
    """Decode the case of a file with one decoder, in a worker; return where the values have been written."""
    path, name = item
    with Path(path).open("rb") as file:
        case: Case = pickle.load(file)  # noqa: S301  (written by this program)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = decoders_of(case.syntax)[name](case)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  (each decoder has its own)
        return Failure(Status.DECODE_ERROR, Reason.PIXELS_DAMAGED)
    target = f"{path}.{name}.npy"
    np.save(target, values)
    return target


@dataclass(frozen=True)
class Verdict:
    """How one decoder's values lie to those they are compared with."""

    word: str
    share: float = 0.0
    most: float = 0.0


def judge(case: Case, values: Values | Failure, right: Values | None) -> Verdict:
    """Compare values with the right ones; a lossy syntax may be a little off."""
    if isinstance(values, Failure):
        return Verdict({Status.CRASH: "crashes", Status.TIMEOUT: "hangs"}.get(values.status, "refuses"))
    if right is None:
        return Verdict("decodes")
    if values.shape != right.shape:
        return Verdict("differs", 1.0, float("inf"))
    off = np.abs(values - right)
    limit = (LIMIT_KNOWN if right is case.known else LIMIT) if case.syntax in codecs.LOSSY else 0
    if limit and case.samples == 3:
        equal = bool(off.mean() <= LIMIT * (1 << case.stored) / 256)
    else:
        equal = bool(off.max() <= limit + 1e-6)
    return Verdict("equal") if equal else Verdict("differs", float((off > 1e-6).mean()), float(off.max()))


@dataclass
class Table:
    """What was counted: by (kind, syntax family, decoder) the verdicts, and what went wrong."""

    counts: dict[tuple[str, str, str], Counter[str]]
    worst: dict[tuple[str, str, str], Verdict]
    lines: list[str]
    wrong: list[str]

    def add(self, case: Case, found: dict[str, Values | Failure]) -> None:
        """Judge all decoders of one case."""
        chosen = found[SELF]
        right = case.known if case.known is not None else None if isinstance(chosen, Failure) else chosen
        for name, values in found.items():
            verdict = judge(case, values, right)
            key = case.kind, group_of(case.syntax), name
            self.counts.setdefault(key, Counter())[verdict.word] += 1
            if verdict.share > self.worst.get(key, Verdict("")).share:
                self.worst[key] = verdict
            if verdict.word in ("differs", "crashes", "hangs", "decodes"):
                self.lines.append(f"{case.kind}: {case.name}: {name} {_told(verdict)}")
        if self._is_wrong(case, found):
            self.wrong.append(f"{case.kind}: {case.name}")

    def _is_wrong(self, case: Case, found: dict[str, Values | Failure]) -> bool:
        """Return whether dicomsort's values are not those known, or not those of most decoders."""
        chosen = found[SELF]
        if case.known is not None:
            return judge(case, chosen, case.known).word != "equal"
        others = [values for name, values in found.items() if name != SELF]
        read = [values for values in others if not isinstance(values, Failure)]
        if isinstance(chosen, Failure) or not read:
            return False
        against = [values for values in read if judge(case, values, chosen).word != "equal"]
        together = max((sum(judge(case, b, a).word == "equal" for b in against) for a in against), default=0)
        return together > len(read) / 2


def _told(verdict: Verdict) -> str:
    if verdict.word == "decodes":
        return "decodes alone"
    if verdict.word != "differs":
        return verdict.word
    return f"differs in {100 * verdict.share:.3g} % of the values, by {verdict.most:.4g} at most"


def compare(cases: Iterator[Case], settings: PoolSettings) -> Table:
    """Decode all cases with all decoders."""
    table = Table({}, {}, [], [])
    pending: dict[str, tuple[Case, dict[str, Values | Failure]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        items = _written(Path(folder), cases, pending)
        for (path, name), result in isolation.read_all(attempt, items, settings):
            case, found = pending[path]
            found[name] = result if isinstance(result, Failure) else np.load(result)
            if not isinstance(result, Failure):
                Path(result).unlink()
            if len(found) == len(decoders_of(case.syntax)):
                table.add(case, found)
                del pending[path]
                Path(path).unlink()
    return table


def _written(
    folder: Path, cases: Iterator[Case], pending: dict[str, tuple[Case, dict[str, Values | Failure]]]
) -> Iterator[tuple[str, str]]:
    """Write case by case, as the workers have room for them, and name each decoder for it."""
    for number, case in enumerate(cases):
        path = folder / str(number)
        path.write_bytes(pickle.dumps(case))
        pending[str(path)] = case, {}
        yield from ((str(path), name) for name in decoders_of(case.syntax))


WORDS = ("equal", "differs", "refuses", "crashes", "hangs", "decodes")


def show(table: Table) -> None:
    """Print the table; decoders that did the same share a row."""
    rows: dict[tuple[str, str], dict[tuple[str, ...], list[str]]] = {}
    for (kind, family, name), counts in table.counts.items():
        worst = table.worst.get((kind, family, name))
        told = f"{100 * worst.share:.3g} %, by {worst.most:.4g}" if worst else ""
        cells = (*(str(counts[word] or "") for word in WORDS), told)
        rows.setdefault((kind, family), {}).setdefault(cells, []).append(name)
    print(f"| frames of | syntax | decoders | {' | '.join(WORDS)} alone | at worst |")
    print("|---|---|---|" + "---|" * (len(WORDS) + 1))
    for (kind, family), shared in sorted(rows.items()):
        for cells, names in shared.items():
            ordered = sorted(names, key=lambda name: (name != SELF, name))
            print(f"| {kind} | {family} | {', '.join(ordered)} | {' | '.join(cells)} |")


def versions() -> str:
    """Name the decoders and their versions."""
    packages = (
        "imagecodecs",
        "Pillow",
        "pydicom",
        "pylibjpeg-libjpeg",
        "pylibjpeg-openjpeg",
        "pylibjpeg-rle",
    )
    told = []
    for package in (*packages, "pyjpegls", "python-gdcm"):
        try:
            told.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            told.append(f"no {package}")
    inner = ("jpeg8", "ljpeg", "jpegsof3", "jpegls", "jpeg2k", "htj2k")
    told += [getattr(imagecodecs, f"{name}_version")() for name in inner]
    if shutil.which("dcmdjpeg"):
        done = subprocess.run(["dcmdjpeg", "--version"], capture_output=True, text=True, check=False)  # noqa: S607
        told.append(" ".join((done.stdout or done.stderr).split()[1:3]))
    return ", ".join(told)


def main() -> None:
    """Compare the decoders on all frames of the folders, and on the streams that are made."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER")
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--verbose", action="store_true", help="a line for each frame of a disagreement")
    given = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's are on the headers
        cases = chain(in_files(given.folders, given.frames), in_streams())
        table = compare(cases, PoolSettings(workers=given.workers, timeout=60))
    print(versions())
    show(table)
    for line in sorted(table.lines) if given.verbose else []:
        print(line)
    for line in table.wrong:
        print(f"WRONG: {line}")
    sys.exit(1 if table.wrong else 0)


if __name__ == "__main__":
    main()
