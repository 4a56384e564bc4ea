"""The data folder: where everything of a stack lies, whether it may be used, and who has it now."""

import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from deploy.local.errors import StackError

SOCKET_PATH_BYTES_MOST: Final = 107  # sun_path of unix(7) has 108, the last one for the closing zero
OWN_FOLDER: Final = "make run DATA_DIR=/another/folder PORT=9000"
LONGEST_SOCKET_NAME: Final = "supervisor.sock.1234567890"  # supervisord binds to a name with its pid first


@dataclass(frozen=True, slots=True)
class Folders:
    """Names inside one data folder; `sockets` may lie elsewhere when the path is too long for a socket."""

    data: Path

    @property
    def postgres(self) -> Path:
        """The database cluster."""
        return self.data / "postgres"

    @property
    def wal(self) -> Path:
        """The archive of PostgreSQL's write-ahead log."""
        return self.data / "backups" / "wal"

    @property
    def base_backups(self) -> Path:
        """One folder a base backup."""
        return self.data / "backups" / "base"

    @property
    def broker(self) -> Path:
        """The broker's append-only file."""
        return self.data / "broker"

    @property
    def logs(self) -> Path:
        """One rotated log a process."""
        return self.data / "logs"

    @property
    def run(self) -> Path:
        """What is made anew at every start."""
        return self.data / "run"

    @property
    def secrets_file(self) -> Path:
        """Keys and passwords, made at the first start."""
        return self.data / "secrets.json"

    @property
    def environment_file(self) -> Path:
        """Where the running stack is, for commands in another shell."""
        return self.data / "environment.json"

    @property
    def sockets(self) -> Path:
        """A private folder with a path short enough for unix sockets."""
        inside = self.run / "sockets"
        if len(os.fsencode(inside / LONGEST_SOCKET_NAME)) <= SOCKET_PATH_BYTES_MOST:
            return inside
        digest = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"scoreboard-{os.geteuid()}-{digest}"

    def make(self) -> None:
        """Make and check all folders; what the last run left in `run` goes.

        Raises:
            StackError: when the data folder cannot be used, with what to do about it.
        """
        _make_data_folder(self.data)
        try:
            if self.run.exists():
                shutil.rmtree(self.run)
            for folder in (self.logs, self.run, self.run / "metrics", self.run / "starts", self.broker):
                folder.mkdir(mode=0o700, exist_ok=True)
            _make_private(self.sockets)
        except OSError as error:
            raise StackError(f"DATA_DIR {self.data} cannot be used: {error}; choose another DATA_DIR.") from error

    def remove_outside(self) -> None:
        """Remove the sockets' folder where it lies outside the data folder."""
        if not self.sockets.is_relative_to(self.data):
            shutil.rmtree(self.sockets, ignore_errors=True)

    def lock(self, advice: str = "stop it, or give this one its own folder: " + OWN_FOLDER) -> IO[str]:
        """Keep every other stack out of the data folder for as long as the file stays open.

        Raises:
            StackError: when another stack is running in it, with the advice.
        """
        _make_data_folder(self.data)
        try:
            file = (self.data / "lock").open("a+", encoding="utf-8")
        except OSError as error:
            raise StackError(f"DATA_DIR {self.data} cannot be used: {error}; choose another DATA_DIR.") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise StackError(
                f"DATA_DIR {self.data} is in use by a running stack (process {holder}): {advice}"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        return file


def _make_data_folder(data: Path) -> None:
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = data.stat()
    except (FileExistsError, NotADirectoryError) as error:
        raise StackError(f"DATA_DIR {data} is not a folder: choose another DATA_DIR.") from error
    except OSError as error:
        raise StackError(f"DATA_DIR {data} cannot be made: {error.strerror}; choose another DATA_DIR.") from error
    if status.st_uid != os.geteuid():
        raise StackError(
            f"DATA_DIR {data} belongs to another user (uid {status.st_uid}): "
            "run as that user, or choose another DATA_DIR."
        )
    if not os.access(data, os.R_OK | os.W_OK | os.X_OK):
        raise StackError(f"DATA_DIR {data} cannot be written to: chmod u+rwx it, or choose another DATA_DIR.")


def _make_private(folder: Path) -> None:
    """Make a folder nobody else can enter, and refuse one that somebody else has put there first."""
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise StackError(f"{folder} is needed for sockets but is not a private folder of yours: remove it.")
    for old in folder.iterdir():
        shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
