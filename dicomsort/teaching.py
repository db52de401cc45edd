"""The command `train`: its options, the data and the split it takes, and what it leaves behind."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicomsort import tell, terminal
from dicomsort.errors import ExitCode, UsageError
from dicomsort.options import (
    Data,
    Device,
    Json,
    Quiet,
    Seed,
    Targets,
    Workers,
    canvas_of,
    endings,
    pool,
)

if TYPE_CHECKING:
    from dicomsort.bundle import Bundle
    from dicomsort.cache import Cache
    from dicomsort.dataset import Columns, Sample, Unread
    from dicomsort.labels import Head
    from dicomsort.ranks import Ranks
    from dicomsort.recipe import Recipe
    from dicomsort.splits import Fold, Split

_MOST_SHOWN = 60  # doubtful labels on the contact sheet


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(train)


@dataclass(frozen=True, slots=True)
class Division:
    """How the data are to be divided; at most one of these is given."""

    split: Path | None
    column: str | None
    hold_out: tuple[str, ...]
    folds: str | None

    def check(self) -> None:
        """Raise UsageError where two of them are given."""
        if sum(bool(way) for way in (self.split, self.column, self.hold_out)) > 1:
            raise UsageError("--split, --split-column and --hold-out exclude each other; give one")
        if self.folds and (self.split or self.column or self.hold_out):
            raise UsageError(
                "--folds makes splits of its own: leave --split, --split-column and --hold-out away"
            )
        if any("=" not in rule for rule in self.hold_out):
            raise UsageError("--hold-out: write COLUMN=VALUE, such as --hold-out dataset=kermany")


def train(
    data: Data = Path("data"),
    target: Targets = None,
    out: Annotated[Path, typer.Option(help="Folder of the new bundle; its name is the model's.")] = Path(
        "runs/model"
    ),
    recipe: Annotated[
        str | None, typer.Option(help="A paper's settings: imaging-router, unifesp or registry.")
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option(
            help="Network: mobilenet_v1, resnet18, ... or a timm name.", show_default="mobilenet_v1"
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(min=32, max=1024, help="Side of the square canvas in pixels.", show_default="224"),
    ] = None,
    smooth: Annotated[
        str | None, typer.Option(help="Filter of the canvas: none, gaussian, median.", show_default="none")
    ] = None,
    normalise: Annotated[
        str | None,
        typer.Option(
            help="Greys as the network, the data or 0..1 want: network, data, unit.", show_default="network"
        ),
    ] = None,
    pretrained: Annotated[
        str | None,
        typer.Option(
            help="Weights to start from: a safetensors file, hub (fetched) or none.", show_default="none"
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, max=10**6, help="Passes over the training part.", show_default="20")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=2, max=65536, help="Images a step.", show_default="32")
    ] = None,
    optimizer: Annotated[str | None, typer.Option(help="adam or adamw.", show_default="adamw")] = None,
    schedule: Annotated[
        str | None,
        typer.Option(help="Of the learning rate: onecycle, sgdr or constant.", show_default="onecycle"),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=1e-7, max=1.0, help="The highest.", show_default="1e-4")
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(min=0.0, max=10.0, show_default="0.02")] = None,
    label_smoothing: Annotated[float | None, typer.Option(min=0.0, max=0.9, show_default="0.05")] = None,
    ema: Annotated[
        float | None,
        typer.Option(min=0.0, max=0.99999, help="Decay of averaged weights, 0: none.", show_default="0.998"),
    ] = None,
    balance: Annotated[str | None, typer.Option(help="The CSV column of sources to be seen alike.")] = None,
    balance_power: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="0: draw images as they come, 1: all classes alike.", show_default="0.5"
        ),
    ] = None,
    adjust: Annotated[
        bool | None,
        typer.Option(
            "--adjust/--no-adjust", help="Take the classes' shares out of the answers.", show_default="adjust"
        ),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            help="none, light, standard, strong, and name=value behind it.", show_default="standard"
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            min=0, help="Stop after so many epochs without a better macro F1.", show_default="0: never"
        ),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto, float32, bfloat16 or float16.", show_default="auto")
    ] = None,
    split: Annotated[
        Path | None, typer.Option(help="A split to use instead of a new one: CSV sha256,part.")
    ] = None,
    split_column: Annotated[
        str | None, typer.Option(help="The CSV column that says train, validation or test.")
    ] = None,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(
            help="COLUMN=VALUE: these files are the test part; may be given again.", metavar="COLUMN=VALUE"
        ),
    ] = None,
    folds: Annotated[
        str | None,
        typer.Option(help="Cross-validate: a number of folds, or a CSV column whose values they are."),
    ] = None,
    audit: Annotated[
        Path | None, typer.Option(help="With --folds: list doubtful labels here (CSV, and a PNG beside it).")
    ] = None,
    concat_by: Annotated[
        str | None, typer.Option(help="The CSV column of studies whose images go side by side on one canvas.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for decoded pictures.", show_default="cache beside --out")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an interrupted training of the same settings was.")
    ] = False,
    seed: Seed = 0,
    device: Device = "auto",
    workers: Workers = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a model on labelled images and write it as a bundle."""
    with endings("interrupted; the same command with --resume goes on after the last whole epoch"):
        from dicomsort import workbench  # noqa: PLC0415

        workbench.check_audit(audit, folds, out)
        division = Division(split, split_column, tuple(hold_out or ()), folds)
        division.check()
        store = cache or out.resolve().parent / "cache"
        workbench.prepare(out, resume, store)
        from dicomsort.networks import HUB  # noqa: PLC0415
        from dicomsort.ranks import ranks  # noqa: PLC0415
        from dicomsort.recipe import RECIPES, make_recipe  # noqa: PLC0415

        settings = make_recipe(
            recipe,
            {
                "arch": arch, "size": size, "smooth": smooth, "normalise": normalise,
                "pretrained": pretrained, "epochs": epochs, "batch_size": batch_size,
                "optimizer": optimizer, "schedule": schedule, "learning_rate": learning_rate,
                "weight_decay": weight_decay, "label_smoothing": label_smoothing, "ema": ema,
                "balance": balance_power, "balance_by": balance, "adjust": adjust, "augment": augment,
                "patience": patience, "seed": seed, "precision": precision, "concat_by": concat_by,
            },
        )  # fmt: skip
        with ranks(device) as mine:
            loud = mine.leads and not quiet
            if recipe is not None and loud:
                terminal.say(f"recipe {recipe}: {RECIPES[recipe][1]}")
            if settings.pretrained == HUB and loud:
                terminal.say("fetching weights; without a network connection this gives up after a minute")
            job = _Job(
                data, out, store, settings, mine, tuple(target or ()),
                division, workers, resume, quiet,
            )  # fmt: skip
            with workbench.alone(out) if mine.leads else nullcontext():
                told, unread = job.cross_validate(audit) if folds is not None else job.train()
        if json and mine.leads:
            terminal.print_json(told)
        if unread:
            raise typer.Exit(ExitCode.SOME_FAILED)


