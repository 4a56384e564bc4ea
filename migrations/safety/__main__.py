"""`python -m migrations.safety`: may each revision run while the version before it serves?"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from deploy.local.embedded import postgres
from migrations.safety import check
from migrations.safety.watch import Finding


def main(arguments: list[str] | None = None) -> int:
    """Print what is found; exit status 1 when there is anything."""
    parser = argparse.ArgumentParser(prog="python -m migrations.safety", description=check.__doc__)
    parser.add_argument(
        "--server",
        metavar="URL",
        help="a PostgreSQL 18 whose role may make databases: one is made and dropped (default: one of its own)",
    )
    server = parser.parse_args(arguments).server
    findings = check.check(server) if server is not None else _on_one_of_its_own()
    for finding in findings:
        sys.stdout.write(f"{finding}\n")
    sys.stdout.write(
        f"{len(findings)} findings.\n" if findings else "Every revision can run while the version before it serves.\n"
    )
    return int(bool(findings))


def _on_one_of_its_own() -> list[Finding]:
    folder = Path(tempfile.mkdtemp(prefix="sb-check-"))
    try:
        with postgres.start_postgres(folder / "pg", {"fsync": "off", "shared_buffers": "64MB"}) as url:
            return check.check(url)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
