"""The pages and their files, under a policy that lets nothing in from elsewhere."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from inspect import getdoc
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import flask_swagger_ui
from flask import Blueprint, Response, current_app, render_template, request, send_from_directory, url_for

from models.errors import ScoreboardError
from web import access
from web.problems import STATUS_OF

STATIC_FOLDER: Final = Path(__file__).parent / "static"
SWAGGER_FOLDER: Final = Path(flask_swagger_ui.__file__).parent / "dist"
#: Files asked for by the digest of their content never change.
_A_YEAR: Final = timedelta(days=365)


def _modules(*folders: str) -> list[str]:
    """The files of these folders of scripts."""
    return sorted(f"{folder}/{file.name}" for folder in folders for file in (STATIC_FOLDER / folder).glob("*.js"))


#: What live.js imports, told to the browser at once, so that it need not find out file by file.
_MODULES: Final = ["scoreboard.js", *_modules("live", "scoreboard")]
#: The same of admin.js.
_ADMIN_MODULES: Final = [
    *_modules("admin"),
    *(f"scoreboard/{name}.js" for name in ("backoff", "exact", "http", "problem")),
]

blueprint = Blueprint("pages", __name__, template_folder="templates")


@blueprint.get("/")
@access.public
def live_board() -> Response:
    """The live board; with the play part where anybody may register."""
    return _page("live.html", play=bool(current_app.config.get("PLAY")), modules=_MODULES)


@blueprint.get("/admin")
@access.public
def console() -> Response:
    """The operators' console: without a token of theirs it shows nothing but where one is pasted."""
    response = _page("admin.html", modules=_ADMIN_MODULES)
    response.headers["Content-Security-Policy"] = _console_policy()
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get("/docs")
@access.public
def documentation() -> Response:
    """The API's documentation, drawn from its OpenAPI document."""
    return _page("docs.html")


@blueprint.get("/docs/problems")
@access.public
def problem_types() -> Response:
    """What each error code means: where the `type` of a problem points to."""
    sentences = {cause.code: getdoc(cause) for cause in ScoreboardError.__subclasses__()}
    codes = [(code, status, sentences[code]) for code, status in STATUS_OF.items() if code in sentences]
    return _page("problems.html", codes=codes)


@blueprint.get("/static/<path:filename>")
@access.public
def static_file(filename: str) -> Response:
    """A file of ours; pages of any origin may import the browser client."""
    response = _file(STATIC_FOLDER, filename)
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return response


@blueprint.get("/docs/files/<path:filename>")
@access.public
def swagger_file(filename: str) -> Response:
    """A file of Swagger UI, as its package ships it."""
    return _file(SWAGGER_FOLDER, filename)


@blueprint.app_template_global()
def versioned(endpoint: str, filename: str) -> str:
    """The address of a file with the digest of its content, so that it can be kept for long."""
    return url_for(endpoint, filename=filename, v=_digest(_folder(endpoint) / filename))


def _folder(endpoint: str) -> Path:
    return SWAGGER_FOLDER if endpoint == "pages.swagger_file" else STATIC_FOLDER


def _digest(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()[:16]


def _file(folder: Path, filename: str) -> Response:
    response = send_from_directory(folder, filename, conditional=True, etag=True, max_age=0)
    asked_for = request.args.get("v")
    if asked_for is not None and asked_for == _digest(folder / filename):
        response.cache_control.no_cache = None
        response.cache_control.public = True
        response.cache_control.max_age = int(_A_YEAR.total_seconds())
        response.cache_control.immutable = True
    return response


def _page(template: str, **values: object) -> Response:
    response = Response(render_template(template, **values), mimetype="text/html")
    response.headers["Content-Security-Policy"] = _policy(current_app.config["SOCKETS_URL"])
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    response.headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=()"
    response.headers["Cache-Control"] = "no-cache"
    response.add_etag()
    return response.make_conditional(request)  # type: ignore[return-value]


def _console_policy() -> str:
    """As all pages', but that it speaks to this origin alone, and no text ever becomes markup."""
    return f"{_policy(None)}; require-trusted-types-for 'script'; trusted-types 'none'"


def _policy(sockets_url: str | None) -> str:
    """Scripts and styles are files of this origin; `data:` images are the icons inside style sheets."""
    sockets = urlsplit(sockets_url) if sockets_url else None
    directives = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": f"'self' {sockets.scheme}://{sockets.netloc}" if sockets else "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {sources}" for name, sources in directives.items())
