"""Dead letters: what could not be applied is looked at, retried under its own id, or dropped with a reason."""

from __future__ import annotations

from typing import Final

import msgspec
from flask import Blueprint, Response, request

from models.errors import FieldError, ValidationFailed
from models.guard import letters
from models.guard.letters import Key, Letter, Place, State
from web import access
from web.api import admin_schemas as shapes
from web.api.admin_acting import PAGE, READ, SCOPE, WRITE, limit, page, uuid_of, when, why
from web.api.answers import RANKS_BYTES_MOST, answer, known_query, parsed, query_text, rfc3339_of
from web.api.cursors import cursor_in
from web.api.openapi import Operation, Parameter, operation
from web.services import services

blueprint = Blueprint("admin_letters", __name__, url_prefix="/api/v1/admin/dead-letters")

_keys: Final = msgspec.json.Decoder(shapes.LetterKeys)
_STATES: Final[tuple[State, ...]] = ("waiting", "dropped")


@blueprint.get("")
@operation(
    Operation(
        "Updates that could not be applied",
        "moderation",
        answers={200: shapes.Letters},
        codes=(*READ, "not_found"),
        parameters=(
            Parameter("state", "`waiting`, which it is when left out, or `dropped`"),
            Parameter("code", "of one cause"),
            Parameter("player", "of one player, by name"),
            *PAGE,
        ),
    )
)
@access.scope(SCOPE)
def list_letters() -> Response:
    """The last parked first."""
    known_query(request.args, "state", "code", "player", "cursor", "limit")
    stores, most = services().stores, limit()
    code, name = (query_text(request.args, each) for each in ("code", "player"))
    found_user = None if name is None else stores.users.by_name(name).user_id
    state, before = _state(), _place()
    with stores.engine.connect() as connection:
        rows = letters.listed(connection, state=state, code=code, user_id=found_user, before=before, limit=most + 1)
        causes = letters.causes(connection)
    found, cursor = page(rows, most, lambda each: (each.parked_at, each.user_id, each.action_id))
    told = [
        shapes.LetterCause(c.code, c.updates, rfc3339_of(c.oldest_parked_at), rfc3339_of(c.newest_parked_at))
        for c in causes
    ]
    return answer(shapes.Letters([_letter(each) for each in found], told, cursor))


@blueprint.post("/retry")
@operation(
    Operation(
        "Give dead letters another try",
        "moderation",
        body=shapes.LetterKeys,
        answers={200: shapes.LettersDone},
        codes=WRITE,
    )
)
@access.scope(SCOPE)
def retry() -> Response:
    """Each goes back into the inbox under its own `action_id`, waiting or dropped, and counts once at most."""
    here, wanted = services(), parsed(_keys, RANKS_BYTES_MOST)
    retried, shards = here.stores.desk.retry(_named(wanted), why(wanted.reason))
    for shard in shards:
        here.wakeup.wake(shard)
    return _done(retried)


@blueprint.post("/drop")
@operation(
    Operation(
        "Have dead letters wait no more",
        "moderation",
        body=shapes.LetterKeys,
        answers={200: shapes.LettersDone},
        codes=WRITE,
    )
)
@access.scope(SCOPE)
def drop() -> Response:
    """They stay, with who dropped them and why; `keep` undoes it."""
    wanted = parsed(_keys, RANKS_BYTES_MOST)
    return _done(services().stores.desk.drop(_named(wanted), why(wanted.reason)))


@blueprint.post("/keep")
@operation(
    Operation(
        "Have dropped letters wait again",
        "moderation",
        body=shapes.LetterKeys,
        answers={200: shapes.LettersDone},
        codes=WRITE,
    )
)
@access.scope(SCOPE)
def keep() -> Response:
    """Undoes a drop."""
    wanted = parsed(_keys, RANKS_BYTES_MOST)
    return _done(services().stores.desk.keep(_named(wanted), why(wanted.reason)))


def _state() -> State:
    wanted = request.args.get("state", "waiting")
    found = next((state for state in _STATES if state == wanted), None)
    if found is None:
        raise ValidationFailed(errors=(FieldError("/state", "must be waiting or dropped"),))
    return found


def _place() -> Place | None:
    place = cursor_in(request.args, Place)
    return None if place is None else place._replace(user_id=uuid_of(place.user_id))


def _named(wanted: shapes.LetterKeys) -> list[Key]:
    return list({Key(each.user_id, each.action_id): None for each in wanted.letters})


def _done(keys: list[Key]) -> Response:
    return answer(shapes.LettersDone([shapes.LetterKey(*key) for key in keys]))


def _letter(found: Letter) -> shapes.Letter:
    return shapes.Letter(
        found.user_id,
        found.username,
        found.action_id,
        found.action,
        found.value,
        found.code,
        found.detail,
        found.attempts,
        found.request_id,
        rfc3339_of(found.accepted_at),
        rfc3339_of(found.parked_at),
        found.state,
        when(found.dropped_at),
        found.dropped_by,
        found.dropped_reason,
    )
