"""What the program itself writes into an output folder, next to the class folders."""

import os

from dicomsort.system.locks import LOCK, OWNER

MANIFEST = "manifest.csv"
PARQUET = "manifest.parquet"
"""The same rows typed, where that is wanted: see `parquet`."""

RUN = "run.json"
SHARDS = "manifest.parts"
"""The folder of the manifests that many nodes write."""

PIXELS = "pixels-"
"""How the names of files begin that hold digests of pixels, next to the shards' folders."""

DECISIONS = "decisions.csv"
"""What persons decided: see `decisions`."""

SPOT_CHECK = "review.json"
REPORT = "report.html"
REGISTRY = "registry.csv"
AUDIT, STUDIES, AUDIT_PAGE = "audit.csv", "studies.csv", "audit.html"
"""What `dicomsort audit` writes: a row an image, a row a study, and a page."""

SENT = "sent.csv"
"""What `dicomsort send` has sent, and what was refused: see `transfer.journal`."""
HEALTH = "health.json"
"""How a run with --watch is: see `sorting.health`."""

PART_LOG, PARTS_LOG = "part.log", "parts.log"
"""Who worked on a part of the manifest and how it ended, in its folder; of all merged ones, in the output."""
STDERR_LOG = "stderr.log"
"""What the program that worked on a part has written to standard error, in its folder; if it is anything."""

WRITTEN_BACK = "labeled.csv"
"""What `dicomsort label` has put into an Orthanc: see `transfer.write_back`."""

OWN_FOLDER = ".dicomsort"
"""What can be made again, such as thumbnails."""

_FILES = (
    *(MANIFEST, RUN, DECISIONS, SPOT_CHECK, REPORT, REGISTRY, AUDIT, STUDIES, AUDIT_PAGE),
    *(SENT, WRITTEN_BACK, HEALTH, PARQUET, PARTS_LOG),
)
OWN = (*_FILES, *(f"{name}.part" for name in _FILES), SHARDS, LOCK, OWNER, OWN_FOLDER)
"""All of them; no source's destination may begin with one."""


def shard_folder(out: str, name: str = "") -> str:
    """Return the folder of one shard of the manifest, or of all."""
    return os.path.join(out, SHARDS, name) if name else os.path.join(out, SHARDS)


def incoming_of(out: str) -> str:
    """Return the folder for what has to be unpacked or fetched on its way into an output."""
    return os.path.join(out, OWN_FOLDER, "incoming")


def spool_of(out: str, name: str = "") -> str:
    """Return the file for images whose studies are not answered yet. name: of the shard that is done."""
    return os.path.join(out, OWN_FOLDER, "studies", f"{name or 'all'}.sqlite")


def scratch_of(out: str) -> str:
    """Return the folder for what a merge, or the end of a run, does not hold in memory."""
    return os.path.join(out, OWN_FOLDER, "merge")


def output_of(given: str) -> str:
    """Return the output folder that is meant: its manifest stands for it."""
    is_manifest = os.path.basename(given) == MANIFEST and os.path.isfile(given)
    return os.path.dirname(given) or os.curdir if is_manifest else given


def manifest_in(out: str) -> str:
    """Return the path of the manifest that is meant: an output folder stands for the one in it."""
    return os.path.join(out, MANIFEST) if os.path.isdir(out) else out
