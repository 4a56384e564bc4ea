"""Keeps and fetches finished WAL segments: a script that PostgreSQL starts for each, so it imports little.

What is kept is in gzip's format (RFC 1952) and read by the standard library. It is written by ISA-L, for a third of
the processor's time: under load a segment is full every two seconds, and updates wait for the same cores.

`archive.py keep SEGMENT FOLDER` is its archive_command, `archive.py fetch FOLDER NAME TARGET` its restore_command.
"""

import gzip
import os
import shlex
import shutil
import sys
import zlib
from pathlib import Path
from typing import Final

from isal import isal_zlib

SUFFIX: Final = ".gz"
_CHUNK_BYTES: Final = 2**18
_GZIP: Final = 31  # as `wbits`: a gzip header, and the largest window
_NICE: Final = 19  # behind everything that somebody waits for


def settings(wal: Path) -> dict[str, str]:
    """What a server needs in its configuration to keep its WAL in the folder `wal`.

    A segment is handed over when its 16 MB are full, and at the latest 60 s after something was written to it: what a
    lost disk can cost. Shorter would fill the archive with segments that are nearly empty; at 60 s a quiet service
    hands over 1,440 of them a day at most. What is behind the last record is zeros, so that such a segment is kept in
    some ten KB: compressed, 16 MB an hour, not 23 GB a day.
    """
    return {
        "wal_level": "replica",
        "archive_mode": "on",
        "archive_timeout": "60s",
        "archive_command": _command("keep", "%p", wal),
    }


def restore_command(wal: Path) -> str:
    """The restore_command that fetches from the folder `wal`."""
    return _command("fetch", wal, "%f", "%p")


def keep(segment: Path, folder: Path) -> None:
    """Copy a finished segment into the folder: whole or not at all, on disk before this returns. Repeatable.

    Raises:
        FileExistsError: another file is kept under this name; it is never overwritten.
    """
    target = folder / (segment.name + SUFFIX)
    if target.exists():  # kept, but the server ended before it had noted that
        if not _same(segment, target):
            raise FileExistsError(f"{target} is there and differs from {segment}")
        return
    draft = folder / (segment.name + ".new")
    packer = isal_zlib.compressobj(level=1, wbits=_GZIP)
    with segment.open("rb") as plain, draft.open("wb") as packed:
        while piece := plain.read(_CHUNK_BYTES):
            packed.write(packer.compress(piece))
        packed.write(packer.flush())
        packed.flush()
        os.fsync(packed.fileno())
    draft.rename(target)
    sync_folder(folder)


def fetch(folder: Path, name: str, target: Path) -> None:
    """Unpack a kept segment into `target`.

    Raises:
        FileNotFoundError: it is not kept here; so recovery finds where WAL ends.
        OSError, EOFError, zlib.error: it is damaged.
    """
    with gzip.open(folder / (name + SUFFIX), "rb") as packed, target.open("wb") as plain:
        shutil.copyfileobj(packed, plain, _CHUNK_BYTES)


def read(folder: Path, name: str) -> str:
    """The text of a small file that is kept, such as a timeline's history.

    Raises:
        OSError: it is not kept here, or damaged.
    """
    with gzip.open(folder / (name + SUFFIX), "rt", encoding="utf-8") as file:
        return file.read()


def names(folder: Path) -> set[str]:
    """The names of all that is kept, as PostgreSQL knows them."""
    return {path.name.removesuffix(SUFFIX) for path in folder.glob(f"*{SUFFIX}")}


def _same(segment: Path, kept: Path) -> bool:
    with segment.open("rb") as plain, gzip.open(kept, "rb") as packed:
        while True:
            piece = plain.read(_CHUNK_BYTES)
            if piece != packed.read(_CHUNK_BYTES):
                return False
            if not piece:
                return True


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _command(verb: str, *words: str | Path) -> str:
    """A line for PostgreSQL, which fills in %p and %f itself."""
    fixed = [sys.executable, "-I", str(Path(__file__).resolve()), verb]
    quoted = [shlex.quote(word).replace("%", "%%") for word in fixed]
    return " ".join([*quoted, *(w if w in ("%p", "%f") else shlex.quote(str(w)).replace("%", "%%") for w in words)])


def main(arguments: list[str]) -> int:
    """What PostgreSQL calls; gives its exit code. What goes wrong is in PostgreSQL's log."""
    os.nice(_NICE)
    try:
        match arguments:
            case ["keep", segment, folder]:
                keep(Path(segment), Path(folder))
            case ["fetch", folder, name, target]:
                fetch(Path(folder), name, Path(target))
            case _:
                return 2
    except FileNotFoundError:
        return 1
    except (OSError, EOFError, zlib.error) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
