"""Two installed builds of dicomsort on the same files in one run, in turns, and the ratios of each pair.

    ENVIRONMENT/bin/python benchmarks/against.py OTHER_ENVIRONMENT [--files 6000] [--pairs 4] [--only NAME]...
        [--labels labels.csv --target group] [--no-torch] [--folder FOLDER] [--json FILE]

The newer build is that of the interpreter that runs this; the older one that of OTHER_ENVIRONMENT, the folder
of a virtual environment. Both are run as a user would, `ENVIRONMENT/bin/python -m dicomsort`, with `--action
symlink`, in the order A B, B A, A B and so on. A newer build that has `--engine` is also run with `--engine
torch`, which must not be slower than the older build. Measured are (NAME):

* one-file, archive: the whole command on one small radiograph, and on tests/archive;
* memory: the peak of the main process (VmHWM, Linux) on a mixed archive, and on one of ten times the files;
* uncompressed, jpeg2000: the whole command on `--files` names of radiographs of 3000 x 2400 pixels;
* network: images a second of the build's own predictor, alone in a process (`benchmarks/alone.py`);
* shards: four shards through `--backend loky` over the plain run, a quarter of at most 2000 files each;
* eval: the whole command on the test part of `--labels`, whose files the page cache holds.

Archives are hard links, as in `benchmarks/throughput.py`. Short commands (one-file, archive, network) are run
in three times as many pairs. Where the page cache, or compiled Python, could favor the second, a round that
does not count goes before. ratio: newer over older, the median and the range of the pairs. reached: whether
the median meets the goal, and how many of the pairs do.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cluster
import paired
import throughput
from decode import SOURCE
from paired import Comparison, Goal, Kind
from scale import peak

HERE = Path(__file__).resolve().parent
SHARDS, MOST_SHARDED, SHORT = 4, 2000, 3
ENDS = (0, 3)
TROUBLES = ("unsupported", "decode_error", "crash", "timeout", "io_error")
ABOUT = (
    "import json, importlib.metadata as found, dicomsort; "
    "names = {each.name for each in found.distributions()}; print(json.dumps({"
    "'version': dicomsort.__version__, 'file': dicomsort.__file__, "
    "**{name: found.version(name) for name in ('torch', 'openvino') if name in names}}))"
)


@dataclass(frozen=True, slots=True)
class Build:
    """One installed build. words: what all its commands are given. path: its PYTHONPATH."""

    name: str
    python: Path
    words: tuple[str, ...] = ()
    path: str = ""

    def start(self, folder: Path, *words: str | Path, apart: bool = False) -> "subprocess.Popen[bytes]":
        """Start its interpreter where no checkout can be imported by accident. apart: in its own session."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        if self.path:
            environment["PYTHONPATH"] = self.path
        command = [str(self.python), *map(str, words)]
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, start_new_session=apart
        )

    def told(self, process: "subprocess.Popen[bytes]") -> Any:
        """Wait for a process and return the JSON object that it printed. Ends the program if it failed."""
        output, _ = process.communicate()
        if process.returncode not in ENDS:
            sys.exit(f"{self.name}: ended with {process.returncode}: {process.args!r}")
        return json.loads(output)

    def program(self, folder: Path, *words: str | Path, apart: bool = False) -> "subprocess.Popen[bytes]":
        """Start a command of dicomsort."""
        quiet = ("--quiet", "--json")
        return self.start(folder, "-m", "dicomsort", *words, *self.words, *quiet, apart=apart)


Measure = Callable[[Build], dict[str, float]]


@dataclass(frozen=True, slots=True)
class Given:
    """A folder for what a line needs, and what the user asked for."""

    folder: Path
    words: argparse.Namespace


@dataclass(frozen=True, slots=True)
class Line:
    """One line: what makes its files and returns what measures a build; what its figures are.

    short: many pairs cost little. warm: one more round before, which does not count.
    """

    prepare: Callable[[Given], Measure]
    kinds: dict[str, Kind]
    short: bool = False
    warm: bool = False


def seconds_of(build: Build, folder: Path, *words: str | Path) -> tuple[float, Any]:
    """Run a command of dicomsort; return wall time and what it told."""
    started = time.perf_counter()
    process = build.program(folder, *words)
    told = build.told(process)
    return time.perf_counter() - started, told


def classify(source: Path, out: Path, *more: str | Path) -> tuple[str | Path, ...]:
    """Return the words of a run that files every name."""
    return "classify", source, "--out", out, "--action", "symlink", "--keep-duplicates", *more


def check(build: Build, told: Any) -> None:
    """End the program if not every file was found and read, as a ratio would then say nothing."""
    troubles = {name: told["statuses"][name] for name in TROUBLES if told["statuses"][name]}
    if troubles or sum(told["statuses"].values()) != told["found"]:
        sys.exit(f"{build.name}: not all files were sorted: {told['statuses']}")


