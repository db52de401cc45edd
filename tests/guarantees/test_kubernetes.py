"""The manifests of the page on Kubernetes are valid, and what they hand to the program sorts an archive."""

import os
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from committed import ROOT
from outputs import rows
from program import command

from dicomsort.errors import ExitCode

PAGE = (ROOT / "docs/how-to/kubernetes.md").read_text(encoding="utf-8")
MANIFESTS: list[dict[str, Any]] = [
    yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
]
INDEX = "JOB_COMPLETION_INDEX"


@pytest.mark.parametrize("version", ["1.30", "1.33"])
@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: manifest["metadata"]["name"])
def test_the_manifests_are_valid(manifest: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def test_a_manifest_with_a_wrong_word_is_not_valid() -> None:
    wrong = {**MANIFESTS[0], "spec": {**MANIFESTS[0]["spec"], "completionsMode": "Indexed"}}
    with pytest.raises(kubernetes_validate.ValidationError, match="completionsMode"):
        kubernetes_validate.validate(wrong, "1.30", strict=True)


def container_of(manifest: dict[str, Any]) -> dict[str, Any]:
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    return dict(container)


def test_the_volumes_that_are_mounted_are_there() -> None:
    for manifest in MANIFESTS:
        held = {volume["name"] for volume in manifest["spec"]["template"]["spec"]["volumes"]}
        assert {mount["name"] for mount in container_of(manifest)["volumeMounts"]} == held


@pytest.mark.slow
def test_pods_with_these_arguments_sort_an_archive(inbox: Path, small_model: Path, tmp_path: Path) -> None:
    """Of three shares here; each pod is told its index as Kubernetes does, from 0."""
    job, joining = MANIFESTS
    assert job["spec"]["completions"] == 16
    out, changes = tmp_path / "out", {"/archive": str(inbox), "auto/16": "auto/3", "8": "1"}
    changes["/shared/sorted"] = str(out)
    words = [changes.get(word, word) for word in container_of(job)["args"]]
    for index in range(3):
        environment = {**os.environ, INDEX: str(index), "HOSTNAME": f"dicomsort-{index}-abcde"}
        done = command(*words, "--model", small_model, env=environment)
        assert done.code == ExitCode.DONE, done.err
    assert command(*(changes.get(word, word) for word in container_of(joining)["args"])).code == ExitCode.DONE
    assert command("classify", inbox, "--out", tmp_path / "one", "--model", small_model).code == ExitCode.DONE
    assert rows(out) == rows(tmp_path / "one")
