"""Whatever is done in whatever order, who may do what is what a plain model of accounts says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from models.guard.desk import Why
from models.stores import Stores
from tests.fixtures.api import SignedIn, bearer, wish
from tests.fixtures.people import as_json, sign
from web.services import EXTENSION

UPDATE = "/api/v1/scores/update"
WHY = Why("ada", "a test")


@dataclass
class Family:
    """A sign-in: its access tokens, the refresh token that is not spent, and whether it was given up."""

    account: Account
    access: list[str]
    refresh: str
    spent: list[str] = field(default_factory=list)
    revoked: bool = False


@dataclass
class Account:
    """A player, as the model knows them."""

    signed_in: SignedIn
    blocked: bool = False
    score: int = 0
    families: list[Family] = field(default_factory=list)


class Accounts(RuleBasedStateMachine):
    """What players, thieves and operators do."""

    families = Bundle("families")

    def __init__(self, api: Flask, sign_up: Callable[[], SignedIn], drain: Callable[[], Any]) -> None:
        super().__init__()
        self._client = api.test_client()
        self._stores: Stores = api.extensions[EXTENSION].stores
        self._sign_up = sign_up
        self._drain = drain
        self._everybody: list[Account] = []

    @initialize(target=families)
    def begin(self) -> Family:
        return self.register()

    @rule(target=families)
    def register(self) -> Family:
        player = self._sign_up()
        account = Account(player)
        self._everybody.append(account)
        return self._family(account, player.access_token, player.refresh_token)

    @rule(target=families, of=families)
    def sign_in(self, of: Family) -> Family:
        answer = self._client.post("/api/v1/auth/token", json=wish(of.account.signed_in.account))
        if of.account.blocked:
            assert (answer.status_code, answer.json["code"]) == (403, "user_blocked")
            return of
        assert answer.status_code == 200
        return self._family(of.account, answer.json["access_token"], answer.json["refresh_token"])

    @rule(of=families)
    def refresh(self, of: Family) -> None:
        answer = self._client.post("/api/v1/auth/refresh", headers=bearer(of.refresh))
        if self._refused(of, answer):
            return
        of.spent.append(of.refresh)
        of.access.append(answer.json["access_token"])
        of.refresh = answer.json["refresh_token"]

    @rule(of=families)
    def use_a_spent_refresh_token(self, of: Family) -> None:
        if not of.spent:
            return
        answer = self._client.post("/api/v1/auth/refresh", headers=bearer(of.spent[0]))
        if of.revoked or not of.account.blocked:
            assert (answer.status_code, answer.json["code"]) == (401, "token_revoked")
            of.revoked = True  # whoever used it twice: the whole family is over
        else:
            assert answer.json["code"] == "user_blocked"

    @rule(of=families)
    def log_out(self, of: Family) -> None:
        answer = self._client.post("/api/v1/auth/logout", headers=bearer(of.access[-1]))
        if not self._refused(of, answer):
            assert answer.status_code == 204
            of.revoked = True

    @rule(of=families, which=st.integers(0, 9), value=st.integers(1, 5))
    def update(self, of: Family, which: int, value: int) -> None:
        token = of.access[which % len(of.access)]
        answer = self._post(token, as_json(sign(of.account.signed_in.account, value=value)))
        if not self._refused(of, answer):
            assert answer.status_code == 202
            of.account.score += 10 * value

    @rule(of=families, other=families)
    def update_with_anothers_key(self, of: Family, other: Family) -> None:
        if of.account is other.account:
            return
        body = as_json(sign(of.account.signed_in.account, key=other.account.signed_in.account.secret_key))
        answer = self._post(of.access[-1], body)
        if not self._refused(of, answer):
            assert (answer.status_code, answer.json["code"]) == (403, "signature_invalid")

    @rule(of=families)
    def update_with_a_refresh_token(self, of: Family) -> None:
        answer = self._post(of.refresh, as_json(sign(of.account.signed_in.account)))
        assert answer.status_code == 401

    @rule(of=families)
    def block(self, of: Family) -> None:
        self._stores.desk.restrict("user", of.account.signed_in.account.username, "block", WHY)
        of.account.blocked = True

    @rule(of=families)
    def lift(self, of: Family) -> None:
        if of.account.blocked:
            self._stores.desk.lift("user", of.account.signed_in.account.username, "block", WHY)
            of.account.blocked = False

    @rule(of=families)
    def change_key(self, of: Family) -> None:
        account = of.account.signed_in.account
        key = self._stores.desk.change_key(account.username, WHY)
        old = as_json(sign(account))
        of.account.signed_in.account = type(account)(account.user_id, account.username, key)
        answer = self._post(of.access[-1], old)
        if not self._refused(of, answer):
            assert answer.json["code"] == "signature_invalid"

    @invariant()
    def nobody_has_another_score(self) -> None:
        self._drain()
        for account in self._everybody:
            entries = self._stores.ranking.ranks("global", [account.signed_in.account.user_id]).entries
            assert [entry.score for entry in entries] == ([account.score] if account.score else [])

    def _post(self, token: str, body: bytes) -> Any:
        return self._client.post(UPDATE, data=body, headers={"Content-Type": "application/json", **bearer(token)})

    def _family(self, account: Account, access: str, refresh: str) -> Family:
        family = Family(account, [access], refresh)
        account.families.append(family)
        return family

    def _refused(self, of: Family, answer: Any) -> bool:
        """Whether it was refused, as it had to be: what is revoked is told before who is blocked."""
        if of.revoked:
            assert (answer.status_code, answer.json["code"]) == (401, "token_revoked")
        elif of.account.blocked:
            assert (answer.status_code, answer.json["code"]) == (403, "user_blocked")
        else:
            return False
        return True


@pytest.mark.slow
def test_the_service_agrees_with_the_model(api: Flask, sign_up: Callable[[], SignedIn], drain) -> None:
    run_state_machine_as_test(
        lambda: Accounts(api, sign_up, drain),
        settings=settings(
            max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
