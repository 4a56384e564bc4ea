"""How many connections a process may take from PostgreSQL: what docs/postgres.md counts is what it comes to (I8)."""

from __future__ import annotations

import re
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from sqlalchemy.exc import TimeoutError as NoneFree

from deploy.production.places import APIS, SOCKET_SERVERS
from deploy.production.servers import pgbouncer, postgres
from models.stores import Stores
from tests.fixtures.people import as_json, sign
from tests.fixtures.waiting import eventually

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "postgres.md"
#: Worker children of `make production`: two workers of four.
_CHILDREN = 2 * 4


def documented(process: str) -> int:
    """What the page's table says a process may hold."""
    found = re.search(rf"^\| {process} \| [^|=]*= (\d+) \|", _PAGE.read_text("utf-8"), re.MULTILINE)
    assert found is not None, process
    return int(found.group(1))


def take_all(stores: Stores, held: ExitStack) -> None:
    """All that the pool has."""
    stores.engine.pool._timeout = 0.2  # type: ignore[attr-defined]
    with suppress(NoneFree):
        while True:
            held.enter_context(stores.engine.connect())


def opened(raw) -> int:
    """By anybody but ourselves."""
    row = raw.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ).fetchone()
    return row[0]


@pytest.mark.slow
def test_an_api_process_and_a_worker_hold_what_is_documented_and_no_more(
    services, sign_up, connect, open_process, raw, answered_early
) -> None:
    ada, line = sign_up(), connect()
    while not answered_early():  # the event loop has its writer then
        body = as_json(sign(ada.account))
        head = (
            "POST /api/v1/scores/update HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
            f"Authorization: {ada.headers['Authorization']}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        line.send(head.encode() + body)
        assert line.answer().status == 202
    with ExitStack() as held:
        services.stores.acceptor.warm_up()  # the writer of the threads
        take_all(services.stores, held)
        in_all = eventually(lambda: opened(raw))
        assert in_all <= documented("API process")
        assert in_all >= documented("API process") - 1  # by one it learns the keys of players it does not know
        worker = open_process()
        drain = worker.drain()
        drain.drain(0)
        held.callback(drain.close)
        take_all(worker, held)
        assert opened(raw) - in_all == documented("worker's child")


def test_what_may_come_fits_into_what_there_is() -> None:
    clients = (
        APIS * documented("API process")
        + SOCKET_SERVERS * documented("sockets process")
        + _CHILDREN * documented("worker's child")
    )
    replica_too = 2  # each may have a pool to the replica, too
    assert clients * replica_too <= pgbouncer.MAX_CLIENTS
    # After a failover both names lead to one server; then operators, the exporter and migrations, and a reserve.
    least = pgbouncer.POOL_SIZE + pgbouncer.REPLICA_POOL_SIZE + 10
    assert least + 5 <= postgres.SIZES.max_connections
