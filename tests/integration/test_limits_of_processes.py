"""One player's limit, asked of four web processes at once: real processes, real sockets, one Redis."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from tests.fixtures import live_stack
from tests.fixtures.live_stack import LiveStack
from tests.fixtures.people import as_json, sign
from tests.integration.test_end_to_end import newcomer

PROCESSES = 4
CONNECTIONS = 16
LIMIT = 200
UPDATES = 2_000


@pytest.fixture(scope="module")
def four(postgres_server: str, template: str, servers_folder: Path, tmp_path_factory: pytest.TempPathFactory):
    environ = {"WEB_PROCESSES": str(PROCESSES), "LIMIT_USER": f"{LIMIT}/minute"}
    folder = tmp_path_factory.mktemp("four")
    with live_stack.running_stack("four", postgres_server, template, servers_folder, folder, **environ) as stack:
        yield stack


@pytest.mark.slow
def test_four_processes_let_in_no_more_than_five_in_a_hundred_too_many(four: LiveStack) -> None:
    player, token = newcomer(four)
    bodies = iter([as_json(sign(player)) for _ in range(UPDATES)])
    url, lock = urlsplit(four.api_url), threading.Lock()
    headers = {"Content-Type": "application/json", "Authorization": token}

    def play(_: int) -> Counter[tuple[int, bool]]:
        """Statuses, each with whether the answer says when to come again."""
        connection, told = http.client.HTTPConnection(url.hostname or "", url.port, timeout=15), Counter()
        while True:
            with lock:
                body = next(bodies, None)
            if body is None:
                connection.close()
                return told
            connection.request("POST", "/api/v1/scores/update", body, headers)
            answer = connection.getresponse()
            answer.read()
            told[answer.status, int(answer.headers.get("Retry-After", 0)) >= 1] += 1

    with ThreadPoolExecutor(CONNECTIONS) as crowd:
        told = sum(crowd.map(play, range(CONNECTIONS)), Counter())
    assert set(told) == {(202, False), (429, True)}
    assert LIMIT <= told[202, False] <= LIMIT * 1.05
    assert len(psutil.Process(four.pid("web")).children()) == PROCESSES
