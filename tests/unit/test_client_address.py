"""The event loop reads a caller's address as ProxyFix does: who could choose theirs would have limits of their own."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from werkzeug.middleware.proxy_fix import ProxyFix

from web.requests import client_address

ENTRIES = st.sampled_from(
    [
        "",
        " ",
        "203.0.113.7",
        " 198.51.100.2 ",
        "2001:db8::1",
        "not an address",
        "\\",
        "\t",
        '"203.0.113.7',
        'b"',
        '"::1"',
    ]
)


@given(st.lists(ENTRIES, max_size=5).map(",".join), st.integers(0, 4))
def test_it_is_the_address_that_flask_sees(forwarded: str, hops: int) -> None:
    seen: list[str] = []

    def flask(environ: dict[str, Any], _start: object) -> list[bytes]:
        seen.append(environ["REMOTE_ADDR"])
        return []

    ProxyFix(flask, x_for=hops)({"REMOTE_ADDR": "192.0.2.1", "HTTP_X_FORWARDED_FOR": forwarded}, lambda *_: None)
    assert [client_address("192.0.2.1", forwarded, hops)] == seen
