"""Both load balancers, each in front of three real API servers and the sockets: nothing here is imitated."""

from __future__ import annotations

import gzip
import json
import re
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect as connect_websocket
from websockets.typing import Subprotocol

from deploy.production.places import Places
from deploy.production.servers.certificate import Certificate, self_signed
from deploy.production.servers.edge import Edge
from deploy.templates import FOLDER
from deploy.templates import places as places_of
from tests.fixtures.api import SignedIn
from tests.fixtures.edges import (
    OUTSIDE,
    SERVERS,
    Answer,
    MoreApis,
    RunningEdge,
    free_places,
    running_edge,
    skip_without,
)
from tests.fixtures.live_stack import LiveStack, running_stack
from tests.fixtures.people import as_json, sign
from tests.fixtures.servers import connect as connect_database
from tests.fixtures.waiting import eventually
from web.inner import INNER

pytestmark = pytest.mark.slow
ORIGIN = "https://game.example"
BOARD = "/api/v1/leaderboards/global"
SLOW_SECONDS = 1.2
EDGE = Edge(
    sockets=("sockets-1",),
    origins=(ORIGIN,),
    requests_a_second=300,
    burst=300,
    sockets_at_once=3,
    slow=f"{SLOW_SECONDS * 1000:.0f}ms",
    drain_seconds=1,
)
#: Capitals that are no place: of the text, and the settings that it names.
WORDS = {"FILE", "PEM", "API_URL"}
#: A token where none must be.
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJzb21lYm9keSJ9.c2lnbmF0dXJl"


@pytest.fixture(scope="module")
def places() -> Places:
    skip_without("nginx", "haproxy", "openssl")
    return free_places()


