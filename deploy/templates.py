"""Configuration with places to fill in: `python -m deploy.templates FILE` prints it with the environment's values.

A place is `${UPPER_CASE}`; nginx's `$host`, HAProxy's `%[src]` and shell's `$1` stay as they are.
"""

import argparse
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parent
_PLACE: Final = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")


class PlaceUnfilled(KeyError):
    """A template has places for which there is no value."""

    def __init__(self, path: Path, names: list[str]) -> None:
        super().__init__(f"{path} needs {', '.join(names)}")


def places(path: Path) -> set[str]:
    """The names of a template's places."""
    return set(_PLACE.findall(path.read_text("utf-8")))


def fill(path: Path, values: Mapping[str, object]) -> str:
    """A template's text with every place filled in.

    Raises:
        PlaceUnfilled: naming all places without a value.
    """
    missing = sorted(places(path) - set(values))
    if missing:
        raise PlaceUnfilled(path, missing)
    return _PLACE.sub(lambda place: str(values[place.group(1)]), path.read_text("utf-8"))


def main() -> int:
    """Print a template; gives the exit code."""
    parser = argparse.ArgumentParser("python -m deploy.templates", description=__doc__)
    parser.add_argument("file", type=Path, help="a file of deploy/ that ends in .template")
    try:
        sys.stdout.write(fill(parser.parse_args().file, os.environ))
    except (OSError, PlaceUnfilled) as error:
        sys.stderr.write(f"{error.args[0] if isinstance(error, PlaceUnfilled) else error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
