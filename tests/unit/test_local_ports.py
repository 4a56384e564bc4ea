"""A port that is taken is named before anything starts."""

import socket

import pytest

from deploy.local.errors import StackError
from deploy.local.ports import listening, reachable, require_free


def test_a_taken_port_is_named_with_its_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert listening("127.0.0.1", port)
        with pytest.raises(StackError, match=rf"port {port} \(Flower\) on 127.0.0.1 is in use.*make run PORT="):
            require_free({"Flower": ("127.0.0.1", port)})
    require_free({"Flower": ("127.0.0.1", port)})


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(StackError, match="cannot be had"):
        require_free({"API": ("192.0.2.1", 8000)})


@pytest.mark.parametrize(
    ("host", "address"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("10.0.0.1", "10.0.0.1")]
)
def test_a_wildcard_is_reached_on_this_machine(host: str, address: str) -> None:
    assert reachable(host) == address
