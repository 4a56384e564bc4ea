"""The OpenAPI 3.1 document, made from the routes, what they declare, and the schemas they use."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, ParamSpec, TypeVar, cast

import msgspec
from flask import Flask
from werkzeug.routing import Rule

from web.api import schemas
from web.problems import STATUS_OF

P = ParamSpec("P")
R = TypeVar("R")

#: In the order in which a newcomer needs them.
TAGS: Final = {
    "accounts": "Register, get tokens, give them up.",
    "scores": "Send signed actions, and see what became of them.",
    "leaderboards": "Read the boards.",
    "moderation": "Incidents, restrictions, quarantine, and undoing what was wrong.",
    "operations": "Where things are, and whether they work.",
}
_REF: Final = "#/components/schemas/{name}"
_TOKEN_CODES: Final = ("token_missing", "token_invalid", "token_expired", "token_revoked", "not_ready")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query string."""

    name: str
    description: str
    schema: dict[str, Any] = field(default_factory=lambda: {"type": "string"})
    location: str = "query"


@dataclass(frozen=True, slots=True)
class Operation:
    """What a route takes and answers."""

    summary: str
    tag: str
    body: type | None = None
    answers: dict[int, type | None] = field(default_factory=dict)
    codes: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()


def operation(described: Operation) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Say what a route takes and answers."""

    def declare(view: Callable[P, R]) -> Callable[P, R]:
        cast(Any, view).operation = described
        return view

    return declare


def document(app: Flask, *, api_url: str, version: str) -> dict[str, Any]:
    """The whole document."""
    described = [
        (rule, app.view_functions[rule.endpoint])
        for rule in app.url_map.iter_rules()
        if hasattr(app.view_functions[rule.endpoint], "operation")
    ]
    types: list[type] = [schemas.Problem]
    for _, view in described:
        op: Operation = cast(Any, view).operation
        types += [shape for shape in (op.body, *op.answers.values()) if shape is not None]
    _, components = msgspec.json.schema_components(types, ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for rule, view in sorted(described, key=lambda pair: str(pair[0])):
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            paths.setdefault(re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(rule)), {})[method.lower()] = _operation(
                rule, view
            )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Scoreboard",
            "version": version,
            "description": "Live leaderboards that count every signed score exactly once.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": api_url}],
        "tags": [{"name": name, "description": description} for name, description in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": _portable(components),
            "securitySchemes": {
                "player": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "access token"},
                "service": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "service token"},
            },
        },
    }


def _operation(rule: Rule, view: Callable[..., Any]) -> dict[str, Any]:
    op: Operation = cast(Any, view).operation
    access: str = cast(Any, view).access
    codes = list(op.codes)
    if access != "public":
        codes += [code for code in _TOKEN_CODES if code not in codes]
    described: dict[str, Any] = {
        "operationId": rule.endpoint.replace(".", "_"),
        "summary": op.summary,
        "tags": [op.tag],
        "parameters": [_path_parameter(name) for name in sorted(rule.arguments)]
        + [
            {"name": p.name, "in": p.location, "description": p.description, "required": False, "schema": p.schema}
            for p in op.parameters
        ],
        "responses": _responses(op, codes),
        "x-access": access,
    }
    if op.body is not None:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(op.body)}}}
    if access != "public":
        described["security"] = [{"service" if access.startswith("scope") else "player": []}]
    return described


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _responses(op: Operation, codes: list[str]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, shape in sorted(op.answers.items()):
        responses[str(status)] = {"description": shape.__doc__ or "" if shape else "done"}
        if shape is not None:
            responses[str(status)]["content"] = {"application/json": {"schema": _ref(shape)}}
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(STATUS_OF[code], []).append(code)
    for status, found in sorted(by_status.items()):
        responses[str(status)] = {
            "description": ", ".join(f"`{code}`" for code in found),
            "content": {"application/problem+json": {"schema": _ref(schemas.Problem)}},
        }
    return responses


def _ref(shape: type) -> dict[str, str]:
    return {"$ref": _REF.format(name=shape.__name__)}


def _portable(node: Any) -> Any:
    """Patterns as ECMA 262 spells them (JSON Schema 2020-12 §6.4): `^…$` for Python's `\\A…\\Z`."""
    if isinstance(node, dict):
        return {
            key: "^" + value.removeprefix(r"\A").removesuffix(r"\Z") + "$"
            if key == "pattern" and isinstance(value, str)
            else _portable(value)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [_portable(item) for item in node]
    return node
