"""Who may call a route, said at the route; the checks run in the contract's order before the view does."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar, cast

from flask import g, request

from models.accounts.tokens import Claims
from models.errors import Forbidden, TokenInvalid, TokenMissing
from web.services import services

P = ParamSpec("P")
R = TypeVar("R")

_BEARER: Final = re.compile(r"\ABearer +([^\s]+)\Z", re.IGNORECASE)


def public(view: Callable[P, R]) -> Callable[P, R]:
    """Anybody may read this."""
    return _declared(view, "public")


def limited(view: Callable[P, R]) -> Callable[P, R]:
    """Anybody may call this, within the limit of an address."""

    @wraps(view)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        here = services()
        here.stores.revocations.refuse_if_address_is_blocked(address())
        here.limits.address(address())
        here.limits.route(str(request.url_rule), address())
        return view(*args, **kwargs)

    return _declared(checked, "public")


def player(view: Callable[P, R]) -> Callable[P, R]:
    """A player, with an access token of their own; writes are counted against their limit."""
    return _with_token(view, "player", kind="access", scope=None)


def player_refreshing(view: Callable[P, R]) -> Callable[P, R]:
    """A player, with a refresh token."""
    return _with_token(view, "player (refresh token)", kind="refresh", scope=None)


def scope(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A game server or an operator, with a service token of this scope."""
    return lambda view: _with_token(view, f"scope {name}", kind="service", scope=name)


def require_scope(name: str) -> None:
    """Refuse the call unless it carries a service token of this scope.

    Raises:
        TokenMissing, TokenInvalid, TokenExpired, TokenRevoked, Forbidden.
    """
    claims = services().identity.verify(bearer())
    _admit(claims, kind="service", scope=name)
    g.claims = claims


def claims() -> Claims:
    """Who is calling; only in views that ask for a token."""
    return cast(Claims, g.claims)


def player_id() -> str:
    """The calling player."""
    return claims().subject


def address() -> str:
    """The caller's address: the socket's, or what as many proxies as are configured say."""
    return request.remote_addr or "unknown"


def bearer() -> str:
    """The request's token.

    Raises:
        TokenMissing: there is none.
        TokenInvalid: the header has another form.
    """
    header = request.environ.get("HTTP_AUTHORIZATION")
    if not header:
        raise TokenMissing
    match = _BEARER.match(header)
    if match is None:
        raise TokenInvalid
    return match[1]


def _with_token(view: Callable[P, R], who: str, *, kind: str, scope: str | None) -> Callable[P, R]:
    @wraps(view)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        here = services()
        here.stores.revocations.refuse_if_address_is_blocked(address())
        writes = request.method not in ("GET", "HEAD")
        if writes:
            here.limits.address(address())
        here.limits.route(str(request.url_rule), address())
        g.claims = found = here.identity.verify(bearer())
        _admit(found, kind=kind, scope=scope)
        if found.user_id is not None:
            here.stores.revocations.refuse_if_blocked(found.user_id)
        if writes and kind == "access":
            here.limits.user(found.subject)
        return view(*args, **kwargs)

    return _declared(checked, who)


def _admit(found: Claims, *, kind: str, scope: str | None) -> None:
    if scope is not None:
        if scope not in found.scopes:
            raise Forbidden(f"This call needs a token with the scope {scope}.")
    elif found.kind != kind:
        raise TokenInvalid(f"This call needs {'an' if kind == 'access' else 'a'} {kind} token.")


def _declared(view: Callable[P, R], who: str) -> Callable[P, R]:
    cast(Any, view).access = who
    return view
