"""Spans of the steps of traced updates, sent to a collector by OTLP in the background, within bounds.

Each span's parent is what the step before left behind the request id (`riding.py`), whatever process that ran in. A
collector that is away costs spans, and nothing else.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
import time
from collections.abc import Mapping
from typing import Final, Literal

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from models.tracing.riding import Rider, rider_of, shortened

#: Any client may ask for its request to be traced; beyond so many a second a process lets it go untraced.
TRACED_A_SECOND_MOST: Final = 100
#: Spans that may wait for the collector; then new ones are dropped (I8).
WAITING_MOST: Final = 4_096
GATHER_SECONDS: Final = 0.5
#: For one try and its repeats.
EXPORT_SECONDS_MOST: Final = 3.0
#: At the end of the process, for what waits.
FAREWELL_SECONDS: Final = 0.5

#: Between two words on spans that could not be sent.
SAY_SECONDS: Final = 60.0

_EXPORTER_LOG: Final = logging.getLogger(OTLPSpanExporter.__module__)
_PROPAGATOR: Final = TraceContextTextMapPropagator()
Attributes = Mapping[str, AttributeValue]
Kind = Literal["internal", "client", "producer", "consumer"]


class _Seldom(logging.Filter):
    """Lets a record pass once a minute: a collector that is away is told of with each try."""

    def __init__(self) -> None:
        super().__init__()
        self._next_at = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it may be said."""
        now = time.monotonic()
        if record.levelno < logging.ERROR or now < self._next_at:
            return False
        self._next_at = now + SAY_SECONDS
        return True


class Step:
    """A step that has begun, of an update that is traced."""

    def __init__(self, span: Span, request_id: str) -> None:
        self._span = span
        context = span.get_span_context()
        self.request_id = request_id
        #: Trace and span, as logs name them.
        self.ids = f"{context.trace_id:032x}", f"{context.span_id:016x}"
        traceparent = f"00-{self.ids[0]}-{self.ids[1]}-{context.trace_flags:02x}"
        #: What the next step gets in place of the request id.
        self.carried = Rider(request_id, traceparent, shortened(context.trace_state.to_header())).text

    def end(self, attributes: Attributes | None = None, *, at_ns: int | None = None, failed: str | None = None) -> None:
        """It is done, now or at a moment (Unix ns); `failed` says by what it did not succeed."""
        if attributes:
            self._span.set_attributes(attributes)
        if failed is not None:
            self._span.set_attribute("error.type", failed)
            self._span.set_status(Status(StatusCode.ERROR, failed))
        self._span.end(at_ns)


class Tracing:
    """One a process, opened after its fork."""

    def __init__(self, service: str, url: str, *, ratio: float, environment: str) -> None:
        """
        Args:
            url: where OTLP/HTTP is taken, such as http://collector:4318/v1/traces.
            ratio: the part of the requests that are traced when their client says nothing of it.
        """
        resource = Resource.create(
            {
                "service.namespace": "scoreboard",
                "service.name": service,
                "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
                "deployment.environment.name": environment,
            }
        )
        # Whether to trace is decided in `accept`, once for all that follows.
        self._provider = TracerProvider(ParentBased(ALWAYS_ON), resource, shutdown_on_exit=False)
        if not any(isinstance(each, _Seldom) for each in _EXPORTER_LOG.filters):
            _EXPORTER_LOG.addFilter(_Seldom())
        self._exporter = OTLPSpanExporter(url, timeout=EXPORT_SECONDS_MOST)
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._exporter,
                max_queue_size=WAITING_MOST,
                schedule_delay_millis=GATHER_SECONDS * 1000,
            )
        )
        self._tracer = self._provider.get_tracer("scoreboard")
        self._ratio = ratio
        self._second, self._left = 0, TRACED_A_SECOND_MOST

    def accept(self, request_id: str, traceparent: str | None, tracestate: str | None, *, begun_ns: int) -> Step | None:
        """Begin the trace of an update, or go on with its client's; None when it is not to be traced.

        Args:
            traceparent: as the client sent it, sound or not.
            begun_ns: when the request began, by the monotonic clock.
        """
        context = None
        if traceparent:
            context = _PROPAGATOR.extract({"traceparent": traceparent, "tracestate": tracestate or ""})
            parent = trace.get_current_span(context).get_span_context()
            if parent.is_valid and not parent.trace_flags.sampled:
                return None
            context = context if parent.is_valid else None
        if context is None and random.random() >= self._ratio:  # noqa: S311 - a sample
            return None
        if not self._may_trace():
            return None
        began = time.time_ns() - (time.monotonic_ns() - begun_ns)
        return Step(self._tracer.start_span("accept", context, SpanKind.SERVER, start_time=began), request_id)

    def follow(self, carried: str, name: str, kind: Kind = "internal", *, begun_ns: int | None = None) -> Step | None:
        """Begin the next step of a traced update, now or at a moment (Unix ns); None when nothing rode along."""
        rider = rider_of(carried)
        if rider is None:
            return None
        context = _PROPAGATOR.extract({"traceparent": rider.traceparent, "tracestate": rider.tracestate})
        if not trace.get_current_span(context).get_span_context().is_valid:
            return None
        span = self._tracer.start_span(name, context, SpanKind[kind.upper()], start_time=begun_ns)
        return Step(span, rider.request_id)

    def close(self) -> None:
        """Send what waits, for FAREWELL_SECONDS at most, and end. Repeatable.

        From a thread of its own: the library would wait for half a minute where nobody answers.
        """
        ending = threading.Thread(target=self._provider.shutdown, name="tracing-end", daemon=True)
        ending.start()
        ending.join(FAREWELL_SECONDS)
        if ending.is_alive():
            # What it is about fails now, and the rest at once.
            self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _may_trace(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._left = second, TRACED_A_SECOND_MOST
        self._left -= 1
        return self._left >= 0
