"""What operators and front ends ask first: where things are, and whether they work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import redis
from flask import Blueprint, Response, current_app, g
from kombu.exceptions import OperationalError
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from models import names
from models.pipeline import inbox
from models.storage.tables import SCHEMA_REVISION
from models.stores import Stores
from models.version import VERSION
from web import access, metrics
from web.api import openapi, schemas
from web.api.answers import answer
from web.api.openapi import Operation, operation
from web.broker import Sender
from web.services import services

#: What `/readyz` tells of.
PARTS: Final = ("database", "schema", "redis", "broker", "worker", "inbox")
REQUESTS_REGISTRY: Final = "scoreboard.requests"

blueprint = Blueprint("operations", __name__)


@blueprint.get("/api/v1")
@operation(Operation("Where everything is", "operations", answers={200: schemas.ServiceInfo}))
@access.public
def service_info() -> Response:
    """The one address a front end needs to know."""
    settings = services().settings
    info = schemas.ServiceInfo(
        "Scoreboard", VERSION, settings.api_url, settings.sockets_url, settings.api_url + "/docs"
    )
    return answer(info, cache="public, max-age=60")


@blueprint.get("/api/v1/openapi.json")
@access.public
def openapi_document() -> Response:
    """The API's description, made from its routes and schemas."""
    document = openapi.document(current_app, api_url=services().settings.api_url, version=VERSION)
    return answer(document, cache="public, max-age=60")


@blueprint.get("/healthz")
@operation(Operation("The process lives", "operations", answers={200: schemas.Health}))
@access.public
def health() -> Response:
    """Nothing is asked of anybody else."""
    return answer(schemas.Health("ok"))


@blueprint.get("/readyz")
@operation(Operation("Every part works", "operations", answers={200: schemas.Readiness}, codes=("not_ready",)))
@access.public
def readiness() -> Response:
    """Each part with its state; 503 when one fails."""
    parts = states_of_parts(services().stores)
    ready = all(part.status == "ok" for part in parts.values())
    if ready:
        return answer(schemas.Readiness("ready", parts))
    failing = ", ".join(name for name, part in parts.items() if part.status != "ok")
    problem = {
        "type": "/docs/problems#not_ready",
        "title": "Service Unavailable",
        "status": 503,
        "detail": f"Not ready: {failing}.",
        "code": "not_ready",
        "request_id": g.request_id,
        "parts": parts,
    }
    response = answer(problem, 503)
    response.content_type = "application/problem+json"
    response.headers["Retry-After"] = "1"
    return response


@blueprint.get("/metrics")
@access.public
def prometheus() -> Response:
    """All figures, in Prometheus' text format."""
    content = metrics.exposition(services().stores, current_app.extensions[REQUESTS_REGISTRY])
    return Response(content, content_type=CONTENT_TYPE_LATEST)


def states_of_parts(stores: Stores) -> dict[str, schemas.PartState]:
    """How each part is, looked at now."""
    found = {
        **_postgres(stores),
        "redis": _state_of(_redis, stores),
        "broker": _state_of(_broker, stores),
        "worker": _state_of(_worker, stores),
    }
    return {name: found[name] for name in PARTS}


def _state_of(probe: Callable[[Stores], schemas.PartState], stores: Stores) -> schemas.PartState:
    try:
        return probe(stores)
    except (redis.RedisError, OSError) as error:
        return schemas.PartState("failing", type(error).__name__)  # the message could hold a URL with its password


def _postgres(stores: Stores) -> dict[str, schemas.PartState]:
    """The parts that Postgres tells of, over one connection: a frozen one is waited for once."""
    unknown = schemas.PartState("failing", "not known")
    parts = {"database": unknown, "schema": unknown, "inbox": unknown}
    try:
        with stores.engine.connect() as connection:
            parts["database"] = schemas.PartState("ok")
            parts["schema"] = _schema(connection)
            if parts["schema"].status == "ok":
                parts["inbox"] = _inbox(connection, stores)
    except SQLAlchemyError as error:
        parts["database"] = schemas.PartState("failing", type(error).__name__)
    return parts


def _schema(connection: Connection) -> schemas.PartState:
    there = connection.execute(text("SELECT to_regclass('alembic_version')")).scalar()
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar() if there else None
    wanted = SCHEMA_REVISION
    if found is None or found < wanted:  # one that is ahead only has more: the next version is being rolled out
        return schemas.PartState(
            "failing", f"the database is at {found or 'the beginning'}, this version needs {wanted}"
        )
    return schemas.PartState("ok", found)


def _redis(stores: Stores) -> schemas.PartState:
    stores.redis.ping()
    return schemas.PartState("ok")


def _broker(stores: Stores) -> schemas.PartState:
    sender = Sender(stores.settings.broker_url, stores.settings.shards)
    try:
        sender.probe()
    except OperationalError as error:
        return schemas.PartState("failing", str(error))
    finally:
        sender.close()
    return schemas.PartState("ok")


def _worker(stores: Stores) -> schemas.PartState:
    queues = names.apply_queues(stores.settings.shards)
    seen = stores.redis.mget([names.seen_key(queue) for queue in queues])
    untaken = [queue for queue, said in zip(queues, seen, strict=True) if not said]
    if untaken == list(queues):
        return schemas.PartState("failing", f"no worker took a task in the last {names.WORKER_SEEN_SECONDS} s")
    if untaken:
        return schemas.PartState("ok", f"others stand in for {', '.join(untaken)}")
    return schemas.PartState("ok")


def _inbox(connection: Connection, stores: Stores) -> schemas.PartState:
    state = inbox.state(connection)
    limit = stores.settings
    high = state.depth >= limit.inbox_depth_limit or state.oldest_age_seconds >= limit.inbox_age_limit_seconds
    return schemas.PartState(
        "failing" if high else "ok", depth=state.depth, oldest_age_seconds=round(state.oldest_age_seconds, 3)
    )
