"""A second opinion on migrations' statements: squawk, which reads them and runs none."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from migrations.safety.watch import Finding, Watch

#: What is not asked of us, and why.
EXCLUDED: Final = {
    "require-timeout-settings": "env.py sets lock_timeout for each revision, and the watch sees that it stays",
    "prefer-robust-stmts": "a revision that fails is rolled back as a whole; the recipe for indexes drops what is left",
    "prefer-text-field": "no column here has another type of text",
    "prefer-bigint-over-int": "what counts for ever is bigint; a season or a number of attempts is not",
    "ban-drop-table": "contract.py asks for the mark, and for a release in between",
    "ban-drop-column": "the same",
    "ban-drop-default": "the same",
    "ban-drop-function": "the same",
    "renaming-table": "the same",
    "renaming-column": "the same",
}
_PG_VERSION: Final = "18.0"
_SECONDS_MOST: Final = 60


def second_opinion(watched: Sequence[Watch]) -> list[Finding]:
    """What squawk has against the statements of revisions; those outside of a transaction are shown to it as such.

    Raises:
        FileNotFoundError: it is not installed: requirements-dev.txt has it.
    """
    found = []
    with tempfile.TemporaryDirectory(prefix="scoreboard-check-") as folder:
        for inside in (True, False):
            texts = {}
            for watch in watched:
                statements = [text.rstrip().rstrip(";") + ";" for within, text in watch.statements if within == inside]
                if statements:
                    path = Path(folder, f"{watch.revision}-{'inside' if inside else 'outside'}.sql")
                    path.write_text("\n".join(statements) + "\n", "utf-8")
                    texts[str(path)] = watch.revision
            if texts:
                found += _asked(texts, inside=inside)
    return found


def _asked(texts: dict[str, str], *, inside: bool) -> list[Finding]:
    program = Path(sys.executable).with_name("squawk")
    command = [str(program), "--reporter", "json", "--pg-version", _PG_VERSION, "--exclude", ",".join(EXCLUDED)]
    command += ["--assume-in-transaction"] if inside else []
    answer = subprocess.run(
        [*command, *texts], capture_output=True, text=True, timeout=_SECONDS_MOST, check=False, stdin=subprocess.DEVNULL
    )
    if answer.returncode not in (0, 1) or not answer.stdout:
        raise RuntimeError(f"squawk ended with {answer.returncode}: {answer.stderr.strip()}")
    return [
        Finding(
            texts[each["file"]],
            f"squawk's {each['rule_name']}",
            each["message"],
            Path(each["file"]).read_text("utf-8").splitlines()[each["line"]][:160].strip(),
        )
        for each in json.loads(answer.stdout)
    ]
