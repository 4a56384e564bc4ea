"""The passwords of Redis, its Sentinels and the broker: made at the first start, kept with the data, told to nobody."""

import secrets
from pathlib import Path
from typing import Final

from deploy.local import secret_keys
from models.private_file import write_private

NAMES: Final = ("REDIS_PASSWORD", "SERVICE_PASSWORD", "SENTINEL_PASSWORD", "BROKER_PASSWORD")


def load_or_make(path: Path) -> dict[str, str]:
    """Name → password; they need no quoting, neither in URLs nor in configuration files.

    Raises:
        StackError: when the file is there but cannot be read.
    """
    held = secret_keys.read(path) if path.exists() else {}
    missing = [name for name in NAMES if name not in held]
    if missing:
        held |= {name: secrets.token_hex(24) for name in missing}
        write_private(path, held)
    return held
