"""Opens tracing when the settings ask for it; nothing of OpenTelemetry's is loaded before."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from models.settings import Settings

if TYPE_CHECKING:
    from models.tracing.tracing import Tracing


def open_tracing(settings: Settings, service: str) -> Tracing | None:
    """Tracing of this process under the name `service`; None when it is off."""
    if settings.traces_url is None:
        return None
    module = import_module("models.tracing.tracing")  # not above: who does not trace does not load it
    tracing = module.Tracing(
        service, settings.traces_url, ratio=settings.traces_ratio, environment=settings.environment
    )
    return cast("Tracing", tracing)
