"""The same radiographs as files, in archives, in an object store and in a PACS: files/s against local files.

    pip install '.[test]' && python benchmarks/sources.py [--files 2000] [--rounds 3] [--only NAME]...

Makes `--files` radiographs of 1200 x 1000 pixels, 12 bits, uncompressed, of which no two are equal (5 GB at
2,000), packs them in turn as a ZIP (stored, deflated), a tar and a tar.gz, puts them into an S3 server (moto,
in a process of its own; at 0 and 50 ms by a proxy that delays), and into Orthanc (of Debian, with DICOMweb).
Each source is measured in turn with the files: files, source, files, source ..., by `dicomsort classify` as a
user would, start of the program included, everything in the page cache. Manifest rows and copies of the last
pair are compared, paths aside.

ratio: files/s of the source over files/s of the files run just before; median of the pairs, and their range.
processor: seconds of all processes of dicomsort, and how many times those of the files the source took.
alone: seconds that `gzip -dc` or `unzip -p` take for the archive. server: processor seconds a run of the S3
server or of Orthanc, which share the cores here. memory: the most that the main process ever held, and that
all together did.
"""

import argparse
import asyncio
import contextlib
import csv
import filecmp
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.request
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from decode import radiograph
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID
from scale import peak

ROWS, COLUMNS = 1200, 1000
SOURCE_ONLY = {"path", "destination", "mtime_ns", "etag", "dicomsort_version"}
SLOW_MS = 50


@dataclass(frozen=True, slots=True)
class Run:
    """What one run took: seconds, of the clock and of all its processes, and the most memory in bytes.

    main: of the main process. all: of all together.
    """

    seconds: float
    processor: float
    main: int
    all: int


def make(folder: Path, files: int) -> None:
    """Write the radiographs: one film in as many shades, each with noise of its own in some rows."""
    gray = Image.fromarray(radiograph()).resize((COLUMNS, ROWS), Image.Resampling.BOX)
    film = np.asarray(gray, np.uint16)
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(files):
        pixels = np.clip(film.astype(np.int32) + number % 200, 0, 4095).astype("<u2")
        pixels[number % ROWS] ^= random.integers(0, 8, COLUMNS, np.uint16)
        write(folder / f"{number:05}.dcm", pixels, number)


def write(path: Path, pixels: "np.ndarray[tuple[int, int], np.dtype[np.uint16]]", number: int) -> None:
    """Store one radiograph, uncompressed."""
    dataset, meta = Dataset(), FileMetaDataset()
    meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1")
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID = UID("1.2.840.10008.5.1.4.1.1.1.1")
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = UID(f"2.25.{number + 10}")
    dataset.StudyInstanceUID = UID(f"2.25.{10_000_000 + number // 4}")
    dataset.SeriesInstanceUID = UID(f"2.25.{20_000_000 + number // 2}")
    dataset.file_meta, dataset.Modality, dataset.PatientID = meta, "DX", f"P{number // 4}"
    dataset.PatientName, dataset.PhotometricInterpretation = "Bench^Mark", "MONOCHROME2"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel, dataset.PixelRepresentation = ROWS, COLUMNS, 1, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.add_new("PixelData", "OW", pixels.tobytes())
    dataset.save_as(path, enforce_file_format=True)


def zipped(files: Path, folder: Path, method: int) -> str:
    """Put the files into one ZIP."""
    target = folder / f"{'stored' if method == zipfile.ZIP_STORED else 'deflated'}.zip"
    with zipfile.ZipFile(target, "w", method) as archive:
        for path in sorted(files.iterdir()):
            archive.write(path, path.name)
    return str(target)


def tarred(files: Path, folder: Path) -> str:
    """Put the files into one tar."""
    with tarfile.open(folder / "plain.tar", "w") as archive:
        archive.add(files, ".")
    return str(folder / "plain.tar")


def gzipped(files: Path, folder: Path) -> str:
    """Put the files into one tar.gz, as `tar -czf` does."""
    target = folder / "packed.tar.gz"
    subprocess.run([str(shutil.which("tar")), "-czf", str(target), "-C", str(files), "."], check=True)
    return str(target)


