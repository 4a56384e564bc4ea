"""A ticket is for one socket: no call of the API takes it, and it is told nobody's token."""

from __future__ import annotations

import jwt
import pytest
from flask.testing import FlaskClient

from models.accounts.tickets import spend
from models.errors import TokenExpired, TokenInvalid, TokenRevoked
from tests.fixtures.api import SignedIn, bearer
from web.services import Services

TICKET = "/api/v1/auth/ticket"


@pytest.fixture
def player(sign_up) -> SignedIn:
    return sign_up()


@pytest.fixture
def ticket(client: FlaskClient, player: SignedIn) -> str:
    answer = client.post(TICKET, headers=player.headers)
    assert (answer.status_code, answer.json["expires_in"]) == (201, 30)
    return answer.json["ticket"]


def test_it_stands_for_the_player_and_lives_as_their_token_does(services: Services, player: SignedIn, ticket) -> None:
    jti, claims = services.identity.read_ticket(ticket)
    token = services.identity.verify(player.access_token)
    assert (claims.subject, claims.family, claims.jti) == (player.account.user_id, token.family, token.jti)
    assert claims.expires_at == token.expires_at
    assert jti != token.jti
    assert jwt.decode(ticket, options={"verify_signature": False})["aud"] == "scoreboard-sockets"


def test_no_call_takes_it(client: FlaskClient, ticket: str, service_headers) -> None:
    for method, path in (
        ("GET", "/api/v1/scores/me"),
        ("POST", "/api/v1/auth/refresh"),
        ("POST", TICKET),
        ("POST", "/api/v1/scores/batch"),
        ("GET", "/api/v1/admin/incidents"),
    ):
        answer = client.open(path, method=method, json={}, headers=bearer(ticket))
        assert answer.json["code"] in ("token_invalid", "forbidden"), path


def test_no_token_is_a_ticket(services: Services, player: SignedIn, service_headers) -> None:
    service = service_headers("admin")["Authorization"].removeprefix("Bearer ")
    for token in (player.access_token, player.refresh_token, service, "x", ""):
        with pytest.raises(TokenInvalid):
            services.identity.read_ticket(token)


def test_it_serves_once(services: Services, ticket: str) -> None:
    jti, _ = services.identity.read_ticket(ticket)
    with services.stores.engine.begin() as connection:
        assert spend(connection, jti)
        assert not spend(connection, jti)


def test_it_ends_with_its_sign_in(client: FlaskClient, services: Services, player: SignedIn, ticket: str) -> None:
    client.post("/api/v1/auth/logout", headers=player.headers)
    with pytest.raises(TokenRevoked):
        services.identity.read_ticket(ticket)


def test_it_ends_after_half_a_minute(services: Services, ticket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = jwt.decode(ticket, options={"verify_signature": False})["exp"]
    monkeypatch.setattr("web.identity.time.time", lambda: float(now + 10))
    with pytest.raises(TokenExpired):
        services.identity.read_ticket(ticket)
