"""One process of the picture: how it is started, told to end, and known to be ready."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Part:
    """A process of the deployment.

    Attributes:
        name: as the supervisor, logs, metrics and the drill call it, such as `api-1`.
        arguments: its command line; it stays in the foreground and writes to standard output.
        environment: what is added to the common environment.
        ready: whether it does its work now; asked again and again, and must answer within two seconds.
        stop_signal: the signal that ends it in good order.
        stop_seconds: how long that may take before it is killed.
    """

    name: str
    arguments: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], bool] = lambda: True
    stop_signal: str = "TERM"
    stop_seconds: float = 10.0
