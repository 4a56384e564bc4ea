"""Dead letters that wait are found by their age, players by the beginning of their name.

Both indexes are made beside the traffic, outside a transaction; one that was cut off is made anew by the next run.
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

release = "1.1.0"

_INDEXES = {
    # What waits is counted each second and listed by its age.
    "dead_letters_waiting_idx": "dead_letters (parked_at, user_id, action_id) WHERE dropped_at IS NULL",
    # By bytes, so that a beginning is a range whatever the database's collation.
    "users_username_beginning_idx": "users (lower(username) text_pattern_ops)",
}


def upgrade() -> None:
    """Make them."""
    with op.get_context().autocommit_block():
        for name, over in _INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {over}")


def downgrade() -> None:
    """Take them away."""
    op.execute("DROP INDEX users_username_beginning_idx, dead_letters_waiting_idx")
