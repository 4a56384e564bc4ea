"""Tells others of incidents: a webhook signed as Standard Webhooks has it, and Prometheus' Alertmanager.

What is to be told is in the incidents' own rows, so that nothing is lost when who is told is away: it is tried again,
later and later, for a day.
"""

from __future__ import annotations

import base64
import hmac
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import Engine, text

from models.settings import Settings

ANSWER_SECONDS: Final = 5.0
#: Incidents a run tells; the next run comes a few seconds later.
TOLD_A_RUN: Final = 20
FIRST_WAIT_SECONDS: Final = 5
WAIT_SECONDS_MOST: Final = 3600
TRIES_MOST: Final = 30
#: Alertmanager forgets an alert that is not told again; ours are events, shown for so long.
ALERT_SECONDS: Final = 3600

log = structlog.get_logger(__name__)
_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of an incident: no address and no name, an operator looks those up by the id."""

    id: str
    rule: str
    subject_kind: str
    answer: str
    opened_at: datetime
    events: int


def webhook_headers(secret: bytes, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of Standard Webhooks 1.0: HMAC-SHA256 over id, time and body."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()
    return {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }


class Telling:
    """Tells of incidents that were not told yet."""

    def __init__(
        self, engine: Engine, settings: Settings, post: Callable[[str, bytes, dict[str, str]], None] | None = None
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._post = post or _post

    def tell(self) -> int:
        """Tell of some; returns how many were told. Without anybody to tell, the log line was all."""
        if not (self._settings.webhook_url or self._settings.alertmanager_url):
            return 0
        told = 0
        for incident, tries in self._untold():
            try:
                self._tell(incident)
            except OSError as error:
                self._again(incident, tries, error)
            else:
                self._done(incident)
                told += 1
        return told

    def _tell(self, incident: Told) -> None:
        settings = self._settings
        if settings.webhook_url and settings.webhook_secret:
            body = _encode(
                {"type": "incident.opened", "timestamp": incident.opened_at.isoformat(), "data": _data(incident)}
            )
            headers = webhook_headers(settings.webhook_secret, f"incident_{incident.id}", int(time.time()), body)
            self._post(settings.webhook_url, body, headers)
        if settings.alertmanager_url:
            url = settings.alertmanager_url.rstrip("/") + "/api/v2/alerts"
            self._post(url, _encode([_alert(incident, settings.api_url)]), {"Content-Type": "application/json"})

    def _untold(self) -> list[tuple[Told, int]]:
        """Takes some for this run: another who looks meanwhile finds them later."""
        with self._engine.begin() as connection:
            rows = connection.execute(
                text(
                    "UPDATE incidents SET tries = tries + 1, next_try_at = clock_timestamp()"
                    "   + make_interval(secs => least(:most, :first * 2 ^ least(tries, 20)))"
                    " WHERE id = ANY (ARRAY(SELECT id FROM incidents WHERE told_at IS NULL AND tries < :tries"
                    "   AND next_try_at <= clock_timestamp() ORDER BY next_try_at LIMIT :some FOR UPDATE SKIP LOCKED))"
                    " RETURNING id::text, rule, subject_kind, answer, opened_at, events, tries"
                ),
                {"most": WAIT_SECONDS_MOST, "first": FIRST_WAIT_SECONDS, "tries": TRIES_MOST, "some": TOLD_A_RUN},
            )
            return [(Told(*row[:6]), row.tries) for row in rows]

    def _done(self, incident: Told) -> None:
        with self._engine.begin() as connection:
            connection.execute(
                text("UPDATE incidents SET told_at = clock_timestamp() WHERE id = CAST(:id AS uuid)"),
                {"id": incident.id},
            )

    def _again(self, incident: Told, tries: int, error: OSError) -> None:
        # Neither the address nor what it answered: a URL may hold a secret.
        log.warning(
            "an incident cannot be told",
            **{"event.action": "tell"},
            incident=incident.id,
            tries=tries,
            error=type(error),
        )


def _data(incident: Told) -> dict[str, Any]:
    return {
        "incident": incident.id,
        "rule": incident.rule,
        "subject_kind": incident.subject_kind,
        "answer": incident.answer,
        "events": incident.events,
    }


def _alert(incident: Told, api_url: str) -> dict[str, Any]:
    ends = time.time() + ALERT_SECONDS
    return {
        "labels": {
            "alertname": "ScoreboardIncident",
            "severity": "warning",
            "rule": incident.rule,
            "answer": incident.answer,
            "incident": incident.id,
        },
        "annotations": {"summary": f"{incident.rule}: {incident.events} events of one {incident.subject_kind}"},
        "startsAt": incident.opened_at.isoformat(),
        "endsAt": datetime.fromtimestamp(ends, incident.opened_at.tzinfo).isoformat(),
        "generatorURL": api_url,
    }


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Who is told is who was named: a redirect would send the message elsewhere."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow none."""


def _post(url: str, body: bytes, headers: dict[str, str]) -> None:
    """Raises OSError (urllib's errors are such) unless the answer is a success."""
    request = urllib.request.Request(url, body, headers, method="POST")  # noqa: S310 - of the settings
    with urllib.request.build_opener(_NoRedirect).open(request, timeout=ANSWER_SECONDS):
        pass
