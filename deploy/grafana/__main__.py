"""Writes the dashboards as the JSON that Grafana's provisioning reads: `python -m deploy.grafana`."""

from __future__ import annotations

import sys
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana.boards import capacity, overview, pipeline, security, sockets, stores
from deploy.grafana.queries import DASHBOARDS

BOARDS: Final = {
    "overview": overview,
    "pipeline": pipeline,
    "sockets": sockets,
    "stores": stores,
    "security": security,
    "capacity": capacity,
}


def texts() -> dict[str, str]:
    """File name → what it holds."""
    encoder = JSONEncoder(sort_keys=True, indent=1)
    return {f"{name}.json": encoder.encode(module.dashboard()) + "\n" for name, module in BOARDS.items()}


def main() -> int:
    """Write them all; gives the exit code."""
    for name, text in texts().items():
        (DASHBOARDS / name).write_text(text, "utf-8")
        sys.stdout.write(f"{DASHBOARDS / name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
