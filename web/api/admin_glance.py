"""The pipeline at a glance: one cheap call for the console, true of all processes whichever of them answers."""

from __future__ import annotations

from typing import Final, cast

import redis
from flask import Blueprint, Response, current_app
from sqlalchemy.exc import SQLAlchemyError

from models.boards import sockets_open
from models.guard import glance
from models.guard.glance import Latency
from models.stores import Stores
from web import access
from web.api import admin_schemas as shapes
from web.api.admin_acting import SCOPE
from web.api.answers import answer, rfc3339_of
from web.api.openapi import Operation, operation
from web.api.operations import states_of_parts
from web.api.remembered import Remembered

EXTENSION: Final = "scoreboard.glances"
#: However many consoles are open, PostgreSQL is asked once a second by a process, and each part every few seconds.
LOOK_SECONDS: Final = 1.0
PARTS_SECONDS: Final = 4.0

blueprint = Blueprint("admin_glance", __name__, url_prefix="/api/v1/admin")


class Glances:
    """What this process has seen lately."""

    def __init__(self, stores: Stores) -> None:
        self.pipeline = Remembered(lambda: _pipeline(stores), LOOK_SECONDS)
        self.sockets = Remembered(lambda: _sockets(stores), LOOK_SECONDS)
        self.parts = Remembered(lambda: states_of_parts(stores), PARTS_SECONDS)


@blueprint.get("/glance")
@operation(Operation("The pipeline at a glance", "moderation", answers={200: shapes.Glance}, codes=("forbidden",)))
@access.scope(SCOPE)
def at_a_glance() -> Response:
    """Also while parts are away: what cannot be known is null then."""
    seen = cast(Glances, current_app.extensions[EXTENSION])
    return answer(shapes.Glance(seen.pipeline.get(), seen.sockets.get(), seen.parts.get()))


def _pipeline(stores: Stores) -> shapes.Pipeline | None:
    try:
        with stores.engine.connect() as connection:
            seen = glance.look(connection)
        with stores.engine.begin() as connection:
            latency = glance.latency(connection)
    except SQLAlchemyError:
        return None  # what `parts` says why
    return shapes.Pipeline(
        at=rfc3339_of(seen.at),
        accepted=seen.accepted,
        settled=max(0, seen.accepted - seen.depth),
        depth=seen.depth,
        oldest_age_seconds=round(seen.oldest_seconds, 3),
        depth_limit=stores.settings.inbox_depth_limit,
        age_limit_seconds=stores.settings.inbox_age_limit_seconds,
        shards=[shapes.ShardState(s.shard, s.updates, round(s.oldest_seconds, 3)) for s in seen.shards],
        latency=_latency(latency),
        unrefreshed_batches=seen.unrefreshed_batches,
        dead_letters=seen.dead_letters,
        held_updates=seen.held_updates,
        open_incidents=seen.open_incidents,
        restrictions=seen.restrictions,
    )


def _latency(found: Latency | None) -> shapes.LatencyState | None:
    if found is None:
        return None
    return shapes.LatencyState(found.updates, round(found.median_seconds, 6), round(found.p99_seconds, 6))


def _sockets(stores: Stores) -> shapes.SocketsState | None:
    try:
        found = sockets_open.in_all(stores.redis)
    except redis.RedisError:
        return None
    return shapes.SocketsState(found.sockets, found.processes)
