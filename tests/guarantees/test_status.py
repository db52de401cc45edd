"""How far an output is, told from outside: in every state it can be in, without a lock or writing."""

import fcntl
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import pytest
from committed import SORT_ONCE
from outputs import rows, settings
from predictors import FixedPredictor
from program import command, inside, without
from prometheus_client.parser import text_string_to_metric_families

import dicomsort
from dicomsort.dicom.sop_classes import ReadSettings
from dicomsort.errors import TargetError, UsageError
from dicomsort.inputs.named import Shard
from dicomsort.manifest.counting import CountedRows, count, together
from dicomsort.outcome import Status
from dicomsort.sorting import health, noting, part_log, pipeline, shards
from dicomsort.sorting.merge import merge
from dicomsort.sorting.next_step import ranges
from dicomsort.sorting.pipeline import sort
from dicomsort.sorting.progress_of import Looks, Progress, status
from dicomsort.system.pool_settings import PoolSettings

POOL = PoolSettings(2)
HERE = socket.gethostname()


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of all there is, folders included."""
    return {
        str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in (folder, *folder.rglob("*"))
    }


def looked(out: Path, monkeypatch: pytest.MonkeyPatch) -> Progress:
    """Look at an output at rest; nothing in it changes, and no lock is asked for."""
    before = everything(out)
    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", no_lock)
        told = status(str(out))
    assert everything(out) == before
    return told


def no_lock(*_: object) -> NoReturn:
    raise AssertionError("a lock was asked for")


def share(inbox: Path, out: Path, predictor: FixedPredictor, *numbers: int, of: int = 3) -> None:
    for number in numbers:
        sort(settings(inbox, out, shard=Shard(number, of)), predictor)


def counted(out: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in rows(out).values():
        found[row["status"]] = found.get(row["status"], 0) + 1
    return found


def by_status(told: Progress) -> dict[str, int]:
    return {status.value: count for status, count in told.statuses.items() if count}


def test_a_plain_run_that_is_done(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    sort(settings(inbox, out), predictor)
    told = looked(out, monkeypatch)
    assert (told.state, told.files, told.total, told.parts_known, told.next) == ("done", 14, 14, 0, ())
    assert by_status(told) == counted(out) == {"sorted": 12, "not_xray": 1, "not_dicom": 1}
    run = json.loads((out / "run.json").read_text())
    assert list(run["hosts"]) == list(told.hosts) == [HERE]
    assert (run["hosts"][HERE]["runs"], run["hosts"][HERE]["files"]) == (1, 14)
    assert "begun" not in run
    assert not (out / ".dicomsort").exists()


@pytest.mark.parametrize("exists", [False, True])
def test_where_no_output_is_one_line_says_so(
    exists: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if exists:
        (tmp_path / "out").mkdir()
    ran = inside(capfd, "status", tmp_path / "out")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"dicomsort: there is no output in '{tmp_path / 'out'}': name the --out folder")


def test_shards_from_the_first_to_the_merge(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    share(inbox, out, predictor, 2)
    told = looked(out, monkeypatch)
    assert (told.state, told.missing, told.parts_known, told.parts_done) == (
        "waiting for shards", ("1/3", "3/3"), 3, 1
    )  # fmt: skip
    assert told.files == len((shards_of(out, 2) / "manifest.csv").read_text().splitlines()) - 1
    assert told.total == 14
    first, rest, then = told.next
    words = shlex.split(first)
    assert words[:3] == ["dicomsort", "classify", str(inbox)]
    assert words[-2:] == ["--shard", "1/3"]
    assert ("2 shards in all: 1,3" in rest, then) == (True, f"then: dicomsort merge {out}")
    share(inbox, out, predictor, 1, 3)
    told = looked(out, monkeypatch)
    assert (told.state, told.missing, told.files, told.next) == (
        "to be merged", (), 14, (f"dicomsort merge {out}",)
    )  # fmt: skip
    merge(str(out), POOL)
    told = looked(out, monkeypatch)
    assert (told.state, by_status(told), told.next) == ("done", counted(out), ())
    assert (told.hosts[HERE]["runs"], told.hosts[HERE]["files"]) == (3, 14)


def shards_of(out: Path, number: int, of: int = 3) -> Path:
    return out / "manifest.parts" / shards.name_of(Shard(number, of))


def test_a_merge_without_all_shards_leaves_some_to_be_done(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    share(inbox, out, predictor, 1, 3)
    merge(str(out), POOL)
    told = looked(out, monkeypatch)
    assert (told.state, told.missing, told.parts_known, told.parts_done) == (
        "waiting for shards", ("2/3",), 3, 2
    )  # fmt: skip
    assert told.next[0].endswith("--shard 2/3")
    share(inbox, out, predictor, 2)
    merge(str(out), POOL)
    assert looked(out, monkeypatch).state == "done"


def test_the_command_of_a_missing_shard_has_all_that_shards_must_agree_on(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    read = ReadSettings(1000, secondary_capture=True, pictures=True, pixel_digest=True)
    given = settings(
        inbox, tmp_path / "out", shard=Shard(1, 2), read=read, keep_duplicates=True, archives=False
    )
    sort(given, predictor)
    words = shlex.split(status(str(tmp_path / "out")).next[0])
    assert {
        *("--include-secondary-capture", "--pictures", "--pixel-digest", "--keep-duplicates", "--no-archives")
    } <= {*words}
    assert words[words.index("--max-pixels") + 1] == "1000"


def test_a_merge_that_was_cut_short_counts_no_file_twice(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    share(inbox, out, predictor, 1, 2, 3)

    def cut(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    looks = Looks(str(out))
    assert looks.look().files == 14
    with monkeypatch.context() as patched:
        patched.setattr(part_log, "keep", cut)
        with pytest.raises(KeyboardInterrupt):
            merge(str(out), POOL)
    assert len((out / "manifest.csv").read_text().splitlines()) == 15
    told = looked(out, monkeypatch)
    assert (told.state, told.files) == ("to be merged", 14)
    assert looks.look().files == 14
    noting.note_plan(str(out), 14, 3)  # as a driver does
    assert looks.look().total == 14
    Path(noting.plan_of(str(out))).unlink()
    merge(str(out), POOL)
    assert (looks.look().state, looks.look().files) == ("done", 14)


def test_the_log_of_a_part_tells_each_start_and_how_it_ended(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    share(inbox, out, predictor, 1)
    share(inbox, out, predictor, 1)
    lines = part_log.read(str(shards_of(out, 1)))
    assert [line.word for line in lines] == ["start", "model", "end"] * 2
    start, model, end, _, _, again = lines
    assert start.facts["host"] == HERE
    assert (start.facts["pid"], "4711" in start.facts["job"]) == (str(os.getpid()), True)
    assert (model.facts["engine"], model.facts["device"], model.facts["workers"]) == ("none", "cpu", "2")
    assert end.facts["how"] == again.facts["how"] == "done"
    assert (end.facts["exit_code"], end.facts["rows"]) == ("0", again.facts["rows"])
    assert abs(time.time() - datetime.fromisoformat(start.time).timestamp()) < 600, "UTC, wherever it runs"
    share(inbox, out, predictor, 2, 3)
    text = "".join((shards_of(out, number) / "part.log").read_text() for number in (1, 2, 3))
    merge(str(out), POOL)
    assert (out / "parts.log").read_text() == text
    assert str(inbox) not in text
    assert not list(out.rglob("part.log"))


def test_a_part_that_failed_says_why_without_the_name_of_a_source(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def full(*_: object, **__: object) -> NoReturn:
        raise TargetError("no space left in '/out/Doe^John's/x': free some and run the same command again")

    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "file_all", full)
        with pytest.raises(TargetError):
            share(inbox, out, predictor, 1)
    told = looked(out, monkeypatch)
    part = told.parts[0]
    assert (part.shard, part.state, part.exit_code) == ("1/3", "failed", 5)
    assert part.error == "no space left in '...': free some and run the same command again"
    assert "Doe" not in (shards_of(out, 1) / "part.log").read_text()
    assert told.missing == ("1/3", "2/3", "3/3")
    share(inbox, out, predictor, 1)
    assert looked(out, monkeypatch).missing == ("2/3", "3/3")


def wait_for(happened: Callable[[], Any], seconds: float = 60) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := happened():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not happen")


def state_of(out: Path) -> str:
    try:
        return status(str(out)).state
    except UsageError:
        return ""


@pytest.mark.parametrize("shard", ["", "1/1"])
def test_a_run_is_seen_at_work_and_once_killed_as_cut_short(
    shard: str, inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it can be started again while somebody looks all the time."""
    out = tmp_path / "out"
    shutil.copy(inbox / "s0" / "0.dcm", inbox / "hang.dcm")
    words = [sys.executable, str(SORT_ONCE), str(inbox), str(out), "copy", *([shard] if shard else [])]
    lasting = {**os.environ, "HANGS_LAST": "1"}
    run = subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL, env=lasting)
    try:
        wait_for(lambda: state_of(out) == "running" and status(str(out)).files > 0)
        told = status(str(out))
        assert (told.doing, 0 < told.files < 16, told.next) == ("sorting", True, ())
        assert told.rate > 0
        seen = told.parts[0] if shard else told.worker
        assert seen is not None
        assert seen.host == HERE
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
    told = looked(out, monkeypatch)
    assert told.state == ("waiting for shards" if shard else "interrupted")
    assert told.files == len(next(iter(out.rglob("manifest.csv"))).read_text().splitlines()) - 1
    assert told.next[0].startswith(f"dicomsort classify {inbox} --out {out}")
    assert [part.state for part in told.parts] == (["lost"] if shard else [])
    again = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    looks = Looks(str(out))
    while again.poll() is None:
        looks.look()
    assert again.communicate()[1] == ""
    assert again.returncode == 3  # the file that hangs
    assert looked(out, monkeypatch).state == ("to be merged" if shard else "done")


