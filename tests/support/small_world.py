"""Disks that are full or read-only, which a test makes for itself."""

import shutil
import subprocess

import pytest


def in_a_small_world(script: str) -> "subprocess.CompletedProcess[str]":
    """Run a shell script as root of its own namespace, where it can mount; skip where that is not allowed."""
    words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", script]
    if shutil.which("unshare") is None or subprocess.run([*words[:-1], "true"], check=False).returncode:
        pytest.skip("no namespaces here")
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
