"""One training, from the data to the bundle: what is read, how it is split, and what is written."""

import shlex
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from dicomsort.data import caveats, corrections, studies, targets
from dicomsort.data.cache import Cache
from dicomsort.data.dataset import TEST, Columns, Data, Sample, Unread, meant
from dicomsort.data.division import Division
from dicomsort.data.rare import RENAMED
from dicomsort.data.splits import ByColumn, Split
from dicomsort.data.table import NONE, evidence_in
from dicomsort.errors import ModelError, UsageError
from dicomsort.evaluation import guarantee
from dicomsort.imaging.canvas import canvas_of
from dicomsort.imaging.contact_sheet import Tile, save, sheet_of
from dicomsort.model.bundle import Bundle
from dicomsort.model.export import with_graph
from dicomsort.model.heads import Head
from dicomsort.system.pool_settings import pool_settings
from dicomsort.system.reporting import Reporter, Silent
from dicomsort.system.telling import counted
from dicomsort.training import cross_validation as validation
from dicomsort.training import finish, label_tree, run_folder
from dicomsort.training import label_audit as auditing
from dicomsort.training import train as training
from dicomsort.training.cross_validation import Summary
from dicomsort.training.distributed import ProcessGroup
from dicomsort.training.dividing import Divided, SplitOptions, divide, fold
from dicomsort.training.loader import ROTATION
from dicomsort.training.log import TrainingLog
from dicomsort.training.recipe import Recipe
from dicomsort.training.trainer import Epoch, RunContext

_MOST_SHOWN = 60  # doubtful labels on the contact sheet


class TrainingReporter(Reporter, Protocol):
    """Receives the progress of a training."""

    def unread(self, found: Sequence[Unread]) -> None:
        """Receive the samples whose files could not be read."""

    def division(self, found: Division) -> None:
        """Receive how many images each part has."""

    def epoch(self, epoch: Epoch) -> None:
        """Receive the figures of an epoch that has ended."""

    def fold_epoch(self, fold: str, epoch: Epoch) -> None:
        """Receive the figures of an epoch of one fold."""

    def folds(self, summary: Summary) -> None:
        """Receive the figures of a cross-validation."""


