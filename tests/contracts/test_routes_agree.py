"""Every route says who may call it, and the OpenAPI document says what the routes do."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask
from openapi_spec_validator import validate

from models.accounts.tokens import SCOPES
from models.errors import ScoreboardError
from web.problems import STATUS_OF

#: The contract's calls and who may make them.
CALLS = {
    ("POST", "/api/v1/users"): "public",
    ("POST", "/api/v1/auth/token"): "public",
    ("POST", "/api/v1/auth/refresh"): "player (refresh token)",
    ("POST", "/api/v1/auth/logout"): "player",
    ("POST", "/api/v1/auth/ticket"): "player",
    ("GET", "/api/v1/users/me/export"): "player",
    ("POST", "/api/v1/users/me/key"): "player",
    ("POST", "/api/v1/users/me/erase"): "player",
    ("POST", "/api/v1/scores/update"): "player",
    ("GET", "/api/v1/scores/updates/<action_id>"): "player",
    ("POST", "/api/v1/scores/batch"): "scope scores:write",
    ("GET", "/api/v1/scores/me"): "player",
    ("GET", "/api/v1/scores/me/history"): "player",
    ("GET", "/api/v1/scores/of/<user_id>"): "scope boards:read",
    ("GET", "/api/v1/admin/incidents"): "scope moderation",
    ("GET", "/api/v1/admin/incidents/<incident>"): "scope moderation",
    ("POST", "/api/v1/admin/incidents/<incident>/close"): "scope moderation",
    ("GET", "/api/v1/admin/restrictions"): "scope moderation",
    ("POST", "/api/v1/admin/restrictions"): "scope moderation",
    ("POST", "/api/v1/admin/restrictions/lift"): "scope moderation",
    ("GET", "/api/v1/admin/quarantine"): "scope moderation",
    ("GET", "/api/v1/admin/quarantine/<username>"): "scope moderation",
    ("POST", "/api/v1/admin/quarantine/<username>/release"): "scope moderation",
    ("POST", "/api/v1/admin/quarantine/<username>/reject"): "scope moderation",
    ("POST", "/api/v1/admin/players/<username>/hide"): "scope moderation",
    ("POST", "/api/v1/admin/players/<username>/show"): "scope moderation",
    ("POST", "/api/v1/admin/players/<username>/void"): "scope moderation",
    ("POST", "/api/v1/admin/players/<username>/restore"): "scope moderation",
    ("POST", "/api/v1/admin/players/<username>/key"): "scope admin",
    ("GET", "/api/v1/admin/acts"): "scope moderation",
    ("GET", "/api/v1/admin/seals"): "scope moderation",
    ("GET", "/api/v1/admin/glance"): "scope moderation",
    ("GET", "/api/v1/admin/players"): "scope moderation",
    ("GET", "/api/v1/admin/players/<username>"): "scope moderation",
    ("GET", "/api/v1/admin/players/<username>/history"): "scope moderation",
    ("POST", "/api/v1/admin/players/<username>/sign-out"): "scope moderation",
    ("GET", "/api/v1/admin/dead-letters"): "scope moderation",
    ("POST", "/api/v1/admin/dead-letters/retry"): "scope moderation",
    ("POST", "/api/v1/admin/dead-letters/drop"): "scope moderation",
    ("POST", "/api/v1/admin/dead-letters/keep"): "scope moderation",
    ("GET", "/api/v1/leaderboards"): "public",
    ("GET", "/api/v1/leaderboards/<board>"): "public",
    ("GET", "/api/v1/leaderboards/<board>/around/<user_id>"): "public",
    ("POST", "/api/v1/leaderboards/<board>/ranks"): "public",
    ("GET", "/api/v1"): "public",
    ("GET", "/healthz"): "public",
    ("GET", "/readyz"): "public",
    ("GET", "/metrics"): "public",
    ("GET", "/"): "public",
    ("GET", "/docs"): "public",
    ("GET", "/admin"): "public",
    ("GET", "/api/v1/openapi.json"): "public",
}
#: Not part of the API's description: pages, their files, figures, and the description itself.
UNDESCRIBED = {"/", "/docs", "/admin", "/docs/problems", "/metrics", "/api/v1/openapi.json"}


def routes(app: Flask) -> dict[tuple[str, str], Any]:
    return {
        (method, str(rule)): app.view_functions[rule.endpoint]
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


@pytest.fixture
def document(client: Any) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/api/v1/openapi.json").json
    return found


def test_every_route_declares_who_may_call_it(api: Flask) -> None:
    undeclared = [path for path, view in routes(api).items() if not hasattr(view, "access")]
    assert undeclared == []


def test_the_contracts_calls_are_there_for_those_it_names(api: Flask) -> None:
    found = {call: getattr(view, "access", None) for call, view in routes(api).items()}
    assert {call: found.get(call) for call in CALLS} == CALLS
    scopes = {who.removeprefix("scope ") for who in found.values() if who and who.startswith("scope ")}
    assert scopes <= set(SCOPES)


def test_the_document_is_valid_and_describes_every_route(api: Flask, document: dict[str, Any]) -> None:
    validate(document)
    described = {
        (method.upper(), re.sub(r"{(\w+)}", r"<\1>", path))
        for path, methods in document["paths"].items()
        for method in methods
    }
    served = {(m, p) for m, p in routes(api) if p not in UNDESCRIBED and not p.startswith(("/static", "/docs"))}
    assert described == served


def test_every_operation_is_told_apart_and_says_what_it_answers(document: dict[str, Any]) -> None:
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)
    assert all(operation["summary"] and operation["responses"] for operation in operations)
    tags = {tag["name"] for tag in document["tags"]}
    assert {tag for operation in operations for tag in operation["tags"]} == tags


def test_every_cause_has_one_status() -> None:
    def causes(kind: type[ScoreboardError]) -> list[type[ScoreboardError]]:
        return [found for sub in kind.__subclasses__() for found in (sub, *causes(sub))]

    codes = [cause.code for cause in causes(ScoreboardError)]
    assert len(codes) == len(set(codes))
    assert set(codes) == set(STATUS_OF)
