"""The manifest of a base backup: what was copied, held against what is there.

PostgreSQL has pg_verifybackup for this, but the one in the wheel of 18.4 crashes at its start; the manifest's format is
documented (chapter "Backup Manifest Format"), and pg_waldump does the half that concerns WAL.
"""

import hashlib
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deploy.local import wal
from deploy.local.embedded import postgres
from deploy.local.errors import StackError

NAME: Final = "backup_manifest"
CHECKSUMS: Final = "SHA256"
#: Written by the receiver of WAL, which the manifest knows nothing of; WAL is checked by its own checksums.
_NOT_LISTED: Final = ("pg_wal/", NAME)


@dataclass(frozen=True, slots=True)
class Range:
    """The WAL that a base backup needs to be whole: positions on a timeline."""

    timeline: int
    begins: int
    ends: int


def needed_wal(cluster: Path) -> Range:
    """What must be replayed before the backup is consistent.

    Raises:
        StackError: the manifest cannot be read.
    """
    (needed,) = _read(cluster)["WAL-Ranges"]
    return Range(needed["Timeline"], wal.position(needed["Start-LSN"]), wal.position(needed["End-LSN"]))


def verify(cluster: Path) -> None:
    """Check that every file is there, of its size and with its checksum, none besides, and that its WAL can be read.

    Raises:
        StackError: naming the first file that differs.
    """
    listed = {entry["Path"]: entry for entry in _read(cluster)["Files"]}
    there = {str(path.relative_to(cluster)) for path in cluster.rglob("*") if path.is_file()}
    there = {name for name in there if not name.startswith(_NOT_LISTED)}
    if different := sorted(there ^ set(listed)):
        raise _damaged(cluster, different[0])
    for name, entry in listed.items():
        with (cluster / name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != entry["Checksum"] or (cluster / name).stat().st_size != entry["Size"]:
            raise _damaged(cluster, name)
    _verify_wal(cluster)


def _verify_wal(cluster: Path) -> None:
    (needed,) = _read(cluster)["WAL-Ranges"]
    place = [f"--timeline={needed['Timeline']}", f"--start={needed['Start-LSN']}", f"--end={needed['End-LSN']}"]
    read = subprocess.run(
        [str(postgres.binaries() / "pg_waldump"), "--quiet", f"--path={cluster / 'pg_wal'}", *place],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if read.returncode != 0:
        raise StackError(f"the WAL in {cluster} cannot be read: this backup is damaged, remove it.", read.stderr)


def _read(cluster: Path) -> dict[str, Any]:
    """The manifest; its last line is the checksum of all before it."""
    try:
        content = (cluster / NAME).read_bytes()
        manifest: dict[str, Any] = json.loads(content)
        body = content[: content.rindex(b'"Manifest-Checksum"')]
        if hashlib.sha256(body).hexdigest() != manifest["Manifest-Checksum"]:
            raise ValueError("its checksum is another")
    except (OSError, ValueError, KeyError) as error:
        raise StackError(f"{cluster / NAME} cannot be used ({error}): this backup is damaged, remove it.") from error
    return manifest


def _damaged(cluster: Path, name: str) -> StackError:
    return StackError(f"{name} in {cluster} is not what was copied: this backup is damaged, remove it.")
