"""An installation without PyTorch, scikit-learn or matplotlib: what needs them says so before it begins."""

import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from program import command, without

from dicomsort import errors
from dicomsort.errors import ExitCode, MissingLibraryError, check_installed, names_missing_libraries

TRAIN = "train {labels} --target light --out {new}"
EVAL = "eval {labels} --target light --model {model}"
CLOUD = "classify s3://bucket --out {new} --model {model}"
PYTORCH = "pip install torch torchvision timm"
PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ASKED_FOR = [*PROJECT["dependencies"], *chain.from_iterable(PROJECT["optional-dependencies"].values())]
PACKAGES = {re.split(r"[\[><=; ]", line)[0] for line in ASKED_FOR}
"""The names of all packages that this one or an extra of it asks for."""

MISSING = [
    ("torch timm", TRAIN, f"training needs PyTorch and timm, which are not installed here: {PYTORCH}"),
    ("matplotlib", TRAIN, "training needs matplotlib, which is not installed here: pip install matplotlib"),
    ("torch", "preview {labels} --target light --out {new}.png", f"this needs PyTorch, .*: {PYTORCH}"),
    ("matplotlib", EVAL + " --out {new}", "--out .* needs matplotlib, .*: pip install matplotlib"),
    ("obstore", CLOUD, "this needs obstore, .*: pip install botocore obstore urllib3"),
    ("sklearn", EVAL + " --baseline", "the baseline .* needs scikit-learn, .*: pip install scikit-learn"),
]  # fmt: skip


@pytest.mark.parametrize(("libraries", "words", "line"), MISSING, ids=lambda text: text.split()[0])
def test_a_command_says_what_to_install_and_makes_nothing(
    libraries: str, words: str, line: str, pictures: Path, small_model: Path, tmp_path: Path
) -> None:
    places = {"labels": pictures, "model": small_model, "new": tmp_path / "new"}
    hidden = without(tmp_path, *libraries.split())
    ran = command(*(word.format_map(places) for word in words.split()), env=hidden)
    assert (ran.code, ran.out) == (ExitCode.USAGE, "")
    assert re.fullmatch(rf"dicomsort: {line} \(see docs/how-to/install-light.md\)\n", ran.err)
    assert not list(tmp_path.glob("new*"))


def test_no_remedy_is_an_extra_of_this_package_for_that_would_bring_pytorch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(errors, "is_installed", lambda _: False)
    for library in errors._OPTIONAL:
        with pytest.raises(MissingLibraryError) as told:
            check_installed("it", library)
        named = str(told.value).partition("pip install ")[2].partition(" (see")[0].split()
        assert named
        assert set(named) <= PACKAGES


def test_python_is_told_the_same_by_an_error_that_is_an_import_error_too(tmp_path: Path) -> None:
    lines = "try: dicomsort.train", "except dicomsort.MissingLibraryError as error: print(error)"
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(["import dicomsort", *lines])], env=without(tmp_path, "torch"),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith(f"this needs PyTorch, which is not installed here: {PYTORCH} ")
    assert issubclass(MissingLibraryError, ImportError)


def test_a_library_that_is_there_is_not_loaded_to_find_out() -> None:
    check = "import sys, dicomsort.errors as e; e.check_installed('it', 'torch', 'sklearn')"
    code = f"{check}; print({{'torch', 'sklearn'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_any_other_missing_module_is_a_fault_of_ours() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"dicomsort\.nowhere") as told, names_missing_libraries():
        raise ModuleNotFoundError("No module named 'dicomsort.nowhere'", name="dicomsort.nowhere")
    assert not isinstance(told.value, MissingLibraryError)
    with pytest.raises(ModuleNotFoundError, match=r"torch\._C"), names_missing_libraries():
        raise ModuleNotFoundError("No module named 'torch._C'", name="torch._C")  # it is there, but broken


def test_all_that_is_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("torchvision", "timm", "sklearn"):
        monkeypatch.setitem(sys.modules, library, None)
    check_installed("it", "matplotlib")
    with pytest.raises(MissingLibraryError, match="torchvision, timm and scikit-learn, which are") as told:
        check_installed("it", "torchvision", "matplotlib", "timm", "sklearn")
    assert f"{PYTORCH} scikit-learn (" in str(told.value)
