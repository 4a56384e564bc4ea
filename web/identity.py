"""From a bearer token to who is calling: flask-jwt-extended's decoding and what it leaves open (RFC 8725).

A token that was verified is remembered until it expires, so the second request with it costs a look-up. Whether it
was revoked is asked every time.
"""

from __future__ import annotations

import base64
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import jwt
import msgspec
from flask import Flask
from flask_jwt_extended import JWTManager, create_access_token, create_refresh_token, decode_token
from flask_jwt_extended.exceptions import JWTExtendedException

from models.accounts.revocation import Revocations
from models.accounts.tickets import TICKET_SECONDS
from models.accounts.tokens import ACCESS_SECONDS, REFRESH_SECONDS, SCOPES, SERVICE_SECONDS, Claims, Kind
from models.errors import ScoreboardError, TokenExpired, TokenInvalid
from models.settings import Key, Settings
from web.jwks import ProviderKeys, from_file, from_url

PLAYER_AUDIENCE: Final = "scoreboard"
SERVICE_AUDIENCE: Final = "scoreboard-services"
SOCKETS_AUDIENCE: Final = "scoreboard-sockets"
#: How long after its expiry a token still holds, for clocks that are a little apart.
LEEWAY_SECONDS: Final = 10
#: How far in the future a token may have been made: as far as the clocks of servers and players may be apart
#: (`timestamp` of a signed action), or a server that is behind would refuse what another has just issued.
CLOCKS_APART_SECONDS: Final = 300
TOKEN_BYTES_MOST: Final = 4096
#: Verified tokens a process remembers: about 20 MB when full.
REMEMBERED: Final = 50_000

OWN_ALGORITHM: Final = "HS256"
PROVIDER_ALGORITHMS: Final = ("RS256", "ES256", "EdDSA")
_REQUIRED: Final = ("exp", "iat", "nbf", "jti", "sub", "iss", "aud", "type")
_PROVIDER_REQUIRED: Final = ("exp", "iat", "jti", "sub", "iss", "aud")
_LIFETIME_MOST: Final[dict[str, int]] = {
    "access": ACCESS_SECONDS,
    "refresh": REFRESH_SECONDS,
    "service": 10 * SERVICE_SECONDS,
    "ticket": TICKET_SECONDS,
}
_AUDIENCES: Final[dict[str, str]] = {
    "access": PLAYER_AUDIENCE,
    "refresh": PLAYER_AUDIENCE,
    "service": SERVICE_AUDIENCE,
    "ticket": SOCKETS_AUDIENCE,
}
_PROVIDER_LIFETIME_MOST: Final = 24 * 3600
_SPELLING: Final = re.compile(r"\A[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")


@dataclass(frozen=True, slots=True)
class TokenPair:
    """An access token and the refresh token of the same family."""

    access_token: str
    refresh_token: str
    refresh_jti: str
    family: str
    refresh_expires_at: int


