"""What a web process holds, kept in `app.extensions` and found by views there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from flask import current_app

from models.settings import Settings
from models.stores import Stores
from web.identity import Identity
from web.limits import Limits
from web.wakeup import Wakeup

if TYPE_CHECKING:
    from models.tracing.tracing import Tracing

EXTENSION: Final = "scoreboard"


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of this process."""

    settings: Settings
    stores: Stores
    identity: Identity
    limits: Limits
    wakeup: Wakeup
    tracing: Tracing | None = None

    def warm_up(self) -> None:
        """Do now what the first request would have to wait for."""
        for shard in range(self.settings.shards):
            self.wakeup.wake(shard)  # opens the broker's connection; a wake-up too many costs nothing (I7)
        self.stores.warm_up()

    def close(self) -> None:
        """Close all of them."""
        self.wakeup.close()
        self.limits.close()
        self.stores.close()
        if self.tracing is not None:
            self.tracing.close()


def services() -> Services:
    """The current app's."""
    return cast(Services, current_app.extensions[EXTENSION])
