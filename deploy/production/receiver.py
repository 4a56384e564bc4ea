"""Prints what Alertmanager tells, a line an alert: `python -m deploy.production.receiver --listen 127.0.0.1:9099`.

The same is appended to a file as JSON lines, for programs: `told_at` (when it came here), `receiver`, `status` (firing
or resolved), `name`, `part`, `severity`, `summary`, `starts_at`, `ends_at`, `runbook`.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

#: A message of Alertmanager's with some hundred alerts has some hundred KB.
BODY_BYTES_MOST: Final = 4 << 20
SILENCE_SECONDS: Final = 5.0
#: The labels that say which part an alert is about, the most telling one first.
PART_LABELS: Final = ("instance", "job", "board", "rule", "objective", "area")

Told = dict[str, str]


def alerts_of(message: dict[str, Any], told_at: str) -> list[Told]:
    """What a webhook message of Alertmanager's (version 4) tells.

    Raises:
        KeyError, TypeError: it is no such message.
    """
    told = []
    for alert in message["alerts"]:
        labels, notes = alert["labels"], alert.get("annotations", {})
        told.append(
            {
                "told_at": told_at,
                "receiver": message.get("receiver", ""),
                "status": alert["status"],
                "name": labels["alertname"],
                "part": next((labels[name] for name in PART_LABELS if labels.get(name)), ""),
                "severity": labels.get("severity", ""),
                "summary": notes.get("summary", ""),
                "starts_at": alert.get("startsAt", ""),
                "ends_at": alert.get("endsAt", ""),
                "runbook": notes.get("runbook_url", ""),
            }
        )
    return told


def line_of(told: Told) -> str:
    """One line for people, without anything that a terminal would obey."""
    words = [
        told["told_at"],
        f"{told['status']:8}",
        f"{told['receiver']:8}",
        f"{told['name']:24}",
        f"{told['part']:14}",
        told["summary"],
    ]
    return "".join(sign if sign.isprintable() else "?" for sign in "  ".join(words))


class Receiver:
    """Prints and keeps; safe for several requests at once."""

    def __init__(self, kept: Path | None, say: Callable[[str], object]) -> None:
        self._kept = kept
        self._say = say
        self._lock = threading.Lock()

    def take(self, body: bytes) -> None:
        """Take one message.

        Raises:
            ValueError: it is none.
            OSError: the file cannot be written.
        """
        told_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        try:
            told = alerts_of(json.loads(body), told_at)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no message of Alertmanager's: {error!r}") from error
        with self._lock:
            for alert in told:
                self._say(line_of(alert) + "\n")
            if self._kept is not None and told:
                with self._kept.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(alert) + "\n" for alert in told)


class _Handler(BaseHTTPRequestHandler):
    timeout = SILENCE_SECONDS

    def __init__(self, receiver: Receiver, *arguments: Any) -> None:
        self._receiver = receiver
        super().__init__(*arguments)

    def do_GET(self) -> None:
        """Whether it listens."""
        self._answer(HTTPStatus.OK, b"listening\n")

    def do_POST(self) -> None:
        """One message; an error makes Alertmanager come again."""
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > BODY_BYTES_MOST:
            self.close_connection = True
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b"too large\n")
            return
        try:
            self._receiver.take(self.rfile.read(int(length)))
        except ValueError as error:
            self._answer(HTTPStatus.BAD_REQUEST, f"{error}\n".encode())
            return
        self._answer(HTTPStatus.OK, b"")

    def _answer(self, status: HTTPStatus, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """What was told is printed, not who called."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True


def server(host: str, port: int, receiver: Receiver) -> ThreadingHTTPServer:
    """A server that listens; `serve_forever` answers."""
    return _Server((host, port), partial(_Handler, receiver))


def _say(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()


def main() -> int:
    """Listen until a signal ends it; gives the exit code."""
    parser = argparse.ArgumentParser("python -m deploy.production.receiver", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:9099", help="host:port")
    parser.add_argument("--keep", type=Path, help="a file of JSON lines to append to")
    options = parser.parse_args()
    host, _, port = options.listen.rpartition(":")
    try:
        with server(host, int(port), Receiver(options.keep, _say)) as listening:
            listening.serve_forever()
    except KeyboardInterrupt:
        return 0
    except (OSError, ValueError, OverflowError) as error:
        sys.stderr.write(f"{options.listen}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
