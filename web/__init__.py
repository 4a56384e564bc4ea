"""The web side: the API, the sockets, the pages and the command line (`flask --app web`)."""

from __future__ import annotations

import sys

from flask import Flask
from flask.cli import NoAppException

from models.errors import CatalogueInvalid, RulesInvalid, SettingsInvalid
from web.api import app as api
from web.commands import install_commands


def create_app() -> Flask:
    """The API's application with the operators' commands; what `flask --app web` finds.

    `--help` tells of the commands without a stack too.

    Raises:
        NoAppException: the settings, the catalogue or the rules have a fault; the command line prints it as a sentence.
    """
    try:
        app = api.create_app(serving=False)
    except (SettingsInvalid, CatalogueInvalid, RulesInvalid) as error:
        if "--help" not in sys.argv:
            raise NoAppException(str(error)) from error
        app = Flask("web")
    install_commands(app)
    return app
