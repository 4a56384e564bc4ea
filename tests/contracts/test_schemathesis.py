"""The API attacked by its own description: whatever is sent, the answer is one that the description allows, and no 5xx.

Schemathesis (https://schemathesis.readthedocs.io) makes the requests, those that fit the schemas and those that do not;
what a player must sign is signed here, so that they come past the signature.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from secrets import token_hex

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import negative_data_rejection, positive_data_acceptance
from schemathesis.specs.openapi.checks import ensure_resource_availability, ignored_auth, use_after_free

from models.accounts.tokens import SCOPES
from tests.fixtures.api import SignedIn, bearer, wish
from tests.fixtures.people import sign
from tests.integration.test_privacy import signed

pytestmark = pytest.mark.slow

EXAMPLES = 10
#: What these look at is looked at by tests that know who owns what: test_routes_agree, test_admin, test_privacy.
LEFT_OUT = [ensure_resource_availability, ignored_auth, use_after_free]


def signs(case: Case, player: SignedIn) -> None:
    """Put in what a player's client would have computed."""
    body = case.body
    if not isinstance(body, dict):
        return
    if case.path == "/api/v1/scores/update":
        update = sign(player.account, f"s-{token_hex(8)}")
        body.update(
            action_id=update.action_id,
            action=update.action,
            value=update.value,
            nonce=update.nonce,
            timestamp=update.timestamp,
            signature=update.signature,
        )
    elif case.path == "/api/v1/auth/token":
        body.clear()
        body.update(wish(player.account))
    elif case.path == "/api/v1/users/me/key":
        body.update(signed(player.account, "key", timestamp=int(time.time() * 1000)))


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["fitting", "unfit"])
def test_every_answer_is_one_that_the_description_allows(
    api: Flask, sign_up: Callable[[], SignedIn], service_headers: Callable[..., dict[str, str]], mode: GenerationMode
) -> None:
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", api).exclude(path="/readyz")  # no worker is here
    service = service_headers(*SCOPES)
    tried: Counter[str] = Counter()

    def attack(case: Case) -> None:
        access = case.operation.definition.raw["x-access"]
        headers = service if access.startswith("scope") else {}
        if access.startswith("player"):
            player = sign_up()
            headers = bearer(player.refresh_token) if "refresh" in access else player.headers
            if mode is GenerationMode.POSITIVE:
                signs(case, player)
        tried[case.operation.label] += 1
        left_out = [*LEFT_OUT, positive_data_acceptance]
        if case.path == "/api/v1/scores/batch":  # what is wrong with one item is told in the answer, beside the others
            left_out.append(negative_data_rejection)
        answer = case.call(headers=headers)
        if answer.status_code == 413:  # a refusal as well
            left_out.append(negative_data_rejection)
        case.validate_response(answer, excluded_checks=left_out)

    for found in schema.get_all_operations():
        operation = found.ok()
        takes = operation.definition.raw["parameters"] or operation.definition.raw.get("requestBody")
        if mode is GenerationMode.NEGATIVE and not takes:
            continue  # nothing can be wrong
        examples = given(operation.as_strategy(generation_mode=mode))
        settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)(
            examples(lambda case: attack(case))  # noqa: PLW0108 - hypothesis reads the name of its argument
        )()
    assert min(tried.values()) >= 1
    assert tried.total() > 100
