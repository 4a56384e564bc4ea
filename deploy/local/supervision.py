"""The supervisor of a stack: its configuration, starting it, and asking it to start processes."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from xmlrpc.client import ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from deploy.local.folders import Folders
from deploy.local.processes import PROCESS_MARK, end_with_parent
from deploy.local.procfile import ROOT

# Started in this order and stopped in the reverse, each group as one: first nobody new comes in, then what was taken
# in is worked off, then the stores close.
GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "stores": ("postgres", "cache", "broker"),
    "work": ("worker", "beat", "flower"),
    "edge": ("web", "sockets"),
}
# Before supervisord kills; measured when idle: 1.1, 2.3 (a Celery worker's warm shutdown) and 0.1. Should all of them
# need all of it, the runner's own deadline comes first: what is committed is safe, and PostgreSQL recovers.
STOP_SECONDS: Final[Mapping[str, int]] = {"edge": 3, "work": 4, "stores": 4}
STOP_SIGNALS: Final[Mapping[str, str]] = {"postgres": "INT"}  # SIGTERM would wait for clients to leave
LOG_BYTES_MOST: Final = "20MB"
LOG_BACKUPS: Final = 3


def group_of(process: str) -> str:
    """The group a process belongs to; one the table does not name works in the middle."""
    return next((group for group, names in GROUPS.items() if process in names), "work")


def write_configuration(folders: Folders, processes: list[str]) -> None:
    """Write supervisord.conf for the processes; none starts by itself, all come back whenever they end."""
    sections = [
        "[unix_http_server]",
        f"file={_literal(str(_socket(folders)))}",
        "chmod=0600",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
        "[supervisord]",
        "nodaemon=true",
        "silent=true",
        f"logfile={_literal(str(folders.logs / 'supervisord.log'))}",
        f"logfile_maxbytes={LOG_BYTES_MOST}",
        f"logfile_backups={LOG_BACKUPS}",
        f"pidfile={_literal(str(folders.run / 'supervisord.pid'))}",
        f"childlogdir={_literal(str(folders.logs))}",
    ]
    for priority, group in enumerate(GROUPS, start=1):
        members = [name for name in processes if group_of(name) == group]
        if members:
            sections += [f"[group:{group}]", f"programs={','.join(members)}", f"priority={priority}"]
    for name in processes:
        sections += _program(folders, name)
    path = _configuration_file(folders)
    path.write_text("\n".join(sections) + "\n", "utf-8")
    path.chmod(0o600)


def start(folders: Folders, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start supervisord; it stops everything in order when we are gone, however we ended."""
    parent = os.getpid()
    with (folders.logs / "supervisord.out").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "--configuration", str(_configuration_file(folders))],
            cwd=ROOT,
            env={**environ, PROCESS_MARK: "supervisord"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C reaches us alone, and we stop it in order
            preexec_fn=_tether(parent),  # noqa: PLW1509 - the runner has one thread
        )


def start_group(folders: Folders, group: str) -> None:
    """Have supervisord start all processes of a group.

    Raises:
        OSError: when supervisord does not answer (yet).
    """
    with _client(folders) as client:
        client.supervisor.startProcessGroup(group, False)


def running(folders: Folders) -> bool:
    """Whether supervisord takes commands."""
    try:
        with _client(folders) as client:
            return bool(client.supervisor.getState())
    except OSError:
        return False


def pids(folders: Folders) -> dict[str, int]:
    """Name → process id of everything that supervisord runs now."""
    with _client(folders) as client:
        infos = client.supervisor.getAllProcessInfo()
    return {str(info["name"]): int(info["pid"]) for info in infos if info["pid"]}  # type: ignore[index,union-attr,call-overload]


def restart(folders: Folders, name: str) -> None:
    """End a process in good order and start it again; returns when it was started.

    Raises:
        OSError: when supervisord does not answer.
    """
    full_name = f"{group_of(name)}:{name}"
    with _client(folders) as client:
        client.supervisor.stopProcess(full_name, True)
        client.supervisor.startProcess(full_name, False)


def _tether(parent: int) -> Callable[[], None]:
    def tether() -> None:
        end_with_parent(signal.SIGTERM, parent)

    return tether


def _program(folders: Folders, name: str) -> list[str]:
    group = group_of(name)
    command = shlex.join([sys.executable, "-m", "deploy.local.launch", name])
    return [
        f"[program:{name}]",
        f"command={_literal(command)}",
        f"directory={_literal(str(ROOT))}",
        "autostart=false",
        "autorestart=true",
        "startsecs=0",  # counts as started at once: so it is never given up, and comes back without a growing delay
        f"stopsignal={STOP_SIGNALS.get(name, 'TERM')}",
        f"stopwaitsecs={STOP_SECONDS[group]}",
        "killasgroup=true",
        "redirect_stderr=true",
        f"stdout_logfile={_literal(str(folders.logs / f'{name}.log'))}",
        f"stdout_logfile_maxbytes={LOG_BYTES_MOST}",
        f"stdout_logfile_backups={LOG_BACKUPS}",
    ]


def _literal(text: str) -> str:
    return text.replace("%", "%%")  # supervisord expands %(…)s


def _socket(folders: Folders) -> Path:
    return folders.sockets / "supervisor.sock"


def _configuration_file(folders: Folders) -> Path:
    return folders.run / "supervisord.conf"


def _client(folders: Folders) -> ServerProxy:
    return ServerProxy("http://localhost", transport=SupervisorTransport(None, None, f"unix://{_socket(folders)}"))
