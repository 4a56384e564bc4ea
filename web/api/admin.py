"""What operators do over HTTP: the same as their commands, each with a reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

import msgspec
from flask import Blueprint, Response, request

from models.accounts import restrictions
from models.accounts.restrictions import Restriction
from models.errors import FieldError, ValidationFailed
from models.guard import acts, incidents, quarantine
from models.guard.audit import newest_seals
from models.guard.desk import Why
from models.guard.incidents import Incident
from models.guard.moderation import Counted, Span
from web import access
from web.api import admin_schemas as shapes
from web.api.admin_acting import PAGE, READ, WRITE, found_uuid, id_in_cursor, limit, page, uuid_of, when, why
from web.api.answers import RANKS_BYTES_MOST, answer, known_query, parsed, query_text, rfc3339_of
from web.api.cursors import cursor_in
from web.api.openapi import Operation, Parameter, operation
from web.services import services

blueprint = Blueprint("admin", __name__, url_prefix="/api/v1/admin")

_because: Final = msgspec.json.Decoder(shapes.Because)
_restriction: Final = msgspec.json.Decoder(shapes.NewRestriction)
_lift: Final = msgspec.json.Decoder(shapes.Lift)
_updates: Final = msgspec.json.Decoder(shapes.Updates)


@blueprint.get("/incidents")
@operation(
    Operation(
        "Incidents, the newest first",
        "moderation",
        answers={200: shapes.Incidents},
        codes=READ,
        parameters=(
            Parameter("all", "`1` for those that are closed too"),
            Parameter("subject", "of one user id or address"),
            *PAGE,
        ),
    )
)
@access.scope("moderation")
def list_incidents() -> Response:
    """Those that are open, or all."""
    known_query(request.args, "all", "subject", "cursor", "limit")
    most, subject, before = limit(), query_text(request.args, "subject"), id_in_cursor()
    open_only = request.args.get("all") != "1"
    with services().stores.engine.connect() as connection:
        rows = incidents.listed(connection, open_only=open_only, subject=subject, before=before, limit=most + 1)
    found, cursor = page(rows, most, lambda each: (each.id,))
    names = services().stores.users.names({each.subject for each in found})
    return answer(shapes.Incidents([_incident(each, names) for each in found], cursor))


@blueprint.get("/incidents/<incident>")
@operation(Operation("One incident", "moderation", answers={200: shapes.Incident}, codes=("forbidden", "not_found")))
@access.scope("moderation")
def show_incident(incident: str) -> Response:
    """With its evidence."""
    with services().stores.engine.connect() as connection:
        return answer(_named(incidents.found(connection, found_uuid(incident, "incident"))))


@blueprint.post("/incidents/<incident>/close")
@operation(
    Operation("Close an incident", "moderation", body=shapes.Because, answers={200: shapes.Incident}, codes=WRITE)
)
@access.scope("moderation")
def close_incident(incident: str) -> Response:
    """What was imposed for it goes on until its end, or until it is lifted."""
    because = parsed(_because)
    closed = services().stores.desk.close_incident(found_uuid(incident, "incident"), why(because.reason))
    return answer(_named(closed))


@blueprint.get("/restrictions")
@operation(
    Operation(
        "Who is restricted now",
        "moderation",
        answers={200: shapes.Restrictions},
        codes=READ,
        parameters=(Parameter("kind", "block, throttle or quarantine"), *PAGE),
    )
)
@access.scope("moderation")
def list_restrictions() -> Response:
    """The newest first."""
    known_query(request.args, "kind", "cursor", "limit")
    most, before = limit(), id_in_cursor()
    wanted = request.args.get("kind")
    kind = next((kind for kind in restrictions.KINDS if kind == wanted), None)
    if wanted is not None and kind is None:
        raise ValidationFailed(errors=(FieldError("/kind", "must be block, throttle or quarantine"),))
    with services().stores.engine.connect() as connection:
        rows = restrictions.standing(connection, kind=kind, before=before, limit=most + 1)
    found, cursor = page(rows, most, lambda each: (each.id,))
    names = services().stores.users.names({each.subject for each in found})
    return answer(shapes.Restrictions([restricted(each, names) for each in found], cursor))


@blueprint.post("/restrictions")
@operation(
    Operation(
        "Restrict a player or an address",
        "moderation",
        body=shapes.NewRestriction,
        answers={201: shapes.Restriction},
        codes=WRITE,
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
        why(wanted.reason),
        seconds=wanted.seconds,
        throttle_to=wanted.throttle_to,
    )
    return answer(restricted(imposed, services().stores.users.names([imposed.subject])), 201)


@blueprint.post("/restrictions/lift")
@operation(
    Operation("Lift a restriction", "moderation", body=shapes.Lift, answers={200: shapes.Restriction}, codes=WRITE)
)
@access.scope("moderation")
def lift() -> Response:
    """Ends it now, everywhere within a second."""
    wanted = parsed(_lift)
    lifted = services().stores.desk.lift(wanted.subject_kind, wanted.subject, wanted.kind, why(wanted.reason))
    return answer(restricted(lifted, services().stores.users.names([lifted.subject])))


@blueprint.get("/quarantine")
@operation(
    Operation(
        "Whose updates are held back",
        "moderation",
        answers={200: shapes.HeldPlayers},
        codes=READ,
        parameters=PAGE,
    )
)
@access.scope("moderation")
def list_held() -> Response:
    """The longest waiting first."""
    known_query(request.args, "cursor", "limit")
    most, place = limit(), cursor_in(request.args, tuple[datetime, str])
    after = None if place is None else (place[0], uuid_of(place[1]))
    with services().stores.engine.connect() as connection:
        rows = quarantine.players(connection, after=after, limit=most + 1)
    found, cursor = page(rows, most, lambda each: (each.oldest_accepted_at, each.user_id))
    held = [shapes.HeldPlayer(h.user_id, h.username, h.updates, rfc3339_of(h.oldest_accepted_at)) for h in found]
    return answer(shapes.HeldPlayers(held, cursor))


@blueprint.get("/quarantine/<username>")
@operation(
    Operation(
        "What is held back of a player",
        "moderation",
        answers={200: shapes.HeldUpdates},
        codes=(*READ, "not_found"),
        parameters=PAGE,
    )
)
@access.scope("moderation")
def show_held(username: str) -> Response:
    """In the order of acceptance."""
    known_query(request.args, "cursor", "limit")
    most, after = limit(), cursor_in(request.args, tuple[datetime, str])
    stores = services().stores
    user = stores.users.by_name(username)
    with stores.engine.connect() as connection:
        rows = quarantine.updates(connection, user.user_id, after=after, limit=most + 1)
    found, cursor = page(rows, most, lambda each: (each.accepted_at, each.action_id))
    held = [shapes.HeldUpdate(u.action_id, u.action, u.value, rfc3339_of(u.accepted_at), u.request_id) for u in found]
    return answer(shapes.HeldUpdates(held, cursor))


@blueprint.post("/quarantine/<username>/release")
@operation(
    Operation("Release what is held back", "moderation", body=shapes.Because, answers={200: shapes.Done}, codes=WRITE)
)
@access.scope("moderation")
def release(username: str) -> Response:
    """Ends the player's quarantine; what was held back counts."""
    here, because = services(), parsed(_because)
    released, shard = here.stores.desk.release(username, why(because.reason))
    here.wakeup.wake(shard)
    return answer(shapes.Done(released))


