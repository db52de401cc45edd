"""What finding the files costs N shards: a walk each, or one list for all.

    python benchmarks/one_walk.py [--files 300000] [--shards 16] [--before WORKTREE] [--folder FOLDER]

Makes a tree of `--files` empty files, some hundred a folder, and lets N programs find the files of their
shards, one after the other: as the version in `--before` does it (another checkout of this project), and as
this one does. Told are processor seconds, the folders that were listed (`scandir`), the seconds by the clock
until the last shard had its first file, and the size of the list. Both find the same files, which is checked
by a digest of all paths in their order.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_HERE = Path(__file__).resolve().parents[1]
_A_FOLDER = 250

_BEFORE = """
from dicomsort.inputs.named import Archive, Shard
def files(roots, out, shard):
    yield from Archive(roots, out, shard=shard).find()
"""
_NOW = """
from dicomsort.inputs.named import Archive, Shard
from dicomsort.sorting import one_walk
def files(roots, out, shard):
    archive = Archive(roots, out, shard=shard)
    with one_walk.shared(archive, shard, out, lambda _: None) as listed:
        assert listed.number is not None
        yield from listed.find()
"""
_FIND = """
import hashlib, json, os, sys, time
from dicomsort.inputs import walk
scandir, calls = os.scandir, [0]
def counted(*words):
    calls[0] += 1
    return scandir(*words)
os.scandir = counted
began, used, first, number = time.monotonic(), time.process_time(), 0.0, 0
hasher = hashlib.blake2b(digest_size=8)
folder, out, mine, of = sys.argv[1:]
for file in files(walk.roots_of([folder]), out, Shard(int(mine), int(of))):
    number += 1
    first = first or time.monotonic() - began
    hasher.update(file.relpath.encode() + b"\\0")
print(json.dumps([number, hasher.hexdigest(), calls[0], time.process_time() - used, first]))
"""


def tree(folder: Path, files: int) -> None:
    """Make empty files whose names are as long as those of an archive."""
    for start in range(0, files, _A_FOLDER):
        below = folder / f"{start // 50_000:04}" / f"1.2.826.0.1.3680043.8.498.{start:012}"
        below.mkdir(parents=True)
        for at in range(start, min(files, start + _A_FOLDER)):
            os.close(os.open(below / f"1.2.826.0.1.3680043.8.498.7.{at:012}.dcm", os.O_CREAT | os.O_WRONLY))


def found(way: str, checkout: Path, folder: Path, out: Path, shards: int) -> dict[str, object]:
    """Let every shard find its files; return what that cost."""
    own = {**os.environ, "PYTHONPATH": str(checkout)}
    answers = []
    for number in range(1, shards + 1):
        words = [sys.executable, "-c", way + _FIND, str(folder), str(out), str(number), str(shards)]
        done = subprocess.run(words, env=own, stdout=subprocess.PIPE, check=True)
        answers.append(json.loads(done.stdout))
    return {
        "files": sum(answer[0] for answer in answers),
        "digests": [answer[1] for answer in answers],
        "folders listed": sum(answer[2] for answer in answers),
        "processor seconds": round(sum(answer[3] for answer in answers), 2),
        "of the first shard": round(answers[0][3], 2),
        "of a further one": round(sum(answer[3] for answer in answers[1:]) / max(1, shards - 1), 3),
        "first file of a further one after": round(
            sum(answer[4] for answer in answers[1:]) / max(1, shards - 1), 3
        ),
    }


def main() -> None:
    """Measure, and print JSON."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    given.add_argument("--files", type=int, default=300_000)
    given.add_argument("--shards", type=int, default=16)
    given.add_argument("--before", type=Path)
    given.add_argument("--folder", type=Path)
    wanted = given.parse_args()
    with tempfile.TemporaryDirectory(dir=wanted.folder) as scratch:
        folder = Path(scratch, "in")
        tree(folder, wanted.files)
        list(os.walk(folder))  # both find a warm cache
        began = time.monotonic()
        now = found(_NOW, _HERE, folder, Path(scratch, "out"), wanted.shards)
        now["seconds"] = round(time.monotonic() - began, 1)
        lists = list(Path(scratch, "out", "manifest.parts", ".files").glob("*.list"))
        now["list, bytes a million files"] = round(
            sum(one.stat().st_size for one in lists) / wanted.files * 1e6
        )
        result = {"now": now}
        if wanted.before is not None:
            began = time.monotonic()
            result["before"] = found(_BEFORE, wanted.before, folder, Path(scratch, "none"), wanted.shards)
            result["before"]["seconds"] = round(time.monotonic() - began, 1)
            if now["digests"] != result["before"]["digests"]:
                sys.exit("not the same files")
    for one in result.values():
        del one["digests"]
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
