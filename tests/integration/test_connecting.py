"""An attempt to connect that failed holds nothing at the server, however seldom garbage is collected (I8)."""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable, Iterator

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from models.storage.database import open_connection, open_engine


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that takes connections and says nothing, as one that is frozen."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        yield server


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Nothing goes but what nobody holds."""
    gc.disable()
    yield
    gc.enable()


def by_itself(url: str) -> None:
    with pytest.raises(psycopg.OperationalError):
        open_connection(url)


def by_the_pool(url: str) -> None:
    engine = open_engine(url)
    with pytest.raises(OperationalError):
        engine.connect()


@pytest.mark.slow
@pytest.mark.parametrize("attempt", [by_itself, by_the_pool])
def test_an_attempt_that_timed_out_is_over_at_the_server_too(
    silent: socket.socket, uncollected: None, attempt: Callable[[str], None]
) -> None:
    attempt(f"postgresql+psycopg://somebody:secret@127.0.0.1:{silent.getsockname()[1]}/scores")
    taken, _ = silent.accept()
    with taken:
        taken.settimeout(2)
        while taken.recv(4096):  # what it asked for; then the end, and no time-out
            pass
