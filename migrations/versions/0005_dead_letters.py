"""Dead letters can be dropped, and are kept apart then from those that wait for an operator."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

release = "1.1.0"

# Null in all rows there are: nothing is rewritten, and the lock is held for a moment.
_COLUMNS = """
ALTER TABLE dead_letters
    ADD COLUMN dropped_at timestamptz,
    ADD COLUMN dropped_by text,
    ADD COLUMN dropped_reason text
"""


def upgrade() -> None:
    """Make room for what operators decide about dead letters."""
    op.execute(_COLUMNS)


def downgrade() -> None:
    """Take it away: what was dropped is a dead letter as any other."""
    op.execute("ALTER TABLE dead_letters DROP COLUMN dropped_at, DROP COLUMN dropped_by, DROP COLUMN dropped_reason")
