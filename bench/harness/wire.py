"""A keep-alive connection to a running service, as thin as it can be, and players who register over it."""

from __future__ import annotations

import json
import secrets
import socket

import msgspec

from bench.harness.players import Player
from bench.harness.players import signed as signed_members

Request = bytes


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
