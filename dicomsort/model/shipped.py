"""Which models are shipped, without loading any."""

from pathlib import Path

from dicomsort.model.defaults import DEFAULT_MODELS

CONFIG = "config.json"
"""The file that makes a folder a bundle."""


def shipped_models() -> Path:
    """Return the folder of the shipped bundles: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "shipped"
    return installed if installed.is_dir() else package.parent / "models"


def shipped_names() -> list[str]:
    """Return the names of the shipped models: the default ones first, then in the order of the alphabet."""
    names = sorted(path.parent.name for path in shipped_models().glob(f"*/{CONFIG}"))
    return sorted(names, key=lambda name: name not in DEFAULT_MODELS)
