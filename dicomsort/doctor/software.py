"""What is installed here: this program, its libraries, and what gets in its way."""

import platform
import re
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, version

from dicomsort import __version__
from dicomsort.doctor.finding import Finding, note, ok, problem, warning
from dicomsort.errors import is_installed
from dicomsort.system import installed

_NEEDED = ("numpy", "pydicom", "pillow", "imagecodecs", "isal", "safetensors", "rich", "typer", "jinja2",
           "joblib", "onnx", "openvino", "starlette", "uvicorn")  # fmt: skip
_FOR_TRAINING = ("torch", "torchvision", "timm", "onnxscript", "scikit-learn", "matplotlib")
_REQUIREMENT = re.compile(r'([\w.-]+)(?:\[\w+\])?>=([\d.]+)(?:.*extra == [\'"](\w+)[\'"])?')
_NOT_OF_A_USER = {"test", "bench"}


def examine(path: str | None) -> Iterator[Finding]:
    """Look at what is installed. path: the PATH of the shell."""
    found = installed.ours()
    yield ok("dicomsort", f"{__version__}, {_how(found)}")
    yield ok("python", f"{platform.python_version()} ({platform.python_implementation()})")
    yield ok("system", f"{platform.system()} {platform.release()}, {platform.machine()}")
    yield _encoding()
    yield from _libraries(_wanted(found))
    yield from _extras(_wanted(found))
    yield from _rivals(found)
    yield _command(installed.command_on_path(path))


def _how(found: Distribution | None) -> str:
    if found is None:
        return "run from a checkout"
    is_editable = '"editable": true' in (found.read_text("direct_url.json") or "")
    return "installed as an editable checkout" if is_editable else "installed"


def _encoding() -> Finding:
    name = sys.getfilesystemencoding()
    if name.lower() == "utf-8":
        return ok("file names", "in UTF-8")
    return warning(
        "file names", f"in {name}", "set LC_ALL=C.UTF-8 or PYTHONUTF8=1: names are escaped otherwise"
    )


def _wanted(found: Distribution | None) -> dict[str, list[tuple[str, str]]]:
    """Return by extra ('' for none) which packages are asked for, and their least versions."""
    wanted: dict[str, list[tuple[str, str]]] = {}
    for line in (found.requires if found else None) or []:
        if told := _REQUIREMENT.match(line):
            wanted.setdefault(told[3] or "", []).append((told[1], told[2]))
    return wanted


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _libraries(wanted: Mapping[str, list[tuple[str, str]]]) -> Iterator[Finding]:
    least = dict(wanted.get("", []))
    there = []
    for name in _NEEDED:
        has = _version(name)
        if has is None and not is_installed({"pillow": "PIL"}.get(name, name)):
            yield problem(name, "not installed", f"pip install {name}")
        elif has is not None and name in least and _numbers(has) < _numbers(least[name]):
            yield warning(name, f"{has}, older than {least[name]}", f"pip install '{name}>={least[name]}'")
        else:
            there.append(f"{name} {has or '(version unknown)'}")
    yield ok("libraries", ", ".join(there))
    yield from _for_training()


def _for_training() -> Iterator[Finding]:
    told = {name: _version(name) for name in _FOR_TRAINING}
    if there := [f"{name} {has}" for name, has in told.items() if has]:
        yield ok("to train", ", ".join(there))
    if missing := [name for name, has in told.items() if not has]:
        yield note(
            "to train", f"not installed: {', '.join(missing)}", "needed for training, GPUs and figures only"
        )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text.partition("+")[0])[:3])


def _extras(wanted: Mapping[str, list[tuple[str, str]]]) -> Iterator[Finding]:
    for extra, packages in sorted(wanted.items()):
        if not extra or extra in _NOT_OF_A_USER:
            continue
        told = [(name, _version(name)) for name, _ in packages]
        there = ", ".join(f"{name} {has}" for name, has in told if has)
        if missing := [name for name, has in told if not has]:
            remedy = f"pip install {' '.join(missing)}"  # the extra itself would bring PyTorch too
            yield note(f"extra [{extra}]", f"without {', '.join(missing)}", remedy)
        else:
            yield ok(f"extra [{extra}]", there)


def _rivals(found: Distribution | None) -> Iterator[Finding]:
    for claim in installed.others():
        what = " and ".join(["module"] * claim.has_module + ["command"] * claim.has_command)
        yield problem(
            f"package {claim.name}",
            f"{claim.version} is another tool, with the same {what}: pip lets them overwrite each other",
            installed.remedy(claim),
        )
    if found is not None and (lost := installed.overwritten(found)):
        yield problem(
            "own files",
            f"{len(lost)} are missing or not as they were installed, such as {lost[0]}",
            "install this program again: pip install --force-reinstall --no-deps",
        )


def _command(found: tuple[str, bool] | None) -> Finding:
    if found is None:
        return note(
            "command", "no `dicomsort` on the PATH", "activate the environment, or give its whole path"
        )
    script, is_ours = found
    if is_ours:
        return ok("command", script)
    return problem(
        "command", f"{script} is another tool", "call this one by its whole path, or python -m dicomsort"
    )
