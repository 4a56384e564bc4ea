"""REDIS_URL: one server, a master that Sentinels watch over, or a cluster."""

from __future__ import annotations

import pytest

from models import redis_url
from models.redis_url import SeveralServers
from models.storage.loop_cluster import open_line
from models.storage.loop_redis import LoopRedis
from models.storage.redis import may_move, open_redis


def test_sentinels_are_read_with_their_master_and_both_passwords() -> None:
    url = "sentinel://me:s%2Fecret@one:26380,two,[::1]:26381/main/3?sentinel_password=other"
    assert redis_url.read(url) == SeveralServers(
        (("one", 26380), ("two", 26379), ("::1", 26381)),
        "main",
        tls=False,
        options={"username": "me", "password": "s/ecret", "db": 3},
        sentinel_options={"password": "other"},
    )


def test_tls_is_for_servers_and_sentinels_alike() -> None:
    found = redis_url.read("sentinels://one/main?ssl_ca_certs=/etc/ssl/ours.pem")
    assert found.tls
    assert found.options == found.sentinel_options == {"ssl_ca_certs": "/etc/ssl/ours.pem"}


def test_nodes_of_a_cluster_are_read() -> None:
    found = redis_url.read("rediss+cluster://:hush@one,two:7000/0")
    assert found.addresses == (("one", 6379), ("two", 7000))
    assert found.options == {"password": "hush"}
    assert (found.tls, found.master) == (True, None)


@pytest.mark.parametrize(
    "url",
    [
        "sentinel://one,two",
        "sentinel://one:x/main",
        "sentinel://:hush@,two/main",
        "sentinel://one/main/zero",
        "sentinel://one/main?db=none",
        "redis+cluster://one/1",
        "redis+cluster://one?db=2",
        "redis+cluster://:hush@",
        "redis://:hu/sh@cache",
    ],
)
def test_a_fault_is_told_without_the_password(url: str) -> None:
    fault = redis_url.fault_of(url)
    assert fault
    assert "hu" not in fault


@pytest.mark.parametrize(
    "url", ["redis://cache/0", "unix:///cache.sock?db=1", "rediss://:hush@cache", "sentinel://one/m"]
)
def test_what_is_right_has_no_fault(url: str) -> None:
    assert redis_url.fault_of(url) is None


def test_only_a_server_of_its_own_stays_where_it_is() -> None:
    for url in ("redis://cache/0", "sentinel://one/main", "redis+cluster://one"):
        with open_redis(url) as client:  # which nobody is asked for yet
            assert may_move(client) == redis_url.may_move(url) == (not url.startswith("redis://"))


def test_a_password_is_in_no_text_of_what_is_opened() -> None:
    for url in ("sentinel://:hush@one/main?sentinel_password=hush", "redis+cluster://:hush@one"):
        with open_redis(url) as client:
            assert "hush" not in f"{client!r} {redis_url.read(url)!r}"


def test_a_line_is_one_or_as_many_as_there_are_masters() -> None:
    loop = object()
    assert isinstance(open_line(loop, "sentinel://one/main", "sb:{"), LoopRedis)  # type: ignore[arg-type]
    assert not isinstance(open_line(loop, "redis+cluster://one", "sb:{"), LoopRedis)  # type: ignore[arg-type]
