"""What the console asks: figures that are true of all, players by name, pages of every list; and the page itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from models.boards.sockets_open import SILENT_SECONDS, SocketsOpen, in_all
from models.guard import glance
from models.guard.suspicion import Suspicion
from models.guard.watch import Watch
from models.settings import Settings
from models.storage.database import open_engine
from models.storage.redis import open_redis
from models.stores import Stores
from tests.fixtures.people import server_update
from tests.integration.test_admin import ADMIN, Ask, ask, play
from tests.integration.test_commands import run
from web.api.admin_glance import Glances
from web.api.remembered import Remembered

__all__ = ["ask", "run"]  # fixtures


def all_pages(ask: Ask, path: str, name: str) -> list[Any]:
    """Every row of a list, two at a time."""
    rows, cursor, joint = [], "", "&" if "?" in path else "?"
    while True:
        page = ask(f"{path}{joint}limit=2{cursor}")
        assert len(page[name]) <= 2
        rows += page[name]
        if page["next_cursor"] is None:
            return rows
        cursor = f"&cursor={page['next_cursor']}"


class TestGlance:
    def test_it_tells_of_all_that_waits_and_two_looks_make_a_rate(
        self, stores: Stores, players, submit_batch, drain, query
    ) -> None:
        """Of all processes: nothing here is counted by the one that is asked."""

        def look() -> glance.Glance:
            with stores.engine.connect() as connection:
                return glance.look(connection)

        one, other = players(2)
        before = look()
        submit_batch([server_update(one), server_update(one), server_update(other)])
        waits = look()
        assert (waits.accepted - before.accepted, waits.depth) == (3, 3)
        assert [(shard.shard, shard.updates) for shard in waits.shards] == [(0, 3)]
        assert 0 < waits.oldest_seconds < 30
        assert waits.at > before.at
        drain()
        settled = look()
        assert (settled.accepted - before.accepted, settled.depth, settled.oldest_seconds) == (3, 0, 0.0)

    def test_latency_is_that_of_what_was_applied_just_now(self, stores: Stores, player, submit, drain, query) -> None:
        def latency() -> glance.Latency | None:
            with stores.engine.begin() as connection:
                return glance.latency(connection)

        assert latency() is None
        submit(player, "quick")
        submit(player, "slow")
        query("UPDATE inbox SET accepted_at = accepted_at - interval '2 seconds' WHERE action_id = 'slow'")
        drain()
        found = latency()
        assert found is not None
        assert (found.updates, found.median_seconds < 1, 2 < found.p99_seconds < 3) == (2, True, True)

    def test_it_reads_no_whole_history_for_it(self, stores: Stores, raw) -> None:
        plan = "EXPLAIN " + glance._LATENCY.text.replace(":seconds", "10").replace(":most", "2000")
        with raw.transaction():
            raw.execute("SELECT set_config('enable_seqscan', 'off', true)")
            lines = [row[0] for row in raw.execute(plan).fetchall()]
        assert any("score_history_2" in line and "created_at_idx" in line for line in lines)
        assert not any("Seq Scan" in line for line in lines)

    def test_the_call_has_figures_sockets_and_parts(self, ask: Ask, client, sign_up, stores, services) -> None:
        SocketsOpen(stores.redis).say(7)
        play(client, sign_up(), "g-1")
        found = ask("/glance")
        assert (found["pipeline"]["depth"], found["pipeline"]["accepted"]) == (1, 1)
        assert (found["pipeline"]["settled"], found["pipeline"]["latency"]) == (0, None)
        assert found["sockets"] == {"open": 7, "processes": 1}
        assert {name: part["status"] for name, part in found["parts"].items()} == {
            "database": "ok", "schema": "ok", "redis": "ok", "broker": "ok", "worker": "failing", "inbox": "ok",
        }  # fmt: skip

    def test_what_cannot_be_known_is_null_and_the_parts_say_why(self, stores: Stores) -> None:
        nowhere = open_engine("postgresql+psycopg://nobody@/nothing?host=/nobody-is-here")
        away = replace(stores, engine=nowhere, redis=open_redis("unix:///nobody-is-here"))
        seen = Glances(away)
        assert (seen.pipeline.get(), seen.sockets.get()) == (None, None)
        failing = {name for name, part in seen.parts.get().items() if part.status == "failing"}
        assert failing >= {"database", "schema", "inbox", "redis", "worker"}

    def test_however_many_ask_there_is_one_look_in_its_time(self) -> None:
        looks: list[int] = []
        seen = Remembered(lambda: looks.append(1) or len(looks), 60)
        assert [seen.get() for _ in range(5)] == [1] * 5
        assert Remembered(lambda: looks.append(1) or len(looks), 0).get() == 2


class TestSocketsOpen:
    def test_each_process_says_its_own_and_who_is_silent_is_gone(self, stores: Stores, monkeypatch) -> None:
        assert in_all(stores.redis) == (0, 0)
        one, other = SocketsOpen(stores.redis), SocketsOpen(stores.redis)
        other._name = "elsewhere:1"
        one.say(3)
        other.say(4)
        assert in_all(stores.redis) == (7, 2)
        one.say(5)
        assert in_all(stores.redis) == (9, 2)
        other.leave()
        assert in_all(stores.redis) == (5, 1)
        stores.redis.hset("sb:sockets:open", "dead:1", f"50 {time.time() - SILENT_SECONDS - 2:.0f}")
        assert in_all(stores.redis) == (5, 1)
        assert stores.redis.hlen("sb:sockets:open") == 1


class TestPlayers:
    def test_they_are_found_by_the_beginning_of_their_name_whatever_its_case(self, ask: Ask, stores: Stores) -> None:
        with stores.engine.begin() as connection:
            for name in ("Ada", "adam", "ADA_2", "ad-x", "bob", "ada.z"):
                stores.users.register(connection, name, f"{name}@example.org")
        assert [p["username"] for p in all_pages(ask, "/players?name=aDa", "players")] == [
            "Ada", "ada.z", "ADA_2", "adam",
        ]  # fmt: skip
        assert all_pages(ask, "/players?name=ada_", "players")[0]["username"] == "ADA_2"  # `_` is no wildcard
        assert all_pages(ask, "/players?name=%25", "players") == []
        user_id = stores.users.by_name("bob").user_id
        assert [p["username"] for p in ask(f"/players?name={user_id}")["players"]] == ["bob"]
        assert "email" not in ask(f"/players?name={user_id}")["players"][0]
        for bad in ("", "name=", "name=%00", "name=" + "x" * 65, "name=ada&cursor=x", "name=ada&who=x"):
            ask(f"/players?{bad}", 422)

    def test_a_name_is_looked_up_by_its_index(self, stores: Stores, raw) -> None:
        with raw.transaction():
            raw.execute("SET LOCAL enable_seqscan = off")
            raw.execute("SET LOCAL enable_bitmapscan = off")
            lines = raw.execute(
                "EXPLAIN SELECT 1 FROM users WHERE lower(username) ~>=~ 'ada'"
                " AND lower(username) ~<~ ('ada' || chr(127)) ORDER BY lower(username) USING ~<~ LIMIT 5"
            ).fetchall()
        assert any("users_username_beginning_idx" in line for (line,) in lines)
        assert not any("Sort" in line for (line,) in lines)

    def test_a_players_file_has_places_and_what_is_held_against_them(self, ask: Ask, client, sign_up, drain) -> None:
        player, other = sign_up(), sign_up()
        name = player.account.username
        play(client, player, "f-1")
        play(client, other, "o-1", 3)
        drain()
        ask("/restrictions", 201, subject_kind="user", subject=name, kind="quarantine", reason="too good")
        play(client, player, "f-2")
        drain()
        found = ask(f"/players/{name.upper()}")
        assert (found["player"]["username"], found["held_updates"], found["dead_letters"]) == (name, 1, 0)
        [place] = [place for place in found["places"] if place["board"] == "global"]
        assert (place["rank"], place["score"], place["last_action_id"]) == (2, 10, "f-1")
        assert [(r["kind"], r["username"], r["lifted_at"]) for r in found["restrictions"]] == [
            ("quarantine", name, None)
        ]
        ask(f"/players/{name}/hide", reason="looking")
        found = ask(f"/players/{name}")
        assert found["player"]["hidden_at"] is not None
        assert {place["rank"] for place in found["places"]} == {None}
        ask("/players/nobody-of-that-name", 404)

    def test_history_says_what_is_void(self, ask: Ask, client, sign_up, drain) -> None:
        player = sign_up()
        name = player.account.username
        for at in range(4):
            play(client, player, f"h-{at}")
        drain()
        ask(f"/players/{name}/void", action_ids=["h-1"], reason="a broken level")
        rows = all_pages(ask, f"/players/{name}/history?board=global", "entries")
        assert [(row["action_id"].split("/")[0], row["action"], row["void"]) for row in rows] == [
            ("act", "moderation.void", False),
            ("h-3", "level_complete", False),
            ("h-2", "level_complete", False),
            ("h-1", "level_complete", True),
            ("h-0", "level_complete", False),
        ]
        ask(f"/players/{name}/history?board=nowhere", 404)
        ask(f"/players/{name}/history?cursor=x", 422)

    def test_all_sign_ins_are_ended(self, ask: Ask, client, sign_up, run) -> None:
        """I10: within a second everywhere; here at once."""
        player = sign_up()
        assert client.get("/api/v1/scores/me", headers=player.headers).status_code == 200
        assert ask(f"/players/{player.account.username}/sign-out", reason="a stolen phone") == {"sign_ins": 1}
        assert client.get("/api/v1/scores/me", headers=player.headers).json["code"] == "token_revoked"
        assert ask(f"/players/{player.account.username}/sign-out", reason="again") == {"sign_ins": 0}
        [_, act] = ask(f"/acts?subject={player.account.user_id}")["acts"]
        assert (act["act"], act["reason"], act["username"]) == ("sign out", "a stolen phone", player.account.username)
        assert "0 sign-ins" in run("users", "sign-out", player.account.username, "--reason", "x").output


class TestLists:
    def test_incidents(self, ask: Ask, services, sign_up) -> None:
        player = sign_up()
        watch = Watch(services.stores.engine, services.stores.rules, Suspicion(services.stores.redis))
        for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
            for _ in range(200):
                watch.note("token_invalid", address=address, request_id="r-1")
        for _ in range(60):
            watch.note("signature_invalid", user_id=player.account.user_id, address="192.0.2.9", request_id="r-2")
        watch.report()
        rows = all_pages(ask, "/incidents", "incidents")
        assert len({row["id"] for row in rows}) == len(rows) >= 4
        assert [r["username"] for r in rows if r["subject_kind"] == "user"] == [player.account.username]
        assert [r["subject"] for r in ask("/incidents?subject=192.0.2.2")["incidents"]] == ["192.0.2.2"]
        ask("/incidents?cursor=e30", 422)

    def test_restrictions_and_acts(self, ask: Ask, sign_up) -> None:
        names = [sign_up().account.username for _ in range(3)]
        for name in names:
            ask("/restrictions", 201, subject_kind="user", subject=name, kind="block", reason=f"for {name}")
        ask("/restrictions", 201, subject_kind="address", subject="192.0.2.7", kind="block", reason="guesses")
        assert [r["username"] for r in all_pages(ask, "/restrictions", "restrictions")] == [None, *reversed(names)]
        assert [a["reason"] for a in all_pages(ask, "/acts?act=block", "acts")] == [
            "guesses", *(f"for {name}" for name in reversed(names)),
        ]  # fmt: skip
        assert ask("/acts?act=block address")["acts"][0]["subject"] == "192.0.2.7"
        assert ask("/acts?operator=rule x")["acts"] == []
        assert len(ask("/acts?operator=token tests")["acts"]) == 4

    def test_quarantine(self, ask: Ask, client, sign_up, drain) -> None:
        people = [sign_up() for _ in range(3)]
        for at, person in enumerate(people):
            name = person.account.username
            ask("/restrictions", 201, subject_kind="user", subject=name, kind="quarantine", reason="x")
            for nth in range(3):
                play(client, person, f"q-{at}-{nth}")
        drain()
        assert [p["username"] for p in all_pages(ask, "/quarantine", "players")] == [p.account.username for p in people]
        held = all_pages(ask, f"/quarantine/{people[1].account.username}", "updates")
        assert [u["action_id"] for u in held] == ["q-1-0", "q-1-1", "q-1-2"]

    def test_seals(self, ask: Ask, sign_up, services) -> None:
        for reason in ("one", "two", "three"):
            ask("/restrictions", 201, subject_kind="address", subject="192.0.2.7", kind="block", reason=reason)
            assert len(list(services.stores.sealer.seal())) == 1
        seals = all_pages(ask, "/seals", "seals")
        assert [seal["number"] for seal in seals] == [3, 2, 1]
        assert {(seal["rows"], len(seal["hash"])) for seal in seals} == {(1, 64)}

    def test_dead_letters(self, ask: Ask, client, sign_up, drain, query, services) -> None:
        player = sign_up()
        name = player.account.username
        for at in range(3):
            play(client, player, f"d-{at}")
        query("UPDATE inbox SET action = 'fly'")
        drain()
        rows = all_pages(ask, f"/dead-letters?player={name}", "letters")
        assert [row["action_id"] for row in rows] == ["d-2", "d-1", "d-0"]
        listed = ask("/dead-letters?code=action_unknown")
        assert [(c["code"], c["updates"]) for c in listed["causes"]] == [("action_unknown", 3)]
        assert ask("/dead-letters?code=other")["letters"] == []
        letter = {"user_id": player.account.user_id, "action_id": "d-0"}
        other = {"user_id": player.account.user_id, "action_id": "d-1"}
        assert ask("/dead-letters/drop", reason="a robot", letters=[letter])["letters"] == [letter]
        [dropped] = ask("/dead-letters?state=dropped")["letters"]
        assert (dropped["state"], dropped["dropped_by"], dropped["dropped_reason"]) == (
            "dropped", "token tests", "a robot",
        )  # fmt: skip
        assert ask("/dead-letters/keep", reason="it was not", letters=[letter, other])["letters"] == [letter]
        query("UPDATE dead_letters SET action = 'level_complete'")
        assert ask("/dead-letters/retry", reason="it is back", letters=[letter, other, letter])["letters"] == [
            letter, other,
        ]  # fmt: skip
        ask("/dead-letters/retry", 404, reason="again", letters=[letter])
        drain()
        state = client.get("/api/v1/scores/updates/d-0", headers=player.headers).json
        assert (state["status"], state["results"][0]["score_increment"]) == ("applied", 10)
        ask("/dead-letters?state=lost", 422)
        ask("/dead-letters/retry", 422, reason="x", letters=[])
        ask("/dead-letters/retry", 422, reason="", letters=[letter])
        ask("/dead-letters/retry", 422, reason="x", letters=[letter] * 101)
        ask("/dead-letters/drop", 404, reason="x", letters=[letter] * 100)


class TestCommands:
    def test_dead_letters_are_listed_shown_retried_and_dropped(
        self, run: Callable[..., Any], players, submit_batch, drain, query
    ) -> None:
        one, other = players(2)
        submit_batch([server_update(one, action_id=f"c-{n}") for n in range(3)])
        submit_batch([server_update(other, action_id="c-9")])
        query("UPDATE inbox SET action = 'fly'")
        drain()
        query("UPDATE dead_letters SET action = 'level_complete'")
        assert "4 wait in all" in run("dead-letters", "list").output
        listed = run("dead-letters", "list", "--player", other.username, "--code", "action_unknown").output
        assert ("c-9" in listed, "c-0" in listed) == (True, False)
        assert "action_unknown" in run("dead-letters", "show", one.username, "c-0").output
        assert run("dead-letters", "show", one.username, "c-7").exit_code == 1
        assert run("dead-letters", "retry", "--reason", "x").exit_code == 2  # of all: never by an oversight
        assert run("dead-letters", "retry", "--action-id", "c-0", "--reason", "x").exit_code == 2
        drop = ("dead-letters", "drop", "--player", one.username, "--action-id", "c-0")
        assert run(*drop).exit_code == 2  # a reason is asked for
        assert "1 updates are dropped" in run(*drop, "--reason", "a robot").output
        assert "a robot" in run("dead-letters", "show", one.username, "c-0").output
        assert "c-0" in run("dead-letters", "list", "--dropped").output
        keep = run("dead-letters", "keep", "--player", one.username, "--action-id", "c-0", "--reason", "x")
        assert "1 updates wait again" in keep.output
        assert "3 updates" in run("dead-letters", "retry", "--player", one.username, "--reason", "x").output
        assert "1 updates" in run("dead-letters", "retry", "--code", "action_unknown", "--reason", "x").output
        assert run("dead-letters", "retry", "--code", "action_unknown", "--reason", "x").exit_code == 1
        assert drain().applied == 4
        assert "0 wait in all" in run("dead-letters", "list").output


class TestPage:
    def test_it_lets_nothing_in_and_is_kept_by_nobody(self, client: FlaskClient) -> None:
        answer = client.get("/admin")
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "connect-src 'self';" in policy  # nobody else hears of a token
        assert "require-trusted-types-for 'script'" in policy
        assert "unsafe" not in policy
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "no-referrer"

    def test_it_is_inside_as_its_calls_are(self, environment: dict[str, str], open_api: Callable[..., Flask]) -> None:
        client = open_api(Settings.from_env(environment | {"INNER_NETWORKS": "10.0.0.0/8"})).test_client()
        for path in ("/admin", f"{ADMIN}/glance"):
            assert client.get(path, environ_overrides={"REMOTE_ADDR": "192.0.2.1"}).status_code == 404
        inside = {"REMOTE_ADDR": "10.1.2.3"}
        assert client.get("/admin", environ_overrides=inside).status_code == 200
        assert client.get(f"{ADMIN}/glance", environ_overrides=inside).json["code"] == "token_missing"

    def test_the_live_page_loads_none_of_it(self, client: FlaskClient) -> None:
        assert "/static/admin" not in client.get("/").text
