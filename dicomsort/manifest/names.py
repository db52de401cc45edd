"""What the program itself writes into an output folder, next to the class folders."""

from dicomsort.system.locks import LOCK

MANIFEST = "manifest.csv"
RUN = "run.json"
REPORT = "report.html"
SHARDS = "manifest.parts"
"""The folder of the manifests that many nodes write."""

OWN = (MANIFEST, RUN, REPORT, *(f"{name}.part" for name in (MANIFEST, RUN, REPORT)), SHARDS, LOCK)
"""All of them; no source's destination may begin with one."""
