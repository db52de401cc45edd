"""What other tools make of small files that are easy to read wrongly, beside what dicomsort makes of them.

    pip install pydicom pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg pyjpegls python-gdcm
    pip install SimpleITK itk highdicom dicomsdl vtk imageio dicom2jpg dcm2niix nibabel
    apt-get install dcmtk orthanc dicom3tools vtk-dicom-tools graphicsmagick imagemagick
    python benchmarks/other_tools.py [--only NAME]

Takes what is installed of these, the programs in the version of Debian. traps.py makes the files and the
right pictures. r: correlation with the right picture; gray: mean difference from it, of 255; off: share of
pixels that differ by more than two gray levels. A tool is right from r 0.999 with a difference of at most 2.
Tools that give values and no picture are stretched from their lowest value to their highest first, as
programs that feed networks do. Then follow four things that no single picture tells (habits.py).
"""

import argparse
import importlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import traps
from habits import habits
from PIL import Image
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from traps import Pixels, Trap

import dicomsort

LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True, slots=True)
class Tool:
    """A way from a file to pixels.

    package: of PyPI, or of Debian with `deb:` before it; picture: (rows, columns), or colors behind these;
    values: these are values, not gray levels 0..255.
    """

    name: str
    package: str
    picture: Callable[[Path], Pixels]
    values: bool = False

    @property
    def version(self) -> str | None:
        """Return the installed version, None if there is none."""
        if not self.package.startswith("deb:"):
            try:
                return dicomsort.__version__ if self.package == "dicomsort" else version(self.package)
            except PackageNotFoundError:
                return None
        asked = ["dpkg-query", "-W", "-f", "${Version}", self.package[4:]]
        try:
            return subprocess.run(asked, capture_output=True, text=True, check=True).stdout or None
        except (OSError, subprocess.CalledProcessError):
            return None


def module(name: str) -> Any:
    """Import what may not be installed."""
    return importlib.import_module(name)


@contextmanager
def silence() -> Iterator[None]:
    """Keep what programs called from here write out of the table."""
    kept = os.dup(1)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        try:
            yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)


def by_plugin(plugin: str) -> Callable[[Path], Pixels]:
    """Return pydicom's pixel_array by one plug-in."""

    def picture(path: Path) -> Pixels:
        dataset = pydicom.dcmread(path)
        if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            raise LookupError
        dataset.pixel_array_options(decoding_plugin=plugin)
        return np.asarray(dataset.pixel_array)

    return picture


def pydicom_values(path: Path) -> Pixels:
    """Return pixel_array, by the plug-in that comes first."""
    return np.asarray(pydicom.dcmread(path).pixel_array)


def pydicom_picture(path: Path) -> Pixels:
    """Take pixel_array, apply_modality_lut, apply_voi_lut, as the documentation shows."""
    dataset = pydicom.dcmread(path)
    return apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)


def simple_itk(path: Path) -> Pixels:
    """Read with SimpleITK.ReadImage."""
    library = module("SimpleITK")
    return np.asarray(library.GetArrayFromImage(library.ReadImage(str(path)))).squeeze()


def itk(path: Path) -> Pixels:
    """Read with itk.imread."""
    library = module("itk")
    return np.asarray(library.array_from_image(library.imread(str(path)))).squeeze()


def highdicom(path: Path) -> Pixels:
    """Ask Image.get_frame for all transforms."""
    image = module("highdicom").imread(path)
    if image.SamplesPerPixel == 3:
        return np.asarray(image.get_frame(1))
    frame = image.get_frame(1, apply_voi_transform=True, apply_presentation_lut=True)
    return np.asarray(frame) * 255


def dicomsdl(path: Path) -> Pixels:
    """Return pixelData."""
    return np.asarray(module("dicomsdl").open(str(path)).pixelData())


def dicomsdl_picture(path: Path) -> Pixels:
    """Return toPilImage."""
    return np.asarray(module("dicomsdl").open(str(path)).toPilImage())


def vtk(path: Path) -> Pixels:
    """Read with vtkDICOMImageReader."""
    library = module("vtk")
    reader = library.vtkDICOMImageReader()
    reader.SetFileName(str(path))
    reader.Update()
    if reader.GetErrorCode():
        raise OSError(reader.GetErrorCode())
    image = reader.GetOutput()
    columns, rows, _ = image.GetDimensions()
    values = module("vtk.util.numpy_support").vtk_to_numpy(image.GetPointData().GetScalars())
    return np.asarray(values.reshape(rows, columns, -1).squeeze()[::-1])


def imageio(path: Path) -> Pixels:
    """Read with imageio's own DICOM reader."""
    with silence():
        return np.asarray(module("imageio.v2").imread(path, format="DICOM"))


