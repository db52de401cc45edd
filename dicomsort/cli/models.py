"""The command that tells which models there are, and what each is good for."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicomsort.cli import completion, console, options
from dicomsort.system.telling import counted, size_told

if TYPE_CHECKING:
    from dicomsort.model.bundle import Bundle
    from dicomsort.model.card import Card
    from dicomsort.model.heads import Head

_MAIN = {
    "multiclass": ("macro recall", "accuracy"),
    "multilabel": ("micro F1", "subset accuracy (all labels right)"),
    "binary": ("ROC AUC", "sensitivity"),
}
"""By kind of the head: the figures that the table shows."""
_SHOWN_LABELS = 6


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(models)


def models(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Shipped models' names, or bundles' folders; one is told in detail.",
            metavar="MODEL...",
            autocompletion=completion.models,
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """List the models to choose from: what each answers, how well, and from when on it asks a person.

    To change a model there is `dicomsort model`. Figures come from the card in a bundle, and are left out if
    that was written of other weights. Exit codes: 0 done, 6 no such model, or a damaged one.

    For example:
      dicomsort models
      dicomsort models router5
      dicomsort models runs/mine --json
    """
    with options.exit_codes():
        from dicomsort.model import bundle as bundles  # noqa: PLC0415

        folders = [bundles.locate(name) for name in names or bundles.shipped_names()]
        found = [_Told(folder) for folder in folders]
        if json:
            console.print_json({"models": [each.as_dict() for each in found]})
        elif len(found) == 1 and names:
            _tell_one(found[0])
        else:
            _tell_all(found)


class _Told:
    """A model, with its card and what its folder tells."""

    def __init__(self, folder: Path) -> None:
        from dicomsort.model import bundle as bundles  # noqa: PLC0415
        from dicomsort.model.card import read_card  # noqa: PLC0415
        from dicomsort.model.defaults import DEFAULT_MODELS  # noqa: PLC0415

        self.folder = folder
        self.bundle: Bundle = bundles.load(folder)
        self.card: Card = read_card(folder, self.bundle)
        self.is_shipped = folder.resolve().parent == bundles.shipped_models().resolve()
        self.is_default = self.is_shipped and self.bundle.name in DEFAULT_MODELS
        files = (folder / name for name in (bundles.WEIGHTS, bundles.GRAPH, bundles.CONFIG))
        self.bytes = sum(path.stat().st_size for path in files if path.is_file())

    @property
    def main(self) -> list[str]:
        """The figures that the table shows, in words."""
        shown = [name for name in _MAIN[self.bundle.head.kind] if name in self.card.figures]
        told = [f"{name.partition(' (')[0]} {self.card.figures[name]}" for name in shown]
        return told or _of_validation(self.bundle)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it for JSON."""
        bundle, card = self.bundle, self.card
        figures = {name: figure.as_dict() for name, figure in card.figures.items()}
        return {
            "name": bundle.name,
            "model": bundle.tag,
            "shipped": self.is_shipped,
            "default": self.is_default,
            "folder": console.plain(str(self.folder)),
            "bytes": self.bytes,
            "purpose": card.purpose,
            "caution": card.caution,
            "network": bundle.network.timm,
            "canvas": bundle.preprocessing.as_dict(),
            "heads": [head.as_dict() for head in bundle.heads],
            "reject_above": None if bundle.reject is None else bundle.reject.threshold,
            "evidence_rules": 0 if bundle.evidence is None else len(bundle.evidence.rules),
            "runs_without_pytorch": bundle.graph is not None,
            "trained_by": bundle.training.get("dicomsort"),
            "figures": {"images": card.images, "resampled": card.of, **figures},
            "above_review_threshold": {
                "coverage": card.coverage and card.coverage.as_dict(),
                "precision": card.precision and card.precision.as_dict(),
            },
            "validation": bundle.metrics.get("validation", []),
            "licenses_of_pictures": dict(card.licenses),
        }


def _of_validation(bundle: "Bundle") -> list[str]:
    """Return the accuracy on the validation part, which every trained bundle has; it has no interval."""
    for each in bundle.metrics.get("validation", []):
        if isinstance(each, dict) and each.get("head") == bundle.head.name and "accuracy" in each:
            return [f"validation accuracy {each['accuracy']:.3f} of {each.get('images', '?')} images"]
    return ["none: see `dicomsort eval`"]