@pytest.fixture(scope="module")
def certificate(places: Places, tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return self_signed(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def stack(
    places: Places,
    postgres_server: str,
    template: str,
    servers_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LiveStack]:
    environ = {
        "PORT": str(places.port("api-1")),
        "SOCKETS_PORT": str(places.port("sockets-1")),
        "WEB_PROCESSES": "1",
        "TRUSTED_PROXIES": "1",
        "INNER_NETWORKS": "127.0.0.1",
        "ALLOWED_ORIGINS": ORIGIN,
    }
    folder = tmp_path_factory.mktemp("behind")
    with running_stack("edge", postgres_server, template, servers_folder, folder, **environ) as running:
        yield running


@pytest.fixture(scope="module")
def others(stack: LiveStack, places: Places, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MoreApis]:
    """api-2 and api-3."""
    ports = {name: places.port(name) for name in ("api-2", "api-3")}
    apis = MoreApis(stack, tmp_path_factory.mktemp("apis"), ports)
    try:
        apis.await_ready()
        yield apis
    finally:
        apis.close()


@pytest.fixture(scope="module", params=SERVERS)
def edge(
    request: pytest.FixtureRequest,
    others: MoreApis,
    places: Places,
    certificate: Certificate,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningEdge]:
    folder = tmp_path_factory.mktemp("edge") / request.param
    with running_edge(request.param, folder, places, certificate, EDGE) as running:
        yield running


@pytest.fixture
def origin_log(stack: LiveStack, others: MoreApis) -> Callable[[], list[dict[str, Any]]]:
    """`origin_log()`: the lines of all API servers since the test began."""
    paths = [*stack.logs("web"), *others.logs()]
    seen = {path: path.stat().st_size for path in paths}

    def read() -> list[dict[str, Any]]:
        lines = []
        for path in paths:
            with path.open("rb") as log:
                log.seek(seen[path])
                lines += [json.loads(line) for line in log.read().decode().splitlines() if line.startswith("{")]
        return lines

    return read


@pytest.fixture
def player(edge: RunningEdge) -> SignedIn:
    """Somebody who registered by way of the edge."""
    return register(edge)


def register(edge: RunningEdge) -> SignedIn:
    name = f"p-{secrets.token_hex(5)}"
    answer = edge.ask("/api/v1/users", method="POST", body={"username": name, "email": f"{name}@example.org"})
    assert answer.status == 201, answer.body
    return SignedIn(answer.document)


def play(edge: RunningEdge, player: SignedIn, *, source: str = "127.0.0.1", **headers: str) -> Answer:
    body = as_json(sign(player.account))
    return edge.ask(
        "/api/v1/scores/update", method="POST", source=source, body=body, headers={**player.headers, **headers}
    )


def curl(edge: RunningEdge, certificate: Certificate, *words: str) -> str:
    """What curl says of an answer."""
    wanted = "%{http_code} %{http_version} %{redirect_url}"
    command = ["curl", "-sS", "--cacert", str(certificate.chain), "-o", "/dev/null", "-w", wanted, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=15, check=False)
    return done.stdout.strip() or done.stderr


def problem(answer: Answer) -> tuple[int, str]:
    """Status and code, once it has the form of a problem."""
    assert answer.headers["Content-Type"] == "application/problem+json", answer.body
    told = answer.document
    assert set(told) >= {"type", "title", "status", "detail", "code", "request_id"}
    assert told["status"] == answer.status
    assert told["type"] == f"/docs/problems#{told['code']}"
    assert told["request_id"] == answer.headers["X-Request-ID"]
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.status, told["code"]


@pytest.mark.parametrize("template", ["nginx/nginx.conf.template", "haproxy/haproxy.cfg.template"])
def test_every_place_is_explained(template: str) -> None:
    path = FOLDER / template
    head = path.read_text("utf-8").partition("\n\n")[0]
    assert places_of(path) == {name for name in re.findall(r"\b[A-Z_]{3,}\b", head) if name not in WORDS}


def test_https_by_http2_and_http_leads_there(edge: RunningEdge, certificate: Certificate) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    url = f"https://127.0.0.1:{edge.port}/healthz"
    assert curl(edge, certificate, "--http2", url) == "200 2"
    assert curl(edge, certificate, "--http1.1", url) == "200 1.1"
    assert curl(edge, certificate, "--tls-max", "1.2", url) == "200 2"
    assert "200" not in curl(edge, certificate, "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0", url)
    plain = f"http://{edge.places.address(edge.name + '-plain')}/api/v1?a=b"
    assert curl(edge, certificate, "-X", "POST", plain) == f"308 1.1 https://127.0.0.1:{edge.port}/api/v1?a=b"


def test_sockets_open_through_it_up_to_their_number(edge: RunningEdge) -> None:
    url = f"wss://127.0.0.1:{edge.port}/ws/v1/leaderboards/global"
    upgrade = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    with ExitStack() as opened:
        for _ in range(EDGE.sockets_at_once):
            opening = connect_websocket(
                url, ssl=edge.tls, subprotocols=[Subprotocol("scoreboard.v1")], source_address=("127.0.0.8", 0)
            )
            line = opened.enter_context(opening)
            line.send(json.dumps({"type": "subscribe", "top": 10}))
            assert json.loads(line.recv(10))["type"] == "snapshot"
        refused = edge.ask("/ws/v1/leaderboards/global", source="127.0.0.8", headers=upgrade)
    assert problem(refused) == (429, "rate_limited")
    assert edge.ask("/ws/v1/leaderboards/global").document["code"] == "upgrade_required"


def test_the_service_sees_who_asks_whatever_they_say_of_themselves(edge: RunningEdge, stack: LiveStack) -> None:
    player = register(edge)
    forged = {"X-Forwarded-For": "203.0.113.7", "Forwarded": "for=203.0.113.8", "X-Real-IP": "203.0.113.9"}
    assert play(edge, player, source="127.0.0.13", Prefer="wait=10", **forged).status == 200
    with connect_database(stack.settings.database_url) as connection:
        query = "SELECT host(ip_address) FROM score_history WHERE user_id = %s"
        found = connection.execute(query, [player.account.user_id]).fetchall()
    assert found == [("127.0.0.13",)]


@pytest.mark.parametrize("path", [*INNER, "/flower/", "//metrics", "/%6detrics", "/x/../metrics"])
def test_what_is_for_operators_is_not_there_for_others(edge: RunningEdge, path: str) -> None:
    for forged in ({}, {"X-Forwarded-For": "127.0.0.1"}):
        answer = edge.ask(path, source=OUTSIDE, headers=forged)
        assert answer.status in (404, 308), answer.body  # `//…` leads to where it is refused


def test_those_inside_see_it(edge: RunningEdge) -> None:
    for path in ("/metrics", "/docs", "/api/v1/openapi.json"):
        answer = edge.ask(path)
        assert answer.status == 200
        assert not answer.is_hit


def test_what_is_too_large_is_refused_here(edge: RunningEdge) -> None:
    for path, size in (("/api/v1/users", 33_000), ("/api/v1/scores/batch", 1_100_000)):
        connection = edge.connection()
        connection.putrequest("POST", path)
        connection.putheader("Content-Length", str(size))
        connection.endheaders()  # it is refused by what it announces
        found = connection.getresponse()
        assert problem(Answer(found.status, found.headers, found.read())) == (413, "payload_too_large")
        connection.close()
    assert edge.ask("/api/v1/scores/batch", method="POST", body=b"x" * 500_000).status == 401
    head = edge.ask("/api/v1", headers={f"X-Large-{number}": "x" * 7_000 for number in range(6)})
    if edge.kind == "nginx":
        assert problem(head) == (431, "payload_too_large")
    else:  # HAProxy's own page
        assert head.status == 400


def test_who_drips_is_cut(edge: RunningEdge) -> None:
    def drip(begin: bytes) -> float:
        """Seconds until a connection that brings a byte each tenth of a second is cut."""
        began = time.monotonic()
        with edge.raw() as line:
            line.sendall(begin)
            line.settimeout(0.1)
            while time.monotonic() < began + 4 * SLOW_SECONDS:
                try:
                    if line.recv(4096) == b"":
                        break
                except TimeoutError:
                    pass
                except OSError:
                    break
                try:
                    line.sendall(b"x")
                except OSError:
                    break
        return time.monotonic() - began

    def stop(begin: bytes) -> float:
        """The same when nothing more comes."""
        began = time.monotonic()
        with edge.raw() as line:
            line.sendall(begin)
            while line.recv(4096):
                pass
        return time.monotonic() - began

    post = b"POST /api/v1/users HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n"
    with ThreadPoolExecutor(3) as clients:
        cuts = [
            clients.submit(drip, b"GET / HTTP/1.1\r\nHost: here\r\nX-Slow: "),
            clients.submit(stop, post),
            # nginx counts what lies between two parts of a body, HAProxy all of it.
            clients.submit(drip if edge.kind == "haproxy" else stop, post + b"{"),
        ]
        assert all(SLOW_SECONDS * 0.9 < cut.result() < SLOW_SECONDS + 1.5 for cut in cuts), [c.result() for c in cuts]


def test_an_address_that_asks_too_much_is_told_so(edge: RunningEdge) -> None:
    connection = edge.connection("127.0.0.21")
    told: Counter[int] = Counter()
    refused = None
    deadline = time.monotonic() + 10
    while refused is None and time.monotonic() < deadline:
        connection.request("GET", "/api/v1", headers={"Origin": ORIGIN})
        found = connection.getresponse()
        answer = Answer(found.status, found.headers, found.read())
        told[answer.status] += 1
        refused = answer if answer.status != 200 else None
    connection.close()
    assert refused is not None
    assert problem(refused) == (429, "rate_limited")
    assert told[200] >= EDGE.burst
    assert {refused.headers[f"RateLimit-{name}"] for name in ("Limit", "Remaining", "Reset")} == {"300", "0", "1"}
    assert refused.headers["Retry-After"] == "1"
    assert refused.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert edge.ask("/api/v1", source="127.0.0.22").status == 200, "others are not told so"


def test_one_id_from_the_edge_to_the_service_and_no_secret_on_the_way(
    edge: RunningEdge, player: SignedIn, origin_log: Callable[[], list[dict[str, Any]]]
) -> None:
    own = secrets.token_hex(8)
    headers = {"X-Request-ID": own, "User-Agent": 'tests "quoted" \\ ü', **player.headers}
    answer = edge.ask(f"/api/v1/scores/updates/{TOKEN}?ticket={TOKEN}", source="127.0.0.14", headers=headers)
    assert (answer.status, answer.headers["X-Request-ID"]) == (404, own)
    line = edge.logged(own)
    assert line["url"] == {"path": "/api/v1/scores/updates/[token]"}
    assert line["source"]["ip"] == "127.0.0.14"
    assert line["http"]["response"]["status_code"] == 404
    assert line["event"]["dataset"] == f"{edge.kind}.access"
    assert line["event"]["outcome"] == "failure"
    assert 0 < line["event"]["duration"] < 10 * 10**9
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|\+00:00)", line["@timestamp"])
    assert eventually(
        lambda: [each for each in origin_log() if each.get("http", {}).get("request", {}).get("id") == own]
    )
    assert "eyJ" not in edge.text()
    assert "ticket" not in edge.text()

    made = edge.ask("/api/v1", headers={"X-Request-ID": "not sane; at all"}).headers["X-Request-ID"]
    assert re.fullmatch(r"[0-9a-f-]{32,36}", made)
    assert edge.ask("/api/v1").headers["X-Request-ID"] != made, "not the one in the cache"


def test_one_origin_request_a_version_whatever_the_crowd(
    edge: RunningEdge, stack: LiveStack, origin_log: Callable[[], list[dict[str, Any]]]
) -> None:
    service, player = {"Authorization": f"Bearer {stack.token('scores:write')}"}, register(edge)
    ended, readers, seconds = threading.Event(), 8, 2.2
    path = f"{BOARD}?limit=50"

    def read(number: int) -> tuple[Counter[int], set[int]]:
        """Half of the crowd asks whether what it has is still true."""
        told: Counter[int] = Counter()
        versions, tag = set(), ""
        connection = edge.connection(f"127.0.1.{number + 1}")
        while not ended.wait(0.005):
            connection.request("GET", path, headers={"If-None-Match": tag} if tag and number % 2 else {})
            answer = connection.getresponse()
            body = answer.read()
            told[answer.status] += 1
            tag = answer.headers["ETag"]
            versions.add(int(tag.split(".")[1]))
            if body:
                assert json.loads(body)["version"] == int(tag.split(".")[1])
        connection.close()
        return told, versions

    with ThreadPoolExecutor(readers) as crowd:
        reading = [crowd.submit(read, number) for number in range(readers)]
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            update = {"user_id": player.account.user_id, "action_id": secrets.token_hex(8), "action": "level_complete"}
            sent = edge.ask("/api/v1/scores/batch", method="POST", body={"updates": [update]}, headers=service)
            assert sent.status == 202, sent.body
            time.sleep(0.1)
        ended.set()
        told = sum((each.result()[0] for each in reading), Counter())
        versions = set().union(*(each.result()[1] for each in reading))
    assert set(told) == {200, 304}, told
    asked = Counter(
        line["http"]["response"]["status_code"]
        for line in origin_log()
        if line.get("url", {}).get("path") == BOARD and "response" in line.get("http", {})
    )
    assert sum(told.values()) > 20 * sum(asked.values()), (told, asked)
    if edge.kind == "nginx":
        assert len(versions) <= asked[200] <= len(versions) + 1, (versions, asked)  # the last may have come for nobody
        assert sum(asked.values()) <= seconds + 3
    else:  # HAProxy has no lock: as many as come at the moment when a second is over
        assert asked[200] <= readers * (seconds + 2)
        assert len(versions) <= seconds + 3


def test_what_is_kept_is_what_everybody_may_see(edge: RunningEdge, player: SignedIn) -> None:
    other, path = register(edge), f"{BOARD}?limit={secrets.randbelow(900) + 100}"
    assert play(edge, player, Prefer="wait=10").status == 200
    for _ in range(2):
        for who in (player, other):
            assert not edge.ask(path, headers=who.headers).is_hit
            own = edge.ask("/api/v1/scores/me", headers=who.headers)
            assert not own.is_hit
            assert own.document["score"] == (10 if who is player else 0)
    assert not edge.ask(path).is_hit, "nothing was kept for those with a token"
    assert edge.ask(path).is_hit
    assert not edge.ask(f"{path}&strange=1").is_hit
    assert edge.ask("/api/v1/scores/me").status == 401

    allowed = edge.ask(path, headers={"Origin": ORIGIN})
    assert not allowed.is_hit
    assert allowed.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert edge.ask(path, headers={"Origin": ORIGIN}).headers["Access-Control-Allow-Origin"] == ORIGIN
    strange = edge.ask(path, headers={"Origin": "https://elsewhere.example"})
    assert "Access-Control-Allow-Origin" not in strange.headers
    assert "Origin" in ", ".join(strange.headers.get_all("Vary", []))


def test_boards_are_compressed_for_who_can_read_that(edge: RunningEdge, player: SignedIn) -> None:
    for _ in range(12):  # a body of more than 1,000 bytes
        play(edge, register(edge))
    eventually(lambda: edge.ask(f"{BOARD}?limit=200").document["total"] >= 12)
    path = f"{BOARD}?limit=201"
    plain, small = edge.ask(path), edge.ask(path, headers={"Accept-Encoding": "gzip"})
    assert small.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert "Accept-Encoding" in ", ".join(small.headers.get_all("Vary", []))
    assert gzip.decompress(small.body) == plain.body
    assert edge.ask(path, headers={"If-None-Match": small.headers["ETag"]}).status == 304
    own = edge.ask("/api/v1/auth/ticket", method="POST", headers={**player.headers, "Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in own.headers, "a secret's length says something of it"


def test_prometheus_asks_on_a_port_of_its_own(edge: RunningEdge) -> None:
    host, port = edge.places.address(f"{edge.name}-status").split(":")
    path, wanted = ("/stub_status", b"Active connections") if edge.kind == "nginx" else ("/metrics", b"haproxy_")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        assert wanted in connection.makefile("rb").read()


def test_an_api_server_that_dies_is_not_noticed(edge: RunningEdge, others: MoreApis) -> None:
    """Each edge loses another one, so that the second begins with one gone already."""
    players = [register(edge) for _ in range(8)]
    ended = threading.Event()

    def go_on(number: int) -> Counter[int]:
        told: Counter[int] = Counter()
        connection, turn = edge.connection(f"127.0.2.{number + 1}"), 0
        while not ended.is_set():
            turn += 1
            if turn % 2:
                headers = {"Content-Type": "application/json", **players[number].headers}
                connection.request("POST", "/api/v1/scores/update", as_json(sign(players[number].account)), headers)
            else:
                connection.request("GET", f"{BOARD}?limit={turn % 1000 + 1}")
            answer = connection.getresponse()
            answer.read()
            told[answer.status] += 1
            ended.wait(0.01)
        connection.close()
        return told

    with ThreadPoolExecutor(len(players)) as crowd:
        going = [crowd.submit(go_on, number) for number in range(len(players))]
        time.sleep(0.4)
        for how in (signal.SIGSTOP, signal.SIGKILL):  # stopped first, so that it dies with requests in its hands
            others.send("api-2" if edge.kind == "nginx" else "api-3", how)
            time.sleep(0.5)
        ended.set()
        told = sum((each.result() for each in going), Counter())
    assert set(told) == {200, 202}, told
    assert sum(told.values()) > 100


def test_it_ends_when_all_is_answered_and_without_servers_it_says_so(
    edge: RunningEdge, certificate: Certificate, tmp_path: Path
) -> None:
    with running_edge(edge.kind, tmp_path / "other", free_places(), certificate, EDGE) as lonely:
        answer = lonely.ask("/api/v1/scores/update", method="POST", body={})
        assert problem(answer) == (503, "queue_unavailable")
        assert answer.headers["Retry-After"] == "1"
        assert problem(lonely.ask(BOARD)) == (503, "not_ready")

        with lonely.raw() as line:
            line.sendall(b"POST /api/v1/users HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\n{")
            time.sleep(0.1)
            lonely.end()
            eventually(lambda: _refuses(lonely.port))
            line.sendall(b"}")
            assert line.recv(4096).startswith(b"HTTP/1.1 503")
        assert lonely.process.wait(EDGE.drain_seconds + 3) in (0, 143)


def test_a_board_is_shown_while_no_server_answers(certificate: Certificate, tmp_path: Path) -> None:
    """For as long as stale-if-error says; HAProxy's cache knows nothing of it."""
    places = free_places()
    head = 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: "1.1.100.0"\r\nContent-Length: 2\r\n'
    head += "Cache-Control: public, max-age=1, stale-if-error=60\r\nConnection: close\r\n\r\n{}"

    def answer_once(server: socket.socket) -> None:
        with server, server.accept()[0] as asked:
            asked.recv(4096)
            asked.sendall(head.encode())

    origin = threading.Thread(target=answer_once, args=[socket.create_server(("127.0.0.1", places.port("api-1")))])
    origin.start()
    with running_edge("nginx", tmp_path / "edge", places, certificate, replace(EDGE, apis=("api-1",))) as alone:
        assert alone.ask(BOARD).status == 200
        origin.join(5)
        stale = eventually(lambda: (answer := alone.ask(BOARD)).headers["Cache-Status"] != "edge; hit" and answer)
        assert (stale.status, stale.body) == (200, b"{}")
        assert stale.is_hit
        assert problem(alone.ask(f"{BOARD}?limit=7")) == (503, "not_ready")


def _refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return True
    return False
