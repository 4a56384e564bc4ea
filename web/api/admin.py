"""What operators do over HTTP: the same as their commands, each with a reason."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from flask import Blueprint, Response, request

from models.accounts import restrictions
from models.accounts.restrictions import Restriction
from models.errors import FieldError, NotFound, ValidationFailed
from models.guard import acts, incidents, quarantine
from models.guard.desk import Why
from models.guard.incidents import Incident
from models.guard.moderation import Counted, Span
from web import access
from web.api import admin_schemas as shapes
from web.api.answers import answer, known_query, parsed, query_integer, rfc3339_of
from web.api.openapi import Operation, Parameter, operation
from web.services import services

blueprint = Blueprint("admin", __name__, url_prefix="/api/v1/admin")

_because: Final = msgspec.json.Decoder(shapes.Because)
_restriction: Final = msgspec.json.Decoder(shapes.NewRestriction)
_lift: Final = msgspec.json.Decoder(shapes.Lift)
_updates: Final = msgspec.json.Decoder(shapes.Updates)
_BODY: Final = ("malformed_json", "validation_failed", "unsupported_media_type", "payload_too_large")
_READ: Final = ("forbidden", "validation_failed")
_WRITE: Final = (*_BODY, "forbidden", "not_found", "rate_limited")
_LIMIT: Final = Parameter("limit", "how many, 50 when left out", {"type": "integer", "minimum": 1, "maximum": 500})


@blueprint.get("/incidents")
@operation(
    Operation(
        "Incidents, the newest first",
        "moderation",
        answers={200: shapes.Incidents},
        codes=_READ,
        parameters=(Parameter("all", "`1` for those that are closed too"), _LIMIT),
    )
)
@access.scope("moderation")
def list_incidents() -> Response:
    """Those that are open, or all."""
    known_query(request.args, "all", "limit")
    limit = query_integer(request.args, "limit", 50, 1, 500)
    with services().stores.engine.connect() as connection:
        found = incidents.listed(connection, open_only=request.args.get("all") != "1", limit=limit)
    return answer(shapes.Incidents([_incident(each) for each in found]))


@blueprint.get("/incidents/<incident>")
@operation(Operation("One incident", "moderation", answers={200: shapes.Incident}, codes=("forbidden", "not_found")))
@access.scope("moderation")
def show_incident(incident: str) -> Response:
    """With its evidence."""
    with services().stores.engine.connect() as connection:
        return answer(_incident(incidents.found(connection, _uuid(incident))))


@blueprint.post("/incidents/<incident>/close")
@operation(
    Operation("Close an incident", "moderation", body=shapes.Because, answers={200: shapes.Incident}, codes=_WRITE)
)
@access.scope("moderation")
def close_incident(incident: str) -> Response:
    """What was imposed for it goes on until its end, or until it is lifted."""
    because = parsed(_because)
    return answer(_incident(services().stores.desk.close_incident(_uuid(incident), _why(because.reason))))


@blueprint.get("/restrictions")
@operation(
    Operation(
        "Who is restricted now",
        "moderation",
        answers={200: shapes.Restrictions},
        codes=_READ,
        parameters=(Parameter("kind", "block, throttle or quarantine"), _LIMIT),
    )
)
@access.scope("moderation")
def list_restrictions() -> Response:
    """The newest first."""
    known_query(request.args, "kind", "limit")
    limit = query_integer(request.args, "limit", 50, 1, 500)
    wanted = request.args.get("kind")
    kind = next((kind for kind in restrictions.KINDS if kind == wanted), None)
    if wanted is not None and kind is None:
        raise ValidationFailed(errors=(FieldError("/kind", "must be block, throttle or quarantine"),))
    with services().stores.engine.connect() as connection:
        found = restrictions.standing(connection, kind=kind, limit=limit)
    return answer(shapes.Restrictions([_restricted(each) for each in found]))


@blueprint.post("/restrictions")
@operation(
    Operation(
        "Restrict a player or an address",
        "moderation",
        body=shapes.NewRestriction,
        answers={201: shapes.Restriction},
        codes=_WRITE,
    )
)
@access.scope("moderation")
def restrict() -> Response:
    """Holds everywhere within a second, and ends by itself after `seconds`."""
    wanted = parsed(_restriction)
    imposed = services().stores.desk.restrict(
        wanted.subject_kind,
        wanted.subject,
        wanted.kind,
        _why(wanted.reason),
        seconds=wanted.seconds,
        throttle_to=wanted.throttle_to,
    )
    return answer(_restricted(imposed), 201)


@blueprint.post("/restrictions/lift")
@operation(
    Operation("Lift a restriction", "moderation", body=shapes.Lift, answers={200: shapes.Restriction}, codes=_WRITE)
)
@access.scope("moderation")
def lift() -> Response:
    """Ends it now, everywhere within a second."""
    wanted = parsed(_lift)
    lifted = services().stores.desk.lift(wanted.subject_kind, wanted.subject, wanted.kind, _why(wanted.reason))
    return answer(_restricted(lifted))


@blueprint.get("/quarantine")
@operation(Operation("Whose updates are held back", "moderation", answers={200: shapes.HeldPlayers}, codes=_READ))
@access.scope("moderation")
def list_held() -> Response:
    """The longest waiting first."""
    with services().stores.engine.connect() as connection:
        found = quarantine.players(connection)
    held = [shapes.HeldPlayer(h.user_id, h.username, h.updates, rfc3339_of(h.oldest_accepted_at)) for h in found]
    return answer(shapes.HeldPlayers(held))


@blueprint.get("/quarantine/<username>")
@operation(
    Operation(
        "What is held back of a player",
        "moderation",
        answers={200: shapes.HeldUpdates},
        codes=(*_READ, "not_found"),
        parameters=(_LIMIT,),
    )
)
@access.scope("moderation")
def show_held(username: str) -> Response:
    """In the order of acceptance."""
    known_query(request.args, "limit")
    limit = query_integer(request.args, "limit", 50, 1, 500)
    stores = services().stores
    user = stores.users.by_name(username)
    with stores.engine.connect() as connection:
        found = quarantine.updates(connection, user.user_id, limit=limit)
    held = [shapes.HeldUpdate(u.action_id, u.action, u.value, rfc3339_of(u.accepted_at), u.request_id) for u in found]
    return answer(shapes.HeldUpdates(held))


@blueprint.post("/quarantine/<username>/release")
@operation(
    Operation("Release what is held back", "moderation", body=shapes.Because, answers={200: shapes.Done}, codes=_WRITE)
)
@access.scope("moderation")
def release(username: str) -> Response:
    """Ends the player's quarantine; what was held back counts."""
    here, because = services(), parsed(_because)
    released, shard = here.stores.desk.release(username, _why(because.reason))
    here.wakeup.wake(shard)
    return answer(shapes.Done(released))


