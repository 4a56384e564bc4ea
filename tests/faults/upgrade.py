"""`python -m tests.faults.upgrade`: the next version, with a migration, takes over while everybody plays.

The version before is this tree. The next one is a copy of it with two revisions more, made for this: columns on the
tables that every update goes through, a promise, and an index, by the rules that `python -m migrations.safety` keeps.
Its statements need them, so its processes could not run on the tables of before; those of before know nothing of them.
First the migration runs, beside the processes of before, then the new ones take their places one after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from deploy.local import reload
from deploy.local.procfile import ROOT
from models.storage.tables import SCHEMA_REVISION
from tests.faults.laboratory import PROCESS_SECONDS, Fault, Laboratory, Outcome, as_documents
from tests.fixtures.waiting import eventually

#: What a service runs from.
_TREE: Final = ("models", "web", "worker", "migrations", "deploy", "Procfile")
NEXT_REVISION: Final = f"{int(SCHEMA_REVISION) + 2:04}"

_REVISIONS: Final = {
    f"{int(SCHEMA_REVISION) + 1:04}": """
def upgrade():
    op.execute("ALTER TABLE inbox_keys ADD COLUMN let_in_by text")
    op.execute("ALTER TABLE inbox ADD COLUMN let_in_by text")
    op.execute("ALTER TABLE scores ADD COLUMN applied_by text NOT NULL DEFAULT 'the version before'")
    op.execute("ALTER TABLE users ADD CONSTRAINT users_username_check CHECK (username <> '') NOT VALID")


def downgrade():
    op.execute("ALTER TABLE users DROP CONSTRAINT users_username_check")
    for table, column in (("scores", "applied_by"), ("inbox", "let_in_by"), ("inbox_keys", "let_in_by")):
        op.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
""",
    NEXT_REVISION: """
def upgrade():
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE users VALIDATE CONSTRAINT users_username_check")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS scores_applied_by_idx")
        op.execute("CREATE INDEX CONCURRENTLY scores_applied_by_idx ON scores (applied_by)")


def downgrade():
    op.execute("DROP INDEX scores_applied_by_idx")
""",
}
_HEAD: Final = """from alembic import op

revision, down_revision = "{revision}", "{before}"
branch_labels = depends_on = None
release = "99.0.0"
contract = {contract}

