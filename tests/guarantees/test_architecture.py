"""The rooms, which may know which, who may use which library, and what loads before it has to."""

import ast
import subprocess
import sys
from dataclasses import replace
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from outputs import settings
from predictors import FixedPredictor
from program import command, without
from written import picture, write_dicom

import dicomsort
from dicomsort.inputs.named import Shard
from dicomsort.model.bundle import Bundle
from dicomsort.model.heads import Head
from dicomsort.sorting.pipeline import sort

PACKAGE = Path(dicomsort.__file__).parent

# A room knows itself, these, and `errors` and `outcome`.
LAYERS = {
    "system": "",
    "inputs": "system",
    "imaging": "",
    "dicom": "system inputs imaging",
    "model": "system imaging",
    "manifest": "system model",
    "sorting": "system inputs imaging dicom model manifest",
    "report": "system inputs imaging dicom model manifest sorting",
    "audit": "system inputs imaging dicom model manifest sorting report",
    "export": "system inputs imaging dicom model manifest sorting audit",
    "transfer": "system inputs dicom model manifest sorting export",
    "review": "system inputs imaging dicom model manifest sorting data evaluation",
    "cluster": "system inputs model manifest sorting",
    "data": "system inputs imaging dicom model manifest sorting",
    "evaluation": "system imaging model data",
    "training": "system imaging model data evaluation",
    "library": "system inputs imaging dicom model manifest sorting export cluster data evaluation training",
    "doctor": "system dicom model sorting",
    "cli": "system inputs imaging dicom model manifest sorting report audit export cluster data evaluation"
    " training review transfer doctor",
}

# Where a library may be imported: files, or whole rooms.
DOORS = {
    "pydicom": "dicom/",
    "highdicom": "dicom/structured_report.py",
    "imagecodecs": "dicom/codecs.py",
    "isal": "inputs/packed.py",
    "backports": "system/zstd.py",
    "compression": "system/zstd.py",
    "numpy": "outcome.py imaging/ dicom/ model/ manifest/ sorting/by_hand.py sorting/deduplicate.py"
    " sorting/repeats.py sorting/pixel_shares.py sorting/rivals.py data/ evaluation/ training/ library/"
    " review/",
    "PIL": "imaging/ dicom/codecs.py dicom/plain_pictures.py dicom/render.py report/pictures.py data/"
    " evaluation/ training/random_transforms.py",
    "pyarrow": "manifest/parquet.py export/datasets/shards.py",
    "openvino": "model/engines/openvino.py",
    "onnx": "model/graph.py model/export.py",
    "google": "model/graph.py",
    "torch": "model/ training/",
    "torchvision": "training/augment.py training/random_transforms.py",
    "timm": "model/ training/distributed.py training/pretrained.py",
    "safetensors": "model/ training/pretrained.py",
    "sklearn": "evaluation/ data/splits.py",
    "matplotlib": "evaluation/plots.py training/log.py",
    "jinja2": "report/page.py",
    "joblib": "cluster/on_loky.py",
    "pynetdicom": "transfer/c_store.py",
    "requests": "inputs/pacs_requests.py",
    "starlette": "review/app.py",
    "uvicorn": "review/serve.py",
    "typer": "cli/",
    "rich": "cli/console.py cli/progress.py cli/bars.py",
    "obstore": "inputs/buckets.py",
    "prometheus_client": "sorting/metrics.py",
    "botocore": "inputs/s3.py",
    "urllib3": "inputs/web.py inputs/pacs_requests.py",
}
IN_WORKERS = [
    "report.pictures",
    *("dicom.reader", "dicom.render", "dicom.archives", "imaging.grayscale", "imaging.canvas"),
    *("system.worker_pool", "system.worker", "outcome"),
]
LIGHT = [
    "classify {archive} --out {new} --model {model} --model {other} --device cpu",
    "classify {archive} --out {new} --model {model} --device cpu --shard 1/2",
    "classify {archive} --out {new} --model {model} --device cpu --backend loky --tasks 1",
    "eval {labels} --target light --model {other} --part all --bootstrap 100 --device cpu",
    "calibrate {other} {labels} --target light --part all --target-precision 0.01 --out {new} --device cpu",
    "model evidence {other} {labels} --target light --part all --out {new}",
    "render {file} --out {new} --model {model}",
    "render {archive} --out {new} --model {model}",
    "models {model}",
    "doctor {archive}",
    "apply {planned}",
    "undo {sorted}",
    "merge {shards}",
    "report {done} --out {new}.html",
    "audit {done}",
    "annotate {done} --as instances --out {new}",
    "render --from {done} --status sorted --status review --status planned --out {new} --model {model}",
    "stats {labels} --target light",
]
"""Commands, on what `made` has made, that run where these are not installed."""
NOT_FOR_SORTING = ("torch", "torchvision", "timm", "sklearn", "matplotlib")
SPEAKS = ("print", "sys.exit", "exit", "quit", "input", "os.getenv", "os._exit")
HEAVY = {"torch", "pydicom", "numpy", "PIL", "sklearn", "timm", "imagecodecs", "matplotlib", "joblib"}

FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
ROOMS = [file for file in FILES if "/" in file]


@cache
def parsed(file: str) -> ast.Module:
    """What stands in a file of the package; not to be changed."""
    return ast.parse((PACKAGE / file).read_text())


@cache
def imports(file: str) -> frozenset[str]:
    """Every module that a file imports, by its whole name."""
    found: set[str] = set()
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return frozenset(found)


@pytest.mark.parametrize("room", LAYERS)
def test_a_room_knows_only_the_rooms_below_it(room: str) -> None:
    allowed = {room, "errors", "outcome", "__version__", *LAYERS[room].split()}
    for file in (file for file in ROOMS if file.startswith(f"{room}/")):
        known = {name.split(".")[1] for name in imports(file) if name.startswith("dicomsort.")}
        assert known <= allowed, (file, known - allowed)


def test_there_is_no_other_room_and_every_one_is_empty_but_for_its_modules() -> None:
    assert {file.split("/")[0] for file in ROOMS} == set(LAYERS)
    assert not any((PACKAGE / room / "__init__.py").read_text() for room in LAYERS)


@pytest.mark.parametrize("library", DOORS)
def test_a_library_has_its_doors(library: str) -> None:
    users = [file for file in FILES if library in {name.split(".")[0] for name in imports(file)}]
    strangers = [file for file in users if not any(file.startswith(door) for door in DOORS[library].split())]
    assert users
    assert strangers == ["__init__.py"] * (library == "numpy" and "__init__.py" in strangers)


def test_every_library_has_its_line() -> None:
    roots = {name.split(".")[0] for file in FILES for name in imports(file)}
    optional = {"distributed", "ray", "tensorboard", "tqdm"}
    assert roots - set(sys.stdlib_module_names) - {"dicomsort"} - optional == set(DOORS)


@pytest.mark.parametrize("file", [file for file in ROOMS if not file.startswith("cli/")])
def test_below_the_command_line_nothing_prints_exits_or_reads_the_environment(file: str) -> None:
    """Nor do it by another's hand: whoever prints lives in cli, and no room below may know it (see above)."""
    tree = parsed(file)
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    names = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    program = file in ("system/worker.py", "cluster/node.py", "cluster/staying.py")
    assert not calls & (set(SPEAKS) - ({"os._exit", "sys.exit"} if program else set()))
    streams = {"sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__"}
    assert not names & streams or file in ("system/streams.py", "cluster/on_ray.py")  # what ray prints
    told_by_others = ("system/batch_jobs.py", "cluster/on_ray.py", "cluster/programs.py")  # not by a person
    assert "os.environ" not in names or file in told_by_others
    assert not calls & {"warnings.warn", "traceback.print_exc", "logging.info", "logging.warning"}


