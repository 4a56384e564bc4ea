"""A fan-out as one writes it in an afternoon: flask-sock as it comes, one `send` after the other.

    SOCKETS=1000 RATE=50 BYTES=250 gunicorn --worker-class gevent --workers 1 bench.baseline.naive_sockets:app

Begins when as many sockets are open. `bench/sockets.py` starts it.
"""

from __future__ import annotations

import os
import time
from typing import Any

import gevent
from flask import Flask
from flask_sock import Sock
from simple_websocket import ConnectionClosed

SOCKETS, RATE = int(os.environ["SOCKETS"]), float(os.environ["RATE"])
TEXT = "x" * int(os.environ["BYTES"])

app = Flask(__name__, static_folder=None)
sock = Sock(app)
listening: set[Any] = set()


@sock.route("/")
def live(ws: Any) -> None:
    """Listen until it is gone."""
    listening.add(ws)
    if len(listening) == SOCKETS:
        gevent.spawn(broadcast)
    try:
        while True:
            ws.receive()
    finally:
        listening.discard(ws)


def broadcast() -> None:
    """Send to all, so many times a second, or as often as it can."""
    due = time.monotonic()
    while listening:
        for ws in list(listening):
            try:
                ws.send(TEXT)
            except ConnectionClosed:
                listening.discard(ws)
        due = max(due + 1 / RATE, time.monotonic() - 1 / RATE)
        gevent.sleep(max(0.0, due - time.monotonic()))