"""
_CONTRACT: Final = {"rows of users against users_username_check": SCHEMA_REVISION}
#: File → what stands there in this version, and in the next.
_CHANGES: Final = {
    "models/storage/tables.py": {
        f'SCHEMA_REVISION: Final = "{SCHEMA_REVISION}"': f'SCHEMA_REVISION: Final = "{NEXT_REVISION}"'
    },
    "models/pipeline/sql/accept.sql": {
        "inbox_keys (user_id, action_id, nonce, action, value)": (
            "inbox_keys (user_id, action_id, nonce, action, value, let_in_by)"
        ),
        "SELECT user_id, action_id, nonce, action, value FROM incoming": (
            "SELECT user_id, action_id, nonce, action, value, 'the next version' FROM incoming"
        ),
    },
    "models/pipeline/sql/apply.sql": {
        "        updated_at = clock_timestamp()\n": (
            "        updated_at = clock_timestamp(),\n        applied_by = 'the next version'\n"
        )
    },
}


def _take_over(lab: Laboratory, _dice: random.Random) -> Iterator[float]:
    """Migrate beside the version before, then put the next one in its place: not one request may fail."""
    lab.crowd.hanging_up, lab.crowd.resending = 0.0, True
    began = lab.ledger.now()
    closed = len(lab.spectators.codes)
    time.sleep(0.5)
    with next_version(lab.tree) as following:
        started = time.monotonic()
        migrate(following, {**os.environ, "DATA_DIR": str(lab.service.folders.data)})
        lab.note("migrated_in_seconds", round(time.monotonic() - started, 2))
        time.sleep(0.5)  # both sides of it are played: the version before on tables that have more
        by_before = lab.postgres.query("SELECT count(*) FROM inbox_keys WHERE let_in_by IS NULL")[0][0]
        shutil.copytree(following, lab.tree, dirs_exist_ok=True)
        started = time.monotonic()
        reload.roll(lab.service.folders, lab.say)
        lab.note("replaced_in_seconds", round(time.monotonic() - started, 2))
    time.sleep(0.5)
    made = [call for call in [*lab.ledger.calls, *lab.ledger.others] if call.sent_at >= began]
    failed = [call for call in made if call.status == 0 or call.status >= 500]
    lab.note("requests", len(made))
    lab.note("failed", len(failed))
    lab.note("slowest_ms", round(1000 * max(call.seconds for call in made)))
    if failed:
        lab.ledger.complain(f"{len(failed)} of {len(made)} requests failed, the first with {failed[0]}")
    if codes := set(lab.spectators.codes[closed:]) - {1001}:
        lab.ledger.complain(f"sockets ended with {sorted(codes)}")
    let_in = lab.postgres.query("SELECT count(*) FROM inbox_keys WHERE let_in_by = 'the next version'")[0][0]
    lab.note("let_in_by_the_version_before", by_before)
    lab.note("let_in_by_the_next_version", let_in)
    if not (by_before and let_in):
        lab.ledger.complain(f"{by_before} updates came to the version before, {let_in} to the next: both must serve")
    applied = "SELECT 1 FROM scores WHERE applied_by = 'the next version' LIMIT 1"
    eventually(lambda: lab.postgres.query(applied), PROCESS_SECONDS)  # its worker may have just begun
    yield 0.0


_SHOWN: Final = ("seed", "calls", "accepted", "lost", "doubled", "wrong", "slowest_answer_seconds", "notes")
#: One round a service: from there on it is the next version.
FAULT: Final = Fault(
    "rolling-upgrade", "rolling", "the next version and its migration under load", _take_over, PROCESS_SECONDS,
    per_second=8.0,
)  # fmt: skip


@contextmanager
def version_before() -> Iterator[Path]:
    """A copy of this tree, to be replaced."""
    folder = Path(tempfile.mkdtemp(prefix="sbu-"))
    try:
        for name in _TREE:
            source, target = ROOT / name, folder / name
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copy(source, target)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def next_version(before: Path) -> Iterator[Path]:
    """The tree with two revisions more, and statements that need them."""
    folder = Path(tempfile.mkdtemp(prefix="sbu-"))
    try:
        shutil.copytree(before, folder, dirs_exist_ok=True)
        last = SCHEMA_REVISION
        for revision, body in _REVISIONS.items():
            contract = _CONTRACT if last == SCHEMA_REVISION else {}
            head = _HEAD.format(revision=revision, before=last, contract=contract)
            (folder / "migrations" / "versions" / f"{revision}_for_the_upgrade.py").write_text(head + body, "utf-8")
            last = revision
        for name, changes in _CHANGES.items():
            text = (folder / name).read_text("utf-8")
            for was, becomes in changes.items():
                if was not in text:
                    raise AssertionError(f"{name} is not as the next version was made from: {was!r} is missing")
                text = text.replace(was, becomes)
            (folder / name).write_text(text, "utf-8")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def migrate(tree: Path, environment: dict[str, str]) -> None:
    """As an operator does it, from the next version's folder."""
    done = subprocess.run(
        [sys.executable, "-m", "migrations", "upgrade"],
        cwd=tree,
        env={**environment, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"the migration ended with {done.returncode}: {done.stderr}")


def upgrade(*, seed: int, clients: int, say: bool = True) -> Outcome:
    """One upgrade, on a service of its own."""
    speak = print if say else lambda _: None
    with version_before() as tree, Laboratory(say=speak, tree=tree) as laboratory:
        return laboratory.run(FAULT, rounds=1, seed=seed, clients=clients)


def main() -> int:
    """Upgrade as often as is wanted, and print what each did; 1 when anything failed, was lost, doubled or wrong."""
    parser = argparse.ArgumentParser("python -m tests.faults.upgrade", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=40)
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    clean = True
    for number in range(options.rounds):
        seed = options.seed + number if options.seed is not None else random.randrange(1_000_000)
        outcome = upgrade(seed=seed, clients=options.clients)
        [document] = as_documents([outcome])
        print(json.dumps({name: document[name] for name in _SHOWN}))
        clean = clean and outcome.verdict.clean
    return int(not clean)


if __name__ == "__main__":
    sys.exit(main())
