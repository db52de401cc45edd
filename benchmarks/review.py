"""The review page on a large output: until it is there, until a decision is taken, until pictures are seen.

    python benchmarks/review.py [--rows 100000] [--review 10000] [--repeats 5] [--folder F] [--no-chromium]

Makes an output of `--rows` files, `--review` of them in review/. 40 are radiographs of 3000 x 2400 pixels, 12
bits, in JPEG lossless, that `dicomsort classify --review-below 1` has read; their confidence is set to the
lowest, so that they come first. The rows of all others are made of theirs, and each has a small file as its
source and another as its copy, so that decisions move files. Everything comes from the page cache.

Starts `dicomsort review` as a user would, `--repeats` times, each time without thumbnails. Prints medians:

* start: from the command to the address;
* ids and items: GET /, all files of the page, its state, the ids in review by confidence, the first 60 items;
* 40 thumbnails by six connections, as browsers ask: cold, again, and from the cache of an earlier run; the
  processor seconds of the readers from their start until the cold ones are there;
* a decision: POST to answer, 300 one by one; and of 1000 files in one request;
* peak resident memory (VmHWM) of the server, and of the processes that read for it, added up;
* with Playwright and Chromium, in a window of 1920 x 1200: from the address to the first tile with its label,
  and to 40 tiles with their pictures, cold and from the cache.
"""

import argparse
import csv
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np
from decode import radiograph, write
from scale import peak

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from desks import Reviewing, begin_review

REAL, CONNECTIONS, DECISIONS, BATCH = 40, 6, 300, 1000
MTIME = 1_700_000_000_000_000_000
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

Figures = dict[str, list[float]]


def build(folder: Path, rows: int, review: int) -> Path:
    """Make the output; returns its folder."""
    source, out = folder / "in", folder / "out"
    (source / "real").mkdir(parents=True)
    gray = radiograph()
    for number in range(REAL):
        write(source / "real" / f"{number:02d}.dcm", np.roll(gray, 50 * number, axis=0), "JPEG lossless SV1")
    words = [
        "classify",
        str(source),
        "--out",
        str(out),
        "--review-below",
        "1",
        "--keep-duplicates",
        "--quiet",
    ]
    subprocess.run([sys.executable, "-m", "dicomsort", *words], check=True)
    manifest = out / "manifest.csv"
    with manifest.open(encoding="utf-8", newline="") as file:
        real = list(csv.DictReader(file))
    with manifest.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(real[0]), lineterminator="\n")
        table.writeheader()
        table.writerows({**row, "confidence": f"{at / 1e4:.6f}"} for at, row in enumerate(real))
        table.writerows(made(real, source, out, number, number < review) for number in range(REAL, rows))
    return out


def made(real: list[dict[str, str]], source: Path, out: Path, number: int, in_review: bool) -> dict[str, str]:
    """Make a file, its copy, and their row."""
    row = real[number % len(real)]
    name = f"more/{number // 1000:04d}/{number:07d}.dcm"
    placed = f"{'review' if in_review else row['label']}/{name}"
    for path in (source / name, out / placed):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no picture")
        os.utime(path, ns=(MTIME, MTIME))
    facts = {"path": str(source / name), "destination": placed, "size": "10", "mtime_ns": str(MTIME)}
    facts |= {} if in_review else {"status": "sorted", "reason": ""}
    confidence = f"{0.1 + 0.9 * (number * 7919 % 99991) / 99991:.6f}"
    ids = {"sop_instance_uid": f"2.25.{10**9 + number}", "study_instance_uid": f"2.25.{number // 2}"}
    return {**row, **facts, **ids, "confidence": confidence}


