"""The lock that whoever changes scores of a shard's players holds until the commit: one at a time, in order (I4)."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text

#: First half of the advisory lock's key; the second is the shard.
LOCK_SPACE: Final = 0x5C0_4E


def lock_shard(connection: Connection, shard: int) -> None:
    """Take it in the caller's transaction; a worker has it for some 50 ms at a time."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:space, :shard)"), {"space": LOCK_SPACE, "shard": shard})
