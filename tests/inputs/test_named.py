"""An inventory instead of a walk: how lists are written, and what may be wrong with them."""

import csv
import io
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from outputs import rows, settings, tree
from predictors import FixedPredictor
from program import Ran, inside

from dicomsort.errors import ExitCode, NothingFoundError, UsageError
from dicomsort.inputs import named as inputs
from dicomsort.inputs.named import listed_paths
from dicomsort.inputs.walk import find, roots_of
from dicomsort.outcome import Reason, Status
from dicomsort.sorting.pipeline import SortSettings, sort
from dicomsort.system.escaping import escape

NAMES = ["/a/1.dcm", "/a/with, comma.dcm", '/a/with "quotes"', "/a/Gerät.dcm", "/a/ space ", "b/relative"]


def written(folder: Path, content: bytes, name: str = "list") -> str:
    (folder / name).write_bytes(content)
    return str(folder / name)


def as_csv(names: list[str], column: str = "path") -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([["size", column], *([7, name] for name in names)])
    return text.getvalue().encode()


@pytest.mark.parametrize(
    "content",
    [
        "\n".join(NAMES).encode(),
        "\n".join(NAMES).encode() + b"\n\n",
        "\r\n".join(NAMES).encode(),
        "\0".join(NAMES).encode(),
        "\0".join(NAMES).encode() + b"\0",
        as_csv(NAMES),
        b"\xef\xbb\xbf" + as_csv(NAMES),
        as_csv(NAMES).replace(b"\r\n", b"\n"),
        b"\xef\xbb\xbf" + "\r\n".join(NAMES).encode(),
        "\r".join(NAMES).encode(),
        as_csv(NAMES).replace(b"\r\n", b"\r"),
    ],
    ids=[
        *("lines", "last end", "dos", "nul", "last nul", "csv", "csv with mark"),
        *("csv of unix", "dos with mark", "old mac", "csv of old mac"),
    ],
)
def test_paths_are_read_as_they_are_written(content: bytes, tmp_path: Path) -> None:
    assert list(listed_paths(written(tmp_path, content))) == NAMES


def test_only_nul_keeps_any_name(tmp_path: Path) -> None:
    odd = [b"/a/new\nline", b"/a/\xff\xfe", b"/a/return\r"]
    assert list(map(os.fsencode, listed_paths(written(tmp_path, b"\0".join(odd))))) == odd
    assert list(map(os.fsencode, listed_paths(written(tmp_path, b"/a/\xff\xfe\n")))) == [b"/a/\xff\xfe"]


def test_names_that_lie_across_blocks_stay_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = written(tmp_path, "\n".join(NAMES * 50).encode())
    monkeypatch.setattr(inputs, "_CHUNK", 61)
    assert list(listed_paths(whole)) == NAMES * 50


def test_a_manifest_is_a_list(inbox: Path, tmp_path: Path, predictor: FixedPredictor) -> None:
    odd = inbox / "s0" / os.fsdecode(b"odd\n\xff.txt")
    odd.write_text("no picture")
    sort(settings(inbox, tmp_path / "first"), predictor)
    assert escape(str(odd)) in rows(tmp_path / "first")
    manifest = str(tmp_path / "first" / "manifest.csv")
    sort(settings(inbox, tmp_path / "second", from_list=manifest), predictor)
    assert rows(tmp_path / "second") == rows(tmp_path / "first")


