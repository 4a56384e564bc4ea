"""How many sockets are open in all: each process says its own in Redis, and whoever asks adds them up."""

from __future__ import annotations

import time
from typing import Final, NamedTuple
from uuid import uuid4

import redis

from models import names

#: A process says its number so often.
SAY_SECONDS: Final = 2.0
#: Whoever said nothing for so long is gone; the clocks of machines may differ by some of it.
SILENT_SECONDS: Final = 15.0


class Open(NamedTuple):
    """Sockets, and the processes that hold them."""

    sockets: int
    processes: int


class SocketsOpen:
    """What one process says, under a name that no other has; to be made after a fork."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._name = uuid4().hex

    def say(self, count: int) -> None:
        """Say how many there are here.

        Raises:
            redis.RedisError: Redis does not answer; what was said last is believed for some seconds.
        """
        self._client.hset(names.SOCKETS_OPEN_KEY, self._name, f"{count} {time.time():.0f}")

    def leave(self) -> None:
        """Say that this process is gone.

        Raises:
            redis.RedisError: Redis does not answer; silence says it as well.
        """
        self._client.hdel(names.SOCKETS_OPEN_KEY, self._name)


def in_all(client: redis.Redis) -> Open:
    """Of all processes that were heard of lately; those that are gone for good are forgotten.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    now, count, processes, gone = time.time(), 0, 0, []
    for name, said in client.hgetall(names.SOCKETS_OPEN_KEY).items():
        sockets, at = said.split()
        if now - int(at) > SILENT_SECONDS:
            gone.append(name)
        else:
            count, processes = count + int(sockets), processes + 1
    if gone:
        client.hdel(names.SOCKETS_OPEN_KEY, *gone)
    return Open(count, processes)
