"""The months that history is kept in: partitions of `score_history`, made ahead of their time."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import Connection, text

#: Months made before they begin: nobody has to look after this for a quarter.
AHEAD_MONTHS: Final = 3

_WANTED: Final = """
SELECT month
FROM generate_series(
    date_trunc('month', now(), 'UTC'),
    date_add(date_trunc('month', now(), 'UTC'), make_interval(months => :ahead), 'UTC'),
    '1 month', 'UTC'
) AS month
WHERE NOT EXISTS (SELECT FROM score_history_months WHERE coalesce(since <= month, true) AND month < until)
ORDER BY month
"""


def wanted(connection: Connection) -> list[datetime]:
    """The first instants (UTC) of the months from this one on that have no partition yet."""
    return list(connection.execute(text(_WANTED), {"ahead": AHEAD_MONTHS}).scalars())


def make(connection: Connection, month: datetime) -> str:
    """Make the partition of a month; returns its name.

    Raises:
        sqlalchemy.exc.IntegrityError: rows of that month are in the default partition already.
        sqlalchemy.exc.ProgrammingError: a table of that name is there, detached or not yet attached.
    """
    name: str = connection.execute(text("SELECT make_history_month(:month)"), {"month": month}).scalar_one()
    return name


def any_unplaced(connection: Connection) -> bool:
    """Whether rows are in the default partition, because nobody had made their month."""
    found: bool = connection.execute(text("SELECT EXISTS (SELECT FROM score_history_default)")).scalar_one()
    return found
