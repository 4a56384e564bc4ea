"""Whom rules and restrictions are about: players by their id, addresses by their name; pure.

An IPv6 address stands for its whole /64, which is what one household or machine has.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Literal

SubjectKind = Literal["user", "address"]
Network = IPv4Network | IPv6Network

#: How what a subject is throttled to is written, as `1/second`.
THROTTLE: Final = r"^[1-9][0-9]{0,5} ?/ ?([1-9][0-9]{0,3} ?)?(second|minute|hour)$"
#: RFC 6177: a site gets a /64 at least.
_SITE_BITS: Final = 64


@lru_cache(maxsize=10_000)
def subject_of(address: str | None) -> str | None:
    """The name an address goes by in rules and restrictions; None for what is no address."""
    try:
        found = ip_address((address or "").partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ip_network((found, _SITE_BITS), strict=False))
    return str(found)


def site_of(address: str) -> str:
    """The same for counting: what is no address, as of a Unix socket, counts by itself."""
    return subject_of(address) or address


def network_of(text: str) -> Network:
    """The network that an operator means: an address, or one with a prefix length.

    Raises:
        ValueError: it is neither.
    """
    return ip_network(subject_of(text) or text, strict=False)
