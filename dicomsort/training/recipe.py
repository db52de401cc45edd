"""How to train: every setting that changes a model, and the settings of the field's papers."""

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dicomsort.errors import ModelError, UsageError, did_you_mean
from dicomsort.model.bundle import WEIGHTS, Bundle, load, locate
from dicomsort.model.shipped import shipped_names
from dicomsort.model.spec import NetworkSpec

OPTIMIZERS = ("adam", "adamw")
SCHEDULES = ("onecycle", "sgdr", "constant")
NORMALISING = ("network", "data", "unit")
NO_WEIGHTS, HUB = "none", "hub"

_OPTIONAL = ("hidden", "dropout")
_SHARES = ("label_smoothing", "ema", "turned", "dropout")
_WHOLE_SHARES = ("balance", "adjust", "interpolate", "teaching")
"""Settings from 0 to 1; only the latter may be 1."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train.

    size: side of the canvas in pixels. smooth: filter of the canvas. normalise: `network` as the network
    expects, `data` by mean and deviation of the training images, `unit` to 0..1. pretrained: a safetensors
    file, `hub` for timm's own weights, None for a random start. freeze: how many of the first stages keep the
    weights they start from.

    schedule: `onecycle` (Smith 2018), `sgdr`, cosine with warm restarts (Loshchilov and Hutter 2017) in
    three cycles, each twice as long as the one before, or `constant`; learning_rate is the highest. clip:
    greatest size of each number of a step's gradient, 0 for no limit. ema: decay of the averaged weights, 0
    for none.

    balance: 0 samples images as they come, 1 samples every class equally often, and within a class every
    source; in between, a class or source of n images is seen in proportion to n ** (1 - balance).
    balance_by: the column of the sources. adjust: take the shares of the classes out of the
    outputs, wholly (1), in part, or not (0). augment:
    see `augment.Augmentation.parse`. patience: training stops with the best weights after so many epochs
    without a better validation macro F1; 0 trains to the end and takes the last weights. precision: auto,
    float32, bfloat16 or float16. concat_by: the column of studies whose images become one;
    view_column: that which tells their views, see `data.studies.rule_for`.
    auxiliary: columns to learn from, with a fifth of the weight, that the model does not predict (Caruana
    1997, Multitask Learning). further: the weight of the loss of every target but the first.

    tree: pairs of a label and the parent that is answered where it is rare. probe: the last layer is first
    fitted to what the network it starts from knows (linear probing, then fine tuning: Kumar et al. 2022).
    interpolate: the weight of what was trained in the mean with what it started
    from (WiSE-FT, Wortsman et al. 2022, Robust fine-tuning); 1 takes it as it is. turned: the share of images
    that are turned by 90, 180 or 270 degrees; the model learns to tell by how much, in a head `rotation`.
    teacher: a CSV of another model's scores of the training images, which the first target learns in part
    instead of the labels (distillation, Hinton et al. 2015); teaching: in which part. hidden: units of the
    layers, each with ReLU, that lie between the network's features and the scores. dropout: the share of what
    those layers and that of the scores are given that training leaves out, anew in every step.
    """

    arch: str = "mobilenet_v1"
    size: int = 224
    smooth: str = "none"
    normalise: str = "network"
    pretrained: str | None = None
    freeze: int = 0
    epochs: int = 20
    batch_size: int = 32
    optimizer: str = "adamw"
    schedule: str = "onecycle"
    learning_rate: float = 1e-4
    weight_decay: float = 0.02
    clip: float = 0.0
    label_smoothing: float = 0.05
    ema: float = 0.998
    balance: float = 0.5
    balance_by: str | None = None
    adjust: float = 1.0
    augment: str = "standard"
    patience: int = 0
    seed: int = 0
    precision: str = "auto"
    concat_by: str | None = None
    view_column: str | None = None
    auxiliary: tuple[str, ...] = ()
    further: float = 1.0
    probe: bool = False
    interpolate: float = 1.0
    turned: float = 0.0
    teacher: str | None = None
    teaching: float = 0.5
    tree: tuple[tuple[str, str], ...] = ()
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("normalise", NORMALISING)):
            if getattr(self, name) not in known:
                raise UsageError(f"--{name} '{getattr(self, name)}' is unknown: use {', '.join(known)}")
        if self.freeze and self.pretrained is None:
            raise UsageError("--freeze keeps weights that are there already: give --pretrained, too")
        if (self.probe or self.interpolate < 1) and self.pretrained is None:
            raise UsageError("--probe and --interpolate want weights to start from: give --pretrained, too")
        for name in (*_SHARES, *_WHOLE_SHARES):
            if not 0 <= getattr(self, name) <= 1 or (name in _SHARES and getattr(self, name) == 1):
                raise UsageError(f"--{name.replace('_', '-')} must lie between 0 and 1")
        try:
            NetworkSpec(self.arch, hidden=self.hidden)
        except ValueError as error:
            raise UsageError(f"--hidden: {error}") from error

    def as_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON values; of a path of this machine only the name.

        What is not there (hidden layers, dropout) is left out, so that such records stay what they were.
        """
        paths = {name: getattr(self, name) for name in ("pretrained", "teacher")}
        names = {name: _name_of(Path(path)) if path else None for name, path in paths.items()}
        lists = {"auxiliary": list(self.auxiliary), "tree": list(map(list, self.tree))}
        values = {**asdict(self), **names, **lists, "hidden": list(self.hidden)}
        return {name: value for name, value in values.items() if value or name not in _OPTIONAL}


def _name_of(path: Path) -> str:
    """Return the name of a file, or of the bundle whose weights it holds."""
    return path.resolve().parent.name if path.name == WEIGHTS else path.name


RECIPES: dict[str, tuple[dict[str, Any], str]] = {
    "imaging-router": (
        {
            "arch": "mobilenet_v1", "size": 512, "epochs": 100, "batch_size": 32, "optimizer": "adam",
            "schedule": "sgdr", "learning_rate": 1e-4, "weight_decay": 1e-4, "label_smoothing": 0.0,
            "ema": 0.0, "balance": 0.0, "adjust": 0.0, "normalise": "unit",
            "augment": "none,flip=0.5,rotation=10", "clip": 0.1, "patience": 100,
        },
        "VinDr's DICOM Imaging Router (Pham et al. 2021): MobileNet-V1, 512 pixels, 100 epochs, Adam with "
        "warm restarts, flips and rotations; --arch takes the other networks of the paper; here the aspect "
        "ratio is kept, and no patient is on two sides",
    ),
    "unifesp": (
        {
            "arch": "xception", "size": 224, "epochs": 50, "optimizer": "adam", "schedule": "constant",
            "learning_rate": 1e-4, "weight_decay": 0.0, "label_smoothing": 0.0, "ema": 0.0, "balance": 0.0,
            "adjust": 0.0, "normalise": "unit", "patience": 10,
            "augment": "none,flip=0.5,rotation=15,shift=0.1,zoom=0.1,brightness=0.2",
        },
        "UNIFESP body parts: Xception, 224 pixels, grays from 0 to 1, several labels; --smooth gaussian or "
        "median filters, --folds for its k-fold",
    ),
    "registry": (
        {
            "arch": "resnet101", "size": 224, "epochs": 30, "optimizer": "adamw", "schedule": "onecycle",
            "learning_rate": 1e-4, "weight_decay": 0.01, "label_smoothing": 0.0, "ema": 0.0, "balance": 0.0,
            "adjust": 0.0, "normalise": "data", "patience": 8,
            "augment": "none,flip=0.5,rotation=15,brightness=0.2,contrast=0.2",
        },
        "X-ray registry: ResNet-101 (its others: --arch efficientnet_b0, vit_base) from ImageNet weights "
        "(give --pretrained), tuned on the data's own mean and deviation",
    ),
}  # fmt: skip
"""Settings by paper, and their description; docs/reference/recipes.md tells what each rests on."""


def make_recipe(name: str | None, given: dict[str, Any]) -> Recipe:
    """Make a recipe of a paper's settings and of what was given in addition; None counts as not given.

    pretrained: see `weights_of`. Of a model, its network and its size are taken where neither the paper nor
    `given` chooses. Raises UsageError for an unknown name or value, and for the weights of another network.
    """
    if name is not None and name not in RECIPES:
        raise UsageError(f"--recipe '{name}' is unknown: use {', '.join(RECIPES)}")
    settings = dict(RECIPES[name][0]) if name is not None else {}
    settings |= {key: value for key, value in given.items() if value is not None}
    start = settings.get("pretrained") or NO_WEIGHTS
    settings["pretrained"] = weights_of(start)
    model = _model_of(settings["pretrained"])
    if model is not None:
        settings = {"arch": _alias_of(model), "size": model.preprocessing.size, **settings}
        _check_network(model, start, settings["arch"])
    return Recipe(**settings)


def _model_of(weights: str | None) -> Bundle | None:
    """Return the model whose weights these are; None for other files and for a damaged model."""
    if weights is None or Path(weights).name != WEIGHTS:
        return None
    with suppress(ModelError):
        return load(Path(weights).parent, with_graph=False)
    return None


def _alias_of(model: Bundle) -> str:
    """Return what `--arch` calls a model's network."""
    from dicomsort.model.networks import ALIASES  # noqa: PLC0415 (PyTorch is loaded by then, or will be)

    options = {name: value for name, value in model.network.options.items() if name != "img_size"}
    spec = (model.network.timm, options)
    return next((name for name, one in ALIASES.items() if (one.timm, one.options) == spec), spec[0])


def _check_network(model: Bundle, start: str, arch: str) -> None:
    from dicomsort.model.networks import ALIASES  # noqa: PLC0415

    timm = ALIASES[arch].timm if arch in ALIASES else arch
    if timm != model.network.timm:
        name = _alias_of(model)
        raise UsageError(f"--pretrained '{start}' has the network {name}, not {arch}: give --arch {name}")


def weights_of(start: str) -> str | None:
    """Return the file of the weights to start from; `hub` as it is, and None for `none`.

    start: a safetensors file, a bundle's folder or a shipped model's name. Raises UsageError if it is none.
    """
    if start in (NO_WEIGHTS, HUB):
        return None if start == NO_WEIGHTS else start
    if Path(start).is_file():
        return start
    try:
        return str(locate(start) / WEIGHTS)
    except ModelError as error:
        if Path(start).is_dir():
            raise UsageError(f"--pretrained: there is no model in folder '{start}'") from error
        guess = did_you_mean(start, sorted(shipped_names()))
        raise UsageError(
            f"--pretrained: there is no file '{start}', and no shipped model of that name{guess}"
        ) from error
