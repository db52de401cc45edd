"""The commands on a model itself: `model export`."""

from typing import Annotated

import typer

from dicomsort.cli import console, options
from dicomsort.errors import UsageError, check_installed


def register(app: typer.Typer) -> None:
    """Add the group of commands to the program."""
    group = typer.Typer(no_args_is_help=True, help="Work on a model's bundle.")
    group.callback()(_model)
    group.command("export")(export)
    app.add_typer(group, name="model")


def _model() -> None:
    """Work on a model's bundle."""


def export(
    model: Annotated[str, typer.Argument(help="A bundle's folder, which is added to.", metavar="BUNDLE")],
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write graph.onnx into a bundle: the network without its weights, which OpenVINO runs without PyTorch.

    The graph is tried against the network first; the model's answers and its name in manifests stay the same.
    Exit codes: 0 done, 5 bundle not writable, 6 model damaged, or not to be exported: it stays on torch.
    """
    with options.exit_codes():
        check_installed("an export", "torch", "timm", "onnxscript", "openvino")
        from dicomsort.model import bundle as bundles  # noqa: PLC0415

        folder = bundles.locate(model)
        if folder.resolve().parent == bundles.shipped_models().resolve():
            raise UsageError(f"'{model}' is a shipped model and has its graph already")
        bundle = bundles.load(folder, with_graph=False)
        from dicomsort.model import export  # noqa: PLC0415

        exported = export.with_graph(bundle)
        exported.save_graph(folder)
        size = len(exported.graph or b"")
        if json:
            console.print_json({"model": exported.tag, "graph": str(folder / bundles.GRAPH), "bytes": size})
        elif not quiet:
            console.info(f"wrote {folder / bundles.GRAPH} ({size / 1000:.0f} kB, {exported.tag})")
