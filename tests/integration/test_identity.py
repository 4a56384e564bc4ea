"""Tokens that are not quite ours: what the libraries let through by default, and an identity provider's (I10)."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from models.errors import TokenInvalid
from models.settings import Settings
from tests.fixtures.api import OpenApi, SignedIn
from web.services import EXTENSION, Services


def claims_of(services: Services, **changes: Any) -> dict[str, Any]:
    """The claims of a good access token; None takes one out."""
    token = services.identity.issue(str(uuid4())).access_token
    claims = {**jwt.decode(token, options={"verify_signature": False}), **changes}
    return {name: value for name, value in claims.items() if value is not None}


def made(services: Services, claims: dict[str, Any], *, algorithm: str = "HS256", **header: Any) -> str:
    """A token of these claims under our own key."""
    key = services.settings.token_keys[0]
    return jwt.encode(claims, key.secret, algorithm=algorithm, headers={"kid": key.kid, **header})


def test_a_token_like_ours_is_taken(services: Services) -> None:
    assert services.identity.verify(made(services, claims_of(services))).kind == "access"


@pytest.mark.parametrize("missing", ["exp", "iat", "nbf", "jti", "sub", "iss", "aud", "type"])
def test_every_claim_is_needed(services: Services, missing: str) -> None:
    with pytest.raises(TokenInvalid):
        services.identity.verify(made(services, claims_of(services, **{missing: None})))


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "ws"},
        {"type": "refresh", "aud": "scoreboard-services"},
        {"type": "service"},
        {"aud": "another"},
        {"aud": ["scoreboard", "scoreboard-services"]},
        {"iss": "another"},
        {"jti": "not-a-uuid"},
        {"jti": 7},
        {"sub": "not-a-uuid"},
        {"sub": 7},
        {"exp": int(time.time()) + 10 * 365 * 86_400},
        {"nbf": int(time.time()) + 7_200},
        {"iat": int(time.time()) + 7_200},
        {"scope": ["scores:write"]},
    ],
)
def test_claims_of_another_kind_are_refused(services: Services, changes: dict[str, Any]) -> None:
    with pytest.raises(TokenInvalid):
        services.identity.verify(made(services, claims_of(services, **changes)))


@pytest.mark.parametrize("kid", ["../../dev/null", "", "' OR 1=1 --", "another"])
def test_only_a_key_we_hold_is_used(services: Services, kid: str) -> None:
    with pytest.raises(TokenInvalid):
        services.identity.verify(made(services, claims_of(services), kid=kid))


def test_other_algorithms_are_refused(services: Services) -> None:
    claims = claims_of(services)
    head = base64.urlsafe_b64encode(json.dumps({"alg": "none", "kid": services.settings.token_keys[0].kid}).encode())
    body = base64.urlsafe_b64encode(json.dumps(claims).encode())
    unsigned = f"{head.decode().rstrip('=')}.{body.decode().rstrip('=')}."
    with pytest.warns(jwt.warnings.InsecureKeyLengthWarning):
        longer_hash = made(services, claims, algorithm="HS512")
    for token in (unsigned, unsigned + "AA", longer_hash):
        with pytest.raises(TokenInvalid):
            services.identity.verify(token)


def test_a_token_has_one_spelling(services: Services) -> None:
    token = made(services, claims_of(services))
    services.identity.verify(token)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    same_bytes = token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]
    for other in (token + "=", token + "==", " " + token, token + ".", same_bytes):
        with pytest.raises(TokenInvalid):
            services.identity.verify(other)


def provider_key(kind: str) -> tuple[Any, dict[str, Any], str]:
    """A private key, its public JWK, and the algorithm it signs with."""
    if kind == "RS256":
        rsa_key = rsa.generate_private_key(65537, 2048)
        return rsa_key, json.loads(RSAAlgorithm.to_jwk(rsa_key.public_key())), kind
    if kind == "ES256":
        ec_key = ec.generate_private_key(ec.SECP256R1())
        return ec_key, json.loads(ECAlgorithm.to_jwk(ec_key.public_key())), kind
    ed_key = ed25519.Ed25519PrivateKey.generate()
    return ed_key, json.loads(OKPAlgorithm.to_jwk(ed_key.public_key())), kind


@pytest.mark.parametrize("kind", ["RS256", "ES256", "EdDSA"])
def test_an_identity_providers_tokens_are_taken_and_only_under_their_algorithm(
    open_api: OpenApi, settings: Settings, sign_up: Callable[[], SignedIn], tmp_path: Path, kind: str
) -> None:
    player = sign_up()
    private, public, algorithm = provider_key(kind)
    keys = tmp_path / "jwks.json"
    keys.write_text(json.dumps({"keys": [{**public, "kid": "idp-1", "alg": algorithm, "use": "sig"}]}))
    app = open_api(replace(settings, jwks_file=str(keys)))
    identity = app.extensions[EXTENSION].identity
    now = int(time.time())
    claims = {
        "iss": settings.token_issuer,
        "aud": "scoreboard",
        "sub": player.account.user_id,
        "jti": str(uuid4()),
        "iat": now,
        "exp": now + 600,
    }
    token = jwt.encode(claims, private, algorithm=algorithm, headers={"kid": "idp-1"})
    assert identity.verify(token).user_id == player.account.user_id
    answer = app.test_client().get("/api/v1/scores/me", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200

    public_text = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    head = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": "idp-1"}).encode()).rstrip(b"=")
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
    forged = jwt.api_jws.PyJWS().get_algorithm_by_name("HS256").sign(head + b"." + body, public_text)
    confused = b".".join([head, body, base64.urlsafe_b64encode(forged).rstrip(b"=")]).decode()
    unknown = jwt.encode(claims, private, algorithm=algorithm, headers={"kid": "idp-2"})
    service = jwt.encode(
        {**claims, "type": "service", "aud": "scoreboard-services", "scope": "scores:write"},
        private,
        algorithm=algorithm,
        headers={"kid": "idp-1"},
    )
    for token in (confused, unknown, service):
        with pytest.raises(TokenInvalid):
            identity.verify(token)


def test_a_token_revoked_here_is_refused_by_another_process_within_a_second(
    open_api: OpenApi, settings: Settings, sign_up: Callable[[], SignedIn], client, eventually
) -> None:
    """I10, without Redis having any part in it."""
    player = sign_up()
    other = open_api(replace(settings, redis_url="unix:///nobody-listens-here")).test_client()
    assert other.get("/api/v1/scores/updates/none", headers=player.headers).status_code == 404
    assert client.post("/api/v1/auth/logout", headers=player.headers).status_code == 204
    answer = client.get("/api/v1/scores/me", headers=player.headers)
    assert (answer.status_code, answer.json["code"]) == (401, "token_revoked")
    eventually(lambda: other.get("/api/v1/scores/updates/none", headers=player.headers).status_code == 401, seconds=1.0)
