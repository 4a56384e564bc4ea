"""Errors as `application/problem+json` (RFC 9457): the one map from causes to statuses."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog
from flask import Flask, Response, current_app, g, request
from redis import RedisError
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from models import errors
from models.errors import RateLimited, ScoreboardError
from models.guard.watch import Watch
from models.storage.database import AWAY
from web.wsgi import Answer

log = structlog.get_logger(__name__)

STATUS_OF: Final[dict[str, int]] = {
    "malformed_json": 400,
    "handshake_invalid": 400,
    "token_missing": 401,
    "token_invalid": 401,
    "token_expired": 401,
    "token_revoked": 401,
    "signature_invalid": 403,
    "forbidden": 403,
    "user_blocked": 403,
    "not_found": 404,
    "board_unknown": 404,
    "method_not_allowed": 405,
    "nonce_reused": 409,
    "action_id_conflict": 409,
    "already_exists": 409,
    "payload_too_large": 413,
    "unsupported_media_type": 415,
    "validation_failed": 422,
    "action_unknown": 422,
    "timestamp_out_of_window": 422,
    "upgrade_required": 426,
    "rate_limited": 429,
    "internal": 500,
    "queue_unavailable": 503,
    "overloaded": 503,
    "not_ready": 503,
}
#: What the framework refuses by itself, in our words.
_CODE_OF_STATUS: Final = {
    400: "malformed_json",
    404: "not_found",
    405: "method_not_allowed",
    413: "payload_too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
}
_RETRY_AFTER_SECONDS: Final = 1
#: Who is told of every refusal, among an app's extensions.
_WATCH: Final = "scoreboard.watch"


def problem(code: str, detail: str, *, error: ScoreboardError | None = None) -> Response:
    """Flask's answer for a cause; `error` adds field errors, Retry-After and limits."""
    told = problem_answer(code, detail, g.get("request_id", ""), error=error)
    g.problem_code = code
    claims = g.get("claims")  # of who proved to be somebody before it was refused
    watch: Watch = current_app.extensions[_WATCH]
    watch.note(
        code,
        address=request.remote_addr,
        user_id=claims.user_id if claims is not None else None,
        request_id=g.get("request_id", ""),
    )
    return Response(told.body, told.status, told.headers)


def problem_answer(code: str, detail: str, request_id: str, *, error: ScoreboardError | None = None) -> Answer:
    """The same for who answers without Flask."""
    status = STATUS_OF[code]
    headers = [("Content-Type", "application/problem+json"), ("Cache-Control", "no-store")]
    retry_after = str((error.retry_after_seconds if error is not None else None) or _RETRY_AFTER_SECONDS)
    if status == 401:
        headers.append(("WWW-Authenticate", "Bearer"))
    if status in (429, 503):
        headers.append(("Retry-After", retry_after))
    if isinstance(error, RateLimited):
        headers += [
            ("RateLimit-Limit", str(error.limit)),
            ("RateLimit-Remaining", str(error.remaining)),
            ("RateLimit-Reset", retry_after),
        ]
    return Answer(status, headers, _document(code, status, detail, request_id, error), code)


def _document(code: str, status: int, detail: str, request_id: str, error: ScoreboardError | None) -> bytes:
    body: dict[str, Any] = {
        "type": f"/docs/problems#{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
    }
    if error is not None and (error.errors or code == "validation_failed"):
        body["errors"] = [{"pointer": fault.pointer, "message": fault.message} for fault in error.errors]
    return msgspec.json.encode(body)


def install_problems(app: Flask, watch: Watch) -> None:
    """Answer every error of the app as a problem; `watch` is told of each."""
    app.extensions[_WATCH] = watch

    @app.errorhandler(ScoreboardError)
    def _known(error: ScoreboardError) -> Response:
        return problem(error.code, error.detail, error=error)

    @app.errorhandler(RequestEntityTooLarge)
    def _too_large(_error: RequestEntityTooLarge) -> Response:
        return _known(errors.PayloadTooLarge())

    def _away(error: Exception) -> Response:
        log.warning(
            "a store is away",
            **{"event.action": "request", "http.request.method": request.method, "url.path": request.path},
            error=getattr(error, "orig", None) or error,
        )
        return _known(errors.NotReady(retry_after_seconds=1))

    for cause in (*AWAY, RedisError):
        app.register_error_handler(cause, _away)

    @app.errorhandler(HTTPException)
    def _http(error: HTTPException) -> Response:
        code = _CODE_OF_STATUS.get(error.code or 500)
        if code is None:
            return error.get_response()  # type: ignore[return-value]  # redirects, 304
        answer = problem(code, error.description or "")
        if error.code == 405:
            answer.headers["Allow"] = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
        return answer

    @app.errorhandler(Exception)
    def _unknown(error: Exception) -> Response:
        log.error(
            "request failed",
            **{"event.action": "request", "http.request.method": request.method, "url.path": request.path},
            exc_info=error,
        )
        return _known(errors.Internal())
