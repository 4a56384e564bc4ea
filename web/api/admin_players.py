"""Players as operators see them: found by name or id, with places, history, and what is held against them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

import msgspec
from flask import Blueprint, Response, request
from sqlalchemy import text

from models.accounts import restrictions
from models.accounts.users import User
from models.errors import FieldError, NotReady, ValidationFailed
from models.guard import moderation
from models.pipeline import ledger
from models.pipeline.ledger import HistoryCursor
from web import access
from web.api import admin_schemas as shapes
from web.api.admin import restricted
from web.api.admin_acting import PAGE, READ, SCOPE, WRITE, limit, page, when, why
from web.api.answers import answer, known_query, parsed, query_text, rfc3339_of
from web.api.cursors import cursor_in, cursor_of, not_ours
from web.api.openapi import Operation, Parameter, operation
from web.services import services

blueprint = Blueprint("admin_players", __name__, url_prefix="/api/v1/admin/players")

_because: Final = msgspec.json.Decoder(shapes.Because)
_ID: Final = re.compile(r"\A[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z", re.IGNORECASE)


@blueprint.get("")
@operation(
    Operation(
        "Find players",
        "moderation",
        answers={200: shapes.FoundPlayers},
        codes=READ,
        parameters=(Parameter("name", "how the name begins, whatever the case; or a whole user id"), *PAGE),
    )
)
@access.scope(SCOPE)
def find() -> Response:
    """In the order of their names."""
    known_query(request.args, "name", "cursor", "limit")
    name, place, most = query_text(request.args, "name"), cursor_in(request.args, tuple[str]), limit()
    if name is None:
        raise ValidationFailed(errors=(FieldError("/name", "say how the name begins, or the user id"),))
    users = services().stores.users
    if _ID.match(name):
        found, cursor = [each for each in (users.by_id(name),) if each is not None], None
    else:
        rows = users.beginning_with(name, after=place[0] if place else None, limit=most + 1)
        found, cursor = page(rows, most, lambda each: (each.username,))  # type: ignore[assignment]
    return answer(shapes.FoundPlayers([_player(each) for each in found], cursor))


@blueprint.get("/<username>")
@operation(
    Operation(
        "A player, for operators", "moderation", answers={200: shapes.PlayerFile}, codes=("forbidden", "not_found")
    )
)
@access.scope(SCOPE)
def show(username: str) -> Response:
    """Scores from PostgreSQL, ranks from the ranking; without Redis there are no ranks."""
    stores = services().stores
    user = stores.users.by_name(username)
    with stores.engine.connect() as connection:
        scores = ledger.scores_of(connection, user.user_id)
        imposed = restrictions.of_subject(connection, "user", user.user_id)
        open_incidents, held, letters = connection.execute(_COUNTS, {"user_id": user.user_id}).one()
    ranks = {board: _rank(board, user.user_id) for board in {score.board for score in scores}}
    seasons = stores.registry.seasons()
    places = [
        shapes.PlayersPlace(
            s.board,
            s.season,
            s.score,
            s.version,
            ranks[s.board] if seasons.get(s.board) == s.season else None,
            s.last_action_id,
            rfc3339_of(s.last_action_at),
        )
        for s in scores
    ]
    names = {user.user_id: user.username}
    told = [restricted(each, names) for each in imposed]
    return answer(shapes.PlayerFile(_player(user), places, told, open_incidents, held, letters))


@blueprint.get("/<username>/history")
@operation(
    Operation(
        "A player's history, newest first",
        "moderation",
        answers={200: shapes.ModeratedHistory},
        codes=(*READ, "not_found", "board_unknown"),
        parameters=(Parameter("board", "a board's name; all boards when left out"), *PAGE),
    )
)
@access.scope(SCOPE)
def history(username: str) -> Response:
    """With the rows that acts of operators made, and which updates are void now."""
    known_query(request.args, "board", "cursor", "limit")
    board, most, place = request.args.get("board"), limit(), cursor_in(request.args, tuple[datetime, str, int])
    stores = services().stores
    if board:
        stores.catalogue.board(board)
    if place is not None and place[1] not in stores.catalogue.boards:
        raise not_ours()
    user = stores.users.by_name(username)
    seasons = [(name, season) for name, season in stores.registry.seasons().items() if board in (None, "", name)]
    before = HistoryCursor(*place) if place else None
    with stores.engine.connect() as connection:
        rows = ledger.history(connection, user.user_id, seasons, before=before, limit=most + 1)
        void = moderation.void_among(connection, user.user_id, [row.action_id for row in rows])
    last = rows[most - 1] if len(rows) > most else None
    entries = [
        shapes.ModeratedRow(
            r.action_id,
            r.action,
            r.value,
            r.board,
            r.season,
            r.version,
            r.score_increment,
            r.previous_score,
            r.new_score,
            rfc3339_of(r.created_at),
            (r.action_id, r.board) in void,
        )
        for r in rows[:most]
    ]
    cursor = cursor_of(last.created_at, last.board, last.version) if last else None
    return answer(shapes.ModeratedHistory(entries, cursor))


@blueprint.post("/<username>/sign-out")
@operation(
    Operation("End a player's sign-ins", "moderation", body=shapes.Because, answers={200: shapes.SignIns}, codes=WRITE)
)
@access.scope(SCOPE)
def sign_out(username: str) -> Response:
    """All tokens of the player are refused everywhere within a second, and sockets closed; they may sign in again."""
    because = parsed(_because)
    return answer(shapes.SignIns(services().stores.desk.sign_out(username, why(because.reason))))


_COUNTS: Final = text(
    "SELECT (SELECT count(*) FROM incidents WHERE subject_kind = 'user' AND subject = CAST(:user_id AS text)"
    "   AND closed_at IS NULL),"
    " (SELECT count(*) FROM quarantine WHERE user_id = CAST(:user_id AS uuid)),"
    " (SELECT count(*) FROM dead_letters WHERE user_id = CAST(:user_id AS uuid) AND dropped_at IS NULL)"
)


def _player(user: User) -> shapes.Player:
    return shapes.Player(
        user.user_id,
        user.username,
        rfc3339_of(user.created_at),
        when(user.hidden_at),
        when(user.blocked_since),
        when(user.erased_at),
    )


def _rank(board: str, user_id: str) -> int | None:
    stores = services().stores
    if board not in stores.catalogue.boards:
        return None
    try:
        entries = stores.ranking.ranks(board, [user_id]).entries
    except NotReady:
        return None
    return entries[0].rank if entries else None