def _labels(head: "Head", most: int) -> str:
    if len(head.labels) > most:
        return f"{len(head.labels)} labels"
    return ", ".join(head.labels)


def _tell_all(found: list[_Told]) -> None:
    rows = []
    for each in found:
        answers = "; ".join(f"{head.name}: {_labels(head, _SHOWN_LABELS)}" for head in each.bundle.heads)
        figures = "\n".join(each.main)
        mark = " *" if each.is_default else ""
        below = "\n".join(f"{head.review_below:.3f}" for head in each.bundle.heads)
        rows.append([each.bundle.name + mark, answers, figures, below, f"{each.bytes / 1e6:.1f}"])
    columns = ["model", "answers", "figures (95 % interval)", "below", "MB"]
    console.table("models", columns, rows, right=(3, 4), fixed=(0, 2, 3, 4))
    if any(each.is_default for each in found):
        console.info("* is used if no --model is given")
    console.info("below: the confidence under which a file goes to review")
    console.info(f"all of one: dicomsort models {_given(found[0])}")


def _tell_one(told: _Told) -> None:
    bundle, card = told.bundle, told.card
    rows = [row for row in _facts(told) if row[1]]
    console.table(bundle.name, ["", ""], rows, fixed=(0,), head=False)
    for head in bundle.heads:
        if head.kind != "multiclass":
            labels = [[label, f"{score:.3f}", _rare(head, label)] for label, score in _thresholds(head)]
            console.table(
                f"{head.name}: the score from which on a label counts", ["label", "score", ""], labels
            )
    if card.figures:
        figures = [[name, str(figure)] for name, figure in card.figures.items()]
        console.table(
            f"figures of {bundle.head.name}: {card.images} test images, 95 % intervals over {card.of}",
            ["figure", "value"],
            figures,
        )


def _thresholds(head: "Head") -> list[tuple[str, float]]:
    """Return the labels that have a score of their own, and the threshold of each; see `heads.Head`."""
    labels = head.labels[1:] if head.kind == "binary" else head.labels
    return list(zip(labels, head.thresholds or [0.5] * len(labels), strict=True))


def _rare(head: "Head", label: str) -> str:
    if label not in head.rare:
        return ""
    parent = head.parents.get(label)
    return "rare" if parent is None else f"rare: {parent} is answered"


def _facts(told: _Told) -> list[list[str]]:
    bundle, card, canvas = told.bundle, told.card, told.bundle.preprocessing
    side = canvas.size
    return [
        ["is for", card.purpose],
        ["note", card.caution],
        ["version", f"{bundle.tag}, trained by dicomsort {bundle.training.get('dicomsort', '?')}"],
        ["used", "by default" if told.is_default else f"by --model {_given(told)}"],
        ["size", f"{size_told(told.bytes)}, {bundle.network.timm}, {side} x {side} pixels"],
        [
            "runs on",
            "OpenVINO or PyTorch" if bundle.graph else "PyTorch; `dicomsort model export` adds OpenVINO",
        ],
        *([head.name, f"{_labels(head, 8)}; review below {head.review_below:.4f}"] for head in bundle.heads),
        [f"{bundle.head.name}, sure", _above(card)],
        [
            "unlike its data",
            f"from a reject score of {bundle.reject.threshold:.4f} on" if bundle.reject else "",
        ],
        [
            "header",
            f"{counted(len(bundle.evidence.rules), 'rule')} of evidence"
            if bundle.evidence
            else "is not used",
        ],
        ["figures", "" if card.figures else "; ".join(_of_validation(bundle)) + _why_not(card)],
        ["trained on", "; ".join(f"{count}: {name}" for name, count in card.licenses.items())],
        [
            "license",
            "MIT, as dicomsort; of the pictures it was trained on see above" if told.is_shipped else "",
        ],
    ]


def _given(told: _Told) -> str:
    return told.bundle.name if told.is_shipped else str(told.folder)


def _why_not(card: "Card") -> str:
    return " (its card tells of other weights)" if card.is_other else ""


def _above(card: "Card") -> str:
    if card.coverage is None or card.precision is None:
        return ""
    return f"{card.coverage} of the test images, of which {card.precision} are right"
