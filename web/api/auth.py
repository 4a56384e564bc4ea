"""Tokens: getting them with a signature, refreshing and giving them up."""

from __future__ import annotations

from typing import Final

import msgspec
from flask import Blueprint, Response

from models.accounts.sign_in import SignedRequest
from models.accounts.tickets import TICKET_SECONDS
from models.accounts.tokens import ACCESS_SECONDS
from web import access
from web.api import schemas
from web.api.answers import answer, parsed
from web.api.openapi import Operation, operation
from web.identity import TokenPair
from web.services import services

blueprint = Blueprint("auth", __name__, url_prefix="/api/v1/auth")
_decoder: Final = msgspec.json.Decoder(schemas.TokenRequest)


@blueprint.post("/token")
@operation(
    Operation(
        "Get tokens with a signature",
        "accounts",
        body=schemas.TokenRequest,
        answers={200: schemas.Tokens},
        codes=(
            "malformed_json",
            "validation_failed",
            "unsupported_media_type",
            "payload_too_large",
            "signature_invalid",
            "user_blocked",
            "timestamp_out_of_window",
            "nonce_reused",
            "rate_limited",
            "not_ready",
        ),
    )
)
@access.limited
def token() -> Response:
    """A new family of tokens for who holds the player's key."""
    here = services()
    wanted = parsed(_decoder)
    user_id = here.stores.sign_in.check(
        SignedRequest(wanted.username, wanted.nonce, wanted.timestamp, wanted.signature)
    )
    pair = here.identity.issue(user_id)
    here.stores.sign_in.start(
        family=pair.family, user_id=user_id, refresh_jti=pair.refresh_jti, expires_at=pair.refresh_expires_at
    )
    return answer(_tokens(pair))


@blueprint.post("/refresh")
@operation(
    Operation(
        "Exchange a refresh token for a new pair",
        "accounts",
        answers={200: schemas.Tokens},
        codes=("user_blocked", "rate_limited"),
    )
)
@access.player_refreshing
def refresh() -> Response:
    """The presented refresh token is spent by this; presenting it again revokes its family."""
    here, claims = services(), access.claims()
    pair = here.identity.issue(claims.subject, claims.family)
    here.stores.sign_in.refresh(claims, next_jti=pair.refresh_jti, expires_at=pair.refresh_expires_at)
    return answer(_tokens(pair))


@blueprint.post("/logout")
@operation(
    Operation(
        "Revoke this token and its family", "accounts", answers={204: None}, codes=("user_blocked", "rate_limited")
    )
)
@access.player
def logout() -> Response:
    """Every token of this sign-in is refused everywhere within a second, and its sockets are closed."""
    services().stores.sign_in.revoke(access.claims().family, reason="logout")
    return Response(status=204)


@blueprint.post("/ticket")
@operation(
    Operation(
        "Get a ticket that opens one socket",
        "accounts",
        answers={201: schemas.Ticket},
        codes=("user_blocked", "rate_limited"),
    )
)
@access.player
def ticket() -> Response:
    """Valid once, for half a minute; it goes into `subscribe` in the token's place."""
    return answer(schemas.Ticket(services().identity.issue_ticket(access.claims()), TICKET_SECONDS), 201)


def _tokens(pair: TokenPair) -> schemas.Tokens:
    return schemas.Tokens(pair.access_token, pair.refresh_token, ACCESS_SECONDS)