def test_a_list_of_all_files_does_what_the_walk_does(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    paths = [found.path for found in find(roots_of([str(inbox)]), str(tmp_path / "out"))]
    listed = written(tmp_path, "\0".join([*paths, paths[0], f"{inbox}/./s0/../s0/0.dcm"]).encode())
    sort(settings(inbox, tmp_path / "walked"), predictor)
    tally = sort(settings(inbox, tmp_path / "out", from_list=listed), predictor)
    assert tally.found == len(paths)
    assert tally.total == len(paths)
    assert rows(tmp_path / "out") == rows(tmp_path / "walked")
    names = {"manifest.csv": b"", "run.json": b""}
    assert {**tree(tmp_path / "out"), **names} == {**tree(tmp_path / "walked"), **names}


def test_what_is_listed_wrongly_gets_a_row(inbox: Path, tmp_path: Path, predictor: FixedPredictor) -> None:
    out = tmp_path / "out"
    sort(settings(inbox, out, from_list=written(tmp_path, str(inbox / "s0" / "0.dcm").encode())), predictor)
    placed = next(path for path in out.rglob("0.dcm"))
    (tmp_path / "elsewhere").write_text("x")
    wrong = {
        inbox / "gone.dcm": Reason.NO_SUCH_FILE,
        inbox / "s0" / "0.dcm" / "x": Reason.NO_SUCH_FILE,
        inbox / ("x" * 300): Reason.NO_SUCH_FILE,
        inbox / "s1": Reason.SPECIAL_FILE,
        tmp_path / "elsewhere": Reason.NOT_UNDER,
        placed: Reason.NOT_UNDER,
    }
    listed = written(tmp_path, "\n".join(map(str, wrong)).encode())
    tally = sort(settings(inbox, out, from_list=listed), predictor)
    assert tally.found == len(wrong)
    found = rows(out)
    assert {Path(path): found[str(path)]["reason"] for path in wrong} == {
        path: reason.value for path, reason in wrong.items()
    }
    assert len(found) == len(wrong) + 1
    assert placed.exists()


def test_the_output_is_never_sorted(inbox: Path, predictor: FixedPredictor) -> None:
    out = inbox / "sorted"
    sort(settings(inbox, out), predictor)
    placed = next(path for path in out.rglob("*.dcm"))
    listed = written(inbox.parent, str(placed).encode())
    sort(settings(inbox, out, from_list=listed), predictor)
    assert rows(out)[str(placed)]["reason"] == Reason.IN_OUTPUT
    assert rows(out)[str(placed)]["status"] == Status.IO_ERROR


def test_without_folders_the_whole_path_is_kept(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inbox)
    run = SortSettings(
        (os.sep,), str(tmp_path / "out"), from_list=written(tmp_path, b"s0/0.dcm\n./s1/1.dcm\n")
    )
    assert sort(run, predictor).found == 2
    places = {row["destination"].partition("/")[2] for row in rows(tmp_path / "out").values()}
    assert places == {str(inbox / name).lstrip("/") for name in ("s0/0.dcm", "s1/1.dcm")}


def test_a_list_goes_on_where_it_stopped(inbox: Path, tmp_path: Path, predictor: FixedPredictor) -> None:
    paths = sorted(str(path) for path in inbox.rglob("*.dcm"))
    some = written(tmp_path, "\n".join(paths[:5]).encode(), "some")
    everything = written(tmp_path, "\n".join(paths).encode(), "all")
    sort(settings(inbox, tmp_path / "out", from_list=some), predictor)
    tally = sort(settings(inbox, tmp_path / "out", from_list=everything), predictor)
    assert (tally.found, tally.already_done) == (len(paths), 5)
    assert len(rows(tmp_path / "out")) == len(paths)


def test_standard_input_is_read_once(
    inbox: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    small_model: Path,
) -> None:
    class Once(io.BytesIO):
        def __init__(self) -> None:
            super().__init__(b"\n".join(str(path).encode() for path in sorted(inbox.rglob("*.dcm"))))

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Once()))
    words = ("--out", tmp_path / "out", "--model", small_model, "--json", "--workers", "2")
    done = inside(capfd, "classify", inbox, "--from-list", "-", *words)
    assert done.code == ExitCode.DONE, done.err
    assert done.json["found"] == 13


