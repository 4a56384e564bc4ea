"""Whether the ports of a stack are free."""

import errno
import socket
from collections.abc import Mapping

from deploy.local.errors import StackError


def reachable(host: str) -> str:
    """The address a client on this machine uses for a server that binds to `host`, ready for a URL."""
    address = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"[{address}]" if ":" in address else address


def require_free(addresses: Mapping[str, tuple[str, int]]) -> None:
    """Check that nobody listens on the addresses (what it is for → host and port).

    Raises:
        StackError: naming the first port that cannot be had and how to move the stack.
    """
    for purpose, (host, port) in addresses.items():
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do: past connections
                probe.bind(address)
        except socket.gaierror as error:
            raise StackError(f"HOST {host} is no address of this machine: choose another HOST.") from error
        except OSError as error:
            reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be had ({error.strerror})"
            raise StackError(
                f"port {port} ({purpose}) on {host} {reason}: stop what uses it, "
                "or move this stack, with all its ports: make run PORT=9000"
            ) from error


def listening(host: str, port: int) -> bool:
    """Whether somebody takes connections there now."""
    try:
        socket.create_connection((reachable(host).strip("[]"), port), timeout=1).close()
    except OSError:
        return False
    return True
