"""Flower's configuration file (`--conf`): its lines look like the service's."""

from __future__ import annotations

from models.logs import configure_logging
from models.settings import Settings

configure_logging("scoreboard-flower", Settings.from_env().log_level)
