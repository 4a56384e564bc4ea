"""Score updates, what became of them, and a player's own standing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final

import msgspec
from flask import Blueprint, Response, g, request, url_for

from models.errors import NotFound, ScoreboardError, ValidationFailed
from models.pipeline import ledger
from models.pipeline.accept import ServerUpdate
from models.pipeline.inbox_writer import Receipt, Verdict
from models.pipeline.ledger import HistoryCursor
from models.pipeline.updates import ActionId, SignedUpdate, UserId, parse, parse_update
from web import access, metrics
from web.api import schemas, waiting
from web.api.answers import BATCH_BYTES_MOST, answer, json_body, known_query, query_integer, rfc3339_of
from web.api.cursors import cursor_in, cursor_of, not_ours
from web.api.openapi import Operation, Parameter, operation
from web.services import services
from web.traced import carried_request_id

blueprint = Blueprint("scores", __name__, url_prefix="/api/v1/scores")

DEFAULT_BOARD: Final = "global"
_batch: Final = msgspec.json.Decoder(schemas.Batch)
_sound_batch: Final = msgspec.json.Decoder(schemas.SoundBatch)
_item: Final = msgspec.json.Decoder(schemas.BatchItem)
_BODY_CODES: Final = ("malformed_json", "validation_failed", "unsupported_media_type", "payload_too_large")
_WRITE_CODES: Final = (*_BODY_CODES, "user_blocked", "rate_limited", "queue_unavailable", "overloaded")
_BOARD: Final = Parameter("board", "a board's name; `global` when left out")


@blueprint.post("/update")
@operation(
    Operation(
        "Send a signed action",
        "scores",
        body=SignedUpdate,
        answers={200: schemas.UpdateState, 202: schemas.UpdateState},
        codes=(
            *_WRITE_CODES,
            "action_unknown",
            "timestamp_out_of_window",
            "signature_invalid",
            "nonce_reused",
            "action_id_conflict",
        ),
        parameters=(Parameter("Prefer", "`wait=<seconds, up to 10>` to be told the result", location="header"),),
    )
)
@access.player
def update() -> Response:
    """202 once the update is a committed row of the inbox (I1); 200 with its results for who waits."""
    here, user_id = services(), access.player_id()
    signed = parse_update(json_body())
    request_id = carried_request_id(here.tracing)
    receipt = here.stores.acceptor.accept(user_id, signed, address=access.address(), request_id=request_id)
    g.accepted = user_id, receipt.action_id
    metrics.count_receipt(receipt, "single")
    if not receipt.replayed:
        here.wakeup.wake(receipt.shard, request_id)
        here.stores.watch.accepted(signed.action, user_id, signed.value)
    seconds = waiting.wanted_seconds(request.headers.get("Prefer"))
    state = waiting.settled_within(here.stores, user_id, receipt, seconds) if seconds is not None else None
    if state is not None:
        response = answer(state)
        response.headers["Preference-Applied"] = "wait"
    else:
        response = answer(
            schemas.UpdateState(receipt.action_id, "queued", status_url=_status_url(receipt.action_id)), 202
        )
    if receipt.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return response


@blueprint.get("/updates/<action_id>")
@operation(
    Operation(
        "What became of an update", "scores", answers={200: schemas.UpdateState}, codes=("not_found", "user_blocked")
    )
)
@access.player
def update_state(action_id: str) -> Response:
    """Queued, applied with its results, or rejected with its reason; its owner alone may ask."""
    here, user_id = services(), access.player_id()
    outcome = None
    if _is_action_id(action_id):
        with here.stores.engine.connect() as connection:
            outcome = ledger.outcome(connection, user_id, action_id)
    if outcome is None:
        raise NotFound("No such update was accepted.")
    if outcome.status == "queued":
        return answer(schemas.UpdateState(action_id, "queued", status_url=_status_url(action_id)))
    return answer(waiting.settled_state(here.stores, user_id, action_id, outcome, just_now=False))


@blueprint.post("/batch")
@operation(
    Operation(
        "Send up to 1,000 updates for players",
        "scores",
        body=schemas.BatchDocument,
        answers={202: schemas.BatchState},
        codes=(*_WRITE_CODES, "forbidden"),
    )
)
@access.scope("scores:write")
def batch() -> Response:
    """A game server's updates in one commit; one bad item refuses no other."""
    here = services()
    states, places, updates = _read_batch(json_body(BATCH_BYTES_MOST))
    request_id = carried_request_id(here.tracing)
    verdicts = here.stores.acceptor.accept_batch(updates, address=access.address(), request_id=request_id)
    for place, sent, verdict in zip(places, updates, verdicts, strict=True):
        states[place] = _item_state(sent, verdict)
    receipts = [verdict for verdict in verdicts if isinstance(verdict, Receipt)]
    metrics.count_receipts([receipt.replayed for receipt in receipts], "batch")
    for shard in {receipt.shard for receipt in receipts if not receipt.replayed}:
        here.wakeup.wake(shard, request_id)
    return answer(schemas.BatchState([state for state in states if state is not None]), 202)


