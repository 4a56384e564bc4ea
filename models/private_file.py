"""JSON files that only their owner can read: secrets, and an environment that may hold some."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path


def write_private(path: Path, content: Mapping[str, str]) -> None:
    """Write it as JSON, whole or not at all, for its owner alone.

    Raises:
        OSError: it cannot be written; what was there before is.
    """
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
