"""A certificate for this machine alone, for who brings none."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.local.errors import StackError
from deploy.production.programs import require

DAYS: Final = 397  # the most that browsers believe
_SECONDS_MOST: Final = 20.0
_NAMES: Final = "DNS:localhost,IP:127.0.0.1,IP:::1"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A chain and its key, each as a PEM file."""

    chain: Path
    key: Path


def self_signed(folder: Path) -> Certificate:
    """The folder's certificate for localhost; made when it is not there yet or ends within a day.

    Raises:
        StackError: openssl is not installed, or fails.
    """
    found = Certificate(folder / "certificate.pem", folder / "key.pem")
    if _holds(found):
        return found
    folder.mkdir(parents=True, exist_ok=True)
    found.key.touch(mode=0o600)
    _openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc",
        "-days", str(DAYS), "-subj", "/CN=localhost", "-addext", f"subjectAltName={_NAMES}",
        "-keyout", str(found.key), "-out", str(found.chain),
    )  # fmt: skip
    return found


def _holds(certificate: Certificate) -> bool:
    if not (certificate.chain.exists() and certificate.key.exists()):
        return False
    looked_at = [str(require("openssl")), "x509", "-checkend", "86400", "-noout", "-in", str(certificate.chain)]
    return subprocess.run(looked_at, capture_output=True, check=False, timeout=_SECONDS_MOST).returncode == 0


def _openssl(*words: str) -> None:
    command = [str(require("openssl")), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS_MOST)
    if done.returncode != 0:
        raise StackError(f"openssl could not make a certificate: {done.stderr.strip()[-400:]}")