@blueprint.post("/quarantine/<username>/reject")
@operation(
    Operation("Reject what is held back", "moderation", body=shapes.Because, answers={200: shapes.Done}, codes=WRITE)
)
@access.scope("moderation")
def reject(username: str) -> Response:
    """It never counts; the quarantine goes on."""
    because = parsed(_because)
    return answer(shapes.Done(services().stores.desk.reject(username, why(because.reason))))


@blueprint.post("/players/<username>/hide")
@operation(
    Operation(
        "Take a player off the boards", "moderation", body=shapes.Because, answers={200: shapes.Changed}, codes=WRITE
    )
)
@access.scope("moderation")
def hide(username: str) -> Response:
    """Boards and sockets follow at once; scores go on counting."""
    because = parsed(_because)
    return answer(shapes.Changed(services().stores.desk.hide(username, why(because.reason), hidden=True)))


@blueprint.post("/players/<username>/show")
@operation(
    Operation(
        "Put a player back on the boards",
        "moderation",
        body=shapes.Because,
        answers={200: shapes.Changed},
        codes=WRITE,
    )
)
@access.scope("moderation")
def show(username: str) -> Response:
    """With the score of now."""
    because = parsed(_because)
    return answer(shapes.Changed(services().stores.desk.hide(username, why(because.reason), hidden=False)))


@blueprint.post("/players/<username>/void")
@operation(
    Operation("Void updates", "moderation", body=shapes.Updates, answers={200: shapes.ModeratedUpdates}, codes=WRITE)
)
@access.scope("moderation")
def void(username: str) -> Response:
    """Takes back what they brought, as rows of history; can be undone."""
    return _moderate(username, services().stores.desk.void)


