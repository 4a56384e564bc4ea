"""Players: names and addresses are one without regard to case, keys are stored sealed."""

from __future__ import annotations

from collections import Counter
from uuid import uuid4

import pytest

from models.accounts.users import Registered
from models.errors import AlreadyExists, NotFound
from models.guard.desk import Why
from tests.fixtures.threads import at_once


def register(stores, username: str, email: str) -> Registered:
    with stores.engine.begin() as connection:
        return stores.users.register(connection, username, email)


@pytest.mark.parametrize(
    ("username", "email", "member"),
    [
        ("Ada", "other@example.org", "username"),
        ("ada", "other@example.org", "username"),
        ("ADA", "other@example.org", "username"),
        ("other", "Ada@Example.org", "email"),
        ("other", "ada@example.org", "email"),
    ],
)
def test_a_name_or_address_is_taken_in_any_case(stores, contents, username, email, member) -> None:
    register(stores, "Ada", "Ada@Example.org")
    before = contents()
    with pytest.raises(AlreadyExists) as refused:
        register(stores, username, email)
    assert [fault.pointer for fault in refused.value.errors] == [f"/{member}"]
    assert contents() == before


def test_of_twenty_who_want_one_name_at_once_one_gets_it(open_process) -> None:
    processes = [open_process(), open_process()]
    names = ["Ada", "ada", "ADA", "aDa"]
    answers = at_once([lambda n=n: register(processes[n % 2], names[n % 4], f"{n}@example.org") for n in range(20)])
    assert Counter(type(answer) for answer in answers) == {Registered: 1, AlreadyExists: 19}


def test_a_player_is_found_in_any_case_and_shown_as_registered(stores) -> None:
    registered = register(stores, "Ada.L", "ada@example.org")
    found = stores.users.find("aDA.l")
    assert (found.user_id, found.username, found.blocked_since) == (registered.user_id, "Ada.L", None)
    assert stores.users.find("nobody") is None
    assert stores.users.find("no\0body") is None


def test_the_key_is_not_in_the_database_and_opens_in_another_process(stores, open_process, raw) -> None:
    player = register(stores, "ada", "ada@example.org")
    [(row,)] = raw.execute("SELECT users::text FROM users").fetchall()
    assert player.secret_key.hex() not in row
    assert open_process().users.secret_key(player.user_id) == player.secret_key


def test_a_player_who_does_not_exist_has_no_key(stores) -> None:
    with pytest.raises(NotFound):
        stores.users.secret_key(str(uuid4()))


def test_existing_tells_players_from_others(stores, players) -> None:
    ids = {player.user_id for player in players(3)}
    assert stores.users.existing([*ids, str(uuid4())]) == ids
    assert stores.users.existing([]) == set()


def test_blocking_somebody_who_does_not_exist_is_told(stores) -> None:
    with pytest.raises(NotFound):
        stores.desk.restrict("user", "nobody", "block", Why("tests", "a test"))


def test_the_memory_of_keys_has_a_bound(stores, players, monkeypatch) -> None:
    """I8."""
    monkeypatch.setattr("models.accounts.users.KEYS_REMEMBERED", 2)
    people = players(4)
    for player in [*people, *people]:
        assert stores.users.secret_key(player.user_id) == player.secret_key
    assert len(stores.users._keys) == 2