def loaded_by(code: str) -> set[str]:
    script = f"{code}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_help_loads_nothing_heavy() -> None:
    lines = ["import sys", "sys.argv = ['dicomsort', '--help']", "from dicomsort.cli.main import main"]
    code = "\n".join([*lines, "try: main()", "except SystemExit: pass"])
    assert not loaded_by(code) & HEAVY


def test_workers_never_load_torch() -> None:
    code = "\n".join(f"import dicomsort.{module}" for module in IN_WORKERS)
    assert not loaded_by(code) & {"torch", "torchvision", "timm", "sklearn", "typer", "rich"}


def test_the_worker_of_an_engine_loads_next_to_nothing() -> None:
    """It only starts the program that sorts; loading all of dicomsort took 0.7 s of each worker's start."""
    assert not loaded_by("import dicomsort.cluster.programs") & {"numpy", "pydicom", "PIL"}


@pytest.fixture(scope="module")
def made(
    pictures: Path, small_bundle: Bundle, small_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """An archive that was sorted, planned and sorted in shards, and labeled pictures."""
    folder, predictor = tmp_path_factory.mktemp("made"), FixedPredictor(small_bundle)
    for number in range(3):
        uids = {"StudyInstanceUID": "2.25.1", "SeriesInstanceUID": "2.25.2"}
        write_dicom(folder / "in" / f"{number}.dcm", picture(number), **uids)
    for name, changes in {"sorted": {}, "planned": {"dry_run": True}}.items():
        sort(settings(folder / "in", folder / name, **changes), predictor)
    for number in (1, 2):
        sort(settings(folder / "in", folder / "shards", shard=Shard(number, 2)), predictor)
    manifests = {name: folder / name / "manifest.csv" for name in ("sorted", "planned")}
    labels = ("bright", "dark", "a", "b", "c")
    replace(small_bundle, name="other", head=Head("light", labels)).save(folder / "other")
    more = {"file": folder / "in" / "0.dcm", "archive": folder / "in", "labels": pictures}
    more |= {"model": small_model, "other": folder / "other", "done": folder / "sorted"}
    return {**manifests, **more, "shards": folder / "shards"}


@pytest.mark.parametrize("words", LIGHT, ids=lambda words: words.split()[0])
def test_what_needs_no_pytorch_loads_none_nor_scikit_learn_nor_matplotlib(
    words: str, made: dict[str, Path], tmp_path: Path
) -> None:
    """Also in its worker processes."""
    places = {**made, "new": tmp_path / "new"}
    hidden = without(tmp_path, *NOT_FOR_SORTING)
    ran = command(*(word.format_map(places) for word in words.split()), env=hidden)
    assert ran.code == 0, ran.err


def module_of(file: str) -> str:
    return f"dicomsort.{file.removesuffix('.py').replace('/', '.')}".removesuffix(".__init__")


def imported_at_once(file: str) -> set[str]:
    """Every module of the package that a file needs before its own first line can run to its last."""
    modules = {module_of(other) for other in FILES}
    found: set[str] = set()
    waiting: list[ast.AST] = [parsed(file)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{name.name}" for name in node.names}
            found |= {name if name in modules else str(node.module) for name in names}
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            waiting += [] if typing else ast.iter_child_nodes(node)
    return (found & modules) - {"dicomsort", module_of(file)}


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Within a room too."""
    graph = {module_of(file): imported_at_once(file) for file in FILES}
    assert sum(map(len, graph.values())) > 200
    assert len(list(TopologicalSorter(graph).static_order())) == len(FILES)


@pytest.mark.slow
def test_each_module_can_be_imported_first() -> None:
    script = """
import importlib, sys
for module in sys.argv[1:]:
    for name in [name for name in sys.modules if name.partition(".")[0] == "dicomsort"]:
        del sys.modules[name]
    importlib.import_module(module)
    print(module)
"""
    modules = [module_of(file) for file in FILES]
    done = subprocess.run(
        [sys.executable, "-c", script, *modules], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == modules, done.stderr