class Identity:
    """Makes and verifies tokens."""

    def __init__(self, app: Flask, settings: Settings, revocations: Revocations) -> None:
        self._app = app
        self._revocations = revocations
        self._own_keys = {key.kid: key for key in settings.token_keys}
        self._signing_kid = settings.token_keys[0].kid
        self._provider = _provider(settings)
        self._remembered: OrderedDict[str, Claims] = OrderedDict()
        self._lock = threading.Lock()
        app.config.update(
            JWT_ALGORITHM=OWN_ALGORITHM,
            JWT_DECODE_ALGORITHMS=[OWN_ALGORITHM, *(PROVIDER_ALGORITHMS if self._provider else ())],
            JWT_SECRET_KEY=settings.token_keys[0].secret,
            JWT_ENCODE_ISSUER=settings.token_issuer,
            JWT_DECODE_ISSUER=settings.token_issuer,
            JWT_ENCODE_AUDIENCE=PLAYER_AUDIENCE,
            JWT_DECODE_AUDIENCE=[PLAYER_AUDIENCE, SERVICE_AUDIENCE, SOCKETS_AUDIENCE],
            JWT_DECODE_LEEWAY=CLOCKS_APART_SECONDS,  # of expiry too, which is therefore looked at again below
            JWT_ACCESS_TOKEN_EXPIRES=timedelta(seconds=ACCESS_SECONDS),
            JWT_REFRESH_TOKEN_EXPIRES=timedelta(seconds=REFRESH_SECONDS),
            JWT_TOKEN_LOCATION=["headers"],
            JWT_COOKIE_CSRF_PROTECT=False,  # no cookies, so no claim for them
        )
        JWTManager(app).decode_key_loader(self._key_for)

    def issue(self, user_id: str, family: str | None = None) -> TokenPair:
        """A new pair for a player, of a new family unless one is given."""
        family = family or str(uuid4())
        refresh_jti = str(uuid4())
        headers = {"kid": self._signing_kid}
        with self._app.app_context():
            access = create_access_token(user_id, additional_claims={"family": family}, additional_headers=headers)
            refresh = create_refresh_token(
                user_id, additional_claims={"family": family, "jti": refresh_jti}, additional_headers=headers
            )
        return TokenPair(access, refresh, refresh_jti, family, int(time.time()) + REFRESH_SECONDS)

    def issue_service(self, name: str, scopes: list[str], lifetime_seconds: int) -> tuple[str, str]:
        """A game server's token with scopes; returns the token and its jti."""
        jti = str(uuid4())
        claims = {"type": "service", "aud": SERVICE_AUDIENCE, "scope": " ".join(scopes), "jti": jti, "family": jti}
        with self._app.app_context():
            token = create_access_token(
                name,
                additional_claims=claims,
                additional_headers={"kid": self._signing_kid},
                expires_delta=timedelta(seconds=lifetime_seconds),
            )
        return token, jti

    def issue_ticket(self, claims: Claims) -> str:
        """A ticket for one socket of whom this access token stands for; the socket lives as long as that."""
        with self._app.app_context():
            ticket: str = create_access_token(
                claims.subject,
                additional_claims={
                    "type": "ticket",
                    "aud": SOCKETS_AUDIENCE,
                    "jti": str(uuid4()),
                    "family": claims.family,
                    "session": [claims.jti, claims.expires_at],
                },
                additional_headers={"kid": self._signing_kid},
                expires_delta=timedelta(seconds=TICKET_SECONDS),
            )
        return ticket

    def read_ticket(self, ticket: str) -> tuple[str, Claims]:
        """A ticket's own jti, and whom it stands for; whether it was used is for the caller to see to.

        Raises:
            TokenInvalid, TokenExpired, TokenRevoked, NotReady.
        """
        found = self._verify_anew(ticket)
        if found.kind != "ticket":
            raise TokenInvalid("A socket takes an access token, or a ticket.")
        jti, expires_at = _document(ticket.split(".")[1])["session"]
        claims = Claims(found.subject, jti, found.family, "access", frozenset(), expires_at)
        self._revocations.refuse_if_revoked(claims)
        return found.jti, claims

    def verify(self, token: str) -> Claims:
        """Who a token stands for.

        Raises:
            TokenInvalid, TokenExpired, TokenRevoked: in this order of checks.
            NotReady: whether it was revoked cannot be known now.
        """
        claims = self._remembered.get(token)
        if claims is None:
            claims = self._verify_anew(token)
            with self._lock:
                self._remembered[token] = claims
                while len(self._remembered) > REMEMBERED:
                    self._remembered.popitem(last=False)
        elif claims.expires_at + LEEWAY_SECONDS <= time.time():
            with self._lock:
                self._remembered.pop(token, None)
            raise TokenExpired
        self._revocations.refuse_if_revoked(claims)
        return claims

    def known(self, token: str) -> Claims | None:
        """Who a token stands for, if that needs no waiting; else `verify` says who, or why it does not hold."""
        claims = self._remembered.get(token)
        if claims is None and self._provider is None and self._revocations.are_fresh:
            try:
                return self.verify(token)  # waits for nothing then
            except ScoreboardError:
                return None
        if claims is None or claims.expires_at + LEEWAY_SECONDS <= time.time():
            return None
        return claims if self._revocations.lets_pass(claims) else None

    def _verify_anew(self, token: str) -> Claims:
        if len(token) > TOKEN_BYTES_MOST or not _SPELLING.match(token) or not _spelled_one_way(token):
            raise TokenInvalid
        try:
            with self._app.app_context():
                decode_token(token)
            # What it says, without the claims that decoding adds where a token has none.
            header, payload = (_document(part) for part in token.split(".")[:2])
        except jwt.ExpiredSignatureError:
            raise TokenExpired from None
        except (jwt.PyJWTError, JWTExtendedException, ValueError, TypeError, RecursionError):
            raise TokenInvalid from None
        key = self._own_keys.get(header["kid"]) if header["alg"] == OWN_ALGORITHM else None
        return self._claims(payload, key)

    def _key_for(self, header: dict[str, Any], _payload: dict[str, Any]) -> Any:
        """The key by `kid`, from a list we hold; a key is only used with the algorithms made for it."""
        kid, algorithm = header.get("kid"), header.get("alg")
        if not isinstance(kid, str):
            raise jwt.InvalidKeyError("no kid")
        if algorithm == OWN_ALGORITHM and kid in self._own_keys:
            key = self._own_keys[kid]
            if key.until is not None and key.until <= time.time():
                raise jwt.InvalidKeyError("the key's time is over")
            return key.secret
        if self._provider is not None and algorithm in PROVIDER_ALGORITHMS:
            return self._provider(kid)
        raise jwt.InvalidKeyError("unknown kid")

    def _claims(self, payload: dict[str, Any], key: Key | None) -> Claims:
        """Check what decoding leaves open: every claim there, of its type, in its bounds, of its audience."""
        own = key is not None
        required = _REQUIRED if own else _PROVIDER_REQUIRED
        if any(payload.get(name) is None for name in required):
            raise TokenInvalid
        if own:
            _refuse_what_we_never_make(payload)
        kind: Kind = payload.get("type", "access")
        if kind not in _LIFETIME_MOST or not (own or kind == "access"):
            raise TokenInvalid
        if payload["aud"] != _AUDIENCES[kind]:
            raise TokenInvalid
        expires_at = _expiry_of(payload, _LIFETIME_MOST[kind] if own else _PROVIDER_LIFETIME_MOST)
        scope = payload.get("scope", "")
        jti, family, subject = payload["jti"], payload.get("family", payload["jti"]), payload["sub"]
        if not (_is_uuid(jti) and _is_uuid(family)) or not isinstance(subject, str) or not isinstance(scope, str):
            raise TokenInvalid
        if kind != "service" and not _is_uuid(subject):
            raise TokenInvalid
        scopes = frozenset(scope.split()) & frozenset(SCOPES) if kind == "service" else frozenset()
        if key is not None and key.until is not None:
            expires_at = min(expires_at, int(key.until))  # a token that is remembered goes with its key
        return Claims(subject, jti, family, kind, scopes, expires_at)


