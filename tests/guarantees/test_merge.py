"""Shards to one manifest: killed at any moment, compared on many nodes beforehand, with next to no memory."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from outputs import check_places, rows, settings, tree
from predictors import FixedPredictor
from program import inside

from dicomsort.errors import ExitCode, UsageError
from dicomsort.inputs.named import Shard
from dicomsort.manifest import lines, spill
from dicomsort.manifest.names import SHARDS
from dicomsort.sorting import pixel_shares, repeats
from dicomsort.sorting.merge import merge
from dicomsort.sorting.pipeline import sort
from dicomsort.sorting.repeats import Wanted
from dicomsort.system import locks
from dicomsort.system.worker_pool import PoolSettings

POOL = PoolSettings(1, 20)


@pytest.fixture
def out(inbox: Path, tmp_path: Path, predictor: FixedPredictor) -> Path:
    """An output of four shards, with images that come again; what a single run makes of them is in `one`."""
    for number in range(6):
        shutil.copy(inbox / f"s{number % 3}" / f"{number}.dcm", inbox / f"again{number}.dcm")
    sort(settings(inbox, tmp_path / "one"), predictor)
    for number in range(1, 5):
        sort(settings(inbox, tmp_path / "out", shard=Shard(number, 4)), predictor)
    return tmp_path / "out"


def check_as_one(out: Path) -> None:
    """The merged output is what a single run has made."""
    one = out.parent / "one"
    assert rows(out) == rows(one)
    assert {name for name in tree(out) if name != "run.json"} == {
        name for name in tree(one) if name != "run.json"
    }
    assert not (out / SHARDS).exists()


def reading(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the paths of files whose pixels are read from now on."""
    found = list[str]()
    really = repeats.read_pixels

    def noted(wanted: Iterable[Wanted], pool: PoolSettings) -> Iterator[tuple[Wanted, str]]:
        for one, digest in really(wanted, pool):
            found.append(one.path)
            yield one, digest

    monkeypatch.setattr(repeats, "read_pixels", noted)
    return found


def test_shares_that_were_compared_are_not_read_again(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = [pixel_shares.compare(str(out), Shard(number, 3), POOL) for number in (1, 2, 3)]
    assert (sum(one.read for one in done), sum(one.unread for one in done)) == (12, 0)
    assert pixel_shares.compare(str(out), Shard(2, 3), POOL).read == 0
    read = reading(monkeypatch)
    assert merge(str(out), POOL).missing == []
    assert read == []
    check_as_one(out)


def test_a_merge_reads_what_shares_have_left(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A share that was not compared, half a line of another, and a file that has changed since."""
    for number in (1, 2):
        pixel_shares.compare(str(out), Shard(number, 3), POOL)
    left = sorted((out / SHARDS).glob("pixels-*"))
    held = [line for path in left for line in path.read_text().splitlines()[1:]]
    torn = max(left, key=lambda path: path.stat().st_size)
    text = torn.read_text()
    size = text.splitlines()[1].split(",")[1]
    torn.write_text(text.replace(f",{size},", ",1,", 1)[:-20])
    read = reading(monkeypatch)
    merge(str(out), POOL)
    assert len(held) >= 2
    assert len(read) == 12 - len(held) + 2
    check_as_one(out)


def test_a_digest_in_the_row_spares_the_reading(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of = repeats.Member.of
    monkeypatch.setattr(
        repeats.Member, "of", lambda at, line, record: of(at, line, record)._replace(digest="x")
    )
    read = reading(monkeypatch)
    assert merge(str(out), POOL).rows == 20
    assert read == []


def test_shares_are_not_compared_while_another_program_merges(out: Path) -> None:
    with locks.take(str(out)), pytest.raises(UsageError, match="another dicomsort"):
        pixel_shares.compare(str(out), Shard(1, 2), POOL)
    with pytest.raises(UsageError, match="name an --out folder"):
        pixel_shares.compare(str(out.parent / "in"), Shard(1, 2), POOL)
    merge(str(out), POOL)
    with pytest.raises(UsageError, match="has no shards that wait to be merged: there is nothing to compare"):
        pixel_shares.compare(str(out), Shard(1, 2), POOL)


def test_with_next_to_no_memory_it_is_the_same(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "_IN_MEMORY", 100)
    monkeypatch.setattr(spill, "_PARTS", 3)
    monkeypatch.setattr(spill, "_LINES_A_PART", 2)
    monkeypatch.setattr(lines, "_BLOCK", 1000)
    merge(str(out), POOL)
    check_as_one(out)


@pytest.mark.parametrize("after", range(5))
def test_a_merge_that_ended_between_two_shards_goes_on(
    after: int, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, calls = shutil.rmtree, list[object]()

    def cut_off(folder: str, *arguments: object, **options: object) -> None:
        if "shard-" in os.path.basename(folder):
            calls.append(folder)
            if len(calls) > after:
                raise KeyboardInterrupt
        really(folder, *arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr("dicomsort.sorting.shards.shutil.rmtree", cut_off)
        if after < 4:
            with pytest.raises(KeyboardInterrupt):
                merge(str(out), POOL)
    assert merge(str(out), POOL).missing == []
    check_as_one(out)


@pytest.mark.parametrize("step", ["append_lines", "change", "append_manifest"])
@pytest.mark.parametrize("before", [True, False])
def test_a_merge_that_ended_around_a_write_goes_on(
    step: str, before: bool, out: Path, monkeypatch: pytest.MonkeyPatch, inbox: Path
) -> None:
    from dicomsort.manifest.table import Manifest

    really: Callable[..., None] = getattr(Manifest, step)

    def cut_off(*arguments: object) -> None:
        if not before:
            really(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Manifest, step, cut_off)
        with pytest.raises(KeyboardInterrupt):
            merge(str(out), POOL)
    assert merge(str(out), POOL).missing == []
    check_as_one(out)
    check_places(inbox, out)


@pytest.mark.slow
def test_a_merge_killed_at_random_moments_goes_on(out: Path) -> None:
    draw = random.Random(os.urandom(8))
    words = [sys.executable, "-m", "dicomsort", "merge", str(out), "-q"]
    for _ in range(10):
        program = subprocess.Popen(words)
        try:
            program.wait(draw.uniform(0.5, 4))
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()
    assert merge(str(out), POOL).missing == []
    check_as_one(out)


def test_words_of_a_share(out: Path, capfd: pytest.CaptureFixture[str]) -> None:
    said = inside(capfd, "merge", out, "--shard", "1/2", "--workers", "1")
    assert said.code == ExitCode.DONE
    assert "share 1/2 is compared" in said.err
    told = inside(capfd, "merge", out, "--shard", "2/2", "--json", "--workers", "1").json
    assert told["shard"] == "2/2"
    assert told["read"] + int(said.err.split(" read")[0].split(", ")[-1].split()[0]) == 12
    assert inside(capfd, "merge", out, "--shard", "3/2").code == ExitCode.USAGE
    assert inside(capfd, "merge", out, "-q").code == ExitCode.DONE
    check_as_one(out)
