"""The feed: what may have been lost while nobody listened is looked for (I6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from models.boards import events
from models.boards.events import BoardChanged
from models.stores import Stores
from tests.fixtures.threads import background
from web.live.feed import Feed

CHANGED = BoardChanged("global", 1, 7, 0, 0, (), ())


@dataclass
class Heard:
    """Stands in for the hub: what it was told."""

    events: list[BoardChanged] = field(default_factory=list)
    gaps: int = 0

    def changed(self, event: BoardChanged) -> None:
        self.events.append(event)

    def missed(self) -> None:
        self.gaps += 1


@pytest.fixture
def heard(stores: Stores) -> Iterator[Heard]:
    hub = Heard()
    feed = Feed(stores.redis, ["global"], hub)
    thread = background(feed.run)
    yield hub
    feed.stop()
    thread.join(5)


def test_a_subscription_made_anew_counts_as_a_gap(
    heard: Heard, stores: Stores, eventually: Callable[..., object]
) -> None:
    """Pub/sub keeps nothing for those who are away for a moment."""
    eventually(lambda: heard.gaps == 1)
    for gaps in (2, 3):
        stores.redis.client_kill_filter(_type="pubsub")
        eventually(lambda gaps=gaps: heard.gaps == gaps)
    events.publish(stores.redis, CHANGED)
    eventually(lambda: heard.events == [CHANGED])


def test_an_event_that_cannot_be_read_counts_as_a_gap(
    heard: Heard, stores: Stores, eventually: Callable[..., object]
) -> None:
    eventually(lambda: heard.gaps == 1)
    stores.redis.publish(events.channel_of("global"), b"{")
    eventually(lambda: heard.gaps == 2)
    assert heard.events == []
