"""A player's whole record with its proofs, checkable by anybody who has the audit key's public half, and offline."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import Connection, Engine, text

from models.guard.audit import AuditKeys, Seal, contents_of, hashes_of, leaves_of, microseconds_of, seal_of
from models.guard.merkle import Tree

FORMAT: Final = "scoreboard-audit-1"


class AuditExport:
    """Reads; changes nothing."""

    def __init__(self, engine: Engine, keys: AuditKeys) -> None:
        self._engine = engine
        self._keys = keys

    def of(self, user_id: str) -> dict[str, Any]:
        """All rows of history of a player, and all acts on them, each with the way to a signed seal; and the words of
        the acts, of which the rows have the hashes.

        Rows that are not sealed yet, for a few seconds, have no proof; those of detached months are not there.
        """
        with self._engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            rows = [(row.id.bytes, bytes(row.content), row.created_at) for row in contents_of(connection, user_id)]
            proofs = dict(self._proofs(connection, rows))
            acts = _acts(connection, user_id)
        seals = {seal.number: seal for seal, _ in proofs.values()}
        return {
            "format": FORMAT,
            "user_id": user_id,
            "made_at": datetime.now(UTC).isoformat(),
            "rows": [
                {"content": content.decode(), "proof": proofs[row_id][1] if row_id in proofs else None}
                for row_id, content, _ in rows
            ],
            "acts": acts,
            "seals": [self._seal(seal) for _, seal in sorted(seals.items())],
            "keys": {key_id: self._public(key_id) for key_id in sorted({seal.key_id for seal in seals.values()})},
        }

    def _proofs(
        self, connection: Connection, rows: list[tuple[bytes, bytes, datetime]]
    ) -> Iterator[tuple[bytes, tuple[Seal, dict[str, Any]]]]:
        """For each sealed row its seal and the path to that; each seal is read once."""
        wanted = {row_id for row_id, _, _ in rows}
        moments = sorted(created_at for _, _, created_at in rows)
        at = 0
        while at < len(moments):
            found = connection.execute(
                text("SELECT * FROM seals WHERE upto >= :moment ORDER BY number LIMIT 1"), {"moment": moments[at]}
            ).first()
            if found is None:
                return
            seal, packed = seal_of(found), bytes(found.leaves)
            leaves, tree = leaves_of(packed), Tree(hashes_of(packed))
            for place, leaf in enumerate(leaves):
                if leaf.id in wanted:
                    path = [each.hex() for each in tree.proof_of(place)]
                    yield leaf.id, (seal, {"seal": seal.number, "place": place, "path": path})
            while at < len(moments) and moments[at] <= seal.upto:
                at += 1

    def _seal(self, seal: Seal) -> dict[str, Any]:
        return {
            "number": seal.number,
            "upto": microseconds_of(seal.upto),
            "rows": seal.rows,
            "root": seal.root.hex(),
            "previous": seal.previous.hex(),
            "hash": seal.hash.hex(),
            "key": seal.key_id,
            "signature": seal.signature.hex(),
        }

    def _public(self, key_id: str) -> str | None:
        """The public half in base64, as RFC 8032 has it: 32 bytes."""
        key = self._keys.public(key_id)
        return None if key is None else base64.b64encode(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def _acts(connection: Connection, user_id: str) -> list[dict[str, Any]]:
    rows = connection.execute(
        text(
            "SELECT id::text, operator, act, subject, reason, details::text FROM acts"
            " WHERE subject = :user_id ORDER BY created_at, id"
        ),
        {"user_id": user_id},
    )
    return [dict(zip(row._fields, row, strict=True)) for row in rows]
