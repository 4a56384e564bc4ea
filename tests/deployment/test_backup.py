"""`make backup` and `make restore`, rehearsed: what was committed before T is there, what came later can come again."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.local import archive, backup, base_backups, environment, wal
from deploy.local.aftermath import EPOCHS_A_TIMELINE
from deploy.local.embedded import postgres
from deploy.local.errors import StackError
from deploy.local.procfile import ROOT
from deploy.local.restoration import Restored, restore
from deploy.local.restore import moment_of
from models.accounts.users import Registered
from models.boards.rebuild import VERSIONS_PER_EPOCH
from models.pipeline import sweep
from tests.fixtures.api import SignedIn, bearer, wish
from tests.fixtures.archived_service import ArchivedService
from tests.fixtures.people import sign
from tests.fixtures.waiting import eventually

POINTS = 10  # of `level_complete`, on the board `global`
Sent = list[tuple[Registered, str, int]]


def silent(_sentence: str) -> None:
    """Nobody is at the terminal."""


class Game:
    """Players, and the ledger of what they were told is accepted."""

    def __init__(self, service: ArchivedService) -> None:
        self.service = service
        self.people = [self._sign_up(n) for n in range(3)]
        self.served = 0  # the highest version of the board that anybody saw

    def play(self, how_many: int, label: str, *, apply: bool = True) -> Sent:
        """Updates of all players in turn, accepted one by one; applied unless the worker is to be late."""
        sent = [(self.people[n % len(self.people)].account, f"{label}-{n}", n % 7 + 1) for n in range(how_many)]
        assert [self.send(*each) for each in sent] == [False] * how_many
        if apply:
            self.service.drain()
        self.look()
        return sent

    def send(self, player: Registered, action_id: str, value: int) -> bool:
        """Freshly signed, as a client that repeats does it; whether the answer said `replayed`."""
        update = sign(player, action_id, value=value)
        acceptor = self.service.stores.acceptor
        return acceptor.accept(player.user_id, update, address="192.0.2.7", request_id="r").replayed

    def look(self) -> int:
        """Read the board, as a socket does; gives its version."""
        page = self.service.stores.ranking.top("global", 100)
        self.served = max(self.served, page.version)
        return page.version

    def _sign_up(self, number: int) -> SignedIn:
        name = f"player-{number}"
        answer = self.service.client.post("/api/v1/users", json={"username": name, "email": f"{name}@example.org"})
        assert answer.status_code == 201, answer.text
        return SignedIn(answer.json)  # type: ignore[arg-type]


def applied(service: ArchivedService) -> set[tuple[str, str]]:
    """(user, action_id) of every history row; there are no two of one."""
    rows = service.query("SELECT user_id::text, action_id FROM score_history")
    assert len(rows) == len(set(rows))
    return {(user, action_id) for user, action_id in rows}


def keys(sent: Sent) -> set[tuple[str, str]]:
    return {(player.user_id, action_id) for player, action_id, _ in sent}


def require_ledger(service: ArchivedService, sent: Sent) -> None:
    """Exactly these updates are in history, in unbroken chains that end in the scores, and the board says the same."""
    assert applied(service) == keys(sent)
    expected: defaultdict[str, int] = defaultdict(int)
    for player, _, value in sent:
        expected[player.user_id] += POINTS * value
    scores: dict[str, int] = dict(service.query("SELECT user_id::text, score FROM scores WHERE board = 'global'"))  # type: ignore[arg-type]
    assert scores == expected
    chains = service.query(
        "SELECT user_id::text, previous_score, score_increment, new_score FROM score_history ORDER BY user_id, version"
    )
    ends: defaultdict[str, int] = defaultdict(int)
    for user_id, previous, increment, new in chains:
        assert previous == ends[user_id]
        assert previous + increment == new
        ends[user_id] = new
    assert ends == expected
    page = service.stores.ranking.top("global", 100)
    assert {entry.user_id: entry.score for entry in page.entries} == expected
    assert [entry.score for entry in page.entries] == sorted(expected.values(), reverse=True)


def restore_to(service: ArchivedService, moment: datetime | None) -> Restored:
    """Stop, restore, start."""
    service.stop()
    done = restore(service.folders, moment, silent)
    service.start()
    return done


@pytest.mark.slow
def test_after_a_restore_to_t_exactly_what_was_committed_before_is_there(archived: ArchivedService) -> None:
    """The rehearsal; I1, I2, I4, I5, I6 over a restore."""
    game = Game(archived)
    before = game.play(20, "early")
    backup.take(archived.folders, silent)
    before += game.play(30, "middle")
    waiting = game.play(6, "waiting", apply=False)
    moment = archived.now()
    later = game.play(24, "later")
    later += game.play(5, "late", apply=False)
    for _ in range(3):  # epochs of the time that is undone
        archived.stores.ranking.rebuild("global")
        game.look()

    done = restore_to(archived, moment)

    assert done.old_cluster is not None
    assert done.old_cluster.exists()
    assert applied(archived) == keys(before)
    accepted = {(str(user), action) for user, action in archived.query("SELECT user_id, action_id FROM inbox_keys")}
    assert accepted == keys(before + waiting)
    assert game.look() > max(game.served - 1, EPOCHS_A_TIMELINE * VERSIONS_PER_EPOCH)

    eventually(lambda: sweep.shards_to_wake(archived.stores.engine) == [0])  # nobody sent a wake-up for these (I7)
    archived.drain()
    require_ledger(archived, before + waiting)

    assert all(game.send(*each) for each in before + waiting)  # replayed
    assert not any(game.send(*each) for each in later)  # new to us
    assert all(game.send(*each) for each in later)
    archived.drain()
    require_ledger(archived, before + waiting + later)
    assert game.look() < 2**53


@pytest.mark.slow
def test_a_restored_database_is_backed_up_and_restored_again_on_its_own_timeline(archived: ArchivedService) -> None:
    game = Game(archived)
    backup.take(archived.folders, silent)
    first = game.play(10, "first")
    moment = archived.now()
    game.play(10, "undone")
    versions = [game.served]

    restore_to(archived, moment)
    second = game.play(10, "second")
    versions.append(game.look())
    backup.take(archived.folders, silent)
    third = game.play(10, "third")
    done = restore_to(archived, None)
    require_ledger(archived, first + second + third)
    assert done.complete  # of the same database, stopped in good order: nothing is missing
    versions.append(game.look())

    restore_to(archived, moment)  # once more to where the timelines parted: the first one's backup, the first one's WAL
    require_ledger(archived, first)
    versions.append(game.look())
    fourth = game.play(10, "fourth")
    restore_to(archived, None)
    require_ledger(archived, first + fourth)
    versions.append(game.look())
    assert versions == sorted(set(versions))
    assert versions[-1] < 2**53


@pytest.mark.slow
def test_a_restore_is_undone_by_a_restore_of_the_database_it_moved_aside(archived: ArchivedService) -> None:
    """Started as it is, that one would give versions that were served since, and know no revocation of that time."""
    game = Game(archived)
    backup.take(archived.folders, silent)
    moment = archived.now()
    sent = game.play(10, "a")
    done = restore_to(archived, moment)
    game.play(10, "b")
    archived.stop()
    archived.folders.postgres.rename(archived.folders.data / "wrong")
    assert done.old_cluster is not None
    done.old_cluster.rename(archived.folders.postgres)

    with pytest.raises(StackError, match="that a restore had moved aside: make restore"):
        archived.start()
    done = restore_to(archived, None)

    require_ledger(archived, sent)
    assert not done.complete
    served = game.served
    assert game.look() > served


@pytest.mark.slow
def test_to_the_newest_loses_nothing_that_a_crashed_server_had_committed(archived: ArchivedService) -> None:
    """Its last segment was never archived: the old cluster has it. Tokens stay, since no revocation is lost."""
    game = Game(archived)
    backup.take(archived.folders, silent)
    sent = game.play(10, "a")
    pid = int((archived.folders.postgres / "postmaster.pid").read_text().split()[0])
    os.kill(pid, 9)
    archived.stop()
    keys_before = archived.folders.secrets_file.read_text()

    done = restore(archived.folders, datetime.now(UTC), silent)  # later than the last commit: the same

    archived.start()
    require_ledger(archived, sent)
    assert done.complete
    assert archived.folders.secrets_file.read_text() == keys_before


@pytest.mark.slow
def test_from_the_archive_alone_on_a_new_machine(archived: ArchivedService) -> None:
    """The folder with the backups and the secrets are all that is left."""
    game = Game(archived)
    backup.take(archived.folders, silent)
    sent = game.play(10, "a")
    archived.stop()  # which hands the last segment over
    shutil.rmtree(archived.folders.postgres)

    with pytest.raises(StackError, match="postgres is missing, but there are backups of it: make restore"):
        archived.start()
    archived.stop()
    with pytest.raises(StackError, match=r"ends with the commit of .*, before TIME: leave TIME out"):
        restore(archived.folders, datetime.now(UTC), silent)
    done = restore(archived.folders, None, silent)

    archived.start()
    require_ledger(archived, sent)
    assert done.old_cluster is None
    assert not done.complete


@pytest.mark.slow
def test_a_token_revoked_after_t_does_not_live_again(archived: ArchivedService) -> None:
    """Its revocation is gone with the restore, so every token of before is refused; the player's key signs in."""
    game = Game(archived)
    ada, bob, _ = game.people
    backup.take(archived.folders, silent)
    moment = archived.now()
    assert archived.client.post("/api/v1/auth/logout", headers=ada.headers).status_code == 204

    restore_to(archived, moment)

    for person in (ada, bob):
        for token in (person.access_token, person.refresh_token):
            refused = archived.client.post("/api/v1/auth/refresh", headers=bearer(token))
            assert refused.status_code == 401
        assert archived.client.post("/api/v1/auth/logout", headers=person.headers).status_code == 401
    assert archived.client.post("/api/v1/auth/token", json=wish(ada.account)).status_code == 200