@blueprint.post("/quarantine/<username>/reject")
@operation(
    Operation("Reject what is held back", "moderation", body=shapes.Because, answers={200: shapes.Done}, codes=_WRITE)
)
@access.scope("moderation")
def reject(username: str) -> Response:
    """It never counts; the quarantine goes on."""
    because = parsed(_because)
    return answer(shapes.Done(services().stores.desk.reject(username, _why(because.reason))))


@blueprint.post("/players/<username>/hide")
@operation(
    Operation(
        "Take a player off the boards", "moderation", body=shapes.Because, answers={200: shapes.Changed}, codes=_WRITE
    )
)
@access.scope("moderation")
def hide(username: str) -> Response:
    """Boards and sockets follow at once; scores go on counting."""
    because = parsed(_because)
    return answer(shapes.Changed(services().stores.desk.hide(username, _why(because.reason), hidden=True)))


@blueprint.post("/players/<username>/show")
@operation(
    Operation(
        "Put a player back on the boards",
        "moderation",
        body=shapes.Because,
        answers={200: shapes.Changed},
        codes=_WRITE,
    )
)
@access.scope("moderation")
def show(username: str) -> Response:
    """With the score of now."""
    because = parsed(_because)
    return answer(shapes.Changed(services().stores.desk.hide(username, _why(because.reason), hidden=False)))


