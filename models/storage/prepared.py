"""Statements for the hottest path, sent as libpq has them: a third of the CPU that a cursor takes for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

from psycopg import errors, generators, pq

from models.storage.database import BoundedConnection

_OK: Final = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)


class Prepared:
    """A statement with `$1`, `$2` … that each connection prepares at its first use.

    It goes through the connection's own `wait`, so every bound of a BoundedConnection holds here too (I8).
    """

    def __init__(self, name: str, statement: str) -> None:
        self._name = name.encode()
        self._statement = statement.encode()

    def execute(self, connection: BoundedConnection[Any], parameters: Sequence[str]) -> list[tuple[str, ...]]:
        """Run it in one round trip (two at a connection's first use); rows as text, without nulls.

        On a connection that prepares nothing it is sent whole each time, in one round trip as well.

        Raises:
            psycopg.Error: as a cursor would.
        """
        libpq = connection.pgconn
        values = [parameter.encode() for parameter in parameters]
        if connection.prepare_threshold is None:
            libpq.send_query_params(self._statement, values)
        else:
            if self._name not in connection.prepared:
                libpq.send_prepare(self._name, self._statement)
                _answer(connection)
                connection.prepared.add(self._name)
            libpq.send_query_prepared(self._name, values)
        result = _answer(connection)
        columns = range(result.nfields)
        return [
            tuple([(result.get_value(row, column) or b"").decode() for column in columns])
            for row in range(result.ntuples)
        ]


def text_array(values: Sequence[str | None]) -> str:
    """An array literal of texts (PostgreSQL's manual, 8.15.6); every element is quoted, None is NULL."""
    if None in values:
        return "{" + ",".join("NULL" if value is None else f'"{_escaped(value)}"' for value in values) + "}"
    texts = cast(Sequence[str], values)
    inside = '","'.join(texts)
    if "\\" in inside or inside.count('"') != 2 * (len(texts) - 1):
        inside = '","'.join(map(_escaped, texts))
    return '{"' + inside + '"}' if texts else "{}"


def integer_array(values: Sequence[int]) -> str:
    """An array literal of integers."""
    return "{" + ",".join(map(str, values)) + "}"


def bytes_array(values: Sequence[bytes | None]) -> str:
    """An array literal of byte strings in hex; None is NULL."""
    return "{" + ",".join("NULL" if value is None else f'"\\\\x{value.hex()}"' for value in values) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _answer(connection: BoundedConnection[Any]) -> pq.abc.PGresult:
    result: pq.abc.PGresult = connection.wait(generators.execute(connection.pgconn))[-1]
    if result.status not in _OK:
        raise errors.error_from_result(result)
    return result