@blueprint.post("/players/<username>/restore")
@operation(
    Operation("Undo a void", "moderation", body=shapes.Updates, answers={200: shapes.ModeratedUpdates}, codes=WRITE)
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
        codes=WRITE,
    )
)
@access.scope("admin")
def change_key(username: str) -> Response:
    """The old one is refused everywhere within a second."""
    because = parsed(_because)
    return answer(shapes.NewKey(services().stores.desk.change_key(username, why(because.reason)).hex()), 201)


@blueprint.get("/acts")
@operation(
    Operation(
        "What operators and rules did",
        "moderation",
        answers={200: shapes.Acts},
        codes=READ,
        parameters=(
            Parameter("subject", "of one user id, address or incident"),
            Parameter("operator", "of one operator or rule, as `token ada` or `rule forged-tokens`"),
            Parameter("act", "how the kind of act begins, as `block`"),
            *PAGE,
        ),
    )
)
@access.scope("moderation")
def list_acts() -> Response:
    """The newest first."""
    known_query(request.args, "subject", "operator", "act", "cursor", "limit")
    most, before = limit(), id_in_cursor()
    subject, operator, act = (query_text(request.args, name, 200) for name in ("subject", "operator", "act"))
    with services().stores.engine.connect() as connection:
        rows = acts.newest(connection, subject=subject, operator=operator, act=act, before=before, limit=most + 1)
    found, cursor = page(rows, most, lambda each: (each.id,))
    names = services().stores.users.names({each.subject for each in found})
    told = [
        shapes.Act(
            a.id, a.operator, a.act, a.subject, names.get(a.subject), a.reason, a.details, rfc3339_of(a.created_at)
        )
        for a in found
    ]
    return answer(shapes.Acts(told, cursor))


@blueprint.get("/seals")
@operation(
    Operation("The chain over history and acts", "moderation", answers={200: shapes.Seals}, codes=READ, parameters=PAGE)
)
@access.scope("moderation")
def list_seals() -> Response:
    """The newest first; `audit verify` checks them."""
    known_query(request.args, "cursor", "limit")
    most, place = limit(), cursor_in(request.args, tuple[int])
    with services().stores.engine.connect() as connection:
        rows = newest_seals(connection, before=place[0] if place else None, limit=most + 1)
    found, cursor = page(rows, most, lambda each: (each.seal.number,))
    told = [
        shapes.Seal(
            each.seal.number,
            each.seal.rows,
            rfc3339_of(each.seal.upto),
            rfc3339_of(each.sealed_at),
            each.seal.hash.hex(),
            each.seal.key_id,
        )
        for each in found
    ]
    return answer(shapes.Seals(told, cursor))


def _moderate(username: str, act: Callable[[str, Span, Why], list[Counted]]) -> Response:
    wanted = parsed(_updates, RANKS_BYTES_MOST)
    if wanted.action_ids is None and wanted.since is None and wanted.until is None:
        raise ValidationFailed(errors=(FieldError("/action_ids", "say which: action_ids, or since and until"),))
    those = act(username, Span(wanted.action_ids, wanted.since, wanted.until), why(wanted.reason))
    return answer(
        shapes.ModeratedUpdates([shapes.Moderated(c.action_id, c.board, c.season, c.increment) for c in those])
    )


def _named(found: Incident) -> shapes.Incident:
    return _incident(found, services().stores.users.names([found.subject]))


def _incident(found: Incident, names: Mapping[str, str]) -> shapes.Incident:
    return shapes.Incident(
        found.id,
        found.rule,
        found.subject_kind,
        found.subject,
        names.get(found.subject),
        found.answer,
        rfc3339_of(found.opened_at),
        rfc3339_of(found.last_seen_at),
        found.events,
        found.suspicion,
        found.evidence,
        when(found.closed_at),
        found.closed_by,
        found.closed_reason,
    )


def restricted(found: Restriction, names: Mapping[str, str]) -> shapes.Restriction:
    """A restriction as it is told; `names` are those of players by their ids."""
    return shapes.Restriction(
        found.id,
        found.subject_kind,
        found.subject,
        names.get(found.subject),
        found.kind,
        found.throttle_to,
        found.reason,
        found.imposed_by,
        found.incident,
        rfc3339_of(found.imposed_at),
        when(found.ends_at),
        when(found.lifted_at),
    )
