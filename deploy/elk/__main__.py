"""`python -m deploy.elk`: make the index template and Kibana's objects anew from `fields.yml` and `kibana.py`."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from deploy.elk import fields, kibana, mapping

FOLDER: Final = Path(__file__).resolve().parent


def made() -> Mapping[str, str]:
    """The files that are made, by name."""
    return {
        "index-template.json": json.dumps(mapping.template(fields.read()), indent=2) + "\n",
        "kibana.ndjson": "".join(json.dumps(each, sort_keys=True) + "\n" for each in kibana.objects()),
    }


def main(arguments: list[str] | None = None) -> int:
    """Write them, or see whether they are as they should be; gives the exit code."""
    parser = argparse.ArgumentParser("python -m deploy.elk", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit status 1 when a file is not up to date"
    )
    check = parser.parse_args(arguments).check
    stale = []
    for name, text in made().items():
        path = FOLDER / name
        if not path.exists() or path.read_text("utf-8") != text:
            stale.append(name)
            if not check:
                path.write_text(text, "utf-8")
    for name in stale:
        sys.stdout.write(f"{name} {'is not up to date' if check else 'written'}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
