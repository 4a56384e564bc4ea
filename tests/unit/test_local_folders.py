"""A data folder is made private, kept by one stack at a time, and refused with a sentence where it cannot be used."""

import json
import os
import stat
from pathlib import Path

import pytest

from deploy.local.embedded import postgres
from deploy.local.errors import StackError
from deploy.local.folders import SOCKET_PATH_BYTES_MOST, Folders
from deploy.local.secret_keys import load_or_make


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_everything_is_for_its_owner_only(tmp_path: Path) -> None:
    folders = Folders(tmp_path / "new" / "data")
    folders.make()
    for folder in (folders.data, folders.logs, folders.run, folders.broker, folders.sockets):
        assert mode(folder) == 0o700


def test_the_last_runs_files_are_gone_and_the_data_is_kept(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    tmp_path.chmod(0o700)
    folders.make()
    (folders.run / "old").touch()
    (folders.logs / "web.log").touch()
    folders.make()
    assert not (folders.run / "old").exists()
    assert (folders.logs / "web.log").exists()


def test_a_long_path_gets_its_sockets_elsewhere(tmp_path: Path) -> None:
    folders = Folders(tmp_path / ("x" * 60) / ("y" * 60))
    folders.make()
    assert not folders.sockets.is_relative_to(tmp_path)
    assert mode(folders.sockets) == 0o700
    assert len(os.fsencode(folders.sockets / "postgres" / ".s.PGSQL.5432.lock")) < SOCKET_PATH_BYTES_MOST
    folders.remove_outside()
    assert not folders.sockets.exists()


def test_a_sockets_folder_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    folders = Folders(tmp_path / ("x" * 60) / ("y" * 60))
    folders.sockets.mkdir(mode=0o755)
    try:
        with pytest.raises(StackError, match="not a private folder"):
            folders.make()
    finally:
        folders.remove_outside()


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(StackError, match="not a folder"):
        Folders(tmp_path / "data").make()
    with pytest.raises(StackError, match="not a folder"):
        Folders(tmp_path / "data" / "below").make()


def test_another_users_folder_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(StackError, match="belongs to another user"):
        Folders(tmp_path).make()


def test_a_second_stack_is_kept_out(tmp_path: Path) -> None:
    with Folders(tmp_path).lock(), pytest.raises(StackError, match=f"process {os.getpid()}"):
        Folders(tmp_path).lock()
    Folders(tmp_path).lock().close()


def test_secrets_are_made_once(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    first = load_or_make(path)
    assert mode(path) == 0o600
    assert load_or_make(path) == first
    assert load_or_make(tmp_path / "other.json") != first


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"other": "things"})])
def test_secrets_that_cannot_be_read_are_never_made_anew(tmp_path: Path, content: str) -> None:
    path = tmp_path / "secrets.json"
    path.write_text(content)
    with pytest.raises(StackError, match="put it back from a backup"):
        load_or_make(path)
    assert path.read_text() == content


def test_a_broken_or_older_database_is_not_touched(tmp_path: Path) -> None:
    cluster = tmp_path / "postgres"
    postgres.require_whole(cluster)
    cluster.mkdir()
    with pytest.raises(StackError, match="not a whole PostgreSQL folder"):
        postgres.require_whole(cluster)
    (cluster / "global").mkdir()
    (cluster / "global" / "pg_control").touch()
    (cluster / "PG_VERSION").write_text("16\n")
    with pytest.raises(StackError, match="made by PostgreSQL 16"):
        postgres.require_whole(cluster)