@pytest.mark.slow
class TestRefused:
    """One sentence, and nothing is changed."""

    @pytest.fixture
    def stopped(self, archived: ArchivedService) -> ArchivedService:
        """With a base backup and two finished segments behind it."""
        Game(archived)
        backup.take(archived.folders, silent)
        for _ in range(2):
            with postgres.connect(archived.folders.sockets) as connection:
                connection.execute("SELECT pg_logical_emit_message(false, 'test', 'x'), pg_switch_wal()")
        archived.stop()
        return archived

    def refused(self, service: ArchivedService, moment: datetime | None = None) -> str:
        before = {path.name for path in service.folders.data.iterdir()}
        control = (service.folders.postgres / "global" / "pg_control").read_bytes()
        secrets = service.folders.secrets_file.read_text()
        with pytest.raises(StackError) as error:
            restore(service.folders, moment, silent)
        assert {path.name for path in service.folders.data.iterdir()} == before
        assert (service.folders.postgres / "global" / "pg_control").read_bytes() == control
        assert service.folders.secrets_file.read_text() == secrets
        return str(error.value)

    def test_what_cannot_be_restored(self, stopped: ArchivedService) -> None:
        folders = stopped.folders
        (only,) = base_backups.whole(folders.base_backups)
        too_early = only.earliest - timedelta(seconds=1)
        assert f"choose one from {only.about.finished_at} on" in self.refused(stopped, too_early)

        segments = sorted(name for name in archive.names(folders.wal) if wal.is_segment(name))
        kept = folders.wal / (segments[-2] + archive.SUFFIX)
        content = kept.read_bytes()
        kept.unlink()
        (folders.postgres / "pg_wal" / segments[-2]).unlink()  # as long as it is here, it is made use of
        assert f"the WAL segment {segments[-2]} is missing" in self.refused(stopped)
        kept.write_bytes(content[: len(content) // 2])
        assert f"the WAL segment {segments[-2]} is damaged" in self.refused(stopped)
        kept.write_bytes(content)

        table = only.cluster / "base" / "1" / "1259"
        pages = table.read_bytes()
        table.write_bytes(pages[:-1] + b"x")
        assert f"base/1/1259 in {only.cluster} is not what was copied" in self.refused(stopped)
        table.write_bytes(pages)

        with pytest.raises(StackError, match=r"TOKEN_KEYS is not in .*KEEP_TOKENS=1"):
            restore(folders, None, silent, given={"TOKEN_KEYS": "mine:" + "00" * 32})
        secrets = folders.secrets_file.read_text()
        folders.secrets_file.write_text(secrets.replace('"ENCRYPTION_KEYS": "first', '"ENCRYPTION_KEYS": "second'))
        assert "ENCRYPTION_KEYS lacks first" in self.refused(stopped)
        folders.secrets_file.write_text(secrets)
        # That one came after the promotion: its timeline must not be kept, or later restores would follow it.
        assert not [name for name in archive.names(folders.wal) if name.endswith(".history")]

        shutil.move(folders.base_backups, folders.data / "elsewhere")
        assert "there is no base backup" in self.refused(stopped)

    def test_while_it_runs_or_with_a_server_of_ones_own(self, archived: ArchivedService) -> None:
        backup.take(archived.folders, silent)
        with pytest.raises(StackError, match=r"is in use by a running stack .*: stop it, then restore"):
            restore(archived.folders, None, silent)
        with pytest.raises(StackError, match="its provider's tools"):
            environment.require_embedded_postgres(
                {"DATABASE_URL": "postgresql://db.example.org/scores"}, archived.folders
            )
        archived.stop()
        with pytest.raises(StackError, match="no stack runs in DATA_DIR"):
            backup.take(archived.folders, silent)


@pytest.mark.slow
def test_a_backup_says_so_when_wal_cannot_be_kept(archived: ArchivedService) -> None:
    """And whatever is in the way stays as it is."""
    backup.take(archived.folders, silent)
    with postgres.connect(archived.folders.sockets) as connection:
        (name,) = connection.execute("SELECT pg_walfile_name(pg_current_wal_insert_lsn())").fetchone() or ("",)
        in_the_way = archived.folders.wal / (name + archive.SUFFIX)
        in_the_way.write_bytes(gzip.compress(b"of somebody else"))
        before = in_the_way.read_bytes()
        connection.execute("SELECT pg_logical_emit_message(false, 'test', 'x'), pg_switch_wal()")
        failed = "SELECT failed_count > 0 FROM pg_stat_archiver"
        eventually(lambda: connection.execute(failed).fetchone() == (True,))
    with pytest.raises(StackError, match=f"the backup is whole, but WAL cannot be kept \\({name}\\)"):
        backup.take(archived.folders, silent)
    assert in_the_way.read_bytes() == before
    assert len(base_backups.whole(archived.folders.base_backups)) == 2
    in_the_way.unlink()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("yesterday", "must be a time with its zone"),
        ("2026-11-25T10:00:00", "must be a time with its zone"),
        ("2999-01-01T00:00:00Z", "has not come yet"),
    ],
)
def test_a_time_that_cannot_be_meant_is_refused(text: str, why: str) -> None:
    with pytest.raises(StackError, match=why):
        moment_of(text)


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_the_commands_say_what_is_wrong_in_one_sentence(command: str, tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-m", f"deploy.local.{command}"],
        cwd=ROOT,
        env={**os.environ, "DATA_DIR": str(tmp_path / "data"), "DATABASE_URL": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 1
    assert said.stderr.startswith("scoreboard: ")
    assert len(said.stderr.splitlines()) == 1
    assert not (tmp_path / "data").exists()


def test_a_kept_segment_is_never_overwritten_by_a_different_one(tmp_path: Path) -> None:
    segment, folder, target = tmp_path / ("0" * 23 + "1"), tmp_path / "wal", tmp_path / "back"
    folder.mkdir()
    segment.write_bytes(b"first" + bytes(2**20))
    archive.keep(segment, folder)
    archive.keep(segment, folder)  # asked again, as after a crash
    kept = (folder / f"{segment.name}.gz").read_bytes()
    segment.write_bytes(b"other")
    assert archive.main(["keep", str(segment), str(folder)]) == 1
    assert (folder / f"{segment.name}.gz").read_bytes() == kept
    assert archive.main(["fetch", str(folder), segment.name, str(target)]) == 0
    assert target.read_bytes() == b"first" + bytes(2**20)
    assert archive.main(["fetch", str(folder), "0" * 24, str(target)]) == 1
    assert [path.name for path in folder.iterdir()] == [f"{segment.name}.gz"]
