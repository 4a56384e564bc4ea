"""How a shard finds somebody who drains it: a flag that says that somebody will, and workers that stay to listen (I7).

Flag and channel of a shard are on one server, also in a cluster: who listens is told from there, and counted there.

All of it is a hint in Redis. If it is lost, a wake-up more is sent, or the sweeper comes; if who holds the flag dies,
it ends by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Literal, Self

import redis
from redis.client import PubSub

from models.storage.redis import node_of

#: Longer than a wake-up takes to reach a worker under load, shorter than anybody would notice.
FLAG_MS: Final = 2_000
#: So long a worker stays with an empty shard: at 2 updates a second and more, Celery carries nothing for them.
LISTEN_SECONDS: Final = 0.5
#: And so long it stays in all; then it is free for other tasks, and may be stopped.
ATTEND_SECONDS: Final = 2.0
#: Who goes while there is something to do sends for another first, and stays until that one is there, most likely.
RELIEF_SECONDS: Final = 0.1
#: A Redis that does not confirm is left alone.
CONFIRM_SECONDS: Final = 0.5

_CALL: Final = """
if not redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[1]) then
    return -1
end
redis.call('SPUBLISH', KEYS[2], '1')
return redis.call('PUBSUB', 'SHARDNUMSUB', KEYS[2])[2]
"""


def call(client: redis.Redis, shard: int) -> Literal["under way", "heard", "nobody"]:
    """Say that a shard has something: somebody was called since it was last empty, or a worker that listens has heard
    it now, or somebody must be sent for.

    Raises:
        redis.RedisError: not known.
    """
    heard: Any = client.eval(_CALL, 2, _flag(shard), _channel(shard), FLAG_MS)
    return "under way" if heard < 0 else "heard" if heard else "nobody"


def hold_flag(client: redis.Redis, shard: int) -> None:
    """Say that the shard is being drained."""
    client.set(_flag(shard), b"1", px=FLAG_MS)


def lower_flag(client: redis.Redis, shard: int) -> None:
    """Say that the shard was empty: what arrives from now on needs a wake-up."""
    client.delete(_flag(shard))


class Attendance:
    """A worker that stays with a shard it has drained: a call reaches it in one message, past broker and Celery."""

    def __init__(self, client: redis.Redis, shard: int, send_relief: Callable[[], None]) -> None:
        """`send_relief` sends for another worker; it may fail to, and must not raise."""
        self._client = client
        self._pubsub: PubSub | None = None
        self._shard = shard
        self._channel = _channel(shard)
        self._send_relief = send_relief
        self._relieved = False
        self._ends_at = time.monotonic() + ATTEND_SECONDS
        self._listening = False
        self._gone = False

    def __enter__(self) -> Self:
        """Listen from now on, before the shard is looked at for the last time; without Redis nobody is heard."""
        try:
            self._pubsub = node_of(self._client, self._channel).pubsub()  # type: ignore[no-untyped-call]
            self._pubsub.ssubscribe(self._channel)
            self._listening = self._await("ssubscribe") is not None
        except redis.RedisError:
            self._listening = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Listen no more."""
        if self._pubsub is not None:
            self._pubsub.close()

    def called(self) -> bool:
        """Wait for a call: True when the shard is to be looked at again, be it for the last time."""
        if not self._listening:
            return False
        try:
            if not self._may_go():
                left = min(LISTEN_SECONDS, self._ends_at - time.monotonic())
                if left > 0 and self._await("smessage", left) is not None:
                    return True
            return self._stop_listening()
        except redis.RedisError:
            self._listening = False
            return True

    def leaves(self) -> bool:
        """Whether to go although the shard is not empty: two who drain it would halve each other's batches for good.

        To be asked before each look; False once more after the end, for what was heard before it.
        """
        if self._gone:
            return True
        try:
            if self._listening and self._may_go():
                self._stop_listening()
                self._gone = True
        except redis.RedisError:
            self._listening = False
        return False

    def _may_go(self) -> bool:
        """Whether our time is over, and another one is there or was sent for long enough ago."""
        if time.monotonic() < self._ends_at:
            return False
        if self._relieved:
            return True
        if self._others_listen():
            lower_flag(self._client, self._shard)  # should they go at this moment as well, the next call finds nobody
            return True
        self._relieved = True
        self._send_relief()
        self._ends_at = time.monotonic() + RELIEF_SECONDS
        return False

    def _others_listen(self) -> bool:
        [(_, listeners)] = node_of(self._client, self._channel).pubsub_shardnumsub(self._channel)
        return int(listeners) > 1

    def _stop_listening(self) -> bool:
        """True when a call was heard before the end; it is ours, whoever called was told so and sent for nobody."""
        self._listening = False
        if self._pubsub is not None:
            self._pubsub.sunsubscribe(self._channel)  # type: ignore[no-untyped-call]
        return self._await("sunsubscribe", heard=True) is None

    def _await(self, kind: str, seconds: float = CONFIRM_SECONDS, *, heard: bool = False) -> Any:
        """The next message of a kind; None when there is none in time, or a call comes first that must be `heard`."""
        ends_at = time.monotonic() + seconds
        called = False
        while self._pubsub is not None and (left := ends_at - time.monotonic()) > 0:
            message = self._pubsub.get_message(timeout=left)
            if message is None:
                continue
            if message["type"] == kind:
                return None if heard and called else message
            called = called or message["type"] == "smessage"
        return None


def _flag(shard: int) -> str:
    return f"sb:wake:{{{shard}}}"


def _channel(shard: int) -> str:
    return f"sb:called:{{{shard}}}"
