"""Registering players."""

from __future__ import annotations

from typing import Final

import msgspec
from flask import Blueprint, Response, request

from models.accounts import tokens
from models.accounts.tokens import ACCESS_SECONDS
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
    registered = schemas.Registered(
        user_id=player.user_id,
        username=player.username,
        secret_key=player.secret_key.hex(),
        access_token=pair.access_token,
        refresh_token=pair.refresh_token,
        expires_in=ACCESS_SECONDS,
    )
    return answer(registered, 201)
