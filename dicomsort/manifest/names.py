"""What the program itself writes into an output folder, next to the class folders."""

from dicomsort.system.locks import LOCK

MANIFEST = "manifest.csv"
RUN = "run.json"
SHARDS = "manifest.parts"
"""The folder of the manifests that many nodes write."""

OWN = (MANIFEST, RUN, f"{MANIFEST}.part", f"{RUN}.part", SHARDS, LOCK)
"""All of them; no source's destination may begin with one."""
