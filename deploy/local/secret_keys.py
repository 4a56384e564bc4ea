"""The secrets of a stack: made once, at the first start, and kept with its data."""

import json
import secrets
from pathlib import Path
from typing import Final

from deploy.local.errors import StackError
from models.private_file import write_private

KEY_BYTES: Final = 32  # AES-256 takes exactly these; HS256 at least these


def load_or_make(path: Path) -> dict[str, str]:
    """The secrets of this stack, in the shape Settings reads (name → value).

    Raises:
        StackError: when the file is there but cannot be read.
    """
    if not path.exists():
        write_private(path, _new())
    content = read(path)
    if "FLOWER_BASIC_AUTH" not in content:
        raise _unreadable(path, "it holds no secrets")
    path.chmod(0o600)
    return content


def read(path: Path) -> dict[str, str]:
    """The secrets in a file.

    Raises:
        StackError: when it cannot be read.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        return {str(name): str(value) for name, value in content.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise _unreadable(path, str(error)) from error


def renew_token_keys(path: Path, name: str) -> None:
    """Put one fresh key in the place of all TOKEN_KEYS: no token that was given out is valid any more.

    Raises:
        StackError: when the file cannot be read.
    """
    write_private(path, {**load_or_make(path), "TOKEN_KEYS": f"{name}:{secrets.token_hex(KEY_BYTES)}"})


def _unreadable(path: Path, why: str) -> StackError:
    return StackError(
        f"{path} cannot be read ({why}): put it back from a backup; without it nobody's keys can be decrypted."
    )


def _new() -> dict[str, str]:
    return {
        "TOKEN_KEYS": f"first:{secrets.token_hex(KEY_BYTES)}",
        "ENCRYPTION_KEYS": f"first:{secrets.token_hex(KEY_BYTES)}",
        "FLOWER_BASIC_AUTH": f"scoreboard:{secrets.token_urlsafe(18)}",
    }