def test_a_watch_prints_a_line_at_each_look_and_ends_when_all_is_done(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    sort(settings(inbox, out), predictor)
    ran = inside(capfd, "status", out, "--watch")
    assert (ran.code, ran.out) == (0, "done: 14 files\n")
    ran = inside(capfd, "status", out, "--watch", "0.5", "--json")
    assert ran.code == 0
    assert (ran.json["state"], ran.json["statuses"]["sorted"]) == ("done", 12)
    ran = inside(capfd, "status", out / "manifest.csv")
    assert ran.out.splitlines()[:3] == ["done: 14 files", "", "status     files"]


def test_a_watch_is_ended_by_an_interrupt_without_trouble(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out = tmp_path / "out"
    share(inbox, out, predictor, 1)
    words = [sys.executable, "-m", "dicomsort", "status", str(out), "--watch", "0.5"]
    watch = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert watch.stdout is not None
    assert watch.stdout.readline().startswith("waiting for shards: ")
    watch.send_signal(signal.SIGINT)
    _, err = watch.communicate(timeout=60)
    assert (watch.returncode, err) == (0, "")


def test_rows_are_counted_whatever_their_paths_are_and_only_once(tmp_path: Path) -> None:
    table = tmp_path / "manifest.csv"
    lines = ["path,status,reason", "a,sorted,", '"b,sorted,x",review,', '"c""d",io_error,', "a,review,"]
    table.write_text("\n".join(lines) + "\n" + "e,sor")
    rows = CountedRows(str(table), exact=True)
    rows.look()
    assert together([rows]) == {Status.REVIEW: 2, Status.IO_ERROR: 1}
    with table.open("a") as file:
        file.write("ted,\n")
    rows.look()
    assert together([rows]) == {Status.REVIEW: 2, Status.IO_ERROR: 1, Status.SORTED: 1}
    (tmp_path / "new").write_text("path,status\nz,timeout\n")
    os.replace(tmp_path / "new", table)
    rows.look()
    assert together([rows]) == count(str(table)) == {Status.TIMEOUT: 1}
    table.unlink()
    rows.look()
    assert together([rows]) == {}


def test_numbers_of_shards_are_written_as_batch_systems_take_them() -> None:
    assert ranges([3, 7, 9, 10, 11, 16]) == "3,7,9-11,16"


def test_from_python(inbox: Path, tmp_path: Path, predictor: FixedPredictor) -> None:
    sort(settings(inbox, tmp_path / "out"), predictor)
    assert dicomsort.status(tmp_path / "out").state == "done"


def figures(file: Path) -> dict[tuple[str, str], float]:
    """What stands in a file for Prometheus, as its own parser reads it."""
    found = text_string_to_metric_families(file.read_text())
    return {
        (sample.name, sample.labels.get("status", "")): sample.value
        for family in found for sample in family.samples
    }  # fmt: skip


def test_figures_for_prometheus(
    inbox: Path, small_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, file = tmp_path / "out", tmp_path / "dicomsort.prom"
    words = ("--model", small_model, "--device", "cpu", "--metrics", file, "--workers", "1", "-q")
    assert inside(capfd, "classify", inbox, "--out", out, *words).code == 0
    found = figures(file)
    assert found["dicomsort_files_total", "not_xray"] == 1
    placed = found["dicomsort_files_total", "sorted"] + found["dicomsort_files_total", "review"]
    assert (placed, found["dicomsort_exit_code", ""], found["dicomsort_running", ""]) == (12, 0, 0)
    assert abs(found["dicomsort_last_update_timestamp_seconds", ""] - time.time()) < 600
    assert found["dicomsort_run_seconds", ""] > 0
    assert [path.name for path in tmp_path.glob("*.prom*")] == ["dicomsort.prom"]
    assert inside(capfd, "status", out, "--metrics", tmp_path / "seen.prom").code == 0
    seen = figures(tmp_path / "seen.prom")
    assert {key: n for key, n in seen.items() if key[0] == "dicomsort_files_total"} == {
        key: n for key, n in found.items() if key[0] == "dicomsort_files_total"
    }
    assert inside(capfd, "classify", tmp_path / "nowhere", "--out", tmp_path / "o", *words).code != 0
    assert figures(file)["dicomsort_exit_code", ""] != 0


def test_figures_of_an_inbox_that_is_watched_count_each_file_once(
    inbox: Path, small_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, file = tmp_path / "out", tmp_path / "dicomsort.prom"

    def stop() -> None:
        for files in (14, 15, 16):
            while not (out / "health.json").exists() or health.read(str(out)).files < files:
                time.sleep(0.05)
            if files < 16:  # at once whole: looked at before its bytes are there, it would be two
                os.replace(shutil.copy(inbox / "notes.txt", tmp_path / "next"), inbox / f"{files}.dcm")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()
    words = ("--model", small_model, "--device", "cpu", "--quiet-for", "0.1", "--metrics", file)
    assert inside(capfd, "classify", inbox, "--out", out, *words, "--watch", "0.2", "-q").code == 0
    found = figures(file)
    told = {status: number for (name, status), number in found.items() if name == "dicomsort_files_total"}
    written = counted(out)
    assert {status: number for status, number in told.items() if number} == written
    assert sum(written.values()) == 16
    assert (found["dicomsort_running", ""], found["dicomsort_exit_code", ""]) == (0, 0)


def test_figures_lie_neither_among_what_is_sorted_nor_over_what_the_output_holds(
    inbox: Path, small_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for file, why in ((inbox / "m.prom", "lies in what is sorted"), (out / "run.json", "of the output")):
        ran = inside(capfd, "classify", inbox, "--out", out, "--model", small_model, "--metrics", file)
        assert ran.code == 2
        assert why in ran.err
    assert not out.exists()


def test_without_its_library_figures_are_refused_in_one_line(inbox: Path, tmp_path: Path) -> None:
    hidden = without(tmp_path, "prometheus_client")
    ran = command("classify", inbox, "--out", tmp_path / "out", "--metrics", tmp_path / "m.prom", env=hidden)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "pip install prometheus-client" in ran.err
