"""A sorting run as it was asked for: in this process, or on the nodes of a cluster."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from dicomsort.cli import console, progress
from dicomsort.cli.metrics import Nobody, Take, both
from dicomsort.cluster.backends import WAIT_SECONDS, Backend
from dicomsort.cluster.job import Job
from dicomsort.errors import UsageError
from dicomsort.inputs import walk
from dicomsort.inputs.named import Files, Shard
from dicomsort.model import bundle, model_set
from dicomsort.model.batching import Predictor
from dicomsort.model.bundle import Bundle
from dicomsort.model.defaults import DEFAULT_MODELS
from dicomsort.model.load import predictors_for
from dicomsort.model.model_set import Models
from dicomsort.sorting import array_shards, pipeline, studies, versions
from dicomsort.sorting.pipeline import SortSettings
from dicomsort.sorting.summary import SortSummary
from dicomsort.system import locks
from dicomsort.system.starting import warm_up, working_folder_is_gone
from dicomsort.system.telling import listed


@dataclass(frozen=True, slots=True)
class How:
    """What a run is done with. models: names or folders; none for the default. workers: None for ours.

    take: is given the tally, as what shows it is; see `metrics`.
    """

    models: Sequence[str] | None
    device: str
    precision: str
    engine: str
    workers: int | None
    quiet: bool
    verbose: bool
    take: Take = field(default_factory=Nobody)

    @property
    def names(self) -> tuple[str, ...]:
        """The models, the first being the one that decides."""
        return tuple(self.models or DEFAULT_MODELS)


def roots_of(inputs: Sequence[str] | None, from_list: str | None) -> tuple[str, ...]:
    """Return what to sort; a list without folders may name any file, and keeps its whole path."""
    if not inputs and from_list is None:
        raise UsageError("name the folders or files to sort, or a list of them (--from-list)")
    return tuple(inputs or [os.sep])


def shard_of(shard: str | None, restart: bool, cluster: Backend | None, out: str) -> Shard | None:
    """Return the shard to sort. Raises UsageError if it is none, or goes with what contradicts it."""
    if shard is None:
        return None
    if restart:
        raise UsageError("--restart does not go with --shard: the shards fill one output together")
    if cluster is not None:
        raise UsageError("--shard does not go with --backend, which divides the files itself")
    return array_shards.parse(shard, out)


def lock_wait_of(wanted: float | None, is_divided: bool) -> float:
    """Return how many seconds to wait for another run: a node longer than a dead one keeps its lock."""
    return wanted if wanted is not None else locks.PATIENT_SECONDS if is_divided else 0.0


def cluster_of(
    backend: str | None,
    address: str | None,
    tasks: int | None,
    shard_size: int | None,
    device: str,
    wait: float | None = None,
) -> Backend | None:
    """Return what runs the tasks of a distributed run; None for a run of this process alone."""
    if backend is not None:
        return Backend(backend, address, tasks, shard_size, device, WAIT_SECONDS if wait is None else wait)
    if address or tasks or shard_size or wait is not None:
        raise UsageError(
            "--address, --tasks, --shard-size and --wait-for-nodes go with --backend dask, ray or loky"
        )
    return None


def run(settings: SortSettings, how: How, cluster: Backend | None) -> tuple[str, SortSummary]:
    """Run it; returns the `model` column and the summary. Raises as `pipeline.sort` does, and ModelError."""
    files = pipeline.archive_of(settings)
    if cluster is not None and working_folder_is_gone():
        raise UsageError("--backend: the current folder has been removed, change to another one")
    progress.loading.doing(f"loading {listed(how.names)}")
    bundles = _bundles(how.names)
    tag = "+".join(each.tag for each in bundles)
    whole = studies.rule_of(bundles, settings.studies) is not None
    if whole and cluster is not None:
        raise UsageError("a model of whole studies does not go with --backend: use --shard on each node")
    if whole and not how.quiet:
        console.info(f"{bundles[0].tag} was trained on whole studies: each gets one answer")
    if cluster is None:
        return tag, _here(settings, bundles, how, files)
    from dicomsort.cluster import driver  # noqa: PLC0415

    job = _job(settings, cluster, how)
    with progress.sorting(how.quiet) as watch:
        return tag, driver.sort(job, cluster, both(watch, how.take), console.info, files)


def _here(settings: SortSettings, bundles: Sequence[Bundle], how: How, files: Files) -> SortSummary:
    with ExitStack() as stack, progress.sorting(how.quiet) as watch:

        def load() -> Sequence[Predictor]:
            watch.doing(f"loading {listed(how.names)}")
            warm_up()
            loaded = stack.enter_context(_predictors(settings, bundles, how))
            watch.doing("reading the first files")
            return loaded

        named = {"engine": how.engine, "precision": how.precision}
        asked_for = {name: value for name, value in named.items() if value != "auto"}
        return pipeline.sort_by(
            settings, Models(bundles, load, settings.evidence, asked_for), both(watch, how.take), files
        )


@contextmanager
def ready(settings: SortSettings, how: How) -> Iterator[tuple[str, Sequence[Predictor]]]:
    """Yield the `model` column and the models, ready to be asked. Raises ModelError or UsageError."""
    bundles = _bundles(how.names)
    with _predictors(settings, bundles, how) as predictors:
        yield "+".join(each.tag for each in bundles), predictors


@contextmanager
def _predictors(settings: SortSettings, bundles: Sequence[Bundle], how: How) -> Iterator[Sequence[Predictor]]:
    with predictors_for(bundles, how.device, how.precision, how.engine) as predictors:
        if how.verbose:
            size = settings.batch_size or min(each.batch_size for each in predictors)
            tag, first = "+".join(each.tag for each in bundles), predictors[0]
            console.info(
                f"model {tag} on {first.name} by {first.engine} in {first.precision}, "
                f"batches of {size}, {settings.pool.workers} workers"
            )
        yield predictors


def _job(settings: SortSettings, cluster: Backend, how: How) -> Job:
    """Return what all nodes are to do, in names that mean the same on each."""
    roots = tuple(map(walk.whole, settings.roots))
    own = replace(settings, roots=roots, out=os.path.abspath(settings.out), restart=False)
    names = tuple(str(Path(name).resolve()) if Path(name).is_dir() else name for name in how.names)
    workers = how.workers
    if workers is None and cluster.backend == "loky":
        workers = max(1, settings.pool.workers // (cluster.tasks or 1))
    return Job(own, names, how.device, how.precision, how.engine, versions.installed(), workers)


def _bundles(names: Sequence[str]) -> list[Bundle]:
    """Load the models of a run. Raises ModelError, or UsageError if two of them have one name."""
    bundles = [bundle.load(bundle.locate(name)) for name in names]
    model_set.columns_of(bundles)
    return bundles