@blueprint.post("/players/<username>/void")
@operation(
    Operation("Void updates", "moderation", body=shapes.Updates, answers={200: shapes.ModeratedUpdates}, codes=_WRITE)
)
@access.scope("moderation")
def void(username: str) -> Response:
    """Takes back what they brought, as rows of history; can be undone."""
    return _moderate(username, services().stores.desk.void)


@blueprint.post("/players/<username>/restore")
@operation(
    Operation("Undo a void", "moderation", body=shapes.Updates, answers={200: shapes.ModeratedUpdates}, codes=_WRITE)
)
@access.scope("moderation")
def restore(username: str) -> Response:
    """Lets voided updates count again."""
    return _moderate(username, services().stores.desk.restore)


@blueprint.post("/players/<username>/key")
@operation(
    Operation(
        "Give a player a new signature key",
        "moderation",
        body=shapes.Because,
        answers={201: shapes.NewKey},
        codes=_WRITE,
    )
)
@access.scope("admin")
def change_key(username: str) -> Response:
    """The old one is refused everywhere within a second."""
    because = parsed(_because)
    return answer(shapes.NewKey(services().stores.desk.change_key(username, _why(because.reason)).hex()), 201)


@blueprint.get("/acts")
@operation(
    Operation(
        "What operators and rules did",
        "moderation",
        answers={200: shapes.Acts},
        codes=_READ,
        parameters=(Parameter("subject", "of one user id, address or incident"), _LIMIT),
    )
)
@access.scope("moderation")
def list_acts() -> Response:
    """The newest first."""
    known_query(request.args, "subject", "limit")
    limit = query_integer(request.args, "limit", 50, 1, 500)
    with services().stores.engine.connect() as connection:
        found = acts.newest(connection, subject=request.args.get("subject"), limit=limit)
    told = [
        shapes.Act(a.id, a.operator, a.act, a.subject, a.reason, a.details, rfc3339_of(a.created_at)) for a in found
    ]
    return answer(shapes.Acts(told))


def _moderate(username: str, act: Callable[[str, Span, Why], list[Counted]]) -> Response:
    wanted = parsed(_updates)
    if wanted.action_ids is None and wanted.since is None and wanted.until is None:
        raise ValidationFailed(errors=(FieldError("/action_ids", "say which: action_ids, or since and until"),))
    those = act(username, Span(wanted.action_ids, wanted.since, wanted.until), _why(wanted.reason))
    return answer(
        shapes.ModeratedUpdates([shapes.Moderated(c.action_id, c.board, c.season, c.increment) for c in those])
    )


def _why(reason: str) -> Why:
    return Why(f"token {access.claims().subject}", reason)


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise NotFound("There is no such incident.") from None


def _when(instant: datetime | None) -> str | None:
    return None if instant is None else rfc3339_of(instant)


def _incident(found: Incident) -> shapes.Incident:
    return shapes.Incident(
        found.id,
        found.rule,
        found.subject_kind,
        found.subject,
        found.answer,
        rfc3339_of(found.opened_at),
        rfc3339_of(found.last_seen_at),
        found.events,
        found.suspicion,
        found.evidence,
        _when(found.closed_at),
        found.closed_by,
        found.closed_reason,
    )


def _restricted(found: Restriction) -> shapes.Restriction:
    return shapes.Restriction(
        found.id,
        found.subject_kind,
        found.subject,
        found.kind,
        found.throttle_to,
        found.reason,
        found.imposed_by,
        found.incident,
        rfc3339_of(found.imposed_at),
        _when(found.ends_at),
        _when(found.lifted_at),
    )
