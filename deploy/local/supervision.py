"""The supervisor of a stack: its configuration, starting it, and asking it to start processes."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xmlrpc.client import ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from deploy.local.folders import Folders
from deploy.local.processes import PROCESS_MARK, end_with_parent
from deploy.local.procfile import ROOT

LOG_BYTES_MOST: Final = "20MB"
LOG_BACKUPS: Final = 3


@dataclass(frozen=True, slots=True)
class Program:
    """What supervisord keeps running: a name in commands.json, the group it starts and stops with, and how it ends."""

    name: str
    group: str
    stop_signal: str = "TERM"
    stop_seconds: int = 4


def write_configuration(folders: Folders, programs: Sequence[Program], groups: Sequence[str]) -> None:
    """Write supervisord.conf; no program starts by itself, all come back whenever they end.

    `groups` are in the order in which they are started; they are stopped in the reverse, each as one.
    """
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
    for priority, group in enumerate(groups, start=1):
        members = [program.name for program in programs if program.group == group]
        if members:
            sections += [f"[group:{group}]", f"programs={','.join(members)}", f"priority={priority}"]
    for program in programs:
        sections += _program(folders, program)
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
    stop_one(folders, name)
    start_one(folders, name)


def stop_one(folders: Folders, name: str) -> None:
    """End a process in good order; it stays ended until `start_one`.

    Raises:
        OSError: when supervisord does not answer.
    """
    with _client(folders) as client:
        client.supervisor.stopProcess(_full_name(client, name), True)


def start_one(folders: Folders, name: str) -> None:
    """Start a process that was ended.

    Raises:
        OSError: when supervisord does not answer.
    """
    with _client(folders) as client:
        client.supervisor.startProcess(_full_name(client, name), False)


def _full_name(client: ServerProxy, name: str) -> str:
    infos = client.supervisor.getAllProcessInfo()
    return next(f"{info['group']}:{name}" for info in infos if info["name"] == name)  # type: ignore[index,union-attr,call-overload]


def _tether(parent: int) -> Callable[[], None]:
    def tether() -> None:
        end_with_parent(signal.SIGTERM, parent)

    return tether


def _program(folders: Folders, program: Program) -> list[str]:
    command = shlex.join([sys.executable, "-m", "deploy.local.launch", program.name])
    return [
        f"[program:{program.name}]",
        f"command={_literal(command)}",
        f"directory={_literal(str(ROOT))}",
        "autostart=false",
        "autorestart=true",
        "startsecs=0",  # counts as started at once: so it is never given up, and comes back without a growing delay
        f"stopsignal={program.stop_signal}",
        f"stopwaitsecs={program.stop_seconds}",
        "killasgroup=true",
        "redirect_stderr=true",
        f"stdout_logfile={_literal(str(folders.logs / f'{program.name}.log'))}",
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
