"""How many updates and reads a second, and how long from acceptance to the screen, on a running stack?

    make run LIMIT_USER=1000000/second LIMIT_ADDRESS=1000000/second LIMIT_REGISTRATION=1000000/second
    .venv/bin/python -m bench.first_figures --api http://127.0.0.1:8000

Closed loop over keep-alive connections from threads of one process, which shares the machine with the service; a
floor for what the service can do, with the same loop against `/healthz` beside it as the baseline of the same run.
"""

from __future__ import annotations

import argparse
import json
import secrets
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from urllib.parse import urlsplit

import msgspec
from simple_websocket import Client

from bench.harness.players import Player
from bench.harness.players import signed as signed_members

Request = bytes
#: The largest step, so that the players who are looked for stand in the top that the socket follows.
SCREEN_VALUE = 100


class Wire:
    """One keep-alive connection, as thin as it can be."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, timeout=15)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    def ask(self, request: Request) -> tuple[int, bytes]:
        """Send a request and read its answer: status and body."""
        self._socket.sendall(request)
        data = self._rest
        while b"\r\n\r\n" not in data:
            data += self._socket.recv(65536)
        head, _, data = data.partition(b"\r\n\r\n")
        lower = head.lower()
        at = lower.find(b"content-length:")
        length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        while len(data) < length:
            data += self._socket.recv(65536)
        self._rest = data[length:]
        return int(head[9:12]), data[:length]


def http(method: str, path: str, body: object = None, token: str | None = None) -> Request:
    """A request's bytes."""
    content = b"" if body is None else msgspec.json.encode(body)
    head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(content)}\r\n"
    if body is not None:
        head += "Content-Type: application/json\r\n"
    if token:
        head += f"Authorization: Bearer {token}\r\n"
    return (head + "\r\n").encode() + content


def register(address: tuple[str, int], count: int) -> list[Player]:
    """New players."""
    wire, tag, players = Wire(address), secrets.token_hex(4), []
    for number in range(count):
        body = {"username": f"bench-{tag}-{number}", "email": f"{tag}-{number}@bench.example"}
        status, answer = wire.ask(http("POST", "/api/v1/users", body))
        if status != 201:
            raise SystemExit(f"registration was refused: {answer.decode()} (raise LIMIT_* for a benchmark)")
        found = json.loads(answer)
        players.append(Player(found["user_id"], bytes.fromhex(found["secret_key"]), found["access_token"]))
    return players


def signed(player: Player, value: int = 1) -> Request:
    """A fresh signed update."""
    return http("POST", "/api/v1/scores/update", signed_members(player, value), player.token)


def closed_loop(
    address: tuple[str, int],
    connections: int,
    seconds: float,
    requests: Callable[[int], Iterator[Request]],
    want: set[int],
) -> tuple[float, list[float]]:
    """Requests a second and the latencies (ms, sorted) of `connections` loops."""
    latencies: list[list[float]] = [[] for _ in range(connections)]
    refused: list[int] = []
    end = time.perf_counter() + seconds

    def loop(number: int) -> None:
        wire, mine = Wire(address), latencies[number]
        for request in requests(number):
            started = time.perf_counter()
            if started > end:
                return
            status, _ = wire.ask(request)
            mine.append((time.perf_counter() - started) * 1000)
            if status not in want:
                refused.append(status)

    threads = [threading.Thread(target=loop, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if refused:
        print(f"  {len(refused)} answers were not of {want}: {sorted(set(refused))}")
    every = sorted(ms for mine in latencies for ms in mine)
    return len(every) / seconds, every


def on_screen(
    address: tuple[str, int], sockets_url: str, players: list[Player], updates: int, rate: float
) -> list[float]:
    """From sending an update to the delta that shows it on a socket, ms, sorted; open loop at `rate`."""
    screen = Client(f"{sockets_url}/ws/v1/leaderboards/global", subprotocols=["scoreboard.v1"])
    screen.send(json.dumps({"type": "subscribe", "top": 1000}))
    shown: dict[str, list[tuple[int, float]]] = {}
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            message = screen.receive(timeout=0.2)
            if message is not None:
                now, event = time.perf_counter(), msgspec.json.decode(message)
                for entry in event.get("upserts", ()):
                    shown.setdefault(entry["user_id"], []).append((entry["score"], now))

    watcher = threading.Thread(target=watch)
    watcher.start()
    wire, sent = Wire(address), {}
    started = time.perf_counter()
    scores: dict[str, int] = {}
    for number, player in zip(range(updates), cycle(players), strict=False):
        time.sleep(max(0.0, started + number / rate - time.perf_counter()))
        scores[player.user_id] = scores.get(player.user_id, 0) + 10 * SCREEN_VALUE
        sent[player.user_id, scores[player.user_id]] = time.perf_counter()
        wire.ask(signed(player, SCREEN_VALUE))
    time.sleep(1)
    ended.set()
    watcher.join()
    screen.close()
    latencies = []
    for (user_id, score), at in sent.items():
        seen = [when for total, when in shown.get(user_id, ()) if total >= score]
        if not seen:
            raise SystemExit("an update never came to the screen: is it outside the top 1,000 of this board?")
        latencies.append((min(seen) - at) * 1000)
    return sorted(latencies)


def row(what: str, rate: float, latencies: list[float]) -> None:
    """Print a line of the table."""
    p99 = latencies[int(len(latencies) * 0.99)]
    print(f"{what:44} {rate:9.0f}/s   p50 {statistics.median(latencies):7.1f} ms   p99 {p99:7.1f} ms", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--api", default="http://127.0.0.1:8000")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--players", type=int, default=200)
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    target = urlsplit(options.api)
    address = (target.hostname or "127.0.0.1", target.port or 80)
    sockets_url = json.loads(Wire(address).ask(http("GET", "/api/v1"))[1])["sockets_url"]
    screens = register(address, 50)
    players = register(address, options.players)

    def updates(number: int) -> Iterator[Request]:
        mine = cycle(players[number :: options.connections] or players)
        while True:
            yield signed(next(mine))

    def same(request: Request) -> Callable[[int], Iterator[Request]]:
        return lambda _number: cycle([request])

    latencies = on_screen(address, sockets_url, screens, 250, 50)
    row("update sent to delta on a socket, at 50/s", 50, latencies)
    for what, requests, want in (
        ("baseline: GET /healthz", same(http("GET", "/healthz")), {200}),
        ("signed updates, accepted", updates, {202}),
        ("top 10", same(http("GET", "/api/v1/leaderboards/global?limit=10")), {200}),
        ("top 100", same(http("GET", "/api/v1/leaderboards/global?limit=100")), {200}),
        (
            "around a player, 11",
            same(http("GET", f"/api/v1/leaderboards/global/around/{players[0].user_id}")),
            {200},
        ),
    ):
        rate, latencies = closed_loop(address, options.connections, options.seconds, requests, want)
        row(what, rate, latencies)
        if want == {202}:
            started = time.perf_counter()
            while json.loads(Wire(address).ask(http("GET", "/readyz"))[1])["parts"]["inbox"]["depth"]:
                time.sleep(0.01)
            print(f"  backlog drained {1000 * (time.perf_counter() - started):.0f} ms after the last 202")


if __name__ == "__main__":
    main()