def _read_batch(body: bytes) -> tuple[list[schemas.BatchItemState | None], Sequence[int], list[ServerUpdate]]:
    """A place for the state of each item, filled for those that are no update; the places of the others; those.

    Raises:
        MalformedJson, ValidationFailed: the body is no batch.
    """
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # told by the other reader, item by item
        sound = [ServerUpdate(i.user_id, i.action_id, i.action, i.value) for i in _sound_batch.decode(body).updates]
        return [None] * len(sound), range(len(sound)), sound
    items = parse(body, _batch).updates
    states: list[schemas.BatchItemState | None] = [None] * len(items)
    updates: list[ServerUpdate] = []
    places: list[int] = []
    for place, raw in enumerate(items):
        try:
            item = parse(bytes(raw), _item)
        except ValidationFailed as error:  # an item that is no JSON makes the body none: that is raised
            states[place] = _refused(_action_id_of(raw), error)
            continue
        places.append(place)
        updates.append(ServerUpdate(item.user_id, item.action_id, item.action, item.value))
    return states, places, updates


@blueprint.get("/me")
@operation(
    Operation(
        "Your own score and rank",
        "scores",
        answers={200: schemas.OwnScore},
        codes=("board_unknown", "validation_failed", "user_blocked"),
        parameters=(_BOARD,),
    )
)
@access.player
def own_score() -> Response:
    """Score and last action from Postgres, rank and total from the ranking."""
    return _standing(access.player_id())


@blueprint.get("/of/<user_id>")
@operation(
    Operation(
        "A player's score and rank",
        "scores",
        answers={200: schemas.OwnScore},
        codes=("board_unknown", "validation_failed", "forbidden", "not_found"),
        parameters=(_BOARD,),
    )
)
@access.scope("boards:read")
def score_of(user_id: str) -> Response:
    """For game servers; also of who is hidden."""
    if not services().stores.users.existing([_user_id(user_id)]):
        raise NotFound("There is no such player.")
    return _standing(user_id)


def _user_id(text: str) -> str:
    try:
        return msgspec.convert(text, UserId)
    except msgspec.ValidationError:
        raise NotFound("There is no such player.") from None


def _standing(user_id: str) -> Response:
    known_query(request.args, "board")
    here = services()
    board = request.args.get("board", DEFAULT_BOARD)
    page = here.stores.ranking.ranks(board, [user_id])
    with here.stores.engine.connect() as connection:
        last = ledger.last_action(connection, user_id, board, page.season)
    rank = page.entries[0].rank if page.entries else None
    own = schemas.OwnScore(
        board=board,
        season=page.season,
        score=last.score if last else 0,
        rank=rank,
        percentile=round(100 * (page.total - rank + 1) / page.total, 4) if rank else None,
        total=page.total,
        last_action_id=last.last_action_id if last else None,
        last_action_at=rfc3339_of(last.last_action_at) if last else None,
    )
    return answer(own, cache="private, no-store")


@blueprint.get("/me/history")
@operation(
    Operation(
        "Your own history, newest first",
        "scores",
        answers={200: schemas.History},
        codes=("board_unknown", "validation_failed", "user_blocked"),
        parameters=(
            Parameter("board", "a board's name; all boards when left out"),
            Parameter("cursor", "`next_cursor` of the page before"),
            Parameter("limit", "rows, 50 when left out", {"type": "integer", "minimum": 1, "maximum": 500}),
        ),
    )
)
@access.player
def own_history() -> Response:
    """A page of the player's rows in the ledger."""
    known_query(request.args, "board", "cursor", "limit")
    here, user_id = services(), access.player_id()
    limit = query_integer(request.args, "limit", 50, 1, 500)
    board = request.args.get("board")
    if board:
        here.stores.catalogue.board(board)
    seasons = [(name, season) for name, season in here.stores.registry.seasons().items() if board in (None, "", name)]
    before = _read_cursor(request.args)
    rows = here.stores.history.page(user_id, seasons, before=before, limit=limit + 1)
    entries = [
        schemas.HistoryRow(
            r.action_id,
            r.action,
            r.value,
            r.board,
            r.score_increment,
            r.previous_score,
            r.new_score,
            rfc3339_of(r.created_at),
        )
        for r in rows[:limit]
    ]
    last = rows[limit - 1] if len(rows) > limit else None
    next_cursor = cursor_of(last.created_at, last.board, last.version) if last else None
    return answer(schemas.History(entries, next_cursor), cache="private, no-store")


def _status_url(action_id: str) -> str:
    return url_for("scores.update_state", action_id=action_id)


def _item_state(sent: ServerUpdate, verdict: Verdict) -> schemas.BatchItemState:
    if isinstance(verdict, ScoreboardError):
        return _refused(sent.action_id, verdict)
    return schemas.BatchItemState(sent.action_id, "queued")


def _refused(action_id: str | None, error: ScoreboardError) -> schemas.BatchItemState:
    faults = "; ".join(f"{fault.pointer} {fault.message}" for fault in error.errors)
    metrics.REFUSED.labels(error.code).inc()
    return schemas.BatchItemState(action_id, "refused", code=error.code, detail=faults or error.detail)


def _action_id_of(raw: msgspec.Raw) -> str | None:
    """The action_id of an item that is otherwise wrong, so that the caller finds it again."""
    try:
        item = msgspec.json.decode(raw)
    except msgspec.DecodeError:  # a surrogate without its other half is JSON, and no text
        return None
    action_id = item.get("action_id") if isinstance(item, dict) else None
    return action_id[:64] if isinstance(action_id, str) else None


def _is_action_id(text: str) -> bool:
    try:
        msgspec.convert(text, ActionId)
    except msgspec.ValidationError:
        return False
    return True


def _read_cursor(query: Mapping[str, str]) -> HistoryCursor | None:
    place = cursor_in(query, tuple[datetime, str, int])
    if place is None:
        return None
    if place[1] not in services().stores.catalogue.boards:
        raise not_ours()
    return HistoryCursor(*place)
