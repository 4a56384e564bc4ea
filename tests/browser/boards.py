"""A service made of one socket, for pages that must see what the real one seldom sends."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from playwright.sync_api import Page, WebSocketRoute

INT64_MOST = 2**63 - 1
INT64_LEAST = -(2**63)


def entry(rank: int, user: int, score: int, username: str | None = None) -> dict[str, Any]:
    """An entry as the contract spells it."""
    return {
        "rank": rank,
        "user_id": str(UUID(int=user)),
        "username": username or f"player-{user}",
        "score": score,
        "reached_at": "2026-01-02T03:04:05.678901Z",
    }


class OneSocket:
    """Answers each subscription with the next of its scripts: lists of messages."""

    def __init__(self, *scripts: Sequence[dict[str, Any]]) -> None:
        self.subscriptions: list[dict[str, Any]] = []
        self.socket: WebSocketRoute | None = None
        self._scripts = list(scripts)

    def __call__(self, socket: WebSocketRoute) -> None:
        """Take a socket of the page."""
        self.socket = socket
        socket.on_message(lambda text: self._hear(json.loads(text)))

    def send(self, message: dict[str, Any]) -> None:
        """Send one more message."""
        assert self.socket is not None
        self.socket.send(json.dumps(message))

    def _hear(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":
            self.subscriptions.append(message)
            for answer in self._scripts.pop(0) if self._scripts else ():
                self.send(answer)


def snapshot(version: int, entries: Sequence[dict[str, Any]], total: int | None = None) -> dict[str, Any]:
    """A snapshot."""
    return {
        "type": "snapshot",
        "version": version,
        "total": len(entries) if total is None else total,
        "entries": entries,
    }


def delta(from_version: int, version: int, total: int, upserts: Sequence[dict[str, Any]], removals: Sequence[str] = ()):
    """A delta."""
    return {
        "type": "delta",
        "from_version": from_version,
        "version": version,
        "total": total,
        "removals": list(removals),
        "upserts": list(upserts),
    }


def until(page: Page, expression: str, argument: Any = None, seconds: float = 10.0) -> None:
    """Wait until an expression is true. (Playwright's own waiting needs `eval`, which our pages forbid.)"""
    deadline = time.monotonic() + seconds
    while not page.evaluate(expression, argument):
        if time.monotonic() > deadline:
            raise AssertionError(f"not true within {seconds} s: {expression}")
        page.wait_for_timeout(10)