def dicom2jpg(path: Path) -> Pixels:
    """Call dicom2img."""
    return np.asarray(module("dicom2jpg").dicom2img(str(path)))


def imagecodecs_by(function: str) -> Callable[[Path], Pixels]:
    """Return the decoding of the first frame by a function of imagecodecs."""

    def picture(path: Path) -> Pixels:
        dataset = pydicom.dcmread(path)
        if not str(dataset.file_meta.TransferSyntaxUID).startswith("1.2.840.10008.1.2.4"):
            raise LookupError
        stream = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
        return np.asarray(getattr(module("imagecodecs"), function)(stream))

    return picture


def command(*words: str, suffix: str = ".pgm") -> Callable[[Path], Pixels]:
    """Return what a program writes; {in} and {out} stand for the files."""

    def picture(path: Path) -> Pixels:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / f"out{suffix}"
            names = {"in": path, "out": out, "folder": folder, "bin": Path(sys.executable).parent}
            words_now = [word.format_map(names) for word in words]
            run = subprocess.run(words_now, capture_output=True, timeout=60, check=False)
            if not out.exists() or not out.stat().st_size:
                raise LookupError if b"cannot select" in run.stderr else OSError(run.returncode)
            return read(out)

    return picture


def read(path: Path) -> Pixels:
    """Read a picture file, NIfTI or DICOM."""
    if path.suffix == ".nii":
        image = module("nibabel").load(path)  # x grows to the right side of the body, y to the front
        pixels = np.asarray(image.dataobj).squeeze().T
        if pixels.dtype.names:
            pixels = np.stack([pixels[name] for name in pixels.dtype.names], axis=-1)
        return pixels[::-1, :: -1 if image.affine[0, 0] > 0 else 1]
    if path.suffix == ".dcm":
        return np.asarray(pydicom.dcmread(path).pixel_array)
    return np.asarray(Image.open(path))


def ours(path: Path) -> Pixels:
    """Call dicomsort.read_image."""
    return np.asarray(dicomsort.read_image(path, preprocessing=None))


TOOLS = (
    Tool("dicomsort", "dicomsort", ours),
    Tool("pydicom pixel_array", "pydicom", pydicom_values, values=True),
    Tool("pydicom apply_voi_lut", "pydicom", pydicom_picture, values=True),
    Tool("plug-in pylibjpeg", "pylibjpeg-libjpeg", by_plugin("pylibjpeg"), values=True),
    Tool("plug-in gdcm", "python-gdcm", by_plugin("gdcm"), values=True),
    Tool("highdicom", "highdicom", highdicom),
    Tool("SimpleITK", "simpleitk", simple_itk, values=True),
    Tool("itk", "itk", itk, values=True),
    Tool("dicomsdl pixelData", "dicomsdl", dicomsdl, values=True),
    Tool("dicomsdl toPilImage", "dicomsdl", dicomsdl_picture),
    Tool("VTK", "vtk", vtk, values=True),
    Tool("imageio", "imageio", imageio, values=True),
    Tool("dicom2jpg", "dicom2jpg", dicom2jpg),
    Tool("imagecodecs ljpeg", "imagecodecs", imagecodecs_by("ljpeg_decode"), values=True),
    Tool("imagecodecs jpeg8", "imagecodecs", imagecodecs_by("jpeg8_decode"), values=True),
    Tool("dcm2pnm", "deb:dcmtk", command("dcmj2pnm", "{in}", "{out}")),
    Tool("dcm2pnm +Wi 1", "deb:dcmtk", command("dcmj2pnm", "+Wi", "1", "{in}", "{out}")),
    Tool("dcm2pnm +Wl 1", "deb:dcmtk", command("dcmj2pnm", "+Wl", "1", "{in}", "{out}")),
    Tool("dcmdjpeg", "deb:dcmtk", command("dcmdjpeg", "{in}", "{out}", suffix=".dcm"), values=True),
    Tool(
        "gdcmconv --raw",
        "python-gdcm",
        command("{bin}/gdcmconv", "--raw", "{in}", "{out}", suffix=".dcm"),
        values=True,
    ),
    Tool("ImageMagick", "deb:imagemagick", command("convert-im6.q16", "dcm:{in}", "{out}", suffix=".png")),
    Tool("GraphicsMagick", "deb:graphicsmagick", command("gm", "convert", "{in}", "{out}", suffix=".png")),
    Tool("dctopgm8", "deb:dicom3tools", command("dctopgm8", "{in}", "{out}")),
    Tool(
        "dcm2niix",
        "dcm2niix",
        command("{bin}/dcm2niix", "-s", "y", "-f", "out", "-b", "n", "-o", "{folder}", "{in}", suffix=".nii"),
        values=True,
    ),
    Tool(
        "dicomtonifti",
        "deb:vtk-dicom-tools",
        command("dicomtonifti", "-o", "{out}", "{in}", suffix=".nii"),
        values=True,
    ),
)


