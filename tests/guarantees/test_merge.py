"""Shards to one manifest: killed at any moment, compared on many nodes beforehand, with next to no memory."""

import errno
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
from dicomsort.system.pool_settings import PoolSettings

POOL = PoolSettings(1)


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


@pytest.mark.parametrize("words", [(), ("--shard", "1/2")])
@pytest.mark.parametrize("kind", [spill.KeySpill, spill.LineSpill])
def test_no_space_for_the_temporary_folder(
    kind: type, words: tuple[str, ...], out: Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """It ends with 5 and one line; with space again it goes on."""
    with monkeypatch.context() as patched:
        patched.setattr(spill, "_IN_MEMORY", 10)
        patched.setattr(kind, "_spill", full(kind))
        said = inside(capfd, "merge", out, *words, "--workers", "1")
    assert said.code == ExitCode.TARGET, said.err
    assert said.err.count("\n") == 1
    assert "No space left" in said.err
    assert "manifest.csv" in {path.name for path in out.rglob("*")}
    assert inside(capfd, "merge", out, "-q", "--workers", "1").code == ExitCode.DONE
    check_as_one(out)


def full(kind: type) -> Callable[..., None]:
    """Return how a spill writes to a disk that is full after some bytes."""
    really: Callable[..., None] = kind._spill  # type: ignore[attr-defined]

    def cut_off(*arguments: object) -> None:
        def write(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(os, "makedirs", write)
            really(*arguments)

    return cut_off


def test_trouble_of_a_merge_that_was_killed_is_told_by_the_next(
    out: Path, inbox: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would end with 0 otherwise, though nobody has heard of the file."""
    path = inbox / "s0" / "broken.dcm"
    path.write_bytes((inbox / "s0" / "0.dcm").read_bytes()[:2000])
    for number in range(1, 5):
        sort(settings(inbox, out, shard=Shard(number, 4)), predictor)
    with monkeypatch.context() as patched:
        patched.setattr("dicomsort.sorting.merge.finish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            merge(str(out), POOL)
    merged = merge(str(out), POOL)
    assert (merged.new_troubles, merged.exit_code) == (1, ExitCode.SOME_FAILED)
    assert [trouble.path for trouble in merged.troubles] == [str(path)]
    again = merge(str(out), POOL)
    assert (again.new_troubles, again.older_troubles, again.exit_code) == (0, 1, ExitCode.DONE)


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("damage", [b"half,a,row\n", b"\0" * 4096 + b"\n", b"\xff\xfe,\n", b"\n", None])
def test_a_damaged_shard_is_named_and_its_rows_stay_out(
    damage: bytes | None, out: Path, inbox: Path, predictor: FixedPredictor
) -> None:
    """Once it has been done again, all is well: what was merged before is not spoilt."""
    part = out / SHARDS / "shard-003-of-004"
    lines_ = (part / "manifest.csv").read_bytes().splitlines(keepends=True)
    bad = lines_[1].replace(b",", b"\xff,", 1) if damage is None else damage
    (part / "manifest.csv").write_bytes(b"".join([*lines_[:2], bad, *lines_[2:]]))
    with pytest.raises(UsageError, match=r"shard-003-of-004/manifest\.csv' is damaged"):
        merge(str(out), POOL)
    shutil.rmtree(part)
    sort(settings(inbox, out, shard=Shard(3, 4)), predictor)
    assert merge(str(out), POOL).missing == []
    check_as_one(out)


def test_a_share_is_compared_by_one_program_at_a_time(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that was submitted again while the first still runs waits for it, and finds all done."""
    first = pixel_shares.compare
    met = list[str]()
    really = repeats.read_pixels

    def again(wanted: Iterable[Wanted], pool: PoolSettings) -> Iterator[tuple[Wanted, str]]:
        monkeypatch.setattr(repeats, "read_pixels", really)
        with pytest.raises(UsageError, match="another comparison of share 1/2") as error:
            first(str(out), Shard(1, 2), pool)
        met.append(str(error.value))
        return really(wanted, pool)

    monkeypatch.setattr(repeats, "read_pixels", again)
    done = pixel_shares.compare(str(out), Shard(1, 2), POOL)
    assert met
    assert pixel_shares.compare(str(out), Shard(1, 2), POOL).read == 0
    assert done.read + pixel_shares.compare(str(out), Shard(2, 2), POOL).read == 12
    merge(str(out), POOL)
    check_as_one(out)


def test_digests_that_are_damaged_are_found_again(out: Path) -> None:
    """Whatever stands there can be read from the files once more: nothing is lost, and nothing refused."""
    for number in (1, 2):
        pixel_shares.compare(str(out), Shard(number, 2), POOL)
    first, second = sorted((out / SHARDS).glob("pixels-*"))
    first.write_bytes(b"\0" * 5000 + b"\n" + first.read_bytes())
    second.write_bytes(second.read_bytes().replace(b"\n", b",more\n") + b"\xff\xff,,,,,\n")
    assert pixel_shares.compare(str(out), Shard(2, 2), POOL).unread == 0
    assert merge(str(out), POOL).missing == []
    check_as_one(out)


@pytest.mark.parametrize("left", [b"", b"path,stat"])
def test_a_merge_that_ended_before_its_first_row_goes_on(
    left: bytes, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a full disk: run.json is there, and of manifest.csv nothing, or half of its first line."""
    from dicomsort.manifest.table import Manifest

    with monkeypatch.context() as patched:
        patched.setattr(Manifest, "_begin", interrupt)
        with pytest.raises(KeyboardInterrupt):
            merge(str(out), POOL)
    assert (out / "manifest.csv").read_bytes() == b""
    (out / "manifest.csv").write_bytes(left)
    assert merge(str(out), POOL).missing == []
    check_as_one(out)
