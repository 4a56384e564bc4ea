"""What the alerts' receiver was told: which alert fired when."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Heard:
    """One notification; `at` is when the receiver got it (Unix seconds)."""

    at: float
    name: str
    status: str
    part: str


class Alerts:
    """Reads the receiver's file, a JSON object a line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def since(self, at: float) -> list[Heard]:
        """All that was heard from then on, in order."""
        if not self._path.exists():
            return []
        lines = (json.loads(line) for line in self._path.read_text("utf-8").splitlines())
        heard = (
            Heard(datetime.fromisoformat(line["told_at"]).timestamp(), line["name"], line["status"], line["part"])
            for line in lines
        )
        return [each for each in heard if each.at >= at]

    def fired(self, name: str, part: str, at: float) -> Heard | None:
        """The first time from then on that an alert fired for a part; "" for any."""
        firing = (each for each in self.since(at) if each.name == name and each.status == "firing")
        return next((each for each in firing if part in ("", each.part)), None)
