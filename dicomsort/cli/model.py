"""The commands on a model itself: `model export`, `model evidence` and `model anatomy`."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicomsort.cli import console, options, progress
from dicomsort.cli.command import Commands
from dicomsort.cli.completion import models
from dicomsort.cli.program import Group
from dicomsort.cli.shown import DATA, OUTPUT
from dicomsort.errors import ExitCode, UsageError, check_installed
from dicomsort.system.pool_settings import pool_settings
from dicomsort.system.starting import warm_up
from dicomsort.system.telling import counted, size_told

if TYPE_CHECKING:
    from dicomsort.model.bundle import Bundle


def register(app: typer.Typer) -> None:
    """Add the group of commands to the program."""
    group = Commands(cls=Group, no_args_is_help=True, help="Change a bundle: `models` lists what there is.")
    group.callback()(_model)
    group.command("export", short_help="Add the graph that runs without PyTorch.")(export)
    group.command("evidence", short_help="Fit what headers may say of labels.")(evidence)
    group.command("anatomy", short_help="Show or set the SNOMED CT regions of labels.")(anatomy)
    app.add_typer(group, name="model")


def _model() -> None:
    """Change a model's bundle: add a graph, rules of evidence, or what its labels mean.

    Which models there are, and how good: `dicomsort models`.
    """


def export(
    model: Annotated[
        str,
        typer.Argument(help="A bundle's folder, which is added to.", metavar="BUNDLE", autocompletion=models),
    ],
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write graph.onnx into a bundle: the network without its weights, which OpenVINO runs without PyTorch.

    The graph is tried against the network first; the model's answers and its name in manifests stay the same.
    Exit codes: 0 done, 5 bundle not writable, 6 model damaged, or not to be exported: it stays on torch.

    For example:
      dicomsort model export runs/mine
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
            console.info(f"wrote {folder / bundles.GRAPH} ({size_told(size)}, {exported.tag})")


def evidence(
    model: Annotated[
        str,
        typer.Argument(
            help="A bundle's folder; it is changed, but for --out.", metavar="BUNDLE", autocompletion=models
        ),
    ],
    data: options.Data,
    target: options.Target = None,
    patient: options.Patient = None,
    part: Annotated[
        options.AnyPart, typer.Option(help="Of the data, by the model's split.", rich_help_panel=DATA)
    ] = "train",
    corrections: options.Corrections = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder of a copy with the rules; the model then stays as it is.",
            rich_help_panel=OUTPUT,
            metavar="FOLDER",
        ),
    ] = None,
    workers: options.Workers = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Fit what a header may say of a model's labels, and put these rules into its bundle.

    Ages come from the headers of DICOM files, or from the columns age, modality and sop_class of the CSV. The
    network is not run. Exit codes: 0 done, 3 some files could not be read, 5 model or output not writable,
    6 model unusable.

    For example:
      dicomsort model evidence runs/mine labels.csv --target group
    """
    with options.exit_codes(), progress.loading(quiet or json):
        warm_up()
        from dicomsort.data.dataset import asked as targets_in  # noqa: PLC0415
        from dicomsort.data.dataset import read_facts  # noqa: PLC0415
        from dicomsort.evaluation import run  # noqa: PLC0415
        from dicomsort.evaluation.evidence import fitted  # noqa: PLC0415
        from dicomsort.evaluation.predictions import EvalSettings  # noqa: PLC0415
        from dicomsort.model import bundle as bundles  # noqa: PLC0415
        from dicomsort.outcome import Failure  # noqa: PLC0415

        folder = bundles.locate(model)
        options.check_folders(folder, model, out, "changed")
        bundle = bundles.load(folder)
        targets = targets_in(data, () if target is None else (target,))
        asked = EvalSettings(corrections=corrections, patient=patient, part=part)
        loaded, samples = run.load_part(data, targets, [bundle], asked)
        console.report_lines(loaded.remarks)
        known, failures = [], list(run.unread_in(loaded, part))
        with progress.counting("reading", len(samples), quiet) as count:
            for sample, facts in read_facts(samples, pool_settings(workers)):
                count(1)
                if isinstance(facts, Failure):
                    failures.append((sample, facts))
                elif sample.label:
                    known.append((sample.label, facts))
        changed = _stored(replace(bundle, evidence=fitted(bundle.head, known)), folder, out)
        rules = [] if changed.evidence is None else changed.evidence.as_dict()["rules"]
        if json:
            console.print_json({"model": changed.tag, "part": part, "rules": list(rules)})
        elif not quiet:
            _tell_rules(changed, out or folder)
        console.report_failures(failures)
        if failures:
            raise typer.Exit(ExitCode.SOME_FAILED)


def anatomy(
    model: Annotated[
        str,
        typer.Argument(help="A bundle's folder, which is changed.", metavar="BUNDLE", autocompletion=models),
    ],
    file: Annotated[
        Path | None,
        typer.Argument(help="CSV with the columns label,code,meaning,parent.", metavar="FILE"),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Tell which region of the body each label of a model means in SNOMED CT; with FILE, set that.

    A label that FILE does not name keeps what it means; one with an empty code means no region from then on.
    The model's answers and its name in manifests stay the same. Exit codes: 0 done, 5 bundle not writable,
    6 model damaged.

    For example:
      dicomsort model anatomy router5
      dicomsort model anatomy runs/mine regions.csv
    """
    with options.exit_codes():
        from dicomsort.model import anatomy as regions  # noqa: PLC0415
        from dicomsort.model import bundle as bundles  # noqa: PLC0415

        folder = bundles.locate(model)
        bundle = bundles.load(folder)
        if file is not None:
            if folder.resolve().parent == bundles.shipped_models().resolve():
                raise UsageError(f"'{model}' is a shipped model: copy its folder, and change the copy")
            labels = {head.name: head.labels for head in bundle.heads}
            before = {head.name: bundle.coded(head) for head in bundle.heads}
            bundle = replace(bundle, anatomy=regions.read_table(file, labels, before))
            bundle.save_anatomy(folder)
        if json:
            console.print_json({"model": bundle.tag, "anatomy": bundle.told_anatomy})
        elif not quiet:
            columns = ["head", "label", "code", "meaning", "held by"]
            console.table(f"anatomy of {bundle.tag}", columns, list(_told_anatomy(bundle)))


def _told_anatomy(bundle: "Bundle") -> Iterator[list[str]]:
    for head in bundle.heads:
        coded = bundle.coded(head)
        for label in head.labels:
            region = coded.get(label)
            told = [region.code, region.meaning, region.parent] if region else ["", "", ""]
            yield [head.name, label, *told]


def _stored(changed: "Bundle", folder: Path, out: Path | None) -> "Bundle":
    """Write a bundle's evidence where it came from, or all of it as one of another name."""
    if out is None:
        changed.save_evidence(folder)
        return changed
    copy = replace(changed, name=out.resolve().name)
    copy.save(out)
    return copy


def _tell_rules(bundle: "Bundle", folder: Path) -> None:
    rules = () if bundle.evidence is None else bundle.evidence.rules
    for rule in rules:
        against = [f"{label} {math.exp(-ratio):.0f}:1" for label, ratio in rule.log_ratios.items() if ratio]
        console.info(f"{rule.fact} against {', '.join(against)} ({rule.basis})")
    console.info(f"wrote {folder} ({bundle.tag}), with {counted(len(rules), 'rule')} of evidence")