class SilentTraining(Silent):
    """A reporter of a training that is silent."""

    def unread(self, found: Sequence[Unread]) -> None:
        """Ignore it."""

    def division(self, found: Division) -> None:
        """Ignore it."""

    def epoch(self, epoch: Epoch) -> None:
        """Ignore it."""

    def fold_epoch(self, fold: str, epoch: Epoch) -> None:
        """Ignore it."""

    def folds(self, summary: Summary) -> None:
        """Ignore it."""


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """One call of `train`: where the data are, where all goes, and how.

    graph: whether the bundle gets its graph, for processors without PyTorch.
    """

    data: Path
    out: Path
    cache_folder: Path
    recipe: Recipe
    ranks: ProcessGroup
    targets: tuple[str, ...]
    division: SplitOptions
    workers: int | None
    resume: bool
    corrections: Path | None = None
    patient: str | None = None
    reporter: TrainingReporter = field(default_factory=SilentTraining)
    graph: bool = True

    def train(self) -> tuple[dict[str, Any], int]:
        """Train one model; return the facts of the model, and how many files could not be read."""
        cache, samples, unread, heads = self._read()
        divided, unread = self._divided(cache, samples, unread, heads)
        samples, heads, split = list(divided.samples), divided.heads, divided.split
        before = finish.finished_bundle(self.out, self.recipe, samples, heads, split) if self.resume else None
        if before is not None:
            self.reporter.warn(f"'{self.out}' holds the finished model already ({before.tag})")
            return self._told(before, divided), len(unread)
        if self.ranks.is_main and run_folder.holds_another_model(self.out):
            raise UsageError(f"--resume: '{self.out}' holds a finished model of other data or settings")
        prepared = training.prepare(samples, heads, split, cache, unread, self.recipe)
        known = label_tree.with_tree(prepared.heads, self.recipe.tree, prepared.train.truth)
        prepared = replace(prepared, heads=known)
        images, batch = len(prepared.train), self.recipe.batch_size
        total = self.recipe.epochs * (images // batch * batch if images > batch else images)
        with self._counting(total) as count, self._log(self.out) as log:
            place = self._place(count)
            bundle = training.train(self.out.resolve().name, prepared, self.recipe, place, log)
        if divided.renamed:
            bundle = replace(bundle, training={**bundle.training, RENAMED: divided.renamed})
        if self.ranks.is_main:
            self.reporter.info(f"trained; writing the model{' and its graph' * self.graph}")
            finish.save(self._exported(bundle), self.out)
            run_folder.write_card(self.out, bundle)
            targets = "".join(f" --target {shlex.quote(target)}" for target in self.targets)
            right = "" if self.corrections is None else f" --corrections {shlex.quote(str(self.corrections))}"
            who = "" if self.patient is None else f" --patient {shlex.quote(self.patient)}"
            data, model = (shlex.quote(str(path)) for path in (self.data, self.out))
            measure = f"dicomsort eval {data}{targets}{who}{right} --model {model}"
            for line in (*label_tree.lines_of(bundle.heads), *guarantee.lines_of(bundle.metrics)):
                self.reporter.info(line)
            self.reporter.info(f"wrote {self.out} ({bundle.tag}); measure it: {measure}")
        return self._told(bundle, divided), len(unread)

    def _exported(self, bundle: Bundle) -> Bundle:
        """Return a bundle with its graph, if it is to have one and can."""
        try:
            return with_graph(bundle) if self.graph else bundle
        except ModelError as error:
            self.reporter.warn(f"warning: {error}")
            return bundle

    def _divided(
        self,
        cache: Cache,
        samples: list[Sample],
        unread: list[Unread],
        heads: tuple[Head, ...],
    ) -> tuple[Divided, list[Unread]]:
        """Split, and read what is to be trained on; a split made here is redone if files are unreadable."""
        divided: Divided = self.ranks.on_main(lambda: self._split(samples, heads))
        unread = self._fill(cache, divided.samples, divided.split, unread)
        if unread and divided.made and divided.lacks_class(unread):
            bad = {sample.sha256 for sample, _ in unread}
            samples = [sample for sample in samples if sample.sha256 not in bad]
            try:
                divided = self.ranks.on_main(lambda: self._split(samples, heads))
            except UsageError:
                if self.ranks.is_main:
                    self.reporter.unread(unread)  # else nobody knows why a class is rare
                raise
            unread = self._fill(cache, divided.samples, divided.split, unread)
        self._tell_read(cache, divided.samples, divided.split, unread)
        self._tell_split(divided)
        return divided, unread

    def _split(self, samples: list[Sample], heads: tuple[Head, ...]) -> Divided:
        return divide(samples, heads, self.division, self.recipe.seed)

    def _tell_split(self, divided: Divided) -> None:
        """Report what each part has got, and what of it a person would not expect."""
        if self.ranks.is_main:
            self.reporter.division(divided.division)
            for line in divided.division.lines():
                self.reporter.info(line)
            for line in divided.warnings():
                self.reporter.warn(line)

    def _tell_read(self, cache: Cache, samples: Sequence[Sample], split: Split, unread: list[Unread]) -> None:
        """Report what was odd about files that were read, and which could not be."""
        if not self.ranks.is_main:
            return
        read = (sample for sample in samples if split.get(sample.sha256) != TEST)
        for line in caveats.lines_of(cache.remarks(read)):
            self.reporter.warn(line)
        if unread:
            self.reporter.unread(unread)
            run_folder.write_unread(unread, self.out)

    def _told(self, bundle: Bundle, divided: Divided) -> dict[str, Any]:
        told = {"bundle": str(self.out), "model": bundle.tag, "split": divided.division.as_dict()}
        return {**told, **bundle.training, **bundle.metrics}

    def cross_validate(self, audit: Path | None) -> tuple[dict[str, Any], int]:
        """Train a model for each fold, measure what they say of their folds, and list doubtful labels.

        Returns the summary, and how many files could not be read.
        """
        if self.recipe.tree:
            raise UsageError("--tree is for one model, --folds compares many: leave one of them away")
        cache, samples, unread, heads = self._read()
        folded = self.ranks.on_main(lambda: fold(samples, heads, self.division, self.recipe.seed))
        samples, heads, folds = list(folded.samples), folded.heads, folded.folds
        for line in folded.told if self.ranks.is_main else ():
            self.reporter.warn(line)
        unread = self._fill(cache, samples, {}, unread)
        self._tell_read(cache, samples, {}, unread)
        with self._counting(None) as count:
            work = validation.Work(cache, tuple(unread), self._place(count), self.reporter.fold_epoch)
            rounds = list(validation.cross_validate(samples, heads, folds, self.recipe, work))
        summary = validation.summarize(rounds, 1000, self.recipe.seed)
        told = {"out": str(self.out), **summary.as_dict()}
        if self.ranks.is_main:
            validation.write(rounds, summary, self.out)
            self.reporter.folds(summary)
            if audit is not None:
                told["doubtful_labels"] = self._audit(rounds, cache, audit)
        return told, len(unread)

    def _audit(self, rounds: Any, cache: Cache, path: Path) -> int:
        found = auditing.doubts(rounds)
        auditing.write(found, path)
        shown = found[:_MOST_SHOWN]
        tiles = [Tile(cache.pixels(doubt.sample.sha256), auditing.caption(doubt)) for doubt in shown]
        sheet = path.with_suffix(".png")
        if tiles:
            save(sheet_of(tiles, columns=10), sheet)
        self.reporter.info(
            f"{counted(len(found), 'label is', 'labels are')} in doubt: {path}"
            + (f", {sheet}" if tiles else "")
        )
        return len(found)

    def _read(self) -> tuple[Cache, list[Sample], list[Unread], tuple[Head, ...]]:
        preprocessing = canvas_of(self.recipe.size, self.recipe.smooth)
        training.check(self.recipe, self.ranks.device)
        cache = self.ranks.on_main(lambda: Cache(self.cache_folder, preprocessing))
        columns = meant(self.data, self._columns())
        found, count = self.ranks.on_main(
            lambda: corrections.load(
                self.data, columns, self.corrections, cache.hash_of, pool_settings(self.workers)
            )
        )
        if self.corrections is not None:
            self.reporter.info(f"{counted(count, 'label is', 'labels are')} corrected by {self.corrections}")
        samples = list(found.samples)
        heads = targets.heads_of(samples, self.targets)
        if self.recipe.turned:
            samples = [replace(one, targets=(*one.targets, ROTATION.labels[0])) for one in samples]
            heads = (*heads, ROTATION)
        self._tell_of(found)
        if twice := targets.contradictions(samples):
            self.reporter.warn(
                f"warning: {counted(twice, 'image occurs', 'images occur')} more than once and with "
                "different labels; see stats"
            )
        return cache, samples, list(found.unread), heads

    def _tell_of(self, found: Data) -> None:
        """Report how the table was read, and whether a split made here cannot keep patients together."""
        for line in found.remarks:
            self.reporter.warn(line)
        given = self.division.split is not None or any(sample.part for sample in found.samples)
        if not found.has_patients and not given and self.patient != NONE:
            self.reporter.warn(caveats.DIVIDED)

    def _columns(self) -> Columns:
        division = self.division
        facts = [rule.partition("=")[0] for rule in division.hold_out]
        folding = division.folding() if division.folds else None
        if isinstance(folding, ByColumn):
            facts.append(folding.column)
            if folding.column == self.patient:
                raise UsageError(
                    f"--folds {self.division.folds} would name people; a number keeps them together"
                )
        recipe = self.recipe
        if twice := set(self.targets) & set(recipe.auxiliary):
            raise UsageError(f"--auxiliary {min(twice)} is a target already")
        if recipe.turned and ROTATION.name in {name.casefold() for name in self.targets}:
            raise UsageError(
                f"--turned makes a head '{ROTATION.name}' of its own: leave that target out, or rename it"
            )
        return Columns(
            self.targets,
            recipe.balance_by,
            division.column,
            studies.rule_for(self.data, recipe.concat_by, recipe.view_column, self.targets),
            tuple(facts),
            recipe.auxiliary,
            self.patient,
            evidence_in(self.data, (*self.targets, *recipe.auxiliary)),
        )

    def _fill(
        self, cache: Cache, samples: Sequence[Sample], split: Split, unread: list[Unread]
    ) -> list[Unread]:
        """Read what is not in the cache yet, but for the test part; return all that could not be read."""
        wanted = [sample for sample in samples if split.get(sample.sha256) != TEST]
        with self.reporter.counting("reading", len(wanted)) as count:
            found: list[Unread] = self.ranks.on_main(
                lambda: cache.fill(wanted, pool_settings(self.workers), count)
            )
        return unread + found

    def _place(self, count: Any) -> RunContext:
        return RunContext(self.out, self.ranks, pool_settings(self.workers), self.resume, count)

    @contextmanager
    def _counting(self, total: int | None) -> Iterator[Any]:
        """Count images while the block trains; Ctrl-C and SIGTERM end it after the current step."""
        with (
            _stopping() as stop,
            self.reporter.counting("training", total) as count,
        ):

            def step(images: int) -> None:
                if stop.is_set():
                    raise KeyboardInterrupt
                count(images)

            yield step

    def _log(self, folder: Path) -> TrainingLog:
        return TrainingLog(folder, self.reporter.epoch)


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
