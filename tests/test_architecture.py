"""The rooms, who may import whom, and what the command line may load before it has to."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dicomsort

PACKAGE = Path(dicomsort.__file__).parent

# Each module imports only modules above it; the sets are the third-party packages it may import.
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "names": set(),
    "streams": set(),
    "patience": set(),
    "outcome": {"numpy"},
    "atomic": set(),
    "walk": set(),
    "sources": set(),
    "preprocess": {"numpy", "PIL"},
    "jpeg": {"numpy"},
    "blank": {"numpy"},
    "codecs": {"numpy", "imagecodecs", "PIL"},
    "greyscale": {"numpy"},
    "radiograph": set(),
    "inflate": set(),
    "header": {"pydicom"},
    "encapsulated": set(),
    "pixels": {"pydicom", "numpy"},
    "presentation": {"pydicom", "numpy"},
    "archives": set(),
    "dicom": {"pydicom"},
    "heap": set(),
    "worker": set(),
    "workers": set(),
    "reader": {"numpy", "PIL"},
    "labels": {"numpy"},
    "bundle": {"numpy", "safetensors"},
    "novelty": {"torch", "numpy"},
    "folding": {"torch", "timm"},
    "networks": {"torch", "timm", "safetensors"},
    "devices": {"torch"},
    "classifier": {"torch", "numpy"},
    "fleet": {"torch", "numpy"},
    "load": set(),
    "spent": set(),
    "predict": {"numpy"},
    "panel": {"numpy"},
    "place": set(),
    "pictures": {"PIL"},
    "layout": set(),
    "claims": set(),
    "runfile": set(),
    "locks": set(),
    "history": {"numpy"},
    "manifest": set(),
    "parts": set(),
    "durable": set(),
    "journal": set(),
    "duplicates": set(),
    "settle": set(),
    "merge": set(),
    "ledger": set(),
    "ahead": set(),
    "forecast": set(),
    "crew": set(),
    "filing": set(),
    "tally": set(),
    "pipeline": set(),
    "metrics": {"numpy", "sklearn"},
    "table": set(),
    "dataset": {"numpy"},
    "beware": set(),
    "corrections": set(),
    "truth": {"numpy"},
    "splits": {"numpy", "sklearn"},
    "cache": {"numpy"},
    "grouping": {"numpy"},
    "evaluate": {"numpy"},
    "calibrate": {"numpy"},
    "baseline": {"numpy", "sklearn"},
    "drawings": {"numpy", "matplotlib", "sklearn"},
    "sheet": {"numpy", "PIL"},
    "report": {"numpy", "PIL"},
    "stats": {"numpy", "PIL"},
    "augment": {"torch", "torchvision", "PIL"},
    "workbench": set(),
    "recipe": set(),
    "ranks": {"torch", "timm"},
    "checkpoint": {"torch"},
    "images": {"torch", "numpy"},
    "trainer": {"torch", "numpy"},
    "train": {"torch", "numpy"},
    "curves": {"matplotlib"},
    "traininglog": {"torch"},
    "folds": {"numpy"},
    "audit": {"numpy"},
    "terminal": {"rich"},
    "tell": set(),
    "options": {"typer"},
    "task": set(),
    "engine": {"joblib"},
    "cluster": set(),
    "node": set(),
    "sorting": set(),
    "job": set(),
    "teaching": {"typer"},
    "measuring": {"typer"},
    "looking": {"typer"},
    "cli": {"typer"},
    "__main__": set(),
}
PROGRAMS = ("__main__", "node")
IN_WORKERS = [
    "outcome",
    "preprocess",
    "jpeg",
    "blank",
    "codecs",
    "greyscale",
    "radiograph",
    "inflate",
    "header",
    "encapsulated",
    "pixels",
    "archives",
    "dicom",
    "reader",
    "pictures",
]


def imports(module: str, at_run_time: bool = False) -> set[str]:
    """Every module that a file imports; without those for type checkers only if `at_run_time`."""
    found: set[str] = set()
    body = ast.parse((PACKAGE / f"{module}.py").read_text())
    skipped = {
        id(inner)
        for node in ast.walk(body)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(body):
        if at_run_time and id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "dicomsort":
            found |= {f"dicomsort.{name.name}" for name in node.names if not name.name.startswith("__")}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def test_every_module_has_its_room() -> None:
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert modules == set(ROOMS)


@pytest.mark.parametrize("module", ROOMS)
def test_imports_only_upwards(module: str) -> None:
    above = list(ROOMS)[: list(ROOMS).index(module)]
    ours = {name.split(".")[1] for name in imports(module, at_run_time=True) if name.startswith("dicomsort.")}
    assert ours <= set(above)


@pytest.mark.parametrize("module", ROOMS)
def test_third_party_packages_have_one_door(module: str) -> None:
    roots = {name.split(".")[0] for name in imports(module)}
    third_party = roots - set(sys.stdlib_module_names) - {"dicomsort"}
    assert third_party <= ROOMS[module]


@pytest.mark.parametrize(
    "module",
    [
        name
        for name in ROOMS
        if name not in (*PROGRAMS, "cli", "options", "teaching", "measuring", "looking", "tell", "terminal")
    ],
)
def test_below_the_command_line_nothing_prints_exits_or_reads_the_environment(module: str) -> None:
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    names = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not calls & {"print", "sys.exit", "exit", "quit", "input", "os.getenv"}
    assert "os.environ" not in names


def loaded_by(code: str) -> set[str]:
    script = f"{code}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_help_loads_nothing_heavy() -> None:
    lines = ["import sys", "sys.argv = ['dicomsort', '--help']", "from dicomsort.cli import main"]
    code = "\n".join([*lines, "try: main()", "except SystemExit: pass"])
    assert not loaded_by(code) & {"torch", "pydicom", "numpy", "PIL", "sklearn", "timm", "imagecodecs"}


def test_workers_never_load_torch() -> None:
    code = "\n".join(f"import dicomsort.{module}" for module in [*IN_WORKERS, "workers"])
    assert not loaded_by(code) & {"torch", "torchvision", "timm", "sklearn", "typer", "rich"}


def test_each_module_can_be_imported_first() -> None:
    script = """
import importlib, sys
for module in sys.argv[1:]:
    for name in [name for name in sys.modules if name.partition(".")[0] == "dicomsort"]:
        del sys.modules[name]
    importlib.import_module(f"dicomsort.{module}")
    print(module)
"""
    done = subprocess.run([sys.executable, "-c", script, *ROOMS], capture_output=True, text=True, check=False)
    assert done.stdout.split() == list(ROOMS), done.stderr