def sorting(source: Path, build: Build, *more: str) -> float:
    """Return the seconds of a whole run into a new folder."""
    with tempfile.TemporaryDirectory(dir=source.parent) as out:
        seconds, told = seconds_of(build, source.parent, *classify(source, Path(out) / "sorted", *more))
    check(build, told)
    return seconds


def one_file(given: Given) -> Measure:
    """Copy one small radiograph."""
    source = given.folder / "one"
    source.mkdir()
    shutil.copy(SOURCE, source)
    return lambda build: {"one": sorting(source, build)}


def whole_archive(given: Given) -> Measure:
    """Copy the test archive, so that results lie beside it."""
    source = given.folder / "archive"
    shutil.copytree(SOURCE.parents[1], source)
    return lambda build: {"archive": sorting(source, build)}


def many(archive: str, given: Given) -> Measure:
    """Build an archive of one syntax."""
    throughput.build(given.folder, archive, given.words.files)
    return lambda build: {archive: sorting(given.folder / "archive", build)}


def memory(given: Given) -> Measure:
    """Build a mixed archive of a twentieth of the files, and one of half of them."""
    few = max(1, given.words.files // 20)
    for files in (few, 10 * few):
        throughput.build(given.folder / str(files), "mixed", files)

    def measure(build: Build) -> dict[str, float]:
        small, large = (peaks(given.folder / str(files) / "archive", build) for files in (few, 10 * few))
        return {"main": large[0], "growth": large[0] - small[0], "worker": large[1]}

    return measure


def peaks(source: Path, build: Build) -> tuple[float, float]:
    """Sort, and return the peak memory of the main and of the largest other process in MB."""
    found: dict[int, int] = defaultdict(int)
    with tempfile.TemporaryDirectory(dir=source.parent) as out:
        process = build.program(source.parent, *classify(source, Path(out) / "sorted"), apart=True)
        while process.poll() is None:
            for pid in throughput.session(process.pid):
                found[pid] = peak(pid) or found[pid]  # the last: before its exec, a child has its parent's
            time.sleep(0.02)
        check(build, build.told(process))
    main = found.pop(process.pid)
    return main / 1e6, max(found.values(), default=0) / 1e6


def network(given: Given) -> Measure:
    """Need no files."""
    script, words = HERE / "alone.py", ("--seconds", str(given.words.seconds))

    def measure(build: Build) -> dict[str, float]:
        told = build.told(build.start(given.folder, script, *words, *build.words))
        return {"rate": told["images_per_second"], "processor": told["processor"]}

    return measure


def shards(given: Given) -> Measure:
    """Write a few radiographs of 1200 x 1000 pixels, and link them."""
    size = max(1, min(given.words.files, MOST_SHARDED) // SHARDS)
    originals, source = given.folder / "originals", given.folder / "archive"
    cluster.radiographs(originals, 10)
    throughput.link(sorted(originals.rglob("*.dcm")), source, SHARDS * size)
    words = ("--backend", "loky", "--shard-size", str(size))

    def measure(build: Build) -> dict[str, float]:
        plain, divided = sorting(source, build), sorting(source, build, *words)
        return {"plain": plain, "divided": divided, "over": divided / plain}

    return measure


def evaluation(given: Given) -> Measure:
    """Need no files but those of the user."""
    words = ("eval", given.words.labels, "--target", given.words.target, "--part", "test")
    return lambda build: {"eval": seconds_of(build, given.folder, *words)[0]}


def whole(what: str, limit: float) -> Kind:
    """Name the wall time of a whole command."""
    return Kind(f"whole command, {what}", "s", Goal(limit))


LINES = {
    "one-file": Line(one_file, {"one": whole("one small file", 0.30)}, short=True, warm=True),
    "archive": Line(whole_archive, {"archive": whole("tests/archive", 0.40)}, short=True, warm=True),
    "memory": Line(
        memory,
        {
            "main": Kind("main process, peak memory", "MB", Goal(350, own=True)),
            "growth": Kind("growth of it with ten times the files", "MB", comparable=False),
            "worker": Kind("largest other process, peak memory", "MB"),
        },
    ),
    "uncompressed": Line(
        partial(many, "uncompressed"), {"uncompressed": whole("uncompressed 3000 x 2400", 0.72)}
    ),
    "jpeg2000": Line(partial(many, "jpeg2000"), {"jpeg2000": whole("JPEG 2000 lossless", 0.80)}),
    "network": Line(
        network,
        {
            "rate": Kind("network alone", "images/s", Goal(1.6, at_least=True)),
            "processor": Kind("network alone, processor time an image", "ms"),
        },
        short=True,
    ),
    "shards": Line(
        shards,
        {
            "plain": Kind("plain run, 1200 x 1000", "s"),
            "divided": Kind("the same in four shards", "s"),
            "over": Kind("four shards over the plain run", "times", Goal(1.25, own=True), comparable=False),
        },
    ),
    "eval": Line(evaluation, {"eval": whole("eval", 0.5)}, warm=True),
}
"""The goals are those of the change from PyTorch to OpenVINO on processors, against version 0.1.0."""


def measured(line: Line, builds: Sequence[Build], given: Given) -> list[Comparison]:
    """Measure one line: every build in each round."""
    measure, values = line.prepare(given), defaultdict[tuple[str, str], list[float]](list)
    if line.warm:
        for build in builds:
            measure(build)
    for order in paired.turns(builds, given.words.pairs * (SHORT if line.short else 1)):
        for build in order:
            for figure, value in measure(build).items():
                values[figure, build.name].append(value)
    older, *others = (build.name for build in builds)
    return [
        Comparison(
            kind if name == "newer" else kind.not_slower(),
            name,
            tuple(values[figure, older]),
            tuple(values[figure, name]),
        )
        for name in others
        for figure, kind in line.kinds.items()
    ]


def python_of(environment: Path) -> Path:
    """Return a virtual environment's interpreter, not what its link leads to."""
    return environment.absolute() / "bin" / "python"


def find_builds(other: Path, folder: Path, torch: bool) -> tuple[list[Build], dict[str, Any]]:
    """Return the builds to compare, and what they are. Ends the program if they are the same."""
    path = os.pathsep.join(
        str(Path(part).absolute()) for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part
    )
    builds = [
        Build("older", python_of(other)),
        Build("newer", Path(sys.executable), path=path),
    ]
    about = {build.name: build.told(build.start(folder, "-c", ABOUT)) for build in builds}
    if about["older"]["file"] == about["newer"]["file"]:
        sys.exit(f"both environments import the same build: {about['newer']['file']}")
    if torch and has_engines(builds[1], folder):
        builds.append(replace(builds[1], name="--engine torch", words=("--engine", "torch")))
    return builds, about


def has_engines(build: Build, folder: Path) -> bool:
    """Return whether `classify` has a choice of engines."""
    output, _ = build.start(folder, "-m", "dicomsort", "classify", "--help").communicate()
    return b"--engine" in output


def machine() -> dict[str, Any]:
    """Name this machine, its kind of processor, and how busy it is."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8", errors="replace") if info.exists() else ""
    found = paired.machine(text, throughput.CORES)
    return {
        **found,
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": os.getloadavg(),
    }


def print_head(host: dict[str, Any], about: dict[str, Any]) -> None:
    """Print what is compared, and where."""
    bfloat16 = ", ".join(host["bfloat16"]) or "nothing"
    print(
        f"{host['processor']}, {host['cores']} cores, bfloat16 by {bfloat16}; "
        f"{host['system']}, Python {host['python']}, load {host['load'][0]:.1f}"
    )
    for name, build in about.items():
        libraries = ", ".join(f"{each} {build[each]}" for each in ("torch", "openvino") if each in build)
        print(f"{name}: dicomsort {build['version']} ({libraries}), {build['file']}")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", type=Path, metavar="OTHER_ENVIRONMENT")
    parser.add_argument("--files", type=int, default=6000)
    parser.add_argument("--pairs", type=int, default=4, help="best an even number")
    parser.add_argument("--seconds", type=float, default=3.0, help="of the network alone, each time")
    parser.add_argument("--only", action="append", choices=LINES, metavar="NAME")
    parser.add_argument("--labels", type=lambda text: Path(text).absolute(), help="for eval: a CSV file")
    parser.add_argument("--target", default="group", help="for eval: its column")
    parser.add_argument("--no-torch", action="store_true", help="leave out the newer build's --engine torch")
    parser.add_argument("--folder", type=Path, help="for the archives; best in memory")
    parser.add_argument("--json", type=Path, help="write all figures there, after each line")
    given = parser.parse_args()
    if not python_of(given.other).exists():
        parser.error(f"{given.other} is no virtual environment: it has no bin/python")
    return given


def main() -> None:
    """Measure line after line, and print each."""
    given = parse()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        builds, about = find_builds(given.other, Path(folder), not given.no_torch)
    host, found = machine(), list[Comparison]()
    print_head(host, about)
    for name in given.only or LINES:
        if name == "eval" and not given.labels:
            print("eval: left out, as there is no --labels")
            continue
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            new = measured(LINES[name], builds, Given(Path(folder).absolute(), given))
        print("\n".join(paired.lines(new, head=not found)), flush=True)
        found += new
        if given.json:
            every = [each.summary() for each in found]
            settings = {"files": given.files, "pairs": given.pairs}
            told = {"machine": host, "builds": about, **settings, "figures": every}
            given.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
