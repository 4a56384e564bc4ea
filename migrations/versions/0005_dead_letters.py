"""Dead letters can be dropped and kept apart from those that wait for an operator; players are found by the beginning
of their name.

Each step can be repeated: indexes are made beside the traffic, outside a transaction, so one that was cut off is found
half done by the next run.
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0003"
branch_labels = None
depends_on = None

# Null in all rows there are: nothing is rewritten, and the lock is held for a moment.
_COLUMNS = """
ALTER TABLE dead_letters
    ADD COLUMN IF NOT EXISTS dropped_at timestamptz,
    ADD COLUMN IF NOT EXISTS dropped_by text,
    ADD COLUMN IF NOT EXISTS dropped_reason text
"""

_INDEXES = {
    # What waits is counted each second and listed by its age.
    "dead_letters_waiting_idx": "dead_letters (parked_at, user_id, action_id) WHERE dropped_at IS NULL",
    # By bytes, so that a beginning is a range whatever the database's collation.
    "users_username_beginning_idx": "users (lower(username) text_pattern_ops)",
}


def upgrade() -> None:
    """Make room for what operators decide about dead letters."""
    op.execute(_COLUMNS)
    with op.get_context().autocommit_block():
        for name, over in _INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {over}")


def downgrade() -> None:
    """Take it away: what was dropped is a dead letter as any other."""
    op.execute("DROP INDEX users_username_beginning_idx, dead_letters_waiting_idx")
    op.execute("ALTER TABLE dead_letters DROP COLUMN dropped_at, DROP COLUMN dropped_by, DROP COLUMN dropped_reason")