@contextmanager
def orthanc() -> Iterator[Callable[[str], Callable[[Path], Pixels]]]:
    """Run a server; gives the function that makes a picture of a kind, `preview` or `rendered`."""
    program = shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        settings = {
            "StorageDirectory": folder,
            "IndexDirectory": folder,
            "HttpPort": port,
            "DicomServerEnabled": False,
        }
        config = Path(folder) / "settings.json"
        config.write_text(json.dumps(settings))
        if program is None:
            yield lambda _kind: lambda _path: np.zeros((1, 1))
            return
        server = subprocess.Popen([program, str(config)], stderr=subprocess.DEVNULL)
        try:
            time.sleep(4)
            yield lambda kind: lambda path: _by_orthanc(f"http://127.0.0.1:{port}/instances", path, kind)
        finally:
            server.terminate()
            server.wait()


def _by_orthanc(address: str, path: Path, kind: str) -> Pixels:
    with urllib.request.urlopen(address, path.read_bytes(), timeout=60) as answer:  # noqa: S310
        instance = json.load(answer)["ID"]
    asked = urllib.request.Request(f"{address}/{instance}/{kind}", headers={"Accept": "image/png"})  # noqa: S310
    with urllib.request.urlopen(asked, timeout=60) as answer:  # noqa: S310
        return np.asarray(Image.open(io.BytesIO(answer.read())))


@dataclass(frozen=True, slots=True)
class Seen:
    """How near a picture comes to the right one: correlation, mean difference, share of pixels off."""

    related: float
    gray: float
    off: float

    def __str__(self) -> str:
        if self.related >= 0.999 and self.gray <= 2:
            return "right | | "
        return f"{self.related + 0.0:.2f} | {self.gray:.0f} | {self.off:.0%}"


def judged(pixels: Pixels, right: Pixels, values: bool) -> Seen:
    """Compare; colors by their brightness."""
    gray = np.asarray(pixels, float)
    if gray.ndim == 3:
        gray = gray[..., :3] @ LUMA
    if gray.shape != right.shape:
        raise ValueError(f"shape {gray.shape}")
    if values:
        span = float(np.ptp(gray)) or 1.0
        gray = (gray - gray.min()) / span * np.ptp(right) + right.min()
    apart = np.abs(gray - right)
    related = float(np.corrcoef(gray.ravel(), right.ravel())[0, 1]) if np.ptp(gray) else 0.0
    return Seen(related, float(apart.mean()), float((apart > 2).mean()))


def outcome(tool: Tool, trap: Trap, path: Path) -> str | None:
    """Return the cells of a table, None where the tool has no part in the question."""
    try:
        return str(judged(tool.picture(path), trap.right, tool.values))
    except LookupError:
        return None
    except Exception:  # noqa: BLE001  (whatever other programs raise)
        return "refuses | | "


def section(trap: Trap, tools: list[Tool], path: Path) -> str:
    """Return the table of one trap in Markdown; tools that agree share a row."""
    traps.write(trap.dataset, path)
    rows: dict[str, list[str]] = {}
    for tool in tools:
        cells = outcome(tool, trap, path)
        if cells is not None:
            who = f"**{tool.name}**" if tool.name == "dicomsort" else tool.name
            rows.setdefault(cells, []).append(who)
    lines = [f"| {', '.join(names)} | {cells} |" for cells, names in rows.items()]
    return "\n".join(
        [f"### {trap.name}", "", trap.what, "", "| who | r | gray | off |", "|---|---|---|---|", *lines]
    )


def main() -> None:
    """Print a table for each trap."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="part of a trap's name")
    only = parser.parse_args().only
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder, orthanc() as by_orthanc:
        kinds = [Tool(f"Orthanc {kind}", "deb:orthanc", by_orthanc(kind)) for kind in ("preview", "rendered")]
        tools = [tool for tool in (*TOOLS, *kinds) if tool.version]
        versions = sorted({f"{tool.package.removeprefix('deb:')} {tool.version}" for tool in tools})
        print(f"Python {sys.version.split()[0]}, {', '.join(versions)}\n")
        for trap in traps.traps():
            if only in trap.name:
                print(section(trap, tools, Path(folder) / "trap.dcm"), end="\n\n", flush=True)
        if not only:
            print("\n\n".join(habits(Path(folder))))


if __name__ == "__main__":
    main()
