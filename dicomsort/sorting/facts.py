"""What a run is, as run.json holds it."""

import os
from typing import TYPE_CHECKING, Any

from dicomsort.inputs import walk
from dicomsort.manifest.run_file import RunFacts, RunFile
from dicomsort.model.anatomy import as_json
from dicomsort.model.model_set import Models, ModelSet
from dicomsort.sorting import roots
from dicomsort.sorting.versions import installed
from dicomsort.system.escaping import escape

if TYPE_CHECKING:
    from dicomsort.sorting.pipeline import SortSettings


def facts_of(settings: "SortSettings", models: Models, loaded: ModelSet | None = None) -> RunFacts:
    """Return what the run is; as long as the models are not loaded, with the engine only if it was named."""
    head = models.bundles[0].head
    threshold = head.review_below if settings.review_below is None else settings.review_below
    engine, device = _engine_facts(settings, loaded) if loaded else (models.asked_for, {})
    return RunFacts(
        roots=roots.as_json(roots.grown(RunFile(os.path.abspath(settings.out)), settings.roots)),
        fixed={
            "model": models.tag,
            "model_sha256": models.digest,
            "review_below": threshold,
            "layout": settings.layout,
            "keep_duplicates": settings.keep_duplicates,
            **engine,
            "evidence": models.rests_on,
            "max_pixels": settings.read.max_pixels,
            "include_secondary_capture": settings.read.secondary_capture,
            "pictures": settings.read.pictures,
            "pixel_digest": settings.read.pixel_digest,
            "archives": settings.archives,
        },
        facts={
            "action": settings.placing.action.value,
            "relative": settings.placing.relative,
            "verify": settings.placing.verify,
            "dry_run": settings.dry_run,
            "follow_links": settings.follow_links,
            "from_list": settings.from_list and escape(settings.from_list),
            "roots": sorted(escape(walk.whole(root)) for root in settings.roots),
            "anatomy": as_json(models.anatomy),
            **device,
            "workers": settings.pool.workers,
            "timeout": settings.pool.timeout,
            **_study_facts(settings, models),
            "versions": installed(),
        },
    )


def _study_facts(settings: "SortSettings", models: Models) -> dict[str, Any]:
    """Return by what studies are told apart, of models that answer whole ones."""
    if models.bundles[0].study is None:
        return {}
    return {"studies": escape(settings.studies.file) if settings.studies else "study_instance_uid"}


def _engine_facts(settings: "SortSettings", loaded: ModelSet) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what runs the models: what must stay the same in one output, and the rest."""
    fixed = {"engine": loaded.first.engine, "precision": loaded.first.precision}
    return fixed, {
        "device": loaded.first.name,
        "batch_size": settings.batch_size or loaded.batch_size,
    }
