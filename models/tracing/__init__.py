"""Tracing with OpenTelemetry: off, and not even imported, unless `TRACES_URL` is set."""
