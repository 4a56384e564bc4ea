"""Where the deployment keeps its data: beside that of `make run`, never in it."""

from collections.abc import Mapping
from pathlib import Path

from deploy.local.folders import Folders
from models.settings import default_data_dir


def folders_of(given: Mapping[str, str]) -> Folders:
    """DATA_DIR, or a folder beside the one that `make run` uses."""
    usual = default_data_dir(given)
    return Folders(Path(given.get("DATA_DIR") or usual.with_name(f"{usual.name}-production")).expanduser().absolute())
