"""A Flask application of one route that does nothing: what the framework and its server cost alone."""

from __future__ import annotations

from flask import Flask

app = Flask(__name__, static_folder=None)


@app.get("/")
def nothing() -> str:
    """As little as a route can do."""
    return "ok"