@dataclass(frozen=True, slots=True)
class _Job:
    data: Path
    out: Path
    cache_folder: Path
    recipe: "Recipe"
    ranks: "Ranks"
    targets: tuple[str, ...]
    division: Division
    workers: int | None
    resume: bool
    quiet: bool

    def train(self) -> tuple[dict[str, Any], int]:
        """Train one model; return what became of it, and how many files could not be read."""
        from dicomsort import train as training  # noqa: PLC0415
        from dicomsort import workbench  # noqa: PLC0415

        cache, samples, unread, heads = self._read()
        samples, split, unread = self._divided(cache, samples, unread, heads)
        before = training.finished(self.out, self.recipe, samples, heads, split) if self.resume else None
        if before is not None:
            terminal.say(f"'{self.out}' holds the finished model already ({before.tag})")
            return self._told(before), len(unread)
        if self.ranks.leads and workbench.holds_another_model(self.out):
            raise UsageError(f"--resume: '{self.out}' holds a finished model of other data or settings")
        prepared = training.prepare(samples, heads, split, cache, unread)
        images, batch = len(prepared.train), self.recipe.batch_size
        total = self.recipe.epochs * (images // batch * batch if images > batch else images)
        with self._counting(total) as count, self._log(self.out) as log:
            place = self._place(count)
            bundle = training.train(self.out.resolve().name, prepared, self.recipe, place, log)
        if self.ranks.leads:
            training.finish(bundle, self.out)
            workbench.write_card(self.out, bundle.training, bundle.metrics)
            if not self.quiet:
                targets = "".join(f" --target {target}" for target in self.targets)
                measure = f"dicomsort eval {self.data}{targets} --model {self.out}"
                terminal.say(f"wrote {self.out} ({bundle.tag}); measure it: {measure}")
        return self._told(bundle), len(unread)

    def _divided(
        self,
        cache: "Cache",
        samples: list["Sample"],
        unread: list["Unread"],
        heads: tuple["Head", ...],
    ) -> tuple[list["Sample"], "Split", list["Unread"]]:
        """Split, and read what is to be trained on; a split of our own is made again of what can be read."""
        from dicomsort import train as training  # noqa: PLC0415
        from dicomsort import workbench  # noqa: PLC0415

        split: Split = self.ranks.led(lambda: self._split(samples, heads))
        unread = self._fill(cache, samples, split, unread)
        given = self.division.split is not None or any(sample.part for sample in samples)
        if unread and not given and training.missing_class(samples, heads, split, unread):
            bad = {sample.sha256 for sample, _ in unread}
            samples = [sample for sample in samples if sample.sha256 not in bad]
            split = self.ranks.led(lambda: self._split(samples, heads))
            unread = self._fill(cache, samples, split, unread)
        if unread and self.ranks.leads:
            tell.failures(unread)
            workbench.write_unread(unread, self.out)
        return samples, split, unread

    def _told(self, bundle: "Bundle") -> dict[str, Any]:
        return {"bundle": str(self.out), "model": bundle.tag, **bundle.training, **bundle.metrics}

    def cross_validate(self, audit: Path | None) -> tuple[dict[str, Any], int]:
        """Train a model for each fold, measure what they say of their folds, and list doubtful labels.

        Returns what to tell, and how many files could not be read.
        """
        from dicomsort import folds as validation  # noqa: PLC0415
        from dicomsort import workbench  # noqa: PLC0415

        cache, samples, unread, heads = self._read()
        folds: list[Fold] = self.ranks.led(lambda: self._folds(samples, heads))
        unread = self._fill(cache, samples, {}, unread)
        if unread and self.ranks.leads:
            tell.failures(unread)
            workbench.write_unread(unread, self.out)
        with self._counting(None) as count:
            watch = None if self.quiet else tell.fold_epoch
            work = validation.Work(cache, tuple(unread), self._place(count), watch)
            rounds = list(validation.cross_validate(samples, heads, folds, self.recipe, work))
        summary = validation.summarise(rounds, 1000, self.recipe.seed)
        told = {"out": str(self.out), **summary.as_dict()}
        if self.ranks.leads:
            validation.write(rounds, summary, self.out)
            if not self.quiet:
                tell.folds(summary)
            if audit is not None:
                told["doubtful_labels"] = self._audit(rounds, cache, audit)
        return told, len(unread)

    def _audit(self, rounds: Any, cache: "Cache", path: Path) -> int:
        from dicomsort import audit  # noqa: PLC0415
        from dicomsort.sheet import Tile, save, sheet_of  # noqa: PLC0415

        found = audit.doubts(rounds)
        audit.write(found, path)
        shown = found[:_MOST_SHOWN]
        tiles = [Tile(cache.pixels(doubt.sample.sha256), audit.caption(doubt)) for doubt in shown]
        sheet = path.with_suffix(".png")
        if tiles:
            save(sheet_of(tiles, columns=10), sheet)
        if not self.quiet:
            terminal.say(f"{len(found)} labels are in doubt: {path}" + (f", {sheet}" if tiles else ""))
        return len(found)

    def _read(self) -> tuple["Cache", list["Sample"], list["Unread"], tuple["Head", ...]]:
        from dicomsort import dataset, truth  # noqa: PLC0415
        from dicomsort.cache import Cache  # noqa: PLC0415
        from dicomsort.train import check  # noqa: PLC0415

        preprocessing = canvas_of(self.recipe.size, self.recipe.smooth)
        check(self.recipe, self.ranks.device)
        cache = self.ranks.led(lambda: Cache(self.cache_folder, preprocessing))
        columns = self._columns()
        found = self.ranks.led(lambda: dataset.load(self.data, columns, cache.hash_of))
        heads = truth.heads_of(found.samples, self.targets)
        if (twice := truth.contradictions(found.samples)) and self.ranks.leads:
            terminal.say(f"beware: {twice} images occur more than once and with different labels; see stats")
        return cache, list(found.samples), list(found.unread), heads

    def _columns(self) -> "Columns":
        from dicomsort.dataset import Columns, names_people  # noqa: PLC0415

        division = self.division
        facts = [rule.partition("=")[0] for rule in division.hold_out]
        if division.folds is not None and not division.folds.isdecimal():
            if names_people(division.folds):
                raise UsageError(f"--folds {division.folds} would name people; a number keeps them together")
            facts.append(division.folds)
        return Columns(
            self.targets, self.recipe.balance_by, division.column, self.recipe.concat_by, tuple(facts)
        )

    def _split(self, samples: list["Sample"], heads: tuple["Head", ...]) -> "Split":
        from dicomsort import splits  # noqa: PLC0415
        from dicomsort.dataset import TEST, load_split  # noqa: PLC0415

        division, seed = self.division, self.recipe.seed
        if division.split is not None:
            given = load_split(division.split)
            split = {sample.sha256: given.get(sample.sha256, TEST) for sample in samples}
        elif any(sample.part for sample in samples):
            split = splits.given_split(samples)
        elif division.hold_out:
            split = splits.held_out(samples, heads, division.hold_out, seed)
        else:
            split = splits.make_split(samples, heads, seed)
        if crossing := splits.across(samples, split):
            terminal.say(
                f"beware: {crossing} patients are on two sides of this split; figures will be too good"
            )
        return split

    def _folds(self, samples: list["Sample"], heads: tuple["Head", ...]) -> list["Fold"]:
        from dicomsort import splits  # noqa: PLC0415

        return splits.make_folds(samples, heads, self.division.folds or "", self.recipe.seed)

    def _fill(
        self, cache: "Cache", samples: list["Sample"], split: "Split", unread: list["Unread"]
    ) -> list["Unread"]:
        """Read what is not in the cache yet, but for the test part; return all that could not be read."""
        wanted = [sample for sample in samples if split.get(sample.sha256) != "test"]
        with terminal.counting("reading", len(wanted), self.quiet or not self.ranks.leads) as count:
            found: list[Unread] = self.ranks.led(lambda: cache.fill(wanted, pool(self.workers), count))
        return unread + found

    def _place(self, count: Any) -> Any:
        from dicomsort.trainer import Place  # noqa: PLC0415

        return Place(self.out, self.ranks, pool(self.workers), self.resume, count)

    @contextmanager
    def _counting(self, total: int | None) -> Iterator[Any]:
        """Count images while the block trains; Ctrl-C and SIGTERM end it after the step that is going on."""
        with (
            _stopping() as stop,
            terminal.counting("training", total, self.quiet or not self.ranks.leads) as count,
        ):

            def step(images: int) -> None:
                if stop.is_set():
                    raise KeyboardInterrupt
                count(images)

            yield step

    def _log(self, folder: Path) -> Any:
        from dicomsort.traininglog import TrainingLog  # noqa: PLC0415

        return TrainingLog(folder, None if self.quiet else tell.epoch)


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C or SIGTERM into an event: an exception can get lost in a callback of PyTorch."""
    stop = threading.Event()

    def note(number: int, frame: Any) -> None:
        if stop.is_set():
            signal.default_int_handler(number, frame)
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