NO_LISTS = [
    ("a.csv", b"file,label\n/a/1.dcm,x\n", "no column 'path'"),
    ("A.CSV", b"/a/1.dcm\n", "no column 'path'"),
    ("list", b"Path,Size\n/a/1.dcm,3\n", "no column 'path'"),
    ("list", b"status,reason,destination\nsorted,,x\n", "no column 'path'"),
    ("a.csv", b"path;size\n/a/1.dcm;3\n", "semicolons between its cells"),
    ("list", b"size\tpath\n3\t/a/1.dcm\n", "tabs between its cells"),
    ("list", "/a/1.dcm\n".encode("utf-16"), "is in UTF-16"),
    ("list", b"x" * (1 << 22), "a line has no end"),
]
"""What the beginning of a list shows to be none."""


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        *NO_LISTS,
        ("list", b'path\n"/a/\rb"\n"' + b"y" * 200_000 + b'"\n', "is no CSV"),
        ("list", b"path,dicomsort_version\n/a\\xzz,1\n", "damaged name"),
        ("list", b"path,dicomsort_version\n/a\xff,1\n", "damaged name"),
        ("list", b"path,dicomsort_version\n/a\\x00,1\n", "a line holds a NUL"),
        ("list", b"/a\n" * 400_000 + b"/b\0c\n", "a line holds a NUL"),
    ],
)
def test_what_is_no_list_is_refused(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        list(listed_paths(written(tmp_path, content, name)))


@pytest.mark.parametrize(("name", "content", "said"), NO_LISTS)
def test_what_is_no_list_is_refused_before_anything_is_done(
    name: str, content: bytes, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    listed = written(tmp_path, content, name)
    ran = inside(capfd, "classify", "--from-list", listed, "--out", tmp_path / "out", "--model", "none")
    assert ran.code == ExitCode.USAGE, ran.err
    assert said in ran.err
    assert len(ran.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "first", [b"/a/reports, status 2020/x.dcm", b"status", b"a,b", b"label, old/x,y", b"path with;semicolon"]
)
def test_paths_that_look_a_little_like_tables_are_paths(first: bytes, tmp_path: Path) -> None:
    assert list(listed_paths(written(tmp_path, first + b"\n/b\n"))) == [os.fsdecode(first), "/b"]


def test_a_list_that_breaks_off_in_the_middle_ends_with_one_line(
    inbox: Path, tmp_path: Path, small_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = "\n".join(str(path) for path in inbox.rglob("*.dcm")).encode()
    listed = written(tmp_path, b"path\n" + files + b'\n"' + b"y" * 200_000 + b'"\n')
    out = ("--out", tmp_path / "out", "--model", small_model, "--workers", "1")
    ran = inside(capfd, "classify", "--from-list", listed, *out)
    assert ran.code == ExitCode.USAGE
    assert "is no CSV" in ran.err
    assert len(ran.err.splitlines()) == 1, "no traceback of a thread either"


def test_nothing_is_taken_from_a_named_pipe_but_once(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)

    def write() -> None:
        with open(pipe, "wb") as file:
            file.write(b"\n".join(os.fsencode(path) for path in inbox.rglob("*.dcm")))

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    assert sort(settings(inbox, tmp_path / "out", from_list=pipe), predictor).found == 13
    writer.join()


def test_a_list_that_is_not_there_is_refused_before_anything_is_done(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    for source in (str(tmp_path / "none"), str(tmp_path)):
        with pytest.raises(UsageError, match="cannot be read"):
            sort(settings(inbox, tmp_path / "out", from_list=source), predictor)
    assert not (tmp_path / "out").exists()


def test_an_empty_list_is_told(inbox: Path, tmp_path: Path, predictor: FixedPredictor) -> None:
    with pytest.raises(NothingFoundError):
        sort(settings(inbox, tmp_path / "out", from_list=written(tmp_path, b"\n\n")), predictor)


@pytest.fixture
def nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Ran]:
    yield inside(capfd, "classify", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_neither_folders_nor_a_list(nothing: Ran) -> None:
    assert nothing.code == ExitCode.USAGE
    assert "--from-list" in nothing.err
