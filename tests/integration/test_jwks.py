"""A provider's keys are kept while it is down, found when they are new, and never fetched in a rush."""

from __future__ import annotations

import json
from collections.abc import Callable

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from jwt.algorithms import OKPAlgorithm

from models.errors import NotReady
from tests.fixtures.threads import at_once
from web.jwks import LIFESPAN_SECONDS, LOOKS_APART_SECONDS, ProviderKeys


class Provider:
    """Says which keys it has, unless it is down."""

    def __init__(self) -> None:
        self.kids = ["one"]
        self.down = False
        self.asked = 0

    def __call__(self) -> bytes:
        self.asked += 1
        if self.down:
            raise ConnectionError
        keys = []
        for kid in self.kids:
            public = ed25519.Ed25519PrivateKey.generate().public_key()
            keys.append({**json.loads(OKPAlgorithm.to_jwk(public)), "kid": kid})
        return json.dumps({"keys": keys}).encode()


class Clock:
    """Moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def keys(provider: Provider, clock: Clock) -> ProviderKeys:
    return ProviderKeys(provider, clock)


def unknown(keys: ProviderKeys, kid: str) -> None:
    with pytest.raises(jwt.InvalidKeyError):
        keys.key(kid)


def test_a_key_is_fetched_once(keys: ProviderKeys, provider: Provider) -> None:
    for _ in range(5):
        assert keys.key("one") is not None
    assert provider.asked == 1


def test_kids_that_nobody_has_cost_the_provider_nothing(keys: ProviderKeys, provider: Provider, clock: Clock) -> None:
    keys.key("one")
    at_once([lambda number=number: unknown(keys, f"kid-{number}") for number in range(50)])
    assert provider.asked == 1
    clock.now += LOOKS_APART_SECONDS + 1
    at_once([lambda number=number: unknown(keys, f"kid-{number}") for number in range(50)])
    assert provider.asked == 2


def test_a_new_key_is_found(keys: ProviderKeys, provider: Provider, clock: Clock) -> None:
    keys.key("one")
    provider.kids.append("two")
    clock.now += LOOKS_APART_SECONDS + 1
    assert keys.key("two") is not None


def test_what_is_held_is_used_while_the_provider_is_down(
    keys: ProviderKeys, provider: Provider, clock: Clock, eventually: Callable[..., None]
) -> None:
    keys.key("one")
    provider.down = True
    clock.now += LIFESPAN_SECONDS + 1
    assert keys.key("one") is not None
    eventually(lambda: provider.asked == 2)
    assert keys.key("one") is not None
    clock.now += LOOKS_APART_SECONDS + 1
    with pytest.raises(NotReady):
        keys.key("two")


def test_before_the_first_answer_nothing_can_be_said(keys: ProviderKeys, provider: Provider, clock: Clock) -> None:
    provider.down = True
    for _ in range(3):
        with pytest.raises(NotReady):
            keys.key("one")
    assert provider.asked == 1
    provider.down = False
    clock.now += LOOKS_APART_SECONDS + 1
    assert keys.key("one") is not None


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"keys": 1}', b'{"keys": [{"kty": "oct"}]}', b"\xff"])
def test_a_document_that_is_none_is_as_good_as_none(clock: Clock, document: bytes) -> None:
    with pytest.raises(NotReady):
        ProviderKeys(lambda: document, clock).key("one")
