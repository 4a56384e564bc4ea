"""What a proxy says of a caller's address is kept only if it is one."""

from __future__ import annotations

import pytest

from models.pipeline.accept import storable_address


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::1", "127.0.0.1"])
def test_an_address_is_kept(address: str) -> None:
    assert storable_address(address) == address


@pytest.mark.parametrize(
    "made_up", [None, "", "unknown", "192.0.2.7:8080", "1.2.3", "'; DROP TABLE inbox", "١٢٧.0.0.1"]
)
def test_anything_else_is_left_out(made_up: str | None) -> None:
    assert storable_address(made_up) is None


def test_the_zone_of_a_link_local_address_is_left_out() -> None:
    assert storable_address("fe80::1%eth0") == "fe80::1"
