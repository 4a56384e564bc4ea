"""Registering players."""

from __future__ import annotations

from typing import Final

import msgspec
from flask import Blueprint, Response, g, request

from models.accounts import tokens
from models.accounts.tokens import ACCESS_SECONDS
from models.guard import privacy
from web import access
from web.api import schemas
from web.api.answers import answer, parsed
from web.api.openapi import Operation, operation
from web.services import services

blueprint = Blueprint("users", __name__, url_prefix="/api/v1")
_decoder: Final = msgspec.json.Decoder(schemas.Registration)


@blueprint.post("/users")
@operation(
    Operation(
        "Register a player",
        "accounts",
        body=schemas.Registration,
        answers={201: schemas.Registered},
        codes=(
            "malformed_json",
            "validation_failed",
            "unsupported_media_type",
            "payload_too_large",
            "already_exists",
            "rate_limited",
            "token_missing",
            "token_invalid",
            "token_expired",
            "token_revoked",
            "forbidden",
        ),
    )
)
@access.limited
def register() -> Response:
    """Open registration counts against the address; otherwise a game server registers its players."""
    here = services()
    if not here.settings.registration_open or "Authorization" in request.headers:
        access.require_scope("users:write")
    else:
        here.limits.registration(access.address())
    wanted = parsed(_decoder)
    with here.stores.engine.begin() as connection:
        player = here.stores.users.register(connection, wanted.username, wanted.email)
        pair = here.identity.issue(player.user_id)
        tokens.start_family(
            connection,
            family=pair.family,
            user_id=player.user_id,
            refresh_jti=pair.refresh_jti,
            expires_at=pair.refresh_expires_at,
        )
    here.stores.watch.note("registered", address=access.address(), request_id=g.request_id)
    registered = schemas.Registered(
        user_id=player.user_id,
        username=player.username,
        secret_key=player.secret_key.hex(),
        access_token=pair.access_token,
        refresh_token=pair.refresh_token,
        expires_in=ACCESS_SECONDS,
    )
    return answer(registered, 201)


_signed: Final = msgspec.json.Decoder(schemas.SignedPurpose)
_SIGNED_CODES: Final = (
    "malformed_json",
    "validation_failed",
    "unsupported_media_type",
    "payload_too_large",
    "signature_invalid",
    "timestamp_out_of_window",
    "nonce_reused",
    "user_blocked",
    "rate_limited",
)


@blueprint.get("/users/me/export")
@operation(
    Operation("Everything that is kept of you", "accounts", answers={200: schemas.OwnData}, codes=("user_blocked",))
)
@access.player
def export() -> Response:
    """All but the signature key; the history has pages of its own."""
    with services().stores.engine.connect() as connection:
        return answer(privacy.copy_of(connection, access.player_id()), cache="private, no-store")


@blueprint.post("/users/me/key")
@operation(
    Operation(
        "Change your signature key",
        "accounts",
        body=schemas.SignedPurpose,
        answers={201: schemas.OwnKey},
        codes=_SIGNED_CODES,
    )
)
@access.player
def change_key() -> Response:
    """Signed with the old key, which is refused everywhere within a second."""
    here, user_id = services(), access.player_id()
    _check("key", user_id)
    with here.stores.engine.begin() as connection:
        key = here.stores.users.change_key(connection, user_id)
    here.stores.revocations.renew()
    return answer(schemas.OwnKey(key.hex()), 201)


@blueprint.post("/users/me/erase")
@operation(
    Operation("Erase yourself", "accounts", body=schemas.SignedPurpose, answers={204: None}, codes=_SIGNED_CODES)
)
@access.player
def erase() -> Response:
    """Name, e-mail, key and addresses go; scores stay under an id that leads to nobody. Cannot be undone."""
    here, user_id = services(), access.player_id()
    _check("erase", user_id)
    here.stores.desk.erase_own(user_id)
    return Response(status=204)


def _check(purpose: str, user_id: str) -> None:
    wanted = parsed(_signed)
    services().stores.sign_in.check_purpose(
        purpose, user_id, nonce=wanted.nonce, timestamp=wanted.timestamp, signature=wanted.signature
    )