def run(source: str, out: Path, action: str, environment: dict[str, str]) -> Run:
    """Sort a source into a new folder."""
    shutil.rmtree(out, ignore_errors=True)
    words = ["classify", source, "--out", str(out), "--device", "cpu", "--action", action, "--quiet"]
    started, most, most_of_all = time.monotonic(), 0, 0
    spent: dict[int, float] = {}
    with subprocess.Popen(
        [sys.executable, "-m", "dicomsort", *words], env=environment, start_new_session=True
    ) as program:
        while program.poll() is None:
            most = max(most, peak(program.pid))
            processes = session(program.pid)
            most_of_all = max(most_of_all, sum(map(resident, processes)))
            spent |= {pid: seconds for pid in processes if (seconds := processor_seconds(pid))}
            time.sleep(0.1)
        if program.returncode:
            sys.exit(f"{source}: ended with {program.returncode}: {reasons(out)}")
    return Run(time.monotonic() - started, sum(spent.values()), most, most_of_all)


def reasons(out: Path) -> dict[str, int]:
    """Count the rows of an output by status and reason."""
    with (out / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return Counter(f"{row['status']}: {row['reason']}" for row in csv.DictReader(file))


def session(leader: int) -> list[int]:
    """Return the processes of a session."""
    found = subprocess.run(
        [str(shutil.which("ps")), "-o", "pid=", "-s", str(leader)],
        capture_output=True,
        text=True,
        check=False,
    )
    return [int(each) for each in found.stdout.split()]


def resident(pid: int) -> int:
    """Return the memory in bytes that a process holds alone, or its share of what it does not."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0


def compare(of_files: Path, other: Path) -> int:
    """Return how many rows and copies are equal, paths aside; ends the program if any is not."""
    expected, found = by_uid(of_files), by_uid(other)
    if expected.keys() != found.keys():
        sys.exit(f"{other}: {len(found)} images instead of {len(expected)}")
    for uid, row in expected.items():
        same = {name: text for name, text in row.items() if name not in SOURCE_ONLY}
        if same != {name: text for name, text in found[uid].items() if name not in SOURCE_ONLY}:
            sys.exit(f"{other}: another row for {uid}")
        if row["action"] and not filecmp.cmp(
            of_files / row["destination"], other / found[uid]["destination"], shallow=False
        ):
            sys.exit(f"{other}: another copy of {uid}")
    return len(expected)


def by_uid(out: Path) -> dict[str, dict[str, str]]:
    """Return the rows of images."""
    with (out / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return {row["sop_instance_uid"]: row for row in csv.DictReader(file) if row["sop_instance_uid"]}


def free_port() -> int:
    """Return a port that nobody has."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def delayed(port: int, milliseconds: int) -> Iterator[int]:
    """Pass connections on to a port, what is asked so much later; yields the port to ask."""
    loop = asyncio.new_event_loop()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, late: float) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 18):
                await asyncio.sleep(late)
                writer.write(data)
                await writer.drain()
            writer.close()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pass_on(reader, back, milliseconds / 1000), pass_on(there, writer, 0))

    server = loop.run_until_complete(asyncio.start_server(accepted, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


@contextlib.contextmanager
def object_store(files: Path) -> Iterator[tuple[int, dict[str, str], int]]:
    """Start moto's server with a bucket of the files; yields its port, the environment, and its process."""
    import obstore  # noqa: PLC0415
    from obstore.store import S3Store  # noqa: PLC0415

    port = free_port()
    keys = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "mark", "AWS_DEFAULT_REGION": "us-east-1"}
    words = [str(Path(sys.executable).with_name("moto_server")), "-p", str(port)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for(port)
            urllib.request.urlopen(
                urllib.request.Request(f"http://127.0.0.1:{port}/bench", method="PUT")
            ).close()
            store = S3Store(
                "bench", endpoint=f"http://127.0.0.1:{port}", client_options={"allow_http": True},
                region="us-east-1", access_key_id="bench", secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
                virtual_hosted_style_request=False,
            )  # fmt: skip
            for path in sorted(files.iterdir()):
                obstore.put(store, f"files/{path.name}", path.read_bytes())
            yield port, keys, server.pid
        finally:
            server.send_signal(signal.SIGKILL)


def wait_for(port: int) -> None:
    """Wait until somebody listens."""
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    sys.exit("the server does not come up")


def processor_seconds(pid: int) -> float:
    """Return what a process has computed so far; 0 if it is gone."""
    if not Path(f"/proc/{pid}/stat").exists():
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Bench:
    """Measures sources in turn with the files."""

    def __init__(self, files: Path, given: argparse.Namespace) -> None:
        self._files, self._given = files, given
        self._folder, self._count = files.parent, len(list(files.iterdir()))

    def measure(
        self, name: str, source: str, extra: dict[str, str] | None = None, server: int | None = None
    ) -> None:
        """Run files and source by turns, compare what came of it, and print a line."""
        pairs, before = [], processor_seconds(server) if server else 0.0
        environment = {**os.environ, "OMP_NUM_THREADS": "", **(extra or {})}
        del environment["OMP_NUM_THREADS"]
        for _ in range(self._given.rounds):
            of_files = run(str(self._files), self._folder / "of-files", self._given.action, environment)
            pairs.append((of_files, run(source, self._folder / "of-source", self._given.action, environment)))
        equal = compare(self._folder / "of-files", self._folder / "of-source")
        ratios = [files.seconds / other.seconds for files, other in pairs]
        costs = [other.processor / files.processor for files, other in pairs]
        slowest = statistics.median(other.seconds for _, other in pairs)
        spent = f", server {(processor_seconds(server) - before) / len(pairs):.1f} s" if server else ""
        print(
            f"{name:14} {self._count / slowest:7.1f} files/s  ratio {statistics.median(ratios):.3f} "
            f"({min(ratios):.3f} to {max(ratios):.3f})  processor {statistics.median(costs):.2f} times, "
            f"{statistics.median(one.processor for one, _ in pairs):.1f} s of files  {equal} equal  memory "
            f"{_most(one for _, one in pairs)}, of files {_most(one for one, _ in pairs)}{spent}",
            flush=True,
        )
        shutil.rmtree(self._folder / "of-source")


def _most(runs: Iterable[Run]) -> str:
    done = list(runs)
    return f"{max(one.main for one in done) >> 20} MB, all {max(one.all for one in done) >> 20} MB"


def alone(words: list[str]) -> float:
    """Return the seconds that a program takes whose output goes nowhere."""
    started = time.monotonic()
    subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - started


def archives(bench: Bench, files: Path, folder: Path, wanted: Callable[[str], bool]) -> None:
    """Measure the archives, each made just before and removed behind."""
    makers: dict[str, Callable[[Path, Path], str]] = {
        "ZIP, stored": lambda files, folder: zipped(files, folder, zipfile.ZIP_STORED),
        "ZIP, deflated": lambda files, folder: zipped(files, folder, zipfile.ZIP_DEFLATED),
        "tar": tarred,
        "tar.gz": gzipped,
    }
    unpack = {"ZIP, deflated": ["unzip", "-p"], "tar.gz": ["gzip", "-dc"]}
    for name, make_it in makers.items():
        if wanted(name):
            source = make_it(files, folder)
            bench.measure(name, source)
            if name in unpack:
                print(
                    f"{'':14} {' '.join(unpack[name])} alone: {alone([*unpack[name], source]):.1f} s",
                    flush=True,
                )
            Path(source).unlink()


def pacs(bench: Bench, files: Path, folder: Path) -> None:
    """Measure an Orthanc that holds the files."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
    import dicom_tools  # noqa: PLC0415

    with dicom_tools.orthanc(folder / "orthanc", dicomweb=True) as server:
        for path in sorted(files.iterdir()):
            server.ask("/instances", path.read_bytes())
        pid = dicom_tools._RUNNING[server.web].pid
        bench.measure("Orthanc", f"dicomweb+http://127.0.0.1:{server.web}/dicom-web", None, pid)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", default=[], help="ZIP, tar, S3 or Orthanc")
    parser.add_argument("--action", default="copy")
    given = parser.parse_args()

    def wanted(name: str) -> bool:
        return not given.only or any(name.startswith(one) for one in given.only)

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = folder / "files"
        make(files, given.files)
        bench = Bench(files, given)
        archives(bench, files, folder, wanted)
        if wanted("Orthanc"):
            pacs(bench, files, folder)
        if wanted("S3"):
            with object_store(files) as (port, keys, pid), delayed(port, SLOW_MS) as late:
                for name, at in (("S3, 0 ms", port), (f"S3, {SLOW_MS} ms", late)):
                    address = {**keys, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{at}"}
                    bench.measure(name, "s3://bench/files", address, pid)


if __name__ == "__main__":
    main()
