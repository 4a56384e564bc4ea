"""A worker says that it is there once a second at most, and again when the second is over."""

from __future__ import annotations

from models import names
from worker.presence import SAY_EVERY_SECONDS, Presence


def test_it_is_said_once_a_second(stores) -> None:
    now = [100.0]
    presence = Presence(lambda: now[0])
    for after, said in ((0.0, True), (SAY_EVERY_SECONDS - 0.1, False), (0.1, True), (0.0, False)):
        stores.redis.delete(names.seen_key("apply"))
        now[0] += after
        presence.say(stores.redis, "apply")
        assert stores.redis.exists(names.seen_key("apply")) == said