def seconds(work: Callable[[], Any]) -> float:
    """Return what something takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@contextmanager
def running(out: Path, figures: Figures) -> Iterator[Reviewing]:
    """Run the program; note how long it takes to begin, and its memory."""
    held: list[Reviewing] = []
    figures["start"].append(seconds(lambda: held.append(begin_review(out, "--workers", "2"))))
    try:
        yield held[0]
    finally:
        pid = held[0].program.pid
        figures["server MB"].append(peak(pid) / 1e6)
        figures["readers MB"].append(sum(map(peak, descendants(pid))) / 1e6)
        held[0].end()


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that they have (Linux)."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text(encoding="ascii").split()):
            found += [child, *descendants(child)]
    return found


def processor_seconds(pid: int) -> float:
    """Return the processor time of a process until now (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def check(fine: bool, otherwise: str) -> None:
    """End if the figures would be those of something else."""
    if not fine:
        sys.exit(otherwise)


def first_look(program: Reviewing) -> list[int]:
    """Ask for all that the page asks for before it shows anything; returns the first ids."""
    browser = program.browser
    page = browser.get("/").body.decode()
    names = {"index.html"} | set(re.findall(r"/?page/([\w.]+)", page))
    for name in names:
        names = names | set(re.findall(r'from "\./([\w.]+)"', browser.get(f"/page/{name}").body.decode()))
    for name in names:
        browser.get(f"/page/{name}")
    browser.get("/api/state")
    ids = browser.get("/api/ids?status=review&sort=confidence").json["ids"]
    items = browser.get(f"/api/items?ids={','.join(map(str, ids[:60]))}").json["items"]
    check(len(items) == 60, "the first items are not there")
    return list(ids)


def thumbnails(program: Reviewing, ids: list[int]) -> None:
    """Load 40 thumbnails over as many connections as browsers use."""
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        answers = list(threads.map(lambda number: program.browser.get(f"/thumbnail/{number}"), ids[:REAL]))
    check(all(answer.body.startswith(b"\xff\xd8") for answer in answers), "a thumbnail could not be made")


def decide(program: Reviewing, ids: list[int], label: str) -> None:
    """Decide on files, all of which must be taken."""
    answer = program.browser.post("/api/decisions", {"ids": ids, "label": label})
    check(answer.json["refused"] == [], "a decision was refused")


def by_requests(out: Path, figures: Figures) -> None:
    """Measure one start of the program by its requests, and a second one that finds the thumbnails."""
    shutil.rmtree(out / ".dicomsort", ignore_errors=True)
    with running(out, figures) as program:
        ids: list[int] = []
        figures["ids and items"].append(seconds(lambda: ids.extend(first_look(program))))
        figures["cold"].append(seconds(lambda: thumbnails(program, ids)))
        figures["readers' CPU s"].append(sum(map(processor_seconds, descendants(program.program.pid))))
        figures["again"].append(seconds(lambda: thumbnails(program, ids)))
        labels = program.browser.get("/api/state").json["labels"]
        for place, number in enumerate(ids[REAL : REAL + DECISIONS]):
            figures["decision ms"].append(
                1000 * seconds(lambda: decide(program, [number], labels[place % len(labels)]))  # noqa: B023
            )
        batch = ids[REAL + DECISIONS : REAL + DECISIONS + BATCH]
        figures["batch ms"].append(1000 * seconds(lambda: decide(program, batch, labels[0])))
    with running(out, figures) as program:
        figures["cached"].append(seconds(lambda: thumbnails(program, ids)))


def by_browser(out: Path, figures: Figures) -> None:
    """Measure in a real browser, without thumbnails and then with them."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    shutil.rmtree(out / ".dicomsort", ignore_errors=True)
    for kind in ("cold", "cached"):
        with running(out, figures) as program, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            context = browser.new_context(viewport={"width": 1920, "height": 1200})
            name, _, value = program.browser.cookie.partition("=")
            address = f"http://127.0.0.1:{program.browser.port}/"
            context.add_cookies([{"name": name, "value": value, "url": address}])
            page = context.new_page()
            began = time.perf_counter()
            page.goto(address, wait_until="commit")
            page.locator(".tile .label:not(:empty)").first.wait_for(state="attached")
            figures["page ready"].append(time.perf_counter() - began)
            page.locator(".tile.loaded").nth(REAL - 1).wait_for(state="attached")
            figures[f"on screen, {kind}"].append(time.perf_counter() - began)
            browser.close()


def has_browser() -> bool:
    """Return whether there is a browser to measure with."""
    try:
        import playwright.sync_api  # noqa: F401, PLC0415
    except ImportError:
        return False
    return CHROMIUM is not None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--review", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--no-chromium", action="store_true")
    asked = parser.parse_args()
    names = [
        "start",
        "ids and items",
        "cold",
        "readers' CPU s",
        "again",
        "cached",
        "decision ms",
        "batch ms",
        "page ready",
    ]
    names += ["on screen, cold", "on screen, cached", "server MB", "readers MB"]
    figures: Figures = {name: [] for name in names}
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        out = build(Path(folder), asked.rows, asked.review)
        for _ in range(asked.repeats):
            by_requests(out, figures)
            if has_browser() and not asked.no_chromium:
                by_browser(out, figures)
    for name, found in figures.items():
        if found:
            most = max(found) if len(found) < 100 else quantiles(found, n=20)[-1]
            print(f"{name:18} median {median(found):8.3f}  least {min(found):8.3f}  most {most:8.3f}")
    print("most of decisions: 95 %; memory: the highest of all starts counts")


if __name__ == "__main__":
    main()
