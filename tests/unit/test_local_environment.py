"""What the processes of a stack are given, from what the person gave."""

from pathlib import Path

import pytest

from deploy.local import environment
from deploy.local.errors import StackError
from deploy.local.folders import Folders
from deploy.local.secret_keys import load_or_make
from models.settings import Settings

FOLDERS = Folders(Path("/srv/data"))


def test_one_port_moves_all_of_them() -> None:
    built = environment.build({"PORT": "9000"}, FOLDERS)
    assert environment.addresses(built) == {
        "API": ("127.0.0.1", 9000),
        "sockets": ("127.0.0.1", 9001),
        "Flower": ("127.0.0.1", 9002),
    }


@pytest.mark.parametrize("port", ["0", "65534", "-1", "eighty", "8000.0", "٨٠٠٠"])
def test_a_port_that_leaves_no_room_is_refused(port: str) -> None:
    with pytest.raises(StackError, match="PORT must be"):
        environment.build({"PORT": port}, FOLDERS)


def test_what_is_given_wins_and_needs_no_embedded_server() -> None:
    given = {"DATABASE_URL": "postgresql://db/scores", "REDIS_URL": ""}
    assert environment.embedded_names(given) == ["cache", "broker"]
    assert environment.build(given, FOLDERS)["DATABASE_URL"] == "postgresql://db/scores"


def test_a_shells_database_variables_do_not_lead_astray() -> None:
    assert "PGHOST" not in environment.build({"PGHOST": "elsewhere", "PGPORT": "1"}, FOLDERS)


def test_only_what_another_shell_needs_is_shared() -> None:
    shared = environment.shared(environment.build({"SHARDS": "4", "AWS_SECRET_ACCESS_KEY": "x"}, FOLDERS))
    assert shared["SHARDS"] == "4"
    assert shared["DATA_DIR"] == "/srv/data"
    assert "AWS_SECRET_ACCESS_KEY" not in shared
    assert "PATH" not in shared


def test_the_settings_accept_what_a_stack_gives(tmp_path: Path) -> None:
    folders = Folders(tmp_path / "data")
    folders.make()
    load_or_make(folders.secrets_file)
    settings = Settings.from_env(environment.build({}, folders))
    assert settings.development
    assert settings.sockets_url == "ws://127.0.0.1:8001"
    assert settings.token_keys[0].kid == "first"
