"""How a training went, as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure


def draw(epochs: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw loss, macro F1 and recall, and the learning rate over the epochs as PNG. Raises OSError."""
    figure = Figure(figsize=(9, 3), layout="constrained")
    panels = figure.subplots(1, 3)
    numbers = [epoch["number"] for epoch in epochs]
    for axes, title, names in zip(
        panels,
        ("training loss", "validation", "learning rate"),
        (("loss",), ("f1_macro", "recall_macro"), ("learning_rate",)),
        strict=True,
    ):
        for name in names:
            axes.plot(numbers, [epoch[name] for epoch in epochs], marker="o", markersize=3, label=name)
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    panels[1].legend()
    panels[2].ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    figure.savefig(path, dpi=110, format="png")
