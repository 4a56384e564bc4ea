"""The check refuses what would stop a running service, names it, and lets through what would not."""

from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path

import pytest

from migrations import schema
from migrations.safety.check import check
from migrations.safety.watch import Finding

FOLDER = Path(schema.__file__).parent
#: The first number that no revision of ours has.
NEXT = int(schema.head() or 0) + 1

#: What a revision does, and which rules refuse it; each is tried on what those before left.
REVISIONS = {
    "a column that may be empty": ("ALTER TABLE users ADD COLUMN motto text", {}, set()),
    "a column with a constant default": ("ALTER TABLE scores ADD COLUMN level int NOT NULL DEFAULT 1", {}, set()),
    "a new table": ("CREATE TABLE clubs (id bigint PRIMARY KEY, name text NOT NULL)", {}, set()),
    "a column that others must fill": (
        "ALTER TABLE clubs ADD COLUMN lead text NOT NULL DEFAULT ''; ALTER TABLE clubs ALTER COLUMN lead DROP DEFAULT",
        {},
        {"contract"},
    ),
    "a default for each row": (
        "ALTER TABLE users ADD COLUMN ticket uuid DEFAULT gen_random_uuid()",
        {},
        {"rewrite", "squawk's adding-field-with-default"},
    ),
    "another type": (
        "ALTER TABLE scores ALTER COLUMN level TYPE bigint",
        {},
        {"rewrite", "contract", "squawk's changing-column-type"},
    ),
    "an index": (
        "CREATE INDEX users_motto_idx ON users (motto)",
        {},
        {"work-under-lock", "squawk's require-concurrent-index-creation"},
    ),
    "an index beside who writes": (
        "CONCURRENTLY CREATE INDEX CONCURRENTLY users_motto_2_idx ON users (motto)",
        {},
        set(),
    ),
    "an index, and something before it": (
        "ALTER TABLE users ADD COLUMN pet text; CONCURRENTLY CREATE INDEX CONCURRENTLY users_pet_idx ON users (pet)",
        {},
        {"mixed"},
    ),
    "a promise that is looked at": (
        "ALTER TABLE users ADD CONSTRAINT a CHECK (motto <> '')",
        {},
        {"work-under-lock", "contract", "squawk's constraint-missing-not-valid"},
    ),
    "a promise for what comes": (
        "ALTER TABLE users ADD CONSTRAINT b CHECK (motto <> 'no') NOT VALID",
        {"rows of users against b": "0004"},
        set(),
    ),
    "a look at what is there": ("ALTER TABLE users VALIDATE CONSTRAINT b", {}, set()),
    "both at once": (
        "ALTER TABLE users ADD CONSTRAINT c CHECK (motto <> 'c') NOT VALID; ALTER TABLE users VALIDATE CONSTRAINT c",
        {"rows of users against c": "0004"},
        {"work-under-lock", "squawk's constraint-missing-not-valid"},
    ),
    "null no more": (
        "ALTER TABLE users ALTER COLUMN email SET NOT NULL; ALTER TABLE inbox ALTER COLUMN nonce SET NOT NULL",
        {},
        {"work-under-lock", "contract", "squawk's adding-not-nullable-field"},
    ),
    "a foreign key": (
        "ALTER TABLE told_ranks ADD CONSTRAINT d FOREIGN KEY (user_id) REFERENCES users",
        {},
        {
            "work-under-lock", "contract", "squawk's constraint-missing-not-valid",
            "squawk's adding-foreign-key-constraint",
        },
    ),
    "every row at once": ("UPDATE users SET motto = 'x'", {}, {"one-large-change"}),
    "no end of waiting": ("SET lock_timeout = 0", {}, {"lock-timeout"}),
    "a column less": ("ALTER TABLE users DROP COLUMN motto", {}, {"contract"}),
    "a column of another name": ("ALTER TABLE boards RENAME COLUMN title TO caption", {}, {"contract"}),
    "a table of another name": ("ALTER TABLE cooldowns RENAME TO pauses", {}, {"contract"}),
    "a function less": ("DROP FUNCTION guard_history_table(text)", {}, {"contract"}),
    "a column that nobody used any more": (
        "ALTER TABLE acts DROP COLUMN details",
        {"column acts.details": "0004"},
        set(),
    ),
    "a column whose last user comes with it": (
        "ALTER TABLE acts DROP COLUMN reason",
        {"column acts.reason": f"{NEXT:04}"},
        {"contract"},
    ),
    "a mark for nothing": ("SELECT 1", {"table nothing": "0004"}, {"contract"}),
    "what only an empty table takes": ("ALTER TABLE users ADD COLUMN age int NOT NULL", {}, {"fails"}),
}  # fmt: skip


def lines_of(statement: str) -> str:
    """The lines of a revision that execute it."""
    words = statement.strip()
    if words.startswith("CONCURRENTLY "):
        execute = f"op.execute({words.removeprefix('CONCURRENTLY ')!r})"
        return f"    with op.get_context().autocommit_block():\n        {execute}\n"
    return f"    op.execute({words!r})\n"


@pytest.fixture(scope="module")
def found(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Finding]]:
    """What the check says of each of REVISIONS."""
    folder = tmp_path_factory.mktemp("scripts")
    shutil.copytree(FOLDER / "versions", folder / "versions", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(FOLDER / "env.py", folder)
    numbers = {what: f"{number:04}" for number, what in enumerate(REVISIONS, start=NEXT)}
    for what, (statements, contract, _) in REVISIONS.items():
        number = numbers[what]
        run = "".join(map(lines_of, statements.split(";")))
        (folder / "versions" / f"{number}.py").write_text(
            "from alembic import op\n"
            f"revision, down_revision = '{number}', '{int(number) - 1:04}'\n"
            f"release = '1.2.0'\ncontract = {contract!r}\n"
            f"def upgrade():\n{run}"
            "def downgrade(): pass\n"
        )
    findings: dict[str, list[Finding]] = defaultdict(list)
    for finding in check(postgres_server, scripts=str(folder)):
        findings[finding.revision].append(finding)
    return {what: findings[number] for what, number in numbers.items()}


@pytest.mark.parametrize("what", REVISIONS)
def test_a_revision_is_refused_for_what_it_does(found: dict[str, list[Finding]], what: str) -> None:
    assert {finding.rule for finding in found[what]} == REVISIONS[what][2], "\n".join(map(str, found[what]))


def test_a_refusal_names_what_stands_still_and_why(found: dict[str, list[Finding]]) -> None:
    [finding] = [each for each in found["an index"] if each.rule == "work-under-lock"]
    number = NEXT + list(REVISIONS).index("an index")
    assert str(finding) == (
        f"{number:04}: work-under-lock: all rows of users are read while ShareLock on users stops whoever writes:"
        " it takes as long as the table is large\n    CREATE INDEX users_motto_idx ON users (motto)"
    )
    [finding] = found["a column less"]
    assert "column users.motto: the version before may still use it" in finding.sentence


def test_our_own_revisions_pass(found: dict[str, list[Finding]], postgres_server: str) -> None:
    assert check(postgres_server) == []
