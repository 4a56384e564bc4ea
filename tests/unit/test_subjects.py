"""An address goes by one name, and a site counts as one."""

from __future__ import annotations

import pytest

from models.subjects import network_of, subject_of


@pytest.mark.parametrize(
    ("address", "subject"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", None),
        ("", None),
        (None, None),
    ],
)
def test_an_address_goes_by_one_name(address: str | None, subject: str | None) -> None:
    assert subject_of(address) == subject


def test_a_network_is_an_address_or_a_prefix() -> None:
    assert str(network_of("192.0.2.0/24")) == "192.0.2.0/24"
    assert str(network_of("192.0.2.9/24")) == "192.0.2.0/24"
    assert str(network_of("192.0.2.9")) == "192.0.2.9/32"
    with pytest.raises(ValueError, match="does not appear"):
        network_of("everywhere")