def _expiry_of(payload: dict[str, Any], lifetime_most: int) -> int:
    """When a token ends (Unix seconds)."""
    expires_at, issued_at = payload["exp"], payload["iat"]
    if not all(isinstance(n, int) and not isinstance(n, bool) for n in (expires_at, issued_at)):
        raise TokenInvalid
    if expires_at + LEEWAY_SECONDS <= time.time():
        raise TokenExpired
    if expires_at - issued_at > lifetime_most:
        raise TokenInvalid
    return int(expires_at)


def _refuse_what_we_never_make(payload: dict[str, Any]) -> None:
    """Ours are flat, but for what a ticket says of its token, and hold from the moment they are made."""
    if any(isinstance(value, dict | list) for name, value in payload.items() if name != "session"):
        raise TokenInvalid
    if isinstance(payload["nbf"], bool) or payload["nbf"] != payload["iat"]:
        raise TokenInvalid


def _is_uuid(value: object) -> bool:
    try:
        return isinstance(value, str) and str(UUID(value)) == value
    except ValueError:
        return False


def _document(part: str) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.json.decode(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return document


def _spelled_one_way(token: str) -> bool:
    """Whether each part is the one base64url spelling of its bytes: unused last bits are zero (RFC 4648 §3.5)."""
    for part in token.split("."):
        try:
            decoded = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        except ValueError:
            return False
        if base64.urlsafe_b64encode(decoded).rstrip(b"=").decode() != part:
            return False
    return True


def _provider(settings: Settings) -> Callable[[str], Any] | None:
    """A look-up by kid into an identity provider's JWKS, or None without one."""
    if settings.jwks_url:
        return ProviderKeys(from_url(settings.jwks_url)).key
    if settings.jwks_file:
        return ProviderKeys(from_file(Path(settings.jwks_file))).key
    return None
