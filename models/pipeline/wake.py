"""The flag by which wake-ups of a shard are coalesced: one in flight, held while somebody drains (I7).

The flag is a hint in Redis. If it is lost, a wake-up more is sent; if its holder dies, it ends by itself, and the
sweeper comes in any case.
"""

from __future__ import annotations

from typing import Final

import redis

#: Longer than a wake-up takes to reach a worker under load, shorter than anybody would notice.
FLAG_MS: Final = 2_000


def raise_flag(client: redis.Redis, shard: int) -> bool:
    """Whether the caller is to wake a worker: nobody has done so since the shard was last empty.

    Raises:
        redis.RedisError: not known.
    """
    return bool(client.set(_key(shard), b"1", nx=True, px=FLAG_MS))


def hold_flag(client: redis.Redis, shard: int) -> None:
    """Say that the shard is being drained."""
    client.set(_key(shard), b"1", px=FLAG_MS)


def lower_flag(client: redis.Redis, shard: int) -> None:
    """Say that the shard was empty: what arrives from now on needs a wake-up."""
    client.delete(_key(shard))


def _key(shard: int) -> str:
    return f"sb:wake:{shard}"
